package worker

import (
	"time"

	"golang.org/x/sys/unix"

	"hostler/protocol"
	"hostler/worker/websocket"
)

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
		l.conns.hasten(l)
	case mode == protocol.DrainReplaced && l.exchange != nil && !l.leave.stopping.Load():
		l.leave.moving.Store(true)
		l.leave.draining.Store(true)
		l.conns.moveAll(l)
	default:
		l.leave.draining.Store(true)
	}
	if mode == protocol.DrainStop {
		go l.keeper.sockets.leave(l, websocket.GoingAway, 0)
	} else if mode != protocol.DrainQuick {
		go l.keeper.sockets.leave(l, websocket.ServiceRestart, grace/2)
	}
	go func() {
		<-l.leave.drained // which some do not outlive, for the application holds on to them
		l.access.conclude(l.now())
	}()
	l.checkDrained()
}

// hasten shortens the life of connections at rest. Some come to rest only after
// it, whose last response was under way when the drain began; so the sweeper does
// it again, and soon.
func (t *connTable) hasten(l *Loop) {
	now := l.now()
	t.each(func(c *conn) {
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
	l.keeper.soon.give()
}

// Drained is closed when the threads have been told to leave.
func (l *Loop) Drained() <-chan struct{} { return l.leave.drained }
