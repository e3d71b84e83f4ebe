package master

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"hostler/master/spawn"
)

// TestStopWhateverHappens: neither processes that no signal ends, nor calls that do
// not return, keep the master from ending in time.
func TestStopWhateverHappens(t *testing.T) {
	for _, sig := range []syscall.Signal{term, syscall.SIGQUIT} {
		withHooks(t, manner{hooks: allHooks, hookHangs: true, wedged: true, stuck: true}, func(r *rig) {
			r.stuck = true
			r.passHooks()
			end := r.host.setHang()
			defer end()
			r.signal(syscall.SIGUSR1)
			r.signal(hup)
			r.s.post(spawn.MoldEvent{Generation: 1, PID: 77})
			begun := time.Now()
			r.signal(sig)
			r.awaitEnd()
			most := testSettings().GracefulTimeout + 2*killTime
			if sig != term {
				most = quickLeave + 2*killTime
			}
			if took := time.Since(begun); took > most {
				t.Errorf("%v: the end took %v", sig, took)
			}
			if s := r.log.String(); !strings.Contains(s, "leaving processes behind") || !strings.Contains(s, "77") {
				t.Error("nothing is said of those that are left")
			}
		})
	}
}

// passHooks has the workers start though the first hook hangs.
func (r *rig) passHooks() {
	r.t.Helper()
	r.pass(bootTakes)
	helpers, _ := r.helpers()
	helpers[0].report(hookDone)
	r.pass(bootTakes)
	r.expect("1:serving/1 2:serving/1")
}

// TestStopsWhileItPrepares: a start that hangs before there is a process ends at the
// first signal; a reload is given up after a while, and the next one is free to work.
func TestStopsWhileItPrepares(t *testing.T) {
	withRig(t, testSettings(), nil, func(r *rig) {
		r.awaitServing()
		end := r.host.setHang()
		done := make(chan error, 1)
		r.s.post(reloadEvent{done})
		r.pass(prepareTime / 2)
		select {
		case err := <-done:
			t.Fatalf("given up already: %v", err)
		default:
		}
		r.expect("1:serving/1 2:serving/1")
		r.pass(prepareTime / 2)
		if err := <-done; err == nil || !strings.Contains(err.Error(), "reading the settings takes longer than 30s") {
			t.Errorf("the reload: %v", err)
		}
		r.all()[0].exit(exited(1)) // workers are looked after all the time
		r.pass(2 * bootTakes)
		r.expect("1:serving/1 2:serving/1")
		end() // what comes of it now is of no interest
		r.pass(time.Second)
		if v := r.view(); v.Generation != 1 || v.LastReloadSuccessful {
			t.Errorf("%+v", v)
		}
		r.signal(hup)
		r.pass(bootTakes + leaveTakes)
		r.expect("3:serving/2 4:serving/2")
		// A stop while it hangs again.
		defer r.host.setHang()()
		r.signal(hup)
		begun := time.Now()
		r.signal(term)
		r.awaitEnd()
		if took := time.Since(begun); took > 2*leaveTakes {
			t.Errorf("the stop took %v", took)
		}
	})
}

// TestStartRefusedLater: that a process cannot be started is told later than it is asked
// for. It is a failure like any other, of nobody.
func TestStartRefusedLater(t *testing.T) {
	withRig(t, testSettings(), nil, func(r *rig) {
		r.awaitServing()
		r.behave(manner{refused: errors.New("cannot start python: no memory")})
		r.all()[0].exit(exited(1))
		r.pass(5 * time.Second)
		r.expect("2:serving/1")
		if n := strings.Count(r.log.String(), "cannot start python: no memory"); n < 1 || r.exits(causeBootFailed) != 0 {
			t.Errorf("said %d times; exits: %v", n, r.view().Exits)
		}
		r.behave(manner{})
		r.pass(time.Minute)
		r.expect("1:serving/1 2:serving/1")
		r.behave(manner{refused: errors.New("cannot start python: no memory")})
		r.signal(hup)
		r.pass(time.Second)
		r.expect("1:serving/1 2:serving/1")
		if v := r.view(); v.LastReloadSuccessful {
			t.Errorf("%+v", v)
		}
	})
}
