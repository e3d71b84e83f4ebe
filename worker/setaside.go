package worker

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

// stash moves what t has read of a request into an input of the connection's.
// If there is no memory for it, the connection is closed.
func (l *Loop) stash(t *Thread, c *conn) {
	b := t.buf[t.pos:t.end]
	in := l.mem.inputs.get(len(b) + 1)
	if in == nil {
		c.close(l)
		return
	}
	in.n = copy(in.mem, b)
	c.in = in
	t.pos, t.end = 0, 0
}

// queueParsed moves the request that the deputy has just parsed to the ready
// queue; its bytes lie in the deputy's buffer, or in c.in already.
func (l *Loop) queueParsed(t *Thread, c *conn) {
	in := t.inputOf()
	if in == nil {
		c.close(l)
		return
	}
	in.arrived = l.now()
	in.queued = true
	c.in = in
	t.pos, t.end = 0, 0
	if !c.enqueue(l) {
		c.shed(l)
	}
}

// inputOf returns an input with the request that t has just parsed in its buffer,
// and what is behind it; nil if there is no memory.
func (t *Thread) inputOf() *input {
	l := t.l
	start := t.pos - int(t.Req.HeadLen) - int(max(t.Req.ContentLength, 0))
	in := l.mem.inputs.get(t.end - start)
	if in != nil {
		in.n = copy(in.mem, t.buf[start:t.end])
	}
	return in
}

func (t *Thread) dropInput() {
	l := t.l
	if t.in != nil {
		if t.in.pass != nil {
			l.sched.done(t.in.pass)
		}
		l.mem.inputs.put(t.in)
		t.in = nil
	}
}
