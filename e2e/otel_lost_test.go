package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	spanpb "go.opentelemetry.io/proto/otlp/trace/v1"
)

// lostApp says where its requests are in a trace, in the log, and has its worker die with them.
const lostApp = `
import asyncio, ctypes, os, signal, time

def says(path, parent):
    os.write(2, f'at {path} {parent}\n'.encode())

def ends(path):
    if path.startswith('/exits'):
        os._exit(3)
    if path.startswith('/crashes'):
        ctypes.string_at(0)
    if path.startswith('/killed'):
        os.kill(os.getpid(), signal.SIGKILL)
    if path.startswith('/stuck'):
        time.sleep(1000)

def app(environ, start_response):
    says(environ['PATH_INFO'], environ.get('HTTP_TRACEPARENT'))
    ends(environ['PATH_INFO'])
    start_response('200 OK', [])
    return [b'']

async def asgi(scope, receive, send):
    path = scope['path']
    says(path, dict(scope['headers']).get(b'traceparent', b'none').decode())
    if path.startswith('/waits'):
        await asyncio.sleep(1000)
    ends(path)
    await receive()
    if scope['type'] == 'websocket':
        await send({'type': 'websocket.accept'})
        await receive()
        await send({'type': 'websocket.close'})
        await receive()
        return
    await send({'type': 'http.response.start', 'status': 200, 'headers': []})
    await send({'type': 'http.response.body', 'body': b''})
`

// said waits until the application has told of a path, and returns where it believes to be.
func said(s *server, path string) (traceparent string) {
	s.t.Helper()
	is := regexp.MustCompile("(?m)^at " + regexp.QuoteMeta(path) + " (.*)$")
	s.eventually("the application's word of "+path, func() bool {
		m := is.FindStringSubmatch(s.log.String())
		if m != nil {
			traceparent = m[1]
		}
		return m != nil
	})
	return traceparent
}

// lost waits for the span of a request that died with its worker: it is where the application
// believed to be, and says why.
func (c *collector) lost(t *testing.T, s *server, path, wrong, cause string) gotSpan {
	t.Helper()
	got := c.of(t, s, path, 1)[0]
	if want := "00-" + got.trace() + "-" + got.id() + "-01"; said(s, path) != want {
		t.Errorf("%s: the span is %s, and the application was at %s", path, want, said(s, path))
	}
	for k, want := range map[string]string{"http.request.method": "GET", "error.type": wrong, "hostler.cause": cause, "hostler.worker": "1", "http.response.status_code": "", "hostler.queue_wait": ""} {
		if got.attr[k] != want {
			t.Errorf("%s: %s is %q, not %q", path, k, got.attr[k], want)
		}
	}
	if got.Status.GetCode() != spanpb.Status_STATUS_CODE_ERROR || got.Name != "GET" || got.Kind != spanpb.Span_SPAN_KIND_SERVER || got.EndTimeUnixNano < got.StartTimeUnixNano {
		t.Errorf("%s: %v", path, got)
	}
	return got
}

// send sends a request's head, and leaves its connection open.
func (s *server) send(head string) net.Conn {
	s.t.Helper()
	c := s.reach()
	s.t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, head); err != nil {
		s.t.Fatal(err)
	}
	return c
}

// once is sure that there is one span of each of these, and of nothing else, when the server has ended.
func (c *collector) once(t *testing.T, s *server, paths ...string) {
	t.Helper()
	s.stop()
	for _, path := range paths {
		if n := len(c.all(path)); n != 1 {
			t.Errorf("%d spans of %s", n, path)
		}
	}
	if n := len(c.all("")); n != len(paths) {
		t.Errorf("%d spans, not %d", n, len(paths))
	}
}

// TestOtelLost: a request that dies with its worker has a span, the application's own can hang
// below it, and it says what the worker died of.
func TestOtelLost(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"lostapp.py": lostApp})
	t.Run("threads", func(t *testing.T) {
		c := newCollector(t)
		s := traced(t, c, "-w", "1", "--threads", "2", "--timeout", "2", "--chdir", dir, "lostapp:app")
		paths := []string{"/fine"}
		s.askWith("/fine")
		c.of(t, s, "/fine", 1)
		for i, k := range []struct{ path, parent, wrong, cause string }{
			{"/exits", someParent, "worker_died", "exit:3"}, {"/killed/hidden", hidden, "", ""}, {"/crashes", someParent, "worker_died", "signal:SIGSEGV"},
			{"/killed", "", "worker_died", "signal:SIGKILL"}, {"/stuck", someParent, "timeout", "timeout"},
		} {
			fields := ""
			if k.parent != "" {
				fields = "Traceparent: " + k.parent + "\r\n"
			}
			s.send("GET " + k.path + "?secret HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n")
			s.waitLog("request lost", i+1) // the next one gets to the next worker
			if k.parent == hidden {
				continue
			}
			paths = append(paths, k.path)
			got := c.lost(t, s, k.path, k.wrong, k.cause)
			if k.parent != "" && (got.trace() != someTrace || got.parent() != someSpan) || k.parent == "" && len(got.ParentSpanId) > 0 {
				t.Errorf("%s: %v", k.path, got)
			}
			if took := time.Duration(got.EndTimeUnixNano - got.StartTimeUnixNano); k.wrong == "timeout" && took < 2*time.Second || took > time.Minute {
				t.Errorf("%s took %v", k.path, took)
			}
		}
		if n := s.metric("hostler_spans_lost_total", ""); n != 0 {
			t.Errorf("%v spans are lost", n)
		}
		c.once(t, s, paths...)
	})
	for _, loop := range loops {
		t.Run(loop, func(t *testing.T) {
			c := newCollector(t)
			s := traced(t, c, "--python", asgiPython(t), "--loop", loop, "-w", "1", "--timeout", "0", "--chdir", dir, "lostapp:asgi")
			s.askWith("/fine")
			c.of(t, s, "/fine", 1)
			for i := range 3 {
				s.send(fmt.Sprintf("GET /waits/%d HTTP/1.1\r\nHost: a\r\n\r\n", i))
				said(s, fmt.Sprintf("/waits/%d", i))
			}
			closed, _ := s.openSocket(t, "/socket/closed", false), s.openSocket(t, "/socket/open", false)
			closed.send(frameText, "x")
			c.of(t, s, "/socket/closed", 1)
			s.send("GET /stuck HTTP/1.1\r\nHost: a\r\n\r\n")
			said(s, "/stuck")
			_ = syscall.Kill(s.workers()[0], syscall.SIGKILL)
			paths := []string{"/waits/0", "/waits/1", "/waits/2", "/stuck", "/socket/open"}
			for _, path := range paths {
				c.lost(t, s, path, "worker_died", "signal:SIGKILL")
			}
			c.once(t, s, append(paths, "/fine", "/socket/closed")...)
		})
	}
	t.Run("gevent", func(t *testing.T) {
		c := newCollector(t)
		s := traced(t, c, greenArgs(t, "-w", "1", "--chdir", dir, "lostapp:app")...)
		s.askWith("/fine")
		c.of(t, s, "/fine", 1)
		paths := []string{"/stuck/0", "/stuck/1", "/stuck/2"}
		for _, path := range paths {
			s.send(getHead(path))
			said(s, path)
		}
		_ = syscall.Kill(s.workers()[0], syscall.SIGKILL)
		for _, path := range paths {
			c.lost(t, s, path, "worker_died", "signal:SIGKILL")
		}
		c.once(t, s, append(paths, "/fine")...)
	})
}

// TestOtelKinds: spans arrive whoever the workers are and however they and the clients come, those of
// requests that were answered and of those that were lost, before a reload and after.
func TestOtelKinds(t *testing.T) {
	for name, args := range map[string]string{
		"preload":      "--preload lostapp:app",
		"user":         "--user nobody --python /usr/bin/python3 lostapp:app",
		"user preload": "--user nobody --python /usr/bin/python3 --preload lostapp:app",
		"user ASGI":    "--user nobody --python /usr/bin/python3 --preload lostapp:asgi",
		"unix":         "-b unix:DIR/socket lostapp:app",
		"unix ASGI":    "-b unix:DIR/socket --user nobody --python /usr/bin/python3 lostapp:asgi",
		"HTTP/2":       "--preload lostapp:app",
		"HTTP/2 ASGI":  "lostapp:asgi",
	} {
		t.Run(name, func(t *testing.T) {
			if strings.Contains(args, "nobody") && os.Geteuid() != 0 {
				t.Skip("only root has workers that are somebody else")
			}
			dir, err := os.MkdirTemp("", "hostler-spans") // not t.TempDir, which nobody else may enter
			if err = errors.Join(err, os.WriteFile(filepath.Join(dir, "lostapp.py"), []byte(lostApp), 0o644), os.Chmod(dir, 0o755)); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			all := append([]string{"-w", "2", "--threads", "3", "--timeout", "0", "--chdir", dir}, strings.Fields(strings.ReplaceAll(args, "DIR", dir))...)
			tr, scheme, version, peer := &http.Transport{DisableKeepAlives: true}, "http", "1.1", "127.0.0.1"
			switch {
			case strings.HasPrefix(name, "unix"):
				peer = ""
				tr.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
					return new(net.Dialer).DialContext(ctx, "unix", dir+"/socket")
				}
			case strings.HasPrefix(name, "HTTP/2"):
				scheme, version = "https", "2"
				tr.ForceAttemptHTTP2, tr.TLSClientConfig = true, &tls.Config{InsecureSkipVerify: true}
				all = append(newPair(t, t.TempDir(), "localhost", 1).args(), all...)
			}
			c := newCollector(t)
			s := traced(t, c, all...)
			client := &http.Client{Transport: tr, Timeout: time.Minute}
			// On a connection of its own: the client would try again on another.
			ask := func(path string) error {
				q, err := http.NewRequest("GET", scheme+"://"+s.addr+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				q.Header.Set("traceparent", someParent)
				r, err := client.Do(q)
				if err != nil {
					return err
				}
				defer r.Body.Close()
				_, err = io.Copy(io.Discard, r.Body)
				return err
			}
			paths := []string{}
			round := func(n int) {
				t.Helper()
				for i := range 3 {
					path := fmt.Sprintf("/fine/%d/%d", n, i)
					paths = append(paths, path)
					if err := ask(path); err != nil {
						t.Fatal(err)
					}
					got := c.of(t, s, path, 1)[0]
					if want := "00-" + got.trace() + "-" + got.id() + "-01"; said(s, path) != want || got.parent() != someSpan || got.trace() != someTrace {
						t.Errorf("%s: %v, the application was at %s", path, got, said(s, path))
					}
					for k, want := range map[string]string{"url.scheme": scheme, "network.protocol.version": version, "client.address": peer, "network.peer.address": peer,
						"http.response.status_code": "200", "error.type": "", "hostler.cause": ""} {
						if got.attr[k] != want {
							t.Errorf("%s: %s is %q, not %q", path, k, got.attr[k], want)
						}
					}
				}
				path := fmt.Sprintf("/killed/%d", n)
				paths = append(paths, path)
				if err := ask(path); err == nil {
					t.Errorf("%s was answered", path)
				}
				got := c.of(t, s, path, 1)[0]
				if want := "00-" + got.trace() + "-" + got.id() + "-01"; said(s, path) != want || got.parent() != someSpan || got.trace() != someTrace {
					t.Errorf("%s: %v, the application was at %s", path, got, said(s, path))
				}
				for k, want := range map[string]string{"url.scheme": scheme, "network.protocol.version": version, "client.address": peer,
					"http.response.status_code": "", "error.type": "worker_died", "hostler.cause": "signal:SIGKILL"} {
					if got.attr[k] != want {
						t.Errorf("%s: %s is %q, not %q", path, k, got.attr[k], want)
					}
				}
			}
			round(1)
			s.signal(syscall.SIGHUP)
			s.waitLog("msg=reloaded")
			round(2)
			s.eventually("all are with the collector", func() bool { return s.metric("hostler_spans_exported_total", "") == float64(len(paths)) })
			if n := s.metric("hostler_spans_lost_total", ""); n != 0 {
				t.Errorf("%v spans are lost", n)
			}
			c.once(t, s, paths...)
		})
	}
}
