package worker

import "log/slog"

// Where Python threads run the requests, or greenlets, the one whose request becomes a
// WebSocket stays with it until the application returns: to the scheduler it is as busy as
// with any other. Its request is over as far as answers and figures go. No clock runs
// against it for as long as the WebSocket is open; from its end on --timeout counts.

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
		l.spare.learn(t.route, t.routeHash, took)
		t.route = nil
	}
	t.giveBack()
	if t.taken != nil {
		t.taken.returned()
		t.taken = nil
	}
}

// Socket returns a WebSocket by its number; nil: the application is done with it.
func (t *Thread) Socket(number uint32) *webSocket { return t.l.keeper.sockets.at(number) }

// crowd reports whether each Python thread stays with a WebSocket. Greenlets take nothing
// from others.
func (s *sockets) crowd(l *Loop) bool {
	n := s.staying.Load()
	return s.notify == nil && n > 0 && n >= int64(len(l.threads))
}

// sayStaying says so where requests wait for threads all of which stay with WebSockets.
func (s *sockets) sayStaying(l *Loop) {
	if s.crowd(l) && l.slot.Gauges.QueueDepth.Load() > 0 {
		s.crowded.say(l.log, slog.LevelWarn, "requests wait: each thread has a WebSocket, and keeps it until that is closed; more threads (--threads) or workers are wanted",
			"threads", len(l.threads), "waiting", l.slot.Gauges.QueueDepth.Load())
	}
}
