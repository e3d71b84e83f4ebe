package e2e

import (
	"html"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// seenApp counts, fails, says what it was told of its span, and has requests wait for each other.
const seenApp = `
import threading
from prometheus_client import Counter
COUNT = Counter("requests_seen", "Requests seen.")
met = threading.Barrier(8)

def app(environ, start_response):
    COUNT.inc()
    if environ['PATH_INFO'] == '/raise':
        raise RuntimeError('of mine')
    if environ['PATH_INFO'] == '/meet':
        met.wait(25)
    start_response('200 OK', [])
    return [environ.get('HTTP_TRACEPARENT', 'none').encode()]

async def asgi(scope, receive, send):
    assert scope['type'] == 'http'
    COUNT.inc()
    if scope['path'] == '/raise':
        raise RuntimeError('of mine')
    await send({'type': 'http.response.start', 'status': 200, 'headers': []})
    await send({'type': 'http.response.body', 'body': dict(scope['headers']).get(b'traceparent', b'none')})
`

// TestSeenEverywhere: spans, the application's metrics and the path that shows them, the pages for
// errors, with a traceback and without, and threads that come as they are needed, on the oldest
// CPython and on the newest. (make test-pythons has most of it on those that are newer still.)
func TestSeenEverywhere(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"seen.py": seenApp, "500.html": "sorry {{request_id}}"})
	found, names := pythons(t)
	for _, name := range names {
		version := strings.Replace(strings.Fields(name)[0], ".0", ".", 1)
		packages, err := filepath.Abs("../build/asgi/frameworks/" + version)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(packages, "prometheus_client")); err != nil {
			continue
		}
		for _, app := range []string{"seen:app", "seen:asgi"} {
			t.Run(version+"/"+app, func(t *testing.T) {
				args := []string{"--python", found[name], "--chdir", dir, "-e", "PYTHONPATH=" + packages, "--request-id", "--threads", "auto", app}
				c := newCollector(t)
				s := traced(t, c, append([]string{"--metrics-path", "/counts", "--error-page", "500=" + filepath.Join(dir, "500.html")}, args...)...)
				_, told := s.askWith("/with", "traceparent", someParent)
				if span := c.of(t, s, "/with", 1)[0]; told != "00-"+someTrace+"-"+span.id()+"-01" || span.parent() != someSpan {
					t.Errorf("the application is told %s of %v", told, span)
				}
				r, err := client.Get("http://" + s.addr + "/raise")
				if err != nil {
					t.Fatal(err)
				}
				r.Body.Close()
				if code, text := s.get("/raise"); code != 500 || !strings.HasPrefix(text, "sorry ") || len(text) < 10 || r.Header.Get("X-Request-ID") == "" {
					t.Errorf("a page: %d %q", code, text)
				}
				seen := 3.0
				if app == "seen:app" {
					var all sync.WaitGroup
					for range 8 {
						all.Go(func() {
							if code, text := s.get("/meet"); code != 200 {
								t.Errorf("%d %q", code, text)
							}
						})
					}
					all.Wait()
					seen += 8
				}
				if n := s.metric("requests_seen_total", ""); n != seen {
					t.Errorf("%v requests are counted, of %v", n, seen)
				}
				if code, text := s.get("/counts"); code != 200 || !strings.Contains(text, "requests_seen_total ") || strings.Contains(text, "hostler_") {
					t.Errorf("the path: %d %s", code, text)
				}
				s.stop()
				debug := launch(t, append([]string{"--debug"}, args...)...)
				debug.waitLog("msg=serving")
				if code, text := debug.get("/raise"); code != 500 || !strings.Contains(html.UnescapeString(text), "raise RuntimeError('of mine')") {
					t.Errorf("with --debug: %d %s", code, text)
				}
			})
		}
	}
}
