package e2e

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// bothWays serves an application on TCP and on a unix socket, and returns a client of
// each, and one by way of nginx and that socket.
func bothWays(t *testing.T, args ...string) (*server, []*caller) {
	t.Helper()
	front := &proxy{dir: t.TempDir(), plain: fmt.Sprintf("127.0.0.1:%d", freePort(t)), tls: fmt.Sprintf("127.0.0.1:%d", freePort(t))}
	socket := filepath.Join(front.dir, "hostler.sock")
	front.server = startReal(t, append([]string{"-b", "unix:" + socket}, args...)...)
	front.certificate()
	nginx(front, "unix:"+socket)
	h1 := protocols(false)
	return front.server, []*caller{
		newCaller(t, "TCP", "http://"+front.addr, h1, "tcp", front.addr),
		newCaller(t, "unix socket", "http://shop.example", h1, "unix", socket),
		newCaller(t, "nginx", "https://"+front.tls, h1, "tcp", front.tls),
	}
}

// TestWagtail asks for pages, whose URL the site is found by.
func TestWagtail(t *testing.T) {
	db := "DATABASE=" + filepath.Join(t.TempDir(), "db.sqlite3")
	fill := exec.Command(appsPython(t), "wagtailapp.py")
	fill.Dir, fill.Env = filepath.Join(apps, "real"), append(os.Environ(), db, "PYTHONDONTWRITEBYTECODE=1")
	if out, err := fill.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_, callers := bothWays(t, "-e", db, "wagtailapp:app")
	for _, c := range callers {
		for path, want := range map[string]string{"/": "<h1>A page of Wagtail&#x27;s</h1>", "/below/": c.origin + "/below/"} {
			if status, _, b := c.ask(t, "GET", path, "", nil); status != 200 || !strings.Contains(b, want) {
				t.Errorf("%s: %s: %d %.500q", c.name, path, status, b)
			}
		}
		if status, h, _ := c.ask(t, "GET", "/admin/", "", nil); status != 302 || !strings.HasPrefix(h.Get("Location"), "/admin/login/") {
			t.Errorf("%s: the admin pages: %d to %q", c.name, status, h.Get("Location"))
		}
		if status, _, _ := c.ask(t, "GET", "/nowhere/", "", nil); status != 404 {
			t.Errorf("%s: %d for a page that is not there", c.name, status)
		}
	}
}

// TestHttpbin drives what many clients' own tests are driven against.
func TestHttpbin(t *testing.T) {
	_, callers := bothWays(t, "--threads", "4", "httpbin:app")
	for _, c := range callers {
		const form = "application/x-www-form-urlencoded"
		for _, k := range []struct {
			method, path, kind, body string
			status                   int
			want                     string
		}{
			{"GET", "/get?a=b", "", "", 200, `"url": "` + c.origin + `/get?a=b"`},
			{"POST", "/post", form, "a=b&c=d", 200, `"c": "d"`},
			{"PUT", "/put", "application/json", `{"a": [1, 2]}`, 200, `"json": {`},
			{"DELETE", "/delete", "", "", 200, c.origin + "/delete"},
			{"PATCH", "/patch", "text/plain", "abc", 200, `"data": "abc"`},
			{"GET", "/status/418", "", "", 418, "teapot"},
			{"GET", "/status/304", "", "", 304, ""},
			{"GET", "/bytes/100000?seed=1", "", "", 200, ""},
			{"GET", "/stream/20", "", "", 200, `"id": 19`},
			{"GET", "/stream-bytes/300000?seed=1&chunk_size=7000", "", "", 200, ""},
			{"GET", "/drip?numbytes=20&duration=0.1&delay=0", "", "", 200, strings.Repeat("*", 20)},
			{"GET", "/delay/0.1", "", "", 200, c.origin},
			{"GET", "/redirect-to?url=/get", "", "", 302, ""},
			{"GET", "/absolute-redirect/1", "", "", 302, ""},
			{"GET", "/cookies/set?a=b", "", "", 302, ""},
			{"GET", "/response-headers?X-A=b&Connection=keep-alive&Transfer-Encoding=chunked", "", "", 200, "keep-alive"},
			{"GET", "/gzip", "", "", 200, ""},
			{"GET", "/range/1000", "", "", 200, "abcdefghij"},
			{"GET", "/image/png", "", "", 200, "PNG"},
			{"GET", "/encoding/utf8", "", "", 200, "STARGΛ̊TE"},
			{"HEAD", "/get", "", "", 200, ""},
			{"OPTIONS", "/get", "", "", 200, ""},
		} {
			var body io.Reader
			if k.body != "" {
				body = strings.NewReader(k.body)
			}
			if status, h, b := c.ask(t, k.method, k.path, k.kind, body); status != k.status || !strings.Contains(b, k.want) {
				t.Errorf("%s: %s %s: %d %v %.300q", c.name, k.method, k.path, status, h, b)
			}
			if k.body == "" {
				continue
			}
			if status, _, b := c.ask(t, k.method, k.path, k.kind, unsized{strings.NewReader(k.body)}); status != k.status || !strings.Contains(b, k.want) {
				t.Errorf("%s: %s %s in chunks: %d %.300q", c.name, k.method, k.path, status, b)
			}
		}
		if status, h, _ := c.ask(t, "GET", "/absolute-redirect/1", "", nil); status != 302 || h.Get("Location") != c.origin+"/get" {
			t.Errorf("%s: redirected to %q", c.name, h.Get("Location"))
		}
	}
}

// TestWsgiDAV keeps files by WebDAV, whose methods and bodies are not a browser's.
func TestWsgiDAV(t *testing.T) {
	_, callers := bothWays(t, "--threads", "2", "-e", "FILES="+t.TempDir(), "davapp:app")
	large := strings.Repeat("0123456789abcde\n", 200_000)
	for i, c := range callers {
		dir := fmt.Sprintf("/dir%d", i)
		ask := func(want int, contains, method, path string, body io.Reader, fields ...string) string {
			t.Helper()
			status, h, b := c.ask(t, method, path, "", body, fields...)
			if status != want || !strings.Contains(b, contains) {
				t.Errorf("%s: %s %s: %d %v %.300q, want %d, %q", c.name, method, path, status, h, b, want, contains)
			}
			return b
		}
		ask(200, "", "OPTIONS", "/", nil)
		ask(201, "", "MKCOL", dir, nil)
		ask(201, "", "PUT", dir+"/a.bin", strings.NewReader(large))
		ask(201, "", "PUT", dir+"/b.bin", unsized{strings.NewReader(large)})
		for _, name := range []string{"/a.bin", "/b.bin"} {
			if b := ask(200, "", "GET", dir+name, nil); b != large {
				t.Errorf("%s: %s has %d bytes", c.name, name, len(b))
			}
		}
		ask(206, "0123456789", "GET", dir+"/a.bin", nil, "Range", "bytes=16-25")
		ask(207, dir+"/a.bin", "PROPFIND", dir, strings.NewReader(`<?xml version="1.0"?><propfind xmlns="DAV:"><allprop/></propfind>`), "Depth", "1")
		ask(200, "opaquelocktoken", "LOCK", dir+"/a.bin", strings.NewReader(`<?xml version="1.0"?><lockinfo xmlns="DAV:"><lockscope><exclusive/></lockscope><locktype><write/></locktype></lockinfo>`))
		ask(423, "", "PUT", dir+"/a.bin", strings.NewReader("locked"))
		// It compares the destination with the URL that it was asked by.
		ask(201, "", "COPY", dir+"/a.bin", nil, "Destination", c.origin+dir+"/c.bin")
		ask(201, "", "MOVE", dir+"/c.bin", nil, "Destination", c.origin+dir+"/d.bin")
		ask(404, "", "GET", dir+"/c.bin", nil)
		ask(204, "", "DELETE", dir+"/d.bin", nil)
	}
}

// TestStarlette serves an application of ASGI's by a2wsgi.
func TestStarlette(t *testing.T) {
	s, callers := bothWays(t, "--threads", "2", "asgiapp:app")
	large := strings.Repeat("0123456789abcde\n", 200_000)
	for _, c := range callers {
		c.want(t, "got a b", "POST", "/form", "application/x-www-form-urlencoded", strings.NewReader("message=a+b"))
		c.want(t, "got a b", "POST", "/form", "application/x-www-form-urlencoded", unsized{strings.NewReader("message=a+b")})
		c.want(t, digest(large), "POST", "/raw", "", strings.NewReader(large))
		c.want(t, digest(large), "POST", "/raw", "", unsized{strings.NewReader(large)})
		if status, _, b := c.ask(t, "GET", "/stream", "", nil); status != 200 || !strings.HasSuffix(b, "row 999\n") {
			t.Errorf("%s: stream: %d, %d bytes", c.name, status, len(b))
		}
		if status, h, _ := c.ask(t, "GET", "/redirect", "", nil); status != 307 || h.Get("Location") != c.origin+"/raw" {
			t.Errorf("%s: redirected to %q", c.name, h.Get("Location"))
		}
		if status, _, b := c.ask(t, "GET", "/server", "", nil); status != 200 || !strings.HasPrefix(b, "[") {
			t.Errorf("%s: the server is %s", c.name, b)
		}
		if status, _, _ := c.ask(t, "GET", "/boom", "", nil); status != 500 {
			t.Errorf("%s: an exception: %d", c.name, status)
		}
	}
	if n := s.metric("hostler_app_violations_total", ""); n != 0 {
		t.Errorf("%v violations of PEP 3333 are counted", n)
	}
}

// TestGevent serves an application that has patched the threads it runs on.
func TestGevent(t *testing.T) {
	for _, extra := range [][]string{nil, {"--preload"}} {
		s := startReal(t, append([]string{"--threads", "4", "geventapp:app"}, extra...)...)
		var wg sync.WaitGroup
		var mu sync.Mutex
		answers := map[string]int{}
		for range 8 {
			wg.Go(func() {
				for _, path := range []string{"/sleep", "/thread", "/lock", "/sleep"} {
					r, err := client.Get("http://" + s.addr + path)
					answer := fmt.Sprint(err)
					if err == nil {
						b, _ := io.ReadAll(r.Body)
						r.Body.Close()
						answer = fmt.Sprint(r.StatusCode, " ", string(b))
					}
					mu.Lock()
					answers[answer]++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if answers["200 slept"] != 16 || answers["200 by a thread"] != 8 || answers["200 locked"] != 8 {
			t.Errorf("with %v: %v", extra, answers)
		}
	}
}

// TestSentry preloads an application in which sentry-sdk has found a Django that is not
// set up.
func TestSentry(t *testing.T) {
	for _, extra := range [][]string{nil, {"--preload"}} {
		s := startReal(t, append([]string{"-w", "2", "sentryapp:app"}, extra...)...)
		if code, b := s.get("/hello"); code != 200 || b != "hello" {
			t.Errorf("with %v: %d %q", extra, code, b)
		}
		if code, _ := s.get("/boom"); code != 500 {
			t.Errorf("with %v: an exception is %d", extra, code)
		}
	}
}

// TestDdtrace runs hostler as Datadog's users do; the tracer has threads of its own that
// wait at each fork.
func TestDdtrace(t *testing.T) {
	python := appsPython(t)
	for _, extra := range [][]string{nil, {"--preload"}} {
		t.Run(fmt.Sprint(extra), func(t *testing.T) {
			t.Setenv("FILES", t.TempDir())
			t.Setenv("DD_TRACE_AGENT_URL", "http://127.0.0.1:1")
			t.Setenv("DD_TRACE_STARTUP_LOGS", "false")
			t.Setenv("DD_REMOTE_CONFIGURATION_ENABLED", "false")
			t.Setenv("DD_INSTRUMENTATION_TELEMETRY_ENABLED", "false")
			addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
			s := launchBy(t, exec.Command(filepath.Join(filepath.Dir(python), "ddtrace-run"), append([]string{binary, "-b", addr, "--admin-bind", "off",
				"--python", python, "--chdir", filepath.Join(apps, "real"), "-w", "2", "flaskapp:app"}, extra...)...), "")
			s.addr = addr
			s.waitLog("msg=serving")
			for range 10 {
				if code, b := s.get("/hello"); code != 200 || b != "hello" {
					t.Fatalf("%d %q", code, b)
				}
			}
			if len(s.workers()) < 2 {
				t.Errorf("workers: %v", s.workers())
			}
		})
	}
}
