package worker

import (
	"math/rand/v2"
	"strconv"

	"golang.org/x/sys/unix"

	"hostler/protocol"
)

// A canary is a new generation that is tried with a share of the requests. Its workers take
// no connections by themselves: the others give them some, each for one request, through an
// exchange that only the canary takes from, and get them back by the ordinary one when that
// is answered. So the share is kept whatever connections there are, and however busy one is.
//
// Over TLS it is one of connections: these are lent before their handshake, and stay.

// lend gives an owned connection, of which nothing has been read, to the canary if it is the
// turn of its request. It returns false if the connection stays.
func (g *giver) lend(l *Loop, c *conn) bool {
	if !c.plain() || c.hops >= maxHops {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.out < 0 || !g.turn() || !l.own.has(g.out) {
		return false
	}
	gone, _ := l.exchange.give(l, c, nil, g.out) // if it has no room, or has ended, we serve it
	return gone
}

// end gives up the end that g has.
func (g *giver) end(l *Loop) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l.own.release(g.out)
	g.out = -1
}

// lend is giver.lend, if there is a canary to give to.
func (k *canary) lend(l *Loop, c *conn) bool {
	g := k.giver.Load()
	return g != nil && g.lend(l, c)
}

// goOn obeys a KindCanary. fd, which is ours, may be -1.
func (k *canary) goOn(l *Loop, text string, fd int) {
	share, err := strconv.ParseFloat(text, 64)
	begins := err == nil && share > 0 && share < 1
	switch {
	case l.cfg.Canary && begins:
		l.doors.open(func(a *accepter) bool { return a.fd == l.exchange.In })
	case l.cfg.Canary:
		k.returns.Store(false)
		l.doors.open(func(*accepter) bool { return true })
	default:
		var next *giver
		if begins && fd >= 0 {
			l.own.take(fd)
			if l.own.owner != nil {
				l.own.owner(fd)
			}
			next = &giver{out: fd, share: share, next: rand.Float64()}
		}
		if g := k.giver.Swap(next); g != nil {
			g.end(l)
		}
		if next == nil && fd >= 0 {
			go l.exchange.takeLeft(l, fd)
		}
		return
	}
	if fd >= 0 {
		unix.Close(fd)
	}
}

// takeLeft takes what is left in the exchange of a canary that has ended, whose receiving end
// is in: nothing more comes.
func (x *Exchange) takeLeft(l *Loop, in int) {
	defer unix.Close(in)
	from := protocol.NewReceiver(x.Out, in)
	for {
		h, err := from.Receive()
		switch err {
		case nil:
			l.adopt(&h)
		case unix.EINTR:
		default:
			return
		}
	}
}
