package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
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
		s.raw("GET / HTTP/1.1\r\n\r\n")
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
			`127\.0\.0\.1\|-\|- -  -\|400 \d+\|-\|-\|-\|-\|0\.000000 <\d+>\|1\|-\|100%`,
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
			{"http.request.method": nil, "http.response.status_code": 400.0, "client.address": "127.0.0.1"},
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
