package worker

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"hostler/protocol"
	"hostler/settings"
)

// chaosSched drives a scheduler as a worker does, in an order of its own: threads that
// run requests for a while, others that push, hold, steal and poll, and the deputy.
type chaosSched struct {
	*scheduler
	t *testing.T
	g *protocol.Gauges

	mu      sync.Mutex
	rand    *rand.Rand
	came    map[*conn]int // by how many threads a connection has been run, or thieves taken
	freed   map[uintptr]int
	leaders atomic.Int32
	running []atomic.Int32 // requests with a permit, by pool
}

func newChaosSched(t *testing.T, seed uint64) *chaosSched {
	set, err := newPollSet()
	if err != nil {
		t.Fatal(err)
	}
	slot := new(protocol.Slot)
	c := &chaosSched{scheduler: newScheduler(set, 16, &slot.Gauges), t: t, g: &slot.Gauges, rand: rand.New(rand.NewPCG(seed, seed)),
		came: make(map[*conn]int), freed: make(map[uintptr]int)}
	c.pools = newPools([]settings.Pool{{Pattern: "/a", Threads: 1}, {Pattern: "/b", Threads: 2}}, 8, slot)
	c.running = make([]atomic.Int32, len(c.pools))
	return c
}

func (c *chaosSched) close() {
	unix.Close(c.set.fd)
	unix.Close(c.set.wakefd)
}

func (c *chaosSched) n(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rand.IntN(n)
}

// rest takes a random moment of the bubble's time.
func (c *chaosSched) rest() { time.Sleep(time.Duration(1+c.n(2000)) * time.Microsecond) }

// out notes that a connection has come out of the scheduler.
func (c *chaosSched) out(k *conn, who string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.came[k]++; c.came[k] != 1 {
		c.t.Errorf("a connection has come %d times, at last to a %s", c.came[k], who)
	}
}

// again says that a connection goes back, after it has come out.
func (c *chaosSched) again(k *conn) {
	c.mu.Lock()
	c.came[k]--
	c.mu.Unlock()
}

// drop forgets a connection for which there was no room.
func (c *chaosSched) drop(k *conn) {
	c.mu.Lock()
	c.came[k]++
	c.mu.Unlock()
}

func (c *chaosSched) newConn() *conn {
	k := &conn{in: &input{arrived: 1}}
	c.mu.Lock()
	c.came[k] = 0
	c.mu.Unlock()
	return k
}

// thread is a Python thread.
func (c *chaosSched) thread(t *Thread) {
	for {
		k, ev, what := c.next(t)
		switch what {
		case choseReady, choseEvent:
			c.handle(t, k, ev, what)
			if c.n(8) == 0 {
				c.keepGIL(t)
			}
		case choseLead:
			if n := c.leaders.Add(1); n != 1 {
				c.t.Errorf("%d threads lead", n)
			}
			n := 0
			for n == 0 { // epoll_wait(2), in the bubble's time
				n = c.set.poll(t.Events[:])
				time.Sleep(200 * time.Microsecond)
			}
			c.leaders.Add(-1)
			c.led(t, t.Events[:n], time.Now().UnixNano())
		case choseFollow:
			for atomic.LoadUint32(&t.Wake) == 0 {
				time.Sleep(200 * time.Microsecond)
			}
		case choseGarbage:
			var refs [3]uintptr
			for _, ref := range refs[:c.takeGarbage(refs[:])] {
				c.mu.Lock()
				c.freed[ref]++
				c.mu.Unlock()
			}
		case choseExit:
			return
		}
	}
}

// keepGIL goes on as a thread does that looks for more, but does not wait.
func (c *chaosSched) keepGIL(t *Thread) {
	for polled := false; ; {
		k, ev, what := c.atOnce(t)
		switch {
		case what == choseReady || what == choseEvent:
			c.handle(t, k, ev, what)
		case what == choseLead && !polled:
			polled = true
			c.look(t)
		default:
			return
		}
	}
}

// look polls the set where nobody leads.
func (c *chaosSched) look(t *Thread) {
	if n := c.set.poll(t.Events[:]); n > 0 {
		c.bring(t.Events[:n], time.Now().UnixNano())
	}
}

// handle runs a request, of one pool or none, unless it has to wait first.
func (c *chaosSched) handle(t *Thread, k *conn, ev unix.EpollEvent, what chosen) {
	if what == choseEvent {
		if ev.Fd == -1 {
			return
		}
		if k = c.newConn(); c.n(2) == 0 { // it brings a request, which is run at once, or not
			if !c.push(k, atEnd) {
				c.drop(k)
			}
			return
		}
	}
	c.out(k, "thread")
	p := c.n(len(c.pools) + 2)
	w := k.in.pass
	if k.in.pass = nil; w == nil && !k.in.held {
		switch {
		case p < len(c.pools):
			if w = &c.pools[p].lane; !c.acquire(w) {
				c.again(k)
				if !c.wait(w, k, false) {
					c.drop(k)
				}
				return
			}
		case p == len(c.pools):
			c.again(k)
			k.in.held = true
			c.hold(k)
			return
		}
	}
	c.run(w)
	switch c.n(12) { // its permit is another's now

	case 0:
		c.again(k) // its client pipelines
		k.in.held = false
		if ok, look := c.giveWay(k, atEnd); !ok {
			c.drop(k)
		} else if look {
			c.look(t)
		}
	case 1:
		if c.stepDown(t) {
			for atomic.LoadUint32(&t.Wake) == 0 {
				time.Sleep(200 * time.Microsecond)
			}
		}
	}
}

// run is a request, which has a permit of w's; nil: it needs none.
func (c *chaosSched) run(w *lane) {
	for i, q := range c.pools {
		if w == &q.lane {
			if n := c.running[i].Add(1); int(n) > q.permits {
				c.t.Errorf("%d requests of a pool with %d permits run", n, q.permits)
			}
			defer c.done(w)
			defer c.running[i].Add(-1)
		}
	}
	if c.n(3) == 0 {
		c.promote()
	}
	c.rest()
}

// thief takes what waits and gives some of it back, as a hand-over that fails does.
func (c *chaosSched) thief() {
	lanes := []*lane{&c.ready, &c.pools[0].lane, &c.pools[1].lane}
	i := c.n(len(lanes))
	k := c.steal(lanes[i], func(k *conn) bool { return k.in.pass == nil })
	if k == nil {
		return
	}
	c.out(k, "thief")
	if c.n(2) == 0 {
		c.again(k)
		if i == 0 {
			c.push(k, atFront)
		} else {
			c.wait(lanes[i], k, true)
		}
	}
}

// deputy is what runs beside the threads, until the channel is closed.
func (c *chaosSched) deputy(stop <-chan struct{}) {
	t := &Thread{Task: new(Task), index: -1}
	for still := 0; ; still++ {
		sleep, _ := c.scheduler.rest(still > 3)
		if sleep {
			select {
			case <-c.deputyWake:
				still = 0
			case <-stop:
				return
			}
		}
		time.Sleep(time.Millisecond)
		select {
		case <-stop:
			return
		default:
		}
		c.sendUnsent()
		if c.waiting.Load() > 0 {
			c.letGo(func(*conn) bool { return c.n(4) == 0 })
		}
		if c.stir() {
			c.look(t)
			for ev, ok := c.event(t); ok; ev, ok = c.event(t) {
				if ev.Fd != -1 {
					if k := c.newConn(); !c.push(k, anyway) {
						c.t.Error("no room for what has its place")
					}
				}
			}
		}
	}
}

// late is a sender that counts how often it has sent.
type late struct{ sent atomic.Int32 }

func (l *late) sendNow() { l.sent.Add(1) }

// TestSchedulerInvariants: whatever the order of events, a connection comes out of the
// lanes once, at most one thread leads, no pool runs more than it may, nobody is
// forgotten, and in the end the threads leave.
func TestSchedulerInvariants(t *testing.T) {
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) { schedule(t, seed) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func schedule(t *testing.T, seed uint64) {
	c := newChaosSched(t, seed)
	defer c.close()
	threads := 1 + c.n(4)
	var wg, deputy sync.WaitGroup
	for i := range threads {
		wg.Go(func() { c.thread(&Thread{Task: new(Task), index: i}) })
	}
	stop := make(chan struct{})
	deputy.Go(func() { c.deputy(stop) })
	var clients sync.WaitGroup
	var refs atomic.Int64
	unsent := new(late)
	sent := 0
	for range 3 {
		clients.Go(func() {
			for range 60 {
				switch c.n(8) {
				case 3:
					c.use(1 + c.n(threads))
				case 0:
					c.discard(uintptr(refs.Add(1)))
				case 1:
					c.thief()
				case 2:
					c.bring([]unix.EpollEvent{{Fd: 7}}, 1)
					c.wake()
				default:
					if k := c.newConn(); !c.push(k, place(c.n(3))) {
						c.drop(k)
					}
				}
				c.rest()
			}
		})
	}
	for range 10 {
		c.sendLater(unsent)
		sent++
		c.rest()
	}
	clients.Wait()
	c.use(1 + c.n(threads))
	// Everybody gets what is there, and comes to rest.
	time.Sleep(time.Second)
	c.scheduler.mu.Lock()
	for name, n := range map[string]int{"ready": c.ready.n, "held": c.held.n, "a": c.pools[0].n, "b": c.pools[1].n, "permits": c.pools[0].busy + c.pools[1].busy,
		"batch": c.batch.end - c.batch.pos, "garbage": len(c.garbage), "unsent": len(c.unsent)} {
		if n != 0 {
			t.Errorf("%s: %d are left", name, n)
		}
	}
	if c.leader == nil || len(c.idle) != threads-1 || slices.ContainsFunc(c.idle, func(t *Thread) bool { return !t.parked }) {
		t.Errorf("of %d threads %d follow, with a leader: %v", threads, len(c.idle), c.leader != nil)
	}
	if !c.asleep {
		t.Error("the deputy does not rest")
	}
	c.scheduler.mu.Unlock()
	if d, o := c.g.QueueDepth.Load(), c.g.QueueOldest.Load(); d != 0 || o != 0 || c.waiting.Load() != 0 {
		t.Errorf("the gauges show a depth of %d, an age of %d and %d held", d, o, c.waiting.Load())
	}
	for k, n := range c.came {
		if n != 1 {
			t.Errorf("a connection (held: %v) has come out %d times", k.in.held, n)
		}
	}
	if len(c.freed) != int(refs.Load()) {
		t.Errorf("%d of %d references have been dropped", len(c.freed), refs.Load())
	}
	for ref, n := range c.freed {
		if n != 1 {
			t.Errorf("reference %d has been dropped %d times", ref, n)
		}
	}
	if n := unsent.sent.Load(); n != int32(sent) {
		t.Errorf("%d of %d have been sent", n, sent)
	}
	c.exit()
	wg.Wait()
	close(stop)
	deputy.Wait()
}

// TestLanesKeepOrder: permits go to those that have waited longest, and what has waited
// is before those that come then.
func TestLanesKeepOrder(t *testing.T) {
	c := newChaosSched(t, 1)
	defer c.close()
	w := &c.pools[0].lane
	if !c.acquire(w) || c.acquire(w) {
		t.Fatal("not one permit")
	}
	var conns []*conn
	for range 8 {
		k := c.newConn()
		conns = append(conns, k)
		if !c.wait(w, k, false) {
			t.Fatal("no room")
		}
	}
	if c.wait(w, c.newConn(), false) {
		t.Error("room for one more than may wait")
	}
	th := &Thread{Task: new(Task)}
	for i, want := range conns {
		c.done(w)
		if !c.push(c.newConn(), atEnd) {
			t.Fatal("the ready lane is full")
		}
		got, _, what := c.next(th)
		if what != choseReady || got != want || got.in.pass != w {
			t.Fatalf("%d: another one", i)
		}
		if c.next(th); w.busy != 1 {
			t.Fatalf("%d permits are given out", w.busy)
		}
	}
	if c.done(w); w.busy != 0 {
		t.Errorf("%d permits are given out", w.busy)
	}
}

// TestLaneAndBatchTakeTurns: neither what waits nor what is new starves the other.
func TestLaneAndBatchTakeTurns(t *testing.T) {
	c := newChaosSched(t, 1)
	defer c.close()
	c.bring(make([]unix.EpollEvent, 3), 1)
	for range 3 {
		c.push(c.newConn(), atEnd)
	}
	th := &Thread{Task: new(Task)}
	for i := range 6 {
		if _, _, what := c.next(th); what != []chosen{choseReady, choseEvent}[i%2] {
			t.Errorf("the %d. is %v", i+1, what)
		}
	}
	if _, _, what := c.next(th); what != choseLead {
		t.Error(what)
	}
}
