package master

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"hostler/master/spawn"
	"hostler/protocol"
	"hostler/settings"
)

// withCanary runs f when the new generation is tried, of which each two workers have one.
func withCanary(t *testing.T, f func(r *rig, done <-chan error)) {
	set := testSettings()
	withRig(t, set, nil, func(r *rig) {
		r.awaitServing()
		next := testSettings()
		next.Workers, next.Canary = 4, settings.Canary{Share: 0.3, Time: time.Minute}
		r.host.next = next
		done := make(chan error, 1)
		r.s.post(reloadEvent{done})
		r.pass(bootTakes)
		r.expect("1:serving/1 2:serving/1 3:canary/2 4:canary/2")
		f(r, done)
	})
}

// answer has p answer n requests with that status, each after d.
func (r *rig) answer(p *fakeProcess, n, status int, d time.Duration) {
	c := &r.slotOf(p).Counters
	get := protocol.MethodIndex("GET")
	for range n {
		c.Requests[get][protocol.CodeIndex(status)].Add(1)
		c.Duration[get][protocol.Class(status)].Observe(int64(d))
	}
}

// result is how a reload ended; "": it goes on.
func result(done <-chan error) string {
	select {
	case err := <-done:
		if err != nil {
			return err.Error()
		}
		return "done"
	default:
		return ""
	}
}

func TestCanaryCarriedOn(t *testing.T) {
	withCanary(t, func(r *rig, done <-chan error) {
		for _, p := range r.all()[:2] {
			if n, m := p.got(protocol.KindCanary); n != 1 || m.Text != "0.3" {
				t.Errorf("who serves was told %d times: %+v", n, m)
			}
		}
		for _, p := range r.all()[2:] {
			if n, m := p.got(protocol.KindDescriptor); !p.spec.Config.Canary || n != 1 || m.Number != protocol.FDHandIn {
				t.Errorf("the canary was given %d files: %+v", n, m)
			}
		}
		for range 50 {
			r.pass(time.Second)
			r.answer(r.all()[0], 20, 200, 5*time.Millisecond)
			r.answer(r.all()[2], 2, 200, 6*time.Millisecond)
		}
		r.expect("1:serving/1 2:serving/1 3:canary/2 4:canary/2")
		r.pass(10*time.Second + 2*judgeEvery)
		r.expect("1:serving/1 2:serving/1 3:serving/2 4:serving/2 5:booting/2 6:booting/2")
		for _, p := range r.all()[:4] {
			if _, m := p.got(protocol.KindCanary); m.Text != "" {
				t.Errorf("told %+v", m)
			}
		}
		if p := r.all()[4]; p.spec.Config.Canary {
			t.Error("the rest of the generation are canaries, too")
		}
		r.pass(bootTakes)
		if got := result(done); got != "done" {
			t.Errorf("the reload: %q", got)
		}
		r.pass(leaveTakes)
		r.expect("3:serving/2 4:serving/2 5:serving/2 6:serving/2")
		if v := r.view(); v.Canaries["success"] != 1 || v.Reloads["success"] != 1 || v.LastReloadError != "" {
			t.Errorf("%+v", v)
		}
		if !strings.Contains(r.log.String(), "requests=100 failed=0 others_requests=1000 others_failed=0") {
			t.Error("the figures are not said")
		}
	})
}

func TestCanaryGoesBack(t *testing.T) {
	for name, c := range map[string]struct {
		bad  func(r *rig)
		want string
	}{
		"5xx": {func(r *rig) {
			r.answer(r.all()[0], 200, 200, time.Millisecond)
			r.answer(r.all()[3], 10, 500, time.Millisecond)
		}, "10 of its 10 requests were answered 5xx"},
		"slow": {func(r *rig) {
			r.answer(r.all()[0], 200, 200, time.Millisecond)
			r.answer(r.all()[2], 20, 200, time.Second) // cold
			r.pass(judgeEvery)
			r.answer(r.all()[0], 200, 200, time.Millisecond)
			r.answer(r.all()[2], 20, 200, time.Second)
		}, "20 of its 20 requests took longer than 25ms"},
		"crash": {func(r *rig) { r.all()[2].exit(killed(syscall.SIGSEGV)) }, "worker 3 died: signal:SIGSEGV"},
		"unfit": {func(r *rig) {
			r.all()[2].report(spawn.Report{Message: protocol.Message{Kind: protocol.KindUnfit, Text: "it is lost"}})
		}, "worker 3 cannot go on: unfit"},
		"hangs": {func(r *rig) {
			r.answer(r.all()[0], 200, 200, time.Millisecond)
			r.pass(judgeEvery)
			r.answer(r.all()[0], 200, 200, time.Millisecond)
			r.begin(r.all()[2], 0, "/", time.Second)
			r.pass(time.Minute)
		}, "none of its requests was answered"},
	} {
		t.Run(name, func(t *testing.T) {
			withCanary(t, func(r *rig, done <-chan error) {
				c.bad(r)
				r.pass(judgeEvery)
				if got := result(done); !strings.Contains(got, "the canary goes back: ") || !strings.Contains(got, c.want) {
					t.Errorf("the reload: %q", got)
				}
				r.pass(leaveTakes)
				r.expect("1:serving/1 2:serving/1")
				if v := r.view(); v.Canaries["failure"] != 1 || v.Reloads["failure"] != 1 || v.LastReloadSuccessful || !strings.Contains(v.LastReloadError, c.want) {
					t.Errorf("%+v", v)
				}
				if n, m := r.all()[0].got(protocol.KindCanary); n != 2 || m.Text != "" {
					t.Errorf("who serves was told %d times: %+v", n, m)
				}
				r.signal(hup) // the next one is tried as well
				r.pass(bootTakes)
				if n := r.view().Canaries["failure"]; n != 1 {
					t.Errorf("%d have gone back", n)
				}
			})
		})
	}
}

// TestCanaryUnseen: without a request the reload goes on, and that is said.
func TestCanaryUnseen(t *testing.T) {
	withCanary(t, func(r *rig, done <-chan error) {
		r.answer(r.all()[0], 20, 200, time.Millisecond)
		r.pass(time.Minute + bootTakes + judgeEvery)
		if got := result(done); got != "done" || !strings.Contains(r.log.String(), "the canary has seen no request; going on with the reload") {
			t.Errorf("the reload: %q", got)
		}
	})
}

// TestCanaryAndOthers: what else happens while a canary is tried.
func TestCanaryAndOthers(t *testing.T) {
	t.Run("another reload", func(t *testing.T) {
		withCanary(t, func(r *rig, done <-chan error) {
			r.signal(hup)
			if got := result(done); got != errNewer.Error() {
				t.Errorf("the first: %q", got)
			}
			r.pass(bootTakes)
			r.expect("1:serving/1 2:serving/1 5:canary/3 6:canary/3")
			if v := r.view(); v.Canaries["ended"] != 1 {
				t.Errorf("%+v", v)
			}
			r.pass(time.Minute + bootTakes + leaveTakes)
			if v := r.view(); v.Generation != 3 || !v.LastReloadSuccessful {
				t.Errorf("%+v", v)
			}
		})
	})
	t.Run("more and fewer workers", func(t *testing.T) {
		withCanary(t, func(r *rig, _ <-chan error) {
			for range 3 {
				r.signal(syscall.SIGTTIN)
			}
			r.pass(bootTakes)
			r.expect("1:serving/1 2:serving/1 3:canary/2 4:canary/2 5:serving/1 6:serving/1 7:canary/2 8:serving/1")
			for _, p := range r.all()[4:] {
				if n, m := p.got(protocol.KindCanary); n != 1 || m.Text != "0.3" {
					t.Errorf("a new worker was told %d times: %+v", n, m)
				}
			}
			for range 3 {
				r.signal(syscall.SIGTTOU)
			}
			r.pass(leaveTakes)
			r.expect("1:serving/1 2:serving/1 3:canary/2 4:canary/2")
		})
	})
	t.Run("a worker that serves dies", func(t *testing.T) {
		withCanary(t, func(r *rig, _ <-chan error) {
			r.pass(20 * time.Second)
			r.answer(r.all()[0], 200, 200, time.Millisecond)
			r.all()[0].exit(exited(1))
			r.pass(bootTakes)
			r.expect("1:serving/1 2:serving/1 3:canary/2 4:canary/2")
			if n, m := r.all()[4].got(protocol.KindCanary); n != 1 || m.Text != "0.3" {
				t.Errorf("its replacement was told %d times: %+v", n, m)
			}
			r.answer(r.all()[3], 9, 500, time.Millisecond) // what it had counts on
			r.pass(judgeEvery)
			if !strings.Contains(r.log.String(), "of the others' 0 of 200") {
				t.Error("what was counted is forgotten")
			}
		})
	})
	t.Run("nobody serves any more", func(t *testing.T) {
		withCanary(t, func(r *rig, done <-chan error) {
			r.behave(manner{slow: 10 * time.Second})
			r.pass(20 * time.Second)
			for _, p := range r.all()[:2] {
				p.exit(exited(1))
			}
			r.pass(judgeEvery)
			if !strings.Contains(r.workers(), "3:serving/2 4:serving/2") {
				t.Errorf("workers: %s", r.workers())
			}
			r.behave(manner{})
			r.pass(20 * time.Second)
			if got := result(done); got != "done" {
				t.Errorf("the reload: %q", got)
			}
		})
	})
	t.Run("an upgrade", func(t *testing.T) {
		withCanary(t, func(r *rig, done <-chan error) {
			r.signal(syscall.SIGUSR2)
			if !strings.Contains(r.log.String(), "cannot upgrade now: a canary is under way") || result(done) != "" {
				t.Error("it is not refused")
			}
		})
	})
	t.Run("a stop", func(t *testing.T) {
		withCanary(t, func(r *rig, done <-chan error) {
			r.signal(syscall.SIGTERM)
			if err := r.awaitEnd(); err != nil {
				t.Error(err)
			}
			if got := result(done); got != errStopping.Error() {
				t.Errorf("the reload: %q", got)
			}
		})
	})
	t.Run("figures that nobody can have", func(t *testing.T) {
		withCanary(t, func(r *rig, _ <-chan error) {
			for _, p := range r.all() {
				c := &r.slotOf(p).Counters
				for m := range c.Requests {
					for i := range c.Requests[m] {
						c.Requests[m][i].Store(^uint64(0) - uint64(i))
					}
				}
				r.slotOf(p).ThreadRecs[0].Begin(-1<<62, nil, nil, nil)
			}
			r.pass(2 * time.Minute)
			if v := r.view(); v.Canaries["success"]+v.Canaries["failure"] != 1 {
				t.Errorf("%+v", v)
			}
		})
	})
}

// TestNoCanary: there is none where there is nothing to compare with.
func TestNoCanary(t *testing.T) {
	set := testSettings()
	set.Canary = settings.Canary{Share: 0.5, Time: time.Minute}
	withRig(t, set, nil, func(r *rig) {
		r.awaitServing() // at the first start
		r.behave(manner{fails: "no"})
		for _, p := range r.all()[:2] {
			p.exit(exited(1))
		}
		r.pass(10 * time.Second)
		r.behave(manner{})
		r.signal(hup)
		r.pass(bootTakes / 2)
		if !strings.Contains(r.workers(), "booting/2") {
			t.Fatalf("workers: %s", r.workers())
		}
	})
	set = testSettings()
	set.Development, set.Canary = true, settings.Canary{Share: 0.5, Time: time.Minute}
	withRig(t, set, nil, func(r *rig) {
		r.awaitServing()
		r.signal(hup)
		r.pass(bootTakes)
		r.expect("1:draining/1 2:draining/1 3:serving/2 4:serving/2")
	})
}
