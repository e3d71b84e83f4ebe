package worker

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hostler/protocol"
	"hostler/settings"
)

func TestPoolMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"/export", "/export", true},
		{"/export", "/export/", false},
		{"/export", "/expor", false},
		{"/export*", "/export", true},
		{"/export*", "/exports/1/2", true},
		{"/export*", "/expor", false},
		{"/a*/b", "/a/b", true},
		{"/a*/b", "/ax/y/b", true},
		{"/a*/b", "/a/b/c", false},
		{"/ab*b", "/ab", false}, // the two do not overlap
		{"/ab*b", "/abb", true},
		{"/a*b*c", "/a1b2b3c", true},
		{"/a*b*c", "/a1c", false},
		{"/a*b*b", "/ab", false},
		{"*", "", true},
		{"*.csv", "/x/y.csv", true},
		{"*.csv", "/x/y.csv.gz", false},
		{"/a**b", "/ab", true},
	} {
		p := newPools([]settings.Pool{{Pattern: c.pattern}}, 1, new(protocol.Slot))[0]
		if got := p.match([]byte(c.path)); got != c.want {
			t.Errorf("%s of %s: %v", c.path, c.pattern, got)
		}
	}
}

// pooled are settings with a pool for two of four threads.
func pooled() *protocol.WorkerConfig {
	cfg := testConfig()
	cfg.Threads = 4
	cfg.Pools = []settings.Pool{{Name: "slow", Pattern: "/slow*", Threads: 2}}
	return cfg
}

func (r *rig) pool(i int) (busy, depth int64) {
	return r.slot.Pools[i].Busy.Load(), r.slot.Pools[i].Depth.Load()
}

func (r *rig) waitPool(busy, depth int64) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("%d busy, %d waiting", busy, depth), func() bool {
		b, d := r.pool(0)
		return b == busy && d == depth
	})
}

// TestPool: requests of a pool run on so many threads, the others pass them by, and
// those that wait get their turn.
func TestPool(t *testing.T) {
	opened, open := gate(t)
	r := serve(t, pooled(), func(c *call) {
		if strings.HasPrefix(c.target, "/slow") || strings.HasPrefix(c.target, "/%73low") {
			<-opened
		}
		echo(c)
	})
	t.Cleanup(open)
	var slow []*reader
	for i := range 10 {
		c := r.dial()
		slow = append(slow, responses(t, c))
		target := "/slow"
		if i == 3 {
			target = "/%73low" // the path counts, not how it is written
		}
		// With a body, and with another behind it.
		send(t, c, fmt.Sprintf("POST %s?%d HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbodyGET /after HTTP/1.1\r\nHost: x\r\n\r\n", target, i))
		r.waitPool(int64(min(i+1, 2)), int64(max(0, i-1)))
	}
	quick := r.dial()
	rd := responses(t, quick)
	for range 50 {
		send(t, quick, get)
		rd.want(200, "GET /a ")
	}
	if b, d := r.pool(0); b != 2 || d != 8 {
		t.Errorf("%d busy, %d waiting", b, d)
	}
	if n := r.slot.Gauges.QueueDepth.Load(); n != 0 {
		t.Errorf("%d on the ready queue", n)
	}
	open()
	for i, rd := range slow {
		target := "/slow"
		if i == 3 {
			target = "/%73low"
		}
		rd.want(200, fmt.Sprintf("POST %s?%d body", target, i))
		rd.want(200, "GET /after ")
	}
	r.waitPool(0, 0)
}

// TestPoolOrder: who has waited longest is the next, whoever else comes meanwhile.
func TestPoolOrder(t *testing.T) {
	opened, open := gate(t)
	cfg := pooled()
	cfg.Pools[0].Threads = 1 // two at a time could overtake each other
	var mu sync.Mutex
	var order []string
	r := serve(t, cfg, func(c *call) {
		mu.Lock()
		order = append(order, c.target)
		mu.Unlock()
		<-opened
		echo(c)
	})
	t.Cleanup(open)
	var want []string
	var all []*reader
	for i := range 20 {
		c := r.dial()
		all = append(all, responses(t, c))
		want = append(want, fmt.Sprintf("/slow?%d", i))
		send(t, c, "GET "+want[i]+" HTTP/1.1\r\nHost: x\r\n\r\n")
		r.waitPool(1, int64(i))
	}
	open()
	for i, rd := range all {
		rd.want(200, "GET "+want[i]+" ")
	}
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(order, want) {
		t.Errorf("run in the order %v", order)
	}
}

// TestPoolFull: what exceeds the pool's queue gets a 503, and nobody else does.
func TestPoolFull(t *testing.T) {
	opened, open := gate(t)
	cfg := pooled()
	cfg.Queue = 3
	r := serve(t, cfg, func(c *call) {
		if strings.HasPrefix(c.target, "/slow") {
			<-opened
		}
		echo(c)
	})
	t.Cleanup(open)
	var all []*reader
	for i := range 5 {
		c := r.dial()
		all = append(all, responses(t, c))
		send(t, c, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
		r.waitPool(int64(min(i+1, 2)), int64(max(0, i-1)))
	}
	for range 3 {
		c := r.dial()
		send(t, c, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
		rd := responses(t, c)
		if got := rd.want(503, "503 Service Unavailable\n"); got.fields["retry-after"] == "" {
			t.Errorf("no Retry-After: %v", got.fields)
		}
		c = r.dial()
		send(t, c, get)
		responses(t, c).want(200, "GET /a ")
	}
	if n := r.slot.Counters.Unavailable.Load(); n != 3 {
		t.Errorf("%d sent away", n)
	}
	open()
	for _, rd := range all {
		rd.want(200, "GET /slow ")
	}
	r.waitPool(0, 0)
}

// TestPoolBodies waits with bodies that came in pieces, are chunked, or larger than
// what is gathered before the application is called.
func TestPoolBodies(t *testing.T) {
	opened, open := gate(t)
	cfg := pooled()
	cfg.Pools[0].Threads = 1
	r := serve(t, cfg, func(c *call) {
		if c.target == "/slow/first" {
			<-opened
		}
		body, _ := c.all()
		c.ok(fmt.Sprint(len(body), " ", strings.Count(string(body), "x")))
	})
	t.Cleanup(open)
	first := r.dial()
	send(t, first, "GET /slow/first HTTP/1.1\r\nHost: x\r\n\r\n")
	r.waitPool(1, 0)
	big := strings.Repeat("x", 3<<20)
	type waiter struct {
		c    net.Conn
		rest string
		want string
	}
	var waiting []waiter
	for i, w := range []waiter{
		{nil, "POST /slow HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nxxxxx\r\n3\r\nyyy\r\n0\r\n\r\n", "8 5"},
		{nil, "POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + big[:100000], "100000 100000"},
		{nil, fmt.Sprintf("POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", len(big)) + big, fmt.Sprint(len(big), " ", len(big))},
	} {
		w.c = r.dial()
		go func() {
			for b := w.rest; len(b) > 0; { // in pieces
				n := min(len(b), 40000)
				if i < 2 {
					n = min(len(b), 1+len(b)/2)
				}
				if _, err := w.c.Write([]byte(b[:n])); err != nil {
					return
				}
				b = b[n:]
				time.Sleep(time.Millisecond)
			}
			if i != 2 {
				_, _ = w.c.Write([]byte(get))
			}
		}()
		waiting = append(waiting, w)
		r.waitPool(1, int64(i+1))
	}
	open()
	responses(t, first).want(200, "0 0")
	for i, w := range waiting {
		rd := responses(t, w.c)
		rd.want(200, w.want)
		if i != 2 {
			rd.want(200, "0 0")
		}
	}
	r.waitPool(0, 0)
}

// TestPoolStress: never more than the pool has, and no permit is lost.
func TestPoolStress(t *testing.T) {
	cfg := pooled()
	cfg.Pools = append(cfg.Pools, settings.Pool{Name: "rest", Pattern: "*", Threads: 3})
	var slow, rest, most atomic.Int64
	r := serve(t, cfg, func(c *call) {
		n, limit := &rest, int64(3)
		if strings.HasPrefix(c.target, "/slow") {
			n, limit = &slow, 2
		}
		if n.Add(1) > limit {
			most.Add(1)
		}
		time.Sleep(50 * time.Microsecond)
		n.Add(-1)
		echo(c)
	})
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			c := r.dial()
			rd := responses(t, c)
			for k := range 100 {
				target := fmt.Sprintf("/slow?%d", k)
				if (i+k)%3 == 0 {
					target = "/a"
				}
				line := "GET " + target + " HTTP/1.1\r\nHost: x\r\n\r\n"
				send(t, c, line+line)
				rd.want(200, "GET "+target+" ")
				rd.want(200, "GET "+target+" ")
			}
		})
	}
	wg.Wait()
	if n := most.Load(); n > 0 {
		t.Errorf("%d times more than the pool has", n)
	}
	for i := range cfg.Pools {
		eventually(t, "all permits are back", func() bool { b, d := r.pool(i); return b == 0 && d == 0 })
	}
}

// TestPoolMoves: a request that would have to wait for its pool goes to a worker
// with room in that; and one that waits already, when there is room.
func TestPoolMoves(t *testing.T) {
	cfg := pooled()
	cfg.Pools[0].Threads = 1
	opened, open := gate(t)
	opened2, open2 := gate(t)
	fam := family(t, cfg, func(c *call) {
		if c.target == "/slow/first" {
			<-opened
		}
		named("a")(c)
	}, func(c *call) {
		if c.target == "/slow/first" {
			<-opened2
		}
		named("b")(c)
	})
	t.Cleanup(open)
	t.Cleanup(open2)
	a, b := fam[0], fam[1]
	first := a.dial()
	send(t, first, "GET /slow/first HTTP/1.1\r\nHost: x\r\n\r\n")
	a.waitPool(1, 0)
	c := a.dial()
	send(t, c, "POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi")
	responses(t, c).want(200, "b: POST /slow hi")

	b.waitPool(0, 0) // the answer is out before the permit is back
	second := b.dial()
	send(t, second, "GET /slow/first HTTP/1.1\r\nHost: x\r\n\r\n")
	b.waitPool(1, 0)
	c = a.dial()
	send(t, c, "POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nho")
	a.waitPool(1, 1) // nobody has room
	open2()
	responses(t, second).want(200, "b: GET /slow/first ")
	responses(t, c).want(200, "b: POST /slow ho")
	a.waitPool(1, 0)

	b.waitPool(0, 0)
	// A drain gives away what waits behind a request that does not end.
	b.accepts(false)
	c = a.dial()
	send(t, c, "GET /slow/last HTTP/1.1\r\nHost: x\r\n\r\n")
	a.waitPool(1, 1)
	a.Drain(protocol.DrainReplaced, 0)
	responses(t, c).want(200, "b: GET /slow/last ")
	open()
	responses(t, first).want(200, "a: GET /slow/first ")
}
