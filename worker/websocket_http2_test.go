package worker

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"hostler/protocol"
	"hostler/worker/http1"
	"hostler/worker/websocket"
)

// openSocket makes a handshake on a connection of its own, and returns the answer's head.
type openSocket func(r *socketRig, target, fields string) (*wsPeer, string)

// overBoth runs a test over HTTP/1.1 and over HTTP/2.
func overBoth(t *testing.T, test func(t *testing.T, open openSocket)) {
	t.Run("HTTP 1.1", func(t *testing.T) {
		test(t, func(r *socketRig, target, fields string) (*wsPeer, string) {
			t.Helper()
			return open(t, r.dial(), target, fields)
		})
	})
	t.Run("HTTP 2", func(t *testing.T) {
		test(t, func(r *socketRig, target, fields string) (*wsPeer, string) {
			t.Helper()
			return r.client(t, r.dial()).open(target, fields)
		})
	})
}

// tunnels is a client of HTTP/2 that opens WebSockets (RFC 8441).
type tunnels struct {
	t testing.TB
	f *framer

	mu       sync.Mutex // and for writing frames
	changed  *sync.Cond
	window   int64 // what may be sent
	initial  int64
	settings map[http2.SettingID]uint32
	streams  map[uint32]*tunnel
	last     uint32   // stream
	said     []string // GOAWAY and the like
	err      error
}

// tunnel is one of its streams.
type tunnel struct {
	net.Conn
	c      *tunnels
	id     uint32
	window int64
	data   []byte
	fields []string // of the answer
	end    error    // io.EOF, or a reset
	deaf   bool     // it opens no windows
}

// client begins with a connection of HTTP/2.
func (r *socketRig) client(t testing.TB, conn net.Conn, settings ...http2.Setting) *tunnels {
	t.Helper()
	c := &tunnels{t: t, f: newFramer(t, conn), window: 65535, initial: 65535, settings: make(map[http2.SettingID]uint32), streams: make(map[uint32]*tunnel), last: 1}
	c.changed = sync.NewCond(&c.mu)
	send(t, conn, http2.ClientPreface)
	c.f.must(c.f.WriteSettings(settings...))
	go c.read()
	c.wait("the server's settings", func() bool { return len(c.settings) > 0 })
	return c
}

// wait waits until ok, which is asked with the lock held.
func (c *tunnels) wait(what string, ok func() bool) {
	c.t.Helper()
	late := time.AfterFunc(30*time.Second, func() {
		c.mu.Lock()
		c.err = errors.New("time is up")
		c.changed.Broadcast()
		c.mu.Unlock()
	})
	defer late.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for !ok() {
		if c.err != nil {
			c.t.Fatalf("waited for %s: %v", what, c.err)
		}
		c.changed.Wait()
	}
}

func (c *tunnels) read() {
	for {
		f, err := c.f.ReadFrame()
		c.mu.Lock()
		if err != nil {
			c.err = err
			for _, s := range c.streams {
				if s.end == nil {
					s.end = err
				}
			}
		} else {
			c.take(f)
		}
		c.changed.Broadcast()
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (c *tunnels) take(f http2.Frame) {
	s := c.streams[f.Header().StreamID]
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if f.IsAck() {
			return
		}
		f.ForeachSetting(func(v http2.Setting) error {
			c.settings[v.ID] = v.Val
			if v.ID == http2.SettingInitialWindowSize {
				c.initial = int64(v.Val)
			}
			return nil
		})
		c.f.WriteSettingsAck()
	case *http2.WindowUpdateFrame:
		if f.StreamID == 0 {
			c.window += int64(f.Increment)
		} else if s != nil {
			s.window += int64(f.Increment)
		}
	case *http2.MetaHeadersFrame:
		for _, h := range f.Fields {
			s.fields = append(s.fields, h.Name+": "+h.Value)
		}
		if f.StreamEnded() {
			s.end = io.EOF
		}
	case *http2.DataFrame:
		s.data = append(s.data, f.Data()...)
		if n := uint32(len(f.Data())); n > 0 {
			c.f.WriteWindowUpdate(0, n)
		}
		if f.StreamEnded() {
			s.end = io.EOF
			c.said = append(c.said, fmt.Sprintf("end of %d", s.id))
		}
	case *http2.RSTStreamFrame:
		if s.end == nil {
			s.end = errors.New(f.ErrCode.String())
		}
		c.said = append(c.said, fmt.Sprintf("reset of %d: %v", f.StreamID, f.ErrCode))
	case *http2.GoAwayFrame:
		c.said = append(c.said, fmt.Sprintf("GOAWAY %v", f.ErrCode))
	}
}

// connect asks for a tunnel. more are further fields, by turns.
func (c *tunnels) connect(protocol, target string, end bool, more ...string) *tunnel {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last += 2
	s := &tunnel{c: c, id: c.last, window: c.initial}
	c.streams[s.id] = s
	b := c.f.block(append([]string{":method", "CONNECT", ":protocol", protocol, ":scheme", "http", ":path", target, ":authority", "x"}, more...)...)
	c.f.must(c.f.WriteHeaders(http2.HeadersFrameParam{StreamID: s.id, BlockFragment: b, EndHeaders: true, EndStream: end}))
	return s
}

// open makes a handshake and returns the fields of the answer, a line each.
func (c *tunnels) open(target, fields string) (*wsPeer, string) {
	c.t.Helper()
	more := []string{"sec-websocket-version", "13"}
	for line := range strings.Lines(fields) {
		name, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ": ")
		more = append(more, strings.ToLower(name), value)
	}
	s := c.connect("websocket", target, false, more...)
	return &wsPeer{c.t, s, bufio.NewReader(s)}, s.answer()
}

// answer waits for the head of the answer.
func (s *tunnel) answer() string {
	s.c.t.Helper()
	s.c.wait("the answer", func() bool { return len(s.fields) > 0 || s.end != nil })
	return strings.Join(s.fields, "\r\n") + "\r\n"
}

func (s *tunnel) Read(b []byte) (int, error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	for len(s.data) == 0 && s.end == nil {
		s.c.changed.Wait()
	}
	n := copy(b, s.data)
	s.data = s.data[n:]
	if n == 0 {
		return 0, s.end
	}
	if !s.deaf && s.end == nil {
		s.c.f.WriteWindowUpdate(s.id, uint32(n))
	}
	return n, nil
}

func (s *tunnel) Write(b []byte) (int, error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	for left := b; len(left) > 0; {
		n := int(min(int64(len(left)), s.window, s.c.window, http2FrameSize))
		if n <= 0 {
			if s.end != nil {
				return 0, s.end
			}
			s.c.changed.Wait()
			continue
		}
		s.window -= int64(n)
		s.c.window -= int64(n)
		if err := s.c.f.WriteData(s.id, false, left[:n]); err != nil {
			return 0, err
		}
		left = left[n:]
	}
	return len(b), nil
}

// Close ends it as a client that has gone away without a word does.
func (s *tunnel) Close() error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.c.f.WriteRSTStream(s.id, http2.ErrCodeCancel)
}

func (s *tunnel) closeWrite() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.c.f.must(s.c.f.WriteData(s.id, true, nil))
}

// wantSaid waits for something that the server says beside what is on streams.
func (c *tunnels) wantSaid(what string) {
	c.t.Helper()
	c.wait(what, func() bool { return slices.Contains(c.said, what) })
}

// A handshake over HTTP/2, and what is none.
func TestTunnelHandshake(t *testing.T) {
	r := serveSockets(t, socketConfig(), echoSocket)
	c := r.client(t, r.dial())
	if c.settings[http2.SettingEnableConnectProtocol] != 1 {
		t.Error("it is not announced")
	}
	p, head := c.open("/chat", "sec-websocket-protocol: chat\r\nsec-websocket-extensions: permessage-deflate\r\norigin: http://x\r\n")
	for _, s := range []string{":status: 200\r\n", "sec-websocket-protocol: chat\r\n", "sec-websocket-extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n", "date: ", "server: hostler\r\n"} {
		if !strings.Contains(head, s) {
			t.Errorf("%q has no %q", head, s)
		}
	}
	for _, s := range []string{"upgrade", "connection", "sec-websocket-accept", "content-length"} {
		if strings.Contains(head, s) {
			t.Errorf("%q has %q", head, s)
		}
	}
	p.send(0x81, "Hello")
	p.want("1 Hello")
	for _, o := range []struct {
		what, protocol, target string
		more                   []string
		want                   string
	}{
		{"denied", "websocket", "/denied", []string{"sec-websocket-version", "13"}, ":status: 403"},
		{"denied as if it were accepted", "websocket", "/denied_200", []string{"sec-websocket-version", "13"}, ":status: 500"},
		{"another version", "websocket", "/", []string{"sec-websocket-version", "8"}, ":status: 400\r\n"},
		{"no version", "websocket", "/", nil, "sec-websocket-version: 13\r\n"},
		{"another protocol", "connect-udp", "/", []string{"sec-websocket-version", "13"}, ":status: 501"},
		{"a body", "websocket", "/", []string{"sec-websocket-version", "13", "content-length", "0"}, "PROTOCOL_ERROR"},
		{"no path", "websocket", "", []string{"sec-websocket-version", "13"}, "PROTOCOL_ERROR"},
		{"another method", "websocket", "/", []string{":method", "GET"}, "PROTOCOL_ERROR"},
	} {
		s := c.connect(o.protocol, o.target, false, o.more...)
		got := s.answer()
		c.mu.Lock()
		if s.end != nil {
			got += s.end.Error()
		}
		c.mu.Unlock()
		if !strings.Contains(got, o.want) {
			t.Errorf("%s: %q, want %q", o.what, got, o.want)
		}
	}
	p.send(0x81, "still")
	p.want("1 still")
	if n := r.slot.Counters.Rejected[http1.ReasonUnknownProtocol].Load(); n != 1 {
		t.Errorf("%d requests for another protocol are counted", n)
	}
	if n := r.slot.Counters.Requests[http1.MethodGet][protocol.CodeIndex(200)].Load(); n != 1 {
		t.Errorf("%d are counted as accepted", n)
	}
}

// Where there are no WebSockets none is offered, and who asks all the same has not listened.
func TestTunnelNotOffered(t *testing.T) {
	r := serveSockets(t, socketConfig(), echoSocket, func(r *rig) { r.keeper.sockets.tunnels = false })
	c := r.client(t, r.dial())
	if _, ok := c.settings[http2.SettingEnableConnectProtocol]; ok {
		t.Error("it is announced")
	}
	c.connect("websocket", "/", false, "sec-websocket-version", "13")
	c.wantSaid("reset of 3: PROTOCOL_ERROR")
}

// How a stream ends: RFC 8441, 5.
func TestTunnelEnds(t *testing.T) {
	told := make(chan int, 1)
	r := serveSockets(t, socketConfig(), func(a *socketApp) {
		for {
			kind, data, code := a.receive()
			if kind == websocket.IsClose {
				a.w.Done(websocket.Normal, "")
				told <- code
				return
			}
			if data == "close" {
				a.w.Close(4001, "")
			}
		}
	})
	c := r.client(t, r.dial())
	for _, o := range []struct {
		what string
		do   func(*wsPeer, *tunnel)
		code int
		said string
	}{
		{"closed by the client", func(p *wsPeer, s *tunnel) { p.send(0x88, "\x0f\xa0"); p.want("close 4000 ", "EOF"); s.closeWrite() }, 4000, "end of %d"},
		{"closed by us", func(p *wsPeer, s *tunnel) {
			p.send(0x81, "close")
			p.want("close 4001 ")
			p.send(0x88, "\x0f\xa1")
			p.want("EOF")
		}, 4001, "end of %d"},
		{"ended", func(_ *wsPeer, s *tunnel) { s.closeWrite() }, 1006, "end of %d"},
		{"reset", func(_ *wsPeer, s *tunnel) { s.Close() }, 1006, ""},
		{"a bad frame", func(p *wsPeer, s *tunnel) { p.send(0x83, ""); p.want("close 1002 unknown opcode", "EOF") }, 1002, "reset of %d: NO_ERROR"},
		{"trailers", func(_ *wsPeer, s *tunnel) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.f.must(c.f.WriteHeaders(http2.HeadersFrameParam{StreamID: s.id, BlockFragment: c.f.block("a", "b"), EndHeaders: true, EndStream: true}))
		}, 1006, "reset of %d: PROTOCOL_ERROR"},
	} {
		p, _ := c.open("/", "")
		s := p.Conn.(*tunnel)
		o.do(p, s)
		if got := <-told; got != o.code {
			t.Errorf("%s: the application is told %d", o.what, got)
		}
		if o.said != "" {
			c.wantSaid(fmt.Sprintf(o.said, s.id))
		}
		if t.Failed() {
			return
		}
	}
	eventually(t, "all streams have ended", func() bool { return len(r.keeper.sockets.list()) == 0 && r.openSockets() == 0 })
	if left := r.mem.streamBytes.Load(); left != 0 {
		t.Errorf("%d bytes are still counted", left)
	}
}

// only returns the WebSocket that there is.
func (r *socketRig) only() *webSocket {
	eventually(r.t, "it is accepted", func() bool { return len(r.keeper.sockets.list()) == 1 })
	return r.keeper.sockets.list()[0]
}

// openSockets counts the connections that are WebSockets, and the streams that are.
func (r *rig) openSockets() (n int) {
	r.conns.each(func(c *conn) {
		n += len(c.streams())
		if p := phase(c.phase.Load()); p == phaseSocket || p == phaseLinger {
			n++
		}
	})
	return n
}

// Who breaks the connection off ends all that are on it.
func TestTunnelConnectionBreaks(t *testing.T) {
	told := make(chan int, 40)
	r := serveSockets(t, socketConfig(), func(a *socketApp) {
		_, _, code := a.receive()
		a.w.Done(websocket.Normal, "")
		told <- code
	})
	c := r.client(t, r.dial())
	for range 40 {
		c.open("/", "")
	}
	eventually(t, "they are counted", func() bool { r.keeper.soon.give(); return r.slot.Gauges.Sockets.Load() == 40 })
	c.f.conn.Close()
	for range 40 {
		if code := <-told; code != websocket.Abnormal {
			t.Fatalf("the application is told %d", code)
		}
	}
	eventually(t, "nothing is left", func() bool { return len(r.keeper.sockets.list()) == 0 && r.conns.n.Load() == 0 })
}

// Who does not read one stream has the others go on, and does not grow in our memory.
func TestTunnelSlowReader(t *testing.T) {
	stop := make(chan struct{})
	r := serveSockets(t, socketConfig(), func(a *socketApp) {
		_, what, _ := a.receive()
		if what != "flood" {
			a.w.Send(websocket.Text, []byte(what), 0)
			echoSocket(a)
			return
		}
		data := []byte(strings.Repeat("x", 100000))
		for {
			select {
			case <-stop:
				a.w.Done(websocket.Normal, "")
				return
			default:
			}
			switch rc, _ := a.w.Send(websocket.Binary, data, 0); rc {
			case WriteGone:
				a.w.Done(websocket.Normal, "")
				return
			case WriteWait:
				if a.w.c.out.left() > outLimit+200000 {
					t.Errorf("%d bytes wait", a.w.c.out.left())
				}
				a.await(NoticeRoom)
			}
		}
	})
	c := r.client(t, r.dial(), http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1000})
	slow, _ := c.open("/", "")
	slow.Conn.(*tunnel).deaf = true
	slow.send(0x81, "flood")
	w := r.only()
	eventually(t, "its application waits", func() bool { return w.c.out.left() > outLimit })
	quick, _ := c.open("/", "")
	for range 100 {
		quick.send(0x81, "there?")
		quick.want("1 there?")
	}
	// A new initial window is one for those that there are, too.
	c.mu.Lock()
	c.f.must(c.f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20}))
	c.mu.Unlock()
	for range 9 {
		if got := slow.frame(); len(got) != 100002 {
			t.Fatalf("%.100q", got)
		}
	}
	// And a smaller one stops them again, without a loss.
	c.mu.Lock()
	c.f.must(c.f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}))
	slow.Conn.(*tunnel).deaf = false
	c.f.must(c.f.WriteWindowUpdate(slow.Conn.(*tunnel).id, 4<<20))
	c.mu.Unlock()
	close(stop)
	for got := ""; got != "close 1000 "; {
		if got = slow.frame(); len(got) != 100002 && got != "close 1000 " {
			t.Fatalf("%.100q", got)
		}
	}
	quick.send(0x81, "still?")
	c.mu.Lock()
	c.f.must(c.f.WriteWindowUpdate(quick.Conn.(*tunnel).id, 1<<20))
	c.mu.Unlock()
	quick.want("1 still?")
}

// Who opens no window at all is given --write-timeout, once something waits for it.
func TestTunnelWithoutWindow(t *testing.T) {
	cfg := socketConfig()
	cfg.WriteTimeout = 200 * time.Millisecond
	cfg.WSPingInterval, cfg.WSPingTimeout = 50*time.Millisecond, 30*time.Second
	told := make(chan int, 1)
	r := serveSockets(t, cfg, func(a *socketApp) {
		a.w.Send(websocket.Text, []byte("hello"), 0)
		_, _, code := a.receive()
		a.w.Done(websocket.Normal, "")
		told <- code
	})
	c := r.client(t, r.dial(), http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	p, head := c.open("/", "")
	if !strings.HasPrefix(head, ":status: 200\r\n") {
		t.Fatal(head)
	}
	if code := <-told; code != websocket.Abnormal {
		t.Errorf("the application is told %d", code)
	}
	c.wantSaid("reset of 3: CANCEL")
	if n := r.slot.Counters.Timeouts[protocol.TimeoutWrite].Load(); n != 1 {
		t.Errorf("%d are counted", n)
	}
	_ = p
}

// A worker that leaves says so before it closes: who comes back comes to another one.
func TestTunnelDrain(t *testing.T) {
	for _, o := range []struct {
		mode protocol.DrainMode
		want string
	}{{protocol.DrainReplaced, "close 1012 "}, {protocol.DrainStop, "close 1001 "}} {
		r := serveSockets(t, socketConfig(), func(a *socketApp) {
			a.receive()
			a.w.Done(websocket.Normal, "")
		})
		c := r.client(t, r.dial())
		var all []*wsPeer
		for range 8 {
			p, _ := c.open("/", "")
			all = append(all, p)
		}
		r.Drain(o.mode, time.Second)
		for _, p := range all {
			p.want(o.want)
			c.mu.Lock()
			if !slices.Contains(c.said, "GOAWAY NO_ERROR") {
				t.Error("closed before a GOAWAY")
			}
			c.mu.Unlock()
			p.send(0x88, "\x03\xf4")
			p.want("EOF")
		}
		eventually(t, "the worker is drained", r.isDrained)
		r.stopNow()
	}
}

// What clients send on a stream that we have just ended is no flood; what they send
// afterwards is.
func TestTunnelLateFrames(t *testing.T) {
	r := serveSockets(t, socketConfig(), func(a *socketApp) { a.w.Done(websocket.Normal, "") })
	c := r.client(t, r.dial())
	p, _ := c.open("/", "")
	p.want("close 1000 ")
	s := p.Conn.(*tunnel)
	p.send(0x83, "") // it breaks the rules, too
	p.want("EOF")
	for range 5 * http2Burst {
		p.send(0x81, "this was under way")
	}
	s.closeWrite()
	q, _ := c.open("/", "")
	q.want("close 1000 ")
	c.mu.Lock()
	for i := 0; i < 20*http2Burst && c.err == nil; i++ {
		data := make([]byte, 1)
		if i < http2Window/http2FrameSize {
			data = make([]byte, http2FrameSize)
		}
		if c.f.WriteData(s.id, false, data) != nil {
			break
		}
	}
	c.mu.Unlock()
	c.wantSaid("GOAWAY ENHANCE_YOUR_CALM")
}

// Opening and resetting, over and over, is charged, and leaves nothing behind.
func TestTunnelResetFlood(t *testing.T) {
	r := serveSockets(t, socketConfig(), echoSocket)
	c := r.client(t, r.dial())
	for range 4 * http2Burst {
		c.mu.Lock()
		over := c.err != nil || slices.Contains(c.said, "GOAWAY ENHANCE_YOUR_CALM")
		if !over {
			c.last += 2
			b := c.f.block(":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":path", "/", ":authority", "x", "sec-websocket-version", "13")
			c.streams[c.last] = &tunnel{c: c, id: c.last}
			_ = c.f.WriteHeaders(http2.HeadersFrameParam{StreamID: c.last, BlockFragment: b, EndHeaders: true})
			_ = c.f.WriteRSTStream(c.last, http2.ErrCodeCancel)
		}
		c.mu.Unlock()
		if over {
			break
		}
	}
	c.wantSaid("GOAWAY ENHANCE_YOUR_CALM")
	eventually(t, "nothing is left", func() bool { return len(r.keeper.sockets.list()) == 0 && r.openSockets() == 0 })
}

// There are so many streams on a connection, and a WebSocket is one.
func TestTunnelsOfAConnection(t *testing.T) {
	r := serveSockets(t, socketConfig(), echoSocket)
	c := r.client(t, r.dial())
	var all []*wsPeer
	for range http2Streams {
		p, _ := c.open("/", "")
		all = append(all, p)
	}
	more := c.connect("websocket", "/", false, "sec-websocket-version", "13")
	c.wantSaid(fmt.Sprintf("reset of %d: REFUSED_STREAM", more.id))
	for i, p := range all {
		p.send(0x81, fmt.Sprint(i))
	}
	for i, p := range all {
		p.want(fmt.Sprintf("1 %d", i))
	}
	all[7].send(0x88, "")
	all[7].want("8 ", "EOF")
	all[7].Conn.(*tunnel).closeWrite()
	p, _ := c.open("/", "")
	p.send(0x81, "room")
	p.want("1 room")
}

// A file is nothing that accepts a WebSocket.
func TestTunnelToFile(t *testing.T) {
	r := serveSockets(t, staticConfig(t, socketConfig()), echoSocket)
	c := r.client(t, r.dial())
	if got := c.connect("websocket", "/static/a.txt", false, "sec-websocket-version", "13").answer(); !strings.HasPrefix(got, ":status: 405\r\n") {
		t.Errorf("%q", got)
	}
}

// TestTunnelToMetrics: nor do those metrics that the server shows.
func TestTunnelToMetrics(t *testing.T) {
	cfg := socketConfig()
	cfg.MetricsPath = "/metrics"
	r := serveSockets(t, cfg, echoSocket)
	c := r.client(t, r.dial())
	if got := c.connect("websocket", "/metrics", false, "sec-websocket-version", "13").answer(); !strings.HasPrefix(got, ":status: 405\r\n") {
		t.Errorf("%q", got)
	}
}
