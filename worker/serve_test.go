package worker

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"hostler/protocol"
)

func TestKeepAliveAndPipelining(t *testing.T) {
	r := serve(t, testConfig(), echo)
	c := r.dial()
	rd := responses(t, c)
	for i := range 5 {
		send(t, c, fmt.Sprintf("GET /%d HTTP/1.1\r\nHost: x\r\n\r\n", i))
		rd.want(200, fmt.Sprintf("GET /%d ", i))
	}
	var b strings.Builder
	for i := range 200 {
		fmt.Fprintf(&b, "POST /%d HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", i)
	}
	send(t, c, b.String())
	for i := range 200 {
		rd.want(200, fmt.Sprintf("POST /%d abc", i))
	}
}

// A client that pipelines without end must not starve another one.
func TestPipeliningIsFair(t *testing.T) {
	order := make(chan string, 10000)
	gate := make(chan struct{})
	r := serve(t, testConfig(), func(c *call) {
		if c.target == "/gate" {
			<-gate
		}
		order <- c.target
		c.ok("x")
	})
	g, a, b := r.dial(), r.dial(), r.dial()
	send(t, g, "GET /gate HTTP/1.1\r\nHost: x\r\n\r\n")
	eventually(t, "the gate is reached", func() bool { return r.slot.Gauges.Served.Load() == 1 })
	send(t, a, strings.Repeat("GET /many HTTP/1.1\r\nHost: x\r\n\r\n", 300))
	send(t, b, "GET /one HTTP/1.1\r\nHost: x\r\n\r\n")
	close(gate)
	responses(t, b).want(200, "x")
	rd := responses(t, a)
	for range 300 {
		rd.want(200, "x")
	}
	before := 0
	for s := range order {
		if s == "/one" {
			break
		}
		before++
	}
	if before > maxInARow+2 {
		t.Errorf("%d requests of one client went before another's", before)
	}
}

// A connection that gave way, and had nothing more to read after all, is at
// rest again, not forgotten.
func TestGivingWayWithNothingLeft(t *testing.T) {
	r := serve(t, testConfig(), echo)
	for _, extra := range []int{0, 1, 7} {
		c := r.dial()
		rd := responses(t, c)
		n := maxInARow
		one := "GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
		// The last of them comes in two parts, so that it is gathered.
		all := strings.Repeat(one, n+extra)
		send(t, c, all[:len(all)-5])
		for range n + extra - 1 {
			rd.want(200, "GET /a ")
		}
		send(t, c, all[len(all)-5:])
		rd.want(200, "GET /a ")
		for range 3 {
			send(t, c, one)
			rd.want(200, "GET /a ")
		}
	}
	// A body that was gathered leaves the thread in doubt whether there is more.
	c := r.dial()
	rd := responses(t, c)
	big := "POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n" + strings.Repeat("z", 70000)
	go func() { _, _ = c.Write([]byte(strings.Repeat(big, 2*maxInARow))) }()
	for range 2 * maxInARow {
		rd.want(200, "*")
	}
	send(t, c, get)
	rd.want(200, "GET /a ")
	eventually(t, "the connection is at rest", func() bool { return r.phases()[phaseIdle] == 4 })
}

func (r *rig) phases() (n [numPhases]int) {
	r.conns.each(func(c *conn) { n[c.phase.Load()]++ })
	return n
}

func TestPartialHeadsAtEveryByte(t *testing.T) {
	r := serve(t, testConfig(), echo)
	c := r.dial()
	rd := responses(t, c)
	for _, req := range []string{
		"POST /p?q HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody",
		"POST /p?q HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n",
	} {
		for i := 1; i < len(req); i++ {
			bytesIn := r.slot.Counters.ReceivedBytes.Load()
			send(t, c, req[:i])
			eventually(t, "the first part is read", func() bool { return r.slot.Counters.ReceivedBytes.Load() == bytesIn+uint64(i) })
			send(t, c, req[i:])
			rd.want(200, "POST /p?q body")
		}
		for i := range len(req) {
			send(t, c, req[i:i+1])
		}
		rd.want(200, "POST /p?q body")
	}
}

func TestBodySizesAroundInputClasses(t *testing.T) {
	r := serve(t, testConfig(), echo)
	head := "POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: %7d\r\n\r\n"
	hl := len(fmt.Sprintf(head, 0))
	sizes := []int{0, 1, bodyBuffer - 1, bodyBuffer, bodyBuffer + 1, bodyBuffer + inBufferSize + 1, 3 << 20}
	for _, k := range append(inputClasses[:len(inputClasses):len(inputClasses)], inBufferSize) {
		for d := -1; d <= 1; d++ {
			sizes = append(sizes, k-hl+d, k+d)
		}
	}
	c := r.dial()
	rd := responses(t, c)
	for _, n := range sizes {
		body := pattern(n)
		// The next request follows at once: it must neither be eaten nor lost.
		go func() { _, _ = c.Write([]byte(fmt.Sprintf(head, n) + body + get)) }()
		rd.want(200, "POST /b "+body)
		rd.want(200, "GET /a ")
	}
}

func pattern(n int) string {
	b := make([]byte, 0, n+20)
	for i := int64(0); len(b) < n; i++ {
		b = append(strconv.AppendInt(b, i, 16), ',')
	}
	return string(b[:n])
}

func chunked(body string, size int) string {
	var b strings.Builder
	b.WriteString("POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
	for len(body) > 0 {
		n := min(size, len(body))
		fmt.Fprintf(&b, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	return b.String() + "0\r\n\r\n"
}

func TestChunkedBodies(t *testing.T) {
	r := serve(t, testConfig(), echo)
	c := r.dialTCP()
	rd := responses(t, c)
	for _, n := range []int{0, 1, 4000, 60000, 80 << 10, 200000, bodyBuffer - 1, bodyBuffer, bodyBuffer + 70000, 3 << 20} {
		for _, size := range []int{100, 5000, 1 << 22} {
			if size == 100 && n > 300000 {
				continue
			}
			body := pattern(n)
			go func() { _, _ = c.Write([]byte(chunked(body, size) + get)) }()
			rd.want(200, "POST /c "+body)
			rd.want(200, "GET /a ")
		}
	}
}

// What follows a chunked body in one read may be longer than a thread's buffer.
func TestManyPipelinedBehindChunked(t *testing.T) {
	r := newRig(t, testConfig(), echo)
	c, fd := r.pair()
	one := "GET /" + strings.Repeat("p", 4000) + " HTTP/1.1\r\nHost: x\r\n\r\n"
	_ = setBuffers(fd, 4<<20)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = c.Write([]byte(chunked(pattern(90000), 1<<20) + strings.Repeat(one, 100)))
	}()
	time.Sleep(20 * time.Millisecond) // so that much is there at once; it is right without, too
	r.addTest(fd)
	r.start()
	rd := responses(t, c)
	rd.want(200, "POST /c "+pattern(90000))
	for range 100 {
		rd.want(200, "*")
	}
	<-sent
}

func TestExpect(t *testing.T) {
	r := serve(t, testConfig(), echo)
	c := r.dial()
	rd := responses(t, c)
	head := "POST /e HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
	for range 2 {
		send(t, c, head)
		rd.want(100, "")
		send(t, c, "body")
		rd.want(200, "POST /e body")
	}
	send(t, c, head[:30]) // the head in parts
	time.Sleep(5 * time.Millisecond)
	send(t, c, head[30:])
	rd.want(100, "")
	send(t, c, "body")
	rd.want(200, "POST /e body")
	send(t, c, head+"body") // did not wait
	rd.want(200, "POST /e body")
	send(t, c, strings.Replace(head, "Content-Length: 4", "Transfer-Encoding: chunked", 1))
	rd.want(100, "")
	send(t, c, "4\r\nbody\r\n0\r\n\r\n")
	rd.want(200, "POST /e body")
}

func TestHTTP10AndHead(t *testing.T) {
	r := serve(t, testConfig(), func(c *call) {
		c.head("200 OK")
		c.write([]byte("hello "), false)
		c.write([]byte("world"), false)
	})
	c := r.dial()
	rd := responses(t, c)
	send(t, c, "HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n"+get)
	if p, err := rd.read(true); err != nil || p.status != 200 {
		t.Fatal(p, err)
	}
	if p := rd.want(200, "hello world"); p.fields["transfer-encoding"] != "chunked" {
		t.Errorf("unknown length, not chunked: %v", p.fields)
	}
	send(t, c, "GET /a HTTP/1.0\r\n\r\n")
	if p := rd.want(200, "hello world"); p.fields["transfer-encoding"] != "" || p.fields["connection"] != "close" {
		t.Errorf("to HTTP/1.0: %v", p.fields)
	}
	rd.wantEnd()
	r = serve(t, testConfig(), func(c *call) { c.ok("x") })
	c = r.dial()
	rd = responses(t, c)
	for range 2 {
		send(t, c, "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
		if p := rd.want(200, "x"); !strings.EqualFold(p.fields["connection"], "keep-alive") {
			t.Errorf("keep-alive of HTTP/1.0: %v", p.fields)
		}
	}
}

func TestErrorReplies(t *testing.T) {
	cfg := testConfig()
	cfg.LimitRequestBody = 10
	r := serve(t, cfg, echo)
	for req, status := range map[string]int{
		"GET /a HTTP/1.1\r\n\r\n":                                                                             400,
		"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n":                                           413,
		"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n\r\n":      413,
		"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n":                             400,
		"CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n":                                                           405,
		"GET /" + strings.Repeat("a", 9000) + " HTTP/1.1\r\nHost: x\r\n\r\n":                                  414,
		"GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", 9000) + "\r\n\r\n":                           431,
		"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nJUNK": 400,
	} {
		c := r.dial()
		send(t, c, req)
		rd := responses(t, c)
		if p := rd.want(status, "*"); p.fields["connection"] != "close" {
			t.Errorf("%.40q: the close is not announced: %v", req, p.fields)
		}
		rd.wantEnd()
		c.Close()
	}
	eventually(t, "all are closed", func() bool { return r.conns.n.Load() == 0 })
}

// The answer to an upload that is refused reaches a client that goes on sending.
func TestLinger(t *testing.T) {
	cfg := testConfig()
	cfg.LimitRequestBody = 10
	r := serve(t, cfg, echo)
	c := r.dialTCP()
	send(t, c, "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n")
	go func() {
		for range 40 {
			if _, err := c.Write(make([]byte, 100000)); err != nil {
				return
			}
		}
		_ = c.CloseWrite()
	}()
	rd := responses(t, c)
	time.Sleep(50 * time.Millisecond)
	rd.want(413, "*")
	rd.wantEnd()
	eventually(t, "it is closed", func() bool { return r.conns.n.Load() == 0 })
}

// A client that floods a connection which is closed neither keeps a thread nor
// the connection.
func TestLingerWithAFlood(t *testing.T) {
	cfg := testConfig()
	cfg.LimitRequestBody = 10
	cfg.Threads = 2
	r := serve(t, cfg, echo)
	c := r.dialTCP()
	send(t, c, "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n")
	flood := make(chan struct{})
	go func() {
		defer close(flood)
		b := make([]byte, 64<<10)
		for {
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	}()
	other := r.dial()
	rd := responses(t, other)
	for range 50 {
		send(t, other, get)
		rd.want(200, "GET /a ")
	}
	<-flood
	eventually(t, "it is closed", func() bool { return r.conns.n.Load() == 1 })
}

func TestHalfClose(t *testing.T) {
	r := serve(t, testConfig(), echo)
	c := r.dialTCP()
	send(t, c, get+get)
	_ = c.CloseWrite()
	rd := responses(t, c)
	rd.want(200, "GET /a ")
	rd.want(200, "GET /a ")
	rd.wantEnd()

	c = r.dialTCP() // in the middle of a body: an error to the client
	send(t, c, "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
	_ = c.CloseWrite()
	rd = responses(t, c)
	rd.want(400, "*")
	rd.wantEnd()

	c = r.dialTCP() // in the middle of a head: nothing was asked
	send(t, c, "POST /a HT")
	_ = c.CloseWrite()
	responses(t, c).wantEnd()
	eventually(t, "all are closed", func() bool { return r.conns.n.Load() == 0 })
}

func TestResets(t *testing.T) {
	gate := make(chan struct{})
	cfg := testConfig()
	cfg.Threads = 2
	r := serve(t, cfg, func(c *call) {
		switch c.target {
		case "/wait":
			<-gate
			c.ok("late")
		case "/big":
			c.head("200 OK")
			for range 100 {
				if c.write(make([]byte, 1<<20), false) == WriteGone {
					return
				}
			}
			t.Error("100 MB went to nobody")
		case "/body":
			if _, rc := c.all(); rc != ReadBroken {
				t.Errorf("the rest of a body whose sender has gone: %d", rc)
			}
			c.ok("x")
		}
	})
	for _, s := range []string{
		"", "GET ", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
		"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n", "GET /big HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 1048586\r\n\r\n" + pattern(bodyBuffer),
		"GET / HTTP/1.1\r\n\r\n",
	} {
		c := r.dialTCP()
		in := r.slot.Counters.ReceivedBytes.Load()
		send(t, c, s)
		eventually(t, "it is read", func() bool { return r.slot.Counters.ReceivedBytes.Load() == in+uint64(len(s)) })
		time.Sleep(5 * time.Millisecond)
		_ = c.SetLinger(0)
		c.Close()
		if strings.Contains(s, "/wait") {
			close(gate)
		}
		eventually(t, fmt.Sprintf("closed after %.20q", s), func() bool { return r.conns.n.Load() == 0 })
	}
}

func TestTimeouts(t *testing.T) {
	cfg := testConfig()
	cfg.KeepAlive, cfg.HeaderTimeout = 100*time.Millisecond, 300*time.Millisecond
	cfg.BodyTimeout, cfg.WriteTimeout = 600*time.Millisecond, 100*time.Millisecond
	r := serve(t, cfg, func(c *call) {
		if c.target == "/big" {
			c.head("200 OK")
			c.write(make([]byte, 20<<20), true)
			return
		}
		if _, rc := c.all(); rc != 0 {
			c.t.Result |= ResultFailed
			return
		}
		c.ok("x")
	})
	count := func(k protocol.TimeoutKind) uint64 { return r.slot.Counters.Timeouts[k].Load() }

	c := r.dial() // never says a word
	responses(t, c).wantEnd()
	if count(protocol.TimeoutHead) != 1 {
		t.Error("the silent connection was not counted")
	}
	c = r.dial() // idle after a request
	send(t, c, get)
	rd := responses(t, c)
	rd.want(200, "x")
	rd.wantEnd()
	if count(protocol.TimeoutIdle) != 1 {
		t.Error("the idle connection was not counted")
	}

	c = r.dial() // a slowloris: each byte of the head in time, all of it not
	began := time.Now()
	stop := make(chan struct{})
	send(t, c, "GET / HTTP/1.1\r\nHost: x\r\nX: ")
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				if _, err := c.Write([]byte("a")); err != nil {
					return
				}
			}
		}
	}()
	rd = responses(t, c)
	rd.want(408, "*")
	close(stop)
	if d := time.Since(began); d < 300*time.Millisecond {
		t.Errorf("too soon: %v", d)
	}
	c.Close()

	c = r.dial() // a body that stops; one that trickles goes on
	send(t, c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\n")
	for range 9 {
		time.Sleep(100 * time.Millisecond)
		send(t, c, "b")
	}
	if count(protocol.TimeoutBody) != 0 {
		t.Error("a body that gets on ran into its time limit")
	}
	responses(t, c).want(408, "*")
	if count(protocol.TimeoutBody) != 1 {
		t.Error("the body was not counted")
	}
	c.Close()

	large := pattern(bodyBuffer)
	c = r.dial() // a large body that stops, with the application in it
	send(t, c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1100000\r\n\r\n"+large)
	responses(t, c).want(500, "*")

	c = r.dial() // takes nothing of its response
	send(t, c, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
	eventually(t, "the write timed out", func() bool { return count(protocol.TimeoutWrite) == 1 })
	eventually(t, "all are closed", func() bool { return r.conns.n.Load() == 0 })
}

// TestLateSweep stops the process, so to speak, for longer than the time limits: what
// has arrived meanwhile is answered all the same.
func TestLateSweep(t *testing.T) {
	cfg := testConfig()
	cfg.KeepAlive, cfg.HeaderTimeout = time.Millisecond, time.Millisecond
	r := newRig(t, cfg, func(c *call) { c.ok("x") })
	whole, half := r.dial(), r.dial()
	send(t, whole, get)
	send(t, half, get[:10])
	time.Sleep(20 * time.Millisecond)
	r.keeper.sweep()
	send(t, half, get[10:])
	time.Sleep(20 * time.Millisecond)
	r.keeper.sweep()
	r.start()
	responses(t, whole).want(200, "x")
	responses(t, half).want(200, "x")
}
