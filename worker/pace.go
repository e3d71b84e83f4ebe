package worker

import (
	"sync/atomic"
	"time"
)

const (
	// quickCall is how long the application may take, on average, for the
	// leader to go into it without waking a follower first.
	quickCall = int64(200 * time.Microsecond)
	// outlier bounds what one call weighs in that average: one that lost the GIL
	// for its switch interval does not make the others slow.
	outlier = 4 * quickCall
	// deputyTick is how often it is looked whether the threads get on.
	deputyTick = time.Millisecond
)

// pace is how the Python threads get on.
type pace struct {
	// calls counts their steps; that it stands still is how the deputy learns that they
	// are all away.
	calls atomic.Uint64
	// average is a moving average of the time that calls into the application take, in
	// nanoseconds.
	average atomic.Int64
	// wedged is set while all of them have been away for a while; the accepters then
	// leave new connections to other workers.
	wedged atomic.Bool
	// overload tells whether what waits for them is ever done.
	overload overload
}

// called takes a call that took so long into the average.
func (p *pace) called(took int64) {
	avg := p.average.Load()
	p.average.Store(avg + (min(took, outlier)-avg)/8)
}

// quick says that calls are, on average.
func (p *pace) quick() bool { return p.average.Load() <= quickCall }

// perTick is how many calls one thread gets done from tick to tick.
func (p *pace) perTick() int {
	const most = 32
	return int(max(int64(deputyTick)/max(p.average.Load(), int64(deputyTick)/most), 1))
}
