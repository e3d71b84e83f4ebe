package e2e

import (
	"bufio"
	"crypto/tls"
	endian "encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// The kinds of frames.
const (
	frameText   = 1
	frameBinary = 2
	frameClose  = 8
	framePing   = 9
	framePong   = 10
)

// socket is a client's WebSocket, as plain as can be: what is tested is not what it is
// tested with.
type socket struct {
	t        *testing.T
	conn     net.Conn
	r        *bufio.Reader
	response *http.Response
}

// dialSocket asks for a WebSocket, and returns it, or a refusal's response; secure: over
// TLS. fields are further lines of the head.
func (s *server) dialSocket(t *testing.T, path string, secure bool, fields ...string) *socket {
	t.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	if secure {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	head := "GET " + path + " HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	for _, f := range fields {
		head += f + "\r\n"
	}
	if _, err := io.WriteString(c, head+"\r\n"); err != nil {
		t.Fatal(err)
	}
	w := &socket{t: t, conn: c, r: bufio.NewReader(c)}
	if w.response, err = http.ReadResponse(w.r, nil); err != nil {
		t.Fatal(err)
	}
	if w.response.StatusCode == 101 && w.response.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Errorf("Sec-WebSocket-Accept: %v", w.response.Header)
	}
	return w
}

// openSocket is dialSocket that wants one.
func (s *server) openSocket(t *testing.T, path string, secure bool, fields ...string) *socket {
	t.Helper()
	w := s.dialSocket(t, path, secure, fields...)
	if w.response.StatusCode != 101 {
		b, _ := io.ReadAll(w.response.Body)
		t.Fatalf("%s: %d %q", path, w.response.StatusCode, b)
	}
	return w
}

// send sends a whole message, masked.
func (w *socket) send(kind byte, payload string) {
	w.t.Helper()
	frame := []byte{0x80 | kind}
	switch n := len(payload); {
	case n < 126:
		frame = append(frame, 0x80|byte(n))
	case n < 1<<16:
		frame = endian.BigEndian.AppendUint16(append(frame, 0x80|126), uint16(n))
	default:
		frame = endian.BigEndian.AppendUint64(append(frame, 0x80|127), uint64(n))
	}
	mask := [4]byte{1, 2, 3, 4}
	frame = append(frame, mask[:]...)
	for i := range len(payload) {
		frame = append(frame, payload[i]^mask[i%4])
	}
	if _, err := w.conn.Write(frame); err != nil {
		w.t.Fatal(err)
	}
}

// frame reads the next frame.
func (w *socket) frame() (kind byte, payload string) {
	w.t.Helper()
	var head [2]byte
	w.read(head[:])
	n := uint64(head[1] & 127)
	switch n {
	case 126:
		var b [2]byte
		w.read(b[:])
		n = uint64(endian.BigEndian.Uint16(b[:]))
	case 127:
		var b [8]byte
		w.read(b[:])
		n = endian.BigEndian.Uint64(b[:])
	}
	b := make([]byte, n)
	w.read(b)
	return head[0] & 15, string(b)
}

func (w *socket) read(b []byte) {
	w.t.Helper()
	if _, err := io.ReadFull(w.r, b); err != nil {
		w.t.Fatal(err)
	}
}

// want wants this frame next; pings are answered.
func (w *socket) want(kind byte, payload string) {
	w.t.Helper()
	for {
		k, p := w.frame()
		if k == framePing {
			w.send(framePong, p)
			continue
		}
		if k != kind || p != payload {
			w.t.Errorf("got a frame %d %.200q, want %d %.200q", k, p, kind, payload)
		}
		return
	}
}

// close ends it in good order, with a code.
func (w *socket) close(code uint16) {
	w.t.Helper()
	payload := string(endian.BigEndian.AppendUint16(nil, code))
	w.send(frameClose, payload)
	w.want(frameClose, payload)
}

// TestASGIFrameworkSockets has an echo by each framework, over TCP and TLS.
func TestASGIFrameworkSockets(t *testing.T) {
	cert := newPair(t, t.TempDir(), "localhost", 1)
	for _, app := range []string{"starletteapp:app", "fastapiapp:app", "djangoapp:channels", "quartapp:app", "litestarapp:app"} {
		for _, loop := range loops {
			t.Run(app+"/"+loop, func(t *testing.T) {
				secure := loop == loops[0]
				args := []string{"--loop", loop, app}
				if secure {
					args = append(cert.args(), args...)
				}
				s := startASGI(t, args...)
				for range 2 {
					w := s.openSocket(t, "/ws", secure, "Sec-WebSocket-Protocol: chat, other")
					if p := w.response.Header.Get("Sec-WebSocket-Protocol"); p != "chat" {
						t.Errorf("subprotocol %q", p)
					}
					for _, text := range []string{"hello", "héllo", strings.Repeat("long ", 30_000)} {
						w.send(frameText, text)
						w.want(frameText, "echo "+text)
					}
					w.close(1000)
				}
				if strings.Contains(s.log.String(), "Traceback") {
					t.Error("an exception is in the log")
				}
			})
		}
	}
}

// TestASGISubscription subscribes by GraphQL's protocol for WebSockets.
func TestASGISubscription(t *testing.T) {
	s := startASGI(t, "strawberryapp:app")
	c := newCaller(t, "TCP", "http://"+s.addr, protocols(false), "tcp", s.addr)
	w := s.openSocket(t, "/", false, "Sec-WebSocket-Protocol: graphql-transport-ws")
	w.send(frameText, `{"type": "connection_init"}`)
	w.want(frameText, `{"type":"connection_ack"}`)
	w.send(frameText, `{"type": "subscribe", "id": "1", "payload": {"query": "subscription { rows }"}}`)
	w.want(frameText, `{"id":"1","type":"next","payload":{"data":{"rows":"one"}}}`)
	c.want(t, `{"data":{"release":"released"}}`, "POST", "/", "application/json", strings.NewReader(`{"query": "mutation { release }"}`))
	w.want(frameText, `{"id":"1","type":"next","payload":{"data":{"rows":"two"}}}`)
	w.want(frameText, `{"id":"1","type":"complete"}`)
	w.close(1000)
}

// TestASGISocketIOSocket speaks Engine.IO by a WebSocket from the start.
func TestASGISocketIOSocket(t *testing.T) {
	s := startASGI(t, "socketioapp:app")
	w := s.openSocket(t, "/socket.io/?EIO=4&transport=websocket", false)
	if kind, p := w.frame(); kind != frameText || !strings.HasPrefix(p, "0{") {
		t.Fatalf("opened: %q", p)
	}
	w.send(frameText, "40")
	if kind, p := w.frame(); kind != frameText || !strings.HasPrefix(p, "40{") {
		t.Fatalf("connected: %q", p)
	}
	for i := range 3 {
		w.send(frameText, fmt.Sprintf(`42["say","hello %d"]`, i))
		w.want(frameText, fmt.Sprintf(`42["said","echo hello %d"]`, i))
	}
	w.send(frameText, "41")
	w.send(frameClose, "\x03\xe8")
	w.want(frameClose, "\x03\xe8")
}
