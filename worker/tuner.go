package worker

import (
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// tuner finds out how many Python threads help (--threads auto). There is one more where
// requests wait while all of them are away, and the process has a processor's time left:
// then they wait for something, and not for the GIL. There is one fewer where those that run
// wait for the GIL for a good part of their time: with fewer, as many get done, and each
// sooner. It is the deputy's; nil: the number is fixed.
type tuner struct {
	l *Loop

	contended func() bool // a request waits for the GIL

	// While all are away and requests wait.
	missing int64 // ticks
	crowded int64 // … of which at so many a request waited for the GIL
	began   int64 // when that was first so
	cpu     int64 // the process's by then, ns
	ousted  int64 // … and how often it had lost a processor to others
	last    int64 // when it was last so

	was tally // when it was last looked at
	due int64 // when it is again; 0: it was not yet

	growAfter int64 // no further thread is tried before that, unless the GIL is free for certain
	pause     int64 // between a thread fewer and the next try
	shrunk    int64 // when there was last a thread fewer
}

const (
	// tunerBegins is how many threads there are at first.
	tunerBegins = 2
	// missingEnough is for how many ticks all have to have been away, and missingApart how
	// long there may be none between two of these.
	missingEnough = 5
	missingApart  = int64(50 * time.Millisecond)
	// idleShare is the part of a processor below which the GIL is free for certain.
	idleShare = 0.6
	// tunerLooks is how often the waits for the GIL are looked at, for which there have to be
	// a few requests.
	tunerLooks    = int64(500 * time.Millisecond)
	tunerRequests = 10
	// crowdedWait is how long a request waits for the GIL, on average, if there are too many
	// threads, and crowdedShare which part of its time that is.
	crowdedWait  = int64(time.Millisecond)
	crowdedShare = 0.3
	// leastPause and mostPause are how long it is before one more is tried again.
	leastPause = int64(2 * time.Second)
	mostPause  = int64(time.Minute)
	// calmEnough is how long after that nothing of it is remembered.
	calmEnough = 10 * int64(time.Second)
)

func newTuner(l *Loop) *tuner {
	t := &tuner{l: l, contended: func() bool { return false }}
	t.use(min(tunerBegins, len(l.threads)))
	return t
}

func (t *tuner) inUse() int { return int(t.l.sched.inUse.Load()) }

// use has n threads in use. Others learn of those that go to sleep when they do (see settle).
func (t *tuner) use(n int) {
	t.l.sched.use(n)
	if g := &t.l.slot.Gauges.Threads; int64(n) > g.Load() || t.due == 0 {
		g.Store(int64(n))
	}
}

// processCPU is what the process has had of processors, in nanoseconds.
func processCPU() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts) // cannot fail
	return ts.Nano()
}

// ousted is how often a thread of the process has lost its processor to somebody else.
func ousted() int64 {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u) // cannot fail
	return u.Nivcsw
}

// missed is called at each tick at which all threads are away.
func (t *tuner) missed() {
	if t == nil || t.l.slot.Gauges.QueueDepth.Load() == 0 || t.inUse() == len(t.l.threads) {
		return
	}
	now := t.l.now()
	if t.missing == 0 || now-t.last > missingApart {
		t.missing, t.crowded, t.began, t.cpu, t.ousted = 0, 0, now, processCPU(), ousted()
	}
	t.last = now
	if t.contended() {
		t.crowded++
	}
	if t.missing++; t.missing <= missingEnough {
		return
	}
	t.missing = 0
	if t.crowded > missingEnough/2 {
		return
	}
	// On a machine that has too much to do a process gets little of it, whatever it does.
	busy := float64(processCPU()-t.cpu) / float64(max(now-t.began, 1))
	if idle := busy < idleShare && ousted() == t.ousted; idle || now >= t.growAfter {
		t.use(t.inUse() + 1)
	}
}

// tick is called at each tick.
func (t *tuner) tick() {
	if t == nil {
		return
	}
	now := t.l.now()
	if now < t.due {
		return
	}
	t.settle()
	n, is := t.inUse(), t.counted()
	if t.due == 0 {
		t.was = is
	}
	t.due = now + tunerLooks
	runs, waited, took := is.runs-t.was.runs, is.waited-t.was.waited, is.took-t.was.took
	if runs < tunerRequests {
		return
	}
	t.was = is
	switch {
	case n > 1 && waited > crowdedWait*runs && float64(waited) > crowdedShare*float64(took):
		// That part of each thread's time would be free without the others.
		t.use(max(n/2, int(math.Ceil(float64(n)*(1-float64(waited)/float64(took)))), 1))
		t.pause = min(max(2*t.pause, leastPause), mostPause)
		t.growAfter, t.shrunk = now+t.pause, now
	case now-t.shrunk > t.pause+calmEnough:
		t.pause = 0
	}
}

// settle has others know how many threads are in use, once all that are not have gone to
// sleep.
func (t *tuner) settle() {
	if t == nil {
		return
	}
	n := t.inUse()
	for _, th := range t.l.threads[n:] {
		if !t.l.sched.parked(th) {
			return
		}
	}
	t.l.slot.Gauges.Threads.Store(int64(n))
}

// tally is what has been counted of requests so far.
type tally struct {
	runs   int64
	waited int64 // ns, for the GIL
	took   int64 // ns, from then on: the wait for a thread is none of theirs
}

func (t *tuner) counted() (n tally) {
	k := &t.l.slot.Counters
	for m := range k.Duration {
		for c := range k.Duration[m] {
			n.took += k.Duration[m][c].Sum.Load()
		}
	}
	for i := range k.QueueWait.Counts {
		n.runs += int64(k.QueueWait.Counts[i].Load())
	}
	n.waited = k.GILWait.Load()
	n.took += n.waited - k.QueueWait.Sum.Load()
	return n
}
