package master

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"hostler/internal/procstat"
	"hostler/master/spawn"
	"hostler/protocol"
)

// TestInterrupted: a request that ends by the exception costs no worker; the
// tracebacks come before it.
func TestInterrupted(t *testing.T) {
	withRig(t, withTimeout(), nil, func(r *rig) {
		r.awaitServing()
		p := r.all()[0]
		for round := 1; round <= 2; round++ {
			r.begin(p, 1, "/slow", 0)
			for d := time.Duration(0); ; d += watchOften {
				dumps, _ := p.got(protocol.KindDump)
				n, m := p.got(protocol.KindInterrupt)
				if n == round {
					if dumps != round || m.Thread != 1 || m.Start != r.slotOf(p).ThreadRecs[1].Started() {
						t.Errorf("after %d dumps: %+v", dumps, m)
					}
					break
				}
				if d > 6*time.Second {
					t.Fatal("not interrupted")
				}
				r.pass(watchOften)
			}
			r.pass(interruptGrace - 2*watchOften)
			r.slotOf(p).ThreadRecs[1].End()
			r.pass(time.Second)
		}
		r.pass(time.Minute)
		r.expect("1:serving/1")
		if n := r.view().RequestTimeouts; n != 2 {
			t.Errorf("%d timeouts", n)
		}
	})
}

// TestLoopStuck: an event loop that something else than a request keeps for longer than
// --timeout costs its worker, and one that comes back does not.
func TestLoopStuck(t *testing.T) {
	withRig(t, withTimeout(), nil, func(r *rig) {
		r.awaitServing()
		p := r.all()[0]
		g := &r.slotOf(p).Gauges
		g.LoopSince.Store(r.s.clock.mono())
		for d := time.Duration(0); r.view().RequestTimeouts == 0; d += watchOften {
			if d > time.Minute {
				t.Fatal("not noticed")
			}
			r.pass(watchOften)
		}
		g.LoopSince.Store(protocol.LoopRests)
		r.pass(time.Minute)
		r.expect("1:serving/1")
		g.LoopSince.Store(r.s.clock.mono())
		r.pass(time.Minute)
		if n := r.view().RequestTimeouts; n != 2 {
			t.Errorf("%d timeouts", n)
		}
		if dumps, _ := p.got(protocol.KindDump); dumps < 2 {
			t.Errorf("%d dumps", dumps)
		}
		if n, _ := p.got(protocol.KindInterrupt); n != 0 {
			t.Errorf("nobody can be interrupted: %d", n)
		}
		if r.all()[0] == p && len(r.all()) == 1 {
			t.Error("its worker was not replaced")
		}
	})
}

// TestStopped: a process that is stopped is not told to raise anything, for it would
// do so when it goes on. It is replaced if it stays stopped, and its requests have
// their turn if not.
func TestStopped(t *testing.T) {
	withRig(t, withTimeout(), nil, func(r *rig) {
		r.awaitServing()
		p := r.all()[0]
		stop := func(is bool) {
			r.host.mu.Lock()
			defer r.host.mu.Unlock()
			r.host.stopped = map[int]bool{p.pid: is}
		}
		interrupts := func(want int) {
			t.Helper()
			if n, _ := p.got(protocol.KindInterrupt); n != want {
				t.Errorf("interrupted %d times, not %d", n, want)
			}
		}
		until := 3*time.Second + watchSeldom + 2*watchOften + dumpPause
		r.begin(p, 0, "/ends", 0)
		stop(true)
		r.pass(until + interruptGrace/2)
		stop(false)
		r.slotOf(p).ThreadRecs[0].End()
		r.pass(time.Second)
		interrupts(0)

		r.begin(p, 0, "/stuck", 0)
		stop(true)
		r.pass(until + interruptGrace/2)
		interrupts(0)
		stop(false)
		r.pass(dumpPause + 3*watchOften)
		interrupts(1)
		r.slotOf(p).ThreadRecs[0].End()
		r.pass(time.Second)
		r.expect("1:serving/1")

		r.begin(p, 0, "/never", 0)
		stop(true)
		r.pass(until + interruptGrace + bootTakes + shedGrace + 2*watchSeldom + lookEvery)
		interrupts(1)
		r.expect("2:serving/1")
	})
}

// TestOwnDeadline: the application moves its deadline, to both sides, for the one
// request; and once more when it is late already.
func TestOwnDeadline(t *testing.T) {
	withRig(t, withTimeout(), nil, func(r *rig) {
		r.awaitServing()
		p := r.all()[0]
		rec := &r.slotOf(p).ThreadRecs[0]
		extend := func(d time.Duration) { rec.SetTimeout(rec.Started(), r.s.clock.mono(), int64(d)) }
		interrupts := func(want int) {
			t.Helper()
			if n, _ := p.got(protocol.KindInterrupt); n != want {
				t.Errorf("interrupted %d times, not %d", n, want)
			}
		}
		soon := watchSeldom + 2*watchOften + dumpPause
		r.begin(p, 0, "/long", 0)
		r.pass(4 * time.Second)
		extend(20 * time.Second)
		r.pass(19 * time.Second)
		interrupts(0)
		r.pass(time.Second + soon)
		interrupts(1)
		extend(3 * time.Second) // it has caught the exception
		r.pass(2500 * time.Millisecond)
		interrupts(1)
		r.pass(500*time.Millisecond + soon)
		interrupts(2)
		rec.End()
		r.pass(time.Second)
		r.begin(p, 0, "/next", 0) // has the usual time
		extend(time.Second)
		r.pass(time.Second + soon)
		interrupts(3)
		rec.End()
		r.pass(time.Second)
		r.begin(p, 0, "/last", 0)
		r.pass(4500 * time.Millisecond)
		interrupts(3)
		r.pass(500*time.Millisecond + soon)
		interrupts(4)
		rec.End()
		r.pass(time.Minute)
		r.expect("1:serving/1")
	})
}

// TestTimeoutClock: what counts is how long the application has the request and
// nothing goes either way; while it waits for its client nothing counts.
func TestTimeoutClock(t *testing.T) {
	withRig(t, withTimeout(), nil, func(r *rig) {
		r.awaitServing()
		p := r.all()[0]
		rec := &r.slotOf(p).ThreadRecs[0]
		interrupts := func(want int) {
			t.Helper()
			if n, _ := p.got(protocol.KindInterrupt); n != want {
				t.Errorf("interrupted %d times, not %d", n, want)
			}
		}
		soon := watchSeldom + 2*watchOften + dumpPause
		r.begin(p, 0, "/stream", 0)
		for range 10 {
			r.pass(4900 * time.Millisecond)
			rec.Progress(r.s.clock.mono())
		}
		rec.Wait(rec.Started())
		r.pass(time.Hour)
		rec.Waited(rec.Started(), r.s.clock.mono())
		r.pass(4900 * time.Millisecond)
		interrupts(0)
		r.pass(100*time.Millisecond + soon)
		interrupts(1)

		rec.Progress(r.s.clock.mono()) // it has caught the exception, and goes on
		r.pass(4900 * time.Millisecond)
		interrupts(1)
		r.pass(100*time.Millisecond + soon)
		interrupts(2)
		rec.Wait(rec.Started())
		r.pass(time.Minute)
		rec.End()
		r.begin(p, 0, "/next", 0) // the clock of the last one stands still, and not this one's
		r.pass(5*time.Second + soon)
		interrupts(3)
		rec.End()
		r.pass(time.Minute)
		r.expect("1:serving/1")
	})
}

// TestTotalTimeout: --total-timeout limits a request whatever it does, and without
// --timeout, too.
func TestTotalTimeout(t *testing.T) {
	for _, timeout := range []time.Duration{0, 3 * time.Second} {
		set := withTimeout()
		set.Timeout, set.TotalTimeout = timeout, 10*time.Second
		withRig(t, set, nil, func(r *rig) {
			r.awaitServing()
			p := r.all()[0]
			rec := &r.slotOf(p).ThreadRecs[0]
			r.begin(p, 0, "/stream", 0)
			rec.SetTimeout(rec.Started(), r.s.clock.mono(), int64(time.Hour))
			for range 9 {
				r.pass(time.Second)
				rec.Progress(r.s.clock.mono())
			}
			rec.Wait(rec.Started())
			r.pass(900 * time.Millisecond)
			if n, _ := p.got(protocol.KindInterrupt); n != 0 {
				t.Error("interrupted ahead of time")
			}
			r.pass(100*time.Millisecond + watchSeldom + 2*watchOften + dumpPause)
			if n, _ := p.got(protocol.KindInterrupt); n != 1 {
				t.Errorf("interrupted %d times", n)
			}
			for range 30 { // going on does not help
				r.pass(100 * time.Millisecond)
				rec.Progress(r.s.clock.mono())
			}
			r.pass(bootTakes + 2*shedGrace)
			r.expect("2:serving/1")
		})
	}
}

// TestGILDeadlock: where nobody gets the GIL the cause of it all has a name.
func TestGILDeadlock(t *testing.T) {
	withRig(t, withTimeout(), func(n int) manner { return manner{wedged: n == 0} }, func(r *rig) {
		r.awaitServing()
		p := r.all()[0]
		r.begin(p, 0, "/held", 0)
		r.pass(2 * time.Second)
		r.slotOf(p).Gauges.GILWanted.Store(r.s.clock.mono())
		r.pass(gilGrace + watchSeldom)
		r.expect("1:serving/1") // that it has a name does not make it worse
		r.pass(3*time.Second + watchSeldom + 2*watchOften + dumpPause + interruptGrace + bootTakes + shedGrace)
		r.expect("2:serving/1")
		if r.exits(causeGIL) != 1 || r.exits(causeTimeout) != 0 || !p.signalled(syscall.SIGKILL) {
			t.Errorf("exits: %v", r.view().Exits)
		}
		if n := strings.Count(r.log.String(), "GIL deadlock"); n != 1 {
			t.Errorf("the log has it %d times", n)
		}
		kinds := ""
		for _, e := range r.s.journal.all() {
			if e.Cause == string(causeGIL) {
				kinds += e.Kind + " "
			}
		}
		if !strings.Contains(kinds, "gil_deadlock ") || !strings.Contains(kinds, "worker_killed ") {
			t.Errorf("in the journal: %s", kinds)
		}
	})
}

// TestGILBusy: a thread that gets the GIL in the end was only slow to.
func TestGILBusy(t *testing.T) {
	withRig(t, withTimeout(), nil, func(r *rig) {
		r.awaitServing()
		p := r.all()[0]
		r.begin(p, 0, "/busy", 0)
		r.pass(2 * time.Second)
		r.slotOf(p).Gauges.GILWanted.Store(r.s.clock.mono())
		r.pass(gilGrace - watchOften)
		r.slotOf(p).Gauges.GILWanted.Store(0)
		r.slotOf(p).ThreadRecs[0].End()
		r.pass(10 * time.Second)
		r.expect("1:serving/1")
		if strings.Contains(r.log.String(), "GIL deadlock") {
			t.Error("called a deadlock")
		}
	})
}

// TestGILStarved: where the threads of a worker wait for processors, nobody may be holding the
// GIL but who is about to give it back. If it stays so that is a deadlock all the same, and so
// it is at the next time at once if the machine has less to do.
func TestGILStarved(t *testing.T) {
	set := withTimeout()
	set.Timeout = 10 * time.Minute
	withRig(t, set, nil, func(r *rig) {
		r.awaitServing()
		p := r.all()[0]
		named := func() int { return strings.Count(r.log.String(), "GIL deadlock") }
		scheduled := func(of func(now time.Duration) procstat.Thread) {
			r.host.mu.Lock()
			defer r.host.mu.Unlock()
			r.host.threads = func() map[int]procstat.Thread {
				return map[int]procstat.Thread{1: {Ran: 5, Turns: 1}, 2: of(time.Duration(r.s.clock.mono()))}
			}
		}
		wanted := func() { r.slotOf(p).Gauges.GILWanted.Store(r.s.clock.mono()) }
		r.begin(p, 0, "/busy", 0)

		scheduled(func(time.Duration) procstat.Thread { return procstat.Thread{Ready: true} }) // it does not run at all
		wanted()
		r.pass(time.Minute)
		if dumps, _ := p.got(protocol.KindDump); named() != 0 || dumps != 0 {
			t.Errorf("a process that does not run is in a deadlock, %d dumps", dumps)
		}

		scheduled(func(now time.Duration) procstat.Thread { // it waits 200 ms each time
			return procstat.Thread{Waited: now, Turns: int64(now / (200 * time.Millisecond))}
		})
		wanted()
		r.pass(gilGrace + gilTurns*100*time.Millisecond)
		if named() != 0 {
			t.Error("it is hasty")
		}
		r.pass(gilGrace + gilTurns*300*time.Millisecond)
		if named() != 1 {
			t.Error("it is not named however long it lasts")
		}

		scheduled(func(now time.Duration) procstat.Thread { // it has all that it wants
			return procstat.Thread{Ran: now, Ready: true, Waited: now / 100, Turns: int64(now / (100 * time.Millisecond))}
		})
		wanted()
		r.pass(gilGrace + 3*watchSeldom)
		if named() != 2 {
			t.Error("it is not named soon on a machine that is at rest")
		}
	})
}

// TestGILStopped: nobody gets the GIL of a process that is stopped.
func TestGILStopped(t *testing.T) {
	set := withTimeout()
	set.Timeout = 10 * time.Minute
	withRig(t, set, nil, func(r *rig) {
		r.awaitServing()
		p := r.all()[0]
		stop := func(is bool) {
			r.host.mu.Lock()
			defer r.host.mu.Unlock()
			r.host.stopped = map[int]bool{p.pid: is}
		}
		r.begin(p, 0, "/busy", 0)
		stop(true)
		r.slotOf(p).Gauges.GILWanted.Store(r.s.clock.mono())
		r.pass(20 * time.Second)
		stop(false)
		r.pass(gilGrace / 2)
		if strings.Contains(r.log.String(), "GIL deadlock") {
			t.Error("called a deadlock")
		}
		r.pass(gilGrace + watchSeldom)
		if !strings.Contains(r.log.String(), "GIL deadlock") {
			t.Error("it is one, now that it goes on")
		}
	})
}

// TestDeafWorker: one that has closed its control socket serves until there is
// another, and is then told to go by a signal.
func TestDeafWorker(t *testing.T) {
	withRig(t, testSettings(), nil, func(r *rig) {
		r.awaitServing()
		p := r.all()[0]
		p.mu.Lock()
		p.manner.wedged = true
		p.mu.Unlock()
		p.report(spawn.Report{Deaf: true})
		r.pass(deafAfter - time.Millisecond)
		r.expect("1:serving/1 2:serving/1")
		r.pass(bootTakes / 2)
		r.expect("1:serving/1 2:serving/1 3:booting/1")
		r.pass(bootTakes)
		if !p.signalled(syscall.SIGTERM) {
			t.Error("no signal")
		}
		p.exit(exited(0))
		r.pass(time.Second)
		r.expect("2:serving/1 3:serving/1")
		if n := r.exits(causeDeaf); n != 1 {
			t.Errorf("%d workers were deaf", n)
		}
	})
}
