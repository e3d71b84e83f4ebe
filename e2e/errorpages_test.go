package e2e

import (
	"html"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const failingWSGI = `
import time

def app(environ, start_response):
    path = environ['PATH_INFO']
    if path == '/raise':
        raise RuntimeError('of mine')
    if path == '/hang':
        for _ in range(6000):
            time.sleep(0.01)
    start_response('503 Service Unavailable', [('Content-Type', 'text/x')])
    return [b'the own']
`

const failingASGI = `
import asyncio

async def app(scope, receive, send):
    if scope['type'] != 'http' or scope['path'] == '/raise':
        raise RuntimeError('of mine')
    if scope['path'] == '/hang':
        await asyncio.sleep(60)
    await send({'type': 'http.response.start', 'status': 503, 'headers': [(b'content-type', b'text/x')]})
    await send({'type': 'http.response.body', 'body': b'the own'})
`

// kinds are the ways in which applications are run, with what a server has to be told for it.
func kinds(t *testing.T, wsgi, asgi string) map[string][]string {
	return map[string][]string{
		"WSGI":    {wsgi},
		"threads": {"--threads", "3", wsgi},
		"preload": {"--preload", wsgi},
		"ASGI":    {asgi},
		"gevent":  greenArgs(t, wsgi),
	}
}

// TestErrorPages: the operator's pages are the bodies of answers that are hostler's own, from
// each kind of worker, and of no others; a reload takes new ones, or fails and keeps the old.
func TestErrorPages(t *testing.T) {
	for kind, args := range kinds(t, "failing:app", "failing_async:app") {
		t.Run(kind, func(t *testing.T) {
			dir := write(t, t.TempDir(), map[string]string{"failing.py": failingWSGI, "failing_async.py": failingASGI,
				"500.html": "<h1>first</h1><i>{{request_id}}</i>", "5xx.json": `{"no": 1}`})
			s := launch(t, append([]string{"--chdir", dir, "--request-id", "--timeout", "1", "-w", "2", "--static", "/files=" + dir,
				"--error-page", "500=" + filepath.Join(dir, "500.html"), "--error-page", "5xx=" + filepath.Join(dir, "5xx.json")}, args...)...)
			s.waitLog("msg=serving")
			ask := func(path string, status int, kind, body string) {
				t.Helper()
				q, err := http.NewRequest("GET", "http://"+s.addr+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				q.Header.Set("X-Request-ID", "id-7")
				r, err := client.Do(q)
				if err != nil {
					t.Fatal(err)
				}
				defer r.Body.Close()
				b, err := io.ReadAll(r.Body)
				if got := r.Header.Get("Content-Type"); err != nil || r.StatusCode != status || string(b) != body || got != kind || r.Header.Get("X-Request-ID") != "id-7" {
					t.Errorf("%s: %d, %v, %q, %v", path, r.StatusCode, r.Header, b, err)
				}
			}
			ask("/raise", 500, "text/html; charset=utf-8", "<h1>first</h1><i>id-7</i>")
			ask("/", 503, "text/x", "the own")
			ask("/hang", 504, "application/json", `{"no": 1}`)
			ask("/files/none", 404, "text/plain; charset=utf-8", "404 Not Found\nRequest: id-7\n")

			page := filepath.Join(dir, "500.html")
			if err := os.Remove(page); err != nil {
				t.Fatal(err)
			}
			s.signal(syscall.SIGHUP)
			s.waitLog("cannot read an error page")
			ask("/raise", 500, "text/html; charset=utf-8", "<h1>first</h1><i>id-7</i>")
			write(t, dir, map[string]string{"500.html": "second"})
			s.signal(syscall.SIGHUP)
			s.waitLog("cause=reload", 2) // until it has left, an old one may take a connection
			ask("/raise", 500, "text/html; charset=utf-8", "second")
		})
	}
}

// TestErrorPageMissing: a server does not start without a page that it is to have, and says so.
func TestErrorPageMissing(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none.html")
	for _, more := range [][]string{nil, {"--check"}} {
		s := launch(t, append(more, "--error-page", "503="+missing, "faults:app")...)
		<-s.exited
		if s.cmd.ProcessState.Success() || !strings.Contains(s.log.String(), "cannot read an error page") || !strings.Contains(s.log.String(), missing) {
			t.Errorf("%v: %v, %s", more, s.cmd.ProcessState, s.log)
		}
	}
}

// TestDebug: with --debug the answer has the traceback, without it never; there is one warning.
func TestDebug(t *testing.T) {
	for kind, args := range kinds(t, "failing:app", "failing_async:app") {
		t.Run(kind, func(t *testing.T) {
			dir := write(t, t.TempDir(), map[string]string{"failing.py": failingWSGI, "failing_async.py": failingASGI, "500.html": "sorry"})
			args := append([]string{"--chdir", dir, "--request-id", "--timeout", "1", "--error-page", "500=" + filepath.Join(dir, "500.html")}, args...)
			raised := "raise RuntimeError('of mine')"
			s := launch(t, append([]string{"--debug"}, args...)...)
			s.waitLog("msg=serving")
			for _, accept := range []string{"*/*", "text/html,*/*;q=0.8"} {
				for path, want := range map[string][]string{"/raise": {"500", "failing", raised, "of mine"}, "/hang": {"504", "failing", "sleep("}} {
					q, err := http.NewRequest("GET", "http://"+s.addr+path, nil)
					if err != nil {
						t.Fatal(err)
					}
					q.Header.Set("Accept", accept)
					r, err := client.Do(q)
					if err != nil {
						t.Fatal(err)
					}
					b, err := io.ReadAll(r.Body)
					r.Body.Close()
					text := html.UnescapeString(string(b))
					if strings.Contains(text, "<!DOCTYPE html>") != strings.Contains(accept, "html") || !strings.Contains(text, r.Header.Get("X-Request-ID")) || strings.Contains(text, "_hostler") {
						t.Errorf("%s, %s: %v, %s", path, accept, r.Header, text)
					}
					for _, w := range want {
						if err != nil || !strings.Contains(r.Status+text, w) {
							t.Errorf("%s, %s: %q is missing: %v, %s, %s", path, accept, w, err, r.Status, text)
						}
					}
				}
			}
			if status, b := s.get("/"); status != 503 || b != "the own" {
				t.Errorf("the application's own: %d, %q", status, b)
			}
			if log := s.log.String(); strings.Count(log, "--debug") != 1 || strings.Count(log, raised) != 2 {
				t.Errorf("%d warnings, %d tracebacks in the log", strings.Count(log, "--debug"), strings.Count(log, raised))
			}
			s.stop()
			off := launch(t, args...)
			off.waitLog("msg=serving")
			if status, b := off.get("/raise"); status != 500 || b != "sorry" {
				t.Errorf("without --debug: %d, %q", status, b)
			}
		})
	}
}
