package worker

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"golang.org/x/sys/unix"

	"hostler/protocol"
)

func cleartextConfig() *protocol.WorkerConfig {
	cfg := testConfig()
	cfg.HTTP2Cleartext = true
	return cfg
}

// client2 is a well-behaved client of HTTP/2 with one connection.
func (r *rig) client2() *http.Client {
	t := &http.Transport{DisableCompression: true, Protocols: new(http.Protocols),
		DialContext: func(context.Context, string, string) (net.Conn, error) { return r.dial(), nil }}
	t.Protocols.SetUnencryptedHTTP2(true)
	r.t.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t, Timeout: 30 * time.Second}
}

func fetch2(t testing.TB, c *http.Client, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, "http://x"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.ProtoMajor != 2 {
		t.Fatalf("%s", resp.Proto)
	}
	return resp.StatusCode, string(b)
}

func TestHTTP2Bodies(t *testing.T) {
	r := serve(t, cleartextConfig(), echo)
	c := r.client2()
	for _, n := range []int{0, 1, 1000, 16 << 10, http2Window, http2Window + 1, bodyBuffer - 1, bodyBuffer, bodyBuffer + 1, 3 * bodyBuffer} {
		body := strings.Repeat("0123456789abcdef", n/16+1)[:n]
		if status, got := fetch2(t, c, "POST", "/a?b=c", body); status != 200 || got != "POST /a?b=c "+body {
			t.Fatalf("%d bytes: %d, %d bytes back", n, status, len(got))
		}
		// Without a length.
		pr, pw := io.Pipe()
		go func() {
			for s := body; ; s = s[min(len(s), 70000):] {
				_, _ = pw.Write([]byte(s[:min(len(s), 70000)]))
				if len(s) <= 70000 {
					break
				}
			}
			pw.Close()
		}()
		req, _ := http.NewRequest("PUT", "http://x/", pr)
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		if resp.Body.Close(); err != nil || string(got) != "PUT / "+body {
			t.Fatalf("%d bytes without a length: %v, %d bytes back", n, err, len(got))
		}
	}
	if n := r.slot.Counters.OfClass(4, 2) + r.slot.Counters.OfClass(3, 2); n != 20 {
		t.Errorf("%d requests counted", n)
	}
}

// TestHTTP2Concurrent runs requests of one connection side by side on all threads.
func TestHTTP2Concurrent(t *testing.T) {
	cfg := cleartextConfig()
	cfg.Threads = 4
	var running, most atomic.Int64
	r := serve(t, cfg, func(c *call) {
		n := running.Add(1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		time.Sleep(10 * time.Millisecond)
		running.Add(-1)
		c.ok(c.target)
	})
	c := r.client2()
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			path := fmt.Sprintf("/%d", i)
			if status, got := fetch2(t, c, "GET", path, ""); status != 200 || got != path {
				t.Errorf("%s: %d %q", path, status, got)
			}
		})
	}
	wg.Wait()
	if most.Load() != 4 {
		t.Errorf("%d requests at a time on 4 threads", most.Load())
	}
}

// TestHTTP2Large sends responses through windows, to a client that is slow with one
// of them; the other streams go on.
func TestHTTP2Large(t *testing.T) {
	cfg := cleartextConfig()
	cfg.Threads = 2
	piece := strings.Repeat("y", 60000)
	r := serve(t, cfg, func(c *call) {
		switch c.target {
		case "/whole":
			c.ok(strings.Repeat("x", 5<<20))
		case "/pieces":
			c.head("200 OK")
			for range 100 {
				rc := c.write([]byte(piece), false)
				for rc == WriteWait {
					time.Sleep(time.Millisecond)
					rc = c.t.WaitRoom()
				}
				if rc != WriteOK {
					c.t.Result |= ResultFailed
					return
				}
			}
			c.t.EndBody()
		default:
			c.ok("quick")
		}
	})
	c := r.client2()
	slow, err := c.Get("http://x/whole")
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Body.Close()
	for range 10 {
		if _, got := fetch2(t, c, "GET", "/quick", ""); got != "quick" {
			t.Fatalf("%q", got)
		}
	}
	if _, got := fetch2(t, c, "GET", "/pieces", ""); got != strings.Repeat(piece, 100) {
		t.Errorf("%d bytes of pieces", len(got))
	}
	if got, err := io.ReadAll(slow.Body); err != nil || len(got) != 5<<20 {
		t.Errorf("%d bytes of the whole, %v", len(got), err)
	}
	eventually(t, "nothing is counted as waiting", func() bool { return r.mem.outBytes.Load() == 0 })
}

// framer speaks HTTP/2 frame by frame.
type framer struct {
	*http2.Framer
	t    testing.TB
	conn net.Conn
	enc  *hpack.Encoder
	buf  bytes.Buffer
}

func (r *rig) framer() *framer {
	f := newFramer(r.t, r.dial())
	send(r.t, f.conn, http2.ClientPreface)
	f.must(f.WriteSettings())
	return f
}

func newFramer(t testing.TB, c net.Conn) *framer {
	f := &framer{Framer: http2.NewFramer(c, c), t: t, conn: c}
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	f.enc = hpack.NewEncoder(&f.buf)
	return f
}

func (f *framer) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// block encodes fields, given by turns.
func (f *framer) block(fields ...string) []byte {
	f.buf.Reset()
	for i := 0; i < len(fields); i += 2 {
		_ = f.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return bytes.Clone(f.buf.Bytes())
}

func (f *framer) ask(id uint32, end bool, more ...string) {
	f.t.Helper()
	b := f.block(append([]string{":method", "GET", ":scheme", "http", ":path", fmt.Sprintf("/%d", id), ":authority", "x"}, more...)...)
	f.must(f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: b, EndStream: end, EndHeaders: true}))
}

// want reads frames until one suits.
func (f *framer) want(what string, ok func(http2.Frame) bool) {
	f.t.Helper()
	_ = f.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	for {
		fr, err := f.ReadFrame()
		if err != nil {
			f.t.Fatalf("waited for %s: %v", what, err)
		}
		if ok(fr) {
			return
		}
	}
}

func (f *framer) wantStatus(id uint32, status string) {
	f.t.Helper()
	f.want("the answer "+status, func(fr http2.Frame) bool {
		h, ok := fr.(*http2.MetaHeadersFrame)
		if !ok || h.StreamID != id {
			return false
		}
		if s := h.PseudoValue("status"); s != status {
			f.t.Fatalf("stream %d: status %s, not %s", id, s, status)
		}
		return true
	})
}

func (f *framer) wantReset(id uint32, code http2.ErrCode) {
	f.t.Helper()
	f.want("a reset", func(fr http2.Frame) bool {
		r, ok := fr.(*http2.RSTStreamFrame)
		if ok && (r.StreamID != id || r.ErrCode != code) {
			f.t.Fatalf("%v", r)
		}
		return ok
	})
}

func (f *framer) wantGoAway(code http2.ErrCode) {
	f.t.Helper()
	f.want("GOAWAY", func(fr http2.Frame) bool {
		g, ok := fr.(*http2.GoAwayFrame)
		if ok && g.ErrCode != code {
			f.t.Fatalf("%v, not %v", g, code)
		}
		return ok
	})
}

func TestHTTP2Malformed(t *testing.T) {
	r := serve(t, cleartextConfig(), echo)
	for name, fields := range map[string][]string{
		"no method":               {":scheme", "http", ":path", "/"},
		"no path":                 {":method", "GET", ":scheme", "http", ":authority", "x"},
		"relative path":           {":method", "GET", ":scheme", "http", ":authority", "x", ":path", "a"},
		"asterisk with GET":       {":method", "GET", ":scheme", "http", ":authority", "x", ":path", "*"},
		"connection field":        {":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/", "connection", "close"},
		"transfer-encoding":       {":method", "POST", ":scheme", "http", ":authority", "x", ":path", "/", "transfer-encoding", "chunked"},
		"upgrade":                 {":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/", "upgrade", "h2c"},
		"te":                      {":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/", "te", "gzip"},
		"host is not :authority":  {":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/", "host", "y"},
		"host with another port":  {":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/", "host", "x:443"},
		"one host twice":          {":method", "GET", ":scheme", "http", ":path", "/", "host", "x", "host", "x"},
		"two hosts":               {":method", "GET", ":scheme", "http", ":path", "/", "host", "x", "host", "y"},
		"length without a body":   {":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/", "content-length", "5"},
		"two lengths":             {":method", "POST", ":scheme", "http", ":authority", "x", ":path", "/", "content-length", "0", "content-length", "1"},
		"bad length":              {":method", "POST", ":scheme", "http", ":authority", "x", ":path", "/", "content-length", "+1"},
		"extended connect":        {":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", "x", ":path", "/"},
		"line end in a value":     {":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/", "a", "b\r\nc: d"},
		"line end in a path":      {":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/a HTTP/1.1\r\nx: y"},
		"line end in a host":      {":method", "GET", ":scheme", "http", ":authority", "x\r\na: b", ":path", "/"},
		"zero in a value":         {":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/", "a", "b\x00"},
		"upper case in a name":    {":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/", "A", "b"},
		"space in a name":         {":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/", "a b", "c"},
		"status in a request":     {":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/", ":status", "200"},
		"pseudo field at the end": {":method", "GET", ":scheme", "http", ":authority", "x", "a", "b", ":path", "/"},
	} {
		t.Run(name, func(t *testing.T) {
			f := r.framer()
			f.t = t
			f.must(f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: f.block(fields...), EndStream: true, EndHeaders: true}))
			f.wantReset(1, http2.ErrCodeProtocol)
			f.ask(3, true) // the connection lives
			f.wantStatus(3, "200")
		})
	}
	// What the parser of HTTP/1.1 refuses, it refuses here.
	for name, c := range map[string]struct {
		fields []string
		status string
	}{
		"space in a path":     {[]string{":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/a b"}, "400"},
		"space in a method":   {[]string{":method", "G T", ":scheme", "http", ":authority", "x", ":path", "/"}, "400"},
		"no host at all":      {[]string{":method", "GET", ":scheme", "http", ":path", "/"}, "400"},
		"a path that is long": {[]string{":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/" + strings.Repeat("a", 9000)}, "414"},
		"connect":             {[]string{":method", "CONNECT", ":authority", "x:1"}, "405"},
	} {
		t.Run(name, func(t *testing.T) {
			f := r.framer()
			f.t = t
			f.must(f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: f.block(c.fields...), EndStream: true, EndHeaders: true}))
			f.wantStatus(1, c.status)
			f.ask(3, true)
			f.wantStatus(3, "200")
		})
	}
}

func TestHTTP2BodyNotAsDeclared(t *testing.T) {
	r := serve(t, cleartextConfig(), echo)
	for _, data := range []string{"ab", "abcd"} {
		f := r.framer()
		f.ask(1, false, "content-length", "3")
		f.must(f.WriteData(1, true, []byte(data)))
		f.wantReset(1, http2.ErrCodeProtocol)
	}
}

// TestHTTP2Limits sends what hostler is not willing to take.
func TestHTTP2Limits(t *testing.T) {
	t.Run("head too large", func(t *testing.T) {
		f := serve(t, cleartextConfig(), echo).framer()
		f.t = t
		var fields []string
		for range 100 {
			fields = append(fields, "a", strings.Repeat("b", 1000))
		}
		f.ask(1, true, fields...) // few bytes on the wire: all are the same
		f.wantStatus(1, "431")
		f.ask(3, true)
		f.wantStatus(3, "200")
	})
	t.Run("body too large", func(t *testing.T) {
		cfg := cleartextConfig()
		cfg.LimitRequestBody = 10
		f := serve(t, cfg, echo).framer()
		f.ask(1, false)
		f.must(f.WriteData(1, false, make([]byte, 11)))
		f.wantStatus(1, "413")
	})
	t.Run("too many streams", func(t *testing.T) {
		release := make(chan struct{})
		r := serve(t, cleartextConfig(), func(c *call) { <-release; c.ok("") })
		f := r.framer()
		for i := range uint32(http2Streams) {
			f.ask(2*i+1, true)
		}
		f.ask(2*http2Streams+1, true)
		f.wantReset(2*http2Streams+1, http2.ErrCodeRefusedStream)
		close(release)
		answered := map[uint32]bool{} // in any order
		f.want("all answers", func(fr http2.Frame) bool {
			if h, ok := fr.(*http2.MetaHeadersFrame); ok && h.PseudoValue("status") == "200" {
				answered[h.StreamID] = true
			}
			return len(answered) == http2Streams
		})
	})
	t.Run("more than a window", func(t *testing.T) {
		cfg := cleartextConfig()
		release := make(chan struct{})
		f := serve(t, cfg, func(c *call) { <-release; c.ok("") }).framer()
		defer close(release)
		f.ask(1, true) // keeps the thread
		f.ask(3, false)
		go func() {
			for range 16 * http2Window / 16000 { // some of it is read, and so allowed again
				if f.WriteData(3, false, make([]byte, 16000)) != nil {
					return
				}
			}
		}()
		f.wantReset(3, http2.ErrCodeFlowControl)
	})
	t.Run("endless head", func(t *testing.T) {
		f := serve(t, cleartextConfig(), echo).framer()
		f.must(f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: f.block(":method", "GET")}))
		go func() {
			for f.WriteContinuation(1, false, make([]byte, 0)) == nil {
			}
		}()
		f.wantGoAway(http2.ErrCodeEnhanceYourCalm)
	})
}

// TestHTTP2Floods sends many of what costs a server more than a client.
func TestHTTP2Floods(t *testing.T) {
	for name, one := range map[string]func(f *framer, i uint32) error{
		"rapid reset": func(f *framer, i uint32) error {
			b := f.block(":method", "GET", ":scheme", "http", ":path", "/", ":authority", "x")
			if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: b, EndStream: true, EndHeaders: true}); err != nil {
				return err
			}
			return f.WriteRSTStream(2*i+1, http2.ErrCodeCancel)
		},
		"ping":     func(f *framer, _ uint32) error { return f.WritePing(false, [8]byte{}) },
		"settings": func(f *framer, _ uint32) error { return f.WriteSettings() },
		"priority": func(f *framer, _ uint32) error { return f.WritePriority(1, http2.PriorityParam{}) },
		"empty data": func(f *framer, i uint32) error {
			if i == 0 {
				f.ask(1, false)
			}
			return f.WriteData(1, false, nil)
		},
		"small windows": func(f *framer, i uint32) error {
			if i == 0 {
				f.must(f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}))
				for id := range uint32(100) {
					f.ask(2*id+1, true)
				}
			}
			return f.WriteWindowUpdate(2*(i%100)+1, 1)
		},
		"windows of the connection":      func(f *framer, _ uint32) error { return f.WriteWindowUpdate(0, 1) },
		"unknown frames":                 func(f *framer, _ uint32) error { return f.WriteRawFrame(0xee, 0, 0, nil) },
		"goaway":                         func(f *framer, _ uint32) error { return f.WriteGoAway(0, http2.ErrCodeNo, nil) },
		"settings that nobody asked for": func(f *framer, _ uint32) error { return f.WriteSettingsAck() },
		"pings that nobody asked for":    func(f *framer, _ uint32) error { return f.WritePing(true, [8]byte{}) },
		"many settings in a frame": func(f *framer, _ uint32) error {
			var all []http2.Setting
			for i := range uint32(2000) {
				all = append(all, http2.Setting{ID: http2.SettingInitialWindowSize, Val: i})
			}
			return f.WriteSettings(all...)
		},
		"data for what has been reset": func(f *framer, i uint32) error {
			if i == 0 {
				f.ask(1, false, "content-length", "1")
				f.must(f.WriteData(1, false, []byte("too much")))
			}
			return f.WriteData(1, false, []byte("more"))
		},
		"a head in many frames": func(f *framer, i uint32) error {
			if i == 0 {
				b := f.block(":method", "GET")
				return f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: b})
			}
			return f.WriteContinuation(1, false, f.block("a", "b"))
		},
		"bad heads": func(f *framer, i uint32) error {
			return f.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: f.block("a", "b"), EndStream: true, EndHeaders: true})
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := serve(t, cleartextConfig(), func(c *call) { c.ok("") })
			f := r.framer()
			f.t = t
			go func() {
				for i := uint32(0); one(f, i) == nil; i++ {
				}
			}()
			f.wantGoAway(http2.ErrCodeEnhanceYourCalm)
			if _, got := fetch2(t, r.client2(), "GET", "/", ""); got != "" { // others are served
				t.Errorf("%q", got)
			}
		})
	}
}

// TestHTTP2Earned: who takes a large response frame by frame, and says so each time, has
// cause for it.
func TestHTTP2Earned(t *testing.T) {
	const size = 64 << 20
	big := pattern(size)
	f := serve(t, cleartextConfig(), func(c *call) { c.ok(big) }).framer()
	f.ask(1, true)
	got, updates := 0, 0
	f.want("all of it", func(fr http2.Frame) bool {
		d, ok := fr.(*http2.DataFrame)
		if !ok {
			if fr.Header().Type == http2.FrameGoAway {
				t.Fatalf("%v after %d bytes and %d updates", fr, got, updates)
			}
			return false
		}
		got += len(d.Data())
		if n := uint32(len(d.Data())); n > 0 && !d.StreamEnded() {
			f.must(f.WriteWindowUpdate(0, n))
			f.must(f.WriteWindowUpdate(1, n))
			updates += 2
		}
		return d.StreamEnded()
	})
	if got != size || updates < 4*http2Burst {
		t.Errorf("%d bytes, %d updates", got, updates)
	}
}

// TestHTTP2Reset frees the Python thread of a stream that the client gives up, at
// the application's next chunk.
func TestHTTP2Reset(t *testing.T) {
	left := make(chan int, 1)
	r := serve(t, cleartextConfig(), func(c *call) {
		if c.target != "/1" {
			c.ok("")
			return
		}
		c.head("200 OK")
		for {
			rc := c.write([]byte("more"), false)
			for rc == WriteWait {
				time.Sleep(time.Millisecond)
				rc = c.t.WaitRoom()
			}
			if rc == WriteGone {
				left <- rc
				return
			}
			time.Sleep(time.Millisecond)
		}
	})
	f := r.framer()
	f.ask(1, true)
	f.wantStatus(1, "200")
	f.must(f.WriteRSTStream(1, http2.ErrCodeCancel))
	select {
	case <-left:
	case <-time.After(10 * time.Second):
		t.Fatal("the application goes on and on")
	}
	f.ask(3, true)
	f.wantStatus(3, "200")
}

// TestHTTP2Vanishes closes connections in all phases; nothing stays behind.
func TestHTTP2Vanishes(t *testing.T) {
	cfg := cleartextConfig()
	cfg.Threads = 2
	r := serve(t, cfg, func(c *call) {
		body, rc := c.all()
		if rc != 0 {
			c.t.Result |= ResultFailed
			return
		}
		c.ok(strings.Repeat("z", 300000+len(body)))
	})
	fetch2(t, r.client2(), "GET", "/", "")
	before := runtime.NumGoroutine()
	for i := range 60 {
		f := r.framer()
		switch i % 6 {
		case 1:
			f.ask(1, true)
		case 2:
			f.ask(1, false)
			f.must(f.WriteData(1, false, make([]byte, 1000)))
		case 3:
			f.ask(1, true)
			f.wantStatus(1, "200")
		case 4:
			f.must(f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: f.block(":method", "GET")}))
		case 5:
			f.ask(1, true)
			f.must(f.WriteRSTStream(1, http2.ErrCodeCancel))
		}
		f.conn.Close()
	}
	eventually(t, "all connections gone", func() bool { return r.conns.n.Load() <= 1 })
	eventually(t, "all buffers back", func() bool {
		return r.mem.inputs.lent.Load() == 0 && r.mem.streamBytes.Load() == 0 && r.mem.outBytes.Load() == 0
	})
	eventually(t, "no goroutine left", func() bool { return runtime.NumGoroutine() <= before })
}

// TestHTTP2Drain announces the end, takes what is under way, and goes.
func TestHTTP2Drain(t *testing.T) {
	release := make(chan struct{})
	r := serve(t, cleartextConfig(), func(c *call) {
		if c.target == "/1" {
			<-release
		}
		c.ok(c.target)
	})
	f := r.framer()
	f.ask(1, true)
	eventually(t, "the request to run", func() bool { return r.slot.Gauges.Served.Load() == 1 })
	go r.Drain(protocol.DrainReplaced, 20*time.Second)
	f.want("the first GOAWAY", func(fr http2.Frame) bool {
		g, ok := fr.(*http2.GoAwayFrame)
		if ok && g.LastStreamID != 1<<31-1 {
			t.Fatalf("%v", g)
		}
		return ok
	})
	f.ask(3, true) // was on its way
	f.want("the second GOAWAY", func(fr http2.Frame) bool {
		g, ok := fr.(*http2.GoAwayFrame)
		if ok && g.LastStreamID != 3 {
			t.Fatalf("%v", g)
		}
		return ok
	})
	close(release)
	f.wantStatus(1, "200")
	f.wantStatus(3, "200")
	select {
	case <-r.Drained():
	case <-time.After(10 * time.Second):
		t.Fatal("the drain does not end")
	}
}

// TestHTTP2Preface comes in pieces, and may turn out to be none.
func TestHTTP2Preface(t *testing.T) {
	r := serve(t, cleartextConfig(), echo)
	c := r.dial()
	for _, b := range []byte(http2.ClientPreface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00") {
		send(t, c, string([]byte{b}))
		time.Sleep(200 * time.Microsecond)
	}
	f := newFramer(t, c)
	f.want("our settings", func(fr http2.Frame) bool { _, ok := fr.(*http2.SettingsFrame); return ok })

	c = r.dial()
	send(t, c, "PRI")
	time.Sleep(5 * time.Millisecond)
	send(t, c, "NT / HTTP/1.1\r\nHost: x\r\n\r\n")
	responses(t, c).want(200, "PRINT / ")

	r = serve(t, testConfig(), echo) // nobody asked for it
	c = r.dial()
	send(t, c, http2.ClientPreface)
	responses(t, c).want(400, "*")
}

// TestHTTP2DeafWhileWriting: a client that does not read before it has written is
// read on, however much waits for it, or both sides would stand still.
func TestHTTP2DeafWhileWriting(t *testing.T) {
	cfg := cleartextConfig()
	cfg.Threads = 2
	r := serve(t, cfg, func(c *call) {
		if c.target == "/1" {
			c.ok(strings.Repeat("x", 4<<20))
			return
		}
		echo(c)
	})
	f := r.framer()
	f.must(f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1}))
	f.must(f.WriteWindowUpdate(0, 1<<30))
	f.ask(1, true)
	eventually(t, "a backlog", func() bool { return r.mem.outBytes.Load() > http2Backlog })
	_ = f.conn.SetWriteDeadline(time.Now().Add(10 * time.Second))
	f.ask(3, false, "content-length", "250000")
	for range 25 {
		f.must(f.WriteData(3, false, make([]byte, 10000)))
	}
	f.must(f.WriteData(3, true, nil))
	got := map[uint32]int{}
	f.want("both answers", func(fr http2.Frame) bool {
		if d, ok := fr.(*http2.DataFrame); ok {
			got[d.StreamID] += len(d.Data())
		}
		return got[1] == 4<<20 && got[3] == len("GET /3 ")+250000
	})
}

// TestHTTP2OutOfDescriptors: where the process may have no more descriptors, the
// requests of connections that there are go on.
func TestHTTP2OutOfDescriptors(t *testing.T) {
	cfg := cleartextConfig()
	cfg.Threads = 2
	r := serve(t, cfg, func(c *call) { c.ok("hello") })
	f := r.framer()
	eventually(t, "the connection", func() bool { return r.slot.Counters.Accepted.Load() == 1 })
	var old unix.Rlimit
	f.must(unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	f.must(unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: old.Max}))
	defer func() { f.must(unix.Setrlimit(unix.RLIMIT_NOFILE, &old)) }()
	if fd, err := unix.Eventfd(0, 0); err == nil {
		unix.Close(fd)
		t.Fatal("there are descriptors left")
	}
	f.ask(1, true)
	f.wantStatus(1, "200")
	f.burst(3, 5, 7)
	answered := map[uint32]string{} // in any order
	f.want("three answers", func(fr http2.Frame) bool {
		if h, ok := fr.(*http2.MetaHeadersFrame); ok {
			answered[h.StreamID] = h.PseudoValue("status")
		}
		return len(answered) == 3
	})
	for _, id := range []uint32{3, 5, 7} {
		if answered[id] != "200" {
			t.Errorf("stream %d: %q", id, answered[id])
		}
	}
}
