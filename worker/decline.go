package worker

const overloadDepth = 8

// overloaded reports whether the request in t, which has waited since t.arrived, is
// better declined.
func (l *Loop) overloaded(t *Thread, buf []byte, now int64) bool {
	return l.pace.overload.tooLate(now, now-t.arrived) && l.slot.Gauges.QueueDepth.Load() >= int64(overloadDepth)*l.sched.inUse.Load() &&
		!l.isHealthCheck(t.Req.Path.In(buf))
}

// decline answers the request in t with 503, and goes on with its connection: a
// client that has to open another one makes things worse. It returns false, as t has
// no request to run; keepsConn reports whether the connection is still the caller's.
func (t *Thread) decline(c *conn) bool {
	l := t.l
	l.slot.Counters.Unavailable.Add(1)
	r := &t.reply
	*r = reply{arrived: t.arrived, remaining: -1, status: 503}
	t.Started, t.StatusLen, t.FieldsLen, t.Result = 0, 0, 0, 0 // they are of t's last request
	t.conn = c
	r.close = t.mustClose()
	r.stage = stageSent
	t.count()
	m := t.ownAnswer(c, "Retry-After: 1\r\n")
	r.remaining = 0
	t.transmit(c, m, 0)
	now := l.now()
	if l.access.on() {
		l.access.request(t, now)
	}
	if t.span.sampled() {
		l.spans.request(t, now)
	}
	t.conn = nil
	t.dropInput()
	t.onward = l.nextOf(t, c, now)
	return false
}
