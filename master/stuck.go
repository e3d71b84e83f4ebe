package master

import (
	"syscall"
	"time"

	"hostler/internal/procstat"
	"hostler/protocol"
)

const (
	// interruptGrace is how long a request may take to end by the exception that
	// --timeout raises in it. A thread that waits for its client looks once a
	// second whether there is one.
	interruptGrace = 2 * time.Second
	// gilGrace is how long the GIL may be held until that has a name, and gilTurns how many
	// waits for a processor more: who holds it may be about to give it back, if it but ran.
	gilGrace = time.Second
	gilTurns = 20
	// shedGrace is what a worker of which every thread is stuck gets to hand
	// over or answer what waits in it.
	shedGrace = time.Second
)

// late is a request whose time is up.
type late struct {
	start       int64
	since       int64 // … and when its clock began
	dumped      time.Time
	interrupted time.Time // when the exception was sent for; zero: not yet
	unheard     bool      // it was not, for the process was stopped
}

// checkStuck looks for requests that have held a thread for too long. They end in
// steps, each at a later look: the tracebacks of all threads are logged, an
// exception is raised in the one thread, and if it does not come back with it, the
// worker is replaced.
func (s *supervisor) checkStuck(w *worker, now time.Time, mono int64) {
	limit, total := w.gen.set.Timeout, w.gen.set.TotalTimeout
	if limit <= 0 && total <= 0 || w.state != stateServing && w.state != stateDraining || w.ready.IsZero() {
		return
	}
	busy, found, stuck := 0, false, false
	for i := range w.threads() {
		rec := &w.board.ThreadRecs[i]
		a, ok := rec.Snapshot()
		if ok {
			busy++
		}
		since := rec.ClockSince(a.Start)
		paused := int64(s.pauses.Since(a.Start))
		if !ok || mono-paused <= rec.Deadline(a.Start, limit, total) {
			delete(w.late, i)
			delete(w.stuck, i)
			continue
		}
		if w.stuck[i] == a.Start {
			continue
		}
		delete(w.stuck, i)
		attrs := []any{"worker", w.number(), "pid", w.proc.PID(), "thread", i, "method", a.Method, "target", a.Target,
			"client", a.Client, "age", time.Duration(mono - a.Start).Round(time.Millisecond), "timeout", limit}
		if total > 0 {
			attrs = append(attrs, "total_timeout", total)
		}
		switch l, known := w.late[i]; {
		case !known || l.start != a.Start || l.since != since && !pastTotal(a.Start, mono-paused, total):
			w.late[i] = late{start: a.Start, since: since, dumped: now}
			found = true
			s.stats.timeouts++
			s.log.Error("a request runs into the timeout; it will be interrupted", attrs...)
		case l.interrupted.IsZero() && now.Sub(l.dumped) < dumpPause:
		case l.interrupted.IsZero():
			// A process that is stopped would raise it when it goes on, in a request
			// that may then be about to end by itself.
			l.interrupted, l.unheard = now, s.host.Stopped(w.proc.PID())
			w.late[i] = l
			if !l.unheard {
				s.send(w, protocol.Message{Kind: protocol.KindInterrupt, Thread: i, Start: a.Start})
			}
		case l.unheard && !s.host.Stopped(w.proc.PID()):
			w.late[i] = late{start: a.Start, since: since, dumped: now}
		case now.Sub(l.interrupted) >= interruptGrace:
			delete(w.late, i)
			w.stuck[i] = a.Start
			stuck = true
			s.log.Error("a request cannot be interrupted; its worker will be replaced", append(attrs, "cause", string(s.stuckCause(w, mono)))...)
		}
	}
	noted, lost := s.checkLoop(w, now, mono, limit)
	found, stuck = found || noted, stuck || lost
	if found {
		s.send(w, protocol.Message{Kind: protocol.KindDump})
	}
	if stuck && s.gilHeld(w, mono) {
		s.nameGIL(w, mono) // whatever the machine has to do: it has had its time
	}
	if stuck && w.state == stateServing && w.condemned == "" {
		w.condemned = s.stuckCause(w, mono)
		s.want(w, string(w.condemned))
	}
	if w.state == stateDraining && len(w.stuck) > 0 {
		s.endStuck(w, now, mono, busy)
	}
}

// atLoop stands for an event loop among the threads of w.late and w.stuck.
const atLoop = -1

// checkLoop is checkStuck for an event loop that does not come back, of which no request is
// being stepped: a callback, or work behind a response, keeps it. There is nobody to raise an
// exception in who would end by it.
func (s *supervisor) checkLoop(w *worker, now time.Time, mono int64, limit time.Duration) (found, stuck bool) {
	since := w.board.Gauges.LoopSince.Load()
	_, steps := w.board.ThreadRecs[0].Snapshot()
	if limit <= 0 || since <= protocol.LoopRests || steps || s.ran(since, mono) <= limit {
		delete(w.late, atLoop)
		delete(w.stuck, atLoop)
		return false, false
	}
	attrs := []any{"worker", w.number(), "pid", w.proc.PID(), "for", time.Duration(mono - since).Round(time.Millisecond), "timeout", limit}
	switch l, known := w.late[atLoop]; {
	case w.stuck[atLoop] == since:
	case !known || l.start != since:
		w.late[atLoop] = late{start: since, since: since, dumped: now}
		s.stats.timeouts++
		s.log.Error("an event loop is blocked for longer than --timeout, and not by a request", attrs...)
		return true, false
	case now.Sub(l.dumped) >= interruptGrace:
		delete(w.late, atLoop)
		w.stuck[atLoop] = since
		s.log.Error("an event loop does not come back; its worker will be replaced", append(attrs, "cause", string(s.stuckCause(w, mono)))...)
		return false, true
	}
	return false, false
}

// pastTotal reports whether a request that began at start has had --total-timeout, which
// no progress moves.
func pastTotal(start, mono int64, total time.Duration) bool {
	return total > 0 && mono > start+int64(total)
}

// stuckCause says what a request that does not end is stuck in.
func (s *supervisor) stuckCause(w *worker, mono int64) cause {
	if s.gilHeld(w, mono) {
		return causeGIL
	}
	return causeTimeout
}

// gilHeld reports whether the GIL of w cannot be had.
func (s *supervisor) gilHeld(w *worker, mono int64) bool {
	since := w.board.Gauges.GILWanted.Load()
	return since != 0 && s.ran(since, mono) >= gilGrace
}

// ran is how long it is since then, without the pauses.
func (s *supervisor) ran(then, mono int64) time.Duration {
	return time.Duration(mono-then) - s.pauses.Since(then)
}

// gilLook is a wait for the GIL of a worker, as it was when that was first seen.
type gilLook struct {
	since   int64
	at      int64
	threads map[int]procstat.Thread
	named   bool // it has been reported
}

// checkGIL notes that the GIL of a worker is held by a thread that does not give it back:
// the others are not busy, they can do nothing at all. On a machine that has too much to do
// it may be that none of them gets a processor.
func (s *supervisor) checkGIL(w *worker, mono int64) {
	since := w.board.Gauges.GILWanted.Load()
	if since == 0 || since == w.gil.since && w.gil.named || !w.serves() {
		return
	}
	threads := s.host.Threads(w.proc.PID())
	if since != w.gil.since || s.host.Stopped(w.proc.PID()) {
		w.gil = gilLook{since: since, at: mono, threads: threads}
		return
	}
	seen := s.ran(w.gil.at, mono)
	if seen-gilTurns*procstat.LongestWait(w.gil.threads, threads, seen) >= gilGrace {
		s.nameGIL(w, mono)
	}
}

// nameGIL reports a wait for the GIL, once.
func (s *supervisor) nameGIL(w *worker, mono int64) {
	since := w.board.Gauges.GILWanted.Load()
	if since == w.gil.since && w.gil.named {
		return
	}
	w.gil = gilLook{since: since, named: true}
	held := time.Duration(mono - since).Round(time.Millisecond)
	s.log.Error("a worker is in a GIL deadlock: a thread holds the interpreter's lock and does not give it back, so that no other can run; "+
		"the tracebacks of its threads follow", "worker", w.number(), "pid", w.proc.PID(), "wanted_for", held)
	s.send(w, protocol.Message{Kind: protocol.KindDump})
	s.noteWorker(w, protocol.Event{Kind: "gil_deadlock", Cause: string(causeGIL), Text: "no thread gets the interpreter's lock"})
}

// endStuck kills a draining worker as soon as nothing but stuck requests would
// be lost.
func (s *supervisor) endStuck(w *worker, now time.Time, mono int64, busy int) {
	if now.Sub(w.drained) < shedGrace {
		return
	}
	g := &w.board.Gauges
	queued := g.QueueDepth.Load()
	for i := range w.gen.set.Pools {
		queued += w.board.Pools[i].Depth.Load()
	}
	others := busy > len(w.stuck) || queued > 0 || g.ConnsWriting.Load() > 0
	if len(w.stuck) < w.threads() && others {
		w.onlyStuck = false
		return
	}
	// A request may be between the queue and a thread in this moment.
	if !w.onlyStuck {
		w.onlyStuck = true
		return
	}
	w.leaving = s.stuckCause(w, mono)
	if s.abort(w, now) {
		return
	}
	s.kill(w)
}

// deafAfter is how long a worker may live without its control socket, which is closed
// when it ends, until that is strange.
const deafAfter = 2 * time.Second

// checkDeaf finds out that a worker which has closed its control socket does not end: it
// does not hear us any more, nor we it. It serves until there is another one.
func (s *supervisor) checkDeaf(w *worker, now time.Time) {
	if w.deaf || w.deafSince.IsZero() || now.Sub(w.deafSince) < deafAfter {
		return
	}
	w.deaf = true
	s.log.Error("a worker has closed its control socket, and lives; it will be replaced", "worker", w.number(), "pid", w.proc.PID())
	switch {
	case w.state == stateServing && w.condemned == "":
		w.condemned = causeDeaf
		s.want(w, string(causeDeaf))
	case w.state == stateDraining:
		s.tell(w, syscall.SIGTERM)
	}
}
