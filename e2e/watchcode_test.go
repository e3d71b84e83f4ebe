package e2e

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const pageApp = `
import helper
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [helper.TEXT.encode()]
`

// project is a directory with an application in two files.
type project struct {
	t   *testing.T
	dir string
}

func (p project) write(name, text string) {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path+".tmp", []byte(text), 0o644); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Rename(path+".tmp", path); err != nil { // as editors save
		p.t.Fatal(err)
	}
}

// says waits until the application's answer holds text.
func (s *server) says(status int, text string) {
	s.t.Helper()
	s.eventually(text, func() bool {
		code, body := s.get("/")
		return code == status && strings.Contains(body, text)
	})
}

func (s *server) asBrowser() (kind, body string) {
	s.t.Helper()
	r, err := http.NewRequest("GET", "http://"+s.addr+"/", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html,*/*;q=0.8")
	resp, err := client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.Header.Get("Content-Type"), string(b)
}

// TestWatchCode changes, breaks and mends the code of a running server, with and
// without --preload.
func TestWatchCode(t *testing.T) {
	for _, more := range [][]string{nil, {"--preload"}} {
		p := project{t, t.TempDir()}
		p.write("helper.py", "TEXT = 'one'")
		p.write("page.py", pageApp)
		s := start(t, append(more, "--reload", "-w", "2", "--chdir", p.dir, "page:app")...)
		s.says(200, "one")
		p.write("helper.py", "TEXT = 'two'")
		s.says(200, "two")
		p.write("helper.py", "raise RuntimeError('<b>broken</b>')")
		s.says(500, "RuntimeError: <b>broken</b>")
		if !strings.Contains(s.log.String(), "RuntimeError: <b>broken</b>") {
			t.Error("the console has no traceback")
		}
		kind, body := s.asBrowser()
		for end := time.Now().Add(10 * time.Second); kind == "text/plain" && time.Now().Before(end); kind, body = s.asBrowser() {
			time.Sleep(10 * time.Millisecond) // the other worker has not heard of it yet
		}
		if kind != "text/html; charset=utf-8" || !strings.Contains(body, "&lt;b&gt;broken&lt;/b&gt;") || strings.Contains(body, "<b>broken") {
			t.Errorf("a browser gets %s: %s", kind, body)
		}
		p.write("helper.py", "TEXT = 'three'")
		s.says(200, "three")
	}
}

// TestWatchCodeBrokenFromTheStart waits for code that is mended, or comes at all.
func TestWatchCodeBrokenFromTheStart(t *testing.T) {
	p := project{t, t.TempDir()}
	p.write("page.py", pageApp)
	s := start(t, "--reload", "--chdir", p.dir, "page:app")
	s.says(500, "No module named 'helper'")
	p.write("helper.py", "TEXT = 'here'")
	s.says(200, "here")
}

// TestNoPageWithoutReload keeps tracebacks from strangers.
func TestNoPageWithoutReload(t *testing.T) {
	p := project{t, t.TempDir()}
	p.write("helper.py", "TEXT = 'one'")
	p.write("page.py", pageApp)
	s := start(t, "--chdir", p.dir, "page:app")
	p.write("helper.py", "this is no Python")
	s.signal(1)
	s.waitLog("the reload failed")
	s.says(200, "one")
}
