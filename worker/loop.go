package worker

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"hostler/internal/logwriter"
	"hostler/protocol"
	"hostler/worker/http1"
	"hostler/worker/origin"
	"hostler/worker/static"
)

const (
	// maxInARow bounds the requests of one connection that are served before
	// others get their turn.
	maxInARow    = 32
	lingerTime   = int64(2 * time.Second)
	farewellTime = int64(30 * time.Millisecond)
	// sweepPeriod is how often the housekeeping looks around.
	sweepPeriod = int64(250 * time.Millisecond)
)

// Config is what a Loop needs to know. Times are nanoseconds.
type Config struct {
	Settings *protocol.WorkerConfig
	Slot     *protocol.Slot
	Log      *slog.Logger
	// Exchange is where connections move from and to other workers; nil: nowhere.
	Exchange *Exchange
	// AccessLog is where access-log lines go; nil: nowhere.
	AccessLog *logwriter.Writer
}

// Loop is a worker's engine: its connections, its threads and its queue.
type Loop struct {
	cfg      *protocol.WorkerConfig
	slot     *protocol.Slot
	log      *slog.Logger
	limits   http1.Limits
	exchange *Exchange
	own      own
	leave    leave
	mem      *memory
	pace     pace
	origin   origin.Policy // who may say who a client is
	sched    *scheduler
	tls      atomic.Pointer[tls.Config] // for connections to come
	conns    *connTable
	spools   *spools
	access   accessLog
	refusals refusals

	threads []*Thread
	doors   doors

	gil    gilWatch
	static static.Roots // nil: no files are served
	slow   slowLog
	spare  spareThread

	deputy *deputy
	keeper *housekeeper
}

// New makes a Loop with its threads, none of which runs yet.
func New(c Config) (*Loop, error) {
	s := c.Settings
	set, err := newPollSet()
	if err != nil {
		return nil, err
	}
	l := &Loop{
		cfg: s, slot: c.Slot, log: c.Log, exchange: c.Exchange,
		limits: headLimits(s),
		sched:  newScheduler(set, s.Queue, &c.Slot.Gauges),
		conns:  newConnTable(maxConnections(s.WorkerConnections, c.Log)),
	}
	l.keeper, l.deputy = newHousekeeper(l), &deputy{l: l}
	l.mem = newMemory(s.LimitBuffers, l.keeper.soon)
	l.leave.drained, l.leave.stop = make(chan struct{}), make(chan struct{})
	if l.origin, err = origin.NewPolicy(origin.Options{Trusted: s.ForwardedAllowIPs, Fields: s.ForwardedHeaders,
		Proxies: s.ProxyAllowIPs, ProxyProtocol: s.ProxyProtocol}); err != nil {
		return nil, err
	}
	l.access.to, l.access.worker = c.AccessLog, s.Number
	if err := l.access.setFormat(s.AccessLogFormat, s.AccessLogExclude); err != nil {
		return nil, err
	}
	l.pace.overload.target = int64(s.QueueWait)
	l.spare.off = !s.SpareThread
	l.sched.pools = newPools(s.Pools, s.Queue, c.Slot)
	l.spools = newSpools(s, c.Slot)
	if l.static, err = openStatic(s.Static); err != nil {
		return nil, err
	}
	l.keeper.tickDate(time.Now())
	for i := range s.Threads {
		t, err := newThread(l, i)
		if err != nil {
			return nil, fmt.Errorf("cannot allocate a thread's buffers: %w", err)
		}
		if s.HTTP2Cleartext || slices.ContainsFunc(s.Listeners, func(l protocol.Listener) bool { return l.TLS }) {
			if err := t.addBell(); err != nil {
				return nil, err
			}
		}
		l.threads = append(l.threads, t)
	}
	for _, t := range []**Thread{&l.deputy.t, &l.keeper.sweeper} {
		if *t, err = newThread(l, -1); err != nil {
			return nil, fmt.Errorf("cannot allocate the deputy's buffers: %w", err)
		}
	}
	return l, nil
}

// headLimits are the limits of a request's head. In the settings 0 means none: then
// the head as a whole is the limit.
func headLimits(s *protocol.WorkerConfig) http1.Limits {
	d := http1.DefaultLimits()
	m := http1.Limits{Line: s.LimitRequestLine, Field: s.LimitRequestFieldSize, Fields: s.LimitRequestFields, Head: inBufferSize - 1}
	if m.Line == 0 || m.Line > d.Line || m.Field == 0 || m.Field > d.Field || m.Fields == 0 || m.Fields > d.Fields {
		m.Head = maxHead
	}
	m.Line, m.Field, m.Fields = cmp.Or(m.Line, m.Head), cmp.Or(m.Field, m.Head), cmp.Or(m.Fields, http1.MaxFields)
	return m
}

// Thread returns the i-th thread. Each belongs to one Python thread.
func (l *Loop) Thread(i int) *Thread { return l.threads[i] }

// now returns CLOCK_MONOTONIC in nanoseconds, cheaply: time.Since reads that
// clock alone.
func (l *Loop) now() int64 { return monotonicBase + int64(time.Since(monotonicStart)) }

// The runtime's monotonic clock is CLOCK_MONOTONIC with another origin; these
// are set once, so that now can speak of the origin that other processes know.
var (
	monotonicStart = time.Now()
	monotonicBase  = originOf(monotonicStart)
)

// originOf returns what CLOCK_MONOTONIC was at start. Between looking at one clock and
// the other we may have to wait for a processor, many milliseconds on a busy machine: of
// several looks the shortest counts.
func originOf(start time.Time) (origin int64) {
	const enough = 2 * time.Microsecond
	least := time.Duration(math.MaxInt64)
	for range 100 {
		before := time.Since(start)
		at := protocol.Monotonic()
		if took := time.Since(start) - before; took < least {
			least, origin = took, at-int64(before+took/2)
		}
		if least < enough {
			break
		}
	}
	return origin
}

// Next finishes the request that t ran, if any, and says what t does next.
// It is called without the GIL.
func (l *Loop) Next(t *Thread) int {
	l.pace.calls.Add(1)
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
	if t.conn != nil && t.finish() {
		return Run
	}
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

// yield goes through Go's scheduler once in a while. A thread of C's that calls in
// again and again does not; after 10 ms without it sysmon believes that a
// goroutine hogs its P, takes the P away at each of its rounds, and makes a round
// every 20 µs (runtime/proc.go, retake).
func (t *Thread) yield() {
	const often = int64(8 * time.Millisecond)
	if t.seen-t.yielded > often {
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
		case phaseStreams, phaseSocket:
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
	if t.forClient.Load() != 0 {
		t.forClient.Store(0)
	}
	t.Result, t.Out, t.OutLen, t.OutKept = 0, 0, 0, 0
	t.StatusLen, t.FieldsLen = 0, 0
	c.setPhase(phaseRunning, 0)
	buf := bytesAt(t.Buf, int(t.Req.HeadLen))
	if t.cork != nil {
		t.rec.Open(now)
		c.seat.Store(t)
	} else {
		t.rec.BeginOver(now, uint32(t.Req.Minor), t.Req.Method.In(buf), t.Req.Target.In(buf), t.Remote[:t.RemoteLen])
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
		return l.serveReady(t, c) || t.goesOn() && l.receive(t, c)
	}
	// It had its turn, and gave way to others with more to read; or what there is
	// to read has been left to a Python thread.
	t.pos, t.end, t.arrived = 0, 0, 0
	return c.again(l, t)
}

// enqueue puts an owned connection on the ready queue. It returns false if the
// queue is full.
func (c *conn) enqueue(l *Loop) bool {
	c.setPhase(phaseReady, 0)
	return l.sched.push(c, c.placeOf(l))
}

// placeOf is where in the queue a connection goes that nobody has had yet.
func (c *conn) placeOf(l *Loop) place {
	if len(l.cfg.HealthPaths) > 0 && c.asksForHealth(l) {
		return atFront
	}
	return atEnd
}

// TakeGarbage moves up to len(dst) objects whose reference is to be dropped to
// dst. The caller holds the GIL and drops them.
func (l *Loop) TakeGarbage(dst []uintptr) int { return l.sched.takeGarbage(dst) }
