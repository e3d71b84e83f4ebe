package e2e

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// transfers are long uploads and downloads, each half way when begin returns.
type transfers struct {
	s            *server
	up, chunked  *wire
	down, pieces *wire
	body, frames string
}

func (s *server) begin() *transfers {
	s.t.Helper()
	x := &transfers{s: s, body: filler(3_000_000)}
	x.frames = postChunked("/digest", x.body, 70_000)
	x.up, x.chunked, x.down, x.pieces = s.dial(), s.dial(), s.dial(), s.dial()
	for _, c := range []*wire{x.up, x.chunked, x.down, x.pieces} {
		_ = c.SetDeadline(time.Now().Add(40 * time.Second))
	}
	whole := post("/digest", x.body)
	x.up.send(whole[:1_500_000])
	x.chunked.send(x.frames[:1_500_000])
	x.down.send(getLine("/big"))
	x.pieces.send(getLine("/big_pieces"))
	for _, c := range []*wire{x.down, x.pieces} {
		if _, err := c.r.Peek(1); err != nil {
			s.t.Fatal(err)
		}
	}
	return x
}

// finish wants all of it to end well.
func (x *transfers) finish() {
	t := x.s.t
	t.Helper()
	whole := post("/digest", x.body)
	x.up.send(whole[1_500_000:])
	x.chunked.send(x.frames[1_500_000:])
	want := digestOf(x.body)
	x.up.want(200, want)
	x.chunked.want(200, want)
	_, one := x.down.answer("GET")
	_, two := x.pieces.answer("GET")
	if len(one) != 20_000_000 || one != two {
		t.Errorf("downloads of %d and %d bytes, the same: %v", len(one), len(two), one == two)
	}
}

func TestReloadDuringTransfers(t *testing.T) {
	s := start(t, "-w", "2", "--threads", "4", "wire:app")
	x := s.begin()
	s.signal(syscall.SIGHUP)
	s.waitLog("msg=reloaded")
	time.Sleep(300 * time.Millisecond)
	x.finish()
	s.waitLog("cause=reload", 2)
	if strings.Contains(s.log.String(), "request lost") || strings.Contains(s.log.String(), "killing it") {
		t.Error("an old worker was not left in peace")
	}
}

func TestTermDuringTransfers(t *testing.T) {
	s := start(t, "-w", "2", "--threads", "4", "wire:app")
	x := s.begin()
	s.signal(syscall.SIGTERM)
	time.Sleep(time.Second)
	x.finish()
	<-s.exited
	if c := s.cmd.ProcessState.ExitCode(); c != 0 {
		t.Errorf("exit status %d", c)
	}
	if strings.Contains(s.log.String(), "request lost") || strings.Contains(s.log.String(), "killing it") {
		t.Error("a worker was not left in peace")
	}
}

func TestUpgradeDuringTransfers(t *testing.T) {
	pidfile := filepath.Join(t.TempDir(), "pid")
	s := start(t, "-w", "2", "--threads", "4", "-p", pidfile, "wire:app")
	next := s.successor(pidfile)
	x := s.begin()
	s.signal(syscall.SIGUSR2)
	s.waitLog("the new binary serves")
	x.finish()
	<-s.exited
	if pid := next(); pid == s.cmd.Process.Pid || !alive(pid) {
		t.Errorf("the new master is %d", pid)
	}
	if code, _ := s.get("/n"); code != 200 {
		t.Errorf("the new binary answers %d", code)
	}
}

// successor returns a function that reads the pid file, and ends the master that
// it names when the test ends.
func (s *server) successor(pidfile string) func() int {
	read := func() int { return readPid(pidfile) }
	s.eventually("the pid file", func() bool { return read() != 0 }) // it comes after what is logged
	s.t.Cleanup(func() {
		pid := read()
		if pid == 0 || pid == s.cmd.Process.Pid {
			return
		}
		_ = syscall.Kill(pid, syscall.SIGTERM)
		for end := time.Now().Add(20 * time.Second); alive(pid); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				s.t.Errorf("master %d does not stop", pid)
				_ = syscall.Kill(pid, syscall.SIGKILL)
				return
			}
		}
	})
	return read
}

// mixed sends requests of all kinds on keep-alive connections until stop, each
// answer held against what it must be.
func (s *server) mixed(conns int, stop <-chan struct{}) <-chan loadResult {
	out := make(chan loadResult, 1)
	var mu sync.Mutex
	var total loadResult
	var wg sync.WaitGroup
	for i := range conns {
		wg.Go(func() {
			for n := i; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				ok, err := s.mixedConn(n, stop)
				mu.Lock()
				total.ok += ok
				if err != nil {
					total.failures = append(total.failures, err.Error())
				}
				mu.Unlock()
			}
		})
	}
	go func() {
		wg.Wait()
		out <- total
	}()
	return out
}

var errUnannounced = errors.New("the connection ended without an announcement")

// mixedConn uses one connection until its end is announced, or stop.
func (s *server) mixedConn(n int, stop <-chan struct{}) (ok int, err error) {
	c := dialQuiet(s.addr)
	if c == nil {
		return 0, errors.New("cannot connect")
	}
	defer c.Close()
	for ; ; n++ {
		select {
		case <-stop:
			return ok, nil
		case <-time.After(3 * time.Millisecond):
		}
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		size := n * 7919 % 200_000
		var request string
		var want []string
		switch n % 6 {
		case 0:
			request, want = getLine(fmt.Sprintf("/n%d", n)), []string{fmt.Sprintf("GET /n%d", n)}
		case 1:
			request, want = post("/digest", filler(size)), []string{digestOf(filler(size))}
		case 2:
			request, want = postChunked("/digest", filler(size), 9000), []string{digestOf(filler(size))}
		case 3:
			request, want = getLine("/unframed"), []string{"piece 0\npiece 1\npiece 2\n"}
		case 4:
			request, want = getLine("/sleep?0.01"), []string{"slept"}
		case 5:
			request, want = getLine("/a")+getLine("/b")+getLine("/c"), []string{"GET /a", "GET /b", "GET /c"}
		}
		if _, err := io.WriteString(c, request); err != nil {
			return ok, fmt.Errorf("%.20q: %w: %w", request, errUnannounced, err)
		}
		for i, w := range want {
			r, err := http.ReadResponse(c.r, nil)
			if err != nil {
				return ok, fmt.Errorf("%.20q, answer %d: %w: %w", request, i, errUnannounced, err)
			}
			b, err := io.ReadAll(r.Body)
			if err != nil || r.StatusCode != 200 || string(b) != w {
				return ok, fmt.Errorf("%.20q, answer %d: %s %.50q, %v", request, i, r.Status, b, err)
			}
			ok++
			if r.Close { // what was pipelined behind it is to be sent again
				return ok, nil
			}
		}
	}
}

func TestReloadUnderMixedLoad(t *testing.T) {
	for _, threads := range []string{"1", "4"} {
		s := start(t, "-w", "2", "--threads", threads, "wire:app")
		stop := make(chan struct{})
		result := s.mixed(12, stop)
		for i := 1; i <= 5; i++ {
			time.Sleep(200 * time.Millisecond)
			s.signal(syscall.SIGHUP)
			s.waitLog("msg=reloaded", i)
		}
		time.Sleep(200 * time.Millisecond)
		close(stop)
		(<-result).check(t, 300)
	}
}

func TestRecycleUnderMixedLoad(t *testing.T) {
	s := start(t, "-w", "2", "--threads", "2", "--max-requests", "150", "wire:app")
	stop := make(chan struct{})
	result := s.mixed(12, stop)
	s.waitLog("cause=recycled", 4)
	close(stop)
	(<-result).check(t, 300)
}

func TestUpgradeUnderMixedLoad(t *testing.T) {
	pidfile := filepath.Join(t.TempDir(), "pid")
	s := start(t, "-w", "2", "--threads", "2", "-p", pidfile, "wire:app")
	next := s.successor(pidfile)
	stop := make(chan struct{})
	result := s.mixed(12, stop)
	time.Sleep(300 * time.Millisecond)
	s.signal(syscall.SIGUSR2)
	s.waitLog("the new binary serves")
	<-s.exited
	time.Sleep(300 * time.Millisecond)
	close(stop)
	(<-result).check(t, 200)
	if pid := next(); pid == s.cmd.Process.Pid || !alive(pid) {
		t.Errorf("the new master is %d", pid)
	}
}
