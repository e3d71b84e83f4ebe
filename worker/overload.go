package worker

import (
	"bytes"
	"sync/atomic"

	"hostler/worker/http1"
)

// overload tells a queue that only takes up a burst from one that does not go away
// (CoDel, RFC 8289, in the form that servers use, which have no sender to slow
// down: see "Fail at Scale", ACM Queue 13/8). What counts is the shortest wait of an
// interval. If even that is above the target, more comes than can be done, and who
// has waited for twice the target is answered 503 at once: the others then get
// their answers while somebody still waits for them.
//
// A few that wait long for slow requests are no overload; there have to be
// overloadDepth for each thread.
type overload struct {
	target int64 // ns; 0: off
	end    atomic.Int64
	least  atomic.Int64 // wait in this interval
	on     atomic.Bool  // the interval before was too long for all
}

const overloadDepth = 8

// tooLate is asked once for each request that is about to run, after wait.
// Two threads that ask at the same time may lose a value; the next interval comes.
func (o *overload) tooLate(now, wait int64) bool {
	if end := o.end.Load(); now >= end {
		// After a pause nothing is known.
		o.on.Store(now < end+o.target && o.least.Load() > o.target)
		o.end.Store(now + o.target)
		o.least.Store(wait)
	} else if wait < o.least.Load() {
		o.least.Store(wait)
	}
	return wait > 2*o.target && o.on.Load()
}

// overloaded says whether the request in t, which has waited since t.arrived, is
// better declined.
func (l *Loop) overloaded(t *Thread, buf []byte, now int64) bool {
	return l.pace.overload.tooLate(now, now-t.arrived) && l.slot.Gauges.QueueDepth.Load() >= int64(overloadDepth*len(l.threads)) &&
		!l.isHealthCheck(t.Req.Path.In(buf))
}

// isHealthCheck says whether path is one that goes ahead of all others.
func (l *Loop) isHealthCheck(path []byte) bool {
	for _, p := range l.cfg.HealthPaths {
		if p == string(path) {
			return true
		}
	}
	return false
}

// asksForHealth says whether the whole request that waits in c's input is a health
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

// decline answers the request in t with 503, and goes on with its connection: a
// client that has to open another one makes things worse. It returns false, as t has
// no request to run; goesOn says whether the connection is still the caller's.
func (t *Thread) decline(c *conn) bool {
	l := t.l
	l.slot.Counters.Unavailable.Add(1)
	r := &t.reply
	*r = reply{arrived: t.arrived, remaining: -1, status: 503}
	t.Started, t.StatusLen, t.FieldsLen = 0, 0, 0 // they are of t's last request
	t.conn = c
	r.close = t.mustClose()
	r.stage = stageSent
	t.count()
	isHead := t.Req.MethodID == http1.MethodHead
	m := c.failure(t.out[:0], 503, "Retry-After: 1\r\n"+t.idLine(), r.close, isHead, *l.keeper.date.Load())
	r.remaining, r.sent = 0, failureSize(503, isHead)
	t.transmit(c, m, 0)
	now := l.now()
	if l.access.on() {
		l.access.request(t, now)
	}
	t.conn = nil
	t.dropInput()
	t.onward = l.nextOf(t, c, now)
	return false
}
