package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// greenPackages is where gevent of a CPython is (scripts/gevent-packages); "": it has none.
func greenPackages(t *testing.T, version string) string {
	t.Helper()
	dir, err := filepath.Abs("../build/gevent")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Fatal("build/gevent is missing: run make tools")
	}
	dir = filepath.Join(dir, strings.Replace(version, ".0", ".", 1)) // pythons says 3.08
	if _, err := os.Stat(dir); err != nil {
		return ""
	}
	return dir
}

// startGreen serves an application with gevent, on the Python of the tests.
func startGreen(t *testing.T, args ...string) *server {
	t.Helper()
	return start(t, greenArgs(t, args...)...)
}

func greenArgs(t *testing.T, args ...string) []string {
	t.Helper()
	return append([]string{"--loop", "gevent", "-e", "PYTHONPATH=" + greenPackages(t, pythonVersion(t))}, args...)
}

// everyGreen runs f for each CPython that has gevent, with what has hostler serve by it.
func everyGreen(t *testing.T, f func(t *testing.T, args ...string)) {
	found, names := pythons(t)
	n := 0
	for _, name := range names {
		version := strings.Fields(name)[0]
		packages := greenPackages(t, version)
		if packages == "" {
			t.Logf("%s: there is no gevent for it", version)
			continue
		}
		n++
		t.Run(version, func(t *testing.T) {
			f(t, "--python", found[name], "--loop", "gevent", "-e", "PYTHONPATH="+packages)
		})
	}
	if n == 0 {
		t.Error("no CPython here has gevent")
	}
}

// crowd asks for a path n times at once, and counts the answers.
func (s *server) crowd(n int, path string) map[string]int {
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 2 * time.Minute}
	var wg sync.WaitGroup
	var mu sync.Mutex
	answers := map[string]int{}
	for range n {
		wg.Go(func() {
			answer := ""
			r, err := c.Get("http://" + s.addr + path)
			if err == nil {
				b, _ := io.ReadAll(r.Body)
				r.Body.Close()
				answer = fmt.Sprint(r.StatusCode, " ", string(b))
			} else {
				answer = err.Error()
			}
			mu.Lock()
			answers[answer]++
			mu.Unlock()
		})
	}
	wg.Wait()
	return answers
}

// TestGreenlets: requests that wait do so at once, in one worker, on each CPython.
func TestGreenlets(t *testing.T) {
	everyGreen(t, func(t *testing.T, args ...string) {
		s := start(t, append(args, "--workers", "1", "greens:app")...)
		s.waitLog("the standard library is patched before the application is imported")
		if _, body := s.get("/hello"); body != "hello" {
			t.Error(body)
		}
		if a := s.crowd(200, "/wait_for_others?200"); a["200 together"] != 200 {
			t.Errorf("200 at once: %v", a)
		}
		if _, body := s.get("/itself?" + s.addr); body != "hello" {
			t.Errorf("a request to the same worker: %q", body)
		}
	})
}

// TestGreenThousand: a thousand requests sleep in one worker at the same time.
func TestGreenThousand(t *testing.T) {
	s := startGreen(t, "--workers", "1", "greens:app")
	if a := s.crowd(1000, "/wait_for_others?1000"); a["200 together"] != 1000 {
		t.Errorf("1000 at once: %v", a)
	}
}

// TestGreenChildren: children that a request forks may wait, and end as they like.
func TestGreenChildren(t *testing.T) {
	everyGreen(t, func(t *testing.T, args ...string) {
		for _, preload := range [][]string{nil, {"--preload"}} {
			s := start(t, append(append(args, "--workers", "1", "greens:app"), preload...)...)
			for path, want := range map[string]string{"/fork": "1792", "/process": "9", "/fork_in_handler": "1792", "/exits": "768", "/answers": "17920"} {
				if code, body := s.get(path); code != 200 || body != want {
					t.Errorf("%v %s: %d %s, want %s", preload, path, code, body, want)
				}
			}
			if _, body := s.get("/hello"); body != "hello" {
				t.Error(body)
			}
			s.stop()
		}
	})
}

// TestGreenInterrupt: a request that is busy ends by --timeout alone, in its greenlet, and
// not with its worker. Some have just gone on waiting when that would be raised.
func TestGreenInterrupt(t *testing.T) {
	everyGreen(t, func(t *testing.T, args ...string) {
		s := start(t, append(args, "--workers", "1", "--timeout", "1", "greens:app")...)
		_, worker := s.get("/itself_by_number")
		for _, path := range []string{"/busy?60", "/destructors"} {
			if code, body := s.get(path); code != 504 {
				t.Errorf("%s: %d %s", path, code, body)
			}
		}
		for _, seconds := range []string{"1.15", "1.25", "1.35", "1.45"} {
			path := "/busy?" + seconds
			if code, body := s.get(path); code != 504 && body != "ran to the end" {
				t.Errorf("%s: %d %s", path, code, body)
			}
		}
		if _, same := s.get("/itself_by_number"); same != worker {
			t.Errorf("worker %s has become %s", worker, same)
		}
	})
}

// pythonVersion is that of the Python of the tests, as "3.11".
func pythonVersion(t *testing.T) string {
	t.Helper()
	out, err := exec.Command(venv, "-c", "import sys; print('%d.%d' % sys.version_info[:2])").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}
