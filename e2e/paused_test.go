package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// pause stops all processes of s for so long, as docker pause does, a hypervisor that moves or
// snapshots a machine, and a laptop's lid.
func (s *server) pause(d time.Duration) {
	s.t.Helper()
	all := append([]int{s.cmd.Process.Pid}, s.workers()...)
	for i := 1; i < len(all); i++ { // a mold has children of its own
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", all[i]))
		for _, f := range files {
			b, _ := os.ReadFile(f)
			for _, field := range strings.Fields(string(b)) {
				pid := 0
				if _, err := fmt.Sscan(field, &pid); err == nil {
					all = append(all, pid)
				}
			}
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	for _, sig := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGCONT} {
		for _, pid := range all {
			if err := syscall.Kill(pid, sig); err != nil {
				s.t.Fatal(err)
			}
		}
		if sig == syscall.SIGSTOP {
			time.Sleep(d)
		}
	}
}

// TestPaused: the time in which nobody ran is not held against the requests that did, nor
// against workers that boot.
func TestPaused(t *testing.T) {
	const timeout, pause = "4", 6 * time.Second
	for name, begin := range map[string]func(*testing.T, ...string) (*server, string){
		"threads": func(t *testing.T, args ...string) (*server, string) {
			return start(t, append(args, "--threads", "4", "faults:app")...), "/sleep?1"
		},
		"preload": func(t *testing.T, args ...string) (*server, string) {
			return start(t, append(args, "--preload", "faults:app")...), "/sleep?1"
		},
		"gevent": func(t *testing.T, args ...string) (*server, string) {
			return startGreen(t, append(args, "greens:app")...), "/sleep?1"
		},
		"asyncio": func(t *testing.T, args ...string) (*server, string) {
			return startProbe(t, append(args, "--loop", "asyncio")...).server, "/slow?1"
		},
		"uvloop": func(t *testing.T, args ...string) (*server, string) {
			return startProbe(t, append(args, "--loop", "uvloop")...).server, "/slow?1"
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, path := begin(t, "--workers", "1", "--timeout", timeout, "--total-timeout", timeout)
			served := make(chan int, 3)
			for range 3 {
				go func() {
					r, err := client.Get("http://" + s.addr + path)
					if err != nil {
						served <- 0
						return
					}
					r.Body.Close()
					served <- r.StatusCode
				}()
			}
			s.eventually("a request runs", func() bool {
				return s.metric("hostler_threads", `state="busy"`)+s.metric("hostler_tasks", "") > 0
			})
			s.pause(pause)
			for range 3 {
				if code := <-served; code != 200 {
					t.Errorf("a request was answered %d", code)
				}
			}
			s.waitLog("this process did not get to run")
			for _, wrong := range []string{"runs into the timeout", "level=ERROR", "worker left"} {
				if strings.Contains(s.log.String(), wrong) {
					t.Errorf("it says %q", wrong)
				}
			}
		})
	}
	t.Run("boot", func(t *testing.T) {
		t.Parallel()
		plan := filepath.Join(t.TempDir(), "plan")
		if err := os.WriteFile(plan, []byte("time.sleep(1)"), 0o644); err != nil {
			t.Fatal(err)
		}
		s := launch(t, "--workers", "2", "--boot-timeout", timeout, "-e", "PLAN="+plan, "faults:app")
		s.eventually("workers that boot", func() bool { return len(s.workers()) >= 2 })
		s.pause(pause)
		s.waitLog("msg=serving")
		if strings.Contains(s.log.String(), "not ready in time") {
			t.Error("a worker that boots has been given up")
		}
	})
}
