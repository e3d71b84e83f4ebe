package worker

import (
	"log/slog"
	"sync/atomic"
	"time"
)

// overload tells a queue that only takes up a burst from one that does not go away
// (CoDel, RFC 8289, in the form that servers use, which have no sender to slow
// down: see "Fail at Scale", ACM Queue 13/8). What counts is the shortest wait of an
// interval. If even that is above the target, more comes than can be done, and who
// has waited for twice the target is answered 503 at once: the others then get
// their answers while somebody still waits for them.
//
// A few that wait long for slow requests are no overload; there have to be
// overloadDepth for each thread.
type overload struct {
	target int64 // ns; 0: off
	end    atomic.Int64
	least  atomic.Int64 // wait in this interval
	on     atomic.Bool  // the interval before was too long for all
}

// tooLate is asked once for each request that is about to run, after wait.
// Two threads that ask at the same time may lose a value; the next interval comes.
func (o *overload) tooLate(now, wait int64) bool {
	if end := o.end.Load(); now >= end {
		// After a pause nothing is known.
		o.on.Store(now < end+o.target && o.least.Load() > o.target)
		o.end.Store(now + o.target)
		o.least.Store(wait)
	} else if wait < o.least.Load() {
		o.least.Store(wait)
	}
	return wait > 2*o.target && o.on.Load()
}

// declinedPause is how long nothing is said of declined requests after a line of them.
const declinedPause = int64(10 * time.Second)

// declined says that requests are answered 503: who has only the log at hand would see but
// what the clients say. It is the housekeeper's.
type declined struct {
	said uint64 // of the worker's count
	next int64
}

// say logs how many requests have been declined since the last line, of all so far.
func (d *declined) say(log *slog.Logger, all uint64, waiting int64, now int64) {
	if all == d.said || now < d.next {
		return
	}
	log.Warn("more requests come than are answered in time; some are declined with 503", "declined", all-d.said, "waiting", waiting)
	d.said, d.next = all, now+declinedPause
}
