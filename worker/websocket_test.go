package worker

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"hostler/protocol"
	"hostler/worker/http1"
	"hostler/worker/websocket"
)

// socketRig is a rig whose application takes WebSockets: each has a goroutine, which
// stands for a task.
type socketRig struct {
	*rig
	mu    sync.Mutex
	bells map[uint32]chan struct{} // of those that wait
}

// socketApp is a WebSocket as its application sees it.
type socketApp struct {
	r *socketRig
	w *webSocket
}

func socketConfig() *protocol.WorkerConfig {
	cfg := cleartextConfig()
	cfg.WSMaxSize, cfg.WSPerMessageDeflate = 1<<20, true
	return cfg
}

// serveSockets starts a rig; app is run for each WebSocket, and other requests are answered
// by their target.
func serveSockets(t *testing.T, cfg *protocol.WorkerConfig, app func(*socketApp), changes ...func(*rig)) *socketRig {
	t.Helper()
	r := &socketRig{bells: make(map[uint32]chan struct{})}
	r.rig = newRig(t, cfg, func(c *call) {
		if c.t.Req.Flags&http1.FlagWebSocket == 0 {
			c.ok("plain " + c.target)
			return
		}
		if status, ok := map[string]string{"/denied": "403 Forbidden", "/denied_200": "200 OK"}[c.target]; ok {
			c.head(status)
			c.final(nil)
			return
		}
		protocol := []byte(nil)
		if c.target == "/chat" {
			protocol = []byte("chat")
		}
		w := r.keeper.sockets.at(c.t.AcceptSocket(protocol, nil))
		r.wg.Go(func() { app(&socketApp{r, w}) })
	})
	r.keeper.sockets.tunnels, r.keeper.sockets.refuses = true, true
	r.keeper.sockets.notify = func(n uint32) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if bell := r.bells[n]; bell != nil {
			bell <- struct{}{}
		}
	}
	for _, change := range changes {
		change(r.rig)
	}
	r.start()
	return r
}

// await waits for a notice.
func (a *socketApp) await(what uint32) uint32 {
	bell := make(chan struct{}, 4)
	a.r.mu.Lock()
	a.r.bells[a.w.number] = bell
	a.r.mu.Unlock()
	if have := a.w.Await(what); have != 0 {
		return have
	}
	late := time.After(30 * time.Second)
	for {
		select {
		case <-bell:
			if have := a.w.heed(); have != 0 { // else it was for what has been seen to since
				return have
			}
		case <-late:
			a.r.t.Error("no notice")
			return 0
		case <-a.r.leave.stop:
			return 0
		}
	}
}

// receive waits for the next message.
func (a *socketApp) receive() (websocket.Kind, string, int) {
	for {
		if kind, data, code := a.w.Receive(); kind != websocket.Nothing {
			return kind, string(data), code
		}
		if a.await(NoticeBody) == 0 {
			return websocket.IsClose, "", -1
		}
	}
}

func echoSocket(a *socketApp) {
	for {
		kind, data, code := a.receive()
		if kind == websocket.IsClose {
			a.w.Done(websocket.Normal, "")
			return
		}
		_ = code
		if rc, _ := a.w.Send(websocket.Opcode(kind), []byte(data), 0); rc == WriteWait {
			a.await(NoticeRoom)
		}
	}
}

// wsPeer is a client.
type wsPeer struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

const handshakeFields = "Host: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"

// open makes a handshake, and returns the head of the answer.
func open(t testing.TB, c net.Conn, target, fields string) (*wsPeer, string) {
	t.Helper()
	p := &wsPeer{t, c, bufio.NewReader(c)}
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\n%s%s\r\n", target, handshakeFields, fields)
	return p, p.head()
}

func (p *wsPeer) head() string {
	p.t.Helper()
	var b strings.Builder
	for !strings.HasSuffix(b.String(), "\r\n\r\n") {
		line, err := p.r.ReadString('\n')
		if err != nil {
			p.t.Fatalf("%q: %v", b.String(), err)
		}
		b.WriteString(line)
	}
	return b.String()
}

func clientFrame(first byte, payload string) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0xfe), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0xff), uint64(n))
	}
	return append(append(b, 0, 0, 0, 0), payload...)
}

func (p *wsPeer) send(first byte, payload string) {
	p.t.Helper()
	if _, err := p.Write(clientFrame(first, payload)); err != nil {
		p.t.Fatal(err)
	}
}

// frame reads one, and returns it as "opcode payload"; at the end the error.
func (p *wsPeer) frame() string {
	var h [10]byte
	if _, err := io.ReadFull(p.r, h[:2]); err != nil {
		return err.Error()
	}
	op, n := h[0]&15, uint64(h[1])
	switch n {
	case 126:
		io.ReadFull(p.r, h[:2])
		n = uint64(binary.BigEndian.Uint16(h[:]))
	case 127:
		io.ReadFull(p.r, h[:8])
		n = binary.BigEndian.Uint64(h[:])
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(p.r, b); err != nil {
		return err.Error()
	}
	if op == 8 && n >= 2 {
		return fmt.Sprintf("close %d %s", binary.BigEndian.Uint16(b), b[2:])
	}
	return fmt.Sprintf("%d %s", op, b)
}

func (p *wsPeer) want(frames ...string) {
	p.t.Helper()
	for _, w := range frames {
		if got := p.frame(); got != w {
			p.t.Fatalf("%.200q, want %.200q", got, w)
		}
	}
}

func TestWebSocket(t *testing.T) {
	r := serveSockets(t, socketConfig(), echoSocket)
	p, head := open(t, r.dial(), "/", "")
	for _, s := range []string{"HTTP/1.1 101 Switching Protocols\r\n", "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", "Upgrade: websocket\r\n", "Date: "} {
		if !strings.Contains(head, s) {
			t.Errorf("%q has no %q", head, s)
		}
	}
	p.send(0x81, "Hello")
	p.want("1 Hello")
	p.send(0x82, strings.Repeat("x", 200000))
	p.want("2 " + strings.Repeat("x", 200000))
	p.send(0x01, "Hel")
	p.send(0x89, "ping")
	p.send(0x80, "lo")
	p.want("10 ping", "1 Hello")
	var all []byte
	for i := range 40 {
		all = append(all, clientFrame(0x81, fmt.Sprint(i))...)
	}
	p.Write(all)
	for i := range 40 {
		p.want(fmt.Sprintf("1 %d", i))
	}
	if n := r.slot.Counters.MessagesIn.Load(); n != 43 {
		t.Errorf("%d messages are counted", n)
	}
	p.send(0x88, "\x0f\xa0bye")
	p.want("close 4000 ", "EOF")
	if n := r.slot.Counters.Requests[1][protocol.CodeIndex(101)].Load(); n != 1 {
		t.Errorf("%d requests with 101", n)
	}
}

// The first frames may come with the handshake.
func TestWebSocketPipelined(t *testing.T) {
	r := serveSockets(t, socketConfig(), echoSocket)
	c := r.dial()
	c.Write(append([]byte("GET / HTTP/1.1\r\n"+handshakeFields+"\r\n"), append(clientFrame(0x81, "at once"), clientFrame(0x81, "twice")[:3]...)...))
	p := &wsPeer{t, c, bufio.NewReader(c)}
	p.head()
	p.want("1 at once")
	c.Write(clientFrame(0x81, "twice")[3:])
	p.want("1 twice")
}

func TestWebSocketHandshake(t *testing.T) {
	r := serveSockets(t, socketConfig(), echoSocket)
	for _, c := range []struct{ request, want string }{
		{"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\r\n", "HTTP/1.1 400 "},
		{"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 8\r\n\r\n", "HTTP/1.1 426 Upgrade Required\r\n"},
		{"GET /denied HTTP/1.1\r\n" + handshakeFields + "\r\n", "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n"},
		{"GET /h2c HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", "HTTP/1.1 200 "},
		{"POST /p HTTP/1.1\r\n" + handshakeFields + "Content-Length: 0\r\n\r\n", "HTTP/1.1 200 "},
		{"GET /chat HTTP/1.1\r\n" + handshakeFields + "\r\n", "HTTP/1.1 101 "},
	} {
		conn := r.dial()
		io.WriteString(conn, c.request)
		p := &wsPeer{t, conn, bufio.NewReader(conn)}
		head := p.head()
		if !strings.HasPrefix(head, c.want) {
			t.Errorf("%q: %q", c.request, head)
		}
		if strings.Contains(c.want, "426") && !strings.Contains(head, "\r\nSec-WebSocket-Version: 13\r\n") {
			t.Errorf("%q does not say which version", head)
		}
		if strings.Contains(c.request, "/chat") && !strings.Contains(head, "\r\nSec-WebSocket-Protocol: chat\r\n") {
			t.Errorf("%q has no protocol", head)
		}
		conn.Close()
	}
	if _, head := open(t, r.dial(), "/", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"); !strings.Contains(head, "permessage-deflate") {
		t.Errorf("%q: no deflate", head)
	}
}

// What the application is told at the end, and what the peer.
func TestWebSocketEnds(t *testing.T) { overBoth(t, testWebSocketEnds) }

func testWebSocketEnds(t *testing.T, open openSocket) {
	told := make(chan string, 1)
	app := func(a *socketApp) {
		for {
			kind, data, code := a.receive()
			switch {
			case kind == websocket.IsClose:
				a.w.Done(websocket.Normal, "")
				told <- fmt.Sprintf("%d %s", code, data)
				return
			case data == "close":
				a.w.Close(4001, "why")
				if rc, _ := a.w.Send(websocket.Text, []byte("x"), 0); rc != WriteGone {
					t.Error("sent after the close")
				}
			case data == "return":
				a.w.Done(websocket.Normal, "")
				told <- "returned"
				return
			case data == "raise":
				a.w.Done(websocket.InternalError, "")
				told <- "raised"
				return
			}
		}
	}
	r := serveSockets(t, socketConfig(), app)
	for _, c := range []struct {
		send       string
		peer, told string
	}{
		{string(clientFrame(0x88, "\x03\xe8bye")), "close 1000 |EOF", "1000 bye"},
		{string(clientFrame(0x88, "")), "8 |EOF", "1005 "},
		{string(clientFrame(0x81, "close")) + string(clientFrame(0x81, "more")), "close 4001 why|EOF", "4001 "},
		{string(clientFrame(0x81, "return")) + string(clientFrame(0x88, "\x03\xe8")), "close 1000 |EOF", "returned"},
		{string(clientFrame(0x81, "raise")) + string(clientFrame(0x88, "\x03\xf3")), "close 1011 |EOF", "raised"},
		{string(clientFrame(0x83, "")), "close 1002 unknown opcode|EOF", "1002 unknown opcode"},
		{string(clientFrame(0x81, "\xff")), "close 1007 text is not UTF-8|EOF", "1007 text is not UTF-8"},
		{string(clientFrame(0x82, strings.Repeat("x", 1<<20+1))), "close 1009 message too big|EOF", "1009 message too big"},
		{"", "", "1006 "},
	} {
		p, _ := open(r, "/", "")
		if c.send == "" {
			p.Close()
		} else {
			go io.WriteString(p, c.send)
			for _, w := range strings.Split(c.peer, "|") {
				got := p.frame()
				if got != w {
					t.Errorf("%.100q: %q, want %q", c.send, got, w)
				}
				if strings.HasPrefix(got, "close 4001") {
					p.send(0x88, "\x0f\xa1")
				}
			}
		}
		if got := <-told; got != c.told {
			t.Errorf("%.100q: the application is told %q, want %q", c.send, got, c.told)
		}
	}
	eventually(t, "no WebSocket is left", func() bool { return len(r.keeper.sockets.list()) == 0 && r.openSockets() == 0 })
}

// An application that takes nothing has its client stop, and what it has sent is all there.
func TestWebSocketReadingPauses(t *testing.T) { overBoth(t, testWebSocketReadingPauses) }

func testWebSocketReadingPauses(t *testing.T, open openSocket) {
	const n = 4000
	go_on := make(chan struct{})
	sum := make(chan int, 1)
	r := serveSockets(t, socketConfig(), func(a *socketApp) {
		<-go_on
		got := 0
		for {
			kind, data, _ := a.receive()
			if kind == websocket.IsClose {
				break
			}
			if !strings.HasPrefix(data, fmt.Sprintf("%d ", got)) {
				t.Errorf("message %d is %.10q", got, data)
				break
			}
			got++
		}
		a.w.Done(websocket.Normal, "")
		sum <- got
	})
	p, _ := open(r, "/", "")
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for i := range n {
			p.Write(clientFrame(0x81, fmt.Sprintf("%d %s", i, strings.Repeat("x", 1000))))
		}
		p.Write(clientFrame(0x88, ""))
	}()
	select {
	case <-sent:
		t.Error("4 MB have been taken, though nobody asked for them")
	case <-time.After(100 * time.Millisecond):
	}
	w := r.only()
	w.mu.Lock()
	if len(w.queue) > socketMessages || w.held > socketBytes+2000 {
		t.Errorf("%d messages, %d bytes wait", len(w.queue), w.held)
	}
	w.mu.Unlock()
	close(go_on)
	if got := <-sum; got != n {
		t.Errorf("%d of %d messages", got, n)
	}
	if left := r.mem.streamBytes.Load(); left != 0 {
		t.Errorf("%d bytes are still counted", left)
	}
}

// A client that does not read has the application wait.
func TestWebSocketBackPressure(t *testing.T) { overBoth(t, testWebSocketBackPressure) }

func testWebSocketBackPressure(t *testing.T, open openSocket) {
	done := make(chan int, 1)
	r := serveSockets(t, socketConfig(), func(a *socketApp) {
		data := bytes.Repeat([]byte("x"), 100000)
		waited := 0
		for range 200 {
			if rc, _ := a.w.Send(websocket.Binary, data, 0); rc == WriteWait {
				if a.w.c.out.left() > outLimit+200000 {
					t.Errorf("%d bytes wait", a.w.c.out.left())
				}
				waited++
				a.await(NoticeRoom)
			}
		}
		a.w.Done(websocket.Normal, "")
		done <- waited
	})
	p, _ := open(r, "/", "")
	for range 200 {
		if got := p.frame(); len(got) != 100002 {
			t.Fatalf("%.100q", got)
		}
	}
	p.want("close 1000 ")
	if <-done == 0 {
		t.Error("the application has not had to wait")
	}
}

// Who does not read for a while has the last of his pings answered when he does again.
func TestWebSocketPingsOwed(t *testing.T) { overBoth(t, testWebSocketPingsOwed) }

func testWebSocketPingsOwed(t *testing.T, open openSocket) {
	full, heard := make(chan int, 1), make(chan bool)
	r := serveSockets(t, socketConfig(), func(a *socketApp) {
		data := bytes.Repeat([]byte("x"), 100000)
		n := 1
		for ; ; n++ {
			if rc, _ := a.w.Send(websocket.Binary, data, 0); rc == WriteWait {
				break
			}
		}
		full <- n
		a.receive()
		close(heard)
		_, _, _ = a.receive()
		a.w.Done(websocket.Normal, "")
	})
	p, _ := open(r, "/", "")
	n := <-full
	for _, ping := range []string{"one", "two", ""} {
		p.send(0x89, ping)
		p.send(0x89, "last"+ping)
	}
	p.send(0x81, "all pings have come")
	<-heard
	for pongs := 0; n > 0 || pongs == 0; {
		switch got := p.frame(); {
		case len(got) == 100002:
			n--
		case got == "10 last":
			pongs++
		default:
			t.Fatalf("%.100q", got)
		}
	}
}

// Pings are answered, and the end seen, while all threads are away.
func TestWebSocketWhileBlocked(t *testing.T) { overBoth(t, testWebSocketWhileBlocked) }

func testWebSocketWhileBlocked(t *testing.T, open openSocket) {
	blocked, free := make(chan struct{}), make(chan struct{})
	r := serveSockets(t, socketConfig(), echoSocket, func(r *rig) {
		app := r.app
		r.app = func(c *call) {
			if c.target == "/block" {
				close(blocked)
				<-free
			}
			app(c)
		}
	})
	p, _ := open(r, "/", "")
	other := r.dial()
	io.WriteString(other, "GET /block HTTP/1.1\r\nHost: a\r\n\r\n")
	<-blocked
	p.send(0x89, "are you there?")
	p.want("10 are you there?")
	close(free)
	p.send(0x81, "x")
	p.want("1 x")
}

func TestWebSocketPings(t *testing.T) { overBoth(t, testWebSocketPings) }

func testWebSocketPings(t *testing.T, open openSocket) {
	cfg := socketConfig()
	cfg.WSPingInterval, cfg.WSPingTimeout = 20*time.Millisecond, 2*time.Second
	told := make(chan int, 2)
	r := serveSockets(t, cfg, func(a *socketApp) {
		_, _, code := a.receive()
		a.w.Done(websocket.Normal, "")
		told <- code
	})
	p, _ := open(r, "/", "")
	for range 3 {
		ping := p.frame()
		if !strings.HasPrefix(ping, "9 ") {
			t.Fatalf("%q", ping)
		}
		p.send(0x8a, ping[2:])
	}
	if got := p.frame(); !strings.HasPrefix(got, "9 ") { // not answered
		t.Fatalf("%q", got)
	}
	p.want("close 1011 keepalive ping timeout")
	if code := <-told; code != websocket.Abnormal {
		t.Errorf("the application is told %d", code)
	}
	if n := r.slot.Counters.Timeouts[protocol.TimeoutPing].Load(); n != 1 {
		t.Errorf("%d are counted", n)
	}
}

func TestWebSocketDrain(t *testing.T) {
	for _, c := range []struct {
		mode protocol.DrainMode
		want string
		code int
	}{{protocol.DrainReplaced, "close 1012 ", 1012}, {protocol.DrainStop, "close 1001 ", 1001}} {
		told := make(chan int, 8)
		r := serveSockets(t, socketConfig(), func(a *socketApp) {
			_, _, code := a.receive()
			a.w.Done(websocket.Normal, "")
			told <- code
		})
		var all []*wsPeer
		for range 8 {
			p, _ := open(t, r.dial(), "/", "")
			all = append(all, p)
		}
		r.Drain(c.mode, time.Second)
		for _, p := range all {
			p.want(c.want)
			if code := <-told; code != c.code {
				t.Errorf("the application is told %d", code)
			}
			p.send(0x88, "\x03\xf4")
			p.want("EOF")
		}
		eventually(t, "the worker is drained", r.isDrained)
		r.stopNow()
	}
}

// A client that is late finds our last word, and the end, and no reset for its answer;
// however long the worker has waited for it. A stop that comes on top waits for less.
func TestWebSocketDrainLate(t *testing.T) {
	for _, c := range []struct {
		mode protocol.DrainMode
		stop bool
		want string
	}{{protocol.DrainReplaced, false, "close 1012 "}, {protocol.DrainStop, false, "close 1001 "}, {protocol.DrainReplaced, true, "close 1012 "}} {
		r := serveSockets(t, socketConfig(), func(a *socketApp) {
			a.receive()
			a.w.Done(websocket.Normal, "")
		})
		p, _ := open(t, r.dialTCP(), "/", "")
		grace := 4 * time.Second
		if c.stop {
			grace = time.Hour
		}
		r.Drain(c.mode, grace)
		if c.stop {
			if b, err := p.r.Peek(1); err != nil || b[0] != 0x88 {
				t.Fatalf("%q, %v", b, err)
			}
			r.Drain(protocol.DrainStop, grace)
		}
		eventually(t, "the worker is drained", r.isDrained)
		p.want(c.want)
		p.send(0x88, "\x03\xf4")
		p.want("EOF")
		r.stopNow()
	}
}

func TestWebSocketDeflate(t *testing.T) { overBoth(t, testWebSocketDeflate) }

func testWebSocketDeflate(t *testing.T, open openSocket) {
	r := serveSockets(t, socketConfig(), echoSocket)
	p, head := open(r, "/", "Sec-WebSocket-Extensions: permessage-deflate\r\n")
	if !strings.Contains(head, "permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n") {
		t.Fatal(head)
	}
	p.send(0xc1, "\xf2\x48\xcd\xc9\xc9\x07\x00")
	p.want("1 Hello")
	p.send(0x81, strings.Repeat("a", 1000))
	var h [2]byte
	if _, err := io.ReadFull(p.r, h[:]); err != nil || h[0] != 0xc1 || h[1] > 50 {
		t.Errorf("%x, %v: the answer is not compressed", h, err)
	}
}

func TestWebSocketTLS(t *testing.T) {
	cfg := socketConfig()
	cfg.Listeners[0].TLS = true
	r := serveSockets(t, cfg, echoSocket, func(r *rig) {
		r.material(&protocol.TLSMaterial{Pairs: []protocol.KeyPair{keyPair(t, "localhost")}, Protocols: []string{"http/1.1"}, TicketKeys: [][32]byte{{1}}})
	})
	p, _ := open(t, r.dialTLS(nil), "/", "")
	big := strings.Repeat("x", 300000)
	for range 5 {
		p.send(0x82, big)
		p.want("2 " + big)
		p.send(0x81, "small")
		p.want("1 small")
	}
	p.send(0x88, "\x03\xe8")
	p.want("close 1000 ", "EOF")
}
