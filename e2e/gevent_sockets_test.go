package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestGreenSockets: WebSockets in greenlets are what they are with threads.
func TestGreenSockets(t *testing.T) {
	everyGreen(t, func(t *testing.T, args ...string) {
		s := start(t, append(args, "--workers", "1", "--graceful-timeout", "5", "--access-logfile", "-", "wsgisockets:app")...)
		s.wsgiNative()
		s.wsgiRaw()
		s.wsgiEnds()
	})
}

// TestGreenSocketsOdd: clients that send what they should not, that do not read, and that
// leave then.
func TestGreenSocketsOdd(t *testing.T) {
	wsgiOdd(startGreen(t, "--workers", "1", "--ws-max-size", "1k", "wsgisockets:app"))
}

// TestGreenSocketsHold: a WebSocket keeps nobody from being served, no clock runs while it is
// open, and who does not notice its end is told by --timeout.
func TestGreenSocketsHold(t *testing.T) {
	s := startGreen(t, "--workers", "1", "--timeout", "1", "--total-timeout", "2", "wsgisockets:app")
	a, b := s.websocket("/", ""), s.websocket("/raw", "")
	for range 6 { // --timeout would have come by now; later is as good
		for _, w := range []*wsClient{a, b} {
			w.say(0x81, "x")
			w.want("1 x")
		}
		if _, text := s.get("/plain"); text != "plain [] None" {
			t.Error(text)
		}
		time.Sleep(500 * time.Millisecond)
	}
	if text := s.log.String(); strings.Contains(text, "requests wait") || strings.Contains(text, "timeout") {
		t.Error(text)
	}
	for _, path := range []string{"/ignores", "/raw_ignores"} {
		w := s.websocket(path, "")
		w.want("1 go")
		w.Close()
		s.waitLog("the application raised on GET " + path)
	}
	s.eventually("they are over", func() bool { return s.metric("hostler_tasks", "") == 2 })
}

// TestGreenSocketsMany: a thousand of them in one worker, all of which are told of a reload,
// and of a stop; and of more than --worker-concurrency the rest wait.
func TestGreenSocketsMany(t *testing.T) {
	const n = 1000
	s := startGreen(t, "--workers", "1", "--graceful-timeout", "30", "wsgisockets:app")
	open := func() []*wsClient {
		all := make([]*wsClient, n)
		for i := range all {
			all[i] = s.websocket([]string{"/", "/raw"}[i%2], "")
		}
		for i, w := range all {
			w.say(0x81, fmt.Sprint(i))
		}
		for i, w := range all {
			w.want(fmt.Sprint("1 ", i))
		}
		return all
	}
	told := func(all []*wsClient, code string) {
		t.Helper()
		done := make(chan string, n)
		for _, w := range all {
			go func() {
				got := w.hear()
				w.say(0x88, "\x03\xe8")
				done <- got
			}()
		}
		for range all {
			if got := <-done; got != "close "+code+" " {
				t.Errorf("%q, not %s", got, code)
			}
		}
	}
	all := open()
	if _, text := s.get("/plain"); text != "plain [] None" {
		t.Error(text)
	}
	s.eventually("all are counted", func() bool { return s.metric("hostler_websockets", "") == n })
	s.signal(syscall.SIGHUP)
	told(all, "1012")
	s.waitLog("msg=reloaded")
	all = open()
	s.signal(syscall.SIGTERM)
	told(all, "1001")
	<-s.exited
	if text := s.log.String(); strings.Contains(text, "GreenletExit") || strings.Contains(text, "killed") {
		t.Error(text)
	}

	s = startGreen(t, "--workers", "1", "--worker-concurrency", "2", "wsgisockets:app")
	a := s.websocket("/", "")
	s.websocket("/raw", "")
	got := make(chan string, 1)
	go func() {
		_, text := s.get("/plain")
		got <- text
	}()
	s.eventually("it waits", func() bool { return s.metric("hostler_tasks_waiting", "") == 1 })
	a.Close()
	if text := <-got; text != "plain [] None" {
		t.Error(text)
	}
}

// TestGreenSocketsLinger: an application has its time after the end of a WebSocket, in a
// worker that leaves, too.
func TestGreenSocketsLinger(t *testing.T) {
	for _, path := range []string{"/cleans", "/raw_cleans"} {
		s := startGreen(t, "--workers", "1", "--graceful-timeout", "20", "wsgisockets:app")
		w := s.websocket(path, "")
		w.say(0x81, "x")
		w.want("1 x")
		s.signal(syscall.SIGTERM)
		w.want("close 1001 ")
		w.say(0x88, "\x03\xe9")
		<-s.exited
		if text := s.log.String(); !strings.Contains(text, "cleaned up") {
			t.Errorf("%s was not let clean up: %s", path, text)
		}
	}
}

// TestGreenSocketsTheirs: environ["wsgi.websocket"] is what gevent-websocket makes it, whose
// own server is asked the same.
func TestGreenSocketsTheirs(t *testing.T) {
	packages := greenPackages(t, versionOf(t, venv))
	port := fmt.Sprint(freePort(t))
	theirs := exec.Command(venv, "greensockets.py", port)
	theirs.Dir = apps
	theirs.Env = append(os.Environ(), "PYTHONPATH="+packages, "PYTHONDONTWRITEBYTECODE=1")
	log := new(strings.Builder)
	theirs.Stderr = log
	if err := theirs.Start(); err != nil {
		t.Fatal(err)
	}
	dial := func(addr string) func() net.Conn {
		return func() net.Conn {
			c, err := net.Dial("tcp", addr)
			for end := time.Now().Add(30 * time.Second); err != nil && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
				c, err = net.Dial("tcp", addr)
			}
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
	}
	theirSockets(t, dial("127.0.0.1:"+port), "8 ")
	_ = theirs.Process.Kill()
	_ = theirs.Wait()
	s := startGreen(t, "--workers", "1", "greensockets:app")
	theirSockets(t, dial(s.addr), "close ")
	for _, line := range []string{"echo: Connection is already closed", "echo: closed True", "closes: True", "chat: open", "chat: close"} {
		s.waitLog(line)
		if !strings.Contains(log.String(), line) {
			t.Errorf("gevent-websocket does not say %q: %s", line, log)
		}
	}
	s.waitLog("ValueError: meant")
	w := s.websocket("/waits", "")
	w.say(0x88, "\x03\xe8")
	w.want("close 1000 ")
	s.waitLog("waits: over")
	left := func() string { _, n := s.get("/left"); return n }
	s.eventually("they are gone", func() bool { return left() == "1" }) // the request that asks
	for range 30 {
		s.websocket("/echo", "").Close()
		s.websocket("/returns", "").want("1 bye")
	}
	s.eventually("nothing is kept", func() bool { return left() == "1" })
	w = s.websocket("/echo", "")
	w.say(0x81, "x")
	w.want("1 x")
	s.signal(syscall.SIGHUP)
	w.want("close 1012 ")
	w.say(0x88, "\x03\xf4")
	if text := s.log.String(); strings.Contains(text, "Unraisable") || strings.Contains(text, "Exception ignored") {
		t.Error("an exception is ignored")
	}
}

// theirSockets speaks with greensockets.py. Close frames of gevent-websocket's own begin
// otherwise: they have no code.
func theirSockets(t *testing.T, dial func() net.Conn, closes string) {
	t.Helper()
	closed := func(w *wsClient, code string) {
		t.Helper()
		got := w.hear()
		if strings.HasPrefix(got, "8 ") || strings.HasPrefix(got, "close ") && closes == "8 " {
			got, code = "8 ", closes
		} else {
			code = closes + code
		}
		if got != code {
			t.Errorf("%q, not %q", got, code)
		}
	}
	w := wsOpen(t, dial(), "/echo", "")
	long := strings.Repeat("é", 50000)
	w.say(0x81, "Hello")
	w.say(0x82, "\x00\xff")
	w.say(0x81, long)
	w.want("1 Hello", "2 \x00\xff", "1 "+long)
	w.say(0x01, "in ")
	w.say(0x89, "?")
	w.want("10 ?")
	w.say(0x80, "two")
	w.want("1 in two")
	w.say(0x88, "\x0f\xa3")
	closed(w, "4003 ")

	w = wsOpen(t, dial(), "/kinds", "Origin: http://there\r\nSec-WebSocket-Protocol: a, b\r\n")
	w.say(0x81, "t")
	w.say(0x82, "b")
	w.want("1 str bytearray /kinds 13 http://there a, b", "2 bytes", "2 array", "1 text", "2 text", "1 framed")
	closed(w, "1000 ")
	if p := w.head.Header.Get("Sec-WebSocket-Protocol"); p != "" {
		t.Errorf("a subprotocol is chosen: %s", p)
	}
	closed(wsOpen(t, dial(), "/closes", ""), "4001 änough")
	w = wsOpen(t, dial(), "/returns", "")
	w.want("1 bye")
	closed(w, "1000 ")
	wsOpen(t, dial(), "/raises", "").want("1 first")
	w = wsOpen(t, dial(), "/echo", "")
	w.say(0x81, "x")
	w.want("1 x")
	w.Close()

	a, b := wsOpen(t, dial(), "/chat", "Sec-WebSocket-Protocol: chat\r\n"), wsOpen(t, dial(), "/chat", "")
	if p := a.head.Header.Get("Sec-WebSocket-Protocol"); p != "chat" {
		t.Errorf("subprotocol %q", p)
	}
	a.say(0x81, "alone?")
	if got := a.hear(); got != "1 ? of 1: alone?" && got != "1 ? of 2: alone?" {
		t.Error(got)
	}
	b.say(0x81, "I am b")
	for _, w := range []*wsClient{a, b} {
		for got := w.hear(); got != "1 b of 2: I am b"; got = w.hear() {
			if got != "1 ? of 2: alone?" {
				t.Fatalf("%q", got)
			}
		}
	}
	a.say(0x88, "\x03\xe8")
	closed(a, "1000 ")
	b.say(0x88, "\x03\xe8")
	closed(b, "1000 ")
	a.Close()
	b.Close()
}

// TestGreenFlaskSockets: Flask-Sock, simple-websocket, Flask-SocketIO in its gevent mode, with
// gevent-websocket and without, and Flask-Sockets; on the oldest CPython and on today's.
func TestGreenFlaskSockets(t *testing.T) {
	found, names := pythons(t)
	for mode, python := range map[string]string{"gevent": venv, "gevent, alone": found[names[0]]} {
		t.Run(mode, func(t *testing.T) {
			packages := socketPackages(t, python)
			packages += ":" + socketFolder(t, "flask-sockets") + ":" + greenPackages(t, filepath.Base(packages))
			s := start(t, "--python", python, "--loop", "gevent", "-e", "PYTHONPATH="+packages, "-e", "ASYNC_MODE="+mode, "--workers", "1", "--graceful-timeout", "20",
				"--access-logfile", "-", "flasksockets:app")
			flaskSockets(t, "http://"+s.addr)
			s.waitLog("io: disconnected: client disconnect")
			s.waitLog("io: connected by GET refuse")
			w := s.websocket("/flask-sockets", "")
			w.say(0x81, "x")
			w.want("1 x to /flask-sockets")
			w.Close()
			s.flaskSocketsEnd(s.dialTCP)
		})
	}
}
