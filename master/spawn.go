package master

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"hostler/protocol"
)

// lastWords is how long the rest of a dead worker's messages is waited for when
// the socket does not end, because a child that the application forked holds it.
const lastWords = 50 * time.Millisecond

// spawner starts real processes and reaps them.
type spawner struct {
	log        *slog.Logger
	bootstrap  string
	library    int    // file descriptor of the worker library
	scoreboard int    // file descriptor of the scoreboard
	exchange   [2]int // descriptors of both ends, see protocol.NewExchange
	stdin      *os.File

	requests chan spawnRequest
	childs   chan os.Signal
	done     chan struct{}
	wg       sync.WaitGroup

	mu   sync.Mutex
	kids map[int]*child // by pid; those not yet reaped
}

type spawnRequest struct {
	python string
	argv   []string
	attr   *syscall.ProcAttr
	reply  chan<- spawnReply
}

type spawnReply struct {
	pid int
	err error
}

var _ starter = (*spawner)(nil)

// newSpawner returns a spawner that gives every worker the library and the
// scoreboard behind these file descriptors. They must stay open until Close.
func newSpawner(log *slog.Logger, bootstrap string, library, scoreboard int) (*spawner, error) {
	// Workers are in process groups of their own; one that read from the
	// terminal would be stopped by SIGTTIN.
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, fmt.Errorf("cannot start workers: %w", err)
	}
	s := &spawner{
		log: log, bootstrap: bootstrap, library: library, scoreboard: scoreboard, stdin: null,
		exchange: [2]int{rawFD(null), rawFD(null)}, // a worker that only checks the application needs none
		requests: make(chan spawnRequest),
		childs:   make(chan os.Signal, 1),
		done:     make(chan struct{}),
		kids:     make(map[int]*child),
	}
	signal.Notify(s.childs, syscall.SIGCHLD)
	s.wg.Add(2)
	go s.forkLoop()
	go s.reapLoop()
	return s, nil
}

// Close ends the spawner. Processes that are still there get SIGTERM from the
// kernel, as the thread that started them ends.
func (s *spawner) Close() {
	signal.Stop(s.childs)
	close(s.done)
	s.wg.Wait()
	s.stdin.Close()
}

// forkLoop starts processes from one thread that lives as long as the spawner:
// the parent-death signal is sent when the parent *thread* ends
// (golang/go#27505), and Go ends threads as it likes. The thread is never
// unlocked, so it is not reused for anything else.
func (s *spawner) forkLoop() {
	defer s.wg.Done()
	runtime.LockOSThread()
	for {
		select {
		case r := <-s.requests:
			pid, err := syscall.ForkExec(r.python, r.argv, r.attr)
			r.reply <- spawnReply{pid, err}
		case <-s.done:
			return
		}
	}
}

// reapLoop collects exit states. It asks for its own children by pid, never for
// "any child": tableflip waits for the new master itself.
func (s *spawner) reapLoop() {
	defer s.wg.Done()
	for {
		select {
		case <-s.childs:
			s.reap()
		case <-s.done:
			return
		}
	}
}

// reap reports all processes that have ended by now. Signals coalesce, so one
// SIGCHLD may stand for many.
func (s *spawner) reap() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for pid, c := range s.kids {
		var ws syscall.WaitStatus
		got, err := syscall.Wait4(pid, &ws, syscall.WNOHANG, nil)
		switch {
		case err == syscall.EINTR || err == nil && got == 0:
			continue
		case err != nil:
			// ECHILD: somebody else took the state. That the process is gone is
			// all that can be said.
			s.log.Error("cannot learn how a worker ended", "pid", pid, "error", err)
		}
		delete(s.kids, pid)
		c.mu.Lock()
		c.reaped = true // from here on the pid may belong to somebody else
		c.mu.Unlock()
		c.status <- ws
	}
}

// Start implements starter.
func (s *spawner) Start(spec processSpec, to func(report)) (process, error) {
	arg, err := spec.config.Encode()
	if err != nil {
		return nil, err
	}
	// CLOEXEC on both ends: a worker must not hold another worker's end, or that
	// one would not see the master die.
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot make a control socket: %w", err)
	}
	defer unix.Close(pair[1])
	// Room for the longest traceback, whatever the system's default is.
	_ = unix.SetsockoptInt(pair[1], unix.SOL_SOCKET, unix.SO_SNDBUF, 4*protocol.MaxMessage)
	if err := unix.SetNonblock(pair[0], true); err != nil {
		unix.Close(pair[0])
		return nil, fmt.Errorf("cannot make a control socket: %w", err)
	}
	// Raw numbers all through: os.File.Fd would switch the shared description
	// of a listener to blocking, for every process that has it (golang/go#29277).
	files := []uintptr{s.stdin.Fd(), 1, 2, uintptr(pair[1]), uintptr(s.scoreboard), uintptr(s.library),
		uintptr(s.exchange[0]), uintptr(s.exchange[1])}
	for _, fd := range spec.listeners {
		files = append(files, uintptr(fd))
	}
	reply := make(chan spawnReply, 1)
	req := spawnRequest{
		python: spec.python,
		argv:   []string{spec.python, "-c", s.bootstrap, arg},
		attr: &syscall.ProcAttr{
			Env:   spec.env,
			Files: files,
			Sys: &syscall.SysProcAttr{
				Setpgid:   true, // Ctrl-C in the terminal is for the master only
				Pdeathsig: syscall.SIGTERM,
			},
		},
		reply: reply,
	}
	select {
	case s.requests <- req:
	case <-s.done:
		unix.Close(pair[0])
		return nil, errors.New("cannot start a worker: the master is ending")
	}
	r := <-reply
	if r.err != nil {
		unix.Close(pair[0])
		return nil, fmt.Errorf("cannot start %s: %w", spec.python, r.err)
	}
	c := &child{
		pid:     r.pid,
		control: os.NewFile(uintptr(pair[0]), "control"),
		status:  make(chan syscall.WaitStatus, 1),
	}
	s.mu.Lock()
	s.kids[c.pid] = c
	s.mu.Unlock()
	go c.listen(s.log, to)
	s.reap() // its SIGCHLD may have come before the pid was in the table
	return c, nil
}

// child is a real worker process.
type child struct {
	pid     int
	control *os.File // non-blocking, in the runtime's poller
	status  chan syscall.WaitStatus

	mu     sync.Mutex
	reaped bool
}

// PID implements process.
func (c *child) PID() int { return c.pid }

// Signal implements process. It never hits a process that got the pid later.
func (c *child) Signal(sig syscall.Signal) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reaped {
		return os.ErrProcessDone
	}
	return syscall.Kill(c.pid, sig)
}

// Send implements process.
func (c *child) Send(m protocol.Message) error {
	raw, err := c.control.SyscallConn()
	if err != nil {
		return fmt.Errorf("cannot reach the worker: %w", err)
	}
	packet := m.Append(nil)
	var sendErr error
	err = raw.Control(func(fd uintptr) {
		sendErr = unix.Sendto(int(fd), packet, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil)
	})
	if err = errors.Join(err, sendErr); err != nil {
		return fmt.Errorf("cannot reach the worker: %w", err)
	}
	return nil
}

// Close implements process.
func (c *child) Close() { c.control.Close() }

// listen reports what the worker says, and last its end. A boot failure's text
// may still be in the socket when the process is gone already, which is why one
// goroutine does both.
func (c *child) listen(log *slog.Logger, to func(report)) {
	silent := make(chan struct{})
	go func() {
		defer close(silent)
		buf := make([]byte, protocol.MaxMessage)
		for {
			n, err := c.control.Read(buf)
			if err != nil {
				return // end of file, or the deadline set below
			}
			m, err := protocol.ParseMessage(buf[:n])
			if err != nil {
				log.Error("a worker sent what is no message", "pid", c.pid, "error", err)
				continue
			}
			to(report{message: m})
		}
	}()
	ws := <-c.status
	if err := c.control.SetReadDeadline(time.Now().Add(lastWords)); err != nil {
		log.Error("cannot set a deadline on a control socket", "error", err)
	}
	<-silent
	to(report{exited: true, status: ws})
}
