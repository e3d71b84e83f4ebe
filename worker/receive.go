package worker

import (
	"bytes"
	"cmp"
	"time"

	"golang.org/x/sys/unix"

	"hostler/protocol"
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
				if run := l.start(t, c); run || !t.goesOn() {
					return run
				}
			case gotNothing:
				return false
			}
			continue
		}
		if t.pos < t.end { // a pipelined request, or the begin of one
			if whole, handled := l.parse(t, c); handled && !t.goesOn() {
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
	if c.awaits {
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
	if !c.awaits {
		ok, reason = http1.Parse(b, 0, &l.limits, &t.Req)
	}
	if reason != http1.ReasonNone {
		c.reject(l, reason, asksHead(b))
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
	if c.bodyTooLarge(l, r) {
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

// fresh says that nothing has been asked on a connection with no TLS.
func (c *conn) fresh() bool { return c.served == 0 && c.portable() }

// expectBody prepares in, whose head is whole, for its body. It returns false if there
// is no memory.
func (c *conn) expectBody(l *Loop, in *input, r *http1.Request, plan bodyPlan) bool {
	in.head, in.plan = int(r.HeadLen), plan
	in.chunked = r.Flags&http1.FlagChunked != 0
	in.raw, in.body = in.head, in.head
	if r.Flags&http1.FlagExpect != 0 && in.n == in.head {
		if in.expects = plan == planStream; !in.expects {
			c.sayContinue(l)
		}
	}
	if in.chunked {
		in.length = -1
		return plan != planStream || l.mem.inputs.grow(in, in.n+inBufferSize) // for Read
	}
	in.length = max(r.ContentLength, 0)
	in.need = in.head + plan.first(in.length, in.n-in.head)
	return l.mem.inputs.grow(in, in.need)
}

// sayContinue tells a client that waits for it to send its body (RFC 9110, 10.1.1).
func (c *conn) sayContinue(l *Loop) { l.deliver(c, c.interim(nil, 100, nil), 0) }

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

// settle gives up a connection that waits for the rest of a request. It returns
// false if there is more to read already.
func (c *conn) settle(l *Loop, p phase) bool {
	if old := phase(c.phase.Load()); old != p || p == phaseBody {
		limit := l.deadline(l.cfg.HeaderTimeout)
		if in := c.in; p == phaseBody {
			if in.began == 0 {
				in.began = l.now()
			}
			limit = c.slowest(l, in.began, in.received(), l.cfg.BodyTimeout)
		}
		c.setPhase(p, limit)
	}
	return c.release()
}

// slowest is the time limit for the next byte of n so far, since began, that a
// connection moves: patience after the last one, and never later than the minimum
// rate allows, of which patience is granted once.
func (c *conn) slowest(l *Loop, began, n int64, patience time.Duration) int64 {
	return c.slowestAfter(l, l.now(), began, n, patience)
}

// slowestAfter is slowest where the last byte has moved at some time before.
func (c *conn) slowestAfter(l *Loop, moved, began, n int64, patience time.Duration) int64 {
	if patience <= 0 {
		return 0
	}
	limit := moved + int64(patience)
	if l.cfg.MinRate <= 0 {
		return limit
	}
	bound := began + int64(patience) + n*int64(time.Second)/l.cfg.MinRate
	c.tooSlow.Store(bound < limit)
	return min(limit, bound)
}

func (l *Loop) deadline(limit time.Duration) int64 {
	if limit <= 0 {
		return 0
	}
	return l.now() + int64(limit)
}

// firstDeadline is the time limit for the first byte of a connection.
func (l *Loop) firstDeadline(now int64) int64 {
	if l.cfg.HeaderTimeout <= 0 {
		return 0
	}
	return now + int64(l.cfg.HeaderTimeout)
}

type gathered int

const (
	gotRequest gathered = iota // c.in holds what the application needs to start
	gotNothing                 // the connection has been given up
	gotMore                    // look again
)

// gather reads more into c.in.
func (l *Loop) gather(t *Thread, c *conn) gathered {
	in := c.in
	if in.spool != nil {
		go c.spoolOn(l)
		return gotNothing
	}
	for {
		if c.awaits {
			n, ok := l.proxied(c, in.mem[:in.n])
			if !ok {
				return gotNothing
			}
			in.n = copy(in.mem, in.mem[n:in.n])
			if in.n == 0 {
				// The connection is as good as new.
				l.mem.inputs.put(in)
				c.in = nil
				c.phase.Store(uint32(phaseIdle))
				return gotMore
			}
		}
		preface := l.cfg.HTTP2Cleartext && in.head == 0 && !c.awaits && c.fresh() && isPreface(in.mem[:in.n])
		if preface && in.n >= prefaceSize {
			b := bytes.Clone(in.mem[:in.n])
			l.mem.inputs.put(in)
			c.in = nil
			if c.greetHTTP2(l, b) {
				c.requeue(l)
			}
			return gotNothing
		}
		if in.head == 0 && in.n > in.scanned && !c.awaits && !preface {
			ok, reason := http1.Parse(in.mem[:in.n], in.scanned, &l.limits, &t.Req)
			if reason != http1.ReasonNone {
				c.reject(l, reason, c.asksHead())
				return gotNothing
			}
			if ok {
				r := &t.Req
				if c.bodyTooLarge(l, r) {
					return gotNothing
				}
				if !c.expectBody(l, in, r, l.planBody(t, c, in.mem[:in.n])) {
					c.close(l)
					return gotNothing
				}
			} else {
				in.scanned = in.n
			}
		}
		limit := len(in.mem)
		switch {
		case in.head == 0:
			// As with a body in chunks: a thread's buffer has to hold what is read
			// beyond the end.
			limit = min(limit, in.n+inBufferSize/2)
		case in.chunked:
			reason := in.decode()
			if reason != http1.ReasonNone {
				c.reject(l, reason, c.asksHead())
				return gotNothing
			}
			if l.cfg.LimitRequestBody > 0 && int64(in.body-in.head) > l.cfg.LimitRequestBody {
				c.reject(l, http1.ReasonBodyTooLarge, c.asksHead())
				return gotNothing
			}
			if in.done || in.plan == planStream || in.body-in.head >= bodyBuffer {
				return c.gathered(l)
			}
			// What is read beyond the body's end has to fit into a thread's
			// buffer, and behind a full body there has to be room for Read.
			limit = min(limit, in.n+inBufferSize, in.head+bodyBuffer)
		default:
			if in.n >= in.need {
				return c.gathered(l)
			}
			limit = in.need // what is beyond stays in the socket
		}
		if in.n == limit {
			if !l.mem.inputs.grow(in, min(2*limit, inputClasses[len(inputClasses)-1])) || len(in.mem) == limit {
				// Heads have a lower limit than the largest buffer, bodies end
				// at bodyBuffer: the kernel has no memory for us.
				c.close(l)
				return gotNothing
			}
			continue
		}
		n, err := c.read(in.mem[in.n:limit])
		if err == unix.EAGAIN {
			p := phaseHead
			if in.head > 0 {
				p = phaseBody
			}
			if c.settle(l, p) {
				return gotNothing
			}
			continue
		}
		if n == 0 || err != nil {
			return c.endOfInput(l)
		}
		in.n += n
		l.slot.Counters.ReceivedBytes.Add(uint64(n))
	}
}

// gathered is called when there is of a body what shall be in memory.
func (c *conn) gathered(l *Loop) gathered {
	in := c.in
	if in.chunked && !in.done && !l.mem.inputs.grow(in, in.n+spoolRoom) {
		// What follows is decoded behind it: without room, nothing could be read.
		c.close(l)
		return gotNothing
	}
	if !in.done && (in.chunked || in.received() < in.length) && c.beginSpool(l) {
		return gotNothing
	}
	in.arrived = cmp.Or(in.arrived, l.now()) // or it came from another worker
	return gotRequest
}

// decode takes the chunk framing off what has arrived, in place.
func (in *input) decode() http1.Reason {
	n, m, done, reason := in.dec.Decode(in.mem[in.body:in.n], in.mem[in.raw:in.n])
	if reason != http1.ReasonNone {
		return reason
	}
	in.body += n
	in.raw += m
	in.done = done
	if !done {
		// Close the gap that the framing left.
		rest := copy(in.mem[in.body:], in.mem[in.raw:in.n])
		in.raw, in.n = in.body, in.body+rest
	}
	return http1.ReasonNone
}

// endOfInput handles the peer's end of file in the middle of a request.
func (c *conn) endOfInput(l *Loop) gathered {
	c.hup = true
	if in := c.in; in.head == 0 {
		c.endOfHead(l, in.mem[:in.n])
	} else {
		c.reject(l, http1.ReasonTruncatedBody, c.asksHead())
	}
	return gotNothing
}

func (c *conn) bodyTooLarge(l *Loop, r *http1.Request) bool {
	if l.cfg.LimitRequestBody > 0 && r.ContentLength > l.cfg.LimitRequestBody {
		c.reject(l, http1.ReasonBodyTooLarge, r.MethodID == http1.MethodHead)
		return true
	}
	return false
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
		c.reject(l, reason, c.asksHead())
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
		c.reject(l, http1.ReasonConnect, false)
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
	if port := l.cfg.Listeners[c.listener].Redirect; port != "" {
		l.redirect(t, c, buf, port)
		t.dropInput()
		return false
	}
	if r.Flags&http1.FlagPathEscaped != 0 {
		p := r.Path.In(buf)
		n := http1.Unescape(t.path, p)
		t.Path, t.PathLen = address(t.path), uint32(n)
	} else {
		t.Path, t.PathLen = t.Buf+uintptr(r.Path.Off), r.Path.Len
	}
	if r.Flags&http1.FlagForwarded != 0 && !l.forwarded(t, c, buf) {
		t.dropInput()
		return false
	}
	if l.cfg.RequestID {
		t.nameRequest(buf)
	}
	if l.static != nil && l.serveStatic(t, c) {
		return false
	}
	if r.Flags&http1.FlagUpgrade != 0 && l.keeper.sockets.notify != nil {
		if no := t.handshake(); no != nil {
			t.dropInput()
			c.refuse(l, no.Status, no.Field, false)
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

// shed answers 503 to the whole request in c.in, since nobody can run it soon.
func (c *conn) shed(l *Loop) {
	l.slot.Counters.Unavailable.Add(1)
	c.refuse(l, 503, "Retry-After: 1\r\n", c.asksHead())
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

// reject refuses a request for a reason of its own.
func (c *conn) reject(l *Loop, reason http1.Reason, isHead bool) {
	c.noteRefusal(l, reason)
	extra := ""
	switch reason {
	case http1.ReasonTruncatedHead, http1.ReasonBadProxyHeader, http1.ReasonMissingProxyHeader:
		l.access.refused(c, reason.Status(), 0)
		c.close(l) // nothing was asked
		return
	case http1.ReasonConnect:
		extra = "Allow: GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS\r\n"
	}
	c.refuse(l, reason.Status(), extra, isHead)
}

// asksHead says whether b begins with a request for a head alone, which is answered
// with no more (RFC 9110, 9.3.2), whatever else is wrong with it.
func asksHead(b []byte) bool {
	return bytes.HasPrefix(bytes.TrimPrefix(b, crlf), []byte("HEAD "))
}

// asksHead is that for what has been gathered of a connection's request.
func (c *conn) asksHead() bool { return c.in != nil && asksHead(c.in.mem[:c.in.n]) }

// refuse answers without the application and closes the connection.
func (c *conn) refuse(l *Loop, status int, extra string, isHead bool) {
	c.detach() // from the thread that was about to run it
	m := c.failure(make([]byte, 0, 512), status, extra, true, isHead, *l.keeper.date.Load())
	l.deliver(c, m, 0)
	l.slot.Counters.Requests[0][protocol.CodeIndex(status)].Add(1)
	l.access.refused(c, status, failureSize(status, isHead))
	c.endSoon(l)
}

// failureSize is the length of the body of a response of the server's own.
func failureSize(status int, isHead bool) int64 {
	if isHead {
		return 0
	}
	return int64(http1.ErrorBodySize(status))
}

// expire ends a connection that the caller claimed because its time is up. If the
// client has sent something that nobody has looked at, it was us who were late: the
// process was stopped, or had no CPU. A request is not dropped for that.
func (c *conn) timeUp(l *Loop) {
	switch phase(c.phase.Load()) {
	case phaseIdle, phaseHead, phaseBody:
		if unread(c.fd) {
			l.resume(l.keeper.sweeper, c)
			return
		}
	}
	k := protocol.TimeoutIdle
	switch phase(c.phase.Load()) {
	case phaseIdle:
		if c.served == 0 {
			k = protocol.TimeoutHead
		}
		l.slot.Counters.Timeouts[k].Add(1)
		c.sayEnd()
		c.close(l)
	case phaseStreams, phaseShaking, phaseSocket:
		c.expire(l)
	case phaseHead, phaseBody:
		k = protocol.TimeoutHead
		if phase(c.phase.Load()) == phaseBody {
			k = protocol.TimeoutBody
			if c.tooSlow.Load() {
				k = protocol.TimeoutBodyRate
			}
		}
		l.slot.Counters.Timeouts[k].Add(1)
		if c.awaits {
			c.close(l)
			return
		}
		c.refuse(l, 408, "", c.asksHead())
	case phaseWriting:
		if k = protocol.TimeoutWrite; c.tooSlow.Load() {
			k = protocol.TimeoutWriteRate
		}
		l.slot.Counters.Timeouts[k].Add(1)
		c.abort(l)
	case phaseLinger:
		if !c.stillTakes(l) {
			c.close(l)
		}
	default:
		c.close(l)
	}
}
