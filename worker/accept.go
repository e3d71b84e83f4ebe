package worker

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"hostler/protocol"
)

// accepter takes connections off one listener, in a thread of its own that
// blocks in accept4(2). The kernel wakes exactly one of all the threads that
// wait so, the one that has waited longest: there is no thundering herd, and
// connections spread evenly over the workers. (An epoll set, exclusive or not,
// would wake all, or always the same one.)
type accepter struct {
	l    *Loop
	fd   int
	once func()       // wait for one connection and take it
	mode atomic.Int32 // what to do next: one of accept…
	tid  atomic.Int32
	done chan struct{}

	started sync.Once
	wake    int // signal that interrupts accept4, or 0

	said   time.Time // when its failure was last logged
	failed int       // times since

	mu     sync.Mutex
	closed bool // fd is not its any more
}

// doors are the accepters of a worker.
type doors struct {
	accepters []*accepter
	accepting atomic.Int64 // those that are still at work
}

const (
	acceptGo   = iota
	acceptRest // take what is in the listen queue, then leave
	acceptStop // leave
)

// Listen starts to accept on listening sockets, in the order of the settings'
// Listeners. wake is a signal whose handler does nothing and restarts no system
// call; with 0 the sockets get a short receive timeout instead.
func (l *Loop) Listen(fds []int, wake int) error {
	for i, fd := range fds {
		sa, err := unix.Getsockname(fd)
		if err != nil {
			return fmt.Errorf("cannot accept on listener %d: %w", i, err)
		}
		_, isUnix := sa.(*unix.SockaddrUnix)
		if !isUnix {
			setOptions(fd)
		}
		a := &accepter{l: l, fd: fd, done: make(chan struct{}), wake: wake}
		a.once = func() { a.accept(i) }
		if wake == 0 {
			setPatience(fd)
		}
		l.own.take(fd)
		l.doors.accepters = append(l.doors.accepters, a)
		l.doors.accepting.Add(1)
	}
	if l.exchange != nil {
		l.own.take(l.exchange.Out)
		l.own.take(l.exchange.In)
		l.doors.accepters = append(l.doors.accepters, l.receiver(wake))
		l.doors.accepting.Add(1)
	}
	if l.exchange != nil && l.cfg.Canary {
		l.exchange.canary.returns.Store(true)
		return nil // it is told when to begin: see canary.goOn
	}
	l.doors.open(func(*accepter) bool { return true })
	return nil
}

// open starts accepters that have not been started.
func (d *doors) open(which func(*accepter) bool) {
	for _, a := range d.accepters {
		if which(a) {
			a.start()
		}
	}
}

func (a *accepter) start() { a.started.Do(func() { go a.run() }) }

func (a *accepter) run() {
	runtime.LockOSThread() // never unlocked: its signal mask is like no other's
	defer close(a.done)
	if a.wake != 0 {
		var set unix.Sigset_t
		set.Val[(a.wake-1)/64] |= 1 << ((a.wake - 1) % 64)
		if err := unix.PthreadSigmask(unix.SIG_UNBLOCK, &set, nil); err != nil {
			a.l.log.Error("cannot unblock the signal that interrupts accept", "error", err)
		}
	}
	a.tid.Store(int32(unix.Gettid()))
	for a.mode.Load() == acceptGo {
		if a.l.saturated() && !a.lent() {
			if a.l.full() && a.someoneWaits() {
				a.l.keeper.wanted.give()
			}
			select {
			case <-a.l.conns.room:
			case <-time.After(20 * time.Millisecond):
			}
			continue
		}
		a.once()
	}
	if a.mode.Load() == acceptRest {
		a.rest()
	}
	a.closeOwn()
	a.l.doors.accepting.Add(-1)
	a.l.checkDrained()
}

// lent says that a takes what is lent to a canary, and that there is somewhere to put it.
// Nobody else would take it while we are busy: then it goes back at once, see putBack.
func (a *accepter) lent() bool {
	x := a.l.exchange
	return x != nil && a.fd == x.In && x.canary.returns.Load() && (!a.l.full() || x.free() > 0)
}

// someoneWaits says that there is something to take off the descriptor.
func (a *accepter) someoneWaits() bool {
	p := []unix.PollFd{{Fd: int32(a.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, 0)
	return n > 0 || err == unix.EINTR
}

// rest takes what is in the listen queue. Clients may go on to connect for as
// long as any process listens, so there is an end to it.
func (a *accepter) rest() {
	for end := time.Now().Add(time.Second); time.Now().Before(end) && a.mode.Load() != acceptStop; {
		if a.l.full() {
			a.l.keeper.wanted.give()
			time.Sleep(5 * time.Millisecond) // for want of room it would be closed
			continue
		}
		if !a.someoneWaits() {
			return
		}
		a.once()
	}
}

// accept takes a connection off a listening socket.
func (a *accepter) accept(index int) {
	fd, sa, err := unix.Accept4(a.fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	switch err {
	case nil:
		a.l.addConn(fd, index, peerOf(sa))
	case unix.EINTR, unix.ECONNABORTED:
	case unix.EAGAIN:
		// O_NONBLOCK belongs to the socket, not to our descriptor: a new
		// master that inherits the socket sets it for all of us.
		if a.wake != 0 {
			_ = unix.SetNonblock(a.fd, false)
		}
	default: // EMFILE, most of the time
		a.l.slot.Counters.AcceptErrors.Add(1)
		a.failed++
		if now := time.Now(); now.Sub(a.said) >= acceptPause {
			a.l.log.Warn("cannot accept connections; trying again", "error", err, "times", a.failed)
			a.said, a.failed = now, 0
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// acceptPause is how long an accepter that fails says no more of it.
const acceptPause = 10 * time.Second

// stop tells the accepter to leave; it may be in accept4, or on its way there,
// so it is interrupted until it has understood.
func (a *accepter) stop(mode int32) {
	a.mode.Store(mode)
	a.start() // if it never was, it only leaves
	for {
		if tid := a.tid.Load(); a.wake != 0 && tid != 0 {
			_ = unix.Tgkill(unix.Getpid(), int(tid), unix.Signal(a.wake))
		}
		select {
		case <-a.done:
			return
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// full says that there are as many connections as may be.
func (l *Loop) full() bool { return l.conns.n.Load() >= int64(l.conns.max) }

// saturated says that a new connection would wait here while another worker
// could serve it.
func (l *Loop) saturated() bool {
	if l.full() {
		return true
	}
	// Files can be served here all the same where nobody else has a thread either.
	return l.pace.wedged.Load() && l.cfg.Workers > 1 && (l.static == nil || l.capacity() > 0)
}

func peerOf(sa unix.Sockaddr) netip.AddrPort {
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	return netip.AddrPort{}
}

// closeOwn ends a's use of its descriptor.
func (a *accepter) closeOwn() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	a.l.own.close(a.fd)
}

// putBackPause keeps this worker from taking at once what it has put back.
const putBackPause = 250 * time.Microsecond

// putBack gives a connection from the exchange to the next receiver, if this worker
// is busy, or has sent it itself: the kernel wakes whoever has waited longest, but a
// thread that comes to wait just then takes the packet before that one is awake.
func (l *Loop) putBack(h *protocol.Handover) bool {
	x := l.exchange
	if !x.isOwn(h) && !l.saturated() || h.Hops >= maxHops || x.free() == 0 {
		return false
	}
	h.Hops++
	h.From = x.stamp()
	if protocol.SendHandover(x.Out, h) != nil {
		return false
	}
	unix.Close(h.FD)
	return true
}

// receiver takes connections from the exchange, in a thread of its own that
// blocks, like an accepter, and for the same reason.
func (l *Loop) receiver(wake int) *accepter {
	in := l.exchange.In
	from := protocol.NewReceiver(l.exchange.Out, in)
	if wake == 0 {
		setPatience(in)
	}
	a := &accepter{l: l, fd: in, done: make(chan struct{}), wake: wake}
	a.once = func() {
		h, err := from.Receive()
		switch {
		case err == nil && l.putBack(&h):
			time.Sleep(putBackPause)
		case err == nil:
			l.adopt(&h)
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			if wake != 0 { // as in accept
				_ = unix.SetNonblock(in, false)
			}
		case err == protocol.ErrExchangeEnded:
			// The master sees it, says so, and sends another one.
			// If it is a canary's, all goes on through the ordinary one.
			l.exchange.ended.Store(!l.exchange.canary.returns.Load() && protocol.HungUp(in))
			time.Sleep(100 * time.Millisecond)
		case err == protocol.ErrNoDescriptor:
			l.exchange.trouble.say(l.log, slog.LevelWarn, "cannot take a connection over; another worker will", "error", err)
			time.Sleep(100 * time.Millisecond)
		case errors.Is(err, protocol.ErrHandover): // it comes from a worker, which runs the application
			l.exchange.trouble.say(l.log, slog.LevelError, "another worker handed over what is no connection", "error", err)
			time.Sleep(time.Millisecond)
		default:
			l.exchange.trouble.say(l.log, slog.LevelError, "cannot take a connection over", "error", err)
			time.Sleep(100 * time.Millisecond)
		}
	}
	return a
}

// addConn puts a freshly accepted socket under the loop's care.
func (l *Loop) addConn(fd, listener int, peer netip.AddrPort) {
	c := l.conns.get()
	if c == nil { // the accepters look before; there are not so many of them
		unix.Close(fd)
		return
	}
	c.reset(fd, listener, peer)
	if peer.IsValid() {
		probe(fd)
	}
	c.trusted = l.origin.Trusted.Peer(peer)
	c.proxyDue = l.origin.AwaitsProxyHeader(peer)
	p := phaseIdle
	if l.cfg.Listeners[listener].TLS {
		p = phaseShaking
	}
	c.setPhase(p, l.firstDeadline(l.now()))
	l.slot.Counters.Accepted.Add(1)
	c.admit(l)
}
