package e2e

import (
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
	"syscall"
	"testing"
	"time"
)

// underLoad runs f while connections are busy, and wants no request to fail and
// no connection to end unannounced.
func (s *server) underLoad(f func()) {
	s.t.Helper()
	stop := make(chan struct{})
	result := s.load(16, "/hello", stop)
	time.Sleep(300 * time.Millisecond)
	f()
	time.Sleep(300 * time.Millisecond)
	close(stop)
	(<-result).check(s.t, 500)
}

func TestReload(t *testing.T) {
	s := start(t, "-w", "2", "--threads", "2", "rules:app")
	_, before := s.get("/hello")
	s.underLoad(func() {
		for i := 1; i <= 4; i++ {
			s.signal(syscall.SIGHUP)
			s.waitLog("cause=reload", 2*i)
		}
	})
	if _, after := s.get("/hello"); after == before {
		t.Error("the same worker after four reloads")
	}
	if n := s.metric("hostler_reloads_total", `result="success"`); n != 4 {
		t.Errorf("reloads: %v", n)
	}
}

func writeApp(t *testing.T, dir, code string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "fresh.py"), []byte(code), 0o600); err != nil {
		t.Fatal(err)
	}
}

const answer = "def app(e, s):\n    s('200 OK', [('Content-Length', '1')])\n    return [b'%d']\n"

func TestBrokenReload(t *testing.T) {
	dir := t.TempDir()
	writeApp(t, dir, fmt.Sprintf(answer, 1))
	s := start(t, "-w", "2", "--chdir", dir, "fresh:app")
	s.underLoad(func() {
		writeApp(t, dir, "raise RuntimeError('broken on purpose')\n")
		s.signal(syscall.SIGHUP)
		s.eventually("the failure's count", func() bool { return s.metric("hostler_reloads_total", `result="failure"`) == 1 })
		if _, b := s.get("/"); b != "1" {
			t.Errorf("after the broken reload: %q", b)
		}
		if n := s.metric("hostler_last_reload_successful", ""); n != 0 {
			t.Errorf("last_reload_successful: %v", n)
		}
		s.waitLog("raise RuntimeError('broken on purpose')")
		if n := strings.Count(s.log.String(), "raise RuntimeError('broken on purpose')"); n != 1 {
			t.Errorf("the traceback is in the log %d times", n)
		}
		writeApp(t, dir, fmt.Sprintf(answer, 2))
		s.signal(syscall.SIGHUP)
		s.eventually("the new code", func() bool { _, b := s.get("/"); return b == "2" })
	})
}

func TestMaxRequests(t *testing.T) {
	s := start(t, "-w", "2", "--max-requests", "200", "--max-requests-jitter", "50", "rules:app")
	s.underLoad(func() { s.waitLog("cause=recycled", 3) })
}

func TestScale(t *testing.T) {
	s := start(t, "-w", "2", "rules:app")
	serving := func() float64 { return s.metric("hostler_workers", `state="serving"`) }
	s.underLoad(func() {
		s.signal(syscall.SIGTTIN)
		s.eventually("a third worker", func() bool { return serving() == 3 })
		s.signal(syscall.SIGHUP)
		s.waitLog("cause=reload", 2)
		s.eventually("three new workers", func() bool { return serving() == 3 })
		s.signal(syscall.SIGTTOU)
		s.eventually("two workers", func() bool { return serving() == 2 })
		s.signal(syscall.SIGTTOU)
		s.eventually("one worker", func() bool { return serving() == 1 })
	})
}

func TestUpgrade(t *testing.T) {
	copyOf := filepath.Join(t.TempDir(), "hostler")
	b, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(copyOf, b, 0o700); err != nil {
		t.Fatal(err)
	}
	old := binary
	binary = copyOf
	defer func() { binary = old }()
	pidfile := filepath.Join(t.TempDir(), "pid")
	s := start(t, "-w", "2", "-p", pidfile, "rules:app")
	master := func() int {
		b, _ := os.ReadFile(pidfile)
		pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
		return pid
	}
	first := master()
	if first != s.cmd.Process.Pid {
		t.Fatalf("pid file says %d, the master is %d", first, s.cmd.Process.Pid)
	}
	s.underLoad(func() {
		// A binary that is none harms nothing.
		if err := os.Rename(copyOf, copyOf+".good"); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(copyOf, []byte("#!/bin/false\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		s.signal(syscall.SIGUSR2)
		time.Sleep(time.Second)
		if _, b := s.get("/hello"); b == "" || master() != first {
			t.Error("the broken binary did harm")
		}
		if err := os.Rename(copyOf+".good", copyOf); err != nil {
			t.Fatal(err)
		}
		s.signal(syscall.SIGUSR2)
		for end := time.Now().Add(20 * time.Second); master() == first && time.Now().Before(end); {
			time.Sleep(20 * time.Millisecond)
		}
		if master() == first {
			t.Fatal("no new master")
		}
		<-s.exited
	})
	if err := syscall.Kill(master(), syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if syscall.Kill(master(), 0) != nil || master() == 0 {
			return
		}
	}
	t.Error("the new master did not stop")
}

// TestTerm stops a worker with one thread while six requests are under way.
func TestTerm(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		s := start(t, "rules:app")
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				r, err := client.Get("http://" + s.addr + "/sleep?0.2")
				if err != nil {
					t.Error(err)
					return
				}
				defer r.Body.Close()
				if b, _ := io.ReadAll(r.Body); r.StatusCode != 200 || string(b) != "slept" {
					t.Errorf("%d %q", r.StatusCode, b)
				}
			})
		}
		time.Sleep(100 * time.Millisecond)
		s.signal(sig)
		wg.Wait()
		<-s.exited
		if c := s.cmd.ProcessState.ExitCode(); c != 0 {
			t.Errorf("exit status %d", c)
		}
	}
}

// TestTermUnderLoad wants each keep-alive connection's end to be announced.
func TestTermUnderLoad(t *testing.T) {
	s := start(t, "-w", "2", "rules:app")
	stop := make(chan struct{})
	result := s.load(8, "/hello", stop)
	time.Sleep(300 * time.Millisecond)
	s.signal(syscall.SIGTERM)
	time.Sleep(50 * time.Millisecond)
	<-s.exited
	close(stop)
	r := <-result
	for _, f := range r.failures {
		if !strings.HasPrefix(f, "dial: ") { // there is nobody any more
			t.Error(f)
		}
	}
	if r.announced < 8 {
		t.Errorf("%d of 8 connections were told of the end", r.announced)
	}
}

func TestQuitAtOnce(t *testing.T) {
	for _, sigs := range [][]syscall.Signal{{syscall.SIGTERM, syscall.SIGQUIT}, {syscall.SIGQUIT}} {
		s := start(t, "rules:app")
		go func() { _, _ = client.Get("http://" + s.addr + "/sleep?25") }()
		time.Sleep(200 * time.Millisecond)
		for _, sig := range sigs {
			s.signal(sig)
			time.Sleep(200 * time.Millisecond)
		}
		select {
		case <-s.exited:
		case <-time.After(8 * time.Second):
			t.Errorf("still there after %v", sigs)
		}
	}
}

func TestLogRotation(t *testing.T) {
	dir := t.TempDir()
	access, errors := dir+"/access.log", dir+"/error.log"
	s := launch(t, "--access-log", access, "--error-log", errors, "rules:app")
	has := func(file, text string) func() bool {
		return func() bool { b, _ := os.ReadFile(file); return strings.Contains(string(b), text) }
	}
	s.eventually("serving", has(errors, "msg=serving"))
	s.get(`/hello?before"quote`)
	s.eventually("the first line", has(access, `"GET /hello?before\"quote HTTP/1.1" 200`))
	for _, f := range []string{access, errors} {
		if err := os.Rename(f, f+".1"); err != nil {
			t.Fatal(err)
		}
	}
	s.signal(syscall.SIGUSR1)
	s.eventually("new files", func() bool {
		s.get("/exception")
		return has(access, "GET /exception")() && has(errors, "a marker for the log")()
	})
}

func TestWorkerDies(t *testing.T) {
	s := start(t, "-w", "2", "--access-log", "-", "rules:app")
	before := s.metric("hostler_requests_total", "")
	for range 50 {
		s.get("/hello")
	}
	for _, c := range []struct{ path, cause string }{{"/os_exit", "exit"}, {"/segfault", "signal"}} {
		if r, err := client.Get("http://" + s.addr + c.path); err == nil {
			t.Errorf("%s was answered: %s", c.path, r.Status)
		}
		s.eventually("the death of "+c.path, func() bool { return s.metric("hostler_worker_exits_total", fmt.Sprintf("cause=%q", c.cause)) >= 1 })
		s.waitLog("GET " + c.path)
	}
	s.eventually("two workers again", func() bool { return s.metric("hostler_workers", `state="serving"`) == 2 })
	if n := s.metric("hostler_requests_total", ""); n < before+50 {
		t.Errorf("requests went from %v to %v", before, n)
	}
	if _, b := s.get("/hello"); b == "" {
		t.Error("no answer")
	}
}

func TestMasterKilled(t *testing.T) {
	s := start(t, "-w", "3", "rules:app")
	pids := s.workers()
	if len(pids) != 3 {
		t.Fatalf("workers: %v", pids)
	}
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-s.exited
	for _, pid := range pids {
		for end := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if err != nil || strings.Contains(string(b), ") Z ") {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("worker %d is still there", pid)
			}
		}
	}
	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

// TestTimeout: a request in Python code that runs too long ends alone; its worker
// lives on. (TestInterrupt… has the rest.)
func TestTimeout(t *testing.T) {
	for _, threads := range []string{"1", "4"} {
		t.Run(threads+" threads", func(t *testing.T) {
			s := start(t, "-w", "2", "--threads", threads, "--timeout", "2", "rules:app")
			before := s.workers()
			if code, _ := s.get("/burn?15"); code != 504 {
				t.Errorf("answered %d", code)
			}
			for _, want := range []string{"in burn", "/burn?15"} {
				s.waitLog(want)
			}
			if n := s.metric("hostler_request_timeouts_total", ""); n != 1 {
				t.Errorf("timeouts: %v", n)
			}
			if n := s.metric("hostler_worker_exits_total", ""); n != 0 || !slices.Equal(s.workers(), before) {
				t.Errorf("%v workers left", n)
			}
		})
	}
}

func TestBadStarts(t *testing.T) {
	taken, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", freePort(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	for name, code := range map[string]string{"imp": "import nothing_like_this\n", "num": "app = 3\n", "slow": "import time\ntime.sleep(60)\n"} {
		if err := os.WriteFile(filepath.Join(dir, name+".py"), []byte(code), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	free := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	base := []string{"--python", venv, "--admin-bind", "off", "--chdir", dir}
	for _, c := range []struct {
		want string
		args []string
	}{
		{"did you mean --workers", []string{"--wrkers", "3", "imp"}},
		{"address already in use", append(base, "-b", taken.Addr().String(), "imp")},
		{"no_such_module", append(base, "-b", free, "no_such_module:app")},
		{"nothing_like_this", append(base, "-b", free, "imp:app")},
		{"not callable", append(base, "-b", free, "num:app")},
		{"cannot find 'other'", append(base, "-b", free, "num:other")},
		{"boot", append(base, "-b", free, "--boot-timeout", "1", "slow:app")},
		{"/bin/nothing", []string{"--python", "/bin/nothing", "--admin-bind", "off", "-b", free, "imp:app"}},
		{"app", nil},
		{"nothing_like_this", append(base, "--check", "imp:app")},
	} {
		out, err := exec.Command(binary, c.args...).CombinedOutput()
		text := string(out)
		if err == nil || !strings.Contains(text, c.want) || strings.Contains(text, "goroutine ") {
			t.Errorf("hostler %v: %v, want %q in\n%s", c.args, err, c.want, text)
		}
	}
}

// TestWedged wants the admin address, and the other connections' errors, to work
// while every Python thread is stuck with the GIL.
func TestWedged(t *testing.T) {
	s := start(t, "--timeout", "0", "--queue", "2", "rules:app")
	var wg sync.WaitGroup
	wg.Go(func() {
		if r, err := client.Get("http://" + s.addr + "/burn?3"); err != nil || r.StatusCode != 200 {
			t.Errorf("the slow request: %v", err)
		}
	})
	time.Sleep(300 * time.Millisecond)
	var mu sync.Mutex
	codes := map[int]int{}
	for range 6 {
		wg.Go(func() {
			r, err := client.Get("http://" + s.addr + "/hello")
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Body.Close()
			if r.StatusCode == http.StatusServiceUnavailable && r.Header.Get("Retry-After") == "" {
				t.Error("503 without Retry-After")
			}
			mu.Lock()
			codes[r.StatusCode]++
			mu.Unlock()
		})
	}
	time.Sleep(500 * time.Millisecond)
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/status"} {
		if code, _ := fetch(t, "http://"+s.admin+path); code != 200 {
			t.Errorf("%s: %d", path, code)
		}
	}
	if n := s.metric("hostler_queue_depth", ""); n != 2 {
		t.Errorf("queue depth %v", n)
	}
	wg.Wait()
	if codes[200] != 2 || codes[503] != 4 {
		t.Errorf("with room for two: %v", codes)
	}
}
