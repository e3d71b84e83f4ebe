package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// goThreads returns the directories in /proc of the threads of the only worker, but the
// main one, which is Python's. (A mold, a child of the master's too, has no other.)
func (s *server) goThreads() (dirs []string) {
	s.eventually("a worker has its threads", func() bool {
		for _, pid := range s.workers() {
			if dirs, _ = filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid)); len(dirs) >= 4 {
				dirs = slices.DeleteFunc(dirs, func(d string) bool { return filepath.Base(d) == fmt.Sprint(pid) })
				return true
			}
		}
		return false
	})
	return dirs
}

// TestSignalsOfGoThreads: signals that an application may handle are not delivered to Go's
// threads, whose stacks are too small for a handler that asks for no other.
func TestSignalsOfGoThreads(t *testing.T) {
	for name, args := range map[string][]string{"plain": nil, "preload": {"--preload"}, "loop": {}} {
		t.Run(name, func(t *testing.T) {
			app := "rules:app"
			if name == "loop" {
				args = append(args, "--python", asgiPython(t), "--chdir", filepath.Join(apps, "asgi"))
				app = "probe:app"
			}
			s := start(t, append(args, "-w", "1", "--threads", "1", app)...)
			for _, dir := range s.goThreads() {
				b, err := os.ReadFile(filepath.Join(dir, "status"))
				if err != nil {
					continue // it has ended
				}
				_, mask, _ := strings.Cut(string(b), "SigBlk:\t")
				blocked, err := strconv.ParseUint(mask[:16], 16, 64)
				if err != nil {
					t.Fatal(err)
				}
				for _, sig := range []syscall.Signal{syscall.SIGCHLD, syscall.SIGPROF, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGALRM} {
					if blocked&(1<<(sig-1)) == 0 {
						t.Errorf("%s: %v is not blocked", dir, sig)
					}
				}
			}
		})
	}
}

// TestSysmonSleepsLong: of a worker's threads one alone may be woken late, that of Go's
// runtime which else would look after slow requests every 20 µs.
func TestSysmonSleepsLong(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("not root: another thread's slack cannot be read")
	}
	for name, args := range map[string][]string{"plain": nil, "preload": {"--preload"}} {
		t.Run(name, func(t *testing.T) {
			s := start(t, append(args, "-w", "1", "--threads", "2", "rules:app")...)
			s.eventually("one thread may be woken late", func() bool { // but while it makes another
				late := 0
				for _, dir := range s.goThreads() {
					b, err := os.ReadFile(filepath.Join("/proc", filepath.Base(dir), "timerslack_ns"))
					if os.IsNotExist(err) {
						continue // it has ended
					} else if err != nil {
						t.Fatal(err)
					}
					switch slack := strings.TrimSpace(string(b)); slack {
					case "50000":
					case "5000000":
						late++
					default:
						t.Fatalf("%s: slack of %s ns", dir, slack)
					}
				}
				return late == 1
			})
		})
	}
}
