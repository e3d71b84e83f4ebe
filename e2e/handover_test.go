package e2e

import (
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestNoConnectionCloses reloads, upgrades, recycles and scales under keep-alive
// connections, none of which may see its end, announced or not.
func TestNoConnectionCloses(t *testing.T) {
	pidfile := filepath.Join(t.TempDir(), "pid")
	s := start(t, "-w", "3", "--threads", "2", "-p", pidfile, "--keep-alive", "30", "faults:app")
	master := s.successor(pidfile)
	var resting []*wire
	for range 30 {
		c := s.dial()
		c.send(getLine("/"))
		c.answer("GET")
		resting = append(resting, c)
	}
	stop := make(chan struct{})
	result := s.load(24, "/", stop)
	for i := range 5 {
		time.Sleep(100 * time.Millisecond)
		s.signal(syscall.SIGHUP)
		s.waitLog("msg=reloaded", i+1)
	}
	s.signal(syscall.SIGTTOU)
	s.waitLog("cause=scale_down")
	s.signal(syscall.SIGTTIN)
	for range 2 {
		old := master()
		if err := syscall.Kill(old, syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(20 * time.Second); master() == old || alive(old); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("no new master")
			}
		}
	}
	time.Sleep(200 * time.Millisecond)
	close(stop)
	r := <-result
	r.check(t, 500)
	if r.announced != 0 {
		t.Errorf("%d connections were told to close", r.announced)
	}
	for i, c := range resting {
		c.send(getLine("/"))
		if resp, _ := c.answer("GET"); resp.StatusCode != 200 || resp.Close {
			t.Errorf("resting connection %d: %s, close: %v", i, resp.Status, resp.Close)
		}
	}
}

// TestBusyWorkersPassOn keeps all threads of three workers of four away: every
// other request must get its answer meanwhile, on whichever worker's connection.
func TestBusyWorkersPassOn(t *testing.T) {
	s := start(t, "-w", "4", "faults:app")
	var conns []*wire
	for range 16 {
		c := s.dial()
		c.pidOf()
		conns = append(conns, c)
	}
	stuck := 0
	for _, c := range conns { // one in each of three workers
		c.send(getLine("/sleep?4"))
		stuck++
		s.eventually("another worker to sleep", func() bool { return s.metric("hostler_threads", `state="busy"`) == float64(stuck) })
		if stuck == 3 {
			break
		}
	}
	for round := range 3 {
		for i, c := range conns[stuck:] {
			c.send(getLine(fmt.Sprintf("/?%d.%d", round, i)))
		}
		for i, c := range conns[stuck:] {
			if r, _ := c.answer("GET"); r.StatusCode != 200 {
				t.Errorf("connection %d: %s", i, r.Status)
			}
		}
	}
	if n := s.metric("hostler_threads", `state="busy"`); n != 3 {
		t.Errorf("the others have waited for the sleepers: %v still sleep", n)
	}
	if n := s.metric("hostler_connections_handed_over_total", `direction="out"`); n < 1 {
		t.Errorf("%v connections moved", n)
	}
}

// TestNewConnectionsSpread opens connections one after the other and wants every
// worker to get its share.
func TestNewConnectionsSpread(t *testing.T) {
	const workers, conns = 8, 64
	s := start(t, "-w", fmt.Sprint(workers), "--keep-alive", "30", "faults:app")
	share := map[int]int{}
	for range conns {
		c := s.dial()
		share[c.pidOf()]++
	}
	for pid, n := range share {
		if n > conns/workers*3/2 {
			t.Errorf("worker %d has %d of %d connections: %v", pid, n, conns, share)
		}
	}
}
