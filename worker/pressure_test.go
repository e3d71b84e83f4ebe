package worker

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"hostler/protocol"
	"hostler/worker/websocket"
)

func (r *rig) evicted() (n [protocol.NumEvictions]uint64) {
	for i := range n {
		n[i] = r.slot.Counters.Evicted[i].Load()
	}
	return n
}

// connect connects by the listener at addr.
func (r *rig) connect(addr string) net.Conn {
	r.t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		r.t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	r.t.Cleanup(func() { c.Close() })
	return c
}

// come connects and asks for something.
func (r *rig) come(addr string) *reader {
	r.t.Helper()
	c := r.connect(addr)
	send(r.t, c, get)
	return responses(r.t, c)
}

// TestMakeRoom: where there are as many connections as may be, one that does nothing
// goes when another wants its place.
func TestMakeRoom(t *testing.T) {
	const limit = 8
	for _, c := range []struct {
		name  string
		begin func(*rig, net.Conn) // what each of those that are there does
		kind  protocol.Eviction
	}{
		{"idle", func(r *rig, c net.Conn) { send(r.t, c, get); responses(r.t, c).want(200, "GET /a ") }, protocol.EvictedIdle},
		{"silent", func(*rig, net.Conn) {}, protocol.EvictedHead},
		{"head", func(r *rig, c net.Conn) { send(r.t, c, get[:20]) }, protocol.EvictedHead},
		{"body", func(r *rig, c net.Conn) {
			send(r.t, c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3000\r\n\r\nabc")
		}, protocol.EvictedBody},
		{"write", func(r *rig, c net.Conn) { send(r.t, c, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n") }, protocol.EvictedWrite},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cfg := testConfig()
			cfg.WorkerConnections = limit
			cfg.HeaderTimeout, cfg.KeepAlive, cfg.BodyTimeout, cfg.WriteTimeout = time.Hour, time.Hour, time.Hour, time.Hour
			cfg.MinRate = 240
			big := pattern(8 << 20)
			r := serve(t, cfg, func(c *call) {
				if c.target == "/big" {
					c.ok(big)
					return
				}
				echo(c)
			})
			addr := r.listen()
			begin := time.Now()
			for range limit {
				c.begin(r, r.connect(addr))
			}
			eventually(t, "it is full", r.full)
			time.Sleep(100 * time.Millisecond) // nobody wants a place yet
			r.come(addr).want(200, "GET /a ")
			least := time.Duration(restEnough)
			if c.kind >= protocol.EvictedBody {
				least = time.Duration(crawlEnough)
			}
			if took := time.Since(begin); took < least-100*time.Millisecond {
				t.Errorf("one had to go after %v", took)
			}
			var want [protocol.NumEvictions]uint64
			want[c.kind] = 1
			if got := r.evicted(); got != want {
				t.Errorf("evicted: %v", got)
			}
		})
	}
}

// Who is at work stays: neither clients that pause for a moment between requests, nor
// such as are served right now, have to go.
func TestMakeRoomKeepsTheBusy(t *testing.T) {
	cfg := testConfig()
	cfg.WorkerConnections = 3
	cfg.Threads = 2
	cfg.KeepAlive = time.Hour
	opened, open := gate(t)
	r := serve(t, cfg, func(c *call) {
		if c.target == "/wait" {
			<-opened
		}
		echo(c)
	})
	t.Cleanup(open)
	addr := r.listen()
	waits := r.connect(addr)
	send(t, waits, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
	idle, busy := r.connect(addr), r.connect(addr)
	send(t, idle, get)
	responses(t, idle).want(200, "GET /a ")
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		rd := responses(t, busy)
		for {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
				if _, err := io.WriteString(busy, get); err != nil {
					t.Error(err)
					return
				}
				if got, err := rd.read(false); err != nil || got.status != 200 {
					t.Error(got.status, err)
					return
				}
			}
		}
	}()
	r.come(addr).want(200, "GET /a ") // in the place of the idle one
	responses(t, idle).wantEnd()
	late := r.come(addr)
	late.want(200, "GET /a ") // in that of the one before, which rests by now
	close(stop)
	<-done
	open()
	responses(t, waits).want(200, "GET /wait ")
	if got := r.evicted(); got != [protocol.NumEvictions]uint64{protocol.EvictedIdle: 2} {
		t.Errorf("evicted: %v", got)
	}
}

// TestLimitBuffers: the slowest go when too much is kept for them; a client that
// takes what it asked for is not touched.
func TestLimitBuffers(t *testing.T) {
	const size = 1 << 20
	big := pattern(size)
	config := func() *protocol.WorkerConfig {
		cfg := cleartextConfig()
		cfg.LimitBuffers = 4 * size
		cfg.WriteTimeout, cfg.BodyTimeout = time.Hour, time.Hour
		return cfg
	}
	app := func(c *call) {
		body, rc := c.all()
		switch {
		case rc != 0:
			c.t.Result |= ResultFailed
		case c.target == "/big":
			c.ok(big)
		default:
			c.ok(fmt.Sprint(len(body)))
		}
	}
	t.Run("responses", func(t *testing.T) {
		t.Parallel()
		r := serve(t, config(), app)
		fast := r.dial()
		fr := responses(t, fast)
		for range 7 {
			send(t, r.dial(), "GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
		}
		for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			send(t, fast, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
			fr.want(200, big)
		}
		eventually(t, "what is kept is within the limit", func() bool { return r.mem.outBytes.Load() <= 4*size })
		if got := r.evicted(); got[protocol.EvictedWrite] < 3 || got[protocol.EvictedWrite] > 5 {
			t.Errorf("evicted: %v", got)
		}
	})
	t.Run("far beyond", func(t *testing.T) { // nobody is given time
		t.Parallel()
		r := serve(t, config(), app)
		for range 40 {
			send(t, r.dial(), "GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
		}
		eventually(t, "what is kept is within twice the limit", func() bool {
			return r.slot.Gauges.Served.Load() == 40 && r.mem.outBytes.Load() <= 8*size
		})
	})
	t.Run("bodies", func(t *testing.T) {
		t.Parallel()
		r := serve(t, config(), app)
		var all []net.Conn
		for range 7 {
			c := r.dial()
			send(t, c, fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", size, big[:size-1]))
			all = append(all, c)
		}
		eventually(t, "some had to go", func() bool { return r.evicted()[protocol.EvictedBody] >= 3 })
		served := 0
		for _, c := range all {
			if _, err := io.WriteString(c, "x"); err != nil {
				continue
			}
			if got, err := responses(t, c).read(false); err == nil && got.status == 200 && got.body == fmt.Sprint(size) {
				served++
			}
		}
		if got := r.evicted(); served < 2 || served+int(got[protocol.EvictedBody]) != len(all) {
			t.Errorf("%d served, evicted: %v", served, got)
		}
	})
	t.Run("declared bodies", func(t *testing.T) { // what has not come yet is no memory
		t.Parallel()
		r := serve(t, config(), app)
		for range 40 {
			send(t, r.dial(), fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\nabc", size))
		}
		eventually(t, "they have been read", func() bool { return r.phases()[phaseBody] == 40 })
		time.Sleep(600 * time.Millisecond) // the housekeeping has looked twice
		if got := r.evicted(); got != [protocol.NumEvictions]uint64{} {
			t.Errorf("evicted: %v", got)
		}
	})
	t.Run("streams", func(t *testing.T) {
		t.Parallel()
		r := serve(t, config(), app)
		client := r.client2()
		var stalled []*http.Response
		for range 7 { // nobody reads; the windows are 4 MB, but the pipe is not
			resp, err := client.Get("http://x/big")
			if err != nil {
				t.Fatal(err)
			}
			stalled = append(stalled, resp)
		}
		_ = stalled
		for range 3 {
			c := r.client2()
			for range 40 {
				resp, err := c.Get("http://x/big")
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { resp.Body.Close() })
			}
		}
		eventually(t, "what is kept is within twice the limit", func() bool {
			return r.slot.Gauges.Served.Load() == 127 && r.mem.outBytes.Load() <= 8*size
		})
		if status, body := fetch2(t, r.client2(), "POST", "/", strings.Repeat("x", 1000)); status != 200 || body != "1000" {
			t.Error(status, body)
		}
	})
}

// TestUnfinishedHeadsAreBuffers: what clients have sent of heads counts as buffered; where
// it is too much those go who send least, and the memory with them.
func TestUnfinishedHeadsAreBuffers(t *testing.T) {
	cfg := testConfig()
	cfg.MinRate, cfg.LimitBuffers = 240, 1<<20
	r := serve(t, cfg, echo)
	head := "GET / HTTP/1.1\r\nHost: x\r\n"
	for i := range 7 {
		head += fmt.Sprintf("X%d: %s\r\n", i, strings.Repeat("a", 8000))
	}
	for range 100 {
		send(t, r.dial(), head)
	}
	eventually(t, "some to go", func() bool { return r.slot.Counters.Evicted[protocol.EvictedHead].Load() >= 80 })
	c := r.dial()
	send(t, c, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
	responses(t, c).want(200, "GET /a ")
	if n := r.mem.inputs.lent.Load(); n > 2<<20 {
		t.Errorf("%d bytes are held for heads", n)
	}
}

// TestUnfinishedMessagesAreBuffers is that for messages of WebSockets.
func TestUnfinishedMessagesAreBuffers(t *testing.T) {
	cfg := socketConfig()
	cfg.MinRate, cfg.LimitBuffers, cfg.WSMaxSize = 240, 4<<20, 1<<20
	r := serveSockets(t, cfg, func(a *socketApp) {
		for {
			if kind, _, _ := a.receive(); kind == websocket.IsClose {
				a.w.Done(websocket.Normal, "")
				return
			}
		}
	})
	first := clientFrame(0x01, strings.Repeat("a", 200_000)) // of a text, which goes on
	var clients []net.Conn
	for range 100 {
		p, _ := open(t, r.dial(), "/", "")
		_, _ = p.Write(first)
		clients = append(clients, p)
	}
	eventually(t, "some to go", func() bool { return r.slot.Counters.Evicted[protocol.EvictedBody].Load() >= 60 })
	eventually(t, "no more to be held than may be", func() bool { return r.mem.streamBytes.Load() <= 4<<20 })
	for _, c := range clients {
		c.Close()
	}
	eventually(t, "what has gone to be counted back", func() bool { return r.mem.streamBytes.Load() == 0 })
}

// TestWaitingMessagesAreBuffers is that for what has been read of a WebSocket behind as many
// messages as may wait for its application.
func TestWaitingMessagesAreBuffers(t *testing.T) {
	takes := make(chan struct{})
	got := make(chan int, 10*(socketMessages+2))
	r := serveSockets(t, socketConfig(), func(a *socketApp) {
		select {
		case <-takes:
		case <-a.r.leave.stop: // it has failed
		}
		for {
			kind, data, _ := a.receive()
			if kind == websocket.IsClose {
				a.w.Done(websocket.Normal, "")
				return
			}
			got <- len(data)
		}
	})
	const last = 20_000
	burst := bytes.Repeat(clientFrame(0x81, ""), socketMessages)
	burst = append(burst, clientFrame(0x81, strings.Repeat("a", last))...)
	var clients []net.Conn
	for range 10 { // of most the burst comes in one piece
		p, _ := open(t, r.dial(), "/", "")
		_, _ = p.Write(burst)
		clients = append(clients, p)
	}
	eventually(t, "what waits to be counted", func() bool { return r.mem.streamBytes.Load() >= last })
	close(takes)
	for n := range 10 * (socketMessages + 1) {
		select {
		case <-got:
		case <-time.After(30 * time.Second):
			t.Fatalf("%d messages have come", n)
		}
	}
	eventually(t, "what has been taken to be counted back", func() bool { return r.mem.streamBytes.Load() == 0 })
	for _, c := range clients {
		c.Close()
	}
}

// TestHTTP2BodiesAreBuffers is that for bodies of HTTP/2 which nobody has read.
func TestHTTP2BodiesAreBuffers(t *testing.T) {
	cfg := cleartextConfig()
	cfg.MinRate, cfg.LimitBuffers = 240, 1<<20
	r := serve(t, cfg, func(c *call) { c.ok("") })
	for range 5 {
		f := r.framer()
		go func() { _, _ = io.Copy(io.Discard, f.conn) }()
		for id := range uint32(4) {
			f.ask(2*id+1, false, "content-length", "1000000")
			for range 10 {
				f.must(f.WriteData(2*id+1, false, make([]byte, 16<<10)))
			}
		}
	}
	eventually(t, "some to go", func() bool { return r.slot.Counters.Evicted[protocol.EvictedBody].Load() >= 10 })
	eventually(t, "what has gone to be counted back", func() bool { return r.mem.streamBytes.Load() == 0 })
	f := r.framer()
	f.ask(1, true)
	f.wantStatus(1, "200")
	// While there is too much, an upload is refused, and can be tried elsewhere.
	r.mem.outBytes.Add(2 << 20)
	defer r.mem.outBytes.Add(-2 << 20)
	f.ask(3, false)
	f.wantReset(3, http2.ErrCodeRefusedStream)
	f.ask(5, true)
	f.wantStatus(5, "200")
}
