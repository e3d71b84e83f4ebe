package master

import (
	"errors"
	"fmt"
	"net"
	"os"
)

// successionFile is a pipe of which a master keeps the writing end open for as long as
// it answers on the admin address. The next binary inherits the reading end.
//
// Both have the same listening socket, so during an upgrade either could answer;
// and whoever scrapes would see one master's counters, then the other's, then the
// first one's again, which a monitoring system takes for two restarts. So the new
// master binds the address, and waits until it succeeds the other. (An older binary knows
// the file by this name.)
const successionFile = "admin turn"

// succession is a master's place in the row of those who answer on the admin address.
type succession struct {
	come chan struct{} // closed when the master before us has left
	mine *os.File      // closed when we have
}

// succeed gets in line.
func succeed(fds fileKeeper) (*succession, error) {
	before, err := fds.File(successionFile)
	if err != nil {
		return nil, fmt.Errorf("cannot take over the admin address: %w", err)
	}
	r, w, err := os.Pipe()
	if err == nil {
		err = errors.Join(fds.AddFile(successionFile, r), r.Close()) // a copy is kept
	}
	if err != nil {
		return nil, fmt.Errorf("cannot prepare the admin address for upgrades: %w", err)
	}
	t := &succession{come: make(chan struct{}), mine: w}
	if before == nil {
		close(t.come)
		return t, nil
	}
	go func() {
		defer close(t.come)
		_, _ = before.Read(make([]byte, 1)) // nobody writes: it ends when the master before us has left
		before.Close()
	}()
	return t, nil
}

// leave lets the next master answer.
func (t *succession) leave() error { return t.mine.Close() }

// serve has start answer on l as soon as we have succeeded. The function returned,
// which may be called once, ends it.
func (t *succession) serve(l net.Listener, start func(net.Listener) (stop func())) (stop func()) {
	select {
	case <-t.come:
		return start(l)
	default:
	}
	quit, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		select {
		case <-t.come:
		case <-quit:
			l.Close()
			return
		}
		end := start(l)
		<-quit
		end()
	}()
	return func() {
		close(quit)
		<-over
	}
}
