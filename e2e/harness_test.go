// Package e2e drives the real bin/hostler with real applications.
package e2e

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"hostler/internal/testlog"
)

var (
	binary string // bin/hostler
	venv   string // a Python with Flask and Django
	apps   string
)

func TestMain(m *testing.M) {
	abs := func(p string) string {
		a, err := filepath.Abs(p)
		if err != nil {
			panic(err)
		}
		return a
	}
	binary, venv, apps = abs("../bin/hostler"), abs("../build/venv/bin/python"), abs("apps")
	if other := os.Getenv("HOSTLER"); other != "" { // another build of it
		binary = abs(other)
	}
	if other := os.Getenv("E2E_PYTHON"); other != "" { // another one with Flask and Django
		venv = other
	}
	for path, target := range map[string]string{binary: "make", venv: "make tools"} {
		if _, err := os.Stat(path); err != nil {
			fmt.Fprintf(os.Stderr, "e2e: %s is missing: run %s\n", path, target)
			os.Exit(1)
		}
	}
	os.Setenv(runVariable, strconv.Itoa(os.Getpid()))
	code := m.Run()
	if left := leftBehind(); len(left) > 0 {
		fmt.Fprintf(os.Stderr, "e2e: servers are left behind:\n%s\n", strings.Join(left, "\n"))
		code = 1
	}
	os.Exit(code)
}

// In the environment (in which HOSTLER_ is for settings) of what the tests start are the number of their process, and of most of
// it the test's name.
const (
	runVariable  = "E2E_RUN"
	testVariable = "E2E_TEST="
)

// leftBehind kills the servers that no test has ended, or whose successors, and names them.
// Those that are about to end have some time.
func leftBehind() (left []string) {
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		late := time.Now().After(end)
		n := 0
		all, _ := filepath.Glob("/proc/[0-9]*/environ")
		for _, path := range all {
			dir := filepath.Dir(path)
			exe, _ := os.Readlink(dir + "/exe")
			if strings.TrimSuffix(exe, " (deleted)") != binary {
				continue
			}
			b, _ := os.ReadFile(path)
			env := strings.Split(string(b), "\x00")
			if !slices.Contains(env, runVariable+"="+os.Getenv(runVariable)) {
				continue
			}
			n++
			if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil && late {
				title, _ := os.ReadFile(dir + "/cmdline")
				of := slices.IndexFunc(env, func(kv string) bool { return strings.HasPrefix(kv, testVariable) })
				left = append(left, fmt.Sprintf("%d: %s %s", pid, strings.Trim(string(title), " \x00"), env[max(of, 0)]))
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		if n == 0 || late {
			return left
		}
	}
}

var nextPort atomic.Int64

// freePort returns a port below the ephemeral range, so that no client's own
// port can take it.
func freePort(t *testing.T) int {
	t.Helper()
	for range 1000 {
		p := 20000 + int(nextPort.Add(1)+int64(os.Getpid())*7)%12000
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p))
		if err == nil {
			l.Close()
			return p
		}
	}
	t.Fatal("no free port")
	return 0
}

type logBuffer = testlog.Buffer

type server struct {
	t           *testing.T
	cmd         *exec.Cmd
	log         *logBuffer
	addr, admin string
	overTLS     bool // its clients speak it, with HTTP/1.1
	exited      chan struct{}
}

// start runs hostler with args and waits until it serves.
func start(t *testing.T, args ...string) *server {
	t.Helper()
	s := launch(t, args...)
	s.waitLog("msg=serving")
	if at := slices.Index(args, "-p"); at >= 0 { // it comes after what is logged
		s.eventually("the pid file", func() bool { return readPid(args[at+1]) == s.cmd.Process.Pid })
	}
	return s
}

// launch runs hostler with args.
func launch(t *testing.T, args ...string) *server {
	t.Helper()
	admin := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	s := launchBare(t, append([]string{"--admin-bind", admin, "--python", venv, "--chdir", apps}, args...)...)
	s.admin = admin
	return s
}

// launchBare runs hostler with args and an address to bind, and nothing else.
func launchBare(t *testing.T, args ...string) *server {
	t.Helper()
	return launchBareIn(t, "", args...)
}

// launchBareIn is launchBare in a directory.
func launchBareIn(t *testing.T, dir string, args ...string) *server {
	t.Helper()
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	s := launchIn(t, dir, append([]string{"-b", addr}, args...)...)
	s.addr = addr
	return s
}

// launchWith runs hostler with args and nothing else.
func launchWith(t *testing.T, args ...string) *server {
	t.Helper()
	return launchIn(t, "", args...)
}

// launchIn is launchWith in a directory, as a shell that has gone there would do it;
// "": here.
func launchIn(t *testing.T, dir string, args ...string) *server {
	t.Helper()
	return launchBy(t, exec.Command(binary, args...), dir)
}

// launchBy runs a command that is hostler, or becomes it, in a directory.
func launchBy(t *testing.T, cmd *exec.Cmd, dir string) *server {
	t.Helper()
	return launchTo(t, cmd, new(logBuffer), dir)
}

// launchTo is launchBy with a log, which somebody else fills if the command has an output.
func launchTo(t *testing.T, cmd *exec.Cmd, log *logBuffer, dir string) *server {
	t.Helper()
	s := &server{t: t, log: log, exited: make(chan struct{}), cmd: cmd}
	if s.cmd.Stdout == nil {
		s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	}
	s.cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1", testVariable+t.Name())
	if dir != "" {
		s.cmd.Dir, s.cmd.Env = dir, append(s.cmd.Env, "PWD="+dir)
	}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	s.cmd.WaitDelay = 5 * time.Second
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = s.cmd.Wait()
		close(s.exited)
	}()
	t.Cleanup(func() {
		s.stop()
		if t.Failed() {
			t.Logf("log of %v:\n%s", cmd.Args, s.log)
		}
	})
	return s
}

func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(10 * time.Second):
		s.t.Error("hostler did not stop within 10 s of SIGTERM")
		_ = s.cmd.Process.Kill()
		<-s.exited
	}
}

func (s *server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// waitLog waits until the log holds text n times (once by default).
func (s *server) waitLog(text string, n ...int) {
	s.t.Helper()
	want := 1
	if len(n) > 0 {
		want = n[0]
	}
	s.eventually(fmt.Sprintf("%q in the log", text), func() bool { return strings.Count(s.log.String(), text) >= want })
}

func (s *server) eventually(what string, f func() bool) {
	s.t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if f() {
			return
		}
		select {
		case <-s.exited:
			if f() {
				return
			}
			s.t.Fatalf("hostler left while waiting for %s:\n%s", what, s.log)
		default:
		}
	}
	s.t.Fatalf("waited in vain for %s", what)
}

// get returns a response's status and body, on a connection of its own.
func (s *server) get(path string) (int, string) {
	s.t.Helper()
	if s.overTLS {
		return fetch(s.t, "https://"+s.addr+path)
	}
	return fetch(s.t, "http://"+s.addr+path)
}

var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, Timeout: 20 * time.Second}

func fetch(t *testing.T, url string) (int, string) {
	t.Helper()
	r, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatalf("%s: %v", url, err)
	}
	return r.StatusCode, string(b)
}

// raw sends bytes and returns all that comes until the end of the connection.
func (s *server) raw(request string) string {
	s.t.Helper()
	c := s.reach()
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, request); err != nil {
		s.t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil {
		s.t.Fatalf("after %q: %v", b, err)
	}
	return string(b)
}

// loadResult is what a load saw.
type loadResult struct {
	ok, announced int
	failures      []string
}

// load keeps conns connections busy with GET path until stop is closed.
// A connection that ends without having been announced is a failure.
func (s *server) load(conns int, path string, stop <-chan struct{}) <-chan loadResult {
	out := make(chan loadResult, 1)
	var mu sync.Mutex
	var total loadResult
	var wg sync.WaitGroup
	for range conns {
		wg.Go(func() {
			var r loadResult
			s.oneClient(path, stop, &r)
			mu.Lock()
			defer mu.Unlock()
			total.ok += r.ok
			total.announced += r.announced
			total.failures = append(total.failures, r.failures...)
		})
	}
	go func() {
		wg.Wait()
		out <- total
	}()
	return out
}

func (s *server) oneClient(path string, stop <-chan struct{}, r *loadResult) {
	var c net.Conn
	var br *bufio.Reader
	defer func() {
		if c != nil {
			c.Close()
		}
	}()
	fail := func(what string, err error) {
		r.failures = append(r.failures, fmt.Sprintf("%s: %v", what, err))
		if c != nil {
			c.Close()
			c = nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	for {
		select {
		case <-stop:
			return
		case <-time.After(2 * time.Millisecond):
		}
		if c == nil {
			var err error
			if c, err = net.Dial("tcp", s.addr); err != nil {
				fail("dial", err)
				continue
			}
			br = bufio.NewReader(c)
		}
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: load\r\n\r\n", path); err != nil {
			fail("write", err)
			continue
		}
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			fail("head", err)
			continue
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			fail("body", err)
			continue
		}
		if resp.StatusCode != 200 {
			fail("status", fmt.Errorf("%d", resp.StatusCode))
			continue
		}
		r.ok++
		if resp.Close {
			r.announced++
			c.Close()
			c = nil
		}
	}
}

// check fails the test if the load saw a failure, or hardly anything.
func (r loadResult) check(t *testing.T, least int) {
	t.Helper()
	if len(r.failures) > 0 {
		t.Errorf("%d of %d requests failed, e.g. %s", len(r.failures), r.ok+len(r.failures), r.failures[0])
	}
	if r.ok < least {
		t.Errorf("only %d requests were answered", r.ok)
	}
}

// metric returns the sum of a metric's series whose labels contain filter.
func (s *server) metric(name, filter string) float64 {
	s.t.Helper()
	_, text := fetch(s.t, "http://"+s.admin+"/metrics")
	sum := 0.0
	for _, line := range strings.Split(text, "\n") {
		series, value, ok := strings.Cut(line, " ")
		base, labels, _ := strings.Cut(series, "{")
		if !ok || base != name || !strings.Contains(labels, filter) {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			s.t.Fatalf("%s: %v", line, err)
		}
		sum += v
	}
	return sum
}

// workers returns the pids of the master's children.
func (s *server) workers() []int {
	s.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", s.cmd.Process.Pid, s.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	var pids []int
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", s.cmd.Process.Pid))
	b = b[:0]
	for _, f := range tasks {
		more, _ := os.ReadFile(f)
		b = append(append(b, more...), ' ')
	}
	for _, f := range strings.Fields(string(b)) {
		pid, _ := strconv.Atoi(f)
		pids = append(pids, pid)
	}
	return pids
}
