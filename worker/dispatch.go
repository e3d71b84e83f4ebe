package worker

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Next finishes the request that t ran, if any, and says what t does next.
// It is called without the GIL.
func (l *Loop) Next(t *Thread) int {
	what := l.next(t)
	if what == Run {
		t.coalescer.pullBefore(t.Taken + l.pace.average.Load())
	} else {
		t.coalescer.pull()
	}
	return what
}

// next is Next, whatever replies wait.
func (l *Loop) next(t *Thread) int {
	l.pace.calls.Add(1)
	if t.stays {
		t.comeBack()
	}
	if t.conn != nil {
		if t.finish() {
			return Run
		}
		if t.Contended != 0 {
			t.Contended = 0
			if what := t.giveWay(); what != Run {
				return what
			}
		}
	}
	if t.leading {
		t.leading = false
		t.lead()
	}
	t.yield()
	for {
		c, ev, what := l.sched.next(t)
		switch what {
		case choseReady:
			if l.dequeued(t, c) {
				return Run
			}
		case choseEvent:
			if l.event(t, ev) {
				return Run
			}
		case choseLead:
			t.leading = true
			return Lead
		case choseFollow:
			return Follow
		case choseExit:
			return Exit
		case choseGarbage:
			return Garbage
		}
	}
}

// giveWay lets another thread have the GIL, which t has just released. Were t to
// go on with the next request, it would take the GIL back before the other has
// woken up, time and again: CPython's lock is not fair to those who wait for it.
//
// Where calls are quick, one thread does the work of all and t steps down. The
// other one looks at the queue when it has run its request; should it stay away,
// the deputy wakes someone, as always. Where they are slow, they may be waiting
// for something else than the GIL, and t stays. It returns Run where t may go on
// at once.
func (t *Thread) giveWay() int {
	l := t.l
	if !l.pace.quick() {
		return Yield
	}
	if l.sched.stepDown(t) {
		return Follow
	}
	return Run
}

// NextHeld is Next for a thread that keeps the GIL because getting it has been
// slow: it returns Run or None and never a reason to wait.
func (l *Loop) NextHeld(t *Thread) int {
	l.pace.calls.Add(1)
	if t.stays {
		t.comeBack()
	}
	if t.conn != nil && t.finish() {
		return Run
	}
	t.coalescer.pullBefore(t.seen + l.pace.average.Load())
	polled := false
	for {
		c, ev, what := l.sched.atOnce(t)
		switch {
		case what == choseReady:
			if l.dequeued(t, c) {
				return Run
			}
		case what == choseEvent:
			if l.event(t, ev) {
				return Run
			}
		case what == choseLead && !polled:
			polled = true
			t.poll()
		default:
			return None
		}
	}
}

// yieldEvery is how often what stays in C, or in system calls, goes through Go's scheduler.
const yieldEvery = int64(4 * time.Millisecond)

// yield goes through Go's scheduler once in a while. A thread of C's that calls in
// again and again does not; after 10 ms without it sysmon believes that a
// goroutine hogs its P, takes the P away at each of its rounds, and makes a round
// every 20 µs (runtime/proc.go, retake).
func (t *Thread) yield() {
	if t.seen-t.yielded > yieldEvery {
		t.yielded = t.seen
		runtime.Gosched()
	}
}

// lead takes what the leader brought from epoll_wait.
func (t *Thread) lead() {
	l := t.l
	n := int(t.NEvents)
	t.NEvents = 0
	t.seen = t.Polled
	l.sched.led(t, t.Events[:n], t.Polled)
}

// event handles one event of the set. It returns true if t has a request to run.
func (l *Loop) event(t *Thread, ev unix.EpollEvent) bool {
	if ev.Fd == -1 {
		return false // the eventfd: someone wanted us to look around
	}
	c := l.conns.at(uint32(ev.Fd))
	if c == nil || c.gen.Load() != uint32(ev.Pad) {
		return false
	}
	hup := ev.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0
	if ev.Events&unix.EPOLLOUT != 0 {
		// Whoever owns the connection: what waits for room goes out now.
		if c.out.pending.Load() {
			c.out.flush(l, c)
		}
		c.roomy()
	}
	if !c.claim(hup) {
		l.sched.tell(c)
		return false
	}
	if c.gen.Load() != uint32(ev.Pad) {
		// Closed and taken anew since we looked. Its own events are to come.
		return !c.release() && l.resume(t, c)
	}
	if hup {
		c.hup = true
	}
	if p := phase(c.phase.Load()); !hup && l.exchange != nil && (p == phaseIdle || p == phaseShaking) && l.exchange.canary.lend(l, c) {
		return false
	}
	if t == l.deputy.t && l.deputy.surplus > 0 && phase(c.phase.Load()) == phaseIdle && l.handOver(c, nil) {
		l.deputy.surplus-- // before a byte is read
		return false
	}
	return l.resume(t, c)
}

// resume goes on with a connection that t has just come to own.
func (l *Loop) resume(t *Thread, c *conn) bool {
	for {
		switch phase(c.phase.Load()) {
		case phaseIdle, phaseHead, phaseBody:
			t.pos, t.end = 0, 0
			return l.receive(t, c)
		case phaseStreams, phaseSocket, phaseTaken:
			return c.again(l, t)
		case phaseShaking:
			c.shake(l)
			return false
		case phaseLinger:
			c.lingering(l)
			return false
		case phaseWriting:
			if !c.writeOn(l) {
				return false
			}
			// The reply is out; the next request may be here already.
		default:
			// Ready and running connections are owned, and cannot be claimed.
			panic("worker: claimed a connection that has an owner")
		}
	}
}

// run hands the request in t to the Python thread.
func (l *Loop) run(t *Thread, c *conn, now int64) bool {
	t.conn = c
	t.Seq++
	t.Taken = now
	t.Started = 0
	if t.rule != nil {
		t.rule = nil
	}
	if t.forClient.Load() != 0 {
		t.forClient.Store(0)
	}
	t.Result, t.Out, t.OutLen, t.OutKept = 0, 0, 0, 0
	t.StatusLen, t.FieldsLen = 0, 0
	c.setPhase(phaseRunning, 0)
	if t.cork != nil {
		t.rec.Open(now)
		c.seat.Store(t)
	} else {
		t.begin(t.rec, now)
	}
	l.slot.Gauges.Served.Add(1)
	if !l.pace.quick() {
		l.sched.promote()
	}
	return true
}

// dequeued goes on with a connection from the ready queue.
func (l *Loop) dequeued(t *Thread, c *conn) bool {
	c.dequeued()
	if c.in != nil && c.in.queued {
		return l.serveReady(t, c) || t.keepsConn() && l.receive(t, c)
	}
	// It had its turn, and gave way to others with more to read; or what there is
	// to read has been left to a Python thread.
	t.pos, t.end, t.arrived = 0, 0, c.waits
	c.waits = 0
	return c.again(l, t)
}

// finish ends the request that t ran. It returns true if t has another.
func (t *Thread) finish() bool {
	l := t.l
	c := t.conn
	return t.conclude() && l.receive(t, c)
}
