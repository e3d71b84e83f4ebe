package master

import (
	"fmt"
	"syscall"
	"time"

	"hostler/master/spawn"
	"hostler/protocol"
)

const (
	// watchMemory is how often a worker's memory is looked at, where it matters.
	watchMemory = 2 * time.Second
	// youth is how long a worker serves before it may be replaced for its memory. An
	// application that takes what it needs at the first request would have its
	// workers replaced all the time.
	youth = 10 * time.Second
	// tracedIn is how long tracebacks take to be in the log, and tracedLeast with less than which
	// they are not begun.
	tracedIn    = 300 * time.Millisecond
	tracedLeast = 100 * time.Millisecond
)

// checkDeadline ends the patience with a worker that does not boot or leave.
func (s *supervisor) checkDeadline(w *worker, now time.Time) {
	if w.deadline.IsZero() || now.Before(w.deadline) {
		return
	}
	switch w.state {
	case stateBooting:
		s.log.Error("a worker is not ready in time; its threads' tracebacks follow", "worker", w.number(),
			"pid", w.proc.PID(), "boot_timeout", w.gen.set.BootTimeout)
		w.leaving = causeBootTimeout
		s.become(w, stateDraining)
		w.drained, w.deadline = now, now.Add(spawn.AbortGrace)
		// Nobody reads the control socket while the application is imported.
		// faulthandler writes all tracebacks on SIGABRT, whoever has the GIL.
		s.tell(w, syscall.SIGABRT)
		s.bootFailed(w, fmt.Sprintf("worker %d was not ready within %v", w.number(), w.gen.set.BootTimeout))
	case stateDraining:
		if s.abort(w, now) || s.traced(w, now) {
			return
		}
		if w.leaving != causeTimeout && w.leaving != causeGIL {
			s.log.Warn("a worker does not leave in time; killing it", "worker", w.number(), "pid", w.proc.PID(),
				"cause", string(w.leaving))
		}
		s.kill(w)
	case stateKilled:
		w.deadline = time.Time{}
		s.log.Error("a worker does not end though it has been killed: it waits for something in the kernel", "worker", w.number(), "pid", w.proc.PID())
	}
}

// traced has w, which was told to leave and does not, write what it is at, once and if there is
// time for that. Of one that is given up for what it is at that has been said.
func (s *supervisor) traced(w *worker, now time.Time) bool {
	known := w.leaving == causeTimeout || w.leaving == causeGIL || w.leaving == causeBootTimeout
	over := now.Add(tracedIn)
	if !s.stopping.over.IsZero() {
		over = minTime(over, s.stopping.over)
	}
	if w.traced || known || s.stopping.quick || over.Sub(now) < tracedLeast {
		return false
	}
	s.log.Warn("a worker that was told to leave does not; its threads' tracebacks follow", "worker", w.number(), "pid", w.proc.PID(), "cause", string(w.leaving))
	w.traced, w.deadline = true, over
	s.tell(w, protocol.DumpSignal)
	return true
}

// checkSlow logs requests that take longer than --slow-request, each once, by the
// clock that --timeout goes by.
func (s *supervisor) checkSlow(w *worker, now time.Time, mono int64) {
	limit := w.gen.set.SlowRequest
	if limit <= 0 || w.state != stateServing && w.state != stateDraining {
		return
	}
	found := false
	for i := range w.threads() {
		a, ok := w.board.ThreadRecs[i].Snapshot()
		if seen, known := w.slow[i]; known && (!ok || seen.start != a.Start) {
			delete(w.slow, i)
		}
		if !ok {
			continue
		}
		if seen := w.slow[i]; seen.start == a.Start {
			if !seen.stacked && now.Sub(seen.dumped) >= dumpPause {
				seen.stacked = true
				w.slow[i] = seen
				s.send(w, protocol.Message{Kind: protocol.KindStack, Thread: i, Start: a.Start})
			}
			continue
		}
		since := w.board.ThreadRecs[i].ClockSince(a.Start)
		if since == 0 || time.Duration(mono-since) <= limit {
			continue
		}
		age := time.Duration(mono - a.Start)
		w.slow[i] = slowSeen{start: a.Start, dumped: now}
		found = true
		s.log.Warn("a slow request; the tracebacks of its worker's threads follow", "worker", w.number(), "pid", w.proc.PID(),
			"thread", i, "method", a.Method, "target", a.Target, "client", a.Client, "age", age.Round(time.Millisecond))
	}
	if found {
		s.send(w, protocol.Message{Kind: protocol.KindDump})
	}
}

// checkMemory looks how much memory a worker uses; recycle sees to the rest.
func (s *supervisor) checkMemory(w *worker, now time.Time) {
	soft, hard := w.gen.set.MaxMemory, w.gen.set.MaxMemoryHard
	if soft <= 0 && hard <= 0 || w.state != stateServing && w.state != stateDraining || now.Sub(w.memoryAt) < watchMemory {
		return
	}
	fresh := w.memoryAt.IsZero()
	w.memoryAt = now
	n, err := s.host.Memory(w.proc.PID())
	if err != nil {
		return // it has just ended, which we are about to hear
	}
	w.memory = n
	switch {
	case fresh && (soft > 0 && n > soft || hard > 0 && n > hard):
		// Its replacement would be no smaller.
		w.bigFromBirth = true
		if !w.gen.saidBig {
			w.gen.saidBig = true
			s.log.Error("a fresh worker uses more memory than the limit allows; the limit is not applied", "worker", w.number(),
				"memory", n, "max_memory", soft, "max_memory_hard", hard)
		}
	case fresh && w.maxMemory > 0 && n > w.maxMemory:
		w.maxMemory = soft // too large only for what is taken off at random
	case w.maxMemory > 0 && n > w.maxMemory && now.Sub(w.ready) < youth && !w.gen.saidGrown:
		w.gen.saidGrown = true
		s.log.Warn("a worker has grown beyond --max-memory as soon as it served; is the limit too low?", "worker", w.number(),
			"memory", n, "max_memory", soft)
	}
	if hard > 0 && n > hard && !w.bigFromBirth {
		s.log.Error("a worker uses more memory than it may; killing it", "worker", w.number(), "pid", w.proc.PID(), "memory", n, "max_memory_hard", hard)
		w.leaving = causeMemory
		s.kill(w)
	}
}

// recycle condemns workers that have served their --max-requests, or are too old
// or too large, as many at a time as --max-unavailable allows.
func (s *supervisor) recycle(now time.Time) {
	if s.phase != phaseServing || s.reloading() && s.trial == nil { // a trial may be long
		return
	}
	room := s.set.mostUnavailable() - s.missing()
	for _, w := range s.workers {
		if w.gen == s.current && w.state == stateDraining && w.leaving.recycles() {
			room-- // it takes memory until it is gone
		}
	}
	for _, w := range s.workers {
		if w.state != stateServing || w.gen != s.current || w.condemned != "" {
			continue
		}
		why := w.worn(now)
		if why == "" {
			continue
		}
		if room <= 0 {
			return
		}
		room--
		w.condemned = why
		s.want(w, string(why))
		s.log.Info("replacing a worker", "worker", w.number(), "pid", w.proc.PID(), "cause", string(why),
			"served", w.board.Gauges.Served.Load(), "age", now.Sub(w.started).Round(time.Second), "memory", w.memory)
	}
}

// missing is how many workers in good standing there are too few: those that are
// being replaced, have died or boot.
func (s *supervisor) missing() int {
	_, ready := s.count(s.current)
	return max(0, s.target(s.set)-ready)
}

// worn says why w should be replaced, or "".
func (w *worker) worn(now time.Time) cause {
	switch {
	case w.maxRequests > 0 && w.board.Gauges.Served.Load() >= uint64(w.maxRequests):
		return causeRecycled
	case !w.oldAt.IsZero() && !now.Before(w.oldAt):
		return causeAge
	case w.maxMemory > 0 && w.memory > w.maxMemory && !w.bigFromBirth && now.Sub(w.ready) >= youth:
		return causeMemory
	}
	return ""
}

// recycles reports whether a worker left for its own good.
func (c cause) recycles() bool { return c == causeRecycled || c == causeAge || c == causeMemory }

// forgive forgets failed boots once all workers serve again.
func (s *supervisor) forgive(now time.Time) {
	if s.backoff.failures == 0 || s.current == nil || s.backoff.wait(now) {
		return
	}
	ready := 0
	for _, w := range s.workers {
		if w.gen == s.current && w.state == stateServing {
			if now.Sub(w.ready) < proven {
				return
			}
			ready++
		}
	}
	if ready >= s.target(s.set) {
		s.booted()
	}
}
