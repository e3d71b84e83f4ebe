package worker

import (
	"errors"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"

	"hostler/protocol"
)

const (
	// maxHops bounds how often a connection moves before its next answer. One
	// that goes out because its worker is busy may come to another busy one,
	// whose receiver waited already: that one puts it back, behind itself in the
	// kernel's queue of receivers, as long as a third worker seems to be free.
	maxHops = 64
	// handoverPatience is for how many milliseconds a drain waits for room in
	// the exchange. Then there seems to be nobody to take connections, and the
	// worker announces their close instead.
	handoverPatience = 1000
)

// capacity is how many requests other workers could probably run until the
// deputy's next tick: one for each free thread, or as many as it gets done in that
// time where calls are quick.
func (l *Loop) capacity() int {
	if l.exchange == nil {
		return 0
	}
	return l.exchange.free() * l.pace.perTick()
}

// handOver gives an owned connection, with what has been read of it and not
// answered, to whichever worker takes it first. It returns false if the
// connection stays; the caller owns it then as before.
//
// The exchange delivers a packet to exactly one process, and this one forgets
// the connection only once the packet is in: the request is answered by one of
// the two, whatever dies.
func (l *Loop) handOver(c *conn, data []byte) bool {
	x := l.exchange
	if x != nil && x.ended.Load() {
		l.leave.moving.Store(false) // a drain does not wait for another one
		return false
	}
	if x == nil {
		return false
	}
	gone, err := x.give(l, c, data, x.Out)
	if err != nil && !errors.Is(err, unix.EAGAIN) {
		x.trouble.say(l.log, slog.LevelError, "connections stay where they are", "error", err)
		if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
			x.ended.Store(true) // until another comes
		}
		l.leave.moving.Store(false)
	}
	return gone
}

// give is handOver through an end of this exchange, or of another one.
func (x *Exchange) give(l *Loop, c *conn, data []byte, out int) (gone bool, err error) {
	if !c.plain() || c.hops >= maxHops || len(data) > protocol.MaxHandoverData || c.out.pending.Load() {
		return false, nil
	}
	// By itself the set would go on to report it: a registration lives for as
	// long as any process has the socket open.
	if l.sched.set.control(unix.EPOLL_CTL_DEL, c.fd, unix.EpollEvent{}) != nil {
		return false, nil
	}
	if c.out.quick { // nobody there knows
		limitUnsent(c.fd, notSentMost)
		c.out.quick = false
	}
	h := protocol.Handover{FD: c.fd, From: x.stamp(), Hops: c.hops + 1, Served: c.served > 0, Awaits: c.proxyDue, Anonymous: c.anonymous,
		Shakes:   phase(c.phase.Load()) == phaseShaking,
		Listener: l.cfg.Listeners[c.listener], Peer: c.peer, Data: data}
	if c.in != nil {
		h.Arrived = c.in.arrived
	}
	if err = protocol.SendHandover(out, &h); err != nil {
		if c.watch(l, unix.EPOLL_CTL_ADD) != nil {
			c.close(l)
			return true, err
		}
		return false, err
	}
	l.slot.Counters.HandedOut.Add(1)
	c.close(l)
	return true, nil
}

// moves reports whether a connection that has its answer is to go on in another worker.
func (c *conn) moves(l *Loop) bool {
	return l.leave.moving.Load() || l.exchange != nil && l.exchange.canary.takesBack(l.exchange)
}

// moveAll hands over what rests, when the worker drains and others go on. What
// cannot move is closed a little later, if it still rests then.
// Connections that come to rest later move then (see nextOf); those for which
// there was no room in the exchange are the sweeper's.
func (t *connTable) moveAll(l *Loop) {
	t.each(func(c *conn) {
		for try := 0; l.leave.moving.Load(); try++ {
			p := phase(c.phase.Load())
			if p != phaseIdle && p != phaseHead || c.state.Load()&stateOwned != 0 || !c.claim(false) {
				return
			}
			p = phase(c.phase.Load())
			if (p == phaseIdle || p == phaseHead) && l.handOver(c, c.unparsed()) {
				return
			}
			stays := !c.plain()
			if limit := l.now() + restGrace; stays && p == phaseIdle && c.deadline.Load() > limit {
				c.deadline.Store(limit)
			}
			if !c.release() {
				c.requeue(l)
				return
			}
			if stays {
				return
			}
			if try == handoverPatience {
				l.log.Warn("nobody takes this worker's connections over")
				l.leave.moving.Store(false)
				return
			}
			time.Sleep(time.Millisecond)
		}
	})
}

// unparsed is what has been read of a connection at rest.
func (c *conn) unparsed() []byte {
	if c.in == nil {
		return nil
	}
	return c.in.mem[:c.in.n]
}

// plain reports whether a connection is no more than its socket and what has been read
// of it. What TLS and HTTP/2 have agreed on with the peer does not move.
func (c *conn) plain() bool { return c.portable() && !c.out.pending.Load() }

// movable reports whether a connection in the ready queue can move with what has
// been read of it. (Chunked bodies are decoded in place.)
func (c *conn) movable() bool {
	return c.plain() && c.hops < maxHops && (c.in == nil || !c.in.chunked && c.in.spool == nil && c.in.pass == nil && c.in.n <= protocol.MaxHandoverData)
}

// adopt takes a connection over from another worker.
func (l *Loop) adopt(h *protocol.Handover) {
	c := l.conns.get()
	if c == nil {
		l.exchange.trouble.say(l.log, slog.LevelError, "no room for a connection that another worker gave away")
		unix.Close(h.FD)
		return
	}
	l.slot.Counters.HandedIn.Add(1)
	c.reset(h.FD, l.listenerIndex(h.Listener), h.Peer)
	c.proxyDue, c.anonymous = h.Awaits, h.Anonymous
	c.trusted = !h.Anonymous && l.origin.Trusted.Peer(h.Peer)
	c.hops = h.Hops
	now := l.now()
	switch {
	case h.Served:
		c.served = 1
		c.setPhase(phaseIdle, l.idleDeadline(now))
	case h.Shakes && l.cfg.Listeners[c.listener].TLS:
		c.setPhase(phaseShaking, l.firstDeadline(now))
	default:
		c.setPhase(phaseIdle, l.firstDeadline(now))
	}
	if len(h.Data) == 0 {
		c.admit(l)
		return
	}
	in := l.mem.inputs.get(len(h.Data) + 1)
	if in == nil {
		c.close(l)
		return
	}
	in.n = copy(in.mem, h.Data)
	in.arrived = h.Arrived
	c.in = in
	if c.watch(l, unix.EPOLL_CTL_ADD) != nil {
		c.close(l)
		return
	}
	c.requeue(l)
}

// listenerIndex finds the listener a connection came in by. After a reload it may
// be gone; the connections that it has brought live on as if they were the first's.
func (l *Loop) listenerIndex(want protocol.Listener) int {
	for i, have := range l.cfg.Listeners {
		if have.Network == want.Network && have.Host == want.Host && have.Port == want.Port {
			return i
		}
	}
	return 0
}
