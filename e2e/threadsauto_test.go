package e2e

import (
	"sync"
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
