package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// TestThreadsAuto: with --threads auto requests that wait for something have a thread each,
// up to 32; nothing is lost where they wait for the GIL, and there are fewer again. (How many
// is for TestTunerShrinks: a machine that has too much to do may not get that far.)
func TestThreadsAuto(t *testing.T) {
	for name, args := range map[string][]string{"plain": nil, "preload": {"--preload"}} {
		t.Run(name, func(t *testing.T) {
			s := start(t, append(args, "--threads", "auto", "helped:app")...)
			s.waitLog("threads=auto")
			threads := func() float64 { return s.metric("hostler_threads", "") }
			if n := threads(); n > 4 {
				t.Errorf("%v threads at first", n)
			}
			var all sync.WaitGroup
			for range 32 {
				all.Go(func() {
					if _, body := s.get("/meet?32"); body != "ok" {
						t.Errorf("%q", body)
					}
				})
			}
			all.Wait()
			if n := threads(); n != 32 {
				t.Errorf("%v threads for 32 requests at once", n)
			}
			stop := make(chan struct{})
			result := s.load(16, "/work", stop)
			before := s.metric("hostler_requests_total", "")
			s.eventually("work to be done", func() bool { return s.metric("hostler_requests_total", "") > before+500 })
			close(stop)
			(<-result).check(t, 10)
			if n := threads(); n < 1 || n > 32 {
				t.Errorf("%v threads", n)
			}
		})
	}
}

// meet has n requests wait for each other, which takes as many threads of one worker.
func (s *server) meet(n int) {
	s.t.Helper()
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			if status, body := s.get(fmt.Sprintf("/meet?%d", n)); status != 200 || body != "ok" {
				s.t.Errorf("%d requests at once: %d %q", n, status, body)
			}
		})
	}
	all.Wait()
}

// TestThreadsAutoMeanwhile: threads come as they are needed in workers of another user's, in those
// of a reload and those that hostler ctl scale brings, and no request is lost for any of that.
func TestThreadsAutoMeanwhile(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(apps, "helped.py"))
	if err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{"plain": nil, "user": {"--user", "nobody", "--python", "/usr/bin/python3"}} {
		t.Run(name, func(t *testing.T) {
			if name == "user" && os.Geteuid() != 0 {
				t.Skip("only root has workers that are somebody else")
			}
			dir, err := os.MkdirTemp("", "hostler-threads") // not t.TempDir, which nobody else may enter
			if err == nil {
				t.Cleanup(func() { os.RemoveAll(dir) })
				err = errors.Join(os.Chmod(dir, 0o755), os.WriteFile(filepath.Join(dir, "helped.py"), text, 0o644))
			}
			if err != nil {
				t.Fatal(err)
			}
			s := startCtl(t, append(args, "--chdir", dir, "--threads", "auto", "helped:app")...)
			s.meet(8)
			stop := make(chan struct{})
			result := s.load(8, "/work", stop)
			s.signal(syscall.SIGHUP)
			s.waitLog("msg=reloaded")
			s.must("scale", "2")
			s.eventually("two workers", func() bool { return s.metric("hostler_workers", "serving") == 2 })
			s.must("scale", "1")
			s.eventually("one worker", func() bool { return s.metric("hostler_workers", "") == 1 })
			close(stop)
			(<-result).check(t, 1)
			s.meet(16)
			if n := s.metric("hostler_threads", ""); n < 16 || n > 32 {
				t.Errorf("%v threads for 16 requests at once", n)
			}
		})
	}
}
