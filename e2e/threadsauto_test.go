package e2e

import (
	"sync"
	"testing"
)

// TestThreadsAuto: with --threads auto requests that wait for something have a thread each,
// up to 32, and those that wait for the GIL have fewer again.
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
			s.eventually("fewer threads", func() bool { return threads() <= 6 })
			close(stop)
			(<-result).check(t, 10)
		})
	}
}
