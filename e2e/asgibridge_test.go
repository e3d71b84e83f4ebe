package e2e

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// cpythons returns the interpreters of this machine that hostler serves with.
func cpythons(t *testing.T) []string {
	t.Helper()
	home, _ := os.UserHomeDir()
	found, _ := filepath.Glob(filepath.Join(home, ".pyenv/versions/3.*/bin/python3"))
	all := []string{venv}
	for _, p := range found {
		if v := strings.Split(p, "/versions/3.")[1]; !strings.HasPrefix(v, "6.") && !strings.HasPrefix(v, "7.") {
			all = append(all, p)
		}
	}
	return all
}

// TestASGIBridge: what a coroutine may expect of the Task that it runs in, of receive and
// of send, on each CPython.
func TestASGIBridge(t *testing.T) {
	for _, python := range cpythons(t) {
		t.Run(python, func(t *testing.T) { testBridge(t, "--python", python) })
	}
}

func testBridge(t *testing.T, args ...string) {
	s := start(t, append(args, "asgibridge:app")...)
	if s.waitLog("is an ASGI application (it takes a scope, receive and send)"); t.Failed() {
		return
	}
	for _, name := range strings.Fields("current_task current_task frames variables variables wait_for wait_for_receive ensure_future gather " +
		"cancelled_receive cancel_waiting two_waiters listener listened cancel_self group thread subprocess sockets later other_thread wrong " +
		"headers_of_any_kind state state") {
		if status, body := s.get("/" + name); status != 200 || body != "ok" {
			t.Errorf("%s: %d %q", name, status, body)
		}
	}
	for _, c := range []struct{ name, log string }{
		{"raises", "\nTraceback (most recent call last):\n  File \"" + apps + "/asgibridge.py\""},
		{"raises_late", "ValueError: meant, later"},
		{"silent", "RuntimeError: the application returned without having sent a response"},
		{"half", "RuntimeError: the application returned without having sent the end of its response"},
	} {
		if status, _ := s.get("/" + c.name); status != 500 {
			t.Errorf("%s: %d, not 500", c.name, status)
		}
		s.waitLog(c.log)
	}
	if r, err := http.Get("http://" + s.addr + "/cuts"); err != nil {
		t.Error(err)
	} else if _, err = io.ReadAll(r.Body); err == nil {
		t.Error("a response that was cut passes for whole")
	}
	s.waitLog("ValueError: meant, in the middle")

	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := bufio.NewReader(c)
	ask := func(name, want string) {
		t.Helper()
		fmt.Fprintf(c, "GET /%s HTTP/1.1\r\nHost: x\r\n\r\n", name)
		answer, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if body, err := io.ReadAll(answer.Body); err != nil || string(body) != want {
			t.Fatalf("%s: %q, %v", name, body, err)
		}
	}
	ask("background", "ok")
	ask("stray", "ok") // the work of the other still goes on
	ask("wait_for", "ok")
	s.waitLog("the background work is done")
	s.waitLog(`msg="the application raised on GET /stray" worker=1`)
	s.waitLog("ValueError: raised behind the response")

	fmt.Fprintf(c, "GET /head_first HTTP/1.1\r\nHost: x\r\n\r\n")
	answer, err := http.ReadResponse(r, nil)
	if err != nil || answer.Header.Get("X-Head") != "first" {
		t.Fatalf("%v, %v", answer, err)
	}
	if _, body := s.get("/let_go"); body != "ok" {
		t.Error(body)
	}
	if body, err := io.ReadAll(answer.Body); err != nil || string(body) != "ok" {
		t.Errorf("%q, %v", body, err)
	}

	const large = 3 << 20
	post, err := http.Post("http://"+s.addr+"/upload", "text/plain", strings.NewReader(strings.Repeat("x", large)))
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(post.Body); string(body) != fmt.Sprint(large) {
		t.Errorf("of the upload %q arrived", body)
	}

	s.signal(syscall.SIGTERM)
	<-s.exited
	text := s.log.String()
	if a, b := strings.Index(text, "asgibridge: lifespan.shutdown"), strings.Index(text, "asgibridge: the generator ends"); a < 0 || b < a {
		t.Errorf("the end is not in order: %d %d", a, b)
	}
	if strings.Contains(text, "never retrieved") || strings.Contains(text, "was destroyed") {
		t.Errorf("asyncio complains: %s", text)
	}
}

// TestASGIReferences takes each way through the bridge again and again, and holds the
// interpreter's references level: on a build that counts them all, and, where the loop or
// the Task is another one, the objects that the collector knows.
func TestASGIReferences(t *testing.T) {
	debug := debugPython(t)
	pythons := cpythons(t)
	for _, python := range []string{debug, pythons[0], pythons[len(pythons)-1]} {
		t.Run(python, func(t *testing.T) {
			s := start(t, "--python", python, "asgirefs:app")
			for _, way := range strings.Fields(cmp.Or(os.Getenv("REFERENCES"), "hello echo listen wait refused path stream hints raise endless deserted fork_exits")) {
				way, times, _ := strings.Cut(way, "=")
				s.takeWay(way, 20) // caches fill
				n := 50
				if times != "" { // for long: REFERENCES="hello=1000000 endless=100000"
					n, _ = strconv.Atoi(times)
				}
				more := n
				for series := 0; series < 3 && more >= n/2; series++ { // one that is lost is lost each time; a module is imported once
					was := s.references()
					s.takeWay(way, n)
					more = s.references() - was
				}
				if more >= n/2 {
					t.Errorf("%s: %d references more after %d requests, time and again", way, more, n)
				}
				t.Logf("%s: %d references more after %d requests", way, more, n)
			}
			if _, body := s.get("/fork"); body != "70" { // EX_SOFTWARE
				t.Errorf("a child that goes on into its parent's loop: %s", body)
			}
			if _, body := s.get("/hello"); body != "ok" {
				t.Error(body)
			}
		})
	}
}

// debugPython returns an interpreter that counts all references.
func debugPython(t *testing.T) string {
	t.Helper()
	debug := os.Getenv("DEBUG_PYTHON")
	if debug == "" {
		var err error
		if debug, err = exec.LookPath("python3-dbg"); err != nil {
			t.Fatal("python3-dbg is missing: run make tools (Debian, Ubuntu: apt-get install python3-dbg; Fedora: dnf install python3-debug)")
		}
	}
	return debug
}

// takeWay asks for a path n times; of one that has no end it leaves in the middle.
func (s *server) takeWay(path string, n int) {
	s.t.Helper()
	for i := range n {
		body := strings.Repeat("x", 1+i%2*200_000)
		r, err := http.Post("http://"+s.addr+"/"+path, "text/plain", strings.NewReader(body))
		if err != nil {
			s.t.Fatal(path, err)
		}
		switch path {
		case "endless":
		case "deserted":
			s.get("/full")
			r.Body.Close()
			s.get("/left")
		default:
			if got, err := io.ReadAll(r.Body); err != nil || path == "echo" && string(got) != body {
				s.t.Fatalf("%s: %d bytes, %v", path, len(got), err)
			}
		}
		r.Body.Close()
	}
}

// references is how many there are when all requests have ended.
func (s *server) references() int {
	s.t.Helper()
	least := 0
	for range 5 { // what has to end still may take another moment
		_, body := s.get("/count")
		n, err := strconv.Atoi(body)
		if err != nil {
			s.t.Fatal(err)
		}
		if least == 0 || n < least {
			least = n
		}
	}
	return least
}
