package worker

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"hostler/internal/apart"
	"hostler/protocol"
)

// SetOwner tells the loop whom to tell that a number is a file of the server's now.
func (l *Loop) SetOwner(tell func(fd int)) { l.own.owner = tell }

// Replace puts fd, which it takes over, in the place of a descriptor that the master
// left to this process: the other has been shut down.
func (l *Loop) Replace(number, fd int) {
	defer unix.Close(fd)
	for _, a := range l.doors.accepters {
		if a.fd == number && !a.replace(fd) {
			return // it has been closed
		}
	}
	x := l.exchange
	if x != nil && number == x.Out && (!l.own.has(number) || !put(fd, number)) {
		return
	}
	l.own.take(number)
	if l.own.owner != nil {
		l.own.owner(number)
	}
	if x != nil && number == x.In { // the last of the two
		x.ended.Store(false)
	}
}

// replace is Replace for what a accepts from.
func (a *accepter) replace(fd int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed || !a.l.own.has(a.fd) {
		return false
	}
	if sa, err := unix.Getsockname(fd); err == nil {
		if _, isUnix := sa.(*unix.SockaddrUnix); !isUnix {
			setOptions(fd)
		}
	}
	if a.wake == 0 {
		setPatience(fd)
	}
	return put(fd, a.fd)
}

// put puts fd in the place of number, which is a socket that others have, too.
func put(fd, number int) bool {
	old, err := apart.Replace(fd, number)
	if err != nil {
		return false
	}
	apart.Close(old)
	return true
}

// lost says what this process needs to serve and has no more, or "". Fatal says that
// nothing at all can be served.
func (o *own) lost(l *Loop) (what string, fatal bool) {
	if !l.sched.set.intact() {
		return "its epoll set", true
	}
	if !o.has(protocol.FDControl) {
		return "its control socket", false
	}
	for _, a := range l.doors.accepters {
		a.mu.Lock()
		gone := !a.closed && !o.has(a.fd)
		a.mu.Unlock()
		if gone {
			return fmt.Sprintf("descriptor %d, which it accepts connections from", a.fd), false
		}
	}
	if l.exchange != nil && !o.has(l.exchange.Out) {
		return "its exchange", false
	}
	return "", false
}

// SetLost tells the loop what to do when it has lost what it needs. It is called
// before Start; do is called once.
func (l *Loop) SetLost(do func(what string, fatal bool)) {
	var once sync.Once
	l.own.onLost = func(what string, fatal bool) { once.Do(func() { do(what, fatal) }) }
}

// check looks whether the application has closed what is ours. Housekeeping calls it.
func (o *own) check(l *Loop) {
	if o.onLost == nil {
		return
	}
	if what, fatal := o.lost(l); what != "" {
		o.onLost(what, fatal)
	}
}
