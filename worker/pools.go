package worker

import (
	"hostler/protocol"
	"hostler/settings"
)

// pool is a lane: requests for certain paths, which run on so many threads at once
// and no more. What exceeds that waits in a queue of the pool's, as an input of its
// connection; it holds no thread, and the other requests do not wait behind it.
//
// A permit to run goes from request to request: whoever ends with one gives it to
// the one that has waited longest, which then waits for a thread like any other. So
// nobody can slip in before those that wait.
type pool struct {
	lane
	index int
	pathPattern
}

// anyPool is the index of the pool of all requests for which there is no other, where
// an event loop runs them: other workers have one, too, but no threads for it.
const anyPool = -1

func newPools(configured []settings.Pool, queue int, slot *protocol.Slot) []*pool {
	var all []*pool
	for i, c := range configured {
		g := &slot.Pools[i]
		all = append(all, &pool{index: i, pathPattern: newPathPattern(c.Pattern),
			lane: lane{max: queue, permits: c.Threads, depth: &g.Depth, running: &g.Busy}})
	}
	return all
}

// enterPool is asked before t runs a request. It returns false if the request has
// to wait, in which case t has given it up.
func (l *Loop) enterPool(t *Thread, c *conn) bool {
	if t.in != nil && t.in.pass != nil {
		t.pass, t.in.pass = t.in.pass, nil
		return true
	}
	path := bytesAt(t.Path, int(t.PathLen))
	for _, p := range l.sched.pools {
		if !p.match(path) {
			continue
		}
		if l.sched.acquire(&p.lane) {
			t.pass = &p.lane
			return true
		}
		l.waitInPool(t, c, p)
		return false
	}
	return true
}

// waitInPool puts the request that t has parsed into a pool's queue, or sends it to
// a worker where there is room in that pool.
func (l *Loop) waitInPool(t *Thread, c *conn, p *pool) {
	if !t.setAside(c) {
		c.close(l)
		return
	}
	if c.movable() && l.exchange.freeInPool(p) > 0 && l.handOver(c, c.unparsed()) {
		return
	}
	c.setPhase(phaseReady, 0)
	if !l.sched.wait(&p.lane, c, false) {
		c.in.queued = false
		c.shed(l)
	}
}

// setAside makes the request that t has parsed, and was about to run, an input of
// its connection again. It returns false if there is no memory for it.
func (t *Thread) setAside(c *conn) bool {
	in := t.in
	if in == nil {
		if in = t.inputOf(); in == nil {
			return false
		}
		in.arrived = t.arrived
	} else if !in.chunked && in.need == 0 {
		in.head = 0 // it is parsed once more, as one that comes from the deputy
	}
	c.detach()
	in.queued = true
	c.in, t.in = in, nil
	t.pos, t.end = 0, 0
	t.body = bodyReader{}
	return true
}

// movePools gives requests that wait in pools to other workers: to those with room
// in that pool, or, for a worker that leaves, to any.
func (hk *housekeeper) movePools() {
	l := hk.l
	for _, p := range l.sched.pools {
		n := l.cfg.Queue
		if !l.leave.moving.Load() {
			if n = l.sched.depth(&p.lane); n > 0 {
				n = min(n, l.exchange.freeInPool(p))
			}
		}
		for ; n > 0; n-- {
			c := l.sched.steal(&p.lane, (*conn).movable)
			if c == nil {
				break
			}
			if l.handOver(c, c.unparsed()) {
				continue
			}
			l.sched.wait(&p.lane, c, true) // behind the others, but it stays
			break
		}
	}
}
