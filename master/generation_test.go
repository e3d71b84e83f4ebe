package master

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"hostler/protocol"
	"hostler/settings"
)

func TestReload(t *testing.T) {
	withRig(t, testSettings(), nil, func(r *rig) {
		r.awaitServing()
		next := testSettings()
		next.Workers, next.Threads = 3, 4
		r.host.next = next
		r.signal(hup)
		r.expect("1:serving/1 2:serving/1 3:booting/2 4:booting/2 5:booting/2")
		r.pass(bootTakes)
		r.expect("1:draining/1 2:draining/1 3:serving/2 4:serving/2 5:serving/2")
		if _, m := r.all()[0].got(protocol.KindDrain); m.Mode != protocol.DrainReplaced {
			t.Errorf("told %+v", m)
		}
		v := r.view()
		if v.Generation != 2 || v.Reloads["success"] != 1 || !v.LastReloadSuccessful || v.LastReload.IsZero() || v.ThreadsPerWorker != 4 {
			t.Errorf("%+v", v)
		}
		r.pass(leaveTakes)
		r.expect("3:serving/2 4:serving/2 5:serving/2")
		if r.exits(causeReload) != 2 {
			t.Errorf("exits: %v", v.Exits)
		}
		// The lowest free slots are used again.
		r.signal(hup)
		r.pass(bootTakes + leaveTakes)
		r.expect("1:serving/3 2:serving/3 6:serving/3")
	})
}

// TestReloadWaitsForAll: the old generation serves until the slowest is ready.
func TestReloadWaitsForAll(t *testing.T) {
	withRig(t, testSettings(), func(n int) manner {
		if n == 3 {
			return manner{slow: 20 * time.Second}
		}
		return manner{}
	}, func(r *rig) {
		r.awaitServing()
		r.signal(hup)
		r.pass(15 * time.Second)
		r.expect("1:serving/1 2:serving/1 3:serving/2 4:booting/2")
		// One of the old that dies meanwhile is replaced in its generation.
		r.all()[0].exit(exited(1))
		r.pass(0)
		r.expect("1:booting/1 2:serving/1 3:serving/2 4:booting/2")
		r.pass(bootTakes)
		r.expect("1:serving/1 2:serving/1 3:serving/2 4:booting/2")
		r.pass(5 * time.Second)
		r.expect("1:draining/1 2:draining/1 3:serving/2 4:serving/2")
	})
}

func TestReloadFails(t *testing.T) {
	for _, c := range []struct {
		name, reason string
		how          func(n int) manner
		prepare      func(r *rig)
		during       func(r *rig)
	}{
		{"boot fails", "cannot start app:app: Oops", func(int) manner { return manner{fails: "Traceback\nOops"} }, nil, nil},
		{"one boot fails", "Oops", func(n int) manner {
			if n == 3 {
				return manner{fails: "Oops", slow: time.Second}
			}
			return manner{}
		}, nil, nil},
		{"boot dies", "exit:3", func(int) manner { return manner{dies: true} }, nil, nil},
		{"boot hangs", "not ready within 30s", func(int) manner { return manner{hangs: true} }, nil, nil},
		{"settings", "cannot read the settings: bad flag", nil, func(r *rig) { r.host.readErr = errors.New("bad flag") }, nil},
		{"interpreter", "no Python", nil, func(r *rig) { r.host.next.Python = "missing" }, nil},
		{"address", "address already in use", nil, func(r *rig) { r.host.next.Binds = []settings.Bind{{Network: "tcp", Address: "taken"}} }, nil},
		{"fork", "resource temporarily unavailable", nil, func(r *rig) { r.refuse = syscall.EAGAIN }, nil},
		{"dies when ready", "died as soon as it was ready", func(n int) manner { return manner{slow: time.Duration(n) * time.Second} }, nil,
			func(r *rig) {
				r.pass(3 * time.Second)
				r.all()[2].exit(killed(syscall.SIGSEGV))
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			withRig(t, testSettings(), nil, func(r *rig) {
				r.awaitServing()
				r.mu.Lock()
				r.procs.manner = c.how
				r.mu.Unlock()
				if c.prepare != nil {
					c.prepare(r)
				}
				done := make(chan error, 1)
				r.s.post(reloadEvent{done})
				if c.during != nil {
					c.during(r)
				}
				r.pass(40 * time.Second)
				select {
				case err := <-done:
					if err == nil || !strings.Contains(err.Error(), c.reason) {
						t.Errorf("result: %v", err)
					}
				default:
					t.Error("no result")
				}
				r.expect("1:serving/1 2:serving/1")
				v := r.view()
				if v.LastReloadSuccessful || v.Reloads["failure"] != 1 || v.Generation != 1 || !v.Ready {
					t.Errorf("%+v", v)
				}
				if n := strings.Count(r.log.String(), "the reload failed"); n != 1 {
					t.Errorf("logged %d times:\n%s", n, r.log.String())
				}
				if strings.Count(r.stderr.String(), "Oops") > 1 {
					t.Errorf("tracebacks: %q", r.stderr.String())
				}
				// The next one may succeed.
				r.behave(manner{})
				r.mu.Lock()
				r.refuse = nil
				r.mu.Unlock()
				r.host.next, r.host.readErr = testSettings(), nil
				r.signal(hup)
				r.pass(bootTakes + leaveTakes)
				if v := r.view(); !v.LastReloadSuccessful || v.Workers[0].Generation != v.Generation {
					t.Errorf("%+v", v)
				}
			})
		})
	}
}

// TestReloadsCoalesce: any number of requests during a reload are one more.
func TestReloadsCoalesce(t *testing.T) {
	withRig(t, testSettings(), nil, func(r *rig) {
		r.signal(hup) // while starting
		r.awaitServing()
		r.expect("1:serving/1 2:serving/1 3:booting/2 4:booting/2")
		done := make(chan error, 3)
		for range 3 {
			r.s.post(reloadEvent{done})
		}
		r.pass(0)
		r.pass(bootTakes)
		if len(done) != 0 {
			t.Error("the results are those of a reload that began earlier")
		}
		r.pass(bootTakes + leaveTakes)
		if v := r.view(); v.Generation != 3 || v.Reloads["success"] != 2 {
			t.Errorf("%+v", v)
		}
		if len(done) != 3 {
			t.Errorf("%d results", len(done))
		}
		r.pass(time.Minute)
		if v := r.view(); v.Generation != 3 {
			t.Errorf("generation %d", v.Generation)
		}
	})
}

func TestReloadWhileStopping(t *testing.T) {
	withRig(t, testSettings(), nil, func(r *rig) {
		r.awaitServing()
		under, again, late := make(chan error, 1), make(chan error, 1), make(chan error, 1)
		r.s.post(reloadEvent{under})
		r.s.post(reloadEvent{again})
		r.signal(term)
		r.s.post(reloadEvent{late})
		for _, c := range []chan error{under, again, late} {
			if err := <-c; !errors.Is(err, errStopping) {
				t.Errorf("result: %v", err)
			}
		}
		if err := r.awaitEnd(); err != nil {
			t.Error(err)
		}
	})
}

func TestScaleDuringReload(t *testing.T) {
	withRig(t, testSettings(), nil, func(r *rig) {
		r.awaitServing()
		r.signal(hup)
		r.signal(syscall.SIGTTIN)
		r.pass(bootTakes + leaveTakes)
		r.expect("3:serving/2 4:serving/2 5:serving/2")
		r.signal(hup)
		r.signal(syscall.SIGTTOU)
		r.signal(syscall.SIGTTOU)
		r.pass(bootTakes + leaveTakes)
		if v := r.view(); len(v.Workers) != 1 || v.Generation != 3 {
			t.Errorf("%+v", v)
		}
	})
}

// TestRemovedAddress: the old workers are told to take what is in the queues,
// since nobody else will.
func TestRemovedAddress(t *testing.T) {
	set := testSettings()
	set.Binds = []settings.Bind{{Network: "tcp", Address: "a"}, {Network: "tcp", Address: "b"}}
	withRig(t, set, nil, func(r *rig) {
		r.awaitServing()
		r.host.next.Binds = []settings.Bind{{Network: "tcp", Address: "b"}, {Network: "tcp", Address: "c"}}
		r.signal(hup)
		r.pass(bootTakes)
		if _, m := r.all()[0].got(protocol.KindDrain); m.Mode != protocol.DrainStop {
			t.Errorf("told %+v", m)
		}
		// The fake sockets cannot be shut down; that it was tried can be seen.
		tried := func() int { return strings.Count(r.log.String(), `msg="cannot stop listening" address=a`) }
		if tried() != 0 {
			t.Error("closed before the old workers were gone")
		}
		r.pass(leaveTakes)
		if tried() != 1 {
			t.Errorf("closed %d times", tried())
		}
		if got := strings.Join(r.host.listened, " "); got != "a b c" {
			t.Errorf("listened on %s", got)
		}
	})
}

// TestUpgradeDropsAddress: what waits in a socket that the next binary has not taken, the
// workers of this one take.
func TestUpgradeDropsAddress(t *testing.T) {
	set := testSettings()
	set.Binds = []settings.Bind{{Network: "tcp", Address: "a"}, {Network: "tcp", Address: "b"}}
	withRig(t, set, nil, func(r *rig) {
		r.awaitServing()
		r.host.dropped = "a"
		r.signal(syscall.SIGUSR2)
		r.host.upgrade <- nil
		r.pass(0)
		if _, m := r.all()[0].got(protocol.KindDrain); m.Mode != protocol.DrainStop {
			t.Errorf("told %+v", m)
		}
		if err := r.awaitEnd(); err != nil {
			t.Error(err)
		}
	})
}

func TestUpgradeStates(t *testing.T) {
	withRig(t, testSettings(), nil, func(r *rig) {
		r.signal(syscall.SIGUSR2) // while starting
		r.awaitServing()
		r.signal(hup)
		r.signal(syscall.SIGUSR2) // while reloading
		r.pass(bootTakes + leaveTakes)
		if n := strings.Count(r.log.String(), "cannot upgrade now"); n != 2 {
			t.Fatalf("refused %d times:\n%s", n, r.log.String())
		}

		r.signal(syscall.SIGUSR2)
		r.signal(syscall.SIGUSR2) // while upgrading
		r.signal(hup)
		r.host.upgrade <- errors.New("child exited")
		r.pass(0)
		r.expect("1:booting/3 2:booting/3 3:serving/2 4:serving/2") // the reload that was put off
		r.pass(bootTakes + leaveTakes)

		r.signal(syscall.SIGUSR2)
		r.host.upgrade <- nil
		r.pass(0)
		r.expect("1:draining/3 2:draining/3")
		if _, m := r.all()[len(r.all())-1].got(protocol.KindDrain); m.Mode != protocol.DrainReplaced {
			t.Errorf("told %+v", m)
		}
		r.signal(hup) // too late
		if err := r.awaitEnd(); err != nil {
			t.Error(err)
		}
		if v := r.view(); v.Upgrades["success"] != 1 || v.Upgrades["failure"] != 1 || v.Generation != 3 {
			t.Errorf("%+v", v)
		}
		if len(r.host.stopping) != 1 || !r.host.stopping[0] {
			t.Errorf("host: %v", r.host.stopping)
		}
	})
}
