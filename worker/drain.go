package worker

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"hostler/protocol"
	"hostler/worker/websocket"
)

// restGrace is how long a connection at rest may live on when the server stops, at
// most: long enough for a request that is on its way to arrive, and to be answered
// with the announcement of the close.
const restGrace = int64(200 * time.Millisecond)

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

// restFor is how long that is for a connection: what has been sent arrives within a
// round trip to the client. One that is sent later may miss the end whenever that is.
func restFor(fd int) int64 {
	const atLeast = int64(5 * time.Millisecond) // the client's own time
	rtt := int64(0)
	if info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO); err == nil { // else it is a unix socket
		rtt = int64(info.Rtt+4*info.Rttvar) * int64(time.Microsecond)
	}
	return min(atLeast+rtt, restGrace)
}

// Start starts the deputy and the housekeeping.
func (l *Loop) Start() {
	l.slot.Gauges.Heartbeat.Store(l.now()) // the first; it is what the others are seen by
	go l.deputy.run()
	go l.keeper.run()
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
		l.leave.draining.Store(true)
		l.end()
		grace = 0
	} else if grace > 0 {
		time.AfterFunc(grace, l.end)
	}
	l.graceUntil(l.now() + int64(grace))
	for _, a := range l.doors.accepters {
		a.stop(accept)
	}
	// Connections taken from the queue just now get their answer, too; it is
	// from here on that the close is announced.
	switch {
	case mode == protocol.DrainStop:
		l.leave.moving.Store(false)
		l.leave.draining.Store(true)
		l.leave.stopping.Store(true)
		l.keeper.hasten()
	case mode == protocol.DrainReplaced && l.exchange != nil && !l.leave.stopping.Load():
		l.leave.moving.Store(true)
		l.leave.draining.Store(true)
		l.keeper.moveAll()
	default:
		l.leave.draining.Store(true)
	}
	if mode == protocol.DrainStop {
		go l.keeper.sockets.leave(l, websocket.GoingAway, 0)
	} else if mode != protocol.DrainQuick {
		go l.keeper.sockets.leave(l, websocket.ServiceRestart, grace/2)
	}
	l.checkDrained()
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

// GraceLeft is what is left of the time that the worker has to leave in.
func (l *Loop) GraceLeft() time.Duration {
	return time.Duration(max(0, l.leave.leaveBy.Load()-l.now()))
}

// hasten shortens the life of connections at rest. Some come to rest only after
// it, whose last response was under way when the drain began; so the sweeper does
// it again, and soon.
func (hk *housekeeper) hasten() {
	l := hk.l
	now := l.now()
	l.conns.each(func(c *conn) {
		if phase(c.phase.Load()) != phaseIdle || c.state.Load()&stateOwned != 0 {
			return
		}
		if d := c.deadline.Load(); d != 0 && d <= now+restGrace || !c.claim(false) {
			return
		}
		if phase(c.phase.Load()) == phaseIdle {
			grace := restGrace // it has come to ask for something
			if c.served > 0 {
				grace = restFor(c.fd)
			}
			c.deadline.Store(now + grace)
		}
		if !c.release() {
			c.requeue(l)
		}
	})
	hk.sweepEarly()
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

// Drained is closed when the threads have been told to leave.
func (l *Loop) Drained() <-chan struct{} { return l.leave.drained }

// Stop ends the deputy and the housekeeping, once the threads have left.
func (l *Loop) Stop() { close(l.leave.stop) }
