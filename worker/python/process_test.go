package python_test

import (
	"encoding/json"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// children forks and runs programs from inside requests.
func children(t *testing.T, s *server) {
	t.Helper()
	s.check(request{path: "/fork_returns", status: 200, text: "parent 70"})
	s.check(request{path: "/fork_exits", status: 200, text: "5"})
	s.check(request{path: "/fork_yields", status: 200, text: "before parent 70"})
	// No sockets, start_response and early_hints refused, SIGTERM as it was.
	s.check(request{path: "/fork_lives", status: 200, text: "[0, 2, true]"})
	begin := time.Now()
	s.check(request{path: "/fork_stays", status: 200, size: small})
	if d := time.Since(begin); d > 4*time.Second {
		t.Errorf("a child that lives on keeps the connection open: %v", d)
	}
	a := s.try(request{path: "/program"})
	var got struct {
		Blocked, Ignored string
		FDs              []string
	}
	if err := json.Unmarshal(a.body, &got); err != nil {
		t.Fatalf("program: %d %q %v\n%s", a.status, a.body, err, s.logged())
	}
	blocked, err := strconv.ParseUint(got.Blocked, 16, 64)
	if err != nil || blocked != 0 {
		t.Errorf("a program runs with signals blocked: %s (%v)", got.Blocked, err)
	}
	for _, fd := range got.FDs {
		if strings.HasPrefix(fd, "socket:") || strings.HasPrefix(fd, "anon_inode:") || strings.Contains(fd, "memfd:") {
			t.Errorf("a program inherits %s", fd)
		}
	}
}

func TestChildren(t *testing.T) {
	for _, threads := range []int{1, 2} {
		children(t, start(t, python3(t), threads))
	}
}

func python3(t *testing.T) string {
	path, err := exec.LookPath("python3")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func (s *server) pid() int {
	s.t.Helper()
	pid, err := strconv.Atoi(string(s.try(request{path: "/pid"}).body))
	if err != nil {
		s.t.Fatalf("%v\n%s", err, s.logged())
	}
	return pid
}

// TestTracebacks asks for the threads' tracebacks while one holds the GIL.
func TestTracebacks(t *testing.T) {
	for _, threads := range []int{1, 2} {
		s := start(t, python3(t), threads)
		pid := s.pid()
		done := make(chan bool)
		go func() {
			s.check(request{path: "/burn_the_processor", status: 200, size: small})
			close(done)
		}()
		time.Sleep(500 * time.Millisecond)
		if err := syscall.Kill(pid, 35); err != nil {
			t.Fatal(err)
		}
		<-done
		for range 100 {
			if strings.Contains(s.logged(), "in burn_the_processor") {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		log := s.logged()
		if !strings.Contains(log, "in burn_the_processor") {
			t.Errorf("no traceback of the request:\n%s", log)
		}
		if threads > 1 && strings.Count(log, "hread 0x") < threads+1 {
			t.Errorf("not every thread is there:\n%s", log)
		}
	}
}

// TestSignals sends an idle worker signals that the application handles.
func TestSignals(t *testing.T) {
	for _, threads := range []int{1, 2} {
		s := start(t, python3(t), threads)
		pid := s.pid()
		for i := range 20 {
			if threads > 1 {
				break // Python sets handlers in the main thread only
			}
			if i == 0 {
				s.check(request{path: "/own_sigterm", status: 200, size: small})
			}
			if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			for range 200 {
				if a := s.try(request{path: "/sigterms"}); string(a.body) == strconv.Itoa(i+1) {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
		}
		if threads == 1 {
			s.check(request{path: "/sigterms", status: 200, text: "20"})
		}
		// What interrupts accept4, and what is the master's to handle.
		for _, sig := range []syscall.Signal{62, syscall.SIGHUP, syscall.SIGINT, syscall.SIGUSR1, syscall.SIGUSR2} {
			if err := syscall.Kill(pid, sig); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(100 * time.Millisecond)
		if now := s.pid(); now != pid {
			t.Errorf("worker %d is no longer there but %d:\n%s", pid, now, s.logged())
		}
	}
}
