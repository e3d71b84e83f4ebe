package worker

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"hostler/protocol"
)

// own knows the descriptors that the master left to this process by their files. The
// application runs in the same process and may close what is not its own (a loop over
// all numbers, or twice the same one); the number then comes to be another file's,
// which we must not use.
type own struct {
	owner  func(fd int)                  // see SetOwner; may be nil
	onLost func(what string, fatal bool) // see SetLost; may be nil

	mu    sync.Mutex
	files map[int]file
}

type file struct{ dev, ino uint64 }

func fileAt(fd int) (file, bool) {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	return file{uint64(st.Dev), st.Ino}, err == nil
}

// take says that what has the number now is ours.
func (o *own) take(fd int) {
	f, ok := fileAt(fd)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.files == nil {
		o.files = make(map[int]file)
	}
	if ok {
		o.files[fd] = f
	}
}

// has says whether the number is still ours.
func (o *own) has(fd int) bool {
	f, ok := fileAt(fd)
	o.mu.Lock()
	defer o.mu.Unlock()
	known, listed := o.files[fd]
	return !listed || ok && f == known
}

// close closes a descriptor, if it is still ours.
func (o *own) close(fd int) {
	if o.has(fd) {
		unix.Close(fd)
	}
}

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
	if x != nil && number == x.Out && (!l.own.has(number) || unix.Dup3(fd, number, unix.O_CLOEXEC) != nil) {
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
	return unix.Dup3(fd, a.fd, unix.O_CLOEXEC) == nil
}

// lost says what this process needs to serve and has no more, or "". Fatal says that
// nothing at all can be served.
func (l *Loop) lost() (what string, fatal bool) {
	if !l.sched.set.intact() {
		return "its epoll set", true
	}
	if !l.own.has(protocol.FDControl) {
		return "its control socket", false
	}
	for _, a := range l.doors.accepters {
		a.mu.Lock()
		gone := !a.closed && !l.own.has(a.fd)
		a.mu.Unlock()
		if gone {
			return fmt.Sprintf("descriptor %d, which it accepts connections from", a.fd), false
		}
	}
	if l.exchange != nil && !l.own.has(l.exchange.Out) {
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

// checkOwn looks whether the application has closed what is ours.
func (hk *housekeeper) checkOwn() {
	l := hk.l
	if l.own.onLost == nil {
		return
	}
	if what, fatal := l.lost(); what != "" {
		l.own.onLost(what, fatal)
	}
}
