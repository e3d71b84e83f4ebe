package master

import (
	"strings"
	"syscall"
	"testing"
)

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
