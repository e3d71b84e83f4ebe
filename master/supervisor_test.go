package master

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"hostler/master/spawn"
	"hostler/protocol"
	"hostler/settings"
)

const (
	term = syscall.SIGTERM
	hup  = syscall.SIGHUP
)

func TestStartAndStop(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		withRig(t, testSettings(), nil, func(r *rig) {
			r.expect("1:booting/1 2:booting/1")
			if r.view().Ready {
				t.Error("ready before any worker is")
			}
			r.awaitServing()
			r.expect("1:serving/1 2:serving/1")
			r.signal(sig)
			r.expect("1:draining/1 2:draining/1")
			if v := r.view(); v.Ready || !v.Stopping {
				t.Errorf("while stopping: %+v", v)
			}
			if _, m := r.all()[0].got(protocol.KindDrain); m.Mode != protocol.DrainStop || m.Grace != 10*time.Second-graceMargin {
				t.Errorf("told %+v", m)
			}
			if err := r.awaitEnd(); err != nil {
				t.Error(err)
			}
			if n := r.exits(causeStopped); n != 2 {
				t.Errorf("%d exits", n)
			}
			if len(r.host.stopping) != 1 || r.host.stopping[0] {
				t.Errorf("host: %v", r.host.stopping)
			}
		})
	}
}

func TestQuickStops(t *testing.T) {
	for _, c := range []struct {
		name  string
		first syscall.Signal
		pause time.Duration
		next  syscall.Signal
	}{
		{"quit", syscall.SIGQUIT, 0, 0},
		{"term, then quit", term, 0, syscall.SIGQUIT},
		{"int, and again", syscall.SIGINT, repeatTime, syscall.SIGINT},
	} {
		for _, wedged := range []bool{false, true} {
			if !wedged && c.pause > leaveTakes {
				continue // they have gone by then
			}
			withRig(t, testSettings(), func(int) manner { return manner{wedged: wedged} }, func(r *rig) {
				r.awaitServing()
				r.signal(c.first)
				r.pass(c.pause)
				start := time.Now()
				if c.next != 0 {
					r.signal(c.next)
				}
				if err := r.awaitEnd(); err != nil {
					t.Error(err)
				}
				if d := time.Since(start); d > 2*quickLeave {
					t.Errorf("%s: took %v", c.name, d)
				}
				for _, p := range r.all() {
					if _, m := p.got(protocol.KindDrain); m.Mode != protocol.DrainQuick {
						t.Errorf("%s: told %+v", c.name, m)
					}
					if p.signalled(syscall.SIGKILL) != wedged {
						t.Errorf("%s: wedged %v: killed %v", c.name, wedged, !wedged)
					}
				}
			})
		}
	}
}

// TestRepeatedSignals: whoever repeats himself does not mean that requests shall be
// dropped.
func TestRepeatedSignals(t *testing.T) {
	for _, c := range []struct {
		first, next syscall.Signal
		pause       time.Duration
	}{
		{term, term, 0},
		{term, term, 5 * time.Second},
		{syscall.SIGINT, term, 5 * time.Second},
		{syscall.SIGINT, syscall.SIGINT, repeatTime / 2},
		{term, syscall.SIGINT, repeatTime / 2},
	} {
		withRig(t, testSettings(), func(int) manner { return manner{wedged: true} }, func(r *rig) {
			r.awaitServing()
			r.signal(c.first)
			r.pass(c.pause)
			r.signal(c.next)
			r.pass(8*time.Second - c.pause)
			r.expect("1:draining/1 2:draining/1")
			for _, p := range r.all() {
				if n, m := p.got(protocol.KindDrain); n != 1 || m.Mode != protocol.DrainStop {
					t.Errorf("%v, %v: told %d times, the last %+v", c.first, c.next, n, m)
				}
			}
		})
	}
}

// TestGracefulTimeout: what does not leave in time is killed, no sooner, and such
// that all is over in that time.
func TestGracefulTimeout(t *testing.T) {
	for _, grace := range []time.Duration{10 * time.Second, 30 * time.Second, time.Second, 0} {
		set := testSettings()
		set.GracefulTimeout = grace
		withRig(t, set, func(int) manner { return manner{wedged: true} }, func(r *rig) {
			r.awaitServing()
			r.begin(r.all()[0], 0, "/slow", 0)
			begun := time.Now()
			r.signal(term)
			r.pass(grace - min(graceMargin, grace/4))
			if grace > 0 {
				r.expect("1:draining/1 2:draining/1")
			}
			if err := r.awaitEnd(); err != nil {
				t.Error(err)
			}
			if took := time.Since(begun); took > grace+10*time.Millisecond {
				t.Errorf("the stop took %v of %v", took, grace)
			}
			if !strings.Contains(r.stdout.String(), `"GET /slow HTTP/1.1" 000`) {
				t.Errorf("access log: %q", r.stdout.String())
			}
		})
	}
}

// TestTermInEachState stops a master while workers are in each of their states.
func TestTermInEachState(t *testing.T) {
	for _, c := range []struct {
		name  string
		how   manner
		reach func(r *rig)
	}{
		{"starting", manner{}, func(r *rig) {}},
		{"starting, deaf", manner{deaf: true, hangs: true}, func(r *rig) {}},
		{"just ready", manner{}, func(r *rig) { r.awaitServing() }},
		{"reloading", manner{}, func(r *rig) { r.awaitServing(); r.signal(hup) }},
		{"reload half ready", manner{}, func(r *rig) {
			r.awaitServing()
			r.procs.manner = func(n int) manner { return manner{slow: time.Duration(n%2) * time.Second} }
			r.signal(hup)
			r.pass(bootTakes)
			r.expect("1:serving/1 2:serving/1 3:serving/2 4:booting/2")
		}},
		{"draining after a reload", manner{}, func(r *rig) { r.awaitServing(); r.signal(hup); r.pass(bootTakes) }},
		{"backing off", manner{}, func(r *rig) {
			r.awaitServing()
			r.behave(manner{dies: true})
			r.all()[0].exit(exited(1))
			r.pass(2 * time.Second)
		}},
		{"boot aborted", manner{}, func(r *rig) {
			r.awaitServing()
			r.behave(manner{hangs: true, deaf: true})
			r.all()[0].exit(exited(1))
			r.pass(backoffFirst + 30*time.Second)
			r.expect("1:draining/1 2:serving/1")
		}},
		{"upgrading", manner{}, func(r *rig) {
			r.awaitServing()
			r.signal(syscall.SIGUSR2)
			go func() { time.Sleep(time.Second); r.host.upgrade <- errors.New("terminating") }()
		}},
		{"condemned", manner{}, func(r *rig) {
			r.awaitServing()
			r.slotOf(r.all()[0]).Gauges.Served.Store(1000)
			r.pass(watchOften)
			r.expect("1:serving/1 2:serving/1 3:booting/1")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			set := testSettings()
			set.MaxRequests = 1000
			withRig(t, set, func(int) manner { return c.how }, func(r *rig) {
				c.reach(r)
				before := time.Now()
				r.signal(term)
				if err := r.awaitEnd(); err != nil && !errors.Is(err, errStoppedEarly) {
					t.Error(err)
				}
				if d := time.Since(before); d > 5*time.Second {
					t.Errorf("took %v", d)
				}
			})
		})
	}
}

func TestFirstGenerationFails(t *testing.T) {
	for _, c := range []struct {
		name, reason string
		set          func(*Settings)
		how          func(n int) manner
	}{
		{"says why", "ImportError: no flask", nil, func(n int) manner {
			return manner{fails: "Traceback (most recent call last):\n  File x\nImportError: no flask\n"}
		}},
		{"one of two", "Oops", nil, func(n int) manner {
			if n == 1 {
				return manner{fails: "Oops"}
			}
			return manner{}
		}},
		{"dies", "ended (exit:3) before it was ready", nil, func(int) manner { return manner{dies: true} }},
		{"hangs", "was not ready within 30s", nil, func(int) manner { return manner{hangs: true} }},
		{"hangs and is deaf", "was not ready within 30s", nil, func(int) manner { return manner{hangs: true, deaf: true} }},
		{"no interpreter", "no Python interpreter found", func(s *Settings) { s.Python = "missing" }, nil},
		{"address taken", "address already in use", func(s *Settings) { s.Binds = []settings.Bind{{Network: "tcp", Address: "taken"}} }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			set := testSettings()
			if c.set != nil {
				c.set(set)
			}
			withRig(t, set, c.how, func(r *rig) {
				err := r.awaitEnd()
				if err == nil || !strings.Contains(err.Error(), c.reason) {
					t.Errorf("error: %v", err)
				}
				if n := len(r.all()); n > 2 {
					t.Errorf("%d processes were started", n)
				}
				if n := strings.Count(r.stderr.String(), "Traceback"); n != 0 && (n > 1 || c.name != "says why") {
					t.Errorf("%d tracebacks", n)
				}
				if c.name == "one of two" && r.stderr.String() != "" {
					t.Errorf("one line is said twice: %q", r.stderr.String())
				}
				if r.host.serving != 0 {
					t.Error("it has served")
				}
			})
		})
	}
}

func TestReplaceDead(t *testing.T) {
	for _, c := range []struct {
		name string
		ws   syscall.WaitStatus
		oom  bool
		want cause
		log  string
	}{
		{"exit", exited(7), false, causeExit, "cause=exit:7"},
		{"exit 0", exited(0), false, causeExit, "cause=exit:0"},
		{"segv", killed(syscall.SIGSEGV), false, causeSignal, "cause=signal:SIGSEGV"},
		{"kill", killed(syscall.SIGKILL), false, causeSignal, "cause=signal:SIGKILL"},
		{"oom", killed(syscall.SIGKILL), true, causeOOM, "cause=oom"},
	} {
		t.Run(c.name, func(t *testing.T) {
			withRig(t, testSettings(), nil, func(r *rig) {
				r.awaitServing()
				r.pass(time.Minute)
				p := r.all()[0]
				r.begin(p, 1, "/lost?x=\"y\"", 3*time.Second)
				if c.oom {
					r.cgroup["sys/fs/cgroup/memory.events"].Data = []byte("oom 1\noom_kill 5\n")
				}
				p.exit(c.ws)
				r.pass(0)
				r.expect("1:booting/1 2:serving/1") // at once, in the lowest free slot
				if r.exits(c.want) != 1 {
					t.Errorf("exits: %v", r.view().Exits)
				}
				line := r.stdout.String()
				if !strings.Contains(line, `192.0.2.1 - - [`) || !strings.Contains(line, `"GET /lost?x=\"y\" HTTP/1.1" 000 - "-" "-"`+"\n") || !strings.Contains(r.log.String(), c.log) {
					t.Errorf("access log: %q", line)
				}
				if n := r.s.board.Slot(0).Counters.Requests[1][0].Load(); n != 1 {
					t.Errorf("counted %d requests without an answer", n)
				}
				if !strings.Contains(r.log.String(), `msg="request lost" worker=1 pid=1000`) {
					t.Errorf("log:\n%s", r.log.String())
				}
				if !strings.Contains(r.log.String(), `msg="worker died" worker=1`) { // os._exit(0), too
					t.Errorf("log:\n%s", r.log.String())
				}
				r.pass(bootTakes)
				r.expect("1:serving/1 2:serving/1")
			})
		})
	}
}

func TestBackoff(t *testing.T) {
	withRig(t, testSettings(), nil, func(r *rig) {
		r.awaitServing()
		r.pass(time.Minute)
		r.behave(manner{fails: "Traceback\nOops"})
		r.all()[0].exit(exited(1))
		r.pass(10 * time.Minute)
		n := len(r.all()) - 2
		// 0.1 s doubling to 10 s, and a second for each boot.
		if n < 50 || n > 65 {
			t.Errorf("%d boots in ten minutes", n)
		}
		if got := strings.Count(r.stderr.String(), "Traceback"); got != 1 {
			t.Errorf("the traceback is in the log %d times", got)
		}
		if v := r.view(); v.BootFailures == 0 || !v.Ready {
			t.Errorf("%+v", v)
		}
		r.behave(manner{})
		r.pass(15 * time.Second)
		r.expect("1:serving/1 2:serving/1")
		if v := r.view(); v.BootFailures != 0 {
			t.Errorf("failures are not forgotten: %+v", v)
		}
		// A worker that had proven itself is replaced at once again.
		r.all()[1].exit(exited(1))
		r.pass(0)
		r.expect("1:serving/1 2:booting/1")
	})
}

// TestCrashLoopBacksOff: workers that die of their first request.
func TestCrashLoopBacksOff(t *testing.T) {
	withRig(t, testSettings(), nil, func(r *rig) {
		r.awaitServing()
		for range 200 {
			r.pass(bootTakes / 2)
			for _, p := range r.all() {
				p.mu.Lock()
				ready := p.ready
				p.mu.Unlock()
				if ready {
					p.exit(killed(syscall.SIGSEGV))
				}
			}
		}
		if n := len(r.all()); n > 40 {
			t.Errorf("%d boots in 100 s", n)
		}
	})
}

func TestStartRefused(t *testing.T) {
	withRig(t, testSettings(), nil, func(r *rig) {
		r.awaitServing()
		r.mu.Lock()
		r.refuse = syscall.EAGAIN
		r.mu.Unlock()
		r.all()[0].exit(exited(1))
		r.pass(time.Minute)
		r.expect("2:serving/1")
		r.mu.Lock()
		r.refuse = nil
		r.mu.Unlock()
		r.pass(backoffMost + bootTakes)
		r.expect("1:serving/1 2:serving/1")
	})
}

func TestScale(t *testing.T) {
	withRig(t, testSettings(), nil, func(r *rig) {
		r.awaitServing()
		r.signal(syscall.SIGTTIN)
		r.expect("1:serving/1 2:serving/1 3:booting/1")
		r.pass(bootTakes)
		r.signal(syscall.SIGTTOU)
		r.expect("1:serving/1 2:serving/1 3:draining/1")
		r.signal(syscall.SIGTTOU)
		r.signal(syscall.SIGTTOU) // no fewer than one, and not remembered
		r.pass(leaveTakes)
		r.expect("1:serving/1")
		r.signal(syscall.SIGTTIN)
		r.signal(syscall.SIGTTIN)
		r.pass(bootTakes)
		r.expect("1:serving/1 2:serving/1 3:serving/1")
		// One that still boots goes first.
		r.signal(syscall.SIGTTIN)
		r.signal(syscall.SIGTTOU)
		r.pass(0)
		r.expect("1:serving/1 2:serving/1 3:serving/1")
		if n := r.exits(causeScaleDown); n != 3 {
			t.Errorf("%d exits by scaling down", n)
		}
		// Kept across a reload.
		r.signal(hup)
		r.pass(bootTakes + leaveTakes)
		r.expect("4:serving/2 5:serving/2 6:serving/2")
		if v := r.view(); v.TargetWorkers != 3 {
			t.Errorf("target %d", v.TargetWorkers)
		}
	})
}

func TestReopenLogs(t *testing.T) {
	dir := t.TempDir()
	set := testSettings()
	set.AccessLog, set.ErrorLog, set.Chdir = "access", filepath.Join(dir, "error"), dir
	withRig(t, set, nil, func(r *rig) {
		r.awaitServing()
		want := func(n int) {
			t.Helper()
			for _, p := range r.all() {
				if got, m := p.got(protocol.KindReopen); got != n {
					t.Errorf("told %d times, not %d, of %s at last", got, n, m.Text)
				}
			}
		}
		want(1) // an error log it has inherited
		for i := range 3 {
			for _, name := range []string{"access", "error"} {
				if err := os.Remove(filepath.Join(dir, name)); err != nil {
					t.Error(err)
				}
			}
			r.signal(syscall.SIGUSR1)
			want(3 + 2*i)
		}
		// What cannot be opened stays as it is.
		before := r.s.current.logs.access.fd
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		r.signal(syscall.SIGUSR1)
		if log := r.log.String(); !strings.Contains(log, "the access log stays as it was") || !strings.Contains(log, "the error log stays as it was") {
			t.Error(log)
		}
		if r.s.current.logs.access.fd != before {
			t.Error("another number")
		}
		// Nor does a reload with such a file take place.
		r.signal(syscall.SIGHUP)
		r.pass(bootTakes)
		if log := r.log.String(); !strings.Contains(log, "cannot open the access log: "+dir+"/access: no such file or directory") || r.view().LastReloadSuccessful {
			t.Error(log)
		}
		r.expect("1:serving/1 2:serving/1")
	})
}

// TestMasterAPI: what other goroutines may ask for.
func TestMasterAPI(t *testing.T) {
	withRig(t, testSettings(), nil, func(r *rig) {
		m := &Master{sup: r.s, board: r.s.board}
		ctx := context.Background()
		r.awaitServing()
		if err := m.Alive(ctx); err != nil {
			t.Error(err)
		}
		if err := m.Reload(ctx); err != nil {
			t.Error(err)
		}
		if v := m.Snapshot(); v.Generation != 2 || v.Version != "test" || v.App != "app:app" {
			t.Errorf("%+v", v)
		}
		short, cancel := context.WithTimeout(ctx, bootTakes/2)
		defer cancel()
		if err := m.Reload(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("reload: %v", err)
		}
		r.signal(term)
		if err := m.Alive(ctx); err != nil {
			t.Errorf("while stopping: %v", err)
		}
		_ = r.awaitEnd()
		if err := m.Alive(ctx); !errors.Is(err, errStopping) {
			t.Errorf("after the end: %v", err)
		}
		if err := m.Reload(ctx); !errors.Is(err, errStopping) {
			t.Errorf("after the end: %v", err)
		}
	})
}

// TestAllSlotsTaken: a reload that finds no room fails like any other.
func TestAllSlotsTaken(t *testing.T) {
	set := testSettings()
	set.Workers, set.GracefulTimeout = protocol.MaxSlots/2, time.Hour
	withRig(t, set, func(n int) manner { return manner{wedged: n < protocol.MaxSlots/2} }, func(r *rig) {
		*r.host.next = *set
		r.awaitServing()
		r.signal(hup)
		r.pass(bootTakes)
		if v := r.view(); v.Generation != 2 || len(v.Workers) != protocol.MaxSlots {
			t.Fatalf("generation %d, %d workers", v.Generation, len(v.Workers))
		}
		r.signal(hup) // the first generation is still draining
		if v := r.view(); v.Generation != 2 || v.LastReloadSuccessful || !strings.Contains(r.log.String(), errNoSlot.Error()) {
			t.Errorf("generation %d", v.Generation)
		}
	})
}

// TestReadyAsItLeaves: a worker that got ready in the moment in which it was told
// to leave has the time of one that serves.
func TestReadyAsItLeaves(t *testing.T) {
	withRig(t, testSettings(), nil, func(r *rig) {
		r.awaitServing()
		r.behave(manner{deaf: true, wedged: true, hangs: true})
		r.signal(syscall.SIGTTIN)
		r.signal(syscall.SIGTTOU)
		r.expect("1:serving/1 2:serving/1 3:draining/1")
		r.all()[2].report(spawn.Report{Message: protocol.Message{Kind: protocol.KindReady}})
		r.pass(bootLeave + time.Second)
		r.expect("1:serving/1 2:serving/1 3:draining/1")
		r.pass(10 * time.Second)
		r.expect("1:serving/1 2:serving/1")
		if r.exits(causeScaleDown) != 1 {
			t.Errorf("exits: %v", r.view().Exits)
		}
	})
}

// TestLeavesAsItBoots: a worker that was told to leave while it booted, and says that it ends what
// it has begun, has the time of one that serves; of one that says nothing the tracebacks are asked
// for, once, and it is killed.
func TestLeavesAsItBoots(t *testing.T) {
	withRig(t, testSettings(), nil, func(r *rig) {
		r.awaitServing()
		r.behave(manner{deaf: true, hangs: true})
		r.signal(syscall.SIGTTIN)
		r.signal(syscall.SIGTTOU)
		says := spawn.Report{Message: protocol.Message{Kind: protocol.KindLeaving}}
		r.all()[2].report(says)
		r.all()[0].report(says) // which serves, and gains nothing by it
		r.pass(bootLeave + time.Second)
		r.expect("1:serving/1 2:serving/1 3:draining/1")
		r.pass(testSettings().GracefulTimeout)
		r.expect("1:serving/1 2:serving/1")
		if n := strings.Count(r.log.String(), "tracebacks follow"); n != 1 {
			t.Errorf("tracebacks were announced %d times", n)
		}

		r.signal(syscall.SIGTTIN)
		r.signal(syscall.SIGTTOU)
		r.pass(bootLeave + time.Second)
		r.expect("1:serving/1 2:serving/1")
		want := []syscall.Signal{syscall.SIGTERM, protocol.DumpSignal, syscall.SIGKILL}
		for _, p := range r.all()[2:] {
			if got := p.signals; !slices.Equal(got, want) {
				t.Errorf("it was sent %v, want %v", got, want)
			}
		}
		if r.exits(causeScaleDown) != 2 {
			t.Errorf("exits: %v", r.view().Exits)
		}
	})
}

// TestCPUOfTheGone: what workers have used in their lives is kept by the slot, each once.
func TestCPUOfTheGone(t *testing.T) {
	withRig(t, testSettings(), nil, func(r *rig) {
		r.awaitServing()
		for i, cpu := range []float64{1.5, 2, 0.25} {
			before := r.view().GoneCPU
			p := r.all()[len(r.all())-1]
			if i == 0 {
				p = r.all()[0]
			}
			slot := p.spec.Config.Slot
			p.cpu = cpu
			p.exit(killed(syscall.SIGSEGV))
			r.pass(time.Minute)
			had := 0.0
			if slot < len(before) {
				had = before[slot]
			}
			if now := r.view().GoneCPU; now[slot] != had+cpu {
				t.Errorf("worker %d: %v became %v by %v seconds", slot+1, before, now, cpu)
			}
		}
		if now := r.view().GoneCPU; len(now) != 1 || now[0] != 3.75 {
			t.Errorf("all in all: %v", now)
		}
	})
}
