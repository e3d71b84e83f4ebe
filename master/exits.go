package master

import (
	"context"
	"fmt"
	"log/slog"
	"syscall"
	"time"

	"hostler/master/spawn"
	"hostler/protocol"
)

// workerExited is called once for each worker, when its process is gone.
func (s *supervisor) workerExited(w *worker, ws syscall.WaitStatus) {
	now := s.clock.now()
	was, why := w.state, s.classify(w, ws)
	s.stats.exits[why]++
	s.reportLost(w, why, ws, now)
	s.childExit(w, why, ws)
	s.remove(w)
	ended := protocol.Event{Cause: string(why), Text: spawn.StatusText(ws)}
	attrs := []any{"worker", w.number(), "pid", w.proc.PID(), "generation", w.gen.number, "cause", string(why), "status", spawn.StatusText(ws)}
	switch {
	case w.quiet && w.ready.IsZero():
		s.log.Debug("worker left", attrs...)
	case w.leaving != "" && was == stateKilled:
		ended.Kind = "worker_killed"
		s.log.Warn("worker killed", attrs...)
	case why == w.leaving:
		ended.Kind = "worker_left"
		s.log.Info("worker left", attrs...)
	case ws.Exited() && ws.ExitStatus() == 0 && w.finished: // os._exit(0) in the application is a death
		ended.Kind = "worker_left"
		s.log.Warn("worker left by itself", attrs...) // somebody sent it a SIGTERM, for one
	default:
		ended.Kind = "worker_died"
		s.log.Error("worker died", attrs...)
	}
	if !w.quiet || !w.ready.IsZero() {
		s.noteWorker(w, ended)
	}
	if s.phase == phaseStopping || w.leaving != "" {
		return // nothing depended on it any more
	}
	if !w.ready.IsZero() {
		s.want(w, fmt.Sprintf("%s, %s", why, spawn.StatusText(ws)))
	}
	switch {
	case w.ready.IsZero():
		s.bootFailed(w, bootExitReason(w, why, ws))
	case w.canary && s.trial != nil:
		s.goBack(fmt.Sprintf("worker %d died: %s", w.number(), spawn.StatusText(ws)))
	case w.gen == s.next:
		s.abandon(&BootError{App: w.gen.set.App, Reason: fmt.Sprintf("worker %d died as soon as it was ready: %s",
			w.number(), spawn.StatusText(ws))})
	default:
		s.diedYoung(w, ws)
	}
}

// classify says why a worker is gone.
func (s *supervisor) classify(w *worker, ws syscall.WaitStatus) cause {
	switch {
	case ws.Signaled() && w.state == stateKilled && ws.Signal() == syscall.SIGKILL:
		return w.leaving
	case w.leaving == causeBootTimeout || w.leaving == causeTimeout || w.leaving == causeGIL:
		return w.leaving
	case ws.Signaled() && w.termed && ws.Signal() == syscall.SIGTERM:
		return w.leaving // our signal, while it was importing
	case ws.Signaled() && w.traced && ws.Signal() == protocol.DumpSignal:
		return w.leaving // so far had it come with its end
	case ws.Signaled() && ws.Signal() == syscall.SIGKILL && s.oom.claim():
		return causeOOM
	case w.leaving == causeBootFailed || w.leaving == "" && w.ready.IsZero():
		return causeBootFailed
	case ws.Signaled():
		return causeSignal
	case w.leaving != "" && ws.ExitStatus() == 0:
		return w.leaving
	}
	return causeExit
}

func bootExitReason(w *worker, why cause, ws syscall.WaitStatus) string {
	if why == causeOOM {
		return fmt.Sprintf("worker %d was killed for want of memory before it was ready", w.number())
	}
	as := ""
	if w.gen.identity != nil { // it may not have been able to read what Python needs
		as = ", as " + w.gen.set.workersUser() + ","
	}
	return fmt.Sprintf("worker %d%s %s", w.number(), as, spawn.EndedEarly(ws, w.gen.python))
}

// reportLost names the requests that died with w, in the error log, in the access log
// and as spans, and counts them. The worker is gone, so its records stand still.
func (s *supervisor) reportLost(w *worker, why cause, ws syscall.WaitStatus, now time.Time) {
	mono := s.clock.mono()
	var lines []byte
	named, more := 0, 0
	for i := range w.records() {
		a, busy := w.board.ThreadRecs[i].Snapshot()
		if !busy || i == 0 && a.Logged && w.onLoop() {
			continue
		}
		lost := lostRequest{Activity: a, worker: w.number(), cause: lostCause(why, ws), age: time.Duration(mono - a.Start), timedOut: why == causeTimeout}
		if !a.Logged {
			lines = appendAccessLine(lines, w.gen.logs.format, now, lost)
		}
		s.tellLost(w, &w.board.ThreadRecs[i], &lost, mono, now)
		if !a.Socket {
			w.board.Counters.Requests[protocol.MethodIndex(a.Method)][0].Add(1)
		}
		if named == lostNamed {
			more++
			continue
		}
		named++
		s.log.LogAttrs(context.Background(), slog.LevelError, "request lost", slog.Int("worker", w.number()), slog.Int("pid", w.proc.PID()),
			slog.String("cause", lost.cause), slog.String("method", a.Method), slog.String("target", a.Target),
			slog.String("client", a.Client), slog.Duration("age", lost.age.Round(time.Millisecond)))
	}
	if more > 0 {
		s.log.Error("more requests lost", "worker", w.number(), "pid", w.proc.PID(), "requests", more)
	}
	s.logAccess(w.gen, lines)
}

// lostNamed is how many lost requests of a worker are named one by one.
const lostNamed = 32

// lostCause is the cause as the access log has it. A cause of our own says more
// than the signal by which it was carried out.
func lostCause(why cause, ws syscall.WaitStatus) string {
	if why == causeSignal || why == causeExit {
		return spawn.StatusText(ws)
	}
	return string(why)
}

// threads is how many thread records of the worker are in use. What the scoreboard says
// of that is the worker's to write.
func (w *worker) threads() int {
	if w.onLoop() {
		return 1
	}
	return min(w.gen.set.Threads, protocol.MaxThreads)
}

// onLoop reports whether the worker's requests are an event loop's, or greenlets, as it says.
func (w *worker) onLoop() bool { return w.board.Gauges.LoopSince.Load() != 0 }

// records is how many thread records may be in use, with those of what an event loop has under
// way beside the step that it is in.
func (w *worker) records() int {
	if w.onLoop() {
		return protocol.MaxThreads
	}
	return w.threads()
}
