package master

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"github.com/cloudflare/tableflip"
	"golang.org/x/sys/unix"
)

// turnFile is a pipe of which a master keeps the writing end open for as long as
// it answers on the admin address. The next binary inherits the reading end.
//
// Both have the same listening socket, so during an upgrade either could answer;
// and whoever scrapes would see one master's counters, then the other's, then the
// first one's again, which a monitoring system takes for two restarts. So the new
// master binds the address, and waits for its turn.
const turnFile = "admin turn"

// turn is a master's place in the row of those who answer on the admin address.
type turn struct {
	before *os.File // its end means that the master before us has left; nil: there was none
	mine   *os.File // closed when we have
}

// takeTurn gets in line.
func takeTurn(fds *tableflip.Fds) (*turn, error) {
	before, err := fds.File(turnFile)
	if err != nil {
		return nil, fmt.Errorf("cannot take over the admin address: %w", err)
	}
	t := new(turn)
	if before != nil {
		defer before.Close()
		if t.before, err = pollable(before); err != nil {
			return nil, fmt.Errorf("cannot take over the admin address: %w", err)
		}
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("cannot prepare the admin address for upgrades: %w", err)
	}
	defer r.Close() // tableflip has a copy
	if err := fds.AddFile(turnFile, r); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot prepare the admin address for upgrades: %w", err), w.Close())
	}
	t.mine = w
	return t, nil
}

// pollable copies f such that closing it ends a read.
func pollable(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(uintptr(rawFD(f)), unix.F_DUPFD_CLOEXEC, 10)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// serve has start answer on l as soon as it is our turn. The function returned
// ends it, and lets the next one begin.
func (t *turn) serve(l net.Listener, start func(net.Listener) (stop func())) (stop func()) {
	if t.before == nil {
		end := start(l)
		return func() {
			end()
			t.mine.Close()
		}
	}
	quit, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		defer t.mine.Close()
		_, err := t.before.Read(make([]byte, 1)) // nobody writes
		if !errors.Is(err, io.EOF) {             // we have closed it
			l.Close()
			return
		}
		t.before.Close()
		end := start(l)
		<-quit
		end()
	}()
	return sync.OnceFunc(func() {
		t.before.Close()
		close(quit)
		<-over
	})
}
