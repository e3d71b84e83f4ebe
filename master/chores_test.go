package master

import (
	"syscall"
	"testing"
	"time"

	"hostler/master/spawn"
	"hostler/settings"
)

// TestChores: each chore says when it is due, and what is due is done: it is not due again
// at once, which would keep the state goroutine busy, nor forgotten.
func TestChores(t *testing.T) {
	names := make(map[string]bool)
	for _, c := range chores {
		if names[c.name] || c.name == "" || c.due == nil || c.do == nil {
			t.Errorf("%q has no name of its own, or does nothing", c.name)
		}
		names[c.name] = true
	}
	for _, c := range workerChores {
		if names[c.name] || c.name == "" || c.due == nil || c.do == nil {
			t.Errorf("%q has no name of its own, or does nothing", c.name)
		}
		names[c.name] = true
	}
	set := testSettings()
	set.MaxWorkers = 4
	set.MaxRequests, set.MaxAge, set.MaxMemory = 1000, 20*time.Minute, 1<<30
	set.Timeout, set.TotalTimeout, set.SlowRequest, set.BootTimeout = 5*time.Second, time.Minute, time.Second, time.Minute
	withRig(t, set, nil, func(r *rig) {
		seen := make(map[string]bool)
		look := func(what string) {
			t.Helper()
			done := make(chan struct{})
			r.s.post(askEvent{func(s *supervisor) {
				now := s.clock.now()
				s.tick()
				for _, c := range chores {
					due := c.due(s, now)
					seen[c.name] = seen[c.name] || !due.IsZero()
					if !due.IsZero() && !due.After(now) {
						t.Errorf("%s: %q is due again at once", what, c.name)
					}
				}
				for _, w := range s.workers {
					for _, c := range workerChores {
						due := c.due(w, now)
						seen[c.name] = seen[c.name] || !due.IsZero()
						if !due.IsZero() && !due.After(now) {
							t.Errorf("%s: %q is due again at once", what, c.name)
						}
					}
				}
				if s.untilNext() <= 0 {
					t.Errorf("%s: it never rests", what)
				}
			}, done})
			<-done
		}
		r.s.post(askEvent{func(s *supervisor) { s.watchdog = 30 * time.Second }, make(chan struct{})})
		look("while it starts")
		r.awaitServing()
		p := r.all()[0]
		look("it serves")
		r.begin(p, 0, "/long", 4*time.Second)
		r.pass(500 * time.Millisecond)
		look("a request is slow")
		r.pass(time.Second)
		look("… and out of time")
		p.report(spawn.Report{Deaf: true})
		r.slotOf(p).Gauges.GILWanted.Store(r.s.clock.mono())
		r.pass(time.Millisecond)
		look("a worker is deaf, and waits for the GIL")
		r.behave(manner{fails: "no"})
		r.all()[1].exit(exited(1))
		r.pass(3 * time.Second)
		look("a worker has died, and others do not boot")
		r.behave(manner{})
		r.pass(30 * time.Minute)
		look("all are old")
		tried := *set
		tried.Canary = settings.Canary{Share: 0.1, Time: time.Minute}
		r.host.next = &tried
		r.signal(syscall.SIGHUP)
		r.pass(10 * time.Second)
		look("a canary is tried")
		goOn := r.host.setHang()
		r.signal(syscall.SIGHUP)
		look("a reload hangs")
		goOn()
		r.s.post(askEvent{func(s *supervisor) { s.screen = new(fakeScreen) }, make(chan struct{})})
		r.signal(syscall.SIGINT)
		look("it stops")
		for name := range names {
			// Those that need memory's end, certificates or hooks have tests of their own.
			if !seen[name] && name != chores[0].name && name != "read new certificates" && name != "wait no longer until certificates are shared" && name != "end hooks that hang" {
				t.Errorf("%q was never due", name)
			}
		}
	})
}
