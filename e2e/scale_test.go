package e2e

import (
	"strings"
	"sync"
	"syscall"
	"testing"
)

// TestWorkersByNeed: requests that only wait, more at a time than there are
// threads, are worth more workers; and these go again. So it is with --preload.
func TestWorkersByNeed(t *testing.T) {
	for _, more := range [][]string{nil, {"--preload"}} {
		t.Run(append(more, "plain")[0], func(t *testing.T) {
			s := startCtl(t, append([]string{"-w", "1:3", "rules:app"}, more...)...)
			stop := make(chan struct{})
			var wg sync.WaitGroup
			for range 6 {
				wg.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						if r, err := client.Get("http://" + s.addr + "/sleep?0.3"); err != nil {
							t.Error(err)
							return
						} else if r.Body.Close(); r.StatusCode != 200 {
							t.Errorf("status %d", r.StatusCode)
						}
					}
				})
			}
			s.eventually("three workers", func() bool { return len(s.status().pids()) == 3 })
			if n := s.metric("hostler_workers_target", ""); n != 3 {
				t.Errorf("%v workers are wanted", n)
			}
			if log := s.must("events"); !strings.Contains(log, "from 1 to 2 workers: ") || !strings.Contains(log, "wait") {
				t.Errorf("the journal does not say why:\n%s", log)
			}
			close(stop)
			wg.Wait()
			// An operator need not wait for the minute, and has the last word.
			s.must("scale", "2")
			s.eventually("two workers", func() bool { return len(s.status().pids()) == 2 })
			if out := s.must("scale", "auto"); out != "workers: 2, as before\n" {
				t.Errorf("scale auto: %q", out)
			}
		})
	}
}

// TestWorkersByNeedUpgrade: a new binary does not begin with too few workers for
// the load.
func TestWorkersByNeedUpgrade(t *testing.T) {
	s := startCtl(t, "-w", "1:4", "rules:app")
	s.must("scale", "3")
	s.must("scale", "auto")
	s.eventually("three workers", func() bool { return len(s.status().pids()) == 3 })
	s.must("upgrade")
	first := s.status()
	if n := first.Master.TargetWorkers; n != 3 || first.Master.PID == s.cmd.Process.Pid {
		t.Errorf("master %d wants %d workers after the upgrade", first.Master.PID, n)
	}
	if err := syscall.Kill(first.Master.PID, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	<-s.exited
}
