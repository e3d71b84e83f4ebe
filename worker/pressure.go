package worker

import (
	"cmp"
	"slices"

	"hostler/protocol"
)

// pressure is what comes of a worker that is full: of connections
// (--worker-connections), or of bytes that clients have not taken, or of requests
// that they have not sent to their end (--limit-buffers). Somebody has to go then, or
// a few thousand clients that do nothing would keep all others out. Those go who make
// the least of their place. All of it belongs to the housekeeping: candidates
// are gathered, whoMayGo and whoHoldsMost put them in order, and evict ends them.
type pressure struct {
	wanted poke  // an accepter waits for room
	said   int64 // when it was last logged that somebody had to go
	unsaid int   // who had to since
	rooms  roomWaits
}

const (
	// goAtOnce is which part of the connections go at once, lest each newcomer
	// makes us look at all of them.
	goAtOnce = 32
)

// candidate is a connection that may have to go.
type candidate struct {
	c     *conn
	gen   uint32
	phase phase
	kind  protocol.Eviction
	age   int64 // ns in its phase
	rate  int64 // bytes a second it has moved meanwhile
	bytes int64 // that it keeps us from forgetting
	input int64 // of these, bytes in the input
}

// makeRoom closes connections where as many are open as may be: first those that rest
// between requests, for the longest time; then those that have never asked for
// anything; then those that crawl.
func (p *pressure) makeRoom(l *Loop) {
	if l.conns.n.Load() < int64(l.conns.max) {
		return
	}
	now := l.now()
	all := whoMayGo(p.candidates(l, now), l.cfg.MinRate)
	n := 0
	for _, k := range all {
		if n > l.conns.max/goAtOnce || n > 0 && k.kind.Rank() > all[0].kind.Rank() {
			break
		}
		if p.evict(l, k) {
			n++
		}
	}
	p.say(l, now, n, "too many connections", "worker_connections", int64(l.conns.max))
}

// relieve ends what is slowest where more is buffered than may be.
func (p *pressure) relieve(l *Loop) {
	limit := l.cfg.LimitBuffers
	if !l.mem.over() {
		return
	}
	now := l.now()
	all, input := whoHoldsMost(p.candidates(l, now))
	used := l.mem.used() + input
	if used <= limit {
		return
	}
	n := 0
	for _, k := range all {
		if used <= limit-limit/8 {
			break
		}
		// Who has just begun may be as fast as any, if there is time to see it.
		if k.age < restEnough && used <= 2*limit {
			continue
		}
		if p.evict(l, k) {
			used -= k.bytes
			n++
		}
	}
	p.say(l, now, n, "too much is buffered for slow clients", "limit_buffers", limit)
}

// whoMayGo returns those that may have to go for a newcomer, in the order in which they
// do. The slice is theirs.
func whoMayGo(all []candidate, minRate int64) []candidate {
	all = slices.DeleteFunc(all, func(k candidate) bool {
		switch k.kind {
		case protocol.EvictedIdle, protocol.EvictedHead:
			return k.age < restEnough
		}
		return k.age < crawlEnough || k.rate >= crawl*minRate
	})
	slices.SortFunc(all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.kind.Rank(), b.kind.Rank()), cmp.Compare(a.rate, b.rate), cmp.Compare(b.age, a.age))
	})
	return all
}

// whoHoldsMost returns those that keep us from forgetting something, the slowest first,
// and how much of that is in inputs.
func whoHoldsMost(all []candidate) (holders []candidate, input int64) {
	all = slices.DeleteFunc(all, func(k candidate) bool { return k.bytes == 0 })
	for _, k := range all {
		input += k.input
	}
	slices.SortFunc(all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.rate, b.rate), cmp.Compare(b.age, a.age))
	})
	return all, input
}

// candidates are the connections, and streams of HTTP/2, that nobody works on.
func (p *pressure) candidates(l *Loop, now int64) []candidate {
	var all []candidate
	look := func(c *conn) {
		if c.state.Load()&stateOwned != 0 || !c.claim(false) {
			return
		}
		k := c.weigh(l, now)
		if !c.release() {
			l.resume(l.keeper.sweeper, c)
		} else if k.c != nil {
			all = append(all, k)
		}
	}
	l.conns.each(func(c *conn) {
		for _, s := range c.streams() {
			look(&s.conn)
		}
		look(c)
	})
	return all
}

// weigh says what an owned connection is worth to us.
func (c *conn) weigh(l *Loop, now int64) candidate {
	k := candidate{c: c, gen: c.gen.Load(), phase: phase(c.phase.Load())}
	since := now
	held, began := c.holds()
	switch k.phase {
	case phaseIdle, phaseHead, phaseShaking:
		if c.fd < 0 {
			return candidate{} // a stream
		}
		if k.kind = protocol.EvictedHead; k.phase == phaseIdle && c.served > 0 {
			k.kind = protocol.EvictedIdle
			since = c.deadline.Load() - int64(l.cfg.KeepAlive)
		} else {
			since = c.deadline.Load() - int64(l.cfg.HeaderTimeout)
		}
		if c.in != nil {
			k.input = c.in.touched()
			k.rate = perSecond(int64(c.in.n), now-since)
		}
	case phaseStreams:
		return c.weighStreams(k, now)
	case phaseBody:
		k.kind = protocol.EvictedBody
		if in := c.in; in != nil {
			since, k.input = in.began, in.touched()
			k.rate = perSecond(in.received(), now-since)
		}
	case phaseWriting, phaseLinger:
		if k.phase == phaseLinger && !c.unread {
			return candidate{} // it ends in a moment
		}
		k.kind = protocol.EvictedWrite
		since, k.rate, k.bytes = c.out.weigh(now)
	case phaseSocket:
		if !c.out.pending.Load() {
			if held == 0 {
				return candidate{} // it may be silent for as long as it likes
			}
			k.kind, since, k.rate = protocol.EvictedBody, began, perSecond(held, now-began)
			break
		}
		k.kind = protocol.EvictedWrite
		since, k.rate, k.bytes = c.out.weigh(now)
	default:
		return candidate{}
	}
	k.age = now - since
	k.bytes += k.input + held
	return k
}

// weigh says since when there is output, how fast the client takes it, and how much is
// left.
func (o *output) weigh(now int64) (since, rate, bytes int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.began, perSecond(o.sent, now-o.began), o.bytes + o.sealed.Load()
}

// touched is how much memory an input takes: whole pages.
func (in *input) touched() int64 { return int64(in.n+4095) &^ 4095 }

// evict closes a connection if it is still where it was.
func (p *pressure) evict(l *Loop, k candidate) bool {
	c := k.c
	if c.state.Load()&stateOwned != 0 || !c.claim(false) {
		return false
	}
	still := c.gen.Load() == k.gen && phase(c.phase.Load()) == k.phase
	if still && k.kind == protocol.EvictedIdle && k.phase == phaseIdle && hasInput(c.fd) {
		still = false // a request, which has not been looked at yet
	}
	if still && k.phase == phaseStreams && c.weigh(l, l.now()).kind != k.kind {
		still = false // it has got on
	}
	if !still {
		if !c.release() {
			l.resume(l.keeper.sweeper, c)
		}
		return false
	}
	l.slot.Counters.Evicted[k.kind].Add(1)
	switch {
	case k.phase == phaseShaking, k.phase == phaseIdle, k.phase == phaseStreams && k.kind != protocol.EvictedWrite:
		c.dismiss(l)
	case k.kind == protocol.EvictedWrite:
		c.abort(l)
	default:
		c.close(l)
	}
	return true
}

func (p *pressure) say(l *Loop, now int64, n int, why, setting string, limit int64) {
	p.unsaid += n
	if p.unsaid == 0 || now-p.said < pressurePause {
		return
	}
	l.log.Warn(why+": those that do the least are closed", setting, limit, "closed", p.unsaid)
	p.said, p.unsaid = now, 0
}
