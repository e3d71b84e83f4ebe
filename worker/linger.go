package worker

import (
	"time"

	"golang.org/x/sys/unix"
)

// How a connection ends after its last word. Closing a socket with unread input, or one
// to which the peer sends something later, makes the kernel throw away what the peer has
// not taken yet of our answer (RFC 9112, 9.6), and a client of HTTP/2 sends frames for as
// long as it takes. So where more may come it is read, and dropped, until the client has
// all, or takes it too slowly.

// endSoon ends an owned connection to which the last word has been said, when all that
// waits is out.
func (c *conn) endSoon(l *Loop) {
	if c.out.pending.Load() {
		c.finishLater(l, false, true)
	} else {
		c.finish(l, false, true)
	}
}

// finishLater is finish for a connection whose output waits for room.
func (c *conn) finishLater(l *Loop, framed, unread bool) {
	if c.in != nil {
		l.mem.inputs.put(c.in)
		c.in = nil
	}
	c.closing, c.framed, c.unread = true, framed, unread
	c.setPhase(phaseWriting, l.deadline(l.cfg.WriteTimeout))
	if !c.release() {
		c.writeOn(l)
	}
}

// finish implements transport. A client that knows where the reply ends closes the
// connection itself; it is given a moment for it, for whoever closes first has the port
// in TIME_WAIT for a minute.
func (s *socket) finish(l *Loop, framed, unread bool) {
	c := s.c
	c.sayEnd()
	if c.holdsBack() { // the end of TLS
		c.out.mu.Lock()
		c.out.open(l)
		c.out.mu.Unlock()
		switch c.out.flush(l, c) { // which asks for room
		case flushMore:
			c.finishLater(l, framed, unread)
			return
		case flushGone:
			c.close(l)
			return
		}
	}
	switch {
	case unread:
		s.linger(l)
	case framed && !c.hup:
		c.unread = false
		c.setPhase(phaseLinger, l.now()+farewellTime)
		l.keeper.soon.give()
		c.lingering(l)
	default:
		c.close(l)
	}
}

// linger implements transport: it tells the peer, and keeps reading.
func (s *socket) linger(l *Loop) {
	c := s.c
	if unix.Shutdown(c.fd, unix.SHUT_WR) != nil {
		c.close(l)
		return
	}
	if c.in != nil {
		l.mem.inputs.put(c.in)
		c.in = nil
	}
	c.unread = true
	now := l.now()
	c.out.mu.Lock()
	c.out.began, c.out.moved, c.out.sent = now, now, 0
	c.out.mu.Unlock()
	c.untaken = untaken(c.fd)
	c.setPhase(phaseLinger, now+lingerTime)
	c.lingering(l)
}

// stillTakes is asked when the time of a lingering connection is up. It gives the
// connection up, with more time, if the client is about to take what is in the socket:
// with the limits of a response that waits in our memory.
func (c *conn) stillTakes(l *Loop) bool {
	left := untaken(c.fd)
	if !c.unread || left <= 0 {
		return false
	}
	o, now := &c.out, l.now()
	o.mu.Lock()
	if n := c.untaken - left; n > 0 {
		c.untaken = left
		o.sent += int64(n)
		o.moved = now
	}
	limit := o.patience(l, c)
	o.mu.Unlock()
	if limit != 0 && limit <= now {
		return false
	}
	c.deadline.Store(now + lingerTime/4)
	c.lingering(l)
	return true
}

// lingering reads and drops what the peer still sends.
func (c *conn) lingering(l *Loop) {
	var waste [4096]byte
	for range 8 { // a peer that never stops must not keep the thread
		for range 64 {
			n, err := c.read(waste[:])
			if err == unix.EAGAIN {
				break
			}
			if n == 0 || err != nil {
				c.close(l)
				return
			}
		}
		if c.release() {
			return
		}
	}
	// An event is passed over. If it was the last, the time limit ends it.
	c.state.Store(0)
}

const (
	lingerTime   = int64(2 * time.Second)
	farewellTime = int64(30 * time.Millisecond)
)
