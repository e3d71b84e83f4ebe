package worker

import (
	"sync"
	"sync/atomic"
	"time"
)

// restGrace is how long a connection at rest may live on when the server stops, at
// most: long enough for a request that is on its way to arrive, and to be answered
// with the announcement of the close.
const restGrace = int64(200 * time.Millisecond)

const (
	// closeTime is how long we wait for the close frame of a WebSocket's peer after ours.
	closeTime = 5 * int64(time.Second)
	// closeLeaving is that where the server stops, and the least of it where the worker alone
	// leaves.
	closeLeaving = int64(time.Second)
)

// leave is how far a worker is on its way out.
type leave struct {
	draining atomic.Bool   // announce the close on every response
	moving   atomic.Bool   // draining, and others take the connections
	stopping atomic.Bool   // the server stops: connections at rest live on for restGrace at most
	leaveBy  atomic.Int64  // when a draining worker should have left; 0: it does not drain
	drained  chan struct{} // closed when a draining loop has nothing left to do
	once     sync.Once     // … to close it
	stop     chan struct{} // closed when the threads have left
}

// graceUntil notes down when the worker should have left, if that is sooner than what
// is noted down.
func (l *Loop) graceUntil(t int64) {
	for {
		have := l.leave.leaveBy.Load()
		if have != 0 && have <= t || l.leave.leaveBy.CompareAndSwap(have, t) {
			return
		}
	}
}

// closeLimit is how long the worker has for the peer of a WebSocket that is to end what we
// have ended.
func (v *leave) closeLimit(now int64) int64 {
	switch {
	case !v.draining.Load():
		return closeTime
	case v.stopping.Load():
		return closeLeaving
	}
	return min(closeTime, max((v.leaveBy.Load()-now)/2, closeLeaving))
}

// GraceLeft is what is left of the time that the worker has to leave in.
func (l *Loop) GraceLeft() time.Duration {
	return time.Duration(max(0, l.leave.leaveBy.Load()-l.now()))
}

// checkDrained ends a drain that has nothing left to do.
func (l *Loop) checkDrained() {
	if l.leave.draining.Load() && l.doors.accepting.Load() == 0 && l.conns.n.Load() == 0 {
		l.end()
	}
}

// end makes the threads leave when they have done what they are at.
func (l *Loop) end() {
	l.leave.once.Do(func() {
		l.sched.exit()
		close(l.leave.drained)
	})
}
