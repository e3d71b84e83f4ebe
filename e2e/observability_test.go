package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// series reads all samples of /metrics.
func (s *server) series() (map[string]float64, error) {
	r, err := client.Get("http://" + s.admin + "/metrics")
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	all := map[string]float64{}
	for _, line := range strings.Split(string(text), "\n") {
		i := strings.LastIndexByte(line, ' ')
		if i < 0 || line[0] == '#' {
			continue
		}
		v, err := strconv.ParseFloat(line[i+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		all[line[:i]] = v
	}
	return all, nil
}

var counter = regexp.MustCompile(`^hostler_\w+(_total|_count|_sum|_bucket)(\{|$)`)

// TestCountersNeverGoBack scrapes all the time while workers are killed,
// reloaded, added and taken away under load.
func TestCountersNeverGoBack(t *testing.T) {
	s := start(t, "-w", "3", "--threads", "2", "rules:app")
	stop, scraped := make(chan struct{}), make(chan int)
	go func() {
		last, n := map[string]float64{}, 0
		defer func() { scraped <- n }()
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			now, err := s.series()
			if err != nil {
				t.Error(err)
				return
			}
			for name, v := range last {
				if w, ok := now[name]; counter.MatchString(name) && (!ok || w < v) {
					t.Errorf("%s went from %v to %v (there: %v)", name, v, w, ok)
				}
			}
			last, n = now, n+1
		}
	}()
	load := s.load(8, "/hello", stop)
	for i := range 3 {
		if err := syscall.Kill(s.workers()[0], syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		s.eventually("a replacement", func() bool {
			return s.metric("hostler_worker_exits_total", `cause="signal"`) == float64(i+1) && s.metric("hostler_workers", `state="serving"`) == 3
		})
		s.signal(syscall.SIGHUP)
		s.waitLog("msg=reloaded", i+1)
		s.signal([]syscall.Signal{syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGTTOU}[i])
		time.Sleep(200 * time.Millisecond)
		s.signal([]syscall.Signal{syscall.SIGTTOU, syscall.SIGTTIN, syscall.SIGTTIN}[i])
		s.eventually("three workers", func() bool {
			return s.metric("hostler_workers", `state="serving"`) == 3 && s.metric("hostler_workers", "") == 3
		})
	}
	close(stop)
	if n := <-scraped; n < 10 {
		t.Errorf("only %d scrapes", n)
	}
	r := <-load
	total := s.metric("hostler_requests_total", `code="2xx"`)
	if total < float64(r.ok) {
		t.Errorf("%d answers were received, %v are counted", r.ok, total)
	}
	// A kill may come between an answer and its observation: three kills, two threads.
	if n := s.metric("hostler_request_duration_seconds_count", ""); n < float64(r.ok-6) {
		t.Errorf("%d answers were received, %v observed", r.ok, n)
	}
	if n := s.metric("hostler_generation", ""); n != 4 {
		t.Errorf("generation %v", n)
	}
}

// TestMetrics does known things and looks for their numbers.
func TestMetrics(t *testing.T) {
	s := start(t, "-w", "2", "--threads", "3", "rules:app")
	for range 10 {
		s.get("/hello")
	}
	s.get("/exception")
	s.raw("POST /count HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("a", 100_000))
	s.raw("NONSENSE\r\n\r\n")
	s.get("/sleep?0.3")
	s.get("/long")
	for _, c := range []struct {
		name, labels string
		want         float64
	}{
		{"hostler_requests_total", `code="2xx",method="GET"`, 12},
		{"hostler_requests_total", `code="5xx",method="GET"`, 1},
		{"hostler_requests_total", `code="2xx",method="POST"`, 1},
		{"hostler_requests_total", `code="4xx"`, 1},
		{"hostler_app_exceptions_total", "", 1},
		{"hostler_app_violations_total", "", 1},
		{"hostler_rejected_requests_total", "", 1},
		{"hostler_connections_accepted_total", "", 15},
		{"hostler_threads", "", 6},
		{"hostler_workers", `state="serving"`, 2},
		{"hostler_workers_target", "", 2},
		{"hostler_worker_up", "", 2},
		{"hostler_generation", "", 1},
		{"hostler_last_reload_successful", "", 1},
		{"hostler_build_info", "version=", 1},
		{"hostler_queue_depth", "", 0},
		{"hostler_request_duration_seconds_bucket", `le="0.1"`, 13},
		{"hostler_request_duration_seconds_count", "", 14},
		{"hostler_request_duration_seconds_count", `code="2xx",method="POST"`, 1},
		{"hostler_request_duration_seconds_count", `code="5xx",method="GET"`, 1},
		{"hostler_request_queue_wait_seconds_count", "", 14},
		{"hostler_worker_requests_total", "", 15},
	} {
		got := -1.0
		s.eventually(fmt.Sprintf("%s{%s} = %v", c.name, c.labels, c.want), func() bool {
			now := s.metric(c.name, c.labels)
			if now != got {
				got = now
				t.Logf("%s{%s}: %v", c.name, c.labels, got)
			}
			return got == c.want
		})
	}
	for name, least := range map[string]float64{
		"hostler_received_bytes_total": 100_000, "hostler_sent_bytes_total": 1000, "hostler_request_duration_seconds_sum": 0.3,
		"hostler_worker_resident_memory_bytes": 1e6, "hostler_worker_proportional_memory_bytes": 1e6, "hostler_worker_cpu_seconds_total": 0.01, "hostler_worker_start_time_seconds": 1e9,
	} {
		if n := s.metric(name, ""); n < least {
			t.Errorf("%s: %v", name, n)
		}
	}
	all, err := s.series()
	if err != nil {
		t.Fatal(err)
	}
	for name := range all {
		if strings.Contains(name, "pid=") {
			t.Errorf("a process id is a label: %s", name)
		}
	}
}

// TestStatusOfWedged wedges all threads of all workers and wants to see in which
// request each is.
func TestStatusOfWedged(t *testing.T) {
	s := start(t, "-w", "2", "--threads", "2", "--timeout", "0", "rules:app")
	type status struct {
		Master  struct{ PID, Generation int }
		Threads struct{ Total, Busy int }
		Workers []struct {
			Worker, PID, Generation int
			State                   string
			Threads                 []struct {
				State   string
				Request *struct {
					Method, Target, Client string
					Age                    float64 `json:"age_seconds"`
				}
			}
		}
	}
	var st status
	s.eventually("requests in all four threads", func() bool {
		s.dial().send(getLine("/burn?4.5")) // to one worker or the other, as the kernel wills
		time.Sleep(50 * time.Millisecond)
		_, b := fetch(t, "http://"+s.admin+"/status")
		st = status{}
		if err := json.Unmarshal([]byte(b), &st); err != nil {
			t.Fatalf("%v in %s", err, b)
		}
		return st.Threads.Busy == 4
	})
	if st.Master.PID != s.cmd.Process.Pid || st.Master.Generation != 1 || st.Threads.Total != 4 || len(st.Workers) != 2 {
		t.Errorf("%+v", st)
	}
	busy := 0
	for _, w := range st.Workers {
		if w.State != "serving" || w.PID == 0 || w.Generation != 1 || len(w.Threads) != 2 {
			t.Errorf("%+v", w)
		}
		for _, th := range w.Threads {
			if r := th.Request; r != nil {
				busy++
				if r.Method != "GET" || !strings.HasPrefix(r.Target, "/burn?") || r.Client != "127.0.0.1" || r.Age < 0 {
					t.Errorf("%+v", *r)
				}
			}
		}
	}
	if busy != 4 {
		t.Errorf("%d requests listed", busy)
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		if code, _ := fetch(t, "http://"+s.admin+path); code != http.StatusOK {
			t.Errorf("%s: %d", path, code)
		}
	}
	if n := s.metric("hostler_oldest_request_age_seconds", ""); n <= 0 {
		t.Errorf("age of the oldest request: %v", n)
	}
	s.signal(syscall.SIGQUIT) // not to wait for what is queued
}

// TestReadiness follows /readyz from boot to stop.
func TestReadiness(t *testing.T) {
	p := newPlan(t, "time.sleep(1.5)")
	s := launch(t, "-e", "PLAN="+p.path, "faults:app")
	ready := func() int {
		r, err := client.Get("http://" + s.admin + "/readyz")
		if err != nil {
			return 0
		}
		r.Body.Close()
		return r.StatusCode
	}
	s.eventually("the admin address to answer", func() bool { return ready() != 0 })
	if code := ready(); code != 503 {
		t.Errorf("while booting: %d", code)
	}
	if code, _ := fetch(t, "http://"+s.admin+"/healthz"); code != 200 {
		t.Errorf("/healthz while booting: %d", code)
	}
	s.waitLog("msg=serving")
	s.eventually("readiness", func() bool { return ready() == 200 })
	slow := s.dial()
	slow.send(getLine("/sleep?1.5"))
	s.eventually("the request to run", func() bool { return s.metric("hostler_threads", `state="busy"`) == 1 })
	s.signal(syscall.SIGTERM)
	s.eventually("the end of readiness", func() bool { return ready() == 503 })
	if r, _ := slow.answer("GET"); r.StatusCode != 200 {
		t.Errorf("the last request: %s", r.Status)
	}
}

// TestAccessLog reads lines as a log analyser would.
func TestAccessLog(t *testing.T) {
	access := filepath.Join(t.TempDir(), "access.log")
	s := start(t, "--access-log", access, "--access-log-format", "timed", "rules:app")
	s.raw("GET /hello?a=%22 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nUser-Agent: me \"and\\ you\xe9\r\nReferer: http://b/\r\n\r\n")
	s.raw("HEAD /hello HTTP/1.0\r\n\r\n")
	s.raw("POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc")
	s.raw("GET /exception HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	s.raw("GET / HTTP/1.1\r\n\r\n")
	s.raw("GET /gen HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	var lines []string
	s.eventually("six lines", func() bool {
		b, _ := os.ReadFile(access)
		lines = strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
		return len(lines) >= 6
	})
	for i, want := range []string{
		`"GET /hello\?a=%22 HTTP/1\.1" 200 \d+ "http://b/" "me \\"and\\\\ you\\xe9" \d+`,
		`"HEAD /hello HTTP/1\.0" 200 - "-" "-" \d+`,
		`"POST /echo HTTP/1\.1" 200 3 "-" "-" \d+`,
		`"GET /exception HTTP/1\.1" 500 \d+ "-" "-" \d+`,
		`"GET / HTTP/1\.1" 400 \d+ "-" "-" \d+`,
		`"GET /gen HTTP/1\.1" 200 7 "-" "-" \d{6,}`,
	} {
		re := regexp.MustCompile(`^127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] ` + want + `$`)
		if !re.MatchString(lines[i]) {
			t.Errorf("line %d: %q does not match %s", i, lines[i], re)
		}
	}
}

// TestAccessLogBytes wants the bytes of a line to be those of the body, whoever made
// it: the application, a file, hostler itself; by HTTP/1.1 and HTTP/2.
func TestAccessLogBytes(t *testing.T) {
	dir := t.TempDir()
	access := filepath.Join(dir, "access.log")
	if err := os.WriteFile(filepath.Join(dir, "a.txt"), []byte("0123456789"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := start(t, "--access-log", access, "--static", "/static="+dir, "--http2-cleartext", "rules:app")
	lines := 0
	line := func(what, want string) {
		t.Helper()
		lines++
		var all []string
		s.eventually("a line for "+what, func() bool {
			b, _ := os.ReadFile(access)
			all = strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
			return len(b) > 0 && len(all) >= lines
		})
		if last := all[len(all)-1]; len(all) != lines || !strings.Contains(last, want) {
			t.Errorf("%s: %d lines of %d, %q, want %s", what, len(all), lines, last, want)
		}
	}
	for _, c := range []struct{ request, want string }{
		{"GET /write HTTP/1.1\r\nHost: a\r\n", `" 200 9 `}, // in chunks
		{"HEAD /write HTTP/1.1\r\nHost: a\r\n", `" 200 - `},
		{"GET /long HTTP/1.1\r\nHost: a\r\n", `" 200 3 `},
		{"GET /204 HTTP/1.1\r\nHost: a\r\n", `" 204 - `},
		{"GET /304 HTTP/1.1\r\nHost: a\r\n", `" 304 - `},
		{"GET /exception HTTP/1.1\r\nHost: a\r\n", `" 500 26 `},
		{"HEAD /exception HTTP/1.1\r\nHost: a\r\n", `" 500 - `},
		{"GET /static/a.txt HTTP/1.1\r\nHost: a\r\n", `" 200 10 `},
		{"GET /static/a.txt HTTP/1.1\r\nHost: a\r\nRange: bytes=2-4\r\n", `" 206 3 `},
		{"HEAD /static/a.txt HTTP/1.1\r\nHost: a\r\n", `" 200 - `},
		{"GET /static/nowhere HTTP/1.1\r\nHost: a\r\n", `" 404 14 `},
		{"GET / HTTP/1.1\r\n", `"GET / HTTP/1.1" 400 16 `},
		{"HEAD / HTTP/1.1\r\n", `"HEAD / HTTP/1.1" 400 - `},
		{"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n", `"CONNECT a:1 HTTP/1.1" 405 23 `},
	} {
		s.raw(c.request + "Connection: close\r\n\r\n")
		line(c.request, c.want)
	}
	c := s.framed()
	for _, k := range []struct{ method, path, want string }{
		{"GET", "/write", `HTTP/2.0" 200 9 `}, {"HEAD", "/write", `HTTP/2.0" 200 - `}, {"GET", "/exception", `HTTP/2.0" 500 26 `},
		{"GET", "/" + strings.Repeat("a", 9000), `"-" 414 25 `}, {"HEAD", "/" + strings.Repeat("a", 9000), `"-" 414 - `},
	} {
		_, body := c.answerOf(c.open(true, ":method", k.method, ":scheme", "http", ":authority", "a", ":path", k.path))
		if k.method == "HEAD" && body != "" {
			t.Errorf("HEAD by HTTP/2 has a body: %q", body)
		}
		line(k.method+" by HTTP/2", k.want)
	}
}
