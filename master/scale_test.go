package master

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"hostler/protocol"
)

// TestDecide plays looks, half a second apart, to the policy.
func TestDecide(t *testing.T) {
	const late = "requests wait"
	quiet := func(busy int) glance { return glance{threads: 2, busy: busy, room: 9} }
	waiting := func(busy int) glance { g := quiet(busy); g.late = late; return g }
	type phase struct {
		looks int
		g     glance
	}
	for _, c := range []struct {
		name      string
		start     int
		low, high int
		phases    []phase
		want      string // the numbers of workers one after the other
		held      []string
	}{
		{"nothing happens", 2, 1, 4, []phase{{8, quiet(4)}}, "2", nil},
		{"requests wait", 1, 1, 4, []phase{{4, waiting(2)}}, "1 2", nil},
		{"not long enough", 1, 1, 4, []phase{{3, waiting(2)}}, "1", nil},
		{"not all the time", 1, 1, 4, []phase{{3, waiting(2)}, {1, quiet(2)}, {3, waiting(2)}}, "1", nil},
		{"on and on", 1, 1, 4, []phase{{40, waiting(8)}}, "1 2 3 4", []string{late + ", but there are 4 workers already"}},
		{"many grow by more", 16, 1, 32, []phase{{8, waiting(60)}}, "16 20 25", nil},
		{"never beyond the most", 16, 1, 18, []phase{{4, waiting(60)}}, "16 18", nil},
		{"no more than fit", 16, 1, 32, []phase{{4, glance{threads: 2, late: late, room: 2}}}, "16 18", nil},
		{"no CPU", 1, 1, 4, []phase{{20, glance{threads: 2, late: late, cpu: "no CPU", room: 9}}}, "1", []string{late + ", but no CPU"}},
		{"no memory", 1, 1, 4, []phase{{20, glance{threads: 2, late: late}}}, "1", []string{late + ", but the memory would not hold another worker"}},
		{"CPU after a while", 1, 1, 4, []phase{{20, glance{threads: 2, late: late, cpu: "no CPU", room: 9}}, {1, waiting(2)}}, "1 2", []string{late + ", but no CPU"}},
		{"news again after some quiet", 1, 1, 1, []phase{{20, waiting(2)}, {60, quiet(0)}, {20, waiting(2)}}, "1",
			[]string{late + ", but there are 1 workers already", late + ", but there are 1 workers already"}},
		{"not after a moment's", 1, 1, 1, []phase{{20, waiting(2)}, {50, quiet(0)}, {20, waiting(2)}}, "1", []string{late + ", but there are 1 workers already"}},

		{"idle for less than a minute", 4, 1, 4, []phase{{119, quiet(0)}}, "4", nil},
		{"idle", 4, 1, 4, []phase{{120 + 30 + 30 + 200, quiet(0)}}, "4 3 2 1", nil},
		{"never below the least", 4, 3, 4, []phase{{1000, quiet(0)}}, "4 3", nil},
		{"half busy", 4, 1, 4, []phase{{1000, quiet(4)}}, "4", nil}, // 3 of 6 threads would be too much
		{"less than half busy", 4, 1, 4, []phase{{1000, quiet(2)}}, "4 3 2", nil},
		{"a burst begins the minute anew", 4, 1, 4, []phase{{119, quiet(0)}, {1, waiting(8)}, {100, quiet(0)}}, "4", nil},
		{"a busy stretch is remembered", 2, 1, 4, []phase{{100, quiet(4)}, {120, quiet(0)}}, "2", nil},
	} {
		n, tr, got := c.start, trend{busy: float64(c.phases[0].g.busy)}, []string{fmt.Sprint(c.start)}
		var held []string
		for _, p := range c.phases {
			for range p.looks {
				p.g.workers = n
				var d decision
				tr, d = decide(tr, p.g, lookOften, c.low, c.high)
				if d.held != "" {
					held = append(held, d.held)
				}
				if (d.workers == n) != (d.why == "") {
					t.Errorf("%s: from %d to %d workers because of %q", c.name, n, d.workers, d.why)
				}
				if d.workers != n {
					n = d.workers
					got = append(got, fmt.Sprint(n))
				}
			}
		}
		if s := strings.Join(got, " "); s != c.want || !slices.Equal(held, c.held) {
			t.Errorf("%s: workers %s, want %s; held %q, want %q", c.name, s, c.want, held, c.held)
		}
	}
}

// TestDecideNoFlapping: under a load that two workers carry just so, and one does
// not, the number comes to rest.
func TestDecideNoFlapping(t *testing.T) {
	for busy := range 9 {
		n, changes, tr := 1, 0, trend{}
		for range 7200 {
			g := glance{workers: n, threads: 2, busy: busy, room: 9}
			if busy > 2*n {
				g.late = "requests wait"
			}
			var d decision
			tr, d = decide(tr, g, lookOften, 1, 8)
			if d.workers != n {
				n, changes = d.workers, changes+1
			}
		}
		if most := (busy + 1) / 2; changes > most {
			t.Errorf("with %d requests at a time: %d changes in an hour, %d workers at the end", busy, changes, n)
		}
	}
}

func TestCPULeft(t *testing.T) {
	for _, c := range []struct {
		name    string
		used    float64
		workers int
		before  machine
		now     machine
		want    string
	}{
		{"idle", 0, 2, machine{}, machine{cpus: 2}, ""},
		{"busy", 1.7, 2, machine{}, machine{cpus: 2}, ""},
		{"all in use", 1.8, 2, machine{}, machine{cpus: 2}, "the workers use 1.8 of 2.0 CPUs"},
		{"throttled", 0.2, 2, machine{periods: 10, throttled: 3}, machine{cpus: 0.5, periods: 15, throttled: 4}, "the quota of 0.5 CPUs is used up"},
		{"throttled long ago", 0.2, 2, machine{periods: 10, throttled: 3}, machine{cpus: 0.5, periods: 15, throttled: 3}, ""},
		{"pressure", 0.5, 2, machine{}, machine{cpus: 2, pressure: 0.8}, "processes wait for a CPU for 80 % of the time"},
		{"pressure of others, while ours only wait", 0.1, 2, machine{}, machine{cpus: 2, pressure: 0.99}, ""},
		{"some pressure", 1, 2, machine{}, machine{cpus: 2, pressure: 0.5}, ""},
	} {
		if got := cpuLeft(c.used, c.workers, c.before, c.now); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestMemoryRoom(t *testing.T) {
	for _, c := range []struct {
		free, size int64
		want       int
	}{
		{0, 100 << 20, 0}, {110 << 20, 100 << 20, 0}, {120 << 20, 100 << 20, 1}, {500 << 20, 100 << 20, 4},
		{math.MaxInt64, 100 << 20, 1 << 20}, {12 << 20, 0, 10},
	} {
		if got := memoryRoom(c.free, c.size); got != c.want && (c.want < 1<<20 || got < c.want) {
			t.Errorf("%d bytes free, %d each: %d", c.free, c.size, got)
		}
	}
}

func TestReadMachine(t *testing.T) {
	fs := fstest.MapFS{"proc/meminfo": {Data: []byte("MemTotal:  10 kB\nMemFree: 1 kB\nMemAvailable:   5 kB\n")}}
	if m := readMachine(fs); m.free != 5<<10 || m.cpus < 1 || m.pressure != 0 {
		t.Errorf("%+v", m)
	}
	if m := readMachine(fstest.MapFS{}); m.free != math.MaxInt64 {
		t.Errorf("%+v", m)
	}
}

// byNeed are settings for 1 to 3 workers of two threads.
func byNeed() *Settings {
	set := testSettings()
	set.Workers, set.MaxWorkers = 1, 3
	return set
}

// crowd makes n requests wait in each half second that passes.
func (r *rig) crowd(halfSeconds int) {
	for range halfSeconds {
		q := &r.s.board.Slot(0).Counters.QueueWait
		for range 8 {
			q.Observe(int64(time.Millisecond))
		}
		for range 2 {
			q.Observe(int64(2 * waitTarget))
		}
		r.pass(lookOften)
	}
}

func (r *rig) plenty() {
	r.host.mu.Lock()
	defer r.host.mu.Unlock()
	r.host.machine = machine{cpus: 4, free: 1 << 40}
}

func TestScaleByNeed(t *testing.T) {
	withRig(t, byNeed(), nil, func(r *rig) {
		r.plenty()
		r.awaitServing()
		r.expect("1:serving/1")
		if v := r.view(); v.TargetWorkers != 1 || v.MinWorkers != 1 || v.MaxWorkers != 3 || v.Pinned {
			t.Errorf("%+v", v)
		}
		if c := r.all()[0].spec.Config; c.Workers != 3 {
			t.Errorf("the worker thinks that there are %d", c.Workers)
		}
		r.crowd(5)
		r.expect("1:serving/1 2:booting/1")
		r.pass(bootTakes)
		r.expect("1:serving/1 2:serving/1")
		// The reload keeps what the load has shown to be needed.
		r.host.next.MaxWorkers = 3
		r.signal(hup)
		r.pass(bootTakes + leaveTakes)
		r.expect("3:serving/2 4:serving/2")
		r.pass(shrinkAfter + 2*lookOften + leaveTakes)
		r.expect("3:serving/2")
		e := r.events("scale")
		if len(e) != 2 || e[0].Text != "from 1 to 2 workers: 2 of 10 requests waited longer than 25ms for a thread" ||
			e[1].Text != "from 2 to 1 workers: 0.0 threads are in use on average" {
			t.Errorf("events %+v", e)
		}
	})
}

// TestScaleByNeedOtherSigns: queued requests and connections nobody accepts.
func TestScaleByNeedOtherSigns(t *testing.T) {
	withRig(t, byNeed(), nil, func(r *rig) {
		r.plenty()
		r.awaitServing()
		r.slotOf(r.all()[0]).Gauges.QueueOldest.Store(r.s.clock.mono())
		r.pass(growAfter + 2*lookOften)
		r.expect("1:serving/1 2:booting/1")
		r.slotOf(r.all()[0]).Gauges.QueueOldest.Store(0)
		r.pass(2 * bootTakes)

		r.host.mu.Lock()
		r.host.pending = true
		r.host.mu.Unlock()
		r.pass(2 * growAfter)
		r.expect("1:serving/1 2:serving/1") // somebody is free and will take them
		for _, p := range r.all() {
			for i := range 2 {
				r.begin(p, i, "/", 0)
			}
		}
		r.pass(growAfter + lookOften)
		r.expect("1:serving/1 2:serving/1 3:booting/1")
		if e := r.events("scale"); len(e) != 2 || !strings.HasSuffix(e[1].Text, "connections wait to be accepted") {
			t.Errorf("events %+v", e)
		}
	})
}

// TestScaleByNeedThreadsAuto: threads that a worker could have, and does not use, are no reason
// for fewer workers.
func TestScaleByNeedThreadsAuto(t *testing.T) {
	set := byNeed()
	set.Threads, set.ThreadsAuto = 32, true
	withRig(t, set, nil, func(r *rig) {
		r.plenty()
		r.awaitServing()
		r.crowd(5)
		r.pass(bootTakes)
		r.expect("1:serving/1 2:serving/1")
		for _, p := range r.all() {
			r.slotOf(p).Gauges.Threads.Store(2)
			r.begin(p, 1, "/", 0)
		}
		r.pass(2*shrinkAfter + leaveTakes)
		r.expect("1:serving/1 2:serving/1")
		r.slotOf(r.all()[0]).Gauges.Threads.Store(1 << 40) // as a worker may say that is not believed
		r.pass(2*shrinkAfter + leaveTakes)
		r.expect("1:serving/1")
	})
}

// TestScaleHeld: no CPU, then no memory; it is said once.
func TestScaleHeld(t *testing.T) {
	withRig(t, byNeed(), nil, func(r *rig) {
		r.plenty()
		r.awaitServing()
		pid := r.all()[0].pid
		r.host.setMemory(pid, 100<<20)
		r.host.mu.Lock()
		r.host.machine.free = 110 << 20
		r.host.cpu = map[int]float64{pid: 1}
		r.host.mu.Unlock()
		r.crowd(30)
		r.expect("1:serving/1")
		if e := r.events("scale_held"); len(e) != 1 || !strings.Contains(e[0].Text, "the memory would not hold another worker") {
			t.Errorf("events %+v", e)
		}
		r.host.mu.Lock()
		r.host.machine.free = 130 << 20
		r.host.mu.Unlock()
		for i := range 10 { // 4 CPUs, of which it uses 3.8
			r.host.mu.Lock()
			r.host.cpu[pid] += 1.9
			r.host.mu.Unlock()
			r.crowd(1)
			if r.workers() != "1:serving/1" {
				t.Fatalf("after %d looks: %s", i, r.workers())
			}
		}
		r.crowd(2)
		r.expect("1:serving/1 2:booting/1")
	})
}

// TestScalePinned: what an operator says holds, until they give it back.
func TestScalePinned(t *testing.T) {
	withRig(t, byNeed(), nil, func(r *rig) {
		*r.host.next = *byNeed()
		r.plenty()
		r.awaitServing()
		m := r.master()
		for range 4 { // beyond the bounds, too
			r.signal(syscall.SIGTTIN)
		}
		r.pass(bootTakes)
		if v := r.view(); v.TargetWorkers != 5 || !v.Pinned {
			t.Errorf("target %d, pinned %v", v.TargetWorkers, v.Pinned)
		}
		r.pass(10 * time.Minute)
		r.signal(hup)
		r.pass(bootTakes + leaveTakes)
		if v := r.view(); v.TargetWorkers != 5 || len(v.Workers) != 5 {
			t.Errorf("after a reload: target %d, %s", v.TargetWorkers, r.workers())
		}
		if _, to, err := m.Scale(r.t.Context(), 2, false); to != 2 || err != nil {
			t.Errorf("%d, %v", to, err)
		}
		r.pass(leaveTakes)
		r.crowd(20)
		if v := r.view(); v.TargetWorkers != 2 {
			t.Errorf("target %d while pinned to 2", v.TargetWorkers)
		}
		if from, to, err := m.ScaleByNeed(r.t.Context()); from != 2 || to != 2 || err != nil {
			t.Errorf("%d, %d, %v", from, to, err)
		}
		r.crowd(6)
		if v := r.view(); v.TargetWorkers != 3 || v.Pinned {
			t.Errorf("target %d, pinned %v", v.TargetWorkers, v.Pinned)
		}
		// The number of need means nothing to settings that name one.
		r.host.next.MaxWorkers, r.host.next.Workers = 0, 2
		r.pass(bootTakes)
		r.signal(hup)
		r.pass(bootTakes + leaveTakes)
		if v := r.view(); v.TargetWorkers != 2 {
			t.Errorf("target %d after a reload with -w 2", v.TargetWorkers)
		}
		if _, _, err := m.ScaleByNeed(r.t.Context()); err == nil {
			t.Error("it goes by need without bounds")
		}
	})
}

// TestScaleWaitsForBoots: a crash loop is not load, nor is a reload.
func TestScaleWaitsForBoots(t *testing.T) {
	withRig(t, byNeed(), nil, func(r *rig) {
		r.plenty()
		r.awaitServing()
		r.behave(manner{dies: true})
		r.crowd(40)
		if v := r.view(); v.TargetWorkers != 2 {
			t.Errorf("target %d while workers do not boot", v.TargetWorkers)
		}
	})
}

func TestLateBucket(t *testing.T) {
	if protocol.Bounds[lateFrom-1] != int64(waitTarget) {
		t.Errorf("%v is no bound of the histogram", waitTarget)
	}
}
