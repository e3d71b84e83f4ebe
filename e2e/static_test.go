package e2e

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// staticDir has a script, packed too, a large file, and a way out.
func staticDir(t *testing.T) (dir, big string) {
	t.Helper()
	top := t.TempDir()
	dir = filepath.Join(top, "files")
	big = filler(40_000_000)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"../secret": "secret", "a.js": "plain", "a.js.br": "packed", "big.bin": big} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../secret", filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	return dir, big
}

func TestStatic(t *testing.T) {
	dir, big := staticDir(t)
	p := newPair(t, t.TempDir(), "localhost", 1)
	for _, c := range []struct {
		name   string
		args   []string
		scheme string
		h2     bool
	}{{"http", nil, "http", false}, {"https", p.args(), "https", false}, {"h2", p.args(), "https", true}} {
		t.Run(c.name, func(t *testing.T) {
			access := filepath.Join(t.TempDir(), "access.log")
			s := start(t, append([]string{"--static", "/static=" + dir, "--access-log", access, "wire:app"}, c.args...)...)
			client := s.secure(c.h2, nil)
			ask := func(method, path string, fields ...string) (*http.Response, string) {
				t.Helper()
				req, err := http.NewRequest(method, c.scheme+"://"+s.addr+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Accept-Encoding", "identity")
				for i := 0; i < len(fields); i += 2 {
					req.Header.Set(fields[i], fields[i+1])
				}
				r, err := client.Do(req)
				b := body(t, r, err)
				if (r.ProtoMajor == 2) != c.h2 {
					t.Errorf("%s", r.Proto)
				}
				return r, b
			}
			r, b := ask("GET", "/static/a.js")
			if r.StatusCode != 200 || b != "plain" || r.Header.Get("Content-Type") != "text/javascript; charset=utf-8" || r.Header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%d %q %v", r.StatusCode, b, r.Header)
			}
			tag := r.Header.Get("ETag")
			for _, x := range []struct {
				method, path string
				fields       []string
				status       int
				body         string
			}{
				{"GET", "/static/a.js", []string{"Accept-Encoding", "gzip, br"}, 200, "packed"},
				{"GET", "/static/a.js", []string{"If-None-Match", tag}, 304, ""},
				{"GET", "/static/big.bin", nil, 200, big},
				{"GET", "/static/big.bin", []string{"Range", "bytes=5000000-30000000"}, 206, big[5000000:30000001]},
				{"GET", "/static/big.bin", []string{"Range", "bytes=50000000-"}, 416, "416 Requested Range Not Satisfiable\n"},
				{"HEAD", "/static/big.bin", nil, 200, ""},
				{"POST", "/static/a.js", nil, 405, "405 Method Not Allowed\n"},
				{"GET", "/static/nothing", nil, 404, "404 Not Found\n"},
				{"GET", "/static/out", nil, 404, "404 Not Found\n"},
				{"GET", "/static/%2e%2e/secret", nil, 404, "404 Not Found\n"},
				{"GET", "/static/..%2fsecret", nil, 404, "404 Not Found\n"},
			} {
				r, b := ask(x.method, x.path, x.fields...)
				if r.StatusCode != x.status || b != x.body {
					t.Errorf("%s %s %v: %d with %d bytes, %.60q", x.method, x.path, x.fields, r.StatusCode, len(b), b)
				}
			}
			s.eventually("twelve lines in the access log", func() bool { // written behind the answer
				log, err := os.ReadFile(access)
				return err == nil && strings.Count(string(log), "\n") == 12 && strings.Contains(string(log), `] "GET /static/a.js HTTP/`)
			})
			if n := s.metric("hostler_requests_total", `code="2xx"`); n != 5 {
				t.Errorf("%v requests with 2xx", n)
			}
			if n := s.metric("hostler_requests_total", `code="4xx"`); n != 6 {
				t.Errorf("%v requests with 4xx", n)
			}
		})
	}
}

// TestStaticReload downloads through a reload, by HTTP/1.1 and by HTTP/2, and goes on
// with the same connection.
func TestStaticReload(t *testing.T) {
	dir, big := staticDir(t)
	s := start(t, append([]string{"-w", "2", "--static", "/static=" + dir, "wire:app"}, newPair(t, t.TempDir(), "localhost", 1).args()...)...)
	plain := start(t, "-w", "2", "--static", "/static="+dir, "wire:app")
	var halves []*http.Response
	c := plain.dial()
	c.send(getLine("/static/big.bin"))
	if _, err := c.r.Peek(1); err != nil {
		t.Fatal(err)
	}
	for _, h2 := range []bool{false, true} {
		r, err := s.secure(h2, nil).Get("https://" + s.addr + "/static/big.bin")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		halves = append(halves, r)
	}
	for _, s := range []*server{s, plain} {
		s.signal(syscall.SIGHUP)
		s.waitLog("msg=reloaded")
	}
	time.Sleep(300 * time.Millisecond)
	for _, r := range halves {
		if b, err := io.ReadAll(r.Body); err != nil || string(b) != big {
			t.Errorf("%s: %d bytes: %v", r.Proto, len(b), err)
		}
	}
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, b := c.answer("GET"); b != big {
		t.Errorf("%d bytes", len(b))
	}
	c.send(getLine("/static/a.js"))
	c.want(200, "plain")
	if strings.Contains(s.log.String()+plain.log.String(), "killing it") {
		t.Error("an old worker was not left in peace")
	}
}

// TestStaticWhilePythonSleeps asks for files on old and new connections while no
// worker has a Python thread left.
func TestStaticWhilePythonSleeps(t *testing.T) {
	dir, big := staticDir(t)
	s := start(t, "-w", "2", "--threads", "2", "--timeout", "0", "--static", "/static="+dir, "rules:app")
	old := s.dial()
	old.send(getLine("/static/a.js"))
	old.want(200, "plain")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if r, err := client.Get("http://" + s.addr + "/sleep?4"); err != nil || r.StatusCode != 200 {
				t.Errorf("a request that sleeps: %v", err)
			}
		})
	}
	s.eventually("every thread at work", func() bool { return s.metric("hostler_threads", `state="busy"`) == 4 })
	for range 5 {
		old.send(getLine("/static/a.js"), getLine("/static/a.js"))
		old.want(200, "plain")
		old.want(200, "plain")
		c := s.dial()
		c.send(getLine("/static/a.js"))
		c.want(200, "plain")
		c.Close()
	}
	c := s.dial()
	c.send(getLine("/static/big.bin"))
	if _, b := c.answer("GET"); b != big {
		t.Errorf("%d bytes", len(b))
	}
	if n := s.metric("hostler_threads", `state="busy"`); n != 4 {
		t.Errorf("%v threads are still at work; the files were not served beside them", n)
	}
	wg.Wait()
}

func TestStaticBadStarts(t *testing.T) {
	for arg, want := range map[string]string{
		"static":                     "is not URL=DIR",
		"static=/tmp":                "it has to begin with /",
		"/=/tmp":                     "would leave nothing to the application",
		"/a/../b=/tmp":               "is not a plain path",
		"/static=/nothing/like/this": "cannot serve files: stat /nothing/like/this",
		"/static=/etc/passwd":        "/etc/passwd is not a directory",
	} {
		s := launchBare(t, "--static", arg, "wire:app")
		<-s.exited
		if s.cmd.ProcessState.ExitCode() == 0 || !strings.Contains(s.log.String(), want) {
			t.Errorf("--static %s: %s", arg, s.log)
		}
	}
}
