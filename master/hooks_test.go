package master

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"hostler/protocol"
)

// withHooks is a rig whose processes for hooks are like this, and workers fine.
func withHooks(t *testing.T, how manner, f func(r *rig)) {
	t.Helper()
	set := testSettings()
	set.Hooks = "hooks"
	withRig(t, set, func(n int) manner { return how }, func(r *rig) {
		*r.host.next = *set
		f(r)
	})
}

// helpers are the processes that run hooks, workers the others.
func (r *rig) helpers() (helpers, workers []*fakeProcess) {
	for _, p := range r.all() {
		if p.spec.Config.HooksOnly {
			helpers = append(helpers, p)
		} else {
			workers = append(workers, p)
		}
	}
	return helpers, workers
}

// calls are the hooks that p was told to run.
func (p *fakeProcess) calls(t *testing.T) (names []string, last protocol.HookCall) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.sent {
		if m.Kind == protocol.KindHook {
			last = protocol.HookCall{}
			if err := json.Unmarshal([]byte(m.Text), &last); err != nil {
				t.Errorf("%q: %v", m.Text, err)
			}
			names = append(names, last.Hook)
		}
	}
	return names, last
}

func (r *rig) expectCalls(p *fakeProcess, want ...string) protocol.HookCall {
	r.t.Helper()
	got, last := p.calls(r.t)
	if !slices.Equal(got, want) {
		r.t.Errorf("hooks that were run: %q, want %q", got, want)
	}
	return last
}

const allHooks = "on_starting on_reload child_exit on_exit post_fork"

// TestHooksLife: the first before the first worker starts, the last after the
// last has gone, and in a reload a new process, with new code.
func TestHooksLife(t *testing.T) {
	withHooks(t, manner{hooks: allHooks}, func(r *rig) {
		r.pass(bootTakes)
		helpers, workers := r.helpers()
		if len(helpers) != 1 || len(workers) != 0 || helpers[0].spec.Config.Hooks != "hooks" || len(helpers[0].spec.Listeners) != 0 {
			t.Fatalf("%d processes for hooks, %d workers", len(helpers), len(workers))
		}
		h := helpers[0]
		r.expectCalls(h, "on_starting")
		r.pass(hookTakes)
		r.expect("1:booting/1 2:booting/1")
		r.pass(bootTakes)
		r.expect("1:serving/1 2:serving/1")
		_, workers = r.helpers()
		workers[0].exit(exited(3))
		r.pass(0)
		call := r.expectCalls(h, "on_starting", "child_exit")
		if want := (protocol.HookWorker{PID: workers[0].pid, Number: 1, Generation: 1, Cause: "exit", Status: "exit:3"}); call.Worker == nil || *call.Worker != want {
			t.Errorf("%+v, want %+v", call.Worker, want)
		}
		r.pass(2 * bootTakes)

		r.signal(hup)
		r.pass(bootTakes + hookTakes)
		r.expect("1:serving/1 2:serving/1 3:booting/2 4:booting/2")
		r.pass(bootTakes + leaveTakes)
		r.expect("3:serving/2 4:serving/2")
		helpers, _ = r.helpers()
		if len(helpers) != 2 || !h.dead {
			t.Fatalf("%d processes for hooks, the first is gone: %v", len(helpers), h.dead)
		}
		r.expectCalls(h, "on_starting", "child_exit")
		r.expectCalls(helpers[1], "on_reload", "child_exit", "child_exit")
		r.signal(term)
		r.pass(leaveTakes)
		if n := len(r.view().Workers); n != 0 || r.view().Ready {
			t.Errorf("%s", r.workers())
		}
		r.awaitEnd()
		r.expectCalls(helpers[1], "on_reload", "child_exit", "child_exit", "child_exit", "child_exit", "on_exit")
	})
}

// TestHooksNotOfTheMaster: a module without such hooks costs no process.
func TestHooksNotOfTheMaster(t *testing.T) {
	withHooks(t, manner{hooks: "post_fork worker_exit"}, func(r *rig) {
		r.pass(2 * bootTakes)
		r.expect("1:serving/1 2:serving/1")
		helpers, workers := r.helpers()
		if len(helpers) != 1 || !helpers[0].dead {
			t.Error("its process is still there")
		}
		r.expectCalls(helpers[0])
		workers[0].exit(exited(0))
		r.pass(2 * bootTakes)
		r.expect("1:serving/1 2:serving/1")
	})
}

// TestHookOnStartingFails: that is a failed start.
func TestHookOnStartingFails(t *testing.T) {
	for name, how := range map[string]manner{
		"raises":          {hooks: allHooks, hookFails: "the hook on_starting failed: KeyError: 'x'"},
		"hangs":           {hooks: allHooks, hookHangs: true},
		"no such module":  {fails: "Traceback\n  line\nModuleNotFoundError: No module named 'hooks'"},
		"dies of it":      {dies: true},
		"imports forever": {hangs: true},
	} {
		withHooks(t, how, func(r *rig) {
			err := r.awaitEnd()
			var boot *BootError
			if !errors.As(err, &boot) {
				t.Fatalf("%s: %v", name, err)
			}
			if _, workers := r.helpers(); len(workers) != 0 {
				t.Errorf("%s: %d workers were started", name, len(workers))
			}
			if name == "raises" && !strings.Contains(boot.Reason, "KeyError") || name == "no such module" &&
				(!strings.Contains(boot.Reason, "No module named") || strings.Count(r.stderr.String(), "ModuleNotFoundError") != 1) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

// TestHookErrorsDoNotMatter: all the others'.
func TestHookErrorsDoNotMatter(t *testing.T) {
	withHooks(t, manner{hooks: "on_reload child_exit on_exit", hookFails: "the hook failed: ZeroDivisionError"}, func(r *rig) {
		r.pass(2 * bootTakes)
		r.expect("1:serving/1 2:serving/1")
		r.signal(hup)
		r.pass(2*bootTakes + hookTakes + leaveTakes)
		r.expect("3:serving/2 4:serving/2")
		if v := r.view(); !v.LastReloadSuccessful || v.HookFailures < 1 {
			t.Errorf("%+v", v)
		}
		if e := r.events("hook_failed"); len(e) < 1 || !strings.Contains(e[0].Text, "ZeroDivisionError") {
			t.Errorf("%+v", e)
		}
		r.signal(term)
		if err := r.awaitEnd(); err != nil {
			t.Error(err)
		}
	})
}

// TestHooksOfAReloadThatFails: the old process goes on to run them.
func TestHooksOfAReloadThatFails(t *testing.T) {
	withHooks(t, manner{hooks: allHooks}, func(r *rig) {
		r.pass(2*bootTakes + hookTakes)
		r.expect("1:serving/1 2:serving/1")
		helpers, workers := r.helpers()
		r.behave(manner{fails: "SyntaxError"})
		r.signal(hup)
		r.pass(2 * bootTakes)
		if v := r.view(); v.LastReloadSuccessful || v.Generation != 1 {
			t.Errorf("%+v", v)
		}
		r.behave(manner{})
		workers[1].exit(exited(1))
		r.pass(0)
		r.expectCalls(helpers[0], "on_starting", "child_exit")
	})
}

// TestHooksProcessDies: another takes its place, without a hook to begin with.
func TestHooksProcessDies(t *testing.T) {
	withHooks(t, manner{hooks: allHooks}, func(r *rig) {
		r.pass(2*bootTakes + hookTakes)
		r.pass(youth)
		helpers, _ := r.helpers()
		helpers[0].exit(killed(9))
		r.pass(bootTakes)
		r.expect("1:serving/1 2:serving/1")
		helpers, workers := r.helpers()
		if len(helpers) != 2 {
			t.Fatalf("%d processes for hooks", len(helpers))
		}
		workers[0].exit(exited(1))
		r.pass(0)
		r.expectCalls(helpers[1], "child_exit")
	})
}

// TestHookOnExitHangs: the end waits for it, but not for ever.
func TestHookOnExitHangs(t *testing.T) {
	withHooks(t, manner{hooks: "on_exit", hookHangs: true}, func(r *rig) {
		r.pass(2 * bootTakes)
		r.expect("1:serving/1 2:serving/1")
		r.signal(term)
		began := time.Now()
		r.awaitEnd()
		if took := time.Since(began); took < hookLeave || took > hookLeave+2*leaveTakes {
			t.Errorf("the end took %v", took)
		}
	})
}
