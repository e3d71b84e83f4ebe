package master

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"hostler/protocol"
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
		if out := r.stdout.String(); strings.Count(out, "\n") != 1 || !strings.Contains(out, "/stuck") || !strings.Contains(out, "cause=timeout") {
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
			if n := p.spec.config.MaxRequests; n < 100 || n > 150 {
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
	set.Workers, set.MaxAge = 3, time.Hour
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
		for len(r.all()) == 2 {
			r.pass(watchOften)
		}
		r.expect("1:serving/1 2:serving/1 3:booting/1") // first the replacement
		r.pass(bootTakes + leaveTakes)
		r.expect("2:serving/1 3:serving/1")
		if n := r.exits(causeMemory); n != 1 {
			t.Errorf("%d left for their memory", n)
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
			t.Errorf("%v, leaving %q, ready %v, %s: %s, want %s", c.state, c.leaving, c.ready, statusText(c.ws), got, c.want)
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
