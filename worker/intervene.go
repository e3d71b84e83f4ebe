package worker

import (
	"time"

	"hostler/protocol"
)

// What is done to a request from outside; part of the ABI with worker/python.
const (
	InterveneProbe = 0 // nothing: is the GIL to be had?
	InterveneRaise = 1 // raise the timeout's exception
	InterveneStack = 2 // take its stack, for Stacked
)

// gilPatience is for how long every Python thread may be away from the loop until
// it is found out whether the GIL is to be had at all.
const gilPatience = int64(3 * time.Second)

// gilWatch tells a worker whose GIL is held for good from one that is busy. The
// only way to find out is to try to take it, in a thread that may wait for it (see
// worker/python/intervene.c); since when it has waited is in the scoreboard.
type gilWatch struct {
	// do says what that thread is to do with the GIL.
	do func(what, thread int, taken int64) bool

	// Housekeeping's own.
	away int64  // since when every Python thread has been away; 0: they are not
	last uint64 // what Loop.pace.calls was then
}

// SetIntervene tells the loop how Python is reached from outside of Python's
// threads. It is called before Start.
func (l *Loop) SetIntervene(do func(what, thread int, taken int64) bool) { l.gil.do = do }

// Intervene does something to a thread, if that still runs the request that began
// at start.
func (l *Loop) Intervene(what, thread int, start int64) {
	if thread >= len(l.threads) || l.slot.ThreadRecs[thread].Started() != start {
		return
	}
	rec := &l.slot.ThreadRecs[thread]
	if what != InterveneRaise || rec.Deadline(start, l.cfg.Timeout, l.cfg.TotalTimeout) <= l.now() { // else it has just got on
		l.intervene(what, thread, start)
	}
}

func (l *Loop) intervene(what, thread int, taken int64) {
	if l.gil.do != nil && !l.gil.do(what, thread, taken) {
		l.log.Error("cannot start a thread to look after a request")
	}
}

// GILWanted is called when a thread made by intervene begins to wait for the GIL,
// and when it has been done with it.
func (l *Loop) GILWanted(wanted bool) {
	since := int64(0)
	if wanted {
		since = l.now()
	}
	l.slot.Gauges.GILWanted.Store(since)
}

// look looks whether the GIL can be taken if no Python thread has come back for a while.
// Housekeeping calls it.
func (g *gilWatch) look(l *Loop) {
	now := l.now()
	if n := l.pace.calls.Load(); n != g.last || !l.pace.wedged.Load() {
		g.last, g.away = n, 0
		return
	}
	if g.away == 0 {
		g.away = now
	}
	if now-g.away >= gilPatience && l.slot.Gauges.GILWanted.Load() == 0 {
		g.away = now
		l.intervene(InterveneProbe, 0, 0)
	}
}

// Deadline returns how long the request that t runs has until its time is up, having
// given its clock in nanoseconds from now on if that is not negative. It returns false
// where there is no limit.
func (t *Thread) Deadline(in int64) (left int64, limited bool) {
	l := t.l
	if l.cfg.Timeout <= 0 && l.cfg.TotalTimeout <= 0 {
		return 0, false
	}
	rec, now := t.rec, l.now()
	if in >= 0 {
		rec.SetTimeout(t.Taken, now, in)
		if step := &l.slot.ThreadRecs[0]; rec != step { // a seat's, which calls as it is being stepped
			step.SetTimeout(step.Started(), now, in)
		}
	}
	return rec.Deadline(t.Taken, l.cfg.Timeout, l.cfg.TotalTimeout) - now, true
}

// Wait is called before t's request that began at start waits for its client, to send or
// to take something: what the client is slow with, the application is not. It returns
// what Waited wants to know when the request goes on. Whichever thread waits calls them,
// and the request may have ended meanwhile if that is not its own.
func (t *Thread) Wait(start int64) int64 {
	l := t.l
	t.rec.Wait(start)
	return l.now()
}

// Waited is the end of Wait.
func (t *Thread) Waited(start, since int64) {
	l := t.l
	now, rec := l.now(), t.rec
	rec.Waited(start, now)
	if rec.Started() == start {
		t.forClient.Add(now - since)
	}
}

// progress is called when t's request has taken or given data.
func (t *Thread) progress() {
	l := t.l
	t.watch.gone = 0
	if t.runs() { // else it is a file that is served
		now := l.now()
		t.rec.Progress(now)
		if t.cork != nil { // the step that it is in gets on, too
			l.slot.ThreadRecs[0].Progress(now)
		}
	}
}

// Stacked is called with the stack of a thread that runs the request that began at
// start.
func (l *Loop) Stacked(thread int, start int64, stack string) {
	if l.deputy.stacked != nil && start == l.slot.Gauges.LoopSince.Load() {
		l.deputy.stacked(start, stack)
		return
	}
	a, ok := l.slot.ThreadRecs[thread].Snapshot()
	if !ok || a.Start != start || l.slow.tell == nil {
		return
	}
	l.slow.noteStack(protocol.SlowRequest{Method: a.Method, Target: a.Target, Client: a.Client, Duration: time.Duration(l.now() - start),
		Stack: stack, Thread: thread, Start: start})
}
