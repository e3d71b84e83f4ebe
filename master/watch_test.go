package master

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"hostler/master/spawn"
	"hostler/protocol"
	"hostler/settings"
)

func withTimeout() *Settings {
	set := testSettings()
	set.Workers, set.Timeout = 1, 5*time.Second
	return set
}

// TestTimeout: one of two threads is stuck; the other's request gets to finish.
func TestTimeout(t *testing.T) {
	withRig(t, withTimeout(), func(n int) manner { return manner{wedged: n == 0} }, func(r *rig) {
		r.awaitServing()
		p := r.all()[0]
		r.begin(p, 0, "/stuck", 0)
		r.pass(5 * time.Second)
		r.expect("1:serving/1")
		r.pass(time.Second)
		r.begin(p, 1, "/young", 0)
		r.pass(watchSeldom + 2*watchOften + dumpPause + interruptGrace - time.Second)
		r.expect("1:serving/1 2:booting/1")
		if n, _ := p.got(protocol.KindDump); n != 1 {
			t.Errorf("told to dump %d times", n)
		}
		if v := r.view(); v.RequestTimeouts != 1 {
			t.Errorf("%d timeouts", v.RequestTimeouts)
		}
		r.pass(bootTakes)
		r.expect("1:draining/1 2:serving/1")
		if _, m := p.got(protocol.KindDrain); m.Mode != protocol.DrainReplaced {
			t.Errorf("told %+v", m)
		}
		r.pass(shedGrace + 2*watchOften)
		r.expect("1:draining/1 2:serving/1") // the young one is still at work
		r.slotOf(p).ThreadRecs[1].End()
		r.pass(3 * watchOften)
		r.expect("2:serving/1")
		if r.exits(causeTimeout) != 1 || !p.signalled(syscall.SIGKILL) {
			t.Errorf("exits: %v", r.view().Exits)
		}
		log := r.log.String()
		if n := strings.Count(log, "a request runs into the timeout"); n != 1 ||
			!strings.Contains(log, "thread=0 method=GET target=/stuck client=192.0.2.1 age=5") {
			t.Errorf("log has it %d times", n)
		}
		if out := r.stdout.String(); strings.Count(out, "\n") != 1 || !strings.Contains(out, `"GET /stuck HTTP/1.1" 000 `) || !strings.Contains(log, "cause=timeout") {
			t.Errorf("access log: %q", out)
		}
	})
}

// TestTimeoutAllThreads: with every thread stuck nothing else can finish.
func TestTimeoutAllThreads(t *testing.T) {
	withRig(t, withTimeout(), func(n int) manner { return manner{wedged: n == 0} }, func(r *rig) {
		r.awaitServing()
		p := r.all()[0]
		r.begin(p, 0, "/a", 0)
		r.begin(p, 1, "/b", 0)
		r.slotOf(p).Gauges.QueueDepth.Store(3)
		r.pass(6*time.Second + interruptGrace + bootTakes)
		r.expect("1:draining/1 2:serving/1")
		r.pass(shedGrace + 2*watchOften)
		r.expect("2:serving/1")
		if v := r.view(); v.RequestTimeouts != 2 || v.Exits["timeout"] != 1 {
			t.Errorf("%+v", v)
		}
	})
}

// TestTimeoutOthersWaitInVain: what is queued or being written is given the
// graceful timeout and no more.
func TestTimeoutOthersWaitInVain(t *testing.T) {
	withRig(t, withTimeout(), func(n int) manner { return manner{wedged: n == 0} }, func(r *rig) {
		r.awaitServing()
		p := r.all()[0]
		r.begin(p, 0, "/a", 0)
		r.slotOf(p).Gauges.ConnsWriting.Store(1)
		r.pass(6*time.Second + interruptGrace + bootTakes + 9*time.Second)
		r.expect("1:draining/1 2:serving/1")
		r.pass(1*time.Second + graceMargin)
		r.expect("2:serving/1")
		if r.exits(causeTimeout) != 1 {
			t.Errorf("exits: %v", r.view().Exits)
		}
	})
}

// TestTimeoutOver: the request ends after all; the worker goes without force.
func TestTimeoutOver(t *testing.T) {
	withRig(t, withTimeout(), nil, func(r *rig) {
		r.awaitServing()
		p := r.all()[0]
		r.begin(p, 0, "/a", 0)
		r.pass(6*time.Second + interruptGrace)
		r.slotOf(p).ThreadRecs[0].End()
		r.pass(bootTakes + leaveTakes)
		r.expect("2:serving/1")
		if r.exits(causeTimeout) != 1 || p.signalled(syscall.SIGKILL) {
			t.Errorf("exits: %v", r.view().Exits)
		}
	})
}

// TestTimeoutReplacementCannotBoot: a worker with a stuck thread is better than
// none.
func TestTimeoutReplacementCannotBoot(t *testing.T) {
	withRig(t, withTimeout(), nil, func(r *rig) {
		r.awaitServing()
		r.behave(manner{dies: true})
		r.begin(r.all()[0], 0, "/a", 0)
		r.pass(time.Minute)
		if w := r.workers(); !strings.HasPrefix(w, "1:serving/1") {
			t.Errorf("workers: %s", w)
		}
		r.behave(manner{})
		r.pass(backoffMost + bootTakes + leaveTakes + watchOften)
		r.expect("2:serving/1")
	})
}

// TestTimeoutDuringReload: a request that gets stuck in the old generation does
// not hold the drain up.
func TestTimeoutDuringReload(t *testing.T) {
	set := withTimeout()
	set.GracefulTimeout = time.Minute
	withRig(t, set, func(n int) manner { return manner{wedged: n == 0} }, func(r *rig) {
		*r.host.next = *set
		r.awaitServing()
		r.begin(r.all()[0], 0, "/a", 0)
		r.signal(hup)
		r.pass(bootTakes)
		r.expect("1:draining/1 2:serving/2")
		r.pass(6*time.Second + interruptGrace)
		r.expect("2:serving/2")
		if r.exits(causeTimeout) != 1 {
			t.Errorf("exits: %v", r.view().Exits)
		}
	})
}

func TestMaxRequests(t *testing.T) {
	set := testSettings()
	set.Workers, set.MaxRequests, set.MaxRequestsJitter = 3, 100, 50
	withRig(t, set, nil, func(r *rig) {
		r.awaitServing()
		for _, p := range r.all() {
			if n := p.spec.Config.MaxRequests; n < 100 || n > 150 {
				t.Errorf("limit with jitter: %d", n)
			}
			r.slotOf(p).Gauges.Served.Store(99)
		}
		r.pass(time.Second)
		r.expect("1:serving/1 2:serving/1 3:serving/1")
		for _, p := range r.all() {
			r.slotOf(p).Gauges.Served.Store(150)
		}
		// One at a time, the replacement first.
		for i := range 3 {
			r.pass(watchOften)
			if n := len(r.view().Workers); n != 4 {
				t.Fatalf("round %d: %s", i, r.workers())
			}
			r.pass(bootTakes)
			serving := 0
			for _, w := range r.view().Workers {
				if w.State == protocol.SlotServing {
					serving++
				}
			}
			if serving != 3 {
				t.Errorf("round %d: %s", i, r.workers())
			}
			r.pass(leaveTakes)
		}
		r.pass(time.Minute)
		if n := r.exits(causeRecycled); n != 3 {
			t.Errorf("%d recycled", n)
		}
		if n := len(r.view().Workers); n != 3 {
			t.Errorf("workers: %s", r.workers())
		}
	})
}

func TestMaxAge(t *testing.T) {
	set := testSettings()
	set.Workers, set.MaxAge, set.RecycleJitter = 3, time.Hour, 10
	withRig(t, set, nil, func(r *rig) {
		r.awaitServing()
		r.pass(53 * time.Minute)
		r.expect("1:serving/1 2:serving/1 3:serving/1")
		for range 70 { // one at a time, the replacement first
			r.pass(6*time.Second + interruptGrace)
			serving := 0
			for _, w := range r.view().Workers {
				if w.State == protocol.SlotServing {
					serving++
				}
			}
			if n := len(r.view().Workers); serving < 3 || n > 4 {
				t.Fatalf("%s", r.workers())
			}
		}
		if n := r.exits(causeAge); n != 3 {
			t.Errorf("%d left for their age: %s", n, r.workers())
		}
	})
}

func TestMaxMemory(t *testing.T) {
	set := testSettings()
	set.Workers, set.MaxMemory, set.MaxMemoryHard = 2, 100<<20, 200<<20
	withRig(t, set, nil, func(r *rig) {
		r.awaitServing()
		a, b := r.all()[0], r.all()[1]
		r.host.setMemory(b.PID(), 150<<20) // before anybody has looked: it is born so
		r.pass(2 * watchMemory)
		r.expect("1:serving/1 2:serving/1")
		if n := strings.Count(r.log.String(), "the limit is not applied"); n != 1 {
			t.Errorf("said %d times", n)
		}
		r.host.setMemory(b.PID(), 500<<20)
		r.pass(2 * watchMemory)
		r.expect("1:serving/1 2:serving/1")
		r.host.setMemory(a.PID(), 150<<20)
		r.pass(watchMemory)
		r.expect("1:serving/1 2:serving/1")
		for len(r.all()) == 2 {
			r.pass(watchOften)
		}
		r.expect("1:serving/1 2:serving/1 3:booting/1") // first the replacement
		r.pass(bootTakes + leaveTakes)
		r.expect("2:serving/1 3:serving/1")
		if n := r.exits(causeMemory); n != 1 {
			t.Errorf("%d left for their memory", n)
		}
		if at := time.Since(r.view().Started); at < bootTakes+youth {
			t.Errorf("replaced for its memory after %v", at)
		}
		c := r.all()[2]
		r.begin(c, 1, "/leaks", 0)
		r.pass(2 * watchMemory)
		r.host.setMemory(c.PID(), 201<<20)
		r.pass(2 * watchMemory)
		if !c.signalled(syscall.SIGKILL) || r.exits(causeMemory) != 2 {
			t.Errorf("%s", r.workers())
		}
		if !strings.Contains(r.stdout.String(), "/leaks") {
			t.Errorf("access log: %q", r.stdout.String())
		}
		r.pass(bootTakes)
		r.expect("1:serving/1 2:serving/1")
	})
}

func TestSlowRequest(t *testing.T) {
	set := testSettings()
	set.Workers, set.SlowRequest = 1, 2*time.Second
	withRig(t, set, nil, func(r *rig) {
		r.awaitServing()
		p := r.all()[0]
		r.begin(p, 0, "/slow", 0)
		r.begin(p, 1, "/too", time.Second)
		r.pass(time.Minute)
		r.expect("1:serving/1")
		if n, _ := p.got(protocol.KindDump); n < 1 || n > 2 {
			t.Errorf("%d dumps", n)
		}
		r.slotOf(p).ThreadRecs[0].End()
		r.pass(time.Second)
		r.begin(p, 0, "/slow", 0)
		r.pass(time.Minute)
		if n := strings.Count(r.log.String(), "a slow request"); n != 3 {
			t.Errorf("%d slow requests in the log", n)
		}
	})
}

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		state   workerState
		leaving cause
		ready   bool
		ws      syscall.WaitStatus
		want    cause
	}{
		{stateServing, "", true, exited(0), causeExit},
		{stateServing, "", true, exited(3), causeExit},
		{stateServing, "", true, killed(syscall.SIGSEGV), causeSignal},
		{stateBooting, "", false, exited(1), causeBootFailed},
		{stateBooting, "", false, killed(syscall.SIGBUS), causeBootFailed},
		{stateDraining, causeBootFailed, false, exited(1), causeBootFailed},
		{stateDraining, causeReload, true, exited(0), causeReload},
		{stateDraining, causeReload, true, exited(5), causeExit},
		{stateDraining, causeReload, true, killed(syscall.SIGSEGV), causeSignal},
		{stateDraining, causeStopped, false, killed(syscall.SIGTERM), causeStopped},
		{stateDraining, causeStopped, true, killed(syscall.SIGTERM), causeSignal},
		{stateKilled, causeStopped, true, killed(syscall.SIGKILL), causeStopped},
		{stateKilled, causeTimeout, true, killed(syscall.SIGKILL), causeTimeout},
		{stateDraining, causeTimeout, true, exited(0), causeTimeout},
		{stateDraining, causeBootTimeout, false, killed(syscall.SIGABRT), causeBootTimeout},
		{stateDraining, causeScaleDown, true, exited(0), causeScaleDown},
		{stateDraining, causeRecycled, true, exited(0), causeRecycled},
	} {
		s := &supervisor{oom: &oomWatch{}}
		w := &worker{state: c.state, leaving: c.leaving, termed: c.leaving != "" && !c.ready}
		if c.ready {
			w.ready = time.Unix(1, 0)
		}
		if got := s.classify(w, c.ws); got != c.want {
			t.Errorf("%v, leaving %q, ready %v, %s: %s, want %s", c.state, c.leaving, c.ready, spawn.StatusText(c.ws), got, c.want)
		}
	}
}

func TestTransitions(t *testing.T) {
	states := []workerState{stateBooting, stateServing, stateDraining, stateKilled, stateGone}
	allowed := map[string]bool{
		"booting serving": true, "booting draining": true, "booting killed": true, "booting gone": true,
		"serving draining": true, "serving killed": true, "serving gone": true,
		"draining killed": true, "draining gone": true,
		"killed gone": true,
	}
	for _, a := range states {
		for _, b := range states {
			if got := a.canBecome(b); got != allowed[fmt.Sprint(a, " ", b)] {
				t.Errorf("%v → %v: %v", a, b, got)
			}
		}
	}
}

// TestMaxUnavailable: never more than so many at a time, whatever wears them out.
func TestMaxUnavailable(t *testing.T) {
	for _, limit := range []int{0, 1, 2, 3} {
		set := testSettings()
		set.Workers, set.MaxRequests, set.MaxMemory, set.MaxUnavailable = 5, 100, 100<<20, limit
		withRig(t, set, nil, func(r *rig) {
			r.awaitServing()
			r.pass(youth)
			old := r.all()
			for i, p := range old {
				if i%2 == 0 {
					r.slotOf(p).Gauges.Served.Store(100)
				} else {
					r.host.setMemory(p.PID(), 200<<20)
				}
			}
			most := 0
			for range 200 {
				r.pass(watchOften)
				serving, booting, draining := 0, 0, 0
				for _, w := range r.view().Workers {
					switch w.State {
					case protocol.SlotServing:
						serving++
					case protocol.SlotBooting:
						booting++
					case protocol.SlotDraining:
						draining++
					}
				}
				if serving < 5 {
					t.Fatalf("limit %d: %s", limit, r.workers())
				}
				most = max(most, booting+draining)
			}
			if want := max(1, limit); most != want {
				t.Errorf("limit %d: %d replaced at a time", limit, most)
			}
			if n := len(r.all()); n != 10 || r.alive() != 5 {
				t.Errorf("limit %d: %d started, %d alive", limit, n, r.alive())
			}
		})
	}
}

// TestMaxUnavailableCountsTheDead: a worker that has died and is not back yet is
// one that is not available.
func TestMaxUnavailableCountsTheDead(t *testing.T) {
	set := testSettings()
	set.Workers, set.MaxRequests = 3, 100
	withRig(t, set, nil, func(r *rig) {
		r.awaitServing()
		r.pass(time.Second)
		r.all()[0].exit(killed(syscall.SIGSEGV))
		r.slotOf(r.all()[1]).Gauges.Served.Store(100)
		r.pass(bootTakes / 2)
		r.expect("1:booting/1 2:serving/1 3:serving/1")
		r.pass(bootTakes)
		r.expect("1:serving/1 2:serving/1 3:serving/1 4:booting/1")
	})
}

// TestReplacementFirst: whatever a worker is replaced for, it does not drain
// before another serves in its place.
func TestReplacementFirst(t *testing.T) {
	for why, wear := range map[cause]func(r *rig, p *fakeProcess){
		causeRecycled: func(r *rig, p *fakeProcess) { r.slotOf(p).Gauges.Served.Store(1000) },
		causeAge:      func(r *rig, _ *fakeProcess) { r.pass(time.Hour - youth - 2*watchSeldom) },
		causeMemory:   func(r *rig, p *fakeProcess) { r.host.setMemory(p.PID(), 1<<40) },
		causeTimeout:  func(r *rig, p *fakeProcess) { r.begin(p, 0, "/", time.Hour) },
		causeRestart: func(r *rig, p *fakeProcess) {
			async(func() error { return r.master().Restart(r.t.Context(), p.spec.Config.Number) })
		},
		causeReload: func(r *rig, _ *fakeProcess) { r.signal(hup) },
	} {
		set := testSettings()
		set.Workers, set.MaxRequests, set.MaxAge, set.MaxMemory, set.Timeout = 1, 1000, time.Hour, 1<<30, time.Minute
		withRig(t, set, nil, func(r *rig) {
			*r.host.next = *set
			r.awaitServing()
			r.pass(youth)
			p := r.all()[0]
			r.behave(manner{slow: 5 * time.Second})
			wear(r, p)
			for range 400 {
				r.pass(watchOften)
				if n, _ := p.got(protocol.KindDrain); n > 0 {
					break
				}
			}
			if n, _ := p.got(protocol.KindDrain); n == 0 {
				t.Fatalf("%s: not replaced", why)
			}
			if q := r.all()[1]; !q.ready {
				t.Errorf("%s: told to leave before the other was ready", why)
			}
			r.pass(leaveTakes)
			if r.exits(why) != 1 {
				t.Errorf("%s: %v", why, r.view().Exits)
			}
			r.slotOf(p).ThreadRecs[0].End()
		})
	}
}

// TestMemoryDoesNotLoop: workers that pass the limit at birth, or at their first
// request, are not replaced over and over.
func TestMemoryDoesNotLoop(t *testing.T) {
	set := testSettings()
	set.Workers, set.MaxMemory, set.RecycleJitter = 1, 100<<20, 10
	for name, size := range map[string]func(age time.Duration) int64{
		"at birth":              func(time.Duration) int64 { return 200 << 20 },
		"just within, at birth": func(time.Duration) int64 { return 99 << 20 },
		"at its first request":  func(age time.Duration) int64 { return int64(min(200<<20, 10<<20+age/time.Second*(50<<20))) },
	} {
		withRig(t, set, nil, func(r *rig) {
			r.awaitServing()
			born := make(map[int]time.Time)
			for range 60 {
				for _, p := range r.all() {
					if born[p.pid].IsZero() {
						born[p.pid] = time.Now()
					}
					r.host.setMemory(p.pid, size(time.Since(born[p.pid])))
				}
				r.pass(time.Second)
			}
			switch n := len(r.all()); {
			case name == "at its first request" && (n < 2 || n > 7):
				t.Errorf("%s: %d workers within a minute", name, n)
			case name != "at its first request" && n != 1:
				t.Errorf("%s: replaced", name)
			}
			if n := strings.Count(r.log.String(), "is the limit too low?"); name == "at its first request" && n != 1 {
				t.Errorf("%s: said %d times", name, n)
			}
		})
	}
}

func TestJitter(t *testing.T) {
	set := &Settings{Master: settings.Master{RecycleJitter: 20}}
	low, high := 1000, 0
	for range 1000 {
		n := jittered(set, 1000)
		low, high = min(low, n), max(high, n)
	}
	if low < 800 || low > 850 || high > 1000 || high < 950 {
		t.Errorf("from %d to %d", low, high)
	}
	if n := jittered(set, 0); n != 0 {
		t.Errorf("no limit became %d", n)
	}
	if n := jittered(&Settings{}, time.Hour); n != time.Hour {
		t.Errorf("an hour without jitter became %v", n)
	}
}
