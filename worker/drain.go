package worker

import (
	"time"

	"hostler/protocol"
)

// restGrace is how long a connection at rest may live on when the server stops:
// long enough for a request that is on its way to arrive, and to be answered
// with the announcement of the close.
const restGrace = int64(200 * time.Millisecond)

// Start starts the deputy and the housekeeping.
func (l *Loop) Start() {
	l.slot.Gauges.Heartbeat.Store(l.now()) // the first; it is what the others are seen by
	go l.runDeputy()
	go l.runHousekeeping()
}

// Drain lets the worker leave: no new connections, every response announces the
// close, and when the last connection is closed the threads get Exit. A drain
// may become stricter by another call. grace bounds it all.
func (l *Loop) Drain(mode protocol.DrainMode, grace time.Duration) {
	accept := int32(acceptStop)
	if mode == protocol.DrainStop {
		accept = acceptRest
	}
	if mode == protocol.DrainQuick {
		l.draining.Store(true)
		l.end()
		grace = 0
	} else if grace > 0 {
		time.AfterFunc(grace, l.end)
	}
	l.graceUntil(l.now() + int64(grace))
	for _, a := range l.accepters {
		a.stop(accept)
	}
	// Connections taken from the queue just now get their answer, too; it is
	// from here on that the close is announced.
	switch {
	case mode == protocol.DrainStop:
		l.moving.Store(false)
		l.draining.Store(true)
		l.stopping.Store(true)
		l.hasten()
	case mode == protocol.DrainReplaced && l.exchange != nil && !l.stopping.Load():
		l.moving.Store(true)
		l.draining.Store(true)
		l.moveAll()
	default:
		l.draining.Store(true)
	}
	l.checkDrained()
}

// graceUntil notes down when the worker should have left, if that is sooner than what
// is noted down.
func (l *Loop) graceUntil(t int64) {
	for {
		have := l.leaveBy.Load()
		if have != 0 && have <= t || l.leaveBy.CompareAndSwap(have, t) {
			return
		}
	}
}

// GraceLeft is what is left of the time that the worker has to leave in.
func (l *Loop) GraceLeft() time.Duration { return time.Duration(max(0, l.leaveBy.Load()-l.now())) }

// hasten shortens the life of connections at rest. Some come to rest only after
// it, whose last response was under way when the drain began; so the sweeper does
// it again.
func (l *Loop) hasten() {
	limit := l.now() + restGrace
	l.conns.each(func(c *conn) {
		if c.phase.Load() != uint32(phaseIdle) {
			return
		}
		d := c.deadline.Load()
		if d == 0 || d > limit {
			c.deadline.CompareAndSwap(d, limit)
		}
	})
}

// checkDrained ends a drain that has nothing left to do.
func (l *Loop) checkDrained() {
	if l.draining.Load() && l.accepting.Load() == 0 && l.conns.n.Load() == 0 {
		l.end()
	}
}

// end makes the threads leave when they have done what they are at.
func (l *Loop) end() {
	l.drainEnd.Do(func() {
		l.mu.Lock()
		l.exiting = true
		for {
			f := l.unpark()
			if f == nil {
				break
			}
			f.wake()
		}
		lead := l.leader != nil
		l.mu.Unlock()
		if lead {
			l.poke()
		}
		close(l.drained)
	})
}

// Drained is closed when the threads have been told to leave.
func (l *Loop) Drained() <-chan struct{} { return l.drained }

// Stop ends the deputy and the housekeeping, once the threads have left.
func (l *Loop) Stop() { close(l.stop) }
