package worker

import (
	"bytes"

	"golang.org/x/sys/unix"

	"hostler/protocol"
	"hostler/worker/websocket"
)

var _ transport = (*webSocket)(nil)

// again implements transport: it reads, and looks at what has come.
func (w *webSocket) again(l *Loop, t *Thread) bool {
	c := w.c
	for range socketReads {
		if c.lost(l) { // it may be full, and not read
			w.cut()
			return false
		}
		var b []byte
		more := true
		switch {
		case w.full():
			more = false
		case w.rest != nil:
			b, w.rest = w.rest, nil
		default:
			n, err := c.read(t.buf)
			if n <= 0 && err != unix.EAGAIN {
				w.cut()
				return false
			}
			b = t.buf[:max(n, 0)]
			more = n == len(t.buf) || n > 0 && (!c.drains() || c.hup)
			l.slot.Counters.ReceivedBytes.Add(uint64(len(b)))
		}
		if len(b) > 0 && !w.look(b) {
			return false
		}
		w.weighParts()
		if more {
			continue
		}
		c.setPhase(phaseSocket, w.due())
		if c.release() {
			return false
		}
	}
	w.queueUp()
	return false
}

// look takes what b says. It returns false when that has been the end.
func (w *webSocket) look(b []byte) bool {
	var s *websocket.Scratch
	if w.deflate.On {
		s = w.l.keeper.sockets.scratch.Get().(*websocket.Scratch)
		defer w.l.keeper.sockets.scratch.Put(s)
	}
	now := w.l.now()
	w.mu.Lock()
	w.heard = now
	w.mu.Unlock()
	for len(b) > 0 {
		n, m, err := w.reader.Next(b, s)
		b = b[n:]
		if err != nil || m.Kind == websocket.IsClose {
			w.weighParts() // while it is ours
		}
		if err != nil {
			w.fail(err.Code, err.Reason)
			return false
		}
		switch m.Kind {
		case websocket.IsClose:
			w.peerCloses(m.Code, string(m.Data))
			return false
		case websocket.IsPing:
			w.pong(m.Data)
		case websocket.IsText, websocket.IsBinary:
			if w.deliver(&m); len(b) > 0 && w.full() {
				w.rest = bytes.Clone(b)
				return true
			}
		}
	}
	return true
}

// weighParts counts what has come and is no message yet: of one that is not whole, and what
// the application has left no room for.
func (w *webSocket) weighParts() {
	n := w.reader.Held() + len(w.rest)
	if n == w.gathered {
		return
	}
	if w.gathered == 0 {
		w.begun = w.l.now()
	}
	w.l.mem.gathered(n - w.gathered)
	w.gathered = n
}

// holds implements transport.
func (w *webSocket) holds() (n, since int64) {
	n, _ = w.transport.holds()
	return n + int64(w.gathered), w.begun
}

// dropParts forgets a message that will not be whole.
func (w *webSocket) dropParts() {
	w.l.mem.gathered(-w.gathered)
	w.gathered, w.rest = 0, nil
	w.reader = websocket.Reader{}
}

// deliver leaves a message to the application.
func (w *webSocket) deliver(m *websocket.Message) {
	l := w.l
	l.slot.Counters.MessagesIn.Add(1)
	l.slot.Gauges.Served.Add(1) // --max-requests counts them
	data := m.Data
	if !m.Own {
		data = append(l.keeper.sockets.piece(len(data)), data...)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stage != socketOpen || w.done {
		return // the application has closed it, and takes nothing any more
	}
	w.queue = append(w.queue, letter{m.Kind, data})
	w.held += len(data)
	l.mem.streamBytes.Add(int64(len(data)))
	w.tell(NoticeBody)
}

// pongBacklog is how much may wait for a client before its pings wait, too. Of those only the
// last is answered (RFC 6455, 5.5.3).
const pongBacklog = 64 << 10

// pong answers a ping.
func (w *webSocket) pong(data []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.owed = append([]byte{}, data...)
	w.pongOwed()
}

// pongOwed answers the last ping, if there is room. w.mu is held.
func (w *webSocket) pongOwed() {
	if w.owed == nil || w.stage != socketOpen || w.c.out.left() > pongBacklog {
		return
	}
	var b [maxControl]byte
	w.control(websocket.AppendControl(b[:0], websocket.Pong, w.owed))
	w.owed = nil
}

// peerCloses answers a close frame, and ends the connection: the server does so first
// (RFC 6455, 7.1.1).
func (w *webSocket) peerCloses(code int, reason string) {
	w.last(code, "", reason)
	c := w.c
	if c.out.pending.Load() {
		c.finishLater(w.l, true, false)
	} else {
		c.finish(w.l, true, false)
	}
}

// fail ends a WebSocket that cannot go on, and tells the peer why. There may be more of
// what it sends.
func (w *webSocket) fail(code int, reason string) {
	w.last(code, reason, reason)
	w.c.endSoon(w.l)
}

// cut ends one whose connection has ended without a word.
func (w *webSocket) cut() {
	w.over(websocket.Abnormal, "")
	w.c.close(w.l)
}

// close implements transport. Nobody sends any more when the descriptor goes.
func (w *webSocket) close(l *Loop) {
	w.over(websocket.Abnormal, "")
	w.dropParts()
	w.transport.close(l)
}

// abort implements transport.
func (w *webSocket) abort(l *Loop) {
	w.over(websocket.Abnormal, "")
	w.dropParts()
	w.transport.abort(l)
}

// dismiss implements transport.
func (w *webSocket) dismiss(*Loop) { w.fail(websocket.GoingAway, "") }

// urgent implements transport: pings are answered, and pongs heard, whatever the
// application does.
func (w *webSocket) urgent() bool { return true }

// noRoom implements transport.
func (w *webSocket) noRoom(*Loop) { w.queueUp() }

// portable implements transport.
func (w *webSocket) portable() bool { return false }

// expire implements transport: its time has come.
func (w *webSocket) expire(l *Loop) {
	come, _ := w.transport.holds()
	if (hasInput(w.c.fd) || come > 0) && !w.full() {
		// It may have answered: it was us who were late.
		l.resume(l.keeper.sweeper, w.c)
		return
	}
	now := l.now()
	w.mu.Lock()
	closing, late := w.stage == socketClosing && w.closeBy <= now, w.unanswered() && w.pinged+int64(l.cfg.WSPingTimeout) <= now
	if w.paused {
		w.heard = now // its answer may be behind what nobody takes
		late = false
	}
	w.mu.Unlock()
	pending := w.c.out.pending.Load()
	switch {
	case closing && !pending:
		w.c.finish(l, true, false) // our last word stays there for a peer that reads late
		return
	case closing, pending && l.cfg.WriteTimeout > 0 && w.stalledAt() <= now:
		l.slot.Counters.Timeouts[protocol.TimeoutWrite].Add(1)
		w.c.abort(l)
		return
	case late:
		l.slot.Counters.Timeouts[protocol.TimeoutPing].Add(1)
		w.mu.Lock()
		w.say(websocket.Abnormal, "no answer to a ping") // who hears it may close it at once
		w.lastNow(websocket.InternalError, "keepalive ping timeout", "")
		w.mu.Unlock()
		w.c.endSoon(l)
		return
	}
	w.ping(now)
	w.c.setPhase(phaseSocket, w.due())
	if !w.c.release() {
		l.resume(l.keeper.sweeper, w.c)
	}
}
