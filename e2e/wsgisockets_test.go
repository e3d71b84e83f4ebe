package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"hostler/internal/testtunnel"
)

// TestWSGISockets: what a WSGI application and a client see of a WebSocket, on each CPython.
func TestWSGISockets(t *testing.T) {
	for _, python := range cpythons(t) {
		t.Run(python, func(t *testing.T) {
			s := start(t, "--python", python, "--threads", "4", "--graceful-timeout", "5", "--access-logfile", "-", "wsgisockets:app")
			s.wsgiNative()
			s.wsgiRaw()
			s.wsgiEnds()
		})
	}
}

// TestWSGISocketsAlone: a single thread, which has a WebSocket for as long as that is open;
// and what else a worker can be.
func TestWSGISocketsAlone(t *testing.T) {
	for name, args := range map[string][]string{
		"one thread": {"--threads", "1"},
		"preload":    {"--threads", "4", "--preload"},
		"nobody":     {"--threads", "4", "--user", "nobody", "--python", "/usr/bin/python3"},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, append(args, "--workers", "1", "--graceful-timeout", "5", "--access-logfile", "-", "wsgisockets:app")...)
			s.wsgiNative()
			s.wsgiRaw()
			s.wsgiEnds()
		})
	}
}

// wsgiNative: hostler.websocket.
func (s *server) wsgiNative() {
	t := s.t
	t.Helper()
	w := s.websocket("/", "")
	if w.head.StatusCode != 101 || w.head.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
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
	s.waitLog("closed 4003 'bye'")
	s.waitLog("then hostler WebSocketClosed 4003 True")

	s.websocket("/", "").Close()
	s.waitLog("closed 1006 ''")

	w = s.websocket("/look", "Sec-WebSocket-Protocol: one, two\r\nSec-WebSocket-Protocol: three\r\n")
	if h := w.head.Header; h.Get("Sec-WebSocket-Protocol") != "three" || h.Get("X-Accepted") != "yes" {
		t.Error(h)
	}
	w.want("1 RuntimeError RuntimeError RuntimeError TypeError ValueError ValueError TypeError TypeError ValueError TypeError ValueError RuntimeError",
		"2 array", "2 view")
	if got := w.hear(); got != "1 None None [\"hostler: a connection is for the request's own thread to take\"]" &&
		got != "1 None None ['hostler: with --loop gevent a request belongs to the thread of the hub that runs it']" {
		t.Error(got)
	}
	w.want("close 4001 änough")
	w.say(0x88, "\x0f\xa1")
	w.want("EOF")
	s.waitLog("look: 4001")
	s.waitLog("write: BrokenPipeError")

	w = s.websocket("/iterate", "")
	w.say(0x81, "a")
	w.say(0x82, "b")
	w.say(0x88, "\x03\xe8")
	w.want("close 1000 ", "EOF")
	s.waitLog("iterated ['a', b'b']")
	s.waitLog("the result is closed")

	for path, want := range map[string]string{"/denied": "401 Unauthorized who are you?", "/raises_first": "500 Internal Server Error 500 Internal Server Error\n",
		"/plain": "200 OK plain ['hostler.websocket', 'gunicorn.socket', 'werkzeug.socket'] <hostler: the connection, as a socket>"} {
		w = s.websocket(path, "")
		body, err := io.ReadAll(w.head.Body)
		if got := w.head.Status + " " + string(body); got != want || err != nil {
			t.Errorf("%s: %q, %v", path, got, err)
		}
		if !w.head.Close {
			t.Errorf("%s: the connection goes on, though what comes may be frames", path)
		}
	}
	w = s.websocket("/raises", "")
	w.want("close 1011 ")
	w.say(0x88, "\x03\xf3")
	s.waitLog("ValueError: meant, in a WebSocket")
	w = s.websocket("/returns", "")
	w.want("close 1000 ")
	w.say(0x88, "\x03\xe8")
	w = s.websocket("/floods", "")
	for range 300 {
		if got := w.hear(); len(got) != 100002 {
			t.Fatalf("%.100q", got)
		}
	}
	w.want("close 1000 ")
	s.waitLog("floods: all is sent")
	w = s.websocket("/pushes", "")
	for i := range 100 {
		w.say(0x81, "x")
		w.want(fmt.Sprintf("1 push %d", i))
	}
	w.say(0x88, "\x03\xe8")
	s.waitLog("pushes: received 100")
	s.waitLog(`"GET /pushes HTTP/1.1" 101`)

	// What is no handshake is a request like any other.
	if got := s.raw("GET /plain HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n"); !strings.HasSuffix(got, "plain [] None") {
		t.Errorf("%q", got)
	}
	if _, got := s.get("/plain"); got != "plain [] None" {
		t.Errorf("%q", got)
	}
}

// wsgiRaw: the connection as a socket.
func (s *server) wsgiRaw() {
	t := s.t
	t.Helper()
	for _, path := range []string{"/raw", "/raw_werkzeug"} {
		w := s.websocket(path, "")
		long := strings.Repeat("x", 1<<20)
		w.say(0x81, "Hello")
		w.say(0x82, long)
		w.want("1 Hello", "2 "+long)
		w.say(0x88, "\x0f\xa3")
		w.want("close 4003 ", "EOF")
		s.waitLog(`"GET ` + path + ` HTTP/1.1" 101`)
	}
	s.waitLog("raw: closed 4003")
	s.waitLog("raw: True True")
	s.waitLog("raw: closed 4003 True True")

	// What has come behind the handshake is not lost.
	w := wsOpenWith(t, s.reach(), "/raw", "", "\x81\x82\x00\x00\x00\x00hi")
	w.want("1 hi")
	w.Close()
	s.waitLog("raw: EOFError")

	for range 20 { // another thread may be about to pass on what is answered
		s.websocket("/raw_closes", "").want("1 bye", "EOF")
	}
	s.websocket("/raw_raises", "").want("EOF")
	s.waitLog("ValueError: meant, with a socket")
	s.websocket("/raw_later", "").want("close 1000 ", "EOF")
	for path, want := range map[string]string{"/raw_unused": "403 Forbidden denied", "/raw_both": "200 OK hostler: the request's connection has been taken already"} {
		w := s.websocket(path, "")
		body, err := io.ReadAll(w.head.Body)
		if got := w.head.Status + " " + string(body); got != want || err != nil || !w.head.Close {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
	w = s.websocket("/raw_floods", "")
	for range 300 {
		if got := w.hear(); len(got) != 100002 {
			t.Fatalf("%.100q", got)
		}
	}
	w.want("EOF")
	s.waitLog("raw: all is sent")
	s.eventually("nothing is left", func() bool { return s.metric("hostler_websockets", "") == 0 })
	if text := s.log.String(); strings.Contains(text, "StopIteration") || strings.Contains(text, "panic") {
		t.Error(text)
	}
}

// wsgiEnds: a reload closes WebSockets with 1012, a stop with 1001, whoever speaks the
// protocol.
func (s *server) wsgiEnds() {
	t := s.t
	t.Helper()
	w := s.websocket("/", "")
	w.say(0x81, "x")
	w.want("1 x")
	s.eventually("it is counted as open", func() bool { return s.metric("hostler_websockets", "") == 1 })
	s.signal(syscall.SIGHUP)
	w.want("close 1012 ")
	w.say(0x88, "\x03\xf4")
	s.waitLog("closed 1012 ''")
	raw := s.websocket("/raw", "")
	raw.say(0x81, "x")
	raw.want("1 x")
	s.signal(syscall.SIGHUP)
	raw.want("close 1012 ", "EOF")
	s.waitLog("raw: closed 1012")
	w = s.websocket("/", "")
	w.say(0x81, "x")
	w.want("1 x")
	s.signal(syscall.SIGTERM)
	w.want("close 1001 ")
	<-s.exited
}

// TestWSGISocketsUpgrade: another binary takes over, and those who have WebSockets are told.
func TestWSGISocketsUpgrade(t *testing.T) {
	pidfile := filepath.Join(t.TempDir(), "pid")
	s := start(t, "--workers", "1", "--threads", "4", "--graceful-timeout", "4", "-p", pidfile, "wsgisockets:app")
	master := s.successor(pidfile)
	all := []*wsClient{s.websocket("/", ""), s.websocket("/raw", "")}
	for _, w := range all {
		w.say(0x81, "x")
		w.want("1 x")
	}
	s.signal(syscall.SIGUSR2)
	for _, w := range all {
		w.want("close 1012 ")
		w.say(0x88, "\x03\xf4")
	}
	if status := s.exitStatus(); status != 0 || master() == s.cmd.Process.Pid {
		t.Errorf("the old master: %d, and the pid file names %d", status, master())
	}
	for _, line := range []string{"closed 1012 ''", "raw: closed 1012"} {
		if !strings.Contains(s.log.String(), line) {
			t.Errorf("%q is not in the log", line)
		}
	}
	w := s.websocket("/", "")
	w.say(0x81, "x")
	w.want("1 x")
}

// TestWSGISocketsSecure: the same over TLS, and on a unix socket.
func TestWSGISocketsSecure(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s := start(t, append(newPair(t, t.TempDir(), "localhost", 1).args(), "--threads", "4", "-b", "unix:"+path, "wsgisockets:app")...)
	for name, dial := range map[string]func() (net.Conn, error){
		"tls": func() (net.Conn, error) {
			return tls.Dial("tcp", s.addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
		},
		"unix": func() (net.Conn, error) { return net.Dial("unix", path) },
	} {
		t.Run(name, func(t *testing.T) {
			for _, target := range []string{"/", "/raw"} {
				c, err := dial()
				if err != nil {
					t.Fatal(err)
				}
				w := wsOpen(t, c, target, "")
				long := strings.Repeat("x", 1<<20)
				w.say(0x81, "Hello")
				w.say(0x82, long)
				w.want("1 Hello", "2 "+long)
				w.say(0x88, "\x0f\xa3")
				w.want("close 4003 ", "EOF")
			}
		})
	}
}

// TestWSGISocketsTLS: all that they are they are over TLS, with threads and with greenlets. Who
// has a connection of HTTP/2 is not told that it may ask for one there (RFC 8441), is answered
// if it does, and has it on a connection beside, as browsers do.
func TestWSGISocketsTLS(t *testing.T) {
	for name, args := range map[string][]string{"threads": {"--threads", "4"}, "gevent": greenArgs(t)} {
		t.Run(name, func(t *testing.T) {
			args := append(args, newPair(t, t.TempDir(), "localhost", 1).args()...)
			s := start(t, append(args, "--workers", "1", "--graceful-timeout", "5", "--access-logfile", "-", "wsgisockets:app")...)
			s.overTLS = true
			dial := func() net.Conn {
				return tls.Client(s.dialTCP(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
			}
			if _, _, err := testtunnel.Open(dial(), "https", "/", ""); err == nil || !strings.Contains(err.Error(), "takes no WebSockets") {
				t.Error(err)
			}
			pages := s.secure(true, nil)
			page := func() {
				t.Helper()
				r, err := pages.Get("https://" + s.addr + "/plain")
				if err != nil {
					t.Fatal(err)
				}
				defer r.Body.Close()
				if b, err := io.ReadAll(r.Body); r.ProtoMajor != 2 || string(b) != "plain [] None" || err != nil {
					t.Errorf("%s %q, %v", r.Proto, b, err)
				}
			}
			page()
			w := s.websocket("/", "")
			w.say(0x81, "x")
			w.want("1 x")
			page()
			w.say(0x88, "\x03\xe8")
			w.want("close 1000 ", "EOF")
			s.wsgiNative()
			s.wsgiRaw()
			s.wsgiSlow()
			page()
			s.wsgiEnds()
		})
	}
}

// wsgiSlow: an application waits for a client that does not read, and others do not.
func (s *server) wsgiSlow() {
	t := s.t
	t.Helper()
	for path, sent := range map[string]string{"/floods": "floods: all is sent", "/raw_floods": "raw: all is sent"} {
		before := strings.Count(s.log.String(), sent)
		w := s.websocket(path, "")
		for range 10 {
			if _, text := s.get("/plain"); text != "plain [] None" {
				t.Error(text)
			}
		}
		if strings.Count(s.log.String(), sent) != before {
			t.Errorf("%s: 30 MB are sent to nobody", path)
		}
		for range 300 {
			if got := w.hear(); len(got) != 100002 {
				t.Fatalf("%.100q", got)
			}
		}
		s.waitLog(sent, before+1)
	}
}

// TestWSGISocketsHold: a WebSocket has its thread, so plain requests wait where each has one,
// which the log says, and --timeout does not count. When one has left, they are served.
func TestWSGISocketsHold(t *testing.T) {
	s := start(t, "--workers", "1", "--threads", "2", "--timeout", "1", "--total-timeout", "2", "wsgisockets:app")
	a, b := s.websocket("/", ""), s.websocket("/raw", "")
	a.say(0x81, "x")
	b.say(0x81, "x")
	a.want("1 x")
	b.want("1 x")
	got := make(chan string, 1)
	go func() {
		_, text := s.get("/plain")
		got <- text
	}()
	s.waitLog("requests wait: each thread has a WebSocket")
	time.Sleep(4 * time.Second) // --timeout would have come by now; later is as good
	a.say(0x81, "still")
	b.say(0x81, "still")
	a.want("1 still")
	b.want("1 still")
	select {
	case text := <-got:
		t.Fatalf("a request was served without a thread: %q", text)
	default:
	}
	b.say(0x88, "\x03\xe8")
	b.want("close 1000 ", "EOF")
	if text := <-got; text != "plain [] None" {
		t.Error(text)
	}
	if strings.Contains(s.log.String(), "runs into the timeout") {
		t.Error(s.log.String())
	}
	// Who does not look at a WebSocket that is over runs into it.
	w := s.websocket("/ignores", "")
	w.want("1 go")
	w.Close()
	s.waitLog("a request runs into the timeout")
}

// TestWSGISocketsLeave: many come and go, and nothing stays behind, neither a descriptor nor,
// on a Python that counts them, a reference.
func TestWSGISocketsLeave(t *testing.T) {
	s := start(t, "--python", debugPython(t), "--workers", "1", "--threads", "2", "wsgisockets:app")
	round := func(path string, n int) {
		for i := range n {
			w := s.websocket(path, "")
			if i%2 == 0 && w.head.StatusCode == 101 {
				w.say(0x81, "x")
				w.say(0x88, "\x03\xe8")
			}
			w.Close()
		}
	}
	left := func() (files, refs int) {
		s.eventually("all are gone", func() bool { return s.metric("hostler_websockets", "") == 0 })
		_, text := s.get("/left")
		if _, err := fmt.Sscan(text, &files, &refs); err != nil || refs == 0 {
			t.Fatal(text, err)
		}
		return files, refs
	}
	for _, path := range strings.Fields("/ /raw /raw_unused /raw_both /denied /raises /raw_raises /raises_first /iterate /plain /look") {
		round(path, 10) // caches fill
		const n = 40
		files, refs := left()
		for series := 0; ; series++ { // what is lost is lost each time
			round(path, n)
			var moreFiles, moreRefs int
			s.eventually(path+": no more descriptors", func() bool {
				f, r := left()
				moreFiles, moreRefs = f-files, r-refs
				return moreFiles < n/2
			})
			if moreRefs < n/2 {
				break
			}
			if series == 2 {
				t.Errorf("%s: %d references more after %d requests, time and again", path, moreRefs, n)
				break
			}
			refs += moreRefs
		}
	}
}

// TestWSGISocketsOdd: clients that send what they should not, that do not read, and that leave
// then. The thread is back each time.
func TestWSGISocketsOdd(t *testing.T) {
	args := []string{"--workers", "1", "--threads", "1", "--ws-max-size", "1k", "wsgisockets:app"}
	t.Run("plain", func(t *testing.T) { wsgiOdd(start(t, args...)) })
	t.Run("TLS", func(t *testing.T) {
		s := start(t, append(newPair(t, t.TempDir(), "localhost", 1).args(), args...)...)
		s.overTLS = true
		wsgiOdd(s)
	})
}

func wsgiOdd(s *server) {
	t := s.t
	t.Helper()
	page := "http://" + s.addr + "/plain"
	client := http.DefaultClient
	if s.overTLS {
		page, client = "https://"+s.addr+"/plain", s.secure(true, nil)
	}
	for code, frame := range map[string]string{
		"1002": "\xff\xffrubbish, and more of it",
		"1007": "\x81\x81\x00\x00\x00\x00\xff",
		"1009": "\x81\xfe\x04\x01\x00\x00\x00\x00" + strings.Repeat("x", 1025),
	} {
		w := s.websocket("/", "")
		io.WriteString(w, frame)
		if got := w.hear(); !strings.HasPrefix(got, "close "+code+" ") {
			t.Errorf("%q", got)
		}
		w.Close()
		s.waitLog("closed " + code)
	}
	for _, path := range []string{"/floods", "/raw_floods"} {
		for _, how := range append([]string{"at once"}, departures...) {
			w := s.websocket(path, "") // 30 MB, of which it takes some
			if got := w.hear(); len(got) != 100002 {
				t.Fatalf("%.100q", got)
			}
			if how != "at once" {
				fills(t, w.Conn)
			}
			depart(t, w.Conn, how)
			ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
			defer stop()
			q, _ := http.NewRequestWithContext(ctx, "GET", page, nil)
			r, err := client.Do(q)
			if err != nil {
				t.Errorf("%s, %s: %v", path, how, err)
				continue
			}
			if b, _ := io.ReadAll(r.Body); string(b) != "plain [] None" {
				t.Errorf("%s, %s: %q", path, how, b)
			}
			r.Body.Close()
		}
	}
	if text := s.log.String(); strings.Contains(text, "Traceback") {
		t.Error(text)
	}
}

// TestWSGISocketsPool: a pool keeps threads from WebSockets.
func TestWSGISocketsPool(t *testing.T) {
	s := start(t, "--workers", "1", "--threads", "2", "--pool", "sockets=/raw*:1", "wsgisockets:app")
	a := s.websocket("/raw", "")
	a.say(0x81, "x")
	a.want("1 x")
	c := s.dialTCP()
	defer c.Close()
	fmt.Fprint(c, "GET /raw_unused HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	s.eventually("it waits", func() bool { return s.metric("hostler_pool_queue_depth", `pool="sockets"`) == 1 })
	for range 20 {
		if _, text := s.get("/plain"); text != "plain [] None" {
			t.Error(text)
		}
	}
	a.say(0x88, "\x03\xe8")
	a.want("close 1000 ", "EOF")
	if r, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || r.StatusCode != 403 {
		t.Error(r, err)
	}
}
