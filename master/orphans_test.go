package master

import (
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestStrangers: a process that ended is a forked worker only as long as its pid
// cannot be another's.
func TestStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &spawner{strangers: map[int]stranger{7: {exited(3), time.Now()}, 8: {exited(4), time.Now()}}}
		time.Sleep(strangerFor)
		if ws, gone := s.stranger(7); !gone || ws != exited(3) {
			t.Errorf("%v, %v", ws, gone)
		}
		if _, gone := s.stranger(7); gone {
			t.Error("it has ended twice")
		}
		time.Sleep(time.Second)
		if _, gone := s.stranger(8); gone {
			t.Error("who has got that pid is taken for dead")
		}
	})
}

// TestNoUpgradeOfProcess1: the new binary would be killed with the old one.
func TestNoUpgradeOfProcess1(t *testing.T) {
	withRig(t, testSettings(), nil, func(r *rig) {
		done := make(chan struct{})
		r.s.post(askEvent{func(s *supervisor) { s.first = true }, done})
		<-done
		r.awaitServing()
		r.signal(syscall.SIGUSR2)
		if err := r.master().Upgrade(r.t.Context()); err == nil || !strings.Contains(err.Error(), "process 1") {
			t.Errorf("upgrade: %v", err)
		}
		r.expect("1:serving/1 2:serving/1")
		if n := len(r.host.stopping); n != 0 {
			t.Error("it stops")
		}
	})
}
