package worker

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
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
	// quickCall is how long the application may take, on average, for the
	// leader to go into it without waking a follower first.
	quickCall = int64(200 * time.Microsecond)
	// outlier bounds what one call weighs in that average: one that lost the GIL
	// for its switch interval does not make the others slow.
	outlier = 4 * quickCall
	// maxInARow bounds the requests of one connection that are served before
	// others get their turn.
	maxInARow    = 32
	lingerTime   = int64(2 * time.Second)
	farewellTime = int64(30 * time.Millisecond)
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
	owner    func(fd int)                  // see SetOwner; may be nil
	onLost   func(what string, fatal bool) // see SetLost; may be nil
	origin   origin.Policy                 // who may say who a client is
	overload overload
	epfd     int
	wakefd   int
	tls      atomic.Pointer[tls.Config] // for connections to come
	conns    *connTable
	inputs   inputPool
	spools   *spools
	access   accessLog
	refusals refusals

	threads   []*Thread
	draining  atomic.Bool  // announce the close on every response
	moving    atomic.Bool  // draining, and others take the connections
	stopping  atomic.Bool  // the server stops: connections at rest live on for restGrace at most
	leaveBy   atomic.Int64 // when a draining worker should have left; 0: it does not drain
	accepters []*accepter
	accepting atomic.Int64  // accepters that are still at work
	drained   chan struct{} // closed when a draining loop has nothing left to do
	drainEnd  sync.Once
	date      atomic.Pointer[[]byte]

	// calls counts steps of Python threads; that it stands still is how the
	// deputy learns that they are all away.
	calls atomic.Uint64
	// average is a moving average of the time that calls into the application
	// take, in nanoseconds.
	average  atomic.Int64
	outBytes atomic.Int64 // memory that responses hold for slow clients
	// streamBytes is what has come of requests of HTTP/2, and nobody has read yet.
	streamBytes atomic.Int64
	// hopsNoted has the bits of http1.Head.Dropped that have been logged.
	hopsNoted atomic.Uint32
	// wedged is set while every Python thread has been away for a while; the
	// accepters then leave new connections to other workers.
	wedged   atomic.Bool
	gil      gilWatch
	pools    []*pool      // nil: none
	static   static.Roots // nil: no files are served
	slow     slowLog
	spare    spareThread
	pressure pressure
	rooms    roomWaits

	mu       sync.Mutex // everything below; held for a few instructions at a time
	ready    ring
	batch    []unix.EpollEvent
	batchPos int
	batchEnd int
	batchAt  int64 // when the batch's events were taken
	turn     bool  // the batch's, where the queue has something too
	leader   *Thread
	idle     []*Thread // followers; the last to sleep is the first to be woken
	asleep   bool      // the deputy has gone to sleep for want of work
	exiting  bool
	garbage  []uintptr    // Python objects to be released
	unsent   []*http2Conn // they have frames that wait for the answers to other requests

	surplus    int // the deputy's: requests that it may still give to other workers
	deputy     *Thread
	sweeper    *Thread
	deputyWake chan struct{}
	sweepSoon  chan struct{}
	stop       chan struct{} // closed when the threads leave
}

// New makes a Loop with its threads, none of which runs yet.
func New(c Config) (*Loop, error) {
	s := c.Settings
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("cannot create an epoll set: %w", err)
	}
	wakefd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("cannot create an eventfd: %w", err)
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: -1}
	if err := unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, wakefd, &ev); err != nil {
		return nil, fmt.Errorf("cannot watch the eventfd: %w", err)
	}
	l := &Loop{
		cfg: s, slot: c.Slot, log: c.Log, exchange: c.Exchange,
		limits: headLimits(s),
		epfd:   epfd, wakefd: wakefd,
		conns:      newConnTable(maxConnections(s.WorkerConnections, c.Log)),
		drained:    make(chan struct{}),
		deputyWake: make(chan struct{}, 1),
		sweepSoon:  make(chan struct{}, 1),
		pressure:   pressure{wanted: make(chan struct{}, 1)},
		stop:       make(chan struct{}),
		asleep:     true,
		batch:      make([]unix.EpollEvent, 2*maxEvents),
	}
	l.inputs.limit, l.inputs.full = s.LimitBuffers, l.sweepSoon
	if l.origin, err = origin.NewPolicy(origin.Options{Trusted: s.ForwardedAllowIPs, Fields: s.ForwardedHeaders,
		Proxies: s.ProxyAllowIPs, ProxyProtocol: s.ProxyProtocol}); err != nil {
		return nil, err
	}
	l.access.to, l.access.worker = c.AccessLog, s.Number
	if err := l.access.setFormat(s.AccessLogFormat, s.AccessLogExclude); err != nil {
		return nil, err
	}
	l.ready.max = s.Queue
	l.overload.target = int64(s.QueueWait)
	l.spare.off = !s.SpareThread
	l.pools = newPools(s.Pools)
	l.spools = newSpools(s, c.Slot)
	if l.static, err = openStatic(s.Static); err != nil {
		return nil, err
	}
	l.tickDate(time.Now())
	for i := range s.Threads {
		t, err := newThread(i, epfd, &l.limits)
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
	for _, t := range []**Thread{&l.deputy, &l.sweeper} {
		if *t, err = newThread(-1, epfd, &l.limits); err != nil {
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
	monotonicBase  = protocol.Monotonic() - int64(time.Since(monotonicStart))
)

// Next finishes the request that t ran, if any, and says what t does next.
// It is called without the GIL.
func (l *Loop) Next(t *Thread) int {
	l.calls.Add(1)
	if t.conn != nil {
		if l.finish(t) {
			return Run
		}
		if t.Contended != 0 {
			t.Contended = 0
			if what := l.giveWay(t); what != Run {
				return what
			}
		}
	}
	if t.leading {
		t.leading = false
		l.lead(t)
	}
	l.yield(t)
	for {
		c, ev, what := l.pop(t)
		switch what {
		case popReady:
			if l.dequeued(t, c) {
				return Run
			}
		case popEvent:
			if l.event(t, ev) {
				return Run
			}
		case popLead:
			t.leading = true
			return Lead
		case popFollow:
			return Follow
		case popExit:
			return Exit
		case popGarbage:
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
func (l *Loop) giveWay(t *Thread) int {
	if l.average.Load() > quickCall {
		return Yield
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leader != nil || l.exiting || len(l.garbage) > 0 {
		return Run // the other has been and gone: it leads
	}
	l.follow(t)
	return Follow
}

// follow makes t a follower. Loop.mu is held.
func (l *Loop) follow(t *Thread) {
	atomic.StoreUint32(&t.Wake, 0)
	t.parked = true
	l.idle = append(l.idle, t)
}

// NextHeld is Next for a thread that keeps the GIL because getting it has been
// slow: it returns Run or None and never a reason to wait.
func (l *Loop) NextHeld(t *Thread) int {
	l.calls.Add(1)
	if t.conn != nil && l.finish(t) {
		return Run
	}
	polled := false
	for {
		l.mu.Lock()
		c := l.ready.pop(l.slot)
		var ev unix.EpollEvent
		have := false
		if c == nil && l.batchPos < l.batchEnd {
			ev, have = l.batch[l.batchPos], true
			l.batchPos++
			t.arrived = l.batchAt
		}
		free := l.leader == nil
		l.mu.Unlock()
		switch {
		case c != nil:
			if l.dequeued(t, c) {
				return Run
			}
		case have:
			if l.event(t, ev) {
				return Run
			}
		case free && !polled:
			polled = true
			l.poll(t)
		default:
			return None
		}
	}
}

// yield goes through Go's scheduler once in a while. A thread of C's that calls in
// again and again does not; after 10 ms without it sysmon believes that a
// goroutine hogs its P, takes the P away at each of its rounds, and makes a round
// every 20 µs (runtime/proc.go, retake).
func (l *Loop) yield(t *Thread) {
	const often = int64(8 * time.Millisecond)
	if t.seen-t.yielded > often {
		t.yielded = t.seen
		runtime.Gosched()
	}
}

// lead takes what the leader brought from epoll_wait.
func (l *Loop) lead(t *Thread) {
	n := int(t.NEvents)
	t.NEvents = 0
	t.seen = t.Polled
	wake := false
	l.mu.Lock()
	if l.leader == t {
		l.leader = nil
	}
	if n > 0 {
		l.take(t.Events[:n], t.Polled)
		if l.asleep {
			l.asleep, wake = false, true
		}
	}
	l.mu.Unlock()
	if wake {
		l.wakeDeputy()
	}
}

func (l *Loop) wakeDeputy() {
	select {
	case l.deputyWake <- struct{}{}:
	default:
	}
}

// take adds events to the batch. Only one thread leads at a time, and it leads
// only when the batch is empty; but others poll, too, when nobody leads, so room
// is not a given, and the batch grows.
func (l *Loop) take(evs []unix.EpollEvent, at int64) {
	if l.batchPos == l.batchEnd {
		l.batchPos, l.batchEnd = 0, 0
		l.batchAt = at
	}
	for i := range evs {
		if l.batchEnd == len(l.batch) {
			if l.batchPos == 0 {
				l.batch = append(l.batch, make([]unix.EpollEvent, len(l.batch))...)
			}
			copy(l.batch, l.batch[l.batchPos:l.batchEnd])
			l.batchEnd -= l.batchPos
			l.batchPos = 0
		}
		l.batch[l.batchEnd] = evs[i]
		l.batchEnd++
	}
}

type popped int

const (
	popReady popped = iota
	popEvent
	popLead
	popFollow
	popExit
	popGarbage
)

func (l *Loop) pop(t *Thread) (*conn, unix.EpollEvent, popped) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.garbage) > 0 {
		return nil, unix.EpollEvent{}, popGarbage
	}
	// By turns: a client that pipelines without end keeps the queue filled.
	if l.ready.n > 0 && !(l.turn && l.batchPos < l.batchEnd) {
		l.turn = true
		return l.ready.pop(l.slot), unix.EpollEvent{}, popReady
	}
	l.turn = false
	if l.batchPos < l.batchEnd {
		ev := l.batch[l.batchPos]
		l.batchPos++
		t.arrived = l.batchAt
		return nil, ev, popEvent
	}
	if l.exiting {
		return nil, unix.EpollEvent{}, popExit
	}
	if l.leader == nil {
		l.leader = t
		return nil, unix.EpollEvent{}, popLead
	}
	l.follow(t)
	return nil, unix.EpollEvent{}, popFollow
}

// unpark takes the follower that slept last off the list; the caller wakes it.
// Loop.mu is held.
func (l *Loop) unpark() *Thread {
	n := len(l.idle)
	if n == 0 {
		return nil
	}
	t := l.idle[n-1]
	l.idle = l.idle[:n-1]
	t.parked = false
	return t
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
		if h := c.http2.Load(); h != nil {
			h.roomy()
		}
	}
	if !c.claim(hup) {
		return false
	}
	if c.gen.Load() != uint32(ev.Pad) {
		// Closed and taken anew since we looked. Its own events are to come.
		return !c.release() && l.resume(t, c)
	}
	if hup {
		c.hup = true
	}
	if t == l.deputy && l.surplus > 0 && phase(c.phase.Load()) == phaseIdle && l.handOver(c, nil) {
		l.surplus-- // before a byte is read
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
		case phaseStreams:
			return l.receiveFrames(t, c)
		case phaseShaking:
			l.shake(c)
			return false
		case phaseLinger:
			l.lingering(c)
			return false
		case phaseWriting:
			if !l.writeOn(c) {
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
	l.slot.ThreadRecs[t.index].Begin(now, t.Req.Method.In(buf), t.Req.Target.In(buf), t.Remote[:t.RemoteLen])
	l.slot.Gauges.Served.Add(1)
	if l.average.Load() > quickCall {
		l.promote()
	}
	return true
}

// promote wakes a follower to lead, if nobody leads and one is there.
func (l *Loop) promote() {
	l.mu.Lock()
	var f *Thread
	if l.leader == nil {
		f = l.unpark()
	}
	l.mu.Unlock()
	if f != nil {
		f.wake()
	}
}

// nudge makes some thread look at the queue: a follower if one sleeps, else the
// leader. Threads that are away will look when they come back.
func (l *Loop) nudge() {
	l.mu.Lock()
	f := l.unpark()
	poke := f == nil && l.leader != nil
	l.mu.Unlock()
	if f != nil {
		f.wake()
	} else if poke {
		l.poke()
	}
}

// poke makes epoll_wait return.
func (l *Loop) poke() {
	one := [8]byte{1}
	// Fails only when the counter is full, which wakes just as well.
	_, _ = unix.Write(l.wakefd, one[:])
}

// dequeued goes on with a connection from the ready queue.
func (l *Loop) dequeued(t *Thread, c *conn) bool {
	c.via.dequeued()
	if c.in != nil && c.in.queued {
		return l.serveReady(t, c) || t.goesOn() && l.receive(t, c)
	}
	// It had its turn, and gave way to others with more to read; or what there is
	// to read has been left to a Python thread.
	t.pos, t.end, t.arrived = 0, 0, 0
	if c.http2.Load() != nil {
		c.setPhase(phaseStreams, 0)
		return l.receiveFrames(t, c)
	}
	c.setPhase(phaseIdle, l.idleDeadline(l.now()))
	return l.receive(t, c)
}

// enqueue puts an owned connection on the ready queue. It returns false if the
// queue is full.
func (l *Loop) enqueue(c *conn) bool {
	c.setPhase(phaseReady, 0)
	ahead := len(l.cfg.HealthPaths) > 0 && l.asksForHealth(c)
	l.mu.Lock()
	ok := ahead
	if ahead {
		l.ready.unpop(c, l.slot)
	} else {
		ok = l.ready.push(c, l.slot)
	}
	l.mu.Unlock()
	return ok
}

// TakeGarbage moves up to len(dst) objects whose reference is to be dropped to
// dst. The caller holds the GIL and drops them.
func (l *Loop) TakeGarbage(dst []uintptr) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := copy(dst, l.garbage)
	l.garbage = append(l.garbage[:0], l.garbage[n:]...)
	return n
}

// discard leaves a reference to be dropped by a Python thread.
func (l *Loop) discard(ref uintptr) {
	l.mu.Lock()
	l.garbage = append(l.garbage, ref)
	l.mu.Unlock()
	l.nudge()
}

// ring is the ready queue.
type ring struct {
	q    []*conn
	head int
	n    int
	max  int
}

func (r *ring) push(c *conn, s *protocol.Slot) bool {
	if r.n >= r.max { // beyond it by force, or unpop
		return false
	}
	r.force(c, s)
	return true
}

// force is push for what has its place in the queue from before.
func (r *ring) force(c *conn, s *protocol.Slot) {
	if r.n == len(r.q) {
		r.grow()
	}
	r.q[(r.head+r.n)%len(r.q)] = c
	r.n++
	r.publish(s)
}

// take removes the first connection for which ok says so, or returns nil.
func (r *ring) take(ok func(*conn) bool, s *protocol.Slot) *conn {
	at := func(i int) **conn { return &r.q[(r.head+i)%len(r.q)] }
	for i := range r.n {
		c := *at(i)
		if !ok(c) {
			continue
		}
		for ; i > 0; i-- {
			*at(i) = *at(i - 1)
		}
		r.pop(s)
		return c
	}
	return nil
}

// unpop puts c to the front.
func (r *ring) unpop(c *conn, s *protocol.Slot) {
	if r.n == len(r.q) {
		r.grow()
	}
	r.head = (r.head + len(r.q) - 1) % len(r.q)
	r.q[r.head] = c
	r.n++
	r.publish(s)
}

// grow makes room for more.
func (r *ring) grow() {
	q := make([]*conn, max(16, 2*len(r.q)))
	for i := range r.n {
		q[i] = r.q[(r.head+i)%len(r.q)]
	}
	r.q, r.head = q, 0
}

func (r *ring) pop(s *protocol.Slot) *conn {
	if r.n == 0 {
		return nil
	}
	c := r.q[r.head]
	r.q[r.head] = nil
	r.head = (r.head + 1) % len(r.q)
	r.n--
	r.publish(s)
	return c
}

func (r *ring) publish(s *protocol.Slot) {
	s.Gauges.QueueDepth.Store(int64(r.n))
	var oldest int64
	if r.n > 0 && r.q[r.head].in != nil {
		oldest = r.q[r.head].in.arrived
	}
	s.Gauges.QueueOldest.Store(oldest)
}
