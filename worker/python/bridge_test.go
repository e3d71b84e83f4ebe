// Package python_test drives the bridge the way it is used: inside a real
// interpreter, in a worker of the real bin/hostler, with an application that has
// a path for every branch (testdata/branches.py).
package python_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// server is a bin/hostler with one worker.
type server struct {
	t       *testing.T
	addr    string
	threads int
	cmd     *exec.Cmd
	mu      sync.Mutex
	log     bytes.Buffer
}

func (s *server) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(b)
}

func (s *server) logged() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

// freePort returns a port below those that the kernel gives to clients, so that
// nobody takes it before the server does.
func freePort(t *testing.T) string {
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000))
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr
		}
	}
	t.Fatal("no free port")
	return ""
}

// start runs the application in the interpreter python.
func start(t *testing.T, python string, threads int) *server {
	t.Helper()
	bin, err := filepath.Abs("../../bin/hostler")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(bin); err != nil {
		t.Fatalf("bin/hostler is missing: run make first (%v)", err)
	}
	s := &server{t: t, addr: freePort(t), threads: threads}
	s.cmd = exec.Command(bin, "--python", python, "--threads", strconv.Itoa(threads), "--admin-bind", "off",
		"--pythonpath", "testdata", "--forwarded-headers", "host,proto",
		"--bind", s.addr[strings.Index(s.addr, ":"):], "--graceful-timeout", "5", "branches:app")
	s.cmd.Stdout, s.cmd.Stderr = s, s
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	for range 1000 {
		if c, err := net.Dial("tcp", s.addr); err == nil {
			c.Close()
			if r := s.try(request{path: "/list_small"}); r.err == nil {
				return s
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("the server does not come up:\n%s", s.logged())
	return nil
}

func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	done := make(chan error, 1)
	go func() { done <- s.cmd.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			s.t.Errorf("the server ended with %v:\n%s", err, s.logged())
		}
	case <-time.After(20 * time.Second):
		_ = s.cmd.Process.Kill()
		s.t.Errorf("the server does not end:\n%s", s.logged())
	}
	for _, bad := range []string{"SystemError", "Fatal Python error", "panic:", "died"} {
		if log := s.logged(); strings.Contains(log, bad) {
			s.t.Errorf("%q in the log:\n%s", bad, log)
		}
	}
}

type request struct {
	path    string
	method  string
	body    []byte
	chunked bool
	status  int // that has to come; 0: none
	size    int // of the body; -1: any
	text    string
	cut     bool // the body ends before its end
	leave   int  // go away after so many bytes of the response; -1: before the body is sent
}

type answer struct {
	status int
	body   []byte
	err    error // of the body
	header http.Header
}

func (r *request) raw() (head, body []byte) {
	method := r.method
	if method == "" {
		method = "GET"
		if r.body != nil {
			method = "POST"
		}
	}
	var h, b bytes.Buffer
	fmt.Fprintf(&h, "%s %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Forwarded-Host: a:81\r\nX-Twice: 1\r\nX-Twice: 2\r\nCookie: a\r\nCookie: b\r\n%s: long\r\n", method, r.path, strings.Repeat("Xy", 200))
	switch {
	case r.chunked:
		h.WriteString("Transfer-Encoding: chunked\r\n")
		for rest := r.body; len(rest) > 0; {
			n := min(len(rest), 9973)
			fmt.Fprintf(&b, "%x\r\n%s\r\n", n, rest[:n])
			rest = rest[n:]
		}
		b.WriteString("0\r\n\r\n")
	case r.body != nil:
		fmt.Fprintf(&h, "Content-Length: %d\r\n", len(r.body))
		b.Write(r.body)
	}
	h.WriteString("\r\n")
	return h.Bytes(), b.Bytes()
}

func (s *server) try(r request) answer {
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		return answer{err: err}
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	head, body := r.raw()
	if r.leave < 0 {
		_, _ = c.Write(append(head, body[:len(body)/2]...))
		time.Sleep(20 * time.Millisecond)
		return answer{}
	}
	// The application may answer before it has read all of it.
	go func() { _, _ = c.Write(append(head, body...)) }()
	if r.leave > 0 {
		_, _ = io.CopyN(io.Discard, c, int64(r.leave))
		return answer{}
	}
	in := bufio.NewReader(c)
	method := r.method
	if method == "" {
		method = "GET"
	}
	var a answer
	for {
		res, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			a.err = err
			return a
		}
		if res.StatusCode == 103 {
			continue
		}
		a.status, a.header = res.StatusCode, res.Header
		a.body, a.err = io.ReadAll(res.Body)
		return a
	}
}

// check sends r and holds the answer against what it has to be.
func (s *server) check(r request) {
	s.t.Helper()
	begin := time.Now()
	a := s.try(r)
	if d := time.Since(begin); d > 2*time.Second {
		s.t.Logf("%s took %v", r.path, d)
	}
	if r.leave != 0 {
		return
	}
	name := fmt.Sprintf("%s %s (%d bytes, chunked %v)", r.method, r.path, len(r.body), r.chunked)
	switch {
	case a.status != r.status:
		s.t.Errorf("%s: status %d (%v), not %d", name, a.status, a.err, r.status)
	case r.cut && !errors.Is(a.err, io.ErrUnexpectedEOF):
		s.t.Errorf("%s: %d bytes and %v, not a body cut short", name, len(a.body), a.err)
	case !r.cut && a.err != nil:
		s.t.Errorf("%s: %v", name, a.err)
	case r.size >= 0 && r.status == 200 && len(a.body) != r.size && r.text == "":
		s.t.Errorf("%s: %d bytes, not %d", name, len(a.body), r.size)
	case r.text != "" && string(a.body) != r.text:
		s.t.Errorf("%s: %.100q, not %q", name, a.body, r.text)
	}
}

const (
	small  = 100
	medium = 65536
	large  = 3 << 20
)

// branches is a round of requests that takes every branch of the bridge.
func branches() []request {
	var rs []request
	ok := func(size int, paths ...string) {
		for _, p := range paths {
			rs = append(rs, request{path: "/" + p, status: 200, size: size})
		}
	}
	says := func(path, text string) { rs = append(rs, request{path: "/" + path, status: 200, text: text}) }
	fails := func(paths ...string) {
		for _, p := range paths {
			rs = append(rs, request{path: "/" + p, status: 500, size: -1})
		}
	}
	cut := func(paths ...string) {
		for _, p := range paths {
			rs = append(rs, request{path: "/" + p, status: 200, size: -1, cut: true})
		}
	}
	for name, n := range map[string]int{"small": small, "medium": medium, "large": large} {
		ok(n, "list_"+name, "tuple_"+name, "iter_"+name, "length_"+name)
		ok(2*n, "two_"+name)
		for _, m := range []string{"list_", "iter_", "length_"} {
			rs = append(rs, request{path: "/" + m + name, method: "HEAD", status: 200, size: 0})
		}
	}
	ok(0, "empty_list", "empty_bytes", "empty_iter", "type_of_input")
	ok(small, "list_subclass", "tuple_subclass", "bytes_subclass", "late_start", "nested", "close_raises", "close_exits",
		"hints", "keep", "reader_left_behind")
	ok(2*small, "closing")
	ok(-1, "writer_left_behind")
	ok(large, "bytes_subclass_large")
	fails("none", "text", "bare_bytes", "list_of_text", "list_of_int", "bytearray", "memoryview", "liar", "text_then_close_raises",
		"no_start", "no_start_empty", "write_text", "twice", "no_such_path")
	ok(10, "too_long")
	ok(110, "too_long_iter")
	cut("too_short", "too_short_iter", "replaced_late")
	ok(8*medium, "file")
	ok(8*medium-1000, "file_offset")
	ok(medium-36, "file_temporary")
	ok(1000, "file_length")
	ok(medium, "file_zipped", "file_memory")
	fails("file_closed")
	rs = append(rs, request{path: "/file", method: "HEAD", status: 200, size: 0})

	ok(small, "header_latin1", "header_subclass", "header_many", "header_hop", "header_list_pair",
		"header_large", "taken_items", "taken_generator", "taken_lists", "taken_tuple_of_lists", "taken_set", "taken_named", "taken_named_as_pep")
	fails("header_name_int", "header_value_int", "header_value_none", "header_value_bytes", "header_not_latin1", "header_surrogate",
		"header_newline", "header_bad_name", "header_three", "header_too_large")
	fails("status_none", "status_bytes", "status_bad", "status_not_latin1")
	rs = append(rs, request{path: "/status_subclass", status: 201, size: small},
		request{path: "/status_304", status: 304, size: 0}, request{path: "/status_204", status: 204, size: 0})
	for _, e := range []string{"ValueError", "SystemExit", "KeyboardInterrupt", "GeneratorExit", "Odd"} {
		fails(e+"_before", e+"_after", e+"_first")
		cut(e + "_middle")
	}
	ok(2*small+medium+large, "write")
	rs = append(rs, request{path: "/replaced", status: 500, size: small}, request{path: "/replaced_badly", status: 500, size: small})
	says("arguments", "20")
	says("hints_bad", "6")
	says("use_kept", "2") // the empty input stays good
	ok(medium+small, "other_thread")
	ok(40*medium, "two_writers")
	rs = append(rs, request{path: "/exc_info_odd", status: 200, size: small + 1})

	line := []byte(strings.Repeat("0123456789abcdef\n", 10) + strings.Repeat("x", 300) + "\n")
	for _, n := range []int{0, small, medium, large} {
		body := bytes.Repeat(line, n/len(line)+1)[:n]
		for _, chunked := range []bool{false, true} {
			for _, p := range []string{"read", "read_minus", "read_steps", "lines", "readline", "readline_50", "readlines", "mixed", "read1", "read1_5000",
				"readinto", "readinto1", "file_like", "rewound", "shut", "wrapped", "text_of"} {
				rs = append(rs, request{path: "/" + p, body: body, chunked: chunked, status: 200, text: strconv.Itoa(n)})
			}
			rs = append(rs,
				request{path: "/read_10", body: body, chunked: chunked, status: 200, text: strconv.Itoa(min(n, 10))},
				request{path: "/unread", body: body, chunked: chunked, status: 200, text: "0"},
				request{path: "/readlines_hint", body: body, chunked: chunked, status: 200, size: -1},
				request{path: "/read_wrong", body: body, chunked: chunked, status: 500, size: -1},
				request{path: "/read_huge", body: body, chunked: chunked, status: 500, size: -1},
				request{path: "/echo", body: body, chunked: chunked, status: 200, size: n},
				request{path: "/keep", body: body, chunked: chunked, status: 200, size: small},
			)
			if n > 0 {
				rs = append(rs, request{path: "/use_kept", status: 200, text: "5"})
			}
			if n == large {
				rs = append(rs, request{path: "/reader_left_behind", body: body, chunked: chunked, status: 200, size: small})
				for _, p := range []string{"read", "lines", "read_steps"} {
					rs = append(rs, request{path: "/" + p, body: body, chunked: chunked, leave: -1})
				}
			}
		}
	}
	for _, p := range []string{"slow_large", "write", "list_large", "iter_large", "file", "closing"} {
		rs = append(rs, request{path: "/" + p, leave: 100})
	}
	return rs
}

// levels is what must not grow.
type levels struct{ refs, blocks, fds int }

func (s *server) count() levels {
	s.t.Helper()
	// Connections of clients that went away, and those that end in good order,
	// live on for a moment: take the fewest descriptors of the next seconds.
	var last levels
	for i := range 12 {
		a := s.try(request{path: fmt.Sprintf("/count?%d", s.threads)})
		var n [3]int
		if err := json.Unmarshal(a.body, &n); err != nil {
			s.t.Fatalf("count: status %d, %q: %v\n%s", a.status, a.body, a.err, s.logged())
		}
		is := levels{n[0], n[1], n[2]}
		if i > 0 {
			is.fds = min(is.fds, last.fds)
		}
		last = is
		time.Sleep(250 * time.Millisecond)
	}
	return last
}

func (s *server) round(rs []request) {
	s.t.Helper()
	for _, r := range rs {
		s.check(r)
		if s.t.Failed() && testing.Short() {
			s.t.FailNow()
		}
	}
}

// debugPython returns an interpreter that counts references: $DEBUG_PYTHON, or
// Debian's.
func debugPython(t *testing.T) string {
	if path := os.Getenv("DEBUG_PYTHON"); path != "" {
		return path
	}
	path, err := exec.LookPath("python3-dbg")
	if err != nil {
		t.Fatal("python3-dbg is missing: run make tools (Debian, Ubuntu: apt-get install python3-dbg; Fedora: dnf install python3-debug)")
	}
	return path
}

// TestReferences takes every branch again and again and holds the interpreter's
// total of references level.
func TestReferences(t *testing.T) {
	for _, threads := range []int{1, 3} {
		t.Run(fmt.Sprintf("threads=%d", threads), func(t *testing.T) {
			s := start(t, debugPython(t), threads)
			rs := branches()
			s.round(rs) // caches fill
			s.round(rs)
			s.round(rs)
			// A reference lost in one branch would be one in each round. What a thread
			// makes when it first takes a branch is there once.
			rounds := 4
			if n, err := strconv.Atoi(os.Getenv("ROUNDS")); err == nil { // for long
				rounds = n
			}
			was, is := levels{}, s.count()
			for series := 0; series < 3 && (series == 0 || is.refs-was.refs >= rounds); series++ {
				was = is
				for range rounds {
					s.round(rs)
				}
				is = s.count()
				t.Logf("%d requests: from %+v to %+v", rounds*len(rs), was, is)
			}
			if d := is.refs - was.refs; d >= rounds {
				t.Errorf("%d references more after %d equal rounds", d, rounds)
			}
			// Memory in blocks takes longer to settle: tables that have grown
			// keep their size, and each thread has its own.
			if d := is.blocks - was.blocks; d >= rounds*len(rs)/4 {
				t.Errorf("%d blocks of memory more after %d equal rounds", d, rounds)
			}
			if is.fds != was.fds {
				t.Errorf("%d descriptors, %d before", is.fds, was.fds)
			}
		})
	}
}

// pythons returns the interpreters of this machine, by version; those in $PYTHONS
// alone, where that is set (separated as in $PATH).
func pythons(t *testing.T) map[string]string {
	found := map[string]string{}
	candidates := filepath.SplitList(os.Getenv("PYTHONS"))
	if len(candidates) == 0 {
		home, _ := os.UserHomeDir()
		candidates, _ = filepath.Glob(filepath.Join(home, ".pyenv/versions/*/bin/python3"))
		if path, err := exec.LookPath("python3"); err == nil {
			candidates = append(candidates, path)
		}
	}
	for _, path := range candidates {
		out, err := exec.Command(path, "-c", "import sys; print('%d.%d' % sys.version_info[:2])").Output()
		version := strings.TrimSpace(string(out))
		if err != nil || version == "3.6" || version == "3.7" {
			continue
		}
		found[version] = path
	}
	if len(found) == 0 {
		t.Fatal("there is no python3")
	}
	return found
}

// TestEveryPython takes every branch in every CPython of the machine.
func TestEveryPython(t *testing.T) {
	for version, path := range pythons(t) {
		t.Run(version, func(t *testing.T) {
			s := start(t, path, 2)
			s.round(branches())
			was := s.count()
			s.round(branches())
			if is := s.count(); is.fds != was.fds {
				t.Errorf("%d descriptors, %d before", is.fds, was.fds)
			}
			children(t, s)
		})
	}
}
