package worker

import (
	"sync/atomic"
	"time"

	"hostler/protocol"
)

// absent is how long the engine's set may have something ready before an event loop that is
// not ours, and has that set among its own descriptors, is taken for away from its post, in
// nanoseconds: a loop that waits comes at once.
const absent = int64(2 * time.Millisecond)

// lookout misses such a loop, which says when it comes, but not when it is at something else.
// What has it missed is that somebody waits: a client, or the housekeeper a few times a second
// while there are requests. nil: the loop says all of it.
type lookout struct {
	l     *Loop
	t     *Thread // the loop's
	asked poke    // the deputy goes to sleep
	over  atomic.Bool

	// The deputy's.
	calls uint64 // Loop.pace.calls at its last tick
	since int64  // since when something is ready, and no call has come; 0: it is not so
}

func newLookout(l *Loop, t *Thread) *lookout {
	o := &lookout{l: l, t: t, asked: newPoke()}
	go o.run()
	return o
}

// run has the deputy woken for what comes while it sleeps.
func (o *lookout) run() {
	for {
		select {
		case <-o.asked:
		case <-o.l.leave.stop:
			return
		}
		for !o.l.sched.set.readable(time.Second) {
			select {
			case <-o.l.leave.stop:
				return
			default:
			}
		}
		o.l.sched.deputyWake.give()
	}
}

// leaves is called when the loop has left its post for good.
func (o *lookout) leaves() {
	if o != nil {
		o.over.Store(true)
	}
}

// sleeps is called when the deputy is about to sleep.
func (o *lookout) sleeps() {
	if o != nil {
		o.asked.give()
	}
}

// tick is called by the deputy at each tick: where the loop does not come to what is ready,
// its post is free, and the deputy does what it does while a loop is away.
func (o *lookout) tick() {
	if o == nil || o.over.Load() {
		return
	}
	l, set := o.l, o.l.sched.set
	n := l.pace.calls.Load()
	if n != o.calls || l.slot.Gauges.LoopSince.Load() != protocol.LoopRests || !set.readable(0) {
		o.calls, o.since = n, 0
		return
	}
	now := l.now()
	if o.since == 0 {
		o.since = now
	}
	if now-o.since < absent {
		return
	}
	set.insist(true) // what is ready will be taken, and the loop has to come all the same
	if !l.sched.misses(o.t, func() bool {
		return l.pace.calls.Load() == n && l.slot.Gauges.LoopSince.CompareAndSwap(protocol.LoopRests, o.since)
	}) {
		set.insist(false)
	}
	o.since = 0
}

// back is called by the loop's thread when it has come, having been missed since then.
func (o *lookout) back(since, now int64) {
	o.l.slot.Counters.LoopLag.Observe(now - since)
	o.l.sched.set.insist(false)
}
