package e2e

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// h2client speaks HTTP/2 with prior knowledge, all on one connection.
func h2client() *http.Client {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: &http.Transport{Protocols: p}, Timeout: 30 * time.Second}
}

// TestPools: slow endpoints take no more threads than their pool has.
func TestPools(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"lanes.py": `
import os, time
def app(environ, start_response):
    while environ["PATH_INFO"] == "/slow" and not os.path.exists("open"):
        time.sleep(0.01)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
`})
	s := start(t, "--threads", "4", "--pool", "slow=/slow*:2", "--pool", "none=/nothing:1", "--queue", "8", "--http2-cleartext", "--chdir", dir, "lanes:app")
	var wg sync.WaitGroup
	ask := func(c *http.Client, want int) {
		r, err := c.Get("http://" + s.addr + "/slow")
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		r.Body.Close()
		if r.StatusCode != want {
			t.Errorf("%s, not %d", r.Status, want)
		}
	}
	h2 := h2client()
	// A test that fails must not wait for them.
	t.Cleanup(func() { write(t, dir, map[string]string{"open": ""}) })
	for i := range 10 { // two run, eight wait
		c := client
		if i%2 == 0 {
			c = h2
		}
		wg.Go(func() { ask(c, 200) })
		s.eventually("one more to run or wait", func() bool {
			return s.metric("hostler_pool_threads", `pool="slow",state="busy"`) == float64(min(i+1, 2)) &&
				s.metric("hostler_pool_queue_depth", `pool="slow"`) == float64(max(i-1, 0))
		})
	}
	ask(client, 503)
	ask(h2, 503)
	for range 20 {
		if code, _ := s.get("/"); code != 200 {
			t.Errorf("beside the slow ones: %d", code)
		}
		if n := s.metric("hostler_threads", `state="busy"`); n > 3 {
			t.Errorf("%v threads busy", n)
		}
	}
	if n := s.metric("hostler_pool_threads", `pool="none",state="idle"`); n != 1 {
		t.Errorf("the other pool has %v free threads", n)
	}
	write(t, dir, map[string]string{"open": ""})
	wg.Wait()
	s.eventually("the pool to be empty", func() bool {
		return s.metric("hostler_pool_threads", `pool="slow",state="busy"`)+s.metric("hostler_pool_queue_depth", "") == 0
	})
	if n := s.metric("hostler_unavailable_total", ""); n != 2 {
		t.Errorf("%v requests were sent away", n)
	}
}

// TestPoolsReload: what waits in a pool survives a reload that does away with it,
// and one that has run into the timeout gives its place to the next.
func TestPoolsReload(t *testing.T) {
	s := start(t, "-w", "2", "--threads", "2", "--timeout", "4", "--pool", "slow=/s*:1", "deadlines:app")
	var wg sync.WaitGroup
	codes := make(chan int, 20)
	get := func(n int, page string) {
		for range n {
			wg.Go(func() { code, _ := s.get(page); codes <- code })
		}
	}
	get(2, "/spin/60")
	s.eventually("one to run in each worker", func() bool { return s.metric("hostler_pool_threads", `state="busy"`) == 2 })
	get(1, "/spin/60")
	get(4, "/spin/0.5")
	s.eventually("the others to wait", func() bool { return s.metric("hostler_pool_queue_depth", "") == 5 })
	s.signal(syscall.SIGHUP)
	for range 20 {
		if code, _ := s.get("/"); code != 200 {
			t.Errorf("%d", code)
		}
	}
	wg.Wait()
	close(codes)
	n := map[int]int{}
	for c := range codes {
		n[c]++
	}
	if n[504] != 3 || n[200] != 4 {
		t.Errorf("answers: %v", n)
	}
}

// TestPoolsWrong: what is no pool is said.
func TestPoolsWrong(t *testing.T) {
	for arg, want := range map[string]string{
		"x=/a:3":       "--pool: x cannot have 3 threads: a worker has 2",
		"x=/a":         `"x=/a" is not NAME=PATTERN:THREADS`,
		"x y=/:1":      `"x y" cannot be the name of a pool`,
		"x=a:1":        "has to begin with / or *",
		"x=/a:0":       `"0" is not a number of threads`,
		"a=/:1,a=/b:1": "there are two pools called a",
	} {
		s := launchBare(t, "--threads", "2", "--pool", arg, "faults:app")
		<-s.exited
		if !strings.Contains(s.log.String(), want) {
			t.Errorf("%s: %s", arg, s.log)
		}
		if code := s.cmd.ProcessState.ExitCode(); code != 2 {
			t.Errorf("%s: exit status %d", arg, code)
		}
	}
}
