package master

import (
	"cmp"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"hostler/master/spawn"
	"hostler/protocol"
)

// The master is no Python, so the hooks about the server as a whole run in a
// process of its own, one per generation: it imports the module that --hooks
// names, not the application. If the module defines none of these hooks, the
// process leaves again. The hooks about a worker from within run in the workers.

// Hooks of the master's.
const (
	hookStarting  = "on_starting"
	hookReload    = "on_reload"
	hookReady     = "when_ready"
	hookPreFork   = "pre_fork"
	hookChildExit = "child_exit"
	hookWorkers   = "nworkers_changed"
	hookExit      = "on_exit"
)

var masterHooks = [...]string{hookStarting, hookReload, hookReady, hookPreFork, hookChildExit, hookWorkers, hookExit}

const (
	// hookLeave is how long the last hook may take, and hookLeast what it gets where
	// a stop has used up its time.
	hookLeave = 5 * time.Second
	hookLeast = time.Second
)

// helper is a process that runs hooks.
type helper struct {
	id      int
	gen     *generation
	proc    spawn.Process
	started time.Time
	first   string          // the hook to begin with; "": none
	names   map[string]bool // the hooks that there are; nil: not known yet
	passed  bool            // the first hook has been run: workers may start
	leaving bool
	calls   int // that it has not answered
	// deadline is when patience ends with one that begins or leaves.
	deadline time.Time
	error    string // what it said of why it could not begin
}

type hookEvent struct {
	id int
	spawn.Report
}

// startHelper starts the process for g's hooks, which begins with one of them.
func (s *supervisor) startHelper(g *generation, first string) error {
	cfg := g.set.workerConfig(s.stats.version, 0, g.number, s.target(g.set), 0)
	cfg.HooksOnly, cfg.Preload, cfg.MasterPID, cfg.InternalEnv = true, false, os.Getpid(), g.internal
	s.ids++
	h := &helper{id: s.ids, gen: g, first: first, started: s.clock.now()}
	if g.set.BootTimeout > 0 {
		h.deadline = h.started.Add(g.set.BootTimeout)
	}
	spec := spawn.Spec{Python: g.python, Dir: g.set.dir, Config: cfg, Env: g.env, Identity: g.identity, Secrets: -1, Pages: -1, Errors: g.logs.errors.fd}
	proc, err := s.starter.Start(spec, func(r spawn.Report) { s.post(hookEvent{h.id, r}) })
	if err != nil {
		return fmt.Errorf("cannot run the hooks in %s: %w", cmp.Or(g.set.Hooks, g.set.Worker.Conf), g.set.startError(err))
	}
	h.proc = proc
	g.helper = h
	s.helpers = append(s.helpers, h)
	return nil
}

// waitsForHook reports whether g's workers have to wait for the first hook.
func (g *generation) waitsForHook() bool { return g.helper != nil && !g.helper.passed }

func (s *supervisor) helper(id int) *helper {
	for _, h := range s.helpers {
		if h.id == id {
			return h
		}
	}
	return nil
}

// helperSaid takes what the process of the hooks says, and its end.
func (s *supervisor) helperSaid(h *helper, r spawn.Report) {
	switch {
	case r.Err != nil:
		h.error = h.gen.set.asWhom(r.Err.Error())
		s.helperExited(h, r.Status)
	case r.Exited:
		s.helperExited(h, r.Status)
	case r.Begun, r.Deaf:
	case r.Message.Kind == protocol.KindBootFailed:
		h.error = h.gen.set.asWhom(r.Message.Text)
	case r.Message.Kind == protocol.KindHooks:
		h.names = make(map[string]bool)
		for _, name := range strings.Fields(r.Message.Text) {
			h.names[name] = true
		}
		if !h.names[h.first] {
			s.pass(h)
		} else if !h.leaving {
			s.callHook(h, protocol.HookCall{Hook: h.first})
		}
	case r.Message.Kind == protocol.KindHookDone:
		if h.calls == 0 {
			return // it was not asked
		}
		h.calls--
		if r.Message.Text != "" {
			s.stats.hooksFailed++
			s.note(protocol.Event{Kind: "hook_failed", Generation: h.gen.number, Text: r.Message.Text})
		}
		if h.passed || h.leaving {
			return
		}
		if r.Message.Text != "" && h.first == hookStarting {
			s.endHelper(h)
			s.hookFailed(h, &BootError{App: h.gen.set.App, Reason: r.Message.Text})
			return
		}
		s.pass(h)
	}
}

// pass lets the workers start. The process stays if there are hooks to come.
func (s *supervisor) pass(h *helper) {
	if h.leaving {
		return
	}
	h.passed, h.deadline = true, time.Time{}
	for _, name := range masterHooks {
		if name != hookStarting && name != hookReload && h.names[name] {
			return
		}
	}
	s.endHelper(h)
}

// hookFailed ends the start, or the reload, that waits for h.
func (s *supervisor) hookFailed(h *helper, err error) {
	if h.gen == s.next {
		s.abandon(err)
	}
}

func (s *supervisor) helperExited(h *helper, ws syscall.WaitStatus) {
	h.proc.Close()
	for i, o := range s.helpers {
		if o == h {
			s.helpers = append(s.helpers[:i], s.helpers[i+1:]...)
			break
		}
	}
	if h.leaving {
		return
	}
	if !h.passed {
		why := fmt.Sprintf("the process of the hooks ended (%s) before they were run", spawn.StatusText(ws))
		if h.error != "" {
			why = bootReason(h.error)
			s.sayOnce(h.gen, h.error)
		}
		h.leaving = true
		s.hookFailed(h, &BootError{App: h.gen.set.App, Reason: why, Traceback: h.error})
		return
	}
	if h.gen.helper == h {
		h.gen.helper = nil
	}
	s.log.Error("the process of the hooks ended", "pid", h.proc.PID(), "status", spawn.StatusText(ws))
	if h.gen == s.current && s.phase == phaseServing && s.clock.now().Sub(h.started) >= youth {
		if err := s.startHelper(h.gen, ""); err != nil {
			s.log.Error("no hooks of the master's until the next reload", "error", err)
		}
	}
}

// callHook has a hook run, if h defines it.
func (s *supervisor) callHook(h *helper, call protocol.HookCall) {
	if h == nil || !h.names[call.Hook] || h.leaving {
		return
	}
	if err := h.proc.Send(call.Message()); err != nil {
		s.log.Error("a hook is not run", "hook", call.Hook, "error", err)
		return
	}
	h.calls++
}

// hookAbort runs in a worker that is given up, by SIGABRT.
const hookAbort = "worker_abort"

// abort has a worker that is given up run the hook for that before it is killed. It
// returns false if there is none, or it has had its time.
func (s *supervisor) abort(w *worker, now time.Time) bool {
	h := w.gen.helper
	switch {
	case w.leaving != causeTimeout || h == nil || !h.names[hookAbort]:
		return false
	case w.abortBy.IsZero():
		w.abortBy = now.Add(spawn.AbortGrace)
		w.deadline = w.abortBy
		s.tell(w, syscall.SIGABRT)
	}
	return now.Before(w.abortBy)
}

// preFork runs the hook for a worker that is about to be started.
func (s *supervisor) preFork(g *generation, slot int) {
	s.callHook(g.helper, protocol.HookCall{Hook: hookPreFork, Worker: &protocol.HookWorker{Number: slot + 1, Generation: g.number}})
}

// workersChanged runs the hook for another number of workers.
func (s *supervisor) workersChanged(from, to int) {
	if s.current != nil && from != to {
		s.callHook(s.current.helper, protocol.HookCall{Hook: hookWorkers, Workers: to, Before: &from})
	}
}

// childExit runs the hook for a worker that is gone.
func (s *supervisor) childExit(w *worker, why cause, ws syscall.WaitStatus) {
	g := s.current
	if g == nil {
		g = w.gen
	}
	if w.proc.PID() == 0 { // never forked
		return
	}
	s.callHook(g.helper, protocol.HookCall{Hook: hookChildExit, Worker: &protocol.HookWorker{
		PID: w.proc.PID(), Number: w.number(), Generation: w.gen.number, Cause: string(why), Status: spawn.StatusText(ws)}})
}

// moldChanged is called when a mold has begun or ended. It has run the
// application's code as a worker does, so the hook is run for it, too.
func (s *supervisor) moldChanged(ev spawn.MoldEvent) {
	if !ev.Gone {
		if s.molds == nil {
			s.molds = make(map[int]int)
		}
		s.molds[ev.PID] = ev.Generation
		return
	}
	delete(s.molds, ev.PID)
	why := causeExit
	switch {
	case ev.Retired && s.phase == phaseStopping:
		why = causeStopped
	case ev.Retired:
		why = causeReload
	case ev.Status.Signaled():
		why = causeSignal
	}
	g := s.current
	if g == nil {
		g = s.next
	}
	if g != nil {
		s.callHook(g.helper, protocol.HookCall{Hook: hookChildExit, Worker: &protocol.HookWorker{
			PID: ev.PID, Generation: ev.Generation, Cause: string(why), Status: spawn.StatusText(ev.Status)}})
	}
}

// endHelper has h leave when it has run what it was told to.
func (s *supervisor) endHelper(h *helper) {
	if h == nil || h.leaving {
		return
	}
	now := s.clock.now()
	h.leaving, h.deadline = true, now.Add(hookLeave)
	if over := s.stopping.over; !over.IsZero() {
		h.deadline = minTime(h.deadline, maxTime(over, now.Add(hookLeast)))
	}
	if !h.passed { // it may be busy importing
		_ = h.proc.Signal(syscall.SIGKILL)
		return
	}
	if err := h.proc.Send(protocol.Message{Kind: protocol.KindDrain, Mode: protocol.DrainQuick}); err != nil {
		_ = h.proc.Signal(syscall.SIGKILL)
	}
}

// endHelpers runs the last hook when the last worker is gone, and reports whether
// the processes of the hooks are gone, too.
func (s *supervisor) endHelpers() bool {
	for _, h := range s.helpers {
		if h.passed && s.current != nil && h.gen == s.current {
			s.callHook(h, protocol.HookCall{Hook: hookExit})
		}
		s.endHelper(h)
		if s.stopping.quick && h.leaving && !h.deadline.IsZero() {
			h.deadline = minTime(h.deadline, s.clock.now().Add(quickLeave))
		}
	}
	return len(s.helpers) == 0
}

func maxTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

func minTime(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// checkHelpers ends the patience with hooks that hang.
func (s *supervisor) checkHelpers(now time.Time) {
	for _, h := range s.helpers {
		if h.deadline.IsZero() || now.Before(h.deadline) {
			continue
		}
		h.deadline = time.Time{}
		_ = h.proc.Signal(syscall.SIGKILL)
		if h.leaving {
			s.log.Warn("a hook does not end in time; killing its process", "pid", h.proc.PID())
			continue
		}
		h.leaving = true
		s.hookFailed(h, &BootError{App: h.gen.set.App, Reason: fmt.Sprintf("the hooks did not begin within %v", h.gen.set.BootTimeout)})
	}
}
