package worker

import (
	"time"

	"golang.org/x/sys/unix"

	"hostler/internal/pauses"
	"hostler/protocol"
)

// What Async.Turn says; part of the ABI with worker/python.
const (
	TurnIdle    = iota // nothing is ready
	TurnMore           // the turn has lasted for long enough: others first
	TurnRun            // a seat has a new request
	TurnNotice         // there is news for the request that a seat has
	TurnGarbage        // as Garbage
	TurnExit           // as Exit
)

const (
	turnRequests = 64
	turnTime     = int64(2 * time.Millisecond)
)

// Turn says what the event loop's thread does next: it is called again and again until
// there is nothing more to do, or others are to have their turn. polled: the thread comes
// from epoll_wait(2), with what that has brought in its Task.
func (a *Async) Turn(polled bool) (what, seat int, notice uint32) {
	l := a.l
	l.pace.calls.Add(1)
	a.cork.pull()
	a.keepBegun()
	if polled || !a.turn.on { // both: the loop is run inside a step of its own (nest_asyncio)
		a.begin(polled)
	}
	a.seats[0].yield()
	a.seats[0].coalescer.pullLate()
	for a.turn.ran < turnRequests {
		if n, have := a.sockets.next(l); have != 0 {
			a.turn.ran++
			return TurnNotice, int(n | SocketSeat), have
		}
		if n := len(a.news); n > 0 {
			t := a.news[n-1]
			a.news[n-1] = nil
			a.news = a.news[:n-1]
			if have := a.tell(t); have != 0 {
				return TurnNotice, t.seat, have
			}
			continue
		}
		t := a.take()
		if t == nil { // the kernel has no memory for us: those that are under way go on
			if t = l.sched.newsOnly(); t == nil {
				break
			}
			if have := a.tell(t); have != 0 {
				return TurnNotice, t.seat, have
			}
			continue
		}
		n, what := a.step(t)
		if what == TurnRun {
			a.occupy(t)
			a.begun = t
			a.turn.ran++
			return TurnRun, t.seat, 0
		}
		a.give(t)
		if what == TurnNotice {
			if have := a.tell(n); have != 0 {
				return TurnNotice, n.seat, have
			}
			continue
		}
		if what != TurnMore {
			a.turn.on = what == TurnGarbage
			return what, 0, 0
		}
		if l.now()-a.turn.began > turnTime {
			break
		}
	}
	a.turn.on = false
	return TurnMore, 0, 0
}

// begin takes the leader's post back.
func (a *Async) begin(polled bool) {
	l, t := a.l, a.seats[0]
	k := &a.turn
	k.on, k.ran, k.looked = true, 0, polled
	n := 0
	if polled {
		n = int(t.NEvents)
	}
	t.NEvents = 0
	k.began = l.now()
	a.away(t.Events[:n])
	// Where the housekeeping is late, it is about to find out for how long nobody has run.
	if k.due.Swap(false) && k.began-l.slot.Gauges.Heartbeat.Load() < sweepPeriod+int64(pauses.Floor) {
		a.inspect(k.began)
	}
}

// Away says that the event loop's thread has left its post, for reasons of its own.
func (a *Async) Away() {
	a.turn.began = a.l.now()
	a.away(nil)
}

// away has the deputy watch from turn.began on.
func (a *Async) away(evs []unix.EpollEvent) {
	l, t, k := a.l, a.seats[0], &a.turn
	if !k.away {
		k.away, k.since = true, k.began
		if since := l.slot.Gauges.LoopSince.Swap(k.began); since > protocol.LoopRests {
			a.lookout.back(since, k.began)
		}
	}
	t.seen = k.began
	l.sched.leaves(t, evs, k.began)
}

// step does one thing that is ready, with the free seat t: TurnRun says that t has a
// request now, TurnNotice that n is to be looked at, TurnMore that there may be more.
func (a *Async) step(t *Thread) (n *Thread, what int) {
	l := a.l
	n, c, ev, chosen := l.sched.onLoop(t)
	run := false
	if chosen == choseExit && a.lingers() {
		chosen = choseNone
	}
	switch chosen {
	case choseNotice:
		return n, TurnNotice
	case choseReady:
		run = l.dequeued(t, c)
	case choseEvent:
		run = l.event(t, ev)
	case choseGarbage:
		return nil, TurnGarbage
	case choseExit:
		if a.leaveAll() {
			return nil, TurnMore
		}
		a.leaves()
		return nil, TurnExit
	default:
		if a.turn.looked {
			return nil, TurnIdle
		}
		a.turn.looked = true
		t.poll()
	}
	if run {
		return nil, TurnRun
	}
	return nil, TurnMore
}

// keepBegun has the request that the last step has begun known to who comes after us, unless it
// is over.
func (a *Async) keepBegun() {
	t := a.begun
	if t == nil {
		return
	}
	if a.begun = nil; t.conn == nil && !t.stays {
		return
	}
	a.seeOldest()
	if t.record() == nil {
		t.unseen = a.unseen.PushBack(t)
		a.hides(t, true)
	}
}

// leaves notes that the event loop has left its post for good, which is not to be blocked: what
// comes now, as lifespan.shutdown, has limits of its own.
func (a *Async) leaves() {
	a.turn.away = false
	a.l.slot.Gauges.LoopSince.Store(protocol.LoopRests)
	a.lookout.leaves()
}

// tell returns the news for the request that t has, if it has one.
func (a *Async) tell(t *Thread) uint32 {
	if t.conn == nil && !t.stays {
		return 0
	}
	return t.notices()
}

// Flush says that the iteration of the loop ends. waits: the loop's thread goes to its
// post now, where it waits for news.
func (a *Async) Flush(waits bool) {
	l, k := a.l, &a.turn
	a.cork.pull()
	a.seats[0].coalescer.pull()
	if k.away {
		k.away = false
		l.slot.Counters.LoopLag.Observe(l.now() - k.since)
		l.slot.Gauges.LoopSince.Store(protocol.LoopRests)
	}
	l.sched.standBy(a.seats[0], waits)
}

// Step notes that the request on a seat is being stepped, and returns since when.
func (a *Async) Step(i int) (now int64) {
	t, rec := a.seats[i], &a.l.slot.ThreadRecs[0]
	now = a.l.now()
	t.begin(rec, now)
	if t.waiter != nil {
		rec.Logged(now) // that has its line
	}
	if limit, own := t.rec.OwnTimeout(t.Taken); own { // hostler.deadline has been called
		if since := t.rec.ClockSince(t.Taken); since != 0 {
			limit -= now - since
		}
		rec.SetTimeout(now, now, limit)
	}
	return now
}

// Stepped notes that none is.
func (a *Async) Stepped() { a.l.slot.ThreadRecs[0].End() }
