package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	coder "github.com/coder/websocket"
	"github.com/gorilla/websocket"
	xnet "golang.org/x/net/websocket"
)

// goSocket is a WebSocket of one of Go's libraries. Kinds are those of frames, and are the
// libraries', too.
type goSocket interface {
	// send sends a message, a frame for each piece, and a ping behind the first of several.
	send(kind byte, pieces ...string) error
	receive() (kind byte, payload string, err error)
	answered(t *testing.T) // waits until the pings are
	// end closes it, and returns what the server says to that.
	end(code int, reason string) error
	drop()
}

// goClients are the libraries, with each way to offer permessage-deflate.
var goClients = []struct {
	name    string
	deflate bool // it offers that
	mute    bool // it knows nothing of codes
	dial    func(url string) (goSocket, http.Header, error)
}{
	{"gorilla", false, false, func(url string) (goSocket, http.Header, error) { return dialGorilla(url, false) }},
	{"gorilla, deflate", true, false, func(url string) (goSocket, http.Header, error) { return dialGorilla(url, true) }},
	{"coder", false, false, func(url string) (goSocket, http.Header, error) { return dialCoder(url, coder.CompressionDisabled) }},
	{"coder, deflate", true, false, func(url string) (goSocket, http.Header, error) {
		return dialCoder(url, coder.CompressionNoContextTakeover)
	}},
	{"coder, deflate with contexts", true, false, func(url string) (goSocket, http.Header, error) {
		return dialCoder(url, coder.CompressionContextTakeover)
	}},
	{"x/net", false, true, dialXNet},
}

// TestWebSocketGo: WebSockets for those who write their clients in Go, on cleartext and TLS.
func TestWebSocketGo(t *testing.T) {
	cert := newPair(t, t.TempDir(), "localhost", 1).args()
	for _, o := range []struct {
		name, scheme, deflate string
		args                  []string
	}{
		{"cleartext", "ws", "true", nil},
		{"TLS", "wss", "true", cert},
		{"no deflate", "ws", "false", nil},
	} {
		t.Run(o.name, func(t *testing.T) {
			s := start(t, append(o.args, "--workers", "1", "--ws-max-size", "1m", "--ws-per-message-deflate", o.deflate, "--graceful-timeout", "4", "sockets:app")...)
			url := o.scheme + "://" + s.addr
			for _, c := range goClients {
				t.Run(c.name, func(t *testing.T) {
					open := func(path string) goSocket {
						t.Helper()
						w, head, err := c.dial(url + path)
						if err != nil {
							t.Fatal(err)
						}
						t.Cleanup(w.drop)
						if got, want := strings.HasPrefix(head.Get("Sec-WebSocket-Extensions"), "permessage-deflate"), c.deflate && o.deflate == "true"; got != want {
							t.Fatalf("deflate is agreed on: %v, not %v", got, want)
						}
						return w
					}
					goTalk(t, open("/"))
					if c.mute {
						return
					}
					goEnds(t, s, open)
				})
			}
			goLeft(t, s, url)
			if log := s.log.String(); strings.Contains(log, "Traceback") && strings.Count(log, "Traceback") != strings.Count(log, "ValueError: meant, in a WebSocket") {
				t.Error("an exception is in the log")
			}
		})
	}
}

// goTalk has an echo of all kinds of messages.
func goTalk(t *testing.T, w goSocket) {
	noise := make([]byte, 1_000_000)
	rand.New(rand.NewSource(1)).Read(noise)
	for _, m := range []struct {
		kind   byte
		pieces []string
	}{
		{frameText, []string{""}},
		{frameText, []string{"Hello"}},
		{frameText, []string{"Hello"}}, // of a context that is taken over next to nothing is left
		{frameBinary, []string{string(noise)}},
		{frameText, []string{strings.Repeat("as long as this is, ", 50_000)}},
		{frameText, []string{"one, ", "", "tw", "o"}},
		{frameText, []string{"half of \xc3", "\xa9"}},
		{frameBinary, []string{string(noise[:300_000]), string(noise[300_000:])}},
	} {
		whole := strings.Join(m.pieces, "")
		if err := w.send(m.kind, m.pieces...); err != nil {
			t.Fatal(err)
		}
		if kind, got, err := w.receive(); err != nil || kind != m.kind || got != whole {
			t.Fatalf("%d %.100q (%d bytes), %v, not %d %.100q (%d bytes)", kind, got, len(got), err, m.kind, whole, len(whole))
		}
	}
	w.answered(t)
	const many = 500
	for i := range many {
		if err := w.send(frameText, fmt.Sprint("message ", i)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range many {
		if _, got, err := w.receive(); err != nil || got != fmt.Sprint("message ", i) {
			t.Fatalf("%q, %v", got, err)
		}
	}
}

// goEnds has WebSockets that end in each way, from either side.
func goEnds(t *testing.T, s *server, open func(string) goSocket) {
	before := strings.Count(s.log.String(), "disconnect 4003 'bye'")
	if err := open("/").end(4003, "bye"); err != nil {
		t.Error(err)
	}
	s.waitLog("disconnect 4003 'bye'", before+1)

	w := open("/look")
	if _, _, err := w.receive(); err != nil {
		t.Error(err)
	}
	goClosed(t, w, "4001 änough")
	goClosed(t, open("/returns"), "1000 ")

	w = open("/raises")
	if err := w.send(frameText, "x"); err != nil {
		t.Error(err)
	}
	goClosed(t, w, "1011 ")

	// What is too long the server does not wait for; its client, who has more on the way, has to hear why.
	w = open("/")
	_ = w.send(frameBinary, strings.Repeat("no", 600_000))
	goClosed(t, w, "1009 message too big")
}

// goLeft has WebSockets of all clients when the server reloads, and stops.
func goLeft(t *testing.T, s *server, url string) {
	for _, end := range []struct {
		signal syscall.Signal
		want   string
	}{{syscall.SIGHUP, "1012 "}, {syscall.SIGTERM, "1001 "}} {
		all := make(map[string]goSocket)
		for _, c := range goClients {
			w, _, err := c.dial(url)
			if err != nil {
				t.Fatal(c.name, err)
			}
			defer w.drop()
			if err := w.send(frameText, "here"); err != nil {
				t.Fatal(c.name, err)
			}
			if _, got, err := w.receive(); err != nil || got != "here" {
				t.Fatal(c.name, got, err)
			}
			if !c.mute {
				all[c.name] = w
			}
		}
		s.signal(end.signal)
		for name, w := range all {
			t.Run(name+", left", func(t *testing.T) { goClosed(t, w, end.want) })
		}
	}
	<-s.exited
}

// goClosed wants the server to end it, with this code and reason.
func goClosed(t *testing.T, w goSocket, want string) {
	t.Helper()
	_, text, err := w.receive()
	var g *websocket.CloseError
	var c coder.CloseError
	got := ""
	switch {
	case errors.As(err, &g):
		got = fmt.Sprint(g.Code, " ", g.Text)
	case errors.As(err, &c):
		got = fmt.Sprint(int(c.Code), " ", c.Reason)
	}
	if got != want {
		t.Errorf("%.100q, %v, not %q", text, err, want)
	}
}

// --- gorilla ---------------------------------------------------------------

type gorillaSocket struct {
	*websocket.Conn
	pings, pongs int
}

func dialGorilla(url string, deflate bool) (goSocket, http.Header, error) {
	d := websocket.Dialer{EnableCompression: deflate, WriteBufferSize: 1000, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	c, head, err := d.Dial(url, nil)
	if err != nil {
		return nil, nil, err
	}
	_ = c.UnderlyingConn().SetDeadline(time.Now().Add(60 * time.Second))
	w := &gorillaSocket{Conn: c}
	c.SetPongHandler(func(string) error { w.pongs++; return nil })
	return w, head.Header, nil
}

// Its frames are as long as its buffer, whatever the pieces are.
func (w *gorillaSocket) send(kind byte, pieces ...string) error {
	out, err := w.NextWriter(int(kind))
	for i, p := range pieces {
		if err == nil && i == 1 {
			w.pings++
			err = w.WriteControl(websocket.PingMessage, []byte("?"), time.Time{})
		}
		if err == nil {
			_, err = io.WriteString(out, p)
		}
	}
	if err != nil {
		return err
	}
	return out.Close()
}

func (w *gorillaSocket) receive() (byte, string, error) {
	kind, b, err := w.ReadMessage()
	return byte(kind), string(b), err
}

func (w *gorillaSocket) answered(t *testing.T) {
	if w.pings == 0 || w.pongs != w.pings {
		t.Errorf("%d pings, %d pongs", w.pings, w.pongs)
	}
}

func (w *gorillaSocket) end(code int, reason string) error {
	if err := w.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason)); err != nil {
		return err
	}
	if _, _, err := w.ReadMessage(); !websocket.IsCloseError(err, code) {
		return err
	}
	return nil
}

func (w *gorillaSocket) drop() { w.Close() }

// --- coder, once nhooyr ----------------------------------------------------

type coderSocket struct {
	*coder.Conn
	ctx   context.Context
	free  context.CancelFunc
	pings []chan error
}

func dialCoder(url string, mode coder.CompressionMode) (goSocket, http.Header, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	c, head, err := coder.Dial(ctx, url, &coder.DialOptions{
		CompressionMode: mode, CompressionThreshold: 1,
		HTTPClient: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}},
	})
	if err != nil {
		cancel()
		return nil, nil, err
	}
	c.SetReadLimit(1 << 30)
	return &coderSocket{Conn: c, ctx: ctx, free: cancel}, head.Header, nil
}

func (w *coderSocket) send(kind byte, pieces ...string) error {
	out, err := w.Writer(w.ctx, coder.MessageType(kind))
	for i, p := range pieces {
		if i == 1 {
			done := make(chan error, 1)
			w.pings = append(w.pings, done)
			go func() { done <- w.Ping(w.ctx) }()
		}
		if err == nil {
			_, err = io.WriteString(out, p)
		}
	}
	if err != nil {
		return err
	}
	return out.Close()
}

func (w *coderSocket) receive() (byte, string, error) {
	kind, b, err := w.Read(w.ctx)
	return byte(kind), string(b), err
}

// answered: a pong is seen by who reads, so there is something to read until all have come.
func (w *coderSocket) answered(t *testing.T) {
	if len(w.pings) == 0 {
		t.Error("there was no ping")
	}
	for _, ping := range w.pings {
		for waits := true; waits; {
			select {
			case err := <-ping:
				if err != nil {
					t.Fatal(err)
				}
				waits = false
			case <-time.After(10 * time.Millisecond):
				if err := w.send(frameText, "x"); err != nil {
					t.Fatal(err)
				}
				if _, _, err := w.receive(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

func (w *coderSocket) end(code int, reason string) error {
	return w.Close(coder.StatusCode(code), reason) // waits for the same code
}

func (w *coderSocket) drop() {
	_ = w.CloseNow()
	w.free()
}

// --- x/net -----------------------------------------------------------------

type xnetSocket struct{ *xnet.Conn }

func dialXNet(url string) (goSocket, http.Header, error) {
	c, err := xnet.NewConfig(url, "http://localhost")
	if err != nil {
		return nil, nil, err
	}
	c.TlsConfig = &tls.Config{InsecureSkipVerify: true}
	c.Dialer = &net.Dialer{Deadline: time.Now().Add(60 * time.Second)}
	w, err := xnet.DialConfig(c)
	if err != nil {
		return nil, nil, err
	}
	_ = w.SetDeadline(time.Now().Add(60 * time.Second))
	return &xnetSocket{w}, nil, nil
}

// It sends nothing in pieces; its pongs it drops.
func (w *xnetSocket) send(kind byte, pieces ...string) error {
	if len(pieces) > 1 {
		ping := xnet.Codec{Marshal: func(any) ([]byte, byte, error) { return []byte("?"), xnet.PingFrame, nil }}
		if err := ping.Send(w.Conn, nil); err != nil {
			return err
		}
	}
	message := xnet.Codec{Marshal: func(any) ([]byte, byte, error) { return []byte(strings.Join(pieces, "")), kind, nil }}
	return message.Send(w.Conn, nil)
}

func (w *xnetSocket) receive() (kind byte, payload string, err error) {
	err = xnet.Codec{Unmarshal: func(b []byte, k byte, _ any) error {
		kind, payload = k, string(bytes.Clone(b))
		return nil
	}}.Receive(w.Conn, nil)
	return kind, payload, err
}

func (w *xnetSocket) answered(*testing.T)   {}
func (w *xnetSocket) end(int, string) error { return w.Close() }
func (w *xnetSocket) drop()                 { w.Close() }
