package worker

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hostler/protocol"
)

// slowRig has three threads, and an application of which /slow is known to be slow:
// it is held for as long as hold, and then waits for the gate that is open at first.
type slowRig struct {
	*rig
	gates   atomic.Pointer[chan struct{}]
	running atomic.Int64 // slow requests
}

func newSlowRig(t *testing.T, hold time.Duration) *slowRig {
	s := new(slowRig)
	opened := make(chan struct{})
	close(opened)
	s.gates.Store(&opened)
	cfg := testConfig()
	cfg.Threads = 3
	cfg.SpareThread = true
	cfg.HealthPaths = []string{"/slow/up"}
	s.rig = serve(t, cfg, func(c *call) {
		if strings.HasPrefix(c.target, "/slow") {
			time.Sleep(time.Duration(slowCall) + time.Millisecond)
			s.running.Add(1)
			<-*s.gates.Load()
			s.running.Add(-1)
		}
		echo(c)
	})
	for _, target := range []string{"/slow/17", "/slow/up"} {
		for range 3 {
			s.ask(target)
		}
	}
	for range 60 {
		s.ask("/a")
	}
	eventually(t, "most requests are quick", s.spare.worth.Load)
	s.hold(6, hold)
	return s
}

// hold has routes known for taking so long, once all that slow requests have told is
// known: that is after their answers.
func (s *slowRig) hold(slow uint64, long time.Duration) {
	s.t.Helper()
	eventually(s.t, "what is known of slow routes", func() bool { return s.spare.slow.Load() >= slow })
	for _, r := range *s.spare.routes.Load() {
		r.took.Store(int64(long))
	}
}

func (s *slowRig) ask(target string) {
	s.t.Helper()
	c := s.dial()
	defer c.Close()
	send(s.t, c, "GET "+target+" HTTP/1.1\r\nHost: x\r\n\r\n")
	responses(s.t, c).want(200, "GET "+target+" ")
}

// block makes n requests to the slow route that do not end before open is called.
func (s *slowRig) block(n int) (all []*reader, open func()) {
	s.t.Helper()
	gate := make(chan struct{})
	s.gates.Store(&gate)
	open = sync.OnceFunc(func() { close(gate) })
	s.t.Cleanup(open)
	for i := range n {
		c := s.dial()
		// A client that goes on without waiting is answered in order all the same.
		send(s.t, c, fmt.Sprintf("POST /slow/%d HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbodyGET /after HTTP/1.1\r\nHost: x\r\n\r\n", i))
		all = append(all, responses(s.t, c))
	}
	return all, open
}

func (s *slowRig) finish(all []*reader) {
	s.t.Helper()
	for i, r := range all {
		r.want(200, fmt.Sprintf("POST /slow/%d body", i))
		r.want(200, "GET /after ")
	}
}

// TestSpareThread: slow requests do not take the last thread, while the others, and
// a health check however slow, have it.
func TestSpareThread(t *testing.T) {
	s := newSlowRig(t, time.Minute)
	for range 3 { // the method is part of the route
		c := s.dial()
		send(t, c, "POST /slow/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
		responses(t, c).want(200, "POST /slow/1 ")
	}
	s.hold(9, time.Minute)
	all, open := s.block(6)
	eventually(t, "four are held", func() bool { return s.sched.waiting.Load() == 4 && s.running.Load() == 2 })
	for range 20 {
		s.ask("/a")
		if n := s.running.Load(); n != 2 {
			t.Fatalf("%d slow requests run", n)
		}
	}
	if n := s.slot.Counters.Held.Load(); n != 4 {
		t.Errorf("%d counted", n)
	}
	c := s.dial()
	send(t, c, "GET /slow/up HTTP/1.1\r\nHost: x\r\n\r\n")
	eventually(t, "the health check runs", func() bool { return s.running.Load() == 3 })
	open()
	s.finish(all)
	responses(t, c).want(200, "GET /slow/up ")
	if n := s.sched.waiting.Load(); n != 0 {
		t.Errorf("%d are held", n)
	}
}

// No request is held for longer than its route takes, even if nothing gets free; nor
// is one that is there when the worker is to leave.
func TestSpareThreadHoldEnds(t *testing.T) {
	for _, how := range []string{"time", "drain", "no quick requests"} {
		t.Run(how, func(t *testing.T) {
			hold := time.Minute
			if how == "time" {
				hold = 100 * time.Millisecond
			}
			s := newSlowRig(t, hold)
			_, route := s.learned("POST", "/slow/0")
			route.took.Store(int64(hold))
			route.recent.Store(surely)
			all, open := s.block(3)
			eventually(t, "one is held", func() bool { return s.slot.Counters.Held.Load() == 1 })
			switch how {
			case "drain":
				s.Drain(protocol.DrainReplaced, 20*time.Second)
			case "no quick requests":
				s.spare.slow.Add(1000)
			}
			eventually(t, "all three run", func() bool { return s.running.Load() == 3 })
			open()
			if how != "drain" {
				s.finish(all)
				return
			}
			for i, r := range all {
				r.want(200, fmt.Sprintf("POST /slow/%d body", i))
			}
			eventually(t, "drained", s.isDrained)
		})
	}
}

func (s *slowRig) learned(method, path string) (known bool, r *route) {
	key := protocol.RouteHash([]byte(method), []byte(path))
	if m := s.spare.routes.Load(); m != nil {
		if r = (*m)[key]; r != nil {
			return r.recent.Load()&surely == surely, r
		}
	}
	return false, s.spare.remember(key)
}

// A route that is slow now and then is not a slow one, and one that is slow no more
// is forgotten.
func TestSpareThreadLearns(t *testing.T) {
	cfg := testConfig()
	cfg.SpareThread = true
	var slow atomic.Bool
	s := &slowRig{rig: serve(t, cfg, func(c *call) {
		if slow.Load() {
			time.Sleep(time.Duration(slowCall) + time.Millisecond)
		}
		echo(c)
	})}
	ask := func(isSlow bool, n int) {
		slow.Store(isSlow)
		for range n {
			s.ask("/a")
		}
		s.ask("/b") // what is learned of a request is learned after its answer is sent
	}
	// Again, since a machine that is busy makes a quick one slow.
	eventually(t, "no quick route is known", func() bool {
		ask(false, 5)
		return s.spare.routes.Load() == nil
	})
	for range 3 {
		ask(true, 2)
		ask(false, 2)
	}
	if known, _ := s.learned("GET", "/a"); known {
		t.Error("known for slow, though it is not always")
	}
	ask(true, 3)
	if known, _ := s.learned("GET", "/a"); !known {
		t.Error("not known for slow")
	}
	ask(false, 1)
	if known, _ := s.learned("GET", "/a"); known {
		t.Error("still known for slow")
	}
	eventually(t, "all routes are forgotten", func() bool {
		ask(false, 10)
		return s.spare.routes.Load() == nil
	})
	slow.Store(true)
	for i := range 2 * knownRoutes {
		s.ask(fmt.Sprintf("/z%dz", i))
	}
	if n := len(*s.spare.routes.Load()); n > knownRoutes {
		t.Errorf("%d routes are known", n)
	}
}

// With a single thread, or where it is not wanted, nothing is held.
func TestSpareThreadOff(t *testing.T) {
	for _, threads := range []int{1, 2} {
		cfg := testConfig()
		cfg.Threads = threads
		cfg.SpareThread = threads == 1
		s := &slowRig{rig: serve(t, cfg, func(c *call) {
			if c.target == "/slow" {
				time.Sleep(time.Duration(slowCall) + time.Millisecond)
			}
			echo(c)
		})}
		for range 5 {
			s.ask("/slow")
			for range 20 {
				s.ask("/a")
			}
		}
		done := make(chan bool)
		for range 4 {
			go func() {
				defer func() { done <- true }()
				c := s.dial()
				send(t, c, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
				responses(t, c).want(200, "GET /slow ")
			}()
		}
		for range 4 {
			<-done
		}
		if n := s.slot.Counters.Held.Load(); n != 0 {
			t.Errorf("%d threads: %d held", threads, n)
		}
	}
}

// TestSpareThreadOfOthers: the threads of other workers count.
func TestSpareThreadOfOthers(t *testing.T) {
	opened, open := gate(t)
	cfg := testConfig()
	cfg.SpareThread = true
	app := func(name string) func(*call) {
		return func(c *call) {
			if c.target == "/slow" {
				<-opened
			}
			named(name)(c)
		}
	}
	fam := family(t, cfg, app("a"), app("b"))
	t.Cleanup(open)
	a, b := fam[0], fam[1]
	for _, r := range fam {
		k := r.spare.remember(protocol.RouteHash([]byte("GET"), []byte("/slow")))
		k.recent.Store(surely)
		k.took.Store(int64(time.Minute))
		c := r.dial()
		rd := responses(t, c)
		eventually(t, "most requests are quick", func() bool { // on a busy machine some are not
			send(t, c, get)
			if got, err := rd.read(false); err != nil || got.status != 200 {
				t.Fatal(got.status, err)
			}
			return r.spare.worth.Load() && r.slot.Gauges.Served.Load() >= 20
		})
	}
	// Whichever of them takes the first: connections move where there is room.
	first := a.dial()
	send(t, first, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
	stuck := func(r *rig) bool { return r.pace.wedged.Load() && r.phases()[phaseRunning] == 1 }
	eventually(t, "one of them is stuck", func() bool { return stuck(a) || stuck(b) })
	free, name := b, "b"
	if stuck(b) {
		free, name = a, "a"
	}
	second, quick := free.dial(), free.dial()
	send(t, second, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
	eventually(t, "it is held", func() bool { return free.sched.waiting.Load() == 1 })
	rd := responses(t, quick)
	for range 10 {
		send(t, quick, get)
		rd.want(200, name+": GET /a ")
	}
	open()
	for _, c := range []net.Conn{first, second} { // by whoever is free then
		if got, err := responses(t, c).read(false); err != nil || got.status != 200 || !strings.HasSuffix(got.body, ": GET /slow ") {
			t.Errorf("%d %q, %v", got.status, got.body, err)
		}
	}
}
