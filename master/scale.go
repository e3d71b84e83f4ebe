package master

import (
	"fmt"
	"math"
	"time"
)

// When there is to be a worker more or fewer, with --workers MIN:MAX. This file
// decides, from numbers alone; autoscale.go gathers them.

const (
	// lookOften is how often the workers are looked at. The histograms need a few
	// requests between two looks; a burst must not go by unseen.
	lookOften = 500 * time.Millisecond
	// waitTarget is how long a request may wait for a thread: half of what people
	// notice, if the answer itself takes as long. It is a bound of the histogram.
	waitTarget = 25 * time.Millisecond
	// lateShare is which part of the requests may wait longer. Random arrivals
	// make some wait at any load.
	lateShare = 0.1
	// growAfter is how long requests wait until there are more workers. A worker
	// costs a second or so of CPU to start, which a shorter burst is not worth.
	growAfter = 2 * time.Second
	// growPart of the workers there are come at once, so that many are as soon
	// twice as many as few are.
	growPart = 0.25
	// busyMemory is over which time the threads in use are averaged.
	busyMemory = 15 * time.Second
	// shrinkShare of the threads that would be left have to be enough. Growing
	// happens near all of them; the distance is what keeps us from doing both in
	// turn.
	shrinkShare = 0.5
	// shrinkAfter is how long they have to be, shrinkNext how long until the next
	// worker follows. A worker too many for a minute costs memory only.
	shrinkAfter = time.Minute
	shrinkNext  = 15 * time.Second
	// cpuFull of the CPUs in use by the workers are all of them: the kernel and the
	// master need some, too.
	cpuFull = 0.9
	// throttledMost is in which part of its periods the quota may run out.
	throttledMost = 0.1
	// pressureMost is for how much of the time processes may wait for a CPU before
	// more of them make it worse. It only counts where the workers want CPU
	// themselves: those that use less than cpuHungry of one wait for something
	// else, and others can wait beside them.
	pressureMost = 0.75
	cpuHungry    = 0.2
	// memorySpare is how much larger than the largest worker the next may become.
	memorySpare = 1.2
	// quietAfter is how long requests do not wait until it is news again that they
	// do and nothing can be done.
	quietAfter = 30 * time.Second
)

// machine is what there is to have. Counters are since some start.
type machine struct {
	cpus               float64 // that the workers may use
	periods, throttled uint64  // of the quota: all, and those in which it ran out
	pressure           float64 // part of the time in which processes wait for a CPU
	free               int64   // bytes of memory
}

// glance is what one look told.
type glance struct {
	workers int    // that there are
	threads int    // in each
	busy    int    // threads in use, and requests that wait for one
	late    string // what says that requests wait; "": they do not
	cpu     string // why no CPU is left; "": some is
	room    int    // how many workers more the memory holds
}

// trend is what earlier looks told.
type trend struct {
	busy  float64       // average of glance.busy
	late  time.Duration // for so long requests have waited
	quiet time.Duration // … and have not
	calm  time.Duration // for so long fewer workers would have been enough
	held  bool          // that there can be no more has been said
}

// decision is how many workers there are to be, and why. Held says why there are
// not more.
type decision struct {
	workers   int
	why, held string
}

// decide looks at g, since after the last glance; low and high are the bounds.
func decide(t trend, g glance, since time.Duration, low, high int) (trend, decision) {
	d := decision{workers: g.workers}
	t.busy += (float64(g.busy) - t.busy) * (1 - math.Exp(-float64(since)/float64(busyMemory)))
	if g.late == "" {
		t.late = 0
		if t.quiet += since; t.quiet >= quietAfter {
			t.held = false
		}
	} else {
		t.quiet = 0
		t.late += since
	}
	if t.late >= growAfter {
		step := min(max(1, int(float64(g.workers)*growPart)), high-g.workers)
		switch {
		case step <= 0:
			d.held = fmt.Sprintf("there are %d workers already", g.workers)
		case g.cpu != "":
			d.held = g.cpu
		case g.room <= 0:
			d.held = "the memory would not hold another worker"
		default:
			d.workers, d.why = g.workers+min(step, g.room), g.late
			t.late, t.calm, t.held = 0, 0, false
		}
		if d.held != "" {
			if t.held {
				d.held = ""
			} else {
				d.held = g.late + ", but " + d.held
			}
			t.held = true
		}
	}
	if g.late != "" || g.workers <= low || t.busy > shrinkShare*float64(g.threads*(g.workers-1)) {
		t.calm = 0
	} else if t.calm += since; t.calm >= shrinkAfter {
		t.calm = shrinkAfter - shrinkNext
		d.workers = g.workers - 1
		d.why = fmt.Sprintf("%.1f threads are in use on average", t.busy)
	}
	return t, d
}

// cpuLeft says why no CPU is left for another worker, or "". Used is how many CPUs
// the workers used; before is the machine at the last look.
func cpuLeft(used float64, workers int, before, now machine) string {
	periods := float64(now.periods - before.periods)
	switch {
	case periods > 0 && float64(now.throttled-before.throttled) >= throttledMost*periods:
		return fmt.Sprintf("the quota of %.1f CPUs is used up", now.cpus)
	case used >= cpuFull*now.cpus:
		return fmt.Sprintf("the workers use %.1f of %.1f CPUs", used, now.cpus)
	case now.pressure >= pressureMost && used >= cpuHungry*float64(workers):
		return fmt.Sprintf("processes wait for a CPU for %.0f %% of the time", now.pressure*100)
	}
	return ""
}

// memoryRoom is how many workers of that size fit into free bytes.
func memoryRoom(free, size int64) int {
	return int(float64(free) / (memorySpare * float64(max(size, 1<<20))))
}
