package worker

import (
	"sync/atomic"
	"testing"
	"time"
)

// TestTunerGrows: requests that wait for something get a thread each, as many as there may
// be, and all threads leave in the end.
func TestTunerGrows(t *testing.T) {
	cfg := testConfig()
	cfg.Threads, cfg.ThreadsAuto = 8, true
	var running atomic.Int64
	free, open := gate(t)
	r := serve(t, cfg, func(c *call) {
		running.Add(1)
		<-free
		c.ok("done")
	})
	if n := r.slot.Gauges.Threads.Load(); n != tunerBegins {
		t.Errorf("%d threads at first", n)
	}
	var all []*reader
	for range 10 {
		c := r.dial()
		send(t, c, get)
		all = append(all, responses(t, c))
	}
	eventually(t, "as many threads as there may be", func() bool { return running.Load() == 8 && r.slot.Gauges.Threads.Load() == 8 })
	open()
	for _, rd := range all {
		rd.want(200, "done")
	}
}

// TestTunerWaits: where the GIL is what they wait for, another thread is of no use.
func TestTunerWaits(t *testing.T) {
	cfg := testConfig()
	cfg.Threads, cfg.ThreadsAuto = 8, true
	r := newRig(t, cfg, nil)
	u := r.deputy.tuner
	r.slot.Gauges.QueueDepth.Store(1)
	miss := func() {
		for range missingEnough + 1 {
			u.missed()
		}
	}
	u.contended = func() bool { return true }
	miss()
	if n := u.inUse(); n != tunerBegins {
		t.Fatalf("%d threads", n)
	}
	u.contended = func() bool { return false }
	u.growAfter = r.now() + int64(time.Hour)
	u.cpu, u.missing, u.began, u.last = processCPU()-int64(time.Hour), missingEnough, r.now(), r.now()
	u.missed() // with a processor at work all the time
	if n := u.inUse(); n != tunerBegins {
		t.Fatalf("%d threads, too soon", n)
	}
	u.growAfter = 0
	miss()
	if n := u.inUse(); n != tunerBegins+1 {
		t.Fatalf("%d threads", n)
	}
	r.slot.Gauges.QueueDepth.Store(0) // nobody waits
	miss()
	if n := u.inUse(); n != tunerBegins+1 {
		t.Fatalf("%d threads, for nobody", n)
	}
}

// TestTunerShrinks: threads that wait for each other are fewer soon, and it is a while before
// one more is tried, longer each time.
func TestTunerShrinks(t *testing.T) {
	cfg := testConfig()
	cfg.Threads, cfg.ThreadsAuto = 16, true
	r := newRig(t, cfg, nil)
	u, k := r.deputy.tuner, &r.slot.Counters
	look := func(runs int, waited, took time.Duration) int {
		for range runs {
			k.QueueWait.Observe(int64(waited)) // for the GIL alone
			k.Duration[0][0].Observe(int64(waited + took))
			k.GILWait.Add(int64(waited))
		}
		u.due = min(u.due, 1)
		u.tick()
		return u.inUse()
	}
	u.use(16)
	look(0, 0, 0)
	for i, c := range []struct {
		runs         int
		waited, took time.Duration
		want         int
	}{
		{100, 0, 20 * time.Millisecond, 16},
		{tunerRequests - 1, 60 * time.Millisecond, 4 * time.Millisecond, 16}, // too few to tell; they count the next time
		{100, 60 * time.Millisecond, 4 * time.Millisecond, 8},
		{100, 12 * time.Millisecond, 20 * time.Millisecond, 5},
		{100, 5 * time.Millisecond, 20 * time.Millisecond, 5},
		{100, 900 * time.Microsecond, 100 * time.Microsecond, 5}, // quick ones
		{100, 40 * time.Millisecond, 4 * time.Millisecond, 2},
		{100, 40 * time.Millisecond, 4 * time.Millisecond, 1},
		{100, 40 * time.Millisecond, 4 * time.Millisecond, 1},
	} {
		if n := look(c.runs, c.waited, c.took); n != c.want {
			t.Errorf("%d: %d threads, not %d", i, n, c.want)
		}
	}
	if n := r.slot.Gauges.Threads.Load(); n != 16 {
		t.Errorf("others see %d, though nobody has gone to sleep", n)
	}
	if want := leastPause << 3; u.pause != want { // four times fewer
		t.Errorf("a pause of %v, not %v", time.Duration(u.pause), time.Duration(want))
	}
}

// TestTunerSleeps: who is not in use any more sleeps, whatever there is to do, and others see
// it then.
func TestTunerSleeps(t *testing.T) {
	cfg := testConfig()
	cfg.Threads, cfg.ThreadsAuto = 4, true
	var running atomic.Int64
	free, open := gate(t)
	r := serve(t, cfg, func(c *call) {
		running.Add(1)
		<-free
		running.Add(-1)
		c.ok("done")
	})
	var all []*reader
	for range 20 {
		c := r.dial()
		send(t, c, get)
		all = append(all, responses(t, c))
	}
	eventually(t, "four threads", func() bool { return running.Load() == 4 })
	r.sched.use(1)
	open()
	for _, rd := range all {
		rd.want(200, "done")
	}
	eventually(t, "three that sleep", func() bool {
		for _, th := range r.threads[1:] {
			if !r.sched.parked(th) {
				return false
			}
		}
		return true
	})
	eventually(t, "that is seen", func() bool { return r.slot.Gauges.Threads.Load() == 1 })
}
