package worker

// mayRun is asked before t runs a request while there are slow routes. It returns
// false if the request has to wait, in which case t has given it up.
func (l *Loop) mayRun(t *Thread, c *conn, routes map[uint64]*route, buf []byte, now int64) bool {
	t.route = routes[t.routeHash()]
	if t.route == nil || t.route.recent.Load()&surely != surely {
		return true
	}
	if in := t.in; in != nil && (in.held || in.pass != nil) {
		in.held = false // it has waited
		return true
	}
	if !l.spare.worth.Load() || now-t.arrived >= t.route.hold() || l.leave.draining.Load() || l.isHealthCheck(t.Req.Path.In(buf)) {
		return true
	}
	if free, all := l.otherThreads(t.index); free > 0 || all == 0 {
		return true
	}
	until := t.arrived + t.route.hold()
	t.route = nil
	if !t.setAside(c) {
		c.close(l)
		return false
	}
	c.in.held, c.in.until = true, until
	c.setPhase(phaseReady, 0)
	if l.sched.hold(c) {
		l.slot.Counters.Held.Add(1)
	}
	return false
}

// otherThreads counts the Python threads of all workers except for this worker's
// index-th, and those of them that are free.
func (l *Loop) otherThreads(index int) (free, all int) {
	for i := range int(l.sched.inUse.Load()) {
		if i != index {
			all++
			if l.slot.ThreadRecs[i].Started() == 0 {
				free++
			}
		}
	}
	if x := l.exchange; x != nil {
		free += x.free()
		all += x.others()
	}
	return free, all
}
