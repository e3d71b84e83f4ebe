package worker

import (
	"golang.org/x/sys/unix"

	"hostler/worker/http1"
)

// receive reads from an owned connection until it has a whole request, which t
// is to run (true), or until there is nothing more to read, and gives the
// connection up (false).
func (l *Loop) receive(t *Thread, c *conn) bool {
	for {
		if c.in != nil {
			switch l.gather(t, c) {
			case gotRequest:
				if run := l.start(t, c); run || !t.keepsConn() {
					return run
				}
			case gotNothing:
				return false
			}
			continue
		}
		if t.pos < t.end { // a pipelined request, or the begin of one
			if whole, handled := l.parse(t, c); handled && !t.keepsConn() {
				return whole
			} else if handled {
				continue
			}
			if c.in != nil {
				continue
			}
		}
		if !l.fill(t, c) {
			return false
		}
	}
}

// fill reads once into t's buffer. It returns false if the connection has been
// given up instead.
func (l *Loop) fill(t *Thread, c *conn) bool {
	for {
		if t.pos == t.end {
			t.pos, t.end = 0, 0
		}
		n, err := c.read(t.buf[t.end:])
		switch {
		case n > 0:
			if t.end == 0 && t.arrived == 0 {
				t.arrived = l.now()
			}
			t.full = t.end+n == len(t.buf) || !c.drains()
			t.end += n
			l.slot.Counters.ReceivedBytes.Add(uint64(n))
			return true
		case err == unix.EAGAIN && t.pos == t.end:
			if c.release() {
				return false
			}
		case err == unix.EAGAIN:
			l.stash(t, c)
			if c.in == nil || c.settle(l, phaseHead) {
				return false
			}
			return true
		default: // end of file, or the connection is broken
			c.endOfHead(l, t.buf[t.pos:t.end])
			return false
		}
	}
}

// parse looks for a request in t's buffer. handled means that the connection is
// dealt with: as a request for t (whole), or otherwise. If it is not handled,
// more has to be read, to t's buffer or to c.in.
func (l *Loop) parse(t *Thread, c *conn) (whole, handled bool) {
	b := t.buf[t.pos:t.end]
	if c.proxyDue {
		n, ok := l.proxied(c, b)
		if !ok {
			return false, true
		}
		t.pos += n
		if b = b[n:]; len(b) == 0 {
			return false, false
		}
	}
	if l.cfg.HTTP2Cleartext && c.fresh() && isPreface(b) {
		if len(b) < prefaceSize {
			l.stash(t, c)
			return false, c.in == nil || c.settle(l, phaseHead)
		}
		return c.greetHTTP2(l, b) && c.again(l, t), true
	}
	var reason http1.Reason
	ok := false
	if !c.proxyDue {
		ok, reason = http1.Parse(b, 0, &l.limits, &t.Req)
	}
	if reason != http1.ReasonNone {
		c.reject(l, reason, heard(b))
		return false, true
	}
	if !ok {
		if t.pos > 0 {
			t.end = copy(t.buf, b)
			t.pos = 0
		}
		if len(b) == len(t.buf) {
			l.stash(t, c) // it goes on in a larger buffer
			return false, c.in == nil
		}
		if c.hup || t.full {
			return false, false // the rest, or the end of file, is there to be read
		}
		// A short read has drained the socket: wait for an event.
		l.stash(t, c)
		return false, c.in == nil || c.settle(l, phaseHead)
	}
	r := &t.Req
	if c.bodyTooLarge(l, r, b) {
		return false, true
	}
	head := int(r.HeadLen)
	if r.Flags&http1.FlagChunked == 0 && r.ContentLength <= int64(len(b)-head) {
		t.Buf = address(b)
		t.Body, t.BodyLen, t.BodyMore, t.BodyFile = 0, 0, 0, 0
		t.body.open = false // the last request's may have been left unread
		next := head
		if n := int(r.ContentLength); n > 0 {
			t.Body, t.BodyLen = address(b[head:]), int64(n)
			next += n
		}
		t.pos += next
		return l.accept(t, c), true
	}
	// The body is still to come: gather it in a buffer of its own.
	size := len(b) + bodyBuffer
	plan := l.planBody(t, c, b)
	if r.Flags&http1.FlagChunked == 0 {
		size = max(head+plan.first(r.ContentLength, len(b)-head), len(b))
	} else {
		size = min(size, len(b)+16<<10)
	}
	in := l.mem.inputs.get(size)
	if in == nil {
		c.close(l)
		return false, true
	}
	in.n = copy(in.mem, b)
	c.in = in
	t.pos, t.end = 0, 0
	if !c.expectBody(l, in, r, plan) {
		c.close(l)
		return false, true
	}
	return false, false
}

// start turns c.in, which has all that the application needs to start, into a
// request for t; the deputy queues it instead.
func (l *Loop) start(t *Thread, c *conn) bool {
	in := c.in
	if !t.runs() && !t.wantsStatic(in) {
		in.queued = true
		if !c.enqueue(l) {
			in.queued = false
			c.shed(l)
		}
		return false
	}
	return l.serveReady(t, c)
}

// serveReady turns a connection's input into a request for t.
func (l *Loop) serveReady(t *Thread, c *conn) bool {
	in := c.in
	in.queued = false
	t.arrived = in.arrived
	if ok, reason := http1.Parse(in.mem[:in.n], 0, &l.limits, &t.Req); !ok {
		// It parsed before; only a bug could lead here.
		c.reject(l, reason, c.heard())
		return false
	}
	r := &t.Req
	b := in.mem[:in.n]
	t.Buf = address(b)
	t.Body, t.BodyLen, t.BodyMore, t.BodyFile = 0, 0, 0, 0
	t.in, c.in = in, nil
	t.pos, t.end = 0, 0
	t.full = true // we read no further than needed: there may be more
	end := in.head
	if in.head == 0 { // stashed by the deputy with no body, or a whole one
		in.head = int(r.HeadLen)
		end = in.head + int(max(r.ContentLength, 0))
		in.body = end
	} else if !in.chunked {
		end = in.need
		in.body = in.need
	}
	if in.chunked {
		end = in.raw
	}
	t.body = bodyReader{}
	if in.spool != nil {
		t.readSpool(in)
	} else {
		if n := in.body - in.head; n > 0 {
			t.Body, t.BodyLen = address(b[in.head:]), int64(n)
		}
		switch {
		case in.chunked && !in.done:
			t.body = bodyReader{open: true, chunked: true, total: t.BodyLen}
		case !in.chunked && r.ContentLength > t.BodyLen:
			t.body = bodyReader{open: true, remaining: r.ContentLength - t.BodyLen}
		}
		if t.body.open {
			t.BodyMore = 1
			t.body.expects = in.expects && t.BodyLen == 0
		}
	}
	if !t.body.open && end < in.n { // the begin of the next, pipelined request
		t.end = copy(t.buf, b[end:])
	}
	return l.accept(t, c)
}

// accept hands a parsed request to the Python thread, or, for the deputy, puts
// it on the ready queue.
func (l *Loop) accept(t *Thread, c *conn) bool {
	r := &t.Req
	if !t.runs() && !t.isStatic() {
		l.queueParsed(t, c)
		return false
	}
	if r.Flags&http1.FlagAuthority != 0 { // CONNECT: we are no proxy
		c.reject(l, http1.ReasonConnect, t.asked())
		t.dropInput()
		return false
	}
	t.Listener = uint32(c.listener)
	t.Forwarded = 0
	if !c.attach(t) {
		t.dropInput()
		c.close(l)
		return false
	}
	if r.Flags&http1.FlagChunked != 0 && t.BodyMore == 0 {
		t.dropField(http1.KnownTransferEncoding) // C tells the length instead
	}
	t.Remote, t.RemoteLen = c.remote, uint32(c.remoteLen)
	t.Port, t.PortLen = c.port, uint32(c.portLen)
	buf := bytesAt(t.Buf, int(r.HeadLen))
	if r.Flags&http1.FlagPathEscaped != 0 {
		p := r.Path.In(buf)
		n := http1.Unescape(t.path, p)
		t.Path, t.PathLen = address(t.path), uint32(n)
	} else {
		t.Path, t.PathLen = t.Buf+uintptr(r.Path.Off), r.Path.Len
	}
	if l.spans.on() {
		l.spans.begin(t, buf)
	}
	if t.serveChallenge(c) {
		return false
	}
	if port := l.cfg.Listeners[c.listener].Redirect; port != "" {
		l.redirect(t, c, buf, port)
		t.dropInput()
		return false
	}
	if r.Flags&http1.FlagForwarded != 0 && !l.forwarded(t, c, buf) {
		t.dropInput()
		return false
	}
	if l.cfg.RequestID {
		t.nameRequest(buf)
	}
	if l.keeper.exposition.serve(t, c) || l.static != nil && l.serveStatic(t, c) {
		return false
	}
	if r.Flags&http1.FlagUpgrade != 0 {
		// An application of WSGI's may know nothing of WebSockets: to it, what is no
		// handshake is a request like any other.
		if no := t.handshake(); no != nil && l.keeper.sockets.refuses {
			t.dropInput()
			c.refuse(l, no.Status, no.Field, t.asked())
			return false
		}
	}
	now := l.now()
	if l.pace.overload.target > 0 && l.overloaded(t, buf, now) {
		return t.decline(c)
	}
	if slow := l.spare.routes.Load(); slow != nil && !l.mayRun(t, c, *slow, buf, now) {
		return false
	}
	if l.sched.pools != nil && !l.enterPool(t, c) {
		return false
	}
	t.reply = reply{arrived: t.arrived, remaining: -1}
	c.served++
	return l.run(t, c, now)
}
