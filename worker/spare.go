package worker

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"hostler/protocol"
)

// spareThread keeps the last free Python thread, counting those of all workers, from
// requests to routes that are known to be slow, as long as most requests are quick:
// the slow one, which takes its time anyway, waits until a second thread is free,
// and all the quick ones do not wait for it to end.
//
// It waits no longer than its route usually takes. So at worst its answer takes
// twice as long as it would have, and nobody has to say what slow is.
//
// Nothing of this is configured, or costs anything while no route is slow. A route
// is slow if its latest three requests were; one that has been quick often enough is
// forgotten.
type spareThread struct {
	off    bool
	routes atomic.Pointer[map[uint64]*route] // that have been slow lately, by protocol.RouteHash; replaced to be changed; nil: none
	slow   atomic.Uint64                     // slow requests that have ended
	worth  atomic.Bool                       // most requests are quick

	mu sync.Mutex // to change routes

	// The housekeeping's: requests, and slow ones, up to its last look, and moving
	// sums of what came since.
	served, slowServed uint64
	sum, slowSum       float64
}

// route is what is known of a route that has been slow.
type route struct {
	recent atomic.Uint32 // a bit for each of its requests, the latest lowest: it was slow
	took   atomic.Int64  // ns, the latest slow one
}

const (
	// slowCall is for how long a request has a Python thread, in nanoseconds, if
	// others notice that it has.
	slowCall = protocol.SlowFloor
	// surely are the bits of route.recent that are set for a slow route, and
	// forgotten those that are not for one that is no more.
	surely    = 1<<3 - 1
	forgotten = 1<<8 - 1
	// knownRoutes bounds the routes that are known. When there are more, all are
	// forgotten: the slow ones are soon found again.
	knownRoutes = 64
	// longestHold bounds how long a request waits for a second free thread.
	longestHold = int64(5 * time.Second)
	// quickShare is how many requests there have to be for a slow one, for these
	// to be the exception.
	quickShare = 4
)

// hold is how long a request of the route may wait, in nanoseconds.
func (r *route) hold() int64 { return min(r.took.Load(), longestHold) }

// learn is told how long a request of a route had its thread, in nanoseconds, if it was
// slow, or the route, r, is one that has been. key is the route's.
func (v *spareThread) learn(r *route, key func() uint64, took int64) {
	if v.off {
		return
	}
	if took < slowCall {
		if recent := r.recent.Load() << 1; recent&forgotten != 0 {
			r.recent.Store(recent)
		} else {
			v.forget(r)
		}
		return
	}
	if r == nil {
		r = v.remember(key())
	}
	r.recent.Store(r.recent.Load()<<1 | 1)
	r.took.Store(took)
	v.slow.Add(1)
}

// remember returns the route of that key, which is a new one where there was none.
func (v *spareThread) remember(key uint64) *route {
	v.mu.Lock()
	defer v.mu.Unlock()
	known := make(map[uint64]*route)
	if old := v.routes.Load(); old != nil && len(*old) < knownRoutes {
		if r := (*old)[key]; r != nil {
			return r
		}
		maps.Copy(known, *old)
	}
	r := new(route)
	known[key] = r
	v.routes.Store(&known)
	return r
}

func (v *spareThread) forget(r *route) {
	v.mu.Lock()
	defer v.mu.Unlock()
	old := v.routes.Load()
	if old == nil {
		return
	}
	known := maps.Clone(*old)
	maps.DeleteFunc(known, func(_ uint64, k *route) bool { return k == r })
	if len(known) == 0 {
		v.routes.Store(nil)
	} else {
		v.routes.Store(&known)
	}
}

// weigh finds out whether most requests are quick, of those served so far. It is called a few times a second.
func (v *spareThread) weigh(served uint64) {
	const keep = 0.9 // of the sums, each time
	slow := v.slow.Load()
	v.sum = v.sum*keep + float64(served-v.served)
	v.slowSum = v.slowSum*keep + float64(slow-v.slowServed)
	v.served, v.slowServed = served, slow
	v.worth.Store(v.sum > v.slowSum*(quickShare+1))
}
