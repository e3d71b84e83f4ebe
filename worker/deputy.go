package worker

import (
	"math"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"hostler/worker/http1"
)

const (
	deputyTick = time.Millisecond
	// deputyRest is after how many ticks without any step of a Python thread
	// the deputy goes to sleep, if a leader is at its post.
	deputyRest = 100
)

// runDeputy looks every millisecond whether the Python threads get on, while
// there is work. It returns when the loop stops.
//
// It sleeps in nanosleep(2): a timer of the runtime's would cost several futex
// calls and a poll of the network each time.
func (l *Loop) runDeputy() {
	tick := unix.NsecToTimespec(int64(deputyTick))
	var last uint64
	still := 0
	for ticks := 0; ; ticks++ {
		sleep, unsent := l.sched.rest(still > deputyRest)
		if sleep {
			select {
			case <-l.sched.deputyWake:
				still = 0
			case <-l.stop:
				return
			}
		}
		_ = unix.Nanosleep(&tick, nil) // early is as good
		if ticks%8 == 0 {
			runtime.Gosched() // see Thread.yield
		}
		select {
		case <-l.stop:
			return
		default:
		}
		if unsent {
			l.sched.sendUnsent()
		}
		if l.sched.waiting.Load() > 0 {
			l.letGo()
		}
		n := l.calls.Load()
		if n != last {
			last, still = n, 0
			l.setWedged(false)
			continue
		}
		still++
		l.stepIn()
	}
}

// stepIn does the threads' work where none of them has moved for a tick and none
// waits in epoll_wait: a follower is woken to lead, or, if there is none, the
// deputy reads, parses and queues.
func (l *Loop) stepIn() {
	if !l.sched.stir() {
		// calls need not have changed since: the thread that was away may have
		// been in Next already.
		l.setWedged(false)
		return
	}
	l.setWedged(true)
	l.surplus = l.capacity()
	l.offload()
	l.readOn()
	l.deputy.poll()
	for {
		ev, have := l.sched.event(l.deputy)
		if !have {
			return
		}
		l.event(l.deputy, ev)
	}
}

// readOn reads what has been left to a Python thread to read: frames of HTTP/2, as
// those that are away may wait for just these, and bodies of its streams; and, where we serve files ourselves,
// what may ask for one.
func (l *Loop) readOn() {
	for range l.sched.depth(&l.sched.ready) { // more may be left meanwhile
		c := l.sched.steal(&l.sched.ready, func(c *conn) bool {
			return c.urgent() || l.static != nil && c.waitsToBeRead()
		})
		if c == nil {
			return
		}
		l.dequeued(l.deputy, c)
	}
}

// poll takes what is ready, without waiting.
func (t *Thread) poll() {
	l := t.l
	if n := l.set.poll(t.Events[:]); n > 0 {
		l.sched.bring(t.Events[:n], l.now())
	}
}

func (l *Loop) setWedged(v bool) {
	if l.wedged.Load() != v {
		l.wedged.Store(v)
		if !v {
			select {
			case l.conns.room <- struct{}{}:
			default:
			}
		}
	}
}

// runHousekeeping keeps time limits, gauges and the date. It returns when the
// loop stops.
func (l *Loop) runHousekeeping() {
	const period = 250 * time.Millisecond
	t := time.NewTicker(period)
	defer t.Stop()
	var soon <-chan time.Time
	for {
		select {
		case <-l.pressure.wanted:
			l.makeRoom()
		case <-l.sweepSoon:
			if soon == nil {
				soon = time.After(time.Duration(farewellTime) + time.Millisecond)
			}
		case <-soon:
			soon = nil
			l.sweep()
			l.relieve()
		case now := <-t.C:
			l.tickDate(now)
			l.sweep()
			l.relieve()
			l.sayRefusals(l.now())
			l.slot.Gauges.Heartbeat.Store(l.now())
			l.sweepSpools(l.now())
			l.checkOwn()
			l.watchGIL()
			l.weigh()
			l.sendSlow()
		case <-l.stop:
			l.sayRefusals(math.MaxInt64 - refusalPause)
			return
		}
	}
}

// sweepEarly has the housekeeping look for what has ended in a moment.
func (l *Loop) sweepEarly() {
	select {
	case l.sweepSoon <- struct{}{}:
	default:
	}
}

// tickDate prepares the value of the Date field, and the time for the access log.
func (l *Loop) tickDate(now time.Time) {
	l.access.tick(now)
	d := http1.FormatDate(make([]byte, 0, 29), now)
	if old := l.date.Load(); old == nil || string(*old) != string(d) {
		l.date.Store(&d)
	}
}

// sweep ends connections that have been in a phase for too long, and counts all
// of them for the gauges.
func (l *Loop) sweep() {
	if l.stopping.Load() {
		l.hasten()
	}
	if l.moving.Load() {
		l.moveAll()
	}
	if l.pools != nil {
		l.movePools()
	}
	now := l.now()
	var n [numPhases]int64
	l.conns.each(func(c *conn) {
		p := phase(c.phase.Load())
		n[p]++
		c.sweepStreams(now)
		d := c.deadline.Load()
		if d == 0 || d > now || c.state.Load()&stateOwned != 0 || !c.claim(false) {
			return
		}
		if d = c.deadline.Load(); d != 0 && d <= now {
			c.timeUp(l)
		} else if !c.release() { // it has just moved on, and there is an event for it
			l.resume(l.sweeper, c)
		}
	})
	g := &l.slot.Gauges
	g.ConnsIdle.Store(n[phaseIdle] + n[phaseStreams])
	g.ConnsReading.Store(n[phaseHead] + n[phaseBody] + n[phaseShaking])
	g.ConnsRunning.Store(n[phaseReady] + n[phaseRunning])
	g.ConnsWriting.Store(n[phaseWriting] + n[phaseLinger])
}
