package worker

import (
	"log/slog"

	"hostler/protocol"
)

// Where Python threads run the requests, the one whose request becomes a WebSocket stays
// with it until the application returns: to the scheduler it is as busy as with any other.
// Its request is over as far as answers, figures and the access log go. No clock runs
// against it for as long as the WebSocket is open; from its end on --timeout counts.

// stay is such a thread's time with a WebSocket.
type stay struct {
	rec   *protocol.Thread // nil: there is no thread
	start int64            // of its request
}

// end says that the WebSocket is over. The thread may have something else to do by now.
func (s stay) end(now int64) {
	if s.rec != nil {
		s.rec.Waited(s.start, now)
	}
}

// stay begins a thread's time with what its request has become, which has the connection
// from here on. What the request lies in remains the thread's.
func (t *Thread) stay() stay {
	t.rec.Open(t.Taken)
	t.rec.Exempt(t.Taken)
	t.l.keeper.sockets.staying.Add(1)
	t.stays = true
	t.reply.gone, t.reply.stage = true, stageSent // nobody takes an answer any more
	return stay{t.rec, t.Taken}
}

// comeBack ends it.
func (t *Thread) comeBack() {
	l := t.l
	t.stays = false
	t.rec.End()
	l.keeper.sockets.staying.Add(-1)
	if t.Result&(ResultFailed|ResultTimedOut) == ResultFailed {
		l.slot.Counters.AppExceptions.Add(1)
	}
	if took := l.now() - t.Taken; t.route != nil || took >= slowCall {
		l.spare.learn(t, took)
	}
	t.giveBack()
	if t.tunnel != nil {
		t.tunnel.returned()
		t.tunnel = nil
	}
}

// AcceptWaiting is AcceptSocket for an application whose threads wait on a futex word that
// news points to, until it is done with the WebSocket.
func (t *Thread) AcceptWaiting(protocol, fields []byte, news *uint32) (number uint32, err error) {
	if t.conn == nil || t.upgrade == nil {
		return 0, errNoHandshake
	}
	if err := checkAcceptance(protocol, fields); err != nil {
		return 0, err
	}
	return t.acceptSocket(protocol, fields, news), nil
}

// Socket returns a WebSocket by its number; nil: the application is done with it.
func (t *Thread) Socket(number uint32) *webSocket { return t.l.keeper.sockets.at(number) }

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

// rouse has those who wait for some of what look. w.mu is held.
func (w *webSocket) rouse(what uint32) {
	if w.asked&what != 0 && !w.done {
		w.asked = 0
		bumpFutex(w.word)
	}
}

// crowd says whether each Python thread stays with a WebSocket.
func (s *sockets) crowd(l *Loop) bool {
	n := s.staying.Load()
	return n > 0 && n >= int64(len(l.threads))
}

// sayStaying says so where requests wait for threads all of which stay with WebSockets.
func (hk *housekeeper) sayStaying() {
	l := hk.l
	if hk.sockets.crowd(l) && l.slot.Gauges.QueueDepth.Load() > 0 {
		hk.sockets.crowded.say(l.log, slog.LevelWarn, "requests wait: each thread has a WebSocket, and keeps it until that is closed; more threads (--threads) or workers are wanted",
			"threads", len(l.threads), "waiting", l.slot.Gauges.QueueDepth.Load())
	}
}
