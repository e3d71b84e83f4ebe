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
	const ways = "hello echo listen wait refused path stream hints raise endless deserted fork_exits socket socket/raise socket/left"
	debug := debugPython(t)
	pythons := cpythons(t)
	for _, python := range []string{debug, pythons[0], pythons[len(pythons)-1]} {
		t.Run(python, func(t *testing.T) {
			args, ways := []string{"--python", python}, ways
			if versionOf(t, python) == versionOf(t, asgiPython(t)) {
				args, ways = append(args, "-e", "PYTHONPATH="+sitePackages(t, asgiPython(t))), ways+" starlette/page starlette/thread starlette/rows"
			}
			s := start(t, append(args, "asgirefs:app")...)
			s.holdLevel(ways)
			if _, body := s.get("/fork"); body != "70" { // EX_SOFTWARE
				t.Errorf("a child that goes on into its parent's loop: %s", body)
			}
			if _, body := s.get("/hello"); body != "ok" {
				t.Error(body)
			}
		})
	}
}

// holdLevel takes ways to the application 50 times each, or those that REFERENCES names, and
// as often as it says: REFERENCES="hello=1000000 endless=100000 socket=100000". None may
// leave references behind, nor memory where it is taken for long.
func (s *server) holdLevel(ways string) {
	s.t.Helper()
	const long, memory = 10_000, 16 << 20 // to and fro, of a process that serves
	for _, way := range strings.Fields(cmp.Or(os.Getenv("REFERENCES"), ways)) {
		way, times, _ := strings.Cut(way, "=")
		s.takeWay(way, 20) // caches fill
		n := 50
		if times != "" {
			n, _ = strconv.Atoi(times)
		}
		more, grown := n, 0
		for series := 0; series < 3 && (more >= n/2 || n >= long && grown > memory); series++ { // one that is lost is lost each time; a module is imported once
			was, resident := s.references(), s.resident()
			s.takeWay(way, n)
			more, grown = s.references()-was, s.resident()-resident
		}
		if more >= n/2 {
			s.t.Errorf("%s: %d references more after %d requests, time and again", way, more, n)
		}
		if n >= long && grown > memory {
			s.t.Errorf("%s: %d kB more after %d requests, time and again", way, grown>>10, n)
		}
		s.t.Logf("%s: %d references and %d kB more after %d requests", way, more, grown>>10, n)
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

// takeWay asks for a path n times; of one that has no end it leaves in the middle. Every
// second body is a large one, at first.
func (s *server) takeWay(path string, n int) {
	s.t.Helper()
	for i := range n {
		if strings.HasPrefix(path, "socket") {
			s.takeSocket(path)
			continue
		}
		body := "x"
		if i < 100 && i%2 == 1 || i%100 == 1 {
			body = strings.Repeat("x", 200_001)
		}
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

// takeSocket opens a WebSocket, has two messages echoed, and closes it, or has it closed.
func (s *server) takeSocket(path string) {
	s.t.Helper()
	c := s.dialTCP()
	defer c.Close()
	w := wsShake(s.t, c, "/"+path, "", "")
	large := strings.Repeat("x", 20_000) // is sent without a copy
	w.say(0x81, "hello")
	w.say(0x82, large)
	w.want("1 hello", "2 "+large)
	switch path {
	case "socket/left":
		return
	case "socket/raise":
		w.say(0x81, "raise")
		w.want("1 raise", "close 1011 ")
	default:
		w.say(0x88, "\x03\xe8bye")
		w.want("close 1000 ")
	}
}

// resident is how much memory the worker has, in bytes.
func (s *server) resident() int {
	s.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", s.workers()[0]))
	if err != nil {
		s.t.Fatal(err)
	}
	pages, _ := strconv.Atoi(strings.Fields(string(b))[1])
	return pages * os.Getpagesize()
}

// versionOf is a Python's: 3.13.
func versionOf(t *testing.T, python string) string {
	t.Helper()
	return pythonSays(t, python, "import sys; print('%d.%d' % sys.version_info[:2])")
}

// sitePackages is where a Python's packages are.
func sitePackages(t *testing.T, python string) string {
	t.Helper()
	return pythonSays(t, python, "import sysconfig; print(sysconfig.get_paths()['purelib'])")
}

func pythonSays(t *testing.T, python, program string) string {
	t.Helper()
	out, err := exec.Command(python, "-c", program).Output()
	if err != nil {
		t.Fatalf("%s: %v", python, err)
	}
	return strings.TrimSpace(string(out))
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
