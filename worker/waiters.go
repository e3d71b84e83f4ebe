package worker

import (
	"sync"

	"hostler/protocol"
)

// waiters are the records on the scoreboard of what an event loop, or greenlets, have under way
// beside the step that they are in: of a worker that dies the master names it, and writes its
// line of the access log. The records of the threads that there could be are free for that.
// A request has one from the end of its first step on, if it has not ended by then; a WebSocket
// keeps that of its request. Who comes when all are taken has none before one is free, and those
// that are older have theirs (see Async.seeOldest).
type waiters struct {
	mu   sync.Mutex
	free []*protocol.Thread // the one that was used last is used first
}

// init makes all records of the slot free but for the step's own.
func (w *waiters) init(slot *protocol.Slot) {
	for i := len(slot.ThreadRecs) - 1; i > 0; i-- {
		w.free = append(w.free, &slot.ThreadRecs[i])
	}
}

// take returns a record of the request that t has; nil: there is none.
func (w *waiters) take(t *Thread) *protocol.Thread {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.free) - 1
	if n < 0 {
		return nil
	}
	rec := w.free[n]
	w.free = w.free[:n]
	t.begin(rec, t.Taken)
	return rec
}

// any reports whether one is free.
func (w *waiters) any() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.free) > 0
}

// give takes back a record, if it is one.
func (w *waiters) give(rec *protocol.Thread) {
	if rec == nil {
		return
	}
	rec.End()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.free = append(w.free, rec)
}

// begin has rec say what request t has, as of then.
func (t *Thread) begin(rec *protocol.Thread, at int64) {
	buf := t.head()
	rec.BeginOver(at, uint32(t.Req.Minor), t.Req.Method.In(buf), t.Req.Target.In(buf), t.Remote[:t.RemoteLen])
	if t.span.sampled() {
		rec.Trace(at, t.l.spans.place(t))
	}
}

// record returns the record on the scoreboard of t's request, which lasts; nil: there is none.
func (t *Thread) record() *protocol.Thread {
	if t.cork == nil {
		return t.rec
	}
	if t.waiter == nil {
		t.waiter = t.l.waiters.take(t)
	}
	return t.waiter
}
