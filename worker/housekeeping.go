package worker

import (
	"math"
	"sync/atomic"
	"time"

	"hostler/internal/pauses"
	"hostler/protocol"
	"hostler/worker/http1"
)

// sweepPeriod is how often the housekeeping looks around.
const sweepPeriod = int64(250 * time.Millisecond)

// housekeeper keeps time limits, gauges and the date, and looks after whatever else is
// not a thread's to look after, in a goroutine of its own, whose state this is. Others
// write to the channels.
type housekeeper struct {
	l       *Loop
	sweeper *Thread // for its buffers: it queues what it reads
	soon    poke    // asks for a sweep before the next one is due
	date    atomic.Pointer[[]byte]
	remind  func() // looks at the time limits of those that run
	sockets sockets
	pauses  pauses.Log
	told    declined
	// exposition answers requests for the application's metrics; nil: nobody does.
	exposition *exposition
	pressure
}

func newHousekeeper(l *Loop) *housekeeper {
	hk := &housekeeper{l: l, remind: func() {}, soon: newPoke(), told: declined{said: l.slot.Counters.Unavailable.Load()}, pressure: pressure{wanted: newPoke()}}
	hk.sockets.init()
	return hk
}

// run returns when the loop stops.
func (hk *housekeeper) run() {
	l := hk.l
	t := time.NewTicker(time.Duration(sweepPeriod))
	defer t.Stop()
	var soon <-chan time.Time
	for {
		select {
		case <-hk.wanted:
			hk.makeRoom(l)
		case <-hk.soon:
			if soon == nil {
				soon = time.After(time.Duration(farewellTime) + time.Millisecond)
			}
		case <-soon:
			soon = nil
			hk.sweep()
			hk.relieve(l)
		case now := <-t.C:
			hk.pauses.Late(l.slot.Gauges.Heartbeat.Load()+sweepPeriod, l.now()) // before any limit is looked at
			hk.tickDate(now)
			hk.sweep()
			hk.relieve(l)
			l.refusals.sayRest(l.log, l.now())
			hk.sayDeclined(l.now())
			l.slot.Gauges.Heartbeat.Store(l.now())
			l.spools.sweep(l)
			hk.exposition.sweep(l)
			l.own.check(l)
			l.gil.look(l)
			hk.remind()
			hk.sockets.sayStaying(l)
			l.spare.weigh(l.slot.Gauges.Served.Load())
			l.slow.send()
		case <-l.leave.stop:
			l.refusals.sayRest(l.log, math.MaxInt64-refusalPause)
			hk.sayDeclined(math.MaxInt64)
			return
		}
	}
}

func (hk *housekeeper) sayDeclined(now int64) {
	hk.told.say(hk.l.log, hk.l.slot.Counters.Unavailable.Load(), hk.l.slot.Gauges.QueueDepth.Load(), now)
}

// tickDate prepares the value of the Date field, and the time for the access log.
func (hk *housekeeper) tickDate(now time.Time) {
	l := hk.l
	l.access.tick(now)
	d := http1.FormatDate(make([]byte, 0, 29), now)
	if old := hk.date.Load(); old == nil || string(*old) != string(d) {
		hk.date.Store(&d)
	}
}

// sweep ends connections that have been in a phase for too long, and counts all
// of them for the gauges.
func (hk *housekeeper) sweep() {
	l := hk.l
	if l.leave.stopping.Load() {
		l.conns.hasten(l)
	}
	if l.leave.moving.Load() {
		l.conns.moveAll(l)
	}
	for _, p := range l.sched.pools {
		p.move(l)
	}
	now := l.now()
	var n [numPhases]int64
	l.conns.each(func(c *conn) {
		p := phase(c.phase.Load())
		n[p]++
		n[phaseSocket] += c.sweepStreams(now)
		d := c.deadline.Load()
		if d == 0 || d > now || c.state.Load()&stateOwned != 0 || !c.claim(false) {
			return
		}
		if d = c.deadline.Load(); d != 0 && d <= now {
			c.timeUp(l)
		} else if !c.release() { // it has just moved on, and there is an event for it
			l.resume(hk.sweeper, c)
		}
	})
	g := &l.slot.Gauges
	g.ConnsIdle.Store(n[phaseIdle] + n[phaseStreams])
	g.ConnsReading.Store(n[phaseHead] + n[phaseBody] + n[phaseShaking])
	g.ConnsRunning.Store(n[phaseReady] + n[phaseRunning])
	g.ConnsWriting.Store(n[phaseWriting] + n[phaseLinger])
	g.Sockets.Store(n[phaseSocket])
}

// timeUp ends a connection that the caller claimed because its time is up. If the
// client has sent something that nobody has looked at, it was us who were late: the
// process was stopped, or had no CPU. A request is not dropped for that.
func (c *conn) timeUp(l *Loop) {
	switch phase(c.phase.Load()) {
	case phaseIdle, phaseHead, phaseBody:
		if hasInput(c.fd) {
			l.resume(l.keeper.sweeper, c)
			return
		}
	}
	k := protocol.TimeoutIdle
	switch phase(c.phase.Load()) {
	case phaseIdle:
		if c.served == 0 {
			k = protocol.TimeoutHead
		}
		l.slot.Counters.Timeouts[k].Add(1)
		c.sayEnd()
		c.close(l)
	case phaseStreams, phaseShaking, phaseSocket, phaseTaken:
		c.expire(l)
	case phaseHead, phaseBody:
		k = protocol.TimeoutHead
		if phase(c.phase.Load()) == phaseBody {
			k = protocol.TimeoutBody
			if c.tooSlow.Load() {
				k = protocol.TimeoutBodyRate
			}
		}
		l.slot.Counters.Timeouts[k].Add(1)
		if c.proxyDue {
			c.close(l)
			return
		}
		c.refuse(l, 408, "", c.heard())
	case phaseWriting:
		if k = protocol.TimeoutWrite; c.tooSlow.Load() {
			k = protocol.TimeoutWriteRate
		}
		l.slot.Counters.Timeouts[k].Add(1)
		c.abort(l)
	case phaseLinger:
		if !c.stillTakes(l) {
			c.close(l)
		}
	default:
		c.close(l)
	}
}
