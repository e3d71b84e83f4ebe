package worker

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

// move gives requests that wait in a pool to other workers: to those with room in that
// pool, or, for a worker that leaves, to any.
func (p *pool) move(l *Loop) {
	n := l.cfg.Queue
	if !l.leave.moving.Load() {
		if n = l.sched.depth(&p.lane); n > 0 {
			n = min(n, l.exchange.freeInPool(p))
		}
	}
	for ; n > 0; n-- {
		c := l.sched.steal(&p.lane, (*conn).movable)
		if c == nil {
			return
		}
		if !l.handOver(c, c.unparsed()) {
			l.sched.wait(&p.lane, c, true) // behind the others, but it stays
			return
		}
	}
}
