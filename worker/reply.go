package worker

import (
	"bytes"
	"cmp"
	"math/bits"
	"time"

	"golang.org/x/sys/unix"

	"hostler/protocol"
	"hostler/worker/http1"
)

// SetHead checks the head that C has put into the Task. It replaces an earlier
// one that is not out yet. The offset says which field the error is about.
func (t *Thread) SetHead() (http1.HeadError, int) {
	e, off := http1.CheckHead(t.resp[:t.StatusLen], t.resp[t.StatusLen:t.StatusLen+t.FieldsLen], &t.reply.head)
	if e == 0 && t.tunnels() && t.reply.head.Status/100 == 2 {
		e = http1.HeadAccepts
	}
	if e == 0 {
		if t.reply.trailers {
			t.reply.head.KeepTrailer()
		}
		t.reply.stage = stageHead
		t.reply.status = t.reply.head.Status
		if t.reply.head.Dropped != 0 {
			t.noteHops()
		}
	} else if t.reply.stage == stageHead {
		t.reply.stage = stageNone // the earlier head has been overwritten
	}
	return e, off
}

// noteHops says, once for each name, that a field of the application's is not sent.
func (t *Thread) noteHops() {
	l := t.l
	dropped := uint32(t.reply.head.Dropped)
	news := dropped &^ l.refusals.hops.Or(dropped)
	for ; news != 0; news &= news - 1 {
		l.log.Warn("the application sets a header that concerns the connection, which is the server's business: it is not sent",
			"name", http1.HopByHop[bits.TrailingZeros32(news)], "target", string(t.Req.Target.In(t.head())))
	}
}

// Raised says what t's request has raised. With --debug the answer shows it, if there is none yet.
func (t *Thread) Raised(text []byte) { t.reply.raised = bytes.Clone(text) }

// HeadSent reports whether the head of the response is out.
func (t *Thread) HeadSent() bool { return t.reply.stage == stageSent }

// openReply decides how the response is framed, and begins it in t.out. size is the
// length of the whole body where that is known, or -1.
func (t *Thread) openReply(size int64) message {
	l := t.l
	r, q := &t.reply, &t.Req
	isHead := q.MethodID == http1.MethodHead
	r.noBody = isHead || r.head.NoBody
	r.close = r.head.Close || t.mustClose()
	if len(t.id) > 0 {
		t.answerID()
	}
	o := http1.HeadOptions{AddLength: -1}
	switch {
	case r.head.ContentLength >= 0:
		r.remaining = r.head.ContentLength
	case r.head.NoBody:
	case size >= 0:
		o.AddLength, r.remaining = size, size
	case isHead:
	case q.Minor == minorHTTP2: // the end of the stream is the body's
	case q.Minor == 1:
		o.Chunked, r.chunked = true, true
	default:
		r.close = true
	}
	o.Close = r.close
	o.Minor10KeepAlive = q.Minor == 0 && !r.close
	r.trailers = r.trailers && !r.noBody && (r.chunked || q.Minor == minorHTTP2)
	m := t.conn.head(t.out[:0], t, o, *l.keeper.date.Load())
	r.stage = stageSent
	m.end = r.noBody
	t.count()
	return m
}

// count counts the request by its answer, before that goes out: whoever has seen
// the answer shall find it counted.
func (t *Thread) count() {
	l := t.l
	t.reply.counted = true
	// A status beyond 599 is to a client what 5xx is (RFC 9110, 15).
	l.slot.Counters.Requests[t.Req.MethodID][protocol.CodeIndex(t.reply.status)].Add(1)
}

// mustClose reports whether the response has to be the connection's last. A stream of
// HTTP/2 brings one request. Where a WebSocket is denied, what its client sends next may be
// none at all.
func (t *Thread) mustClose() bool {
	l := t.l
	return t.Req.Flags&(http1.FlagKeepAlive|http1.FlagWebSocket) != http1.FlagKeepAlive || t.Req.Minor == minorHTTP2 || t.body.open || l.leave.draining.Load() && !(l.leave.moving.Load() && t.conn.plain()) || l.cfg.KeepAlive <= 0
}

// Write sends a part of the body, and the head before the first. ref, if not 0,
// is the object that owns data; where Write keeps it, it sets Task.OutKept.
// final says that data is the whole body.
func (t *Thread) Write(data []byte, ref uintptr, final bool) int {
	l := t.l
	r, c := &t.reply, t.conn
	t.OutKept = 0
	if r.gone {
		return WriteGone
	}
	if r.stage == stageNone {
		return WriteNoHead
	}
	if len(data) == 0 {
		return t.stillWanted()
	}
	if r.ended && r.remaining < 0 && !r.noBody {
		return WriteCut // the client has been told where the body ends: write() in close()
	}
	m := message{head: t.out[:0]}
	if r.stage == stageHead {
		size := int64(-1)
		if final {
			size = int64(len(data))
		}
		m = t.openReply(size)
	}
	cut := false
	if r.remaining >= 0 && int64(len(data)) > r.remaining {
		data = data[:r.remaining]
		cut = true
	}
	if r.noBody {
		data, cut = nil, false
	}
	if len(data) > 0 {
		r.sent += int64(len(data))
		t.progress()
	}
	if r.remaining >= 0 {
		r.remaining -= int64(len(data))
	}
	m.data = data
	if r.chunked {
		m.head = http1.AppendChunkHeader(m.head, len(data))
		m.tail = crlf
	}
	if m.size() == 0 {
		if t.stillWanted() == WriteGone {
			return WriteGone
		}
		return WriteCut
	}
	m.end = m.end || r.remaining == 0 && !r.trailers
	r.ended = r.ended || m.end
	res := t.transmit(c, m, ref)
	if r.noBody && res != WriteGone {
		return WriteCut
	}
	if res == WriteWait && (r.remaining == 0 && l.mem.outBytes.Load() < outTotal || t.room.moved != 0 && t.buffersOn(c.out.left())) {
		res = WriteOK
	}
	if cut && !r.cut {
		r.cut = true
		t.violation("the application sent more than its Content-Length; cut")
		return WriteCut
	}
	if cut {
		return WriteCut
	}
	return res
}

// WriteOn is Write for a piece of a stream that others follow: of one that nobody waits for
// any more nothing is taken.
func (t *Thread) WriteOn(data []byte, ref uintptr) int {
	if t.OutKept = 0; t.deserted() {
		return WriteGone
	}
	return t.Write(data, ref, false)
}

// transmit sends a message of the response in t, whose head is in t.out, and queues
// what does not leave now. ref, if not 0, is the object that owns its data.
func (t *Thread) transmit(c *conn, m message, ref uintptr) int {
	l := t.l
	if t.cork != nil && t.cork.take(t, m) {
		t.out = m.head[:0]
		return WriteOK
	}
	if m.kind == itemBytes && len(m.data) <= copyLimit && !c.out.pending.Load() {
		m.head = append(append(m.head, m.data...), m.tail...)
		m.data, m.tail, ref = nil, nil, 0
	}
	t.out = m.head[:0] // it may have grown
	res, kept := l.deliver(c, m, ref)
	if kept {
		t.OutKept = 1
	}
	if res == WriteGone {
		t.reply.gone = true
	}
	return res
}

// EndBody says that nothing will follow what has been written. It sends the end of a
// body that has no length.
func (t *Thread) EndBody() {
	r := &t.reply
	if r.stage != stageSent || r.remaining >= 0 && !r.trailers || r.gone || r.ended {
		return
	}
	r.ended = true
	m := message{head: t.out[:0], end: true}
	if r.chunked {
		m.head = append(m.head, http1.LastChunk...)
	}
	t.transmit(t.conn, m, 0)
}

// sendStored sends n bytes of a file that are known to be there as a part of the body, or
// its end, and takes over fd where it says WriteOK or WriteWait.
func (t *Thread) sendStored(fd int, off, n int64, more bool) int {
	l := t.l
	r, c := &t.reply, t.conn
	if t.cork != nil {
		t.cork.pull()
	}
	if r.gone {
		return WriteGone
	}
	if r.stage == stageNone || off < 0 {
		return FileCopy
	}
	m := message{head: t.out[:0]}
	if r.stage == stageHead {
		size := n
		if more || r.trailers {
			size = -1
		}
		m = t.openReply(size)
	}
	if r.remaining >= 0 {
		n = min(n, r.remaining)
		r.remaining -= n
	}
	if r.noBody {
		n = 0
	}
	r.sent += n
	t.progress()
	o := &c.out
	ends := m.end || r.remaining == 0 || r.remaining < 0 && !more
	r.ended = r.ended || ends && !r.trailers
	o.mu.Lock()
	if r.chunked && n > 0 {
		m.head = http1.AppendChunkHeader(m.head, n)
	}
	o.addCopy(l, m.kind, m.head)
	if n > 0 {
		o.add(l, outItem{file: fd, off: off, n: n})
	} else {
		unix.Close(fd)
	}
	if r.chunked {
		o.addCopy(l, itemBytes, chunkEnd(n > 0, r.ended))
	}
	if r.ended {
		o.end(l)
	}
	o.open(l)
	o.mu.Unlock()
	t.out = m.head[:0]
	switch o.flush(l, c) {
	case flushGone:
		r.gone = true
	case flushMore:
		if more {
			return WriteWait
		}
	}
	return WriteOK
}

// chunkEnd is what follows the bytes of a file in a chunked body.
func chunkEnd(chunk, last bool) []byte {
	const text = "\r\n" + http1.LastChunk
	switch {
	case chunk && last:
		return []byte(text)
	case chunk:
		return crlf
	case last:
		return []byte(http1.LastChunk)
	}
	return nil
}

// EarlyHints sends a 103 response with the fields that C has put behind the
// status part of the Task's response buffer.
func (t *Thread) EarlyHints(fields []byte) http1.HeadError {
	if t.reply.stage == stageSent || t.Req.Minor == 0 || t.reply.gone {
		return 0 // too late, or to a client that knows no 103 (RFC 8297)
	}
	if e, _ := http1.CheckHints(fields); e != 0 {
		return e
	}
	t.transmit(t.conn, t.conn.interim(t.out[:0], 103, fields), 0)
	return 0
}

// conclude ends the request that t ran. It returns true if the connection is still
// the caller's, to receive the next.
func (t *Thread) conclude() bool {
	l := t.l
	r, c := &t.reply, t.conn
	t.hasRoom() // it may have left in the middle of a wait
	failed := t.Result&(ResultFailed|ResultWhole) == ResultFailed
	m := message{head: t.out[:0], end: true}
	switch {
	case r.gone:
		r.close = true
	case r.stage == stageSent && (r.noBody || r.ended):
		m.end = false // it has been said
	case r.stage == stageSent && failed:
		// The client must not take what it has for the whole.
		r.close, r.gone = true, true
	case r.stage == stageSent && r.chunked:
		m.head = append(m.head, http1.LastChunk...)
	case r.stage == stageSent && r.remaining > 0:
		t.violation("the application sent less than its Content-Length; connection closed")
		r.close, r.gone = true, true
	case r.stage == stageSent:
	case failed || r.stage == stageNone:
		r.close = t.mustClose()
		r.status = cmp.Or(r.own, 500)
		if t.Result&ResultTimedOut != 0 {
			r.status = 504
		}
		t.count()
		m = t.ownAnswer(c, r.fields)
	default:
		body := bytesAt(t.Out, int(t.OutLen))
		m = t.openReply(t.OutLen)
		if r.noBody {
			body = nil
		} else if r.remaining >= 0 && int64(len(body)) != r.remaining {
			body = t.mismatch(body)
		}
		r.sent += int64(len(body))
		m.data, m.end = body, !r.short
	}
	now := l.now()
	waits := !r.gone && t.coalescer.take(t, m, now)
	if !r.gone && !waits {
		t.transmit(c, m, 0)
	}
	if t.StatusLen+t.FieldsLen > largeHead {
		t.forgetHead()
	}
	t.seen = now
	if r.static {
		t.accountStatic(now)
	} else {
		t.account(now)
	}
	t.giveBack()
	t.conn = nil
	if waits {
		return false
	}
	return l.nextOf(t, c, now)
}

// ownAnswer is the answer of the server's own to t's request, which says the reply's status,
// and no more of what was wrong. fields are whole lines.
func (t *Thread) ownAnswer(c *conn, fields string) message {
	r := &t.reply
	html := wantsHTML(&t.Req, t.head())
	o := t.l.refusals.pages.answer(r.status, fields+t.idLine(), html, t.id)
	if r.raised != nil {
		show(&o, r.raised, html, t.id)
	}
	o.Close, o.Head = r.close, t.Req.MethodID == http1.MethodHead
	r.sent = o.Size()
	return c.own(t.out[:0], &o, *t.l.keeper.date.Load())
}

// giveBack gives back what a request had beside its connection.
func (t *Thread) giveBack() {
	l := t.l
	if t.in != nil {
		t.body.file = nil
		l.mem.inputs.put(t.in)
		t.in = nil
	}
	if t.pass != nil {
		l.sched.done(t.pass)
		t.pass = nil
	}
}

// mismatch deals with a body given whole whose length is not the one in the
// application's Content-Length.
func (t *Thread) mismatch(body []byte) []byte {
	r := &t.reply
	if int64(len(body)) > r.remaining {
		t.violation("the application sent more than its Content-Length; cut")
		return body[:r.remaining]
	}
	t.violation("the application sent less than its Content-Length; connection closed")
	r.close, r.short = true, true
	return body
}

// nextOf decides how a connection goes on after a reply. It returns true if the
// next request is to be received.
func (l *Loop) nextOf(t *Thread, c *conn, now int64) bool {
	r := &t.reply
	if t.cork != nil {
		t.cork.pull()
	}
	c.detach()
	if r.gone {
		if r.stage == stageSent && r.remaining < 0 && !r.chunked && !r.noBody {
			c.abort(l) // its end would be taken for the body's
		} else {
			c.close(l)
		}
		return false
	}
	unread := t.pos < t.end || t.body.open
	if c.out.pending.Load() {
		c.closing, c.framed, c.unread = r.close, t.framed(), unread
		if t.pos < t.end && !r.close {
			l.stash(t, c)
			if c.fd < 0 {
				return false
			}
		}
		c.setPhase(phaseWriting, l.deadline(l.cfg.WriteTimeout))
		if c.release() {
			return false
		}
		t.arrived = 0
		return c.writeOn(l)
	}
	if r.close {
		c.finish(l, t.framed(), unread)
		return false
	}
	c.hops = 0
	if c.moves(l) && l.handOver(c, t.buf[t.pos:t.end]) {
		t.pos, t.end = 0, 0
		return false
	}
	t.arrived = now
	t.inARow++
	if t.pos == t.end && !c.hup && !t.full {
		t.inARow = 0
		c.setPhase(phaseIdle, l.idleDeadline(now))
		if c.release() {
			return false
		}
	}
	c.setPhase(phaseIdle, l.idleDeadline(now))
	if t.inARow < maxInARow {
		return true
	}
	// Let others have their turn.
	t.inARow = 0
	if t.pos < t.end {
		l.stash(t, c)
		if c.fd < 0 {
			return false
		}
	}
	c.unreadSince(now)
	if ok, look := l.sched.giveWay(c, c.placeOf(l)); ok {
		if look {
			t.poll()
		}
		if !t.runs() {
			l.sched.wake()
		}
		return false
	}
	c.waits = 0
	c.setPhase(phaseIdle, l.idleDeadline(now))
	return true
}

// framed reports whether the client can tell where the reply ends without waiting
// for the connection's end.
func (t *Thread) framed() bool {
	r := &t.reply
	return t.Req.Minor == 1 && (r.remaining >= 0 || r.chunked || r.noBody)
}

// SetRule says what the application's framework calls the route of t's request, before that
// has ended.
func (t *Thread) SetRule(text []byte) { t.rule = t.l.rules.find(t.Req.MethodID, text) }

// countDuration counts how long the request took, and it itself if it has got no answer:
// the client had gone before there was one. It returns the status's class.
func (t *Thread) countDuration(now int64) (class int) {
	r, k := &t.reply, &t.l.slot.Counters
	if r.counted {
		class = protocol.Class(r.status)
	} else {
		k.Requests[t.Req.MethodID][0].Add(1)
	}
	k.Duration[t.Req.MethodID][class].Observe(now - r.arrived)
	return class
}

// account counts and logs the request that t has ended.
func (t *Thread) account(now int64) {
	t.tally(now)
	if t.waiter != nil {
		t.waiter.End() // the master has nothing more to say of it
	}
	if l := t.l; l.access.on() {
		l.access.request(t, now)
	}
	if t.span.sampled() {
		t.l.spans.request(t, now)
	}
}

// tally counts the request that t has ended.
func (t *Thread) tally(now int64) {
	l := t.l
	r, k := &t.reply, &l.slot.Counters
	t.rec.End()
	class := t.countDuration(now)
	if l.rules.on {
		if t.rule == nil {
			t.SetRule(nil)
		}
		t.rule.count(class, now-r.arrived)
	}
	if now-r.arrived >= slowFloor && l.slow.tell != nil {
		l.slow.note(t.slowRequest(now))
	}
	if t.Started != 0 {
		k.QueueWait.Observe(t.Started - r.arrived)
		k.GILWait.Add(max(t.Started-t.Taken, 0)) // C looks at the clock itself
		took := now - t.Started
		l.pace.called(took)
		if t.route != nil || took >= slowCall {
			l.spare.learn(t.route, t.routeHash, took)
			t.route = nil
		}
	}
	if t.Result&(ResultFailed|ResultTimedOut) == ResultFailed { // what the timeout raised is not the application's
		k.AppExceptions.Add(1)
	}
}

// slowRequest is what is told of the request that t has ended.
func (t *Thread) slowRequest(now int64) protocol.SlowRequest {
	r, buf := &t.reply, t.head()
	target := t.Req.Target.In(buf)
	q := protocol.SlowRequest{Method: string(t.Req.Method.In(buf)), Target: string(target[:min(len(target), protocol.SlowTarget)]),
		Client: string(t.Remote[:t.RemoteLen]), Status: r.status, Duration: time.Duration(now - r.arrived),
		ForClient: time.Duration(t.forClient.Load()), Thread: t.index + t.seat, Start: t.Taken}
	if t.Started != 0 {
		q.Waited = time.Duration(t.Started - r.arrived)
	}
	return q
}

func (t *Thread) violation(msg string) {
	l := t.l
	l.slot.Counters.AppViolations.Add(1)
	buf := t.head()
	l.log.Error(msg, "method", string(t.Req.Method.In(buf)), "target", string(t.Req.Target.In(buf)))
}

// lookEvery is how often an application that sends nothing has it looked whether
// its client is still there.
const lookEvery = int64(50 * time.Millisecond)

// stillWanted is Write where there is nothing to send: WriteGone if nobody waits for
// an answer any more, else WriteOK.
func (t *Thread) stillWanted() int {
	l := t.l
	r := &t.reply
	now := l.now()
	if now-r.looked < lookEvery {
		return WriteOK
	}
	r.looked = now
	if t.conn.left(now, &r.silent) {
		r.gone = true
		return WriteGone
	}
	return WriteOK
}

// maxInARow bounds the requests of one connection that are served before
// others get their turn.
const maxInARow = 32
