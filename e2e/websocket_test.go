package e2e

import (
	"bufio"
	"crypto/tls"
	order "encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"hostler/internal/testtunnel"
)

// wsClient is a WebSocket's client.
type wsClient struct {
	t *testing.T
	net.Conn
	r    *bufio.Reader
	head *http.Response
}

// accepted reports whether there is a WebSocket.
func (w *wsClient) accepted() bool {
	if w.head.ProtoMajor == 2 {
		return w.head.StatusCode == 200
	}
	return w.head.StatusCode == 101 && w.head.Header.Get("Sec-WebSocket-Accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
}

// wsOpen makes a handshake on a connection.
func wsOpen(t *testing.T, c net.Conn, target, fields string) *wsClient {
	t.Helper()
	return wsOpenWith(t, c, target, fields, "")
}

// wsOpenWith is wsOpen with something behind the handshake that does not wait for its answer.
func wsOpenWith(t *testing.T, c net.Conn, target, fields, behind string) *wsClient {
	t.Helper()
	t.Cleanup(func() { c.Close() })
	return wsShake(t, c, target, fields, behind)
}

// wsShake is wsOpenWith of a connection that its caller closes.
func wsShake(t *testing.T, c net.Conn, target, fields, behind string) *wsClient {
	t.Helper()
	c.SetDeadline(time.Now().Add(60 * time.Second))
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n%s", target, fields, behind)
	w := &wsClient{t: t, Conn: c, r: bufio.NewReader(c)}
	var err error
	if w.head, err = http.ReadResponse(w.r, nil); err != nil {
		t.Fatalf("%s: %v", target, err)
	}
	return w
}

func (s *server) websocket(target, fields string) *wsClient {
	s.t.Helper()
	return wsOpen(s.t, s.reach(), target, fields)
}

// reach connects as clients of s do.
func (s *server) reach() net.Conn {
	s.t.Helper()
	if !s.overTLS {
		return s.dialTCP()
	}
	c := tls.Client(s.dialTCP(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err := c.Handshake(); err != nil {
		s.t.Fatal(err)
	}
	return c
}

func (s *server) dialTCP() net.Conn {
	s.t.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// say sends a frame.
func (w *wsClient) say(first byte, payload string) {
	w.t.Helper()
	b := []byte{first}
	if n := len(payload); n < 126 {
		b = append(b, 0x80|byte(n))
	} else {
		b = order.BigEndian.AppendUint64(append(b, 0xff), uint64(n))
		if n < 1<<16 {
			b = order.BigEndian.AppendUint16([]byte{first, 0xfe}, uint16(n))
		}
	}
	if _, err := w.Write(append(append(b, 0, 0, 0, 0), payload...)); err != nil {
		w.t.Fatal(err)
	}
}

// hear reads a frame: "opcode payload", "close code reason", or the error.
func (w *wsClient) hear() string {
	var h [8]byte
	if _, err := io.ReadFull(w.r, h[:2]); err != nil {
		return err.Error()
	}
	op, n := h[0]&15, uint64(h[1])
	switch n {
	case 126:
		io.ReadFull(w.r, h[:2])
		n = uint64(order.BigEndian.Uint16(h[:]))
	case 127:
		io.ReadFull(w.r, h[:8])
		n = order.BigEndian.Uint64(h[:])
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(w.r, b); err != nil {
		return err.Error()
	}
	if op == 8 && n >= 2 {
		return fmt.Sprintf("close %d %s", order.BigEndian.Uint16(b), b[2:])
	}
	return fmt.Sprintf("%d %s", op, b)
}

func (w *wsClient) want(all ...string) {
	w.t.Helper()
	for _, want := range all {
		if got := w.hear(); got != want {
			w.t.Fatalf("%.200q, want %.200q", got, want)
		}
	}
}

// TestWebSocket: what an application and a client see of a WebSocket, on each CPython.
func TestWebSocket(t *testing.T) {
	for _, python := range cpythons(t) {
		t.Run(python, func(t *testing.T) { testWebSocket(t, "1.1", "--python", python, "sockets:app") })
	}
}

// TestWebSocketHTTP2: it is the same over a stream of HTTP/2 (RFC 8441).
func TestWebSocketHTTP2(t *testing.T) {
	for _, loop := range loops {
		t.Run(loop, func(t *testing.T) {
			testWebSocket(t, "2", append(asgiArgs(t), "--http2-cleartext", "--loop", loop, "sockets:app")...)
		})
	}
}

func testWebSocket(t *testing.T, version string, args ...string) {
	s := start(t, append([]string{"--workers", "1", "--graceful-timeout", "3"}, args...)...)
	open := s.websocket
	if version == "2" {
		open = func(target, fields string) *wsClient {
			t.Helper()
			return wsTunnel(t, s.dialTCP(), target, fields)
		}
	}
	w := open("/", "")
	if !w.accepted() {
		t.Fatal(w.head)
	}
	long := strings.Repeat("é", 100000)
	w.say(0x81, "Hello")
	w.say(0x82, "\x00\xff")
	w.say(0x81, long)
	w.want("1 Hello", "2 \x00\xff", "1 "+long)
	w.say(0x01, "in ")
	w.say(0x89, "?")
	w.want("10 ?")
	w.say(0x80, "two")
	w.want("1 in two")
	w.say(0x88, "\x0f\xa3bye")
	w.want("close 4003 ", "EOF")
	s.waitLog("disconnect 4003 'bye'")
	s.waitLog("then ClientDisconnected")

	cut := open("/", "")
	cut.Close()
	s.waitLog("disconnect 1006 ''")

	w = open("/look?a=b", "Sec-WebSocket-Protocol: one, two\r\nSec-WebSocket-Protocol: three\r\n")
	if h := w.head.Header; h.Get("Sec-WebSocket-Protocol") != "three" || h.Get("X-Accepted") != "yes" {
		t.Error(h)
	}
	w.want("1 websocket ws "+version+" 2.5 ['one', 'two', 'three'] False ['websocket.http.response'] a=b", "close 4001 änough")
	w.say(0x88, "\x0f\xa1")
	w.want("EOF")
	s.waitLog("look: websocket.disconnect 4001")

	for path, want := range map[string]string{"/deny": "403 Forbidden ", "/deny_with": "401 Unauthorized who are you?", "/raises_first": "500 Internal Server Error 500 Internal Server Error\n"} {
		w = open(path, "")
		body, err := io.ReadAll(w.head.Body)
		if got := w.head.Status + " " + string(body); got != want || err != nil {
			t.Errorf("%s: %q, %v", path, got, err)
		}
		if path == "/deny_with" && w.head.Header.Get("X-Why") != "no" {
			t.Error(w.head.Header)
		}
		if !w.head.Close && version == "1.1" {
			t.Errorf("%s: the connection goes on, though what comes may be frames", path)
		}
	}
	s.waitLog("ValueError: meant, before a WebSocket")

	w = open("/raises", "")
	w.say(0x81, "x")
	w.want("close 1011 ")
	s.waitLog(`msg="the application raised on GET /raises" worker=1`)
	s.waitLog("ValueError: meant, in a WebSocket")
	open("/returns", "").want("close 1000 ")
	open("/wrong", "").want("1 done", "close 1000 ")
	w = open("/waits", "")
	w.want("1 now")
	w.say(0x81, "b")
	w.say(0x81, "a")
	w.want("1 a b", "close 1000 ")

	w = open("/floods", "")
	for range 300 {
		if got := w.hear(); len(got) != 100002 {
			t.Fatalf("%.100q", got)
		}
	}
	w.want("close 1000 ")
	s.waitLog("floods: all is sent")

	for _, c := range []struct{ frame, want string }{
		{"\x83\x80\x00\x00\x00\x00", "close 1002 unknown opcode"},
		{"\x81\x81\x00\x00\x00\x00\xff", "close 1007 text is not UTF-8"},
		{"\x82\xff\x00\x00\x00\x00\x01\x00\x00\x01\x00\x00\x00\x00", "close 1009 message too big"},
	} {
		w = open("/", "")
		io.WriteString(w, c.frame)
		w.want(c.want)
	}
	s.waitLog("disconnect 1009 'message too big'")

	// While the loop is blocked, pings are answered.
	w = open("/", "")
	w.say(0x81, "x")
	w.want("1 x")
	done := make(chan struct{})
	go func() { s.get("/block"); close(done) }()
	time.Sleep(300 * time.Millisecond) // it may come before that is blocked, and would pass then, too
	w.say(0x89, "still there?")
	w.want("10 still there?")
	select {
	case <-done:
		t.Error("the ping was answered when the loop was free again")
	default:
	}
	<-done
	if n := s.metric("hostler_websocket_messages_total", `direction="in"`); n < 8 {
		t.Errorf("%v messages are counted", n)
	}
	s.eventually("it is counted as open", func() bool { return s.metric("hostler_websockets", "") == 1 })

	// A reload closes it with 1012, a stop with 1001; what does not listen is ended.
	stubborn := open("/stubborn", "")
	s.signal(syscall.SIGHUP)
	w.want("close 1012 ")
	stubborn.want("close 1012 ")
	s.waitLog("disconnect 1012 ''")
	w = open("/", "")
	s.signal(syscall.SIGTERM)
	w.want("close 1001 ")
	<-s.exited
	if text := s.log.String(); strings.Contains(text, "never retrieved") || strings.Contains(text, "was destroyed") {
		t.Errorf("asyncio complains: %s", text)
	}
}

func TestWebSocketTLS(t *testing.T) {
	s := start(t, append(newPair(t, t.TempDir(), "localhost", 1).args(), "sockets:app")...)
	for _, o := range []struct {
		alpn, version string
		open          func(*testing.T, net.Conn, string, string) *wsClient
	}{{"http/1.1", "1.1", wsOpen}, {"h2", "2", wsTunnel}} {
		c, err := tls.Dial("tcp", s.addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{o.alpn}})
		if err != nil {
			t.Fatal(err)
		}
		w := o.open(t, c, "/look", "Sec-WebSocket-Protocol: a\r\n")
		w.want("1 websocket wss "+o.version+" 2.5 ['a'] False ['tls', 'websocket.http.response'] ", "close 4001 änough")
	}
}

// An application of WSGI has no WebSockets over HTTP/2, and browsers are not led to believe so.
func TestWebSocketHTTP2WSGI(t *testing.T) {
	s := start(t, "--http2-cleartext", "wire:app")
	if _, _, err := testtunnel.Open(s.dialTCP(), "http", "/", ""); err == nil || !strings.Contains(err.Error(), "takes no WebSockets") {
		t.Error(err)
	}
}
