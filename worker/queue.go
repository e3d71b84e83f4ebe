package worker

import "bytes"

// poll takes what is ready, without waiting.
func (t *Thread) poll() {
	l := t.l
	if n := l.sched.set.poll(t.Events[:]); n > 0 {
		l.sched.bring(t.Events[:n], l.now())
	}
}

// requeue leaves an owned connection, which has something to read, to a Python
// thread.
func (c *conn) requeue(l *Loop) {
	if !c.enqueue(l) {
		c.noRoom(l)
	}
}

// enqueue puts an owned connection on the ready queue. It returns false if the
// queue is full.
func (c *conn) enqueue(l *Loop) bool {
	c.setPhase(phaseReady, 0)
	return l.sched.push(c, c.placeOf(l))
}

// placeOf is where in the queue a connection goes that nobody has had yet.
func (c *conn) placeOf(l *Loop) place {
	if len(l.cfg.HealthPaths) > 0 && c.asksForHealth(l) {
		return atFront
	}
	return atEnd
}

// isHealthCheck reports whether path is one that goes ahead of all others.
func (l *Loop) isHealthCheck(path []byte) bool {
	for _, p := range l.cfg.HealthPaths {
		if p == string(path) {
			return true
		}
	}
	return false
}

// asksForHealth reports whether the whole request that waits in c's input is a health
// check.
func (c *conn) asksForHealth(l *Loop) bool {
	if c.in == nil || !c.in.queued {
		return false
	}
	line, _, _ := bytes.Cut(c.in.mem[:c.in.n], []byte("\r\n"))
	_, line, _ = bytes.Cut(line, []byte(" "))
	path, _, _ := bytes.Cut(line, []byte(" "))
	path, _, _ = bytes.Cut(path, []byte("?"))
	return l.isHealthCheck(path)
}
