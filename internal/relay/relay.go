// Package relay stands between standard output, or error, and processes of another
// principal. Who shares an open file with us sets its flags for us, and if it is a socket,
// its options, or shuts it down; if it is a terminal, its modes, or holds it up, and what is
// written there a person's terminal obeys. So each of them gets an open file of its own
// where that is all, and else the end of a pipe, which is copied here.
package relay

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"hostler/internal/logfile"
	"hostler/internal/logformat"
	"hostler/internal/visible"
)

// pipeSize is how much a pipe holds unless somebody has changed that, so that what is read
// at once is whole lines.
const pipeSize = 64 << 10

// all are the pipes that there are, by what is behind them. They are there as long as this
// process is: so is what it was started with.
var all struct {
	sync.Mutex
	pipes map[place]*pipe
}

// place is where something is.
type place struct{ dev, ino uint64 }

// pipe is copied to an open file.
type pipe struct {
	to       int
	terminal bool
	in       *os.File
	out      int // for others
	over     chan struct{}
}

// Open returns a descriptor for a process of another principal, by which it writes to
// where fd leads.
func Open(fd int) (int, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return -1, err
	}
	terminal := logformat.IsTerminal(fd)
	if !terminal {
		if again, err := logfile.Again(fd); err == nil {
			return again, nil
		}
	}
	all.Lock()
	defer all.Unlock()
	at := place{st.Dev, st.Ino}
	p := all.pipes[at]
	if p == nil {
		var err error
		if p, err = begin(fd, terminal); err != nil {
			return -1, fmt.Errorf("cannot copy what others write: %w", err)
		}
		if all.pipes == nil {
			all.pipes = make(map[place]*pipe)
		}
		all.pipes[at] = p
	}
	if again, err := logfile.Again(p.out); err == nil { // or one could make it non-blocking for all
		return again, nil
	}
	return dup(p.out)
}

func begin(fd int, terminal bool) (*pipe, error) {
	to, err := dup(fd)
	if err != nil {
		return nil, err
	}
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		unix.Close(to)
		return nil, err
	}
	if err := unix.SetNonblock(ends[0], true); err != nil {
		for _, fd := range []int{to, ends[0], ends[1]} {
			unix.Close(fd)
		}
		return nil, err
	}
	p := &pipe{to: to, terminal: terminal, in: os.NewFile(uintptr(ends[0]), "output"), out: ends[1], over: make(chan struct{})}
	go p.copy()
	return p, nil
}

func dup(fd int) (int, error) { return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 10) }

// copy copies until Finish says that this is all, and then what is there.
func (p *pipe) copy() {
	defer close(p.over)
	buf := make([]byte, pipeSize)
	for {
		n, err := p.in.Read(buf)
		p.write(buf[:n])
		if err != nil {
			break
		}
	}
	raw, err := p.in.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { // whatever is wrong, there is no more
		for {
			n, err := unix.Read(int(fd), buf)
			if err == unix.EINTR {
				continue
			}
			if n <= 0 {
				return
			}
			p.write(buf[:n])
		}
	})
}

// write writes all, or nothing where nobody takes it any more.
func (p *pipe) write(b []byte) {
	if p.terminal {
		b = visible.Output(b)
	}
	for len(b) > 0 {
		n, err := unix.Write(p.to, b)
		switch {
		case err == nil:
			b = b[n:]
		case err == unix.EINTR:
		case err == unix.EAGAIN: // whoever started us has made it non-blocking
			if _, err := unix.Poll([]unix.PollFd{{Fd: int32(p.to), Events: unix.POLLOUT}}, -1); err != nil && err != unix.EINTR {
				return
			}
		default:
			return
		}
	}
}

// Finish has all written that is in the pipes, when there will be no more. It waits for that,
// but no longer than d, and reports whether it is.
func Finish(d time.Duration) bool {
	all.Lock()
	defer all.Unlock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	for _, p := range all.pipes {
		if err := p.in.SetReadDeadline(time.Now()); err != nil && !errors.Is(err, os.ErrClosed) {
			return false
		}
	}
	for _, p := range all.pipes {
		select {
		case <-p.over:
		case <-timer.C:
			return false
		}
	}
	return true
}
