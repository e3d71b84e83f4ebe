package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

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
			pid := s.workers()[0]
			threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
			if err != nil || len(threads) < 4 {
				t.Fatalf("threads: %v, %v", threads, err)
			}
			for _, file := range threads {
				if filepath.Base(filepath.Dir(file)) == fmt.Sprint(pid) {
					continue // Python's
				}
				b, err := os.ReadFile(file)
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
						t.Errorf("%s: %v is not blocked", file, sig)
					}
				}
			}
		})
	}
}
