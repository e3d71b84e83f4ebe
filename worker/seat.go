package worker

import (
	"container/list"
	"log/slog"
	"sync/atomic"
	"time"

	"hostler/protocol"
)

// Async runs requests on an event loop, in one Python thread that never waits for one of
// them: each has a seat, which is a Thread as far as all else is concerned, from the
// moment that Turn says so until Finish. What it has belongs to that thread, but for what
// is said otherwise.
type Async struct {
	l     *Loop
	seats []*Thread // by number; the first is the loop's thread's own
	free  []int     // the one that was used last is used first
	live  []*Thread // those with a request, in no order
	begun *Thread   // of these, the one whose request the last step has begun; nil: none has

	unseen list.List // of these, those that have found no record free: *Thread, the oldest first

	turn turn
	news []*Thread // of live, or finished since: alarms are to be told
	pace spread
	cork cork

	block   block
	slow    seldom // lines of requests over --slow-request: what one waits for, hundreds may
	lookout *lookout
	sockets socketNews
}

// turn is what the event loop's thread does between two waits.
type turn struct {
	on     bool
	away   bool  // the loop is not at its post
	since  int64 // … from then on
	ran    int
	began  int64
	looked bool        // the set has been polled
	due    atomic.Bool // time limits are to be looked at; the housekeeper's word
	left   bool        // all have been told that the worker leaves
}

// spread is how an event loop's requests are told that the worker leaves: streams that
// listen one after the other over half of the time that there is, as all of them come back
// at once else, and who does not listen only when time is nearly up. Requests that have
// not begun to answer go on to their end.
type spread struct {
	began int64 // 0: the worker does not leave
	late  bool  // half of the time is over
}

// NewAsync has the requests of l run by an event loop. It is called before Start.
func NewAsync(l *Loop) *Async {
	a := NewGreen(l)
	l.limits.Underscores = true // a scope has names as they are
	l.keeper.sockets.tunnels, l.keeper.sockets.refuses = true, true
	l.spools.stream = append(l.spools.stream, newPathPattern("*"))
	return a
}

// NewGreen has them run in the greenlets of one: they are what they are with threads, those
// of WSGI.
func NewGreen(l *Loop) *Async {
	first := l.threads[0]
	l.threads = l.threads[:1]
	l.sched.use(1)
	l.deputy.tuner = nil
	l.slot.Gauges.Threads.Store(1)
	l.spare.off = true // a request that waits takes nothing from others
	// What has come while the loop was busy would wait in sockets else, where nobody sees it.
	l.sched.ready.max = max(l.sched.ready.max, l.conns.max)
	if n := l.cfg.WorkerConcurrency; n > 0 {
		l.sched.pools = append(l.sched.pools, &pool{index: anyPool, pathPattern: newPathPattern("*"), lane: lane{max: l.cfg.Queue, permits: n, depth: &l.slot.Gauges.TasksWaiting}})
	}
	a := &Async{l: l, cork: cork{l: l}, slow: seldom{pause: time.Second}}
	l.keeper.remind = a.remind
	l.deputy.tick = a.cork.tick
	l.deputy.away, l.deputy.stacked = a.block.look(l), a.block.stacked(l)
	l.slot.Gauges.LoopSince.Store(protocol.LoopRests)
	l.keeper.sockets.notify = l.sched.tellSocket
	l.waiters.init(l.slot)
	first.rec = new(protocol.Thread)
	a.addSeat(first)
	return a
}

// Foreign says that the loop is not ours, and has our set among its own descriptors: the
// deputy has to find out by itself when it is away. It is called before Start.
func (a *Async) Foreign() {
	a.lookout = newLookout(a.l, a.seats[0])
	a.l.deputy.lookout = a.lookout
}

// Seat returns the i-th seat.
func (a *Async) Seat(i int) *Thread { return a.seats[i] }

func (a *Async) addSeat(t *Thread) {
	t.cork, t.coalescer, t.seat = &a.cork, a.l.threads[0].coalescer, len(a.seats)
	a.free = append(a.free, t.seat)
	a.seats = append(a.seats, t)
}

// take returns a free seat, which is made if there is none; nil: there is no memory.
func (a *Async) take() *Thread {
	if len(a.free) == 0 {
		t, err := newSeat(a.l)
		if err != nil {
			return nil
		}
		a.addSeat(t)
	}
	n := len(a.free) - 1
	t := a.seats[a.free[n]]
	a.free = a.free[:n]
	return t
}

// give takes back a seat that has no request.
func (a *Async) give(t *Thread) {
	t.pos, t.end, t.arrived = 0, 0, 0
	a.free = append(a.free, t.seat)
}

// occupy notes that t has a request.
func (a *Async) occupy(t *Thread) {
	t.watch = watch{}
	t.place = len(a.live)
	a.live = append(a.live, t)
	a.l.slot.Gauges.Tasks.Store(int64(len(a.live)))
}

// vacate takes t's request off those that are under way.
func (a *Async) vacate(t *Thread) {
	n := len(a.live) - 1
	last := a.live[n]
	a.live[t.place], last.place = last, t.place
	a.live[n] = nil
	a.live = a.live[:n]
	a.l.slot.Gauges.Tasks.Store(int64(n))
	if t.unseen != nil {
		a.unseen.Remove(t.unseen)
		t.unseen = nil
	}
	a.hides(t, false)
	a.l.waiters.give(t.waiter)
	t.waiter = nil
	a.seeOldest()
}

// seeOldest gives records that have become free to those requests that have waited the longest for
// one: what is seen of a loop is the oldest of what it has.
func (a *Async) seeOldest() {
	for e := a.unseen.Front(); e != nil && a.l.waiters.any(); e = a.unseen.Front() {
		t := a.unseen.Remove(e).(*Thread)
		t.unseen = nil
		if !t.stays && t.taken == nil { // what it has become has its line without
			t.record()
			a.hides(t, false)
		}
	}
}

// hides counts t's request among those that have no record, or no more.
func (a *Async) hides(t *Thread, does bool) {
	if t.hides != does {
		t.hides = does
		n := int64(1)
		if !does {
			n = -1
		}
		a.l.slot.Gauges.Unseen.Add(n)
	}
}

// Finish ends the request that a seat has, and so the seat's. What its connection has
// brought beside it has its turn later: the application may be in the middle of a step.
func (a *Async) Finish(i int) {
	l, t := a.l, a.seats[i]
	c := t.conn
	l.pace.calls.Add(1)
	if t.stays {
		a.comeBack(t)
		return
	}
	t.watch.wants = 0
	t.pauses()
	c.seat.Store(nil)
	t.inARow = 0
	goesOn := t.conclude()
	a.seats[0].seen = t.seen
	if goesOn {
		if t.pos < t.end {
			l.stash(t, c)
		}
		if c.fd >= 0 {
			c.unreadSince(l.now())
			l.sched.push(c, anyway)
		}
	}
	a.vacate(t)
	a.give(t)
}

// comeBack is Finish for a request that has become a WebSocket, in a greenlet.
func (a *Async) comeBack(t *Thread) {
	t.comeBack()
	a.vacate(t)
	a.give(t)
	if a.l.leave.draining.Load() {
		a.l.sched.wake() // it may have been what kept the worker
	}
}

// lingers reports whether requests that are WebSockets keep a worker that leaves, and has no
// connection any more: they have heard of the end, and have yet to come to theirs.
func (a *Async) lingers() bool {
	return a.l.keeper.sockets.staying.Load() > 0 && a.l.GraceLeft() > 0
}

// Slow is called with the stack of the request that a seat has, which is over --slow-request.
func (a *Async) Slow(i int, stack string) {
	l, t := a.l, a.seats[i]
	q := t.slowRequest(l.now())
	q.Status, q.Stack = 0, stack
	a.slow.say(l.log, slog.LevelWarn, "a slow request; the stack of its task follows", "method", q.Method, "target", q.Target, "client", q.Client,
		"age", q.Duration.Round(time.Millisecond), "stack", stack)
	if l.slow.tell != nil {
		l.slow.noteStack(q)
	}
}

// SendHead sends the head without anything of the body, where it is not out yet.
func (a *Async) SendHead(i int) int {
	t := a.seats[i]
	switch {
	case t.reply.gone:
		return WriteGone
	case t.reply.stage != stageHead:
		return WriteOK
	}
	t.progress()
	return t.transmit(t.conn, t.openReply(-1), 0)
}

// remind has the loop's thread look at time limits. It may be called by anybody.
func (a *Async) remind() {
	if a.l.slot.Gauges.Tasks.Load() == 0 {
		return
	}
	a.turn.due.Store(true)
	a.l.sched.wake()
}

// AcceptSocket answers the handshake on a seat, which is free from then on. protocol need not
// be; fields are records of the application's.
func (a *Async) AcceptSocket(i int, protocol, fields []byte) (number uint32, err error) {
	t := a.seats[i]
	if err := checkAcceptance(protocol, fields); err != nil {
		return 0, err
	}
	number = t.AcceptSocket(protocol, fields)
	a.vacate(t)
	a.give(t)
	return number, nil
}
