package worker

import (
	"hostler/protocol"
	"hostler/worker/http1"
)

// noteRefusal counts a refused request and, if it is its turn, logs it. Nothing of
// what the client sent goes into the log.
func (c *conn) noteRefusal(l *Loop, reason http1.Reason) {
	l.slot.Counters.Rejected[reason].Add(1)
	say, unsaid := l.refusals.note(reason, l.now())
	if !say {
		return
	}
	args := []any{"reason", reason.String(), "client", string(c.remote[:c.remoteLen])}
	if unsaid > 0 {
		args = append(args, "more", unsaid)
	}
	l.log.Warn("request refused", args...)
}

// refused tells of a request that never reached the application.
func (r *records) refused(c *conn, q asked, status int, sent int64) {
	r.access.refused(c, q, c.protocol(q.minor), status, sent)
	if r.spans.on() {
		r.spans.refused(c, q, status)
	}
}

// rejectFrames notes a refusal that the client is told of in a frame.
func (c *conn) rejectFrames(l *Loop, reason http1.Reason, q asked) {
	c.noteRefusal(l, reason)
	l.refused(c, q, reason.Status(), 0)
}

// endOfHead ends a connection whose peer has left behind b, which is no whole head.
func (c *conn) endOfHead(l *Loop, b []byte) {
	switch {
	case len(b) == 0, string(b) == "\r\n" && !c.proxyDue: // an empty line too many is no request
		c.close(l)
	case c.proxyDue:
		c.reject(l, http1.ReasonBadProxyHeader, asked{})
	default:
		c.reject(l, http1.ReasonTruncatedHead, heard(b))
	}
}

// shed answers 503 to the whole request in c.in, since nobody can run it soon.
func (c *conn) shed(l *Loop) {
	l.slot.Counters.Unavailable.Add(1)
	c.refuse(l, 503, "Retry-After: 1\r\n", c.heard())
}

// reject refuses a request for a reason of its own.
func (c *conn) reject(l *Loop, reason http1.Reason, q asked) {
	c.noteRefusal(l, reason)
	extra := ""
	switch reason {
	case http1.ReasonTruncatedHead, http1.ReasonBadProxyHeader, http1.ReasonMissingProxyHeader:
		l.refused(c, q, reason.Status(), 0)
		c.close(l) // nothing was asked
		return
	case http1.ReasonConnect:
		extra = "Allow: GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS\r\n"
	}
	c.refuse(l, reason.Status(), extra, q)
}

// refuse answers without the application and closes the connection.
func (c *conn) refuse(l *Loop, status int, extra string, q asked) {
	c.detach() // from the thread that was about to run it
	o := l.refusals.pages.answer(status, extra, q.html, nil)
	o.Close, o.Head = true, q.isHead
	l.deliver(c, c.own(make([]byte, 0, 512), &o, *l.keeper.date.Load()), 0)
	l.slot.Counters.Requests[0][protocol.CodeIndex(status)].Add(1)
	l.refused(c, q, status, o.Size())
	c.endSoon(l)
}
