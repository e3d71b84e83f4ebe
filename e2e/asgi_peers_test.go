package e2e

import (
	"io"
	"net"
	"strings"
	"testing"
)

// TestASGIPeers: what the suites of uvicorn, granian and Gunicorn (its asgi_compliance) ask of
// their servers, where no other test of ours asks it.
func TestASGIPeers(t *testing.T) {
	cert := newPair(t, t.TempDir(), "localhost", 1).args()
	for i, loop := range loops {
		t.Run(loop, func(t *testing.T) {
			args := []string{"--loop", loop, "--forwarded-allow-ips", "127.0.0.1", "--http2-cleartext", "peers:app"}
			s := startASGI(t, args...)
			callers := []*caller{newCaller(t, "TCP", "http://"+s.addr, protocols(false), "tcp", s.addr)}
			if i == 0 {
				secure := startASGI(t, append(cert, args...)...)
				callers = append(callers, newCaller(t, "HTTP/2", "https://"+secure.addr, protocols(true), "tcp", secure.addr))
			}
			for _, c := range callers {
				wholeStays(t, c)
			}
			forwardedSockets(t, s)
			leaves(t, s)
			for version, open := range map[string]func(*testing.T, net.Conn, string, string) *wsClient{"1.1": wsOpen, "2": wsTunnel} {
				t.Run("HTTP/"+version, func(t *testing.T) {
					peersSockets(t, s, func(target, fields string) *wsClient {
						t.Helper()
						return open(t, s.dialTCP(), target, fields)
					})
				})
			}
		})
	}
}

// wholeStays: a response that is whole stays good, whatever the application does behind it: with
// nothing in its body, too, of which nothing is out when that happens.
func wholeStays(t *testing.T, c *caller) {
	for _, response := range []struct {
		path, method, want string
		status             int
	}{
		{"/200-2-", "GET", "xx", 200}, {"/200-0-", "GET", "", 200}, {"/204-0-", "DELETE", "", 204},
		{"/302-0-", "POST", "", 302}, {"/304-0-", "GET", "", 304}, {"/200-2-", "HEAD", "", 200}, {"/404-0-", "HEAD", "", 404},
	} {
		for _, then := range []string{"return", "raise", "extra", "cancelled", "later"} {
			status, head, got := c.ask(t, response.method, response.path+then, "", nil)
			if status != response.status || got != response.want || head.Get("X-Then") != then {
				t.Errorf("%s: %s %s%s: %d %q %v", c.name, response.method, response.path, then, status, got, head)
			}
		}
	}
}

// forwardedSockets: who is told to be the client has a port, brackets, both or neither, or is not
// told.
func forwardedSockets(t *testing.T, s *server) {
	for fields, want := range map[string]string{
		"X-Forwarded-Proto: wss\r\nX-Forwarded-For: 1.2.3.4\r\n":         "wss 1.2.3.4",
		"X-Forwarded-Proto: https\r\nX-Forwarded-For: 1.2.3.4:99\r\n":    "wss 1.2.3.4",
		"X-Forwarded-Proto: ws\r\nX-Forwarded-For: [2001:db8::1]:99\r\n": "ws 2001:db8::1",
		"X-Forwarded-Proto: http\r\nX-Forwarded-For: 2001:db8::1\r\n":    "ws 2001:db8::1",
		"X-Forwarded-For: \r\n": "ws 127.0.0.1",
		"X-Forwarded-For: 203.0.113.66, 198.51.100.23\r\nX-Forwarded-For: 127.0.0.1\r\n": "ws 198.51.100.23",
	} {
		s.websocket("/scheme", fields).want("1 "+want, "close 1000 ")
	}
}

// leaves: a client that leaves before it has been accepted.
func leaves(t *testing.T, s *server) {
	c := s.dialTCP()
	_, _ = io.WriteString(c, "GET /leaves HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	s.waitLog("waits for a client to leave")
	c.Close()
	s.waitLog("leaves: websocket.disconnect 1006")
	s.waitLog("accept after that: ClientDisconnected")
}

func peersSockets(t *testing.T, s *server, open func(target, fields string) *wsClient) {
	for path, want := range map[string]string{
		"/denies": "403 denied", "/denies_and_raises": "401 ", "/closes_and_raises": "403 ",
		"/denies_twice": "500 500 Internal Server Error\n", "/denies_half": "500 500 Internal Server Error\n", "/returns": "500 500 Internal Server Error\n",
	} {
		w := open(path, "")
		if b, err := io.ReadAll(w.head.Body); err != nil || w.head.Status[:4]+string(b) != want {
			t.Errorf("%s: %s %q, %v", path, w.head.Status, b, err)
		}
	}
	shared := strings.Count(s.log.String(), "the state is told") // each has a copy of the state, of what lies in it none
	for i := range 2 {
		open("/state", "").want("1 2 "+strings.Repeat("x", shared+i+1), "close 1000 ")
	}
	before := strings.Count(s.log.String(), "reads nothing")
	w := open("/behind", "")
	s.waitLog("reads nothing", before+1)
	w.say(0x82, "one")
	w.say(0x82, "two")
	w.say(0x88, "\x03\xe9")
	open("/read", "").want("1 reads", "close 1000 ")
	w.want("close 1001 ")
	s.waitLog("behind: b'one'\nbehind: b'two'\nbehind: 1001", before+1)
}
