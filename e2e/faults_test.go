package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// pidOf asks for the process that answers a connection.
func (w *wire) pidOf() int {
	w.t.Helper()
	w.send(getLine("/"))
	_, b := w.answer("GET")
	f := strings.Fields(b)
	pid, err := strconv.Atoi(f[1])
	if err != nil {
		w.t.Fatal(err)
	}
	return pid
}

// TestWorkerKilled kills a worker with a request in it from outside, under load.
func TestWorkerKilled(t *testing.T) {
	access := filepath.Join(t.TempDir(), "access.log")
	s := start(t, "-w", "2", "--access-log", access, "faults:app")
	for range 100 {
		s.get("/")
	}
	before := s.metric("hostler_requests_total", "")
	victim := s.dial()
	pid := victim.pidOf()
	victim.send(getLine("/sleep?20"))
	s.eventually("the request to run", func() bool { return s.metric("hostler_threads", `state="busy"`) == 1 })
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if b, err := victim.r.ReadByte(); err == nil {
		t.Errorf("the request in the killed worker got %q", b)
	}
	for _, want := range []string{"request lost", "target=/sleep?20", "method=GET", "client=127.0.0.1", "signal:SIGKILL", fmt.Sprintf("pid=%d", pid)} {
		s.waitLog(want)
	}
	s.eventually("the request's line in the access log", func() bool {
		b, _ := os.ReadFile(access)
		return strings.Contains(string(b), "GET /sleep?20")
	})
	s.eventually("another worker", func() bool {
		return s.metric("hostler_workers", `state="serving"`) == 2 && s.metric("hostler_worker_exits_total", `cause="signal"`) == 1
	})
	// The killed worker's share is kept, the lost request counted.
	if n := s.metric("hostler_requests_total", ""); n < before+2 {
		t.Errorf("%v requests became %v", before, n)
	}
	if n := s.metric("hostler_requests_total", `code="none"`); n != 1 {
		t.Errorf("requests without an answer: %v", n)
	}
	s.underLoad(func() {})
}

// TestKilledOneByOne keeps what is not lost going: of many requests only those
// in the killed workers may fail.
func TestKilledOneByOne(t *testing.T) {
	s := start(t, "-w", "3", "faults:app")
	stop := make(chan struct{})
	result := s.load(9, "/", stop)
	for i := range 3 {
		time.Sleep(300 * time.Millisecond)
		if err := syscall.Kill(s.workers()[0], syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		s.eventually("the death to be counted", func() bool { return s.metric("hostler_worker_exits_total", `cause="signal"`) == float64(i+1) })
		s.eventually("three workers again", func() bool { return s.metric("hostler_workers", `state="serving"`) == 3 })
	}
	close(stop)
	r := <-result
	if len(r.failures) > 27 || r.ok < 100 {
		t.Errorf("%d failures, %d answers: %v", len(r.failures), r.ok, r.failures)
	}
	for _, f := range r.failures {
		if strings.HasPrefix(f, "dial: ") || strings.HasPrefix(f, "status: ") {
			t.Errorf("no victim of a killed worker: %s", f)
		}
	}
}

// TestStuckBesideOthers lets one of four threads run into the timeout; what runs
// in the other three must end well, in the worker that is being replaced.
func TestStuckBesideOthers(t *testing.T) {
	s := start(t, "--threads", "4", "--timeout", "3", "--graceful-timeout", "10", "faults:app")
	stuck := s.dial()
	stuck.send(getLine("/sleep?30"))
	time.Sleep(1500 * time.Millisecond)
	var wg sync.WaitGroup
	for range 3 { // they begin before the timeout of the other, and end after it
		c := s.dial()
		wg.Go(func() {
			c.send(getLine("/sleep?2.5"))
			r, err := http.ReadResponse(c.r, nil)
			if err != nil {
				t.Errorf("a request beside the stuck one: %v", err)
				return
			}
			defer r.Body.Close()
			if r.StatusCode != 200 || r.Close { // its connection moves on
				t.Errorf("beside the stuck one: %s, close announced: %v", r.Status, r.Close)
			}
		})
	}
	for _, want := range []string{"a request runs into the timeout", "target=/sleep?30", "in sleep_without_gil", "client=127.0.0.1"} {
		s.waitLog(want)
	}
	s.eventually("a replacement before the end of the old worker", func() bool { return s.metric("hostler_workers", `state="serving"`) == 1 })
	if code, _ := s.get("/"); code != 200 {
		t.Errorf("the replacement answers %d", code)
	}
	wg.Wait()
	s.eventually("the end of the stuck worker", func() bool { return s.metric("hostler_worker_exits_total", `cause="timeout"`) == 1 })
	if n := s.metric("hostler_request_timeouts_total", ""); n != 1 {
		t.Errorf("timeouts: %v", n)
	}
	if b, err := stuck.r.ReadByte(); err == nil {
		t.Errorf("the stuck request got %q", b)
	}
}

// TestStuckWithGIL holds the lock in C, where no Python code can run any more:
// the tracebacks of all threads must come all the same.
func TestStuckWithGIL(t *testing.T) {
	for _, threads := range []int{1, 4} {
		t.Run(fmt.Sprint(threads, " threads"), func(t *testing.T) {
			s := start(t, "-w", "2", "--threads", fmt.Sprint(threads), "--timeout", "5", "--graceful-timeout", "5", "faults:app")
			stuck := s.dial()
			stuck.send(getLine("/hold"))
			s.eventually("the request in /status", func() bool {
				_, b := fetch(t, "http://"+s.admin+"/status")
				return strings.Contains(b, "/hold")
			})
			for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
				if code, _ := fetch(t, "http://"+s.admin+path); code != 200 {
					t.Errorf("%s: %d", path, code)
				}
			}
			s.waitLog("in hold_the_gil")
			s.waitLog("target=/hold")
			s.waitLog("GIL deadlock")
			s.eventually("the kill", func() bool { return s.metric("hostler_worker_exits_total", `cause="gil_deadlock"`) == 1 })
			s.eventually("two workers", func() bool { return s.metric("hostler_workers", `state="serving"`) == 2 })
			s.underLoad(func() {})
		})
	}
}

// TestMasterKilledAtWork kills the master while its workers are in requests that
// they do not leave, or not for seconds.
func TestMasterKilledAtWork(t *testing.T) {
	for _, page := range []string{"/sleep?20", "/hold"} {
		s := start(t, "-w", "2", "--graceful-timeout", "2", "faults:app")
		pids := s.workers()
		for range 2 {
			s.dial().send(getLine(page))
		}
		s.eventually("two requests to run", func() bool { return s.metric("hostler_threads", `state="busy"`) >= 1 })
		if err := s.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-s.exited
		for _, pid := range pids {
			for end := time.Now().Add(15 * time.Second); alive(pid); time.Sleep(20 * time.Millisecond) {
				if time.Now().After(end) {
					t.Errorf("%s: worker %d outlives its master", page, pid)
					_ = syscall.Kill(pid, syscall.SIGKILL)
					break
				}
			}
		}
		if c, err := client.Get("http://" + s.addr + "/"); err == nil {
			c.Body.Close()
			t.Errorf("%s: somebody still answers", page)
		}
	}
}

// TestStopBounded wants a stop not to wait for ever for what hangs, but to wait
// for what does not.
func TestStopBounded(t *testing.T) {
	s := start(t, "-w", "2", "--graceful-timeout", "1", "faults:app")
	hangs := s.dial()
	hangs.send(getLine("/sleep?60"))
	s.eventually("the request to run", func() bool { return s.metric("hostler_threads", `state="busy"`) == 1 })
	s.signal(syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(15 * time.Second):
		t.Fatal("still there, 15 s after SIGTERM with a graceful timeout of 1 s")
	}
	s.waitLog("/sleep?60") // the request that was cut off is named
}

// TestSlowRequest wants the traceback of a slow request, and no harm done to it.
func TestSlowRequest(t *testing.T) {
	s := start(t, "--threads", "2", "--slow-request", "0.5", "faults:app")
	if code, _ := s.get("/sleep?1.5"); code != 200 {
		t.Errorf("%d", code)
	}
	s.waitLog("a slow request")
	s.waitLog("target=/sleep?1.5")
	s.waitLog("in sleep_without_gil")
	if n := s.metric("hostler_worker_exits_total", ""); n != 0 {
		t.Errorf("%v workers have left", n)
	}
}

// TestMaxMemory replaces a worker that has grown, under load.
func TestMaxMemory(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"leak.py": `
kept = []
def app(environ, start_response):
    if environ["PATH_INFO"] == "/leak":
        kept.append(bytearray(b"x" * 100_000_000))
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
`})
	s := start(t, "-w", "2", "--max-memory", "80m", "--max-memory-hard", "1g", "--chdir", dir, "leak:app")
	time.Sleep(3 * time.Second) // the workers are looked at while they are small
	s.underLoad(func() {
		s.get("/leak")
		s.waitLog("cause=max_memory", 2)
		s.eventually("two workers", func() bool { return s.metric("hostler_workers", `state="serving"`) == 2 })
	})
	if n := s.metric("hostler_worker_exits_total", `cause="max_memory"`); n != 1 {
		t.Errorf("%v workers have left for their memory", n)
	}
}
