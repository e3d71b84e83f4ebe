package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// work keeps n connections busy with requests that burn CPU until stop is called.
func (s *server) work(n int) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				r, err := client.Get("http://" + s.addr + "/work")
				if err != nil { // a worker was killed
					time.Sleep(10 * time.Millisecond)
					continue
				}
				r.Body.Close()
			}
		})
	}
	return func() { close(done); wg.Wait() }
}

// shares adds up folded stacks: the time of all that have a frame in them.
func shares(t *testing.T, folded string, frames ...string) (sums []int, all int) {
	t.Helper()
	sums = make([]int, len(frames))
	for line := range strings.Lines(folded) {
		i := strings.LastIndexByte(line, ' ')
		n, err := strconv.Atoi(strings.TrimSpace(line[i+1:]))
		if err != nil {
			t.Fatalf("%q is no folded stack", line)
		}
		all += n
		for k, f := range frames {
			if strings.Contains(line[:i], f) {
				sums[k] += n
			}
		}
	}
	return sums, all
}

// TestCtlProfile asks where the time goes.
func TestCtlProfile(t *testing.T) {
	for _, flags := range [][]string{{"--threads", "1"}, {"--threads", "3"}, {"--preload"}} {
		t.Run(strings.Join(flags, ""), func(t *testing.T) {
			s := startCtl(t, append(flags, "-w", "2", "profiled:app")...)
			defer s.work(4)()
			status, folded, told := s.ctl("profile", "2", "--folded")
			if status != 0 || !strings.Contains(told, "samples of 2 workers in 2 s") {
				t.Fatalf("status %d, %q", status, told)
			}
			got, _ := shares(t, folded, "requests;profiled:app:", ";profiled:hot:", ";profiled:warm:", "thread back_ground_;profiled:background:", "threading:", "hostler")
			requests, hot, warm, background := got[0], got[1], got[2], got[3]
			if hot < 2*warm || warm == 0 || hot+warm < requests*3/4 {
				t.Errorf("hot %d, warm %d of %d µs in requests:\n%s", hot, warm, requests, folded)
			}
			// Both workers' background threads were there all the time.
			if background < 2500e3 || background > 6000e3 {
				t.Errorf("%d µs in the background", background)
			}
			if got[4]+got[5] > 0 {
				t.Errorf("frames of our own:\n%s", folded)
			}
			one := s.status().Workers[1].Worker
			svg := filepath.Join(t.TempDir(), "p.svg")
			if status, out, told := s.ctl("profile", "0.5", fmt.Sprint(one), "-o", svg); status != 0 || out != "" || !strings.Contains(told, "samples of 1 workers") {
				t.Errorf("one worker: status %d, %q, %q", status, out, told)
			}
			if b, err := os.ReadFile(svg); err != nil || !strings.Contains(string(b), "<title>profiled:hot:") {
				t.Errorf("the drawing: %v", err)
			}
		})
	}
}

// TestCtlProfileOfTheWedged: workers that are killed, or whose GIL is held, are named;
// those that drain say what they have; nobody who asks again is refused.
func TestCtlProfileOfTheWedged(t *testing.T) {
	s := startCtl(t, "-w", "3", "--timeout", "60", "--graceful-timeout", "1", "profiled:app")
	defer s.work(2)()
	time.Sleep(1100 * time.Millisecond) // a worker that dies at once is not replaced at once
	c := s.dial()
	c.send(getLine("/hold"))
	var wedged int
	s.eventually("the request to hold the GIL", func() bool {
		for _, w := range s.status().Workers {
			for _, t := range w.Threads {
				if t.Request != nil && t.Request.Target == "/hold" {
					wedged = w.Worker
				}
			}
		}
		return wedged != 0
	})
	workers := s.status().Workers
	var killed ctlWorker
	for _, w := range workers {
		if w.Worker != wedged {
			killed = w
		}
	}
	time.AfterFunc(300*time.Millisecond, func() { _ = syscall.Kill(killed.PID, syscall.SIGKILL) })
	status, svg, told := s.ctl("profile", "1")
	if status != 0 || !strings.Contains(svg, "profiled:hot") || !strings.Contains(told, "samples of 1 workers") ||
		!strings.Contains(told, fmt.Sprintf("worker %d (process %d) is not in it: it has ended\n", killed.Worker, killed.PID)) ||
		!strings.Contains(told, fmt.Sprintf("worker %d (process ", wedged)) || !strings.Contains(told, "something holds its GIL\n") {
		t.Errorf("status %d, %q", status, told)
	}
	if status, _, told := s.ctl("profile", "0.2", fmt.Sprint(wedged)); status != 1 || !strings.Contains(told, "no worker could be looked into") {
		t.Errorf("the wedged one alone: status %d, %q", status, told)
	}
	// It ends with the worker.
	s.eventually("three workers", func() bool { return len(s.status().pids()) == 3 })
	begin := time.Now()
	time.AfterFunc(500*time.Millisecond, func() { s.ctl("restart", fmt.Sprint(killed.Worker)) })
	status, _, told = s.ctl("profile", "30", fmt.Sprint(killed.Worker))
	if d := time.Since(begin); status != 0 || d > 25*time.Second || !strings.Contains(told, "samples of 1 workers") {
		t.Errorf("a worker that leaves: status %d after %v, %q", status, d, told)
	}
}

// TestCtlProfileOfLittle: an application that has no threads of its own, nor imports
// what knows of them, is looked at like any other; and functions that differ by their
// file alone are told apart.
func TestCtlProfileOfLittle(t *testing.T) {
	s := startCtl(t, "-w", "1", "alone:app")
	defer s.work(2)()
	status, folded, told := s.ctl("profile", "1", "--folded")
	if status != 0 {
		t.Fatalf("status %d, %q", status, told)
	}
	got, all := shares(t, folded, "requests;alone:app:", ";twin_a:spin:", ";twin_b:spin:")
	if got[0] == 0 || got[0] != all || got[1] == 0 || got[2] == 0 {
		t.Errorf("%v of %d µs:\n%s", got, all, folded)
	}
}
