package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// logged returns the lines of a file once there are n of them.
func (s *server) logged(path string, n int) (lines []string) {
	s.t.Helper()
	s.eventually("lines of the access log", func() bool {
		b, _ := os.ReadFile(path)
		lines = strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
		return strings.Count(string(b), "\n") >= n
	})
	if len(lines) != n {
		s.t.Errorf("%d lines, not %d: %q", len(lines), n, lines)
	}
	return lines
}

// TestAccessLogFormats: lines as Gunicorn's atoms ask for them, and as JSON, of requests
// that were answered, refused and lost.
func TestAccessLogFormats(t *testing.T) {
	const fields = "Host: a\r\nConnection: close\r\nUser-Agent: me\r\nX-Request-ID: id\"1\r\n" +
		"Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nAuthorization: Basic YWw6c2VjcmV0\r\n\r\n"
	ask := func(s *server, access string) {
		t := s.t
		s.raw("GET /hello?a=1 HTTP/1.1\r\n" + fields)
		s.raw("GET /healthz HTTP/1.1\r\n" + fields)
		s.raw("GET /?b HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
		s.logged(access, 2) // a process that is killed loses the last 10 ms
		c := s.dial()
		c.send(getLine("/sleep?20"))
		s.eventually("the request to run", func() bool { return s.metric("hostler_threads", `state="busy"`) == 1 })
		if err := syscall.Kill(s.workers()[0], syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("atoms", func(t *testing.T) {
		access := filepath.Join(t.TempDir(), "access")
		s := start(t, "--access-log", access, "--access-log-exclude", "/healthz*", "--access-logformat",
			`%(h)s|%(u)s|%(m)s %(U)s %(q)s %(H)s|%(s)s %(B)s|%(a)s|%({x-request-id}i)s|%({Content-Type}o)s|%({HTTP_HOST}e)s|%(L)s %(p)s|%(worker)s|%(cause)s|100%%`, "rules:app")
		ask(s, access)
		for i, want := range []string{
			`127\.0\.0\.1\|al\|GET /hello a=1 HTTP/1\.1\|200 \d+\|me\|id\\"1\|text/plain\|a\|\d+\.\d{6} <\d+>\|1\|-\|100%`,
			`127\.0\.0\.1\|-\|GET / b HTTP/1\.1\|400 \d+\|-\|-\|-\|-\|0\.000000 <\d+>\|1\|-\|100%`,
			`127\.0\.0\.1\|-\|GET /sleep 20 HTTP/1\.1\|000 0\|-\|-\|-\|-\|\d+\.\d{6} <\d+>\|1\|signal:SIGKILL\|100%`,
		} {
			if line := s.logged(access, 3)[i]; !regexp.MustCompile("^" + want + "$").MatchString(line) {
				t.Errorf("%q does not match %s", line, want)
			}
		}
	})
	t.Run("json", func(t *testing.T) {
		access := filepath.Join(t.TempDir(), "access")
		s := start(t, "--access-log", access, "--access-log-exclude", "/healthz", "--access-log-format", "json", "rules:app")
		ask(s, access)
		for i, want := range []map[string]any{
			{"http.request.method": "GET", "url.path": "/hello", "url.query": "a=1", "http.response.status_code": 200.0, "user_agent.original": "me",
				"http.request.header.x-request-id": `id"1`, "trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331",
				"client.address": "127.0.0.1", "network.protocol.version": "1.1", "hostler.worker": 1.0, "error.type": nil},
			{"http.request.method": "GET", "url.path": "/", "url.query": "b", "http.response.status_code": 400.0, "client.address": "127.0.0.1"},
			{"http.request.method": "GET", "url.path": "/sleep", "http.response.status_code": nil, "error.type": "signal:SIGKILL"},
		} {
			var got map[string]any
			line := s.logged(access, 3)[i]
			if err := json.Unmarshal([]byte(line), &got); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			for k, v := range want {
				if got[k] != v {
					t.Errorf("%s is %v, not %v, in %s", k, got[k], v, line)
				}
			}
			for _, k := range []string{"timestamp", "http.server.request.duration", "http.response.body.size", "process.pid"} {
				if got[k] == nil {
					t.Errorf("there is no %s in %s", k, line)
				}
			}
		}
	})
}

// TestSocketLines: a WebSocket has one line, at its end, which says how long it was open and
// what was sent on it; also one whose worker does not wait for its end.
func TestSocketLines(t *testing.T) {
	for _, c := range []struct {
		name, app, target string
		open              func(*testing.T, net.Conn, string, string) *wsClient
		protocol, status  string
		args              []string
	}{
		{"ASGI", "sockets:app", "/echo", wsOpen, "HTTP/1.1", "101", nil},
		{"ASGI over HTTP/2", "sockets:app", "/echo", wsTunnel, "HTTP/2.0", "200", nil},
		{"WSGI", "wsgisockets:app", "/echo", wsOpen, "HTTP/1.1", "101", []string{"--threads", "4"}},
		{"WSGI, a socket", "wsgisockets:app", "/raw", wsOpen, "HTTP/1.1", "101", []string{"--threads", "4"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			access := filepath.Join(t.TempDir(), "access")
			s := start(t, append(c.args, "--http2-cleartext", "--workers", "1", "--graceful-timeout", "8", "--access-log", access, "--access-log-format",
				"%(m)s %(U)s %(q)s %(H)s|%(s)s %(B)s %(L)s|%({x-request-id}i)s %(a)s", c.app)...)
			const who = "User-Agent: me\r\nX-Request-ID: 7\r\n"
			ws := c.open(t, s.dialTCP(), c.target+"?a", who)
			ws.say(0x81, "Hello")
			ws.want("1 Hello")
			opened := time.Now()
			// Another request's line comes before: the WebSocket has none yet.
			s.get("/plain")
			if got := s.logged(access, 1)[0]; !strings.Contains(got, "/plain") {
				t.Errorf("%q", got)
			}
			open := time.Since(opened)
			ws.say(0x88, "\x03\xe8")
			ws.want("close 1000 ")
			head := regexp.QuoteMeta("GET " + c.target + " a " + c.protocol + "|" + c.status + " ")
			line := s.logged(access, 2)[1]
			m := regexp.MustCompile("^" + head + `11 (\d+\.\d{6})\|7 me$`).FindStringSubmatch(line)
			if m == nil {
				t.Fatalf("%q", line)
			}
			if took, _ := strconv.ParseFloat(m[1], 64); took < open.Seconds() {
				t.Errorf("it was open for %v at least, not %s s", open, m[1])
			}
			// Whoever does not say its part is ended by the stop.
			ws = c.open(t, s.dialTCP(), c.target, who)
			ws.say(0x81, "Hello")
			ws.want("1 Hello")
			s.signal(syscall.SIGTERM)
			<-s.exited
			if line := s.logged(access, 3)[2]; !strings.Contains(line, c.target) || !strings.Contains(line, "|"+c.status+" ") || strings.Contains(line, "|"+c.status+" 0 ") {
				t.Errorf("%q", line)
			}
		})
	}
	// Its application holds on to it, to the last.
	t.Run("held on to", func(t *testing.T) {
		access := filepath.Join(t.TempDir(), "access")
		s := start(t, "--threads", "2", "--workers", "1", "--graceful-timeout", "8", "--access-log", access, "wsgisockets:app")
		ws := s.websocket("/ignores", "")
		ws.want("1 go")
		s.signal(syscall.SIGTERM)
		<-s.exited
		if line := s.logged(access, 1)[0]; !strings.Contains(line, `"GET /ignores HTTP/1.1" 101 `) {
			t.Errorf("%q", line)
		}
	})
}

// linesOf waits until the access log has n lines that match, and is sure that there are no more.
func (s *server) linesOf(access, pattern string, n int) {
	s.t.Helper()
	is := regexp.MustCompile(pattern)
	got := 0
	count := func() int {
		got = 0
		b, _ := os.ReadFile(access)
		for line := range strings.Lines(string(b)) {
			if is.MatchString(line) {
				got++
			}
		}
		return got
	}
	for end := time.Now().Add(20 * time.Second); count() < n && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
	}
	if got != n {
		s.t.Errorf("%s: %d lines, not %d", pattern, got, n)
	}
}

// TestLostOnLoop: when a worker is killed, each request of its event loop has its line, those
// that wait and those that have had no turn since as well as the one that is being stepped, and
// so has each WebSocket. Who had a line has no second one.
func TestLostOnLoop(t *testing.T) {
	for _, loop := range loops {
		t.Run(loop, func(t *testing.T) {
			access := filepath.Join(t.TempDir(), "access")
			apps, err := filepath.Abs("apps") // where sockets.py is
			if err != nil {
				t.Fatal(err)
			}
			p := startProbe(t, "-e", "PYTHONPATH="+apps, "--loop", loop, "--workers", "1", "--access-log", access, "--timeout", "0")
			p.get("/whole")
			for i := range 3 {
				p.ask(getHead(fmt.Sprint("/wait?", i)))
				p.await("waiting", i+1)
			}
			closed, open := p.websocket("/echo?closed", ""), p.websocket("/echo?open", "")
			for _, w := range []*wsClient{closed, open} {
				w.say(0x81, "x")
				w.want("1 x")
			}
			closed.say(0x88, "\x03\xe8")
			closed.want("close 1000 ")
			p.linesOf(access, `"GET /echo\?closed HTTP/1.1" 101 `, 1)
			pid := p.workers()[0]
			_ = syscall.Kill(pid, syscall.SIGSTOP)
			p.ask(getHead("/wait?late"))
			p.ask(getHead("/block"))
			_ = syscall.Kill(pid, syscall.SIGCONT)
			p.await("blocking")
			_ = syscall.Kill(pid, syscall.SIGKILL)
			p.waitLog("worker died")
			p.eventually("another worker", func() bool { return p.metric("hostler_workers", `state="serving"`) == 1 && p.workers()[0] != pid })
			p.get("/whole")
			p.linesOf(access, `"GET /whole HTTP/1.1" 200 `, 2)
			for _, lost := range []string{"wait?0", "wait?1", "wait?2", "wait?late", "block", "echo?open"} {
				p.linesOf(access, `^127\.0\.0\.1 .*"GET /`+regexp.QuoteMeta(lost)+` HTTP/1.1" 000 `, 1)
				p.waitLog("target=/" + lost + " ")
			}
			p.linesOf(access, "", 9)
			if n := p.metric("hostler_requests_total", `code="none"`); n != 5 { // the WebSocket has been answered
				t.Errorf("%v requests without an answer", n)
			}
		})
	}
	t.Run("many", func(t *testing.T) {
		access := filepath.Join(t.TempDir(), "access")
		p := startProbe(t, "--workers", "1", "--access-log", access, "--timeout", "0")
		for range 2 { // the records of those that have ended are there for others
			for range 300 {
				p.ask("GET /slow?1 HTTP/1.1\r\nHost: a\r\n\r\n")
			}
		}
		p.linesOf(access, `"GET /slow\?1 HTTP/1.1" 200 `, 600)
		for range 300 {
			p.ask(getHead("/wait"))
		}
		p.await("waiting", 300)
		_ = syscall.Kill(p.workers()[0], syscall.SIGKILL)
		p.waitLog("more requests lost")
		p.linesOf(access, `"GET /wait HTTP/1.1" 000 `, 255)
	})
	t.Run("gevent", func(t *testing.T) {
		access := filepath.Join(t.TempDir(), "access")
		s := startGreen(t, "--workers", "1", "--access-log", access, "wsgisockets:app")
		for _, path := range []string{"/", "/raw"} {
			for _, which := range []string{"?closed", "?open"} {
				w := s.websocket(path+which, "")
				w.say(0x81, "x")
				w.want("1 x")
				if which == "?closed" {
					w.say(0x88, "\x03\xe8")
					w.want("close 1000 ")
					s.linesOf(access, regexp.QuoteMeta(path+which)+` HTTP/1.1" 101 `, 1)
				}
			}
		}
		_ = syscall.Kill(s.workers()[0], syscall.SIGKILL)
		s.waitLog("worker died")
		for _, path := range []string{"/", "/raw"} {
			s.linesOf(access, regexp.QuoteMeta(path)+`\?open HTTP/1.1" 000 `, 1)
		}
		s.linesOf(access, "", 4)
		s = startGreen(t, "--workers", "1", "--access-log", access, "greens:app")
		for range 3 {
			s.dialTCP().Write([]byte(getHead("/sleep?60")))
		}
		s.eventually("they wait", func() bool { return s.metric("hostler_tasks", "") == 3 })
		_ = syscall.Kill(s.workers()[0], syscall.SIGKILL)
		s.waitLog("worker died")
		s.linesOf(access, `/sleep\?60 HTTP/1.1" 000 `, 3)
	})
}
