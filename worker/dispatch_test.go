package worker

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ask sends n requests with targets of their own over c, some of them pipelined,
// and wants each answered once and in order.
func ask(r *rig, c net.Conn, id, n int, rnd *rand.Rand) error {
	rd := responses(r.t, c)
	for i := 0; i < n; {
		k := min(1+rnd.IntN(3)*rnd.IntN(2), n-i)
		var b strings.Builder
		for j := range k {
			fmt.Fprintf(&b, "GET /%d/%d HTTP/1.1\r\nHost: x\r\n\r\n", id, i+j)
		}
		s := b.String()
		cut := rnd.IntN(len(s))
		if rnd.IntN(3) > 0 {
			cut = 0
		}
		for _, part := range []string{s[:cut], s[cut:]} {
			if _, err := c.Write([]byte(part)); err != nil {
				return err
			}
		}
		for j := range k {
			p, err := rd.read(false)
			if want := fmt.Sprintf("GET /%d/%d ", id, i+j); err != nil || p.body != want {
				return fmt.Errorf("connection %d: got %d %q, %v, want %q", id, p.status, p.body, err, want)
			}
		}
		i += k
	}
	return nil
}

func stress(t *testing.T, threads, conns, requests int, held bool, work func(r *rig, n uint64)) {
	cfg := testConfig()
	cfg.Threads = threads
	var calls atomic.Uint64
	r := newRig(t, cfg, nil)
	r.held = held
	r.app = func(c *call) {
		work(r, calls.Add(1))
		echo(c)
	}
	r.start()
	var wg sync.WaitGroup
	for id := range conns {
		c := r.dial()
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(id), 1))
			if err := ask(r, c, id, requests, rnd); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := calls.Load(); n != uint64(conns*requests) {
		t.Errorf("%d requests made %d calls", conns*requests, n)
	}
	eventually(t, "all are counted", func() bool { // after the answer is out
		return r.slot.Counters.OfClass(1, 2) == uint64(conns*requests)
	})
}

// An event may come at the very moment that its connection is given up.
func TestReleaseAndClaim(t *testing.T) {
	stress(t, 4, 8, 1500, false, func(*rig, uint64) {})
}

func TestNoLostWakeUp(t *testing.T) {
	for _, threads := range []int{1, 2, 5} {
		for _, held := range []bool{false, true} {
			t.Run(fmt.Sprint(threads, held), func(t *testing.T) {
				stress(t, threads, 40, 60, held, func(_ *rig, n uint64) {
					if n%7 == 0 {
						time.Sleep(time.Duration(rand.IntN(4000)) * time.Microsecond)
					}
				})
			})
		}
	}
}

func TestUnderTheGIL(t *testing.T) {
	stress(t, 4, 16, 100, true, func(r *rig, n uint64) {
		r.gil.Lock()
		defer r.gil.Unlock()
		if n%20 == 0 {
			time.Sleep(2 * time.Millisecond) // blocks with the GIL
		}
	})
}

// Threads that step down for others, and threads that wait for others, leave
// nothing lying about.
func TestGivingWay(t *testing.T) {
	var gaveWay atomic.Int64
	for _, d := range []time.Duration{0, 2 * time.Duration(quickCall)} {
		cfg := testConfig()
		cfg.Threads = 4
		r := newRig(t, cfg, nil)
		r.app = func(c *call) {
			if rand.IntN(20) == 0 {
				time.Sleep(2 * time.Millisecond) // the deputy sends another thread
			}
			c.work(d)
			gaveWay.Add(int64(c.t.Contended))
			echo(c)
		}
		r.start()
		var wg sync.WaitGroup
		for id := range 16 {
			c := r.dial()
			wg.Go(func() {
				if err := ask(r, c, id, 150, rand.New(rand.NewPCG(uint64(id), 2))); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	if gaveWay.Load() == 0 {
		t.Error("no thread had to give way")
	}
}

// A worker must not go on believing that all its threads are away, or it would
// never accept again.
func TestNoLongerWedged(t *testing.T) {
	r := newRig(t, testConfig(), nil)
	r.pace.calls.Store(7)
	r.deputy.stepIn() // the thread is on its way back: it has been counted, and does not lead yet
	if !r.pace.wedged.Load() {
		t.Fatal("not wedged with every thread away")
	}
	if _, _, what := r.sched.next(r.Thread(0)); what != choseLead {
		t.Fatal(what)
	}
	r.deputy.stepIn() // no call since
	if r.pace.wedged.Load() {
		t.Error("wedged with a thread at its post")
	}
}

// Where calls are quick the thread that gives way follows, unless another leads.
func TestStepsDown(t *testing.T) {
	cfg := testConfig()
	cfg.Threads = 2
	r := newRig(t, cfg, nil)
	a, b := r.Thread(0), r.Thread(1)
	if got := a.giveWay(); got != Follow || !a.parked {
		t.Errorf("quick calls: %d, parked: %v", got, a.parked)
	}
	if _, _, what := r.sched.next(b); what != choseLead {
		t.Errorf("the other one: %v", what)
	}
	r.sched.wake()
	if got := a.giveWay(); got != Run || a.parked {
		t.Errorf("another leads: %d, parked: %v", got, a.parked)
	}
	r.pace.average.Store(2 * quickCall)
	if got := a.giveWay(); got != Yield || a.parked {
		t.Errorf("slow calls: %d, parked: %v", got, a.parked)
	}
}

// More connections become ready while one thread is away than a batch holds.
func TestMoreEventsThanABatch(t *testing.T) {
	cfg := testConfig()
	cfg.Queue = 1000
	stop := make(chan struct{})
	r := serve(t, cfg, func(c *call) {
		if c.target == "/wait" {
			<-stop
		}
		echo(c)
	})
	n := 4 * maxEvents
	conns := make([]net.Conn, n)
	for i := range conns {
		conns[i] = r.dial()
	}
	w := r.dial()
	send(t, w, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
	for _, c := range conns {
		send(t, c, get)
	}
	eventually(t, "the deputy has read all", func() bool { return r.slot.Gauges.QueueDepth.Load() == int64(n) })
	close(stop)
	for _, c := range conns {
		responses(t, c).want(200, "GET /a ")
	}
}

// With every thread wedged the deputy reads, queues, and answers 503 when the
// queue is full; what was queued is served in the end.
func TestWedged(t *testing.T) {
	cfg := testConfig()
	cfg.Threads, cfg.Queue = 2, 3
	gate := make(chan struct{})
	r := serve(t, cfg, func(c *call) {
		if strings.HasPrefix(c.target, "/wait") {
			<-gate
		}
		echo(c)
	})
	var busy []net.Conn
	for i := range 2 {
		c := r.dial()
		send(t, c, fmt.Sprintf("GET /wait%d HTTP/1.1\r\nHost: x\r\n\r\n", i))
		busy = append(busy, c)
	}
	eventually(t, "both threads are away", func() bool { return r.slot.Gauges.Served.Load() == 2 })
	queued := []net.Conn{r.dial(), r.dial(), r.dial()}
	send(t, queued[0], get+get)
	send(t, queued[1], "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab")
	send(t, queued[2], chunked("hello", 2))
	eventually(t, "the deputy has read and queued", func() bool { return r.slot.Gauges.QueueDepth.Load() == 2 })
	send(t, queued[1], "cde")
	eventually(t, "the body is there", func() bool { return r.slot.Gauges.QueueDepth.Load() == 3 })
	eventually(t, "the loop knows", r.pace.wedged.Load)
	for _, s := range []string{get, "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + pattern(100000)} {
		c := r.dial()
		go func() { _, _ = c.Write([]byte(s)) }()
		rd := responses(t, c)
		if p := rd.want(503, "*"); p.fields["retry-after"] == "" || p.fields["connection"] != "close" {
			t.Errorf("a 503 with %v", p.fields)
		}
		_ = c.Close()
	}
	bad := r.dial()
	send(t, bad, "nonsense\r\n\r\n")
	responses(t, bad).want(400, "*")
	if n := r.slot.Counters.Unavailable.Load(); n != 2 {
		t.Errorf("%d requests counted as shed", n)
	}
	close(gate)
	for i, c := range busy {
		responses(t, c).want(200, fmt.Sprintf("GET /wait%d ", i))
	}
	rd := responses(t, queued[0])
	rd.want(200, "GET /a ")
	rd.want(200, "GET /a ")
	responses(t, queued[1]).want(200, "POST /p abcde")
	responses(t, queued[2]).want(200, "POST /c hello")
	eventually(t, "the loop has recovered", func() bool { return !r.pace.wedged.Load() })
}

// A request that the deputy queues when the only thread has just come back, and
// waits in epoll_wait, is served at once.
func TestQueuedBehindTheLeader(t *testing.T) {
	r := serve(t, testConfig(), echo)
	for range 200 {
		c := r.dial()
		rd := responses(t, c)
		send(t, c, get)
		rd.want(200, "GET /a ")
		eventually(t, "it is at rest", func() bool {
			return r.phases()[phaseIdle] == 1 && r.leads()
		})
		// As the sweeper finds a connection that has something to read.
		var own *conn
		r.conns.each(func(c *conn) {
			if c.phase.Load() == uint32(phaseIdle) && c.claim(false) {
				own = c
			}
		})
		send(t, c, get)
		r.resume(r.keeper.sweeper, own)
		rd.want(200, "GET /a ")
		c.Close()
		eventually(t, "it is closed", func() bool { return r.conns.n.Load() == 0 })
	}
}

func (r *rig) leads() bool {
	r.sched.mu.Lock()
	defer r.sched.mu.Unlock()
	return r.sched.leader != nil
}

// Followers are woken last in, first out.
func TestFollowersAreAStack(t *testing.T) {
	cfg := testConfig()
	cfg.Threads = 4
	r := newRig(t, cfg, nil)
	if r.Next(r.Thread(0)) != Lead {
		t.Fatal("the first does not lead")
	}
	for i := 1; i < 4; i++ {
		if r.Next(r.Thread(i)) != Follow {
			t.Fatalf("thread %d does not follow", i)
		}
	}
	for i := 3; i > 0; i-- {
		r.sched.wake()
		for j := 1; j < 4; j++ {
			if awake := atomic.LoadUint32(&r.Thread(j).Wake) == 1; awake != (j >= i) {
				t.Errorf("after %d wakes thread %d: awake %v", 4-i, j, awake)
			}
		}
	}
}

// While a leader is in a slow call, a follower leads, and the next request does
// not wait, also if it arrives in the moment of the promotion.
func TestPromotion(t *testing.T) {
	cfg := testConfig()
	cfg.Threads = 2
	gate := make(chan struct{}, 1)
	r := serve(t, cfg, func(c *call) {
		if c.target == "/wait" {
			<-gate
		}
		echo(c)
	})
	a, b := r.dial(), r.dial()
	ra, rb := responses(t, a), responses(t, b)
	for i := range 300 {
		r.pace.average.Store([]int64{0, 10 * quickCall}[i%2]) // by the deputy, or by the leader
		send(t, a, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
		time.Sleep(time.Duration(i*7%2500) * time.Microsecond)
		send(t, b, get)
		rb.want(200, "GET /a ")
		gate <- struct{}{}
		ra.want(200, "GET /wait ")
	}
}

// Applications that block lose nothing: all threads get work.
func TestBlockingApplications(t *testing.T) {
	cfg := testConfig()
	cfg.Threads = 8
	var now, peak atomic.Int64
	r := serve(t, cfg, func(c *call) {
		n := now.Add(1)
		for p := peak.Load(); n > p && !peak.CompareAndSwap(p, n); p = peak.Load() {
		}
		time.Sleep(10 * time.Millisecond)
		now.Add(-1)
		echo(c)
	})
	var wg sync.WaitGroup
	for id := range 64 {
		c := r.dial()
		wg.Go(func() {
			if err := ask(r, c, id, 10, rand.New(rand.NewPCG(1, uint64(id)))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if peak.Load() != 8 {
		t.Errorf("at most %d of 8 threads were at work", peak.Load())
	}
}

// An event of a connection that is gone must not touch the one that has its slot
// now.
func TestStaleEvents(t *testing.T) {
	r := newRig(t, testConfig(), nil)
	c1, fd := r.pair()
	r.addTest(fd)
	c := r.conns.at(0)
	old := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLHUP, Fd: 0, Pad: int32(c.gen.Load())}
	if !c.claim(false) {
		t.Fatal("a connection at rest cannot be claimed")
	}
	c.close(r.Loop)
	c1.Close()
	_, fd = r.pair()
	r.addTest(fd)
	if c != r.conns.at(0) || c.fd != fd {
		t.Fatal("the slot is not used again")
	}
	if r.event(r.Thread(0), old) || c.state.Load() != 0 || c.hup || c.phase.Load() != uint32(phaseIdle) {
		t.Error("an old event changed a new connection")
	}
	for _, slot := range []int32{5, 511, 512, 1 << 20} {
		if r.event(r.Thread(0), unix.EpollEvent{Events: unix.EPOLLIN, Fd: slot, Pad: 1}) {
			t.Errorf("an event of slot %d", slot)
		}
	}
}

func TestClaimAndRelease(t *testing.T) {
	var c conn
	c.reset(-1, 0, netip.AddrPort{})
	if !c.claim(true) || c.hup {
		t.Fatal("free, and not claimed")
	}
	if c.claim(false) || c.release() || c.hup || c.state.Load() != stateOwned {
		t.Error("an event during ownership was lost")
	}
	if c.claim(true) || c.claim(false) || c.release() || !c.hup {
		t.Error("the end of file was lost")
	}
	if !c.release() || c.state.Load() != 0 {
		t.Error("not released")
	}
}
