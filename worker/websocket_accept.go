package worker

import (
	"bytes"
	"errors"

	"hostler/worker/http1"
	"hostler/worker/websocket"
)

// handshake looks whether the request in t asks for a WebSocket. It returns a refusal where
// that is asked for as it should not be.
func (t *Thread) handshake() *websocket.Refusal {
	buf := bytesAt(t.Buf, int(t.Req.HeadLen))
	check := websocket.Check
	switch {
	case t.tunnels():
		check = websocket.CheckTunnel
	case !websocket.Asked(buf, &t.Req):
		return nil
	}
	h, refusal := check(buf, &t.Req)
	if refusal != nil {
		return refusal
	}
	h.Deflate.On = h.Deflate.On && t.l.cfg.WSPerMessageDeflate
	t.upgrade = &h
	t.Req.Flags |= http1.FlagWebSocket
	return nil
}

// AcceptSocket answers the handshake that t has with a WebSocket. protocol need not be; fields
// are records of the application's that http1.CheckHints has found to be right. From then on the WebSocket has the
// connection, t has no request any more, and the WebSocket's number is what the application
// knows it by.
func (t *Thread) AcceptSocket(protocol, fields []byte) (number uint32) {
	return t.acceptSocket(protocol, fields, nil, false)
}

// acceptSocket is AcceptSocket, and AcceptWaiting, whose caller stays.
func (t *Thread) acceptSocket(protocol, fields []byte, news *uint32, stays bool) (number uint32) {
	l, c := t.l, t.conn
	head := c.accepted(t.out[:0], t.upgrade, string(protocol), fields, *l.keeper.date.Load())
	t.out = head.head[:0]
	now := l.now()
	w := &webSocket{transport: c.transport, l: l, c: c, cork: t.cork, deflate: t.upgrade.Deflate, opened: now, word: news}
	w.reader = websocket.Reader{Max: int(l.cfg.WSMaxSize), Deflate: w.deflate.On}
	w.room = w.hasRoom
	t.reply.status = 101
	if t.tunnels() {
		t.reply.status = 200
	}
	t.count()
	res, _ := l.deliver(c, head, 0)
	if t.pos < t.end {
		w.rest = bytes.Clone(t.buf[t.pos:t.end])
	}
	w.line = l.access.keep(t, fields, &l.spans)
	w.line.opens(t.reply.status)
	if rec := t.record(); rec != nil {
		rec.Exempt(t.Taken)
		if step := &l.slot.ThreadRecs[0]; stays && t.cork != nil { // … has its line by that one
			step.Logged(step.Started())
		}
	}
	if !stays {
		w.waiter, t.waiter = t.waiter, nil
		if w.hides = t.cork != nil && w.waiter == nil; w.hides {
			l.slot.Gauges.Unseen.Add(1)
		}
	}
	w.weighParts()
	t.leaveTo(w, now, stays)
	l.keeper.sockets.add(w)
	if res == WriteGone {
		w.cut()
		return w.number
	}
	c.setPhase(phaseSocket, w.due())
	if len(w.rest) > 0 || !c.release() {
		w.queueUp()
	}
	return w.number
}

// AcceptWaiting is AcceptSocket for an application that stays with the WebSocket until it is
// done with it. Its threads wait on a futex word that news points to; greenlets, which are
// notified like an event loop, have none.
func (t *Thread) AcceptWaiting(protocol, fields []byte, news *uint32) (number uint32, err error) {
	if t.conn == nil || t.upgrade == nil {
		return 0, errNoHandshake
	}
	if err := checkAcceptance(protocol, fields); err != nil {
		return 0, err
	}
	if t.cork != nil {
		news = nil
	}
	return t.acceptSocket(protocol, fields, news, true), nil
}

// checkAcceptance says what is wrong with what the application accepts a WebSocket with.
func checkAcceptance(protocol, fields []byte) error {
	if len(protocol) > 0 && !websocket.ValidProtocol(protocol) {
		return errors.New("the subprotocol cannot be sent: it is no token")
	}
	if e, _ := http1.CheckHints(fields); e != 0 {
		return e
	}
	if http1.AnyName(fields, websocket.Owns) {
		return errors.New("headers that begin with Sec-WebSocket- are the server's; a subprotocol is the message's \"subprotocol\"")
	}
	return nil
}

var errNoHandshake = errors.New("the request asks for no WebSocket, or has been answered")

// Fields are n bytes of records that C has put into the Task.
func (t *Thread) Fields(n int) []byte { return t.resp[:n] }

// leaveTo ends t's part in a connection that goes on as a WebSocket.
func (t *Thread) leaveTo(w *webSocket, now int64, stays bool) {
	c := t.conn
	t.watch.wants = 0
	t.pauses()
	c.seat.Store(nil)
	t.tally(now)
	t.upgrade = nil
	if stays {
		w.stay = t.stay()
	} else {
		t.giveBack()
	}
	t.pos, t.end = 0, 0
	t.conn = nil
	c.detach()
	c.out.mu.Lock() // others may be about to flush
	c.transport = w
	c.out.mu.Unlock()
	c.onRoom.Store(&w.room)
}
