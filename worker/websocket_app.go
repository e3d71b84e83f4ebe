package worker

import (
	"hostler/worker/websocket"
)

// Await says that the application waits for what, and returns what of it is so already; of
// the rest it is told once. Await(0): it waits no longer.
func (w *webSocket) Await(what uint32) uint32 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.handBack()
	w.asked = what
	return w.happened()
}

// Ask says that a Python thread is about to wait for what, and returns what of it is so
// already: of the rest all that wait are told by the futex word.
func (w *webSocket) Ask(what uint32) uint32 {
	w.mu.Lock()
	defer w.mu.Unlock()
	asked := w.asked
	w.asked = what
	have := w.happened()
	w.asked |= asked
	return have
}

// End returns how it has ended, without regard to what has not been taken; code 0: it has
// not.
func (w *webSocket) End() (code int, reason string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.end.code, w.end.reason
}

// heed returns what of that which the application waits for is so now.
func (w *webSocket) heed() uint32 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listed = false
	return w.happened()
}

// happened takes what is so out of what the application waits for. w.mu is held.
func (w *webSocket) happened() uint32 {
	have := uint32(0)
	if len(w.queue) > 0 || w.end.code != 0 {
		have |= NoticeBody
	}
	if w.asked&NoticeRoom != 0 && (w.stage != socketOpen || w.c.out.left() <= outLimit/2) {
		have |= NoticeRoom
	}
	have &= w.asked
	w.asked &^= have
	return have
}

// hasRoom is told when the connection has room for output.
func (w *webSocket) hasRoom() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pongOwed()
	if w.stage != socketOver && w.c.out.left() <= outLimit/2 {
		w.tell(NoticeRoom)
	}
}

// Receive takes the next message, or at its end how it ended: kind IsClose, a code, and the
// reason. Nothing: there is none yet. What it returns is good until the next call for the
// same WebSocket.
func (w *webSocket) Receive() (kind websocket.Kind, data []byte, code int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.handBack()
	if len(w.queue) == 0 {
		if w.end.code == 0 {
			return websocket.Nothing, nil, 0
		}
		w.lent = []byte(w.end.reason)
		return websocket.IsClose, w.lent, w.end.code
	}
	next := w.queue[0]
	w.queue[0] = letter{}
	if w.queue = w.queue[1:]; len(w.queue) == 0 {
		w.queue = nil
	}
	w.held -= len(next.data)
	w.l.mem.streamBytes.Add(-int64(len(next.data)))
	w.lent = next.data
	if w.paused && w.stage != socketOver && len(w.queue) <= socketMessages/2 && w.held <= socketBytes/2 {
		w.readOn()
	}
	return next.kind, next.data, 0
}

// handBack ends the loan of what the application got last. w.mu is held.
func (w *webSocket) handBack() {
	if w.lent != nil {
		w.l.keeper.sockets.give(w.lent)
		w.lent = nil
	}
}

// Send sends a message. ref, if not 0, is the object that owns its data; where that is kept
// until the client takes it, kept is true. It returns WriteWait when the application is to
// wait for room before the next, WriteGone if nobody takes it.
func (w *webSocket) Send(op websocket.Opcode, data []byte, ref uintptr) (res int, kept bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stage != socketOpen {
		return WriteGone, false
	}
	l := w.l
	l.slot.Counters.MessagesOut.Add(1)
	if w.deflate.On {
		hub := &l.keeper.sockets
		s := hub.scratch.Get().(*websocket.Scratch)
		defer hub.scratch.Put(s)
		if z, ok := w.deflate.Compress(data, s); ok {
			res, _ = w.frame(op, z, true, 0)
			return res, false
		}
	}
	return w.frame(op, data, false, ref)
}

// Close sends a close frame, and waits for the peer's. What has been received and not been
// taken is forgotten.
func (w *webSocket) Close(code int, reason string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stage == socketOpen {
		w.forget()
		w.shut(code, reason)
	}
}

// forget drops what has been received and not been taken. w.mu is held.
func (w *webSocket) forget() {
	w.handBack()
	w.l.mem.streamBytes.Add(-int64(w.held))
	w.queue, w.held = nil, 0
}

// Done says that the application is done with it, which closes it if that has not been
// done. The number may be another's afterwards.
func (w *webSocket) Done(code int, reason string) {
	w.mu.Lock()
	w.forget()
	if w.stage == socketOpen {
		w.shut(code, reason)
	}
	w.done, w.asked = true, 0
	w.mu.Unlock()
	s := &w.l.keeper.sockets
	s.mu.Lock()
	s.all[w.number] = nil
	s.free = append(s.free, w.number)
	s.mu.Unlock()
}
