package worker

import (
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
	index int
	pathPattern
	threads int

	// Under Loop.mu:
	busy int // permits that are given out
	line
}

// line is a queue of connections with a request each in c.in. Loop.mu is held for
// all of its methods.
type line struct {
	waiting []*conn // from first on
	first   int
}

func newPools(configured []settings.Pool) []*pool {
	var all []*pool
	for i, c := range configured {
		all = append(all, &pool{index: i, threads: c.Threads, pathPattern: newPathPattern(c.Pattern)})
	}
	return all
}

func (w *line) depth() int { return len(w.waiting) - w.first }

func (w *line) push(c *conn) {
	if w.first > len(w.waiting)/2 {
		n := copy(w.waiting, w.waiting[w.first:])
		clear(w.waiting[n:])
		w.waiting, w.first = w.waiting[:n], 0
	}
	w.waiting = append(w.waiting, c)
}

// take removes the first that waits for which ok says so, or returns nil.
func (w *line) take(ok func(*conn) bool) *conn {
	for i := w.first; i < len(w.waiting); i++ {
		if c := w.waiting[i]; ok(c) {
			copy(w.waiting[w.first+1:i+1], w.waiting[w.first:i])
			w.waiting[w.first] = nil
			w.first++
			return c
		}
	}
	return nil
}

func anyConn(*conn) bool { return true }

// publishPool shows what has changed in p. Loop.mu is held.
func (l *Loop) publishPool(p *pool) {
	g := &l.slot.Pools[p.index]
	g.Busy.Store(int64(p.busy))
	g.Depth.Store(int64(p.depth()))
}

// permit lets a request that waits run: it waits for any thread now, like others.
// Loop.mu is held.
func (l *Loop) permit(p *pool, c *conn) {
	c.in.pass = p
	l.ready.force(c, l.slot)
}

// enterPool is asked before t runs a request. It returns false if the request has
// to wait, in which case t has given it up.
func (l *Loop) enterPool(t *Thread, c *conn) bool {
	if t.in != nil && t.in.pass != nil {
		t.pool, t.in.pass = t.in.pass, nil
		return true
	}
	path := bytesAt(t.Path, int(t.PathLen))
	for _, p := range l.pools {
		if !p.match(path) {
			continue
		}
		l.mu.Lock()
		free := p.busy < p.threads
		if free {
			p.busy++
			l.publishPool(p)
		}
		l.mu.Unlock()
		if free {
			t.pool = p
		} else {
			l.waitInPool(t, c, p)
		}
		return free
	}
	return true
}

// waitInPool puts the request that t has parsed into a pool's queue, or sends it to
// a worker where there is room in that pool.
func (l *Loop) waitInPool(t *Thread, c *conn, p *pool) {
	if !l.setAside(t, c) {
		l.closeConn(c)
		return
	}
	if c.portable() && l.spareInPool(p) > 0 && l.handOver(c, c.unparsed()) {
		return
	}
	c.setPhase(phaseReady, 0)
	l.mu.Lock()
	full := p.depth() >= l.cfg.Queue
	passed := !full && l.queueInPool(p, c)
	l.mu.Unlock()
	if full {
		c.in.queued = false
		l.shed(c)
	} else if passed {
		l.nudge()
	}
}

// queueInPool lets c wait, or run if there is a permit by now, which it says.
// Loop.mu is held.
func (l *Loop) queueInPool(p *pool, c *conn) bool {
	passed := p.busy < p.threads
	if passed {
		p.busy++
		l.permit(p, c)
	} else {
		p.push(c)
	}
	l.publishPool(p)
	return passed
}

// leavePool gives a permit back.
func (l *Loop) leavePool(p *pool) {
	l.mu.Lock()
	c := p.take(anyConn)
	if c == nil {
		p.busy--
	} else {
		l.permit(p, c)
	}
	l.publishPool(p)
	l.mu.Unlock()
	if c != nil {
		l.nudge()
	}
}

// setAside makes the request that t has parsed, and was about to run, an input of
// its connection again. It returns false if there is no memory for it.
func (l *Loop) setAside(t *Thread, c *conn) bool {
	in := t.in
	if in == nil {
		if in = l.inputOf(t); in == nil {
			return false
		}
		in.arrived = t.arrived
	} else if !in.chunked && in.need == 0 {
		in.head = 0 // it is parsed once more, as one that comes from the deputy
	}
	c.via.detach()
	in.queued = true
	c.in, t.in = in, nil
	t.pos, t.end = 0, 0
	t.body = bodyReader{}
	return true
}

// spareInPool counts the requests of a pool that other workers could run now.
func (l *Loop) spareInPool(p *pool) int {
	x := l.exchange
	if x == nil {
		return 0
	}
	n := 0
	mine := x.Board.Slot(x.Slot).Generation.Load() // others may have other pools
	for i := range x.Board.Used() {
		s := x.Board.Slot(i)
		if i == x.Slot || s.Generation.Load() != mine {
			continue
		}
		g := &s.Pools[p.index]
		n += min(x.freeThreads(i), max(p.threads-int(g.Busy.Load()+g.Depth.Load()), 0))
	}
	return n
}

// movePools gives requests that wait in pools to other workers: to those with room
// in that pool, or, for a worker that leaves, to any.
func (l *Loop) movePools() {
	for _, p := range l.pools {
		n := l.cfg.Queue
		if !l.moving.Load() {
			l.mu.Lock()
			n = p.depth()
			l.mu.Unlock()
			if n > 0 {
				n = min(n, l.spareInPool(p))
			}
		}
		for ; n > 0; n-- {
			l.mu.Lock()
			c := p.take((*conn).portable)
			l.publishPool(p)
			l.mu.Unlock()
			if c == nil {
				break
			}
			if l.handOver(c, c.unparsed()) {
				continue
			}
			l.mu.Lock()
			passed := l.queueInPool(p, c) // behind the others, but it stays
			l.mu.Unlock()
			if passed {
				l.nudge()
			}
			break
		}
	}
}
