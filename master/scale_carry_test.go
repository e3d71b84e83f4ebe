package master

import (
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestScaleIsCarried: a new binary begins with the operator's number, or with what the
// load has shown to be needed.
func TestScaleIsCarried(t *testing.T) {
	for _, c := range []struct {
		name             string
		workers, most    int
		signals          []syscall.Signal
		carried          []string
		target, workers2 int // of the new binary, and after its settings say so many more
		pinned           bool
	}{
		{"as set", 2, 0, nil, nil, 2, 3, false},
		{"two more", 2, 0, []syscall.Signal{syscall.SIGTTIN, syscall.SIGTTIN}, []string{upgradeAdjust + "=2"}, 4, 5, false},
		{"by need", 2, 8, nil, []string{upgradeWorkers + "=2"}, 2, 3, false},
		{"pinned", 2, 8, []syscall.Signal{syscall.SIGTTIN, syscall.SIGTTIN, syscall.SIGTTIN}, []string{upgradeAdjust + "=3"}, 5, 6, true},
		{"pinned where it was", 2, 8, []syscall.Signal{syscall.SIGTTIN, syscall.SIGTTOU}, []string{upgradeAdjust + "=0"}, 2, 3, true},
	} {
		set := testSettings()
		set.Workers, set.MaxWorkers = c.workers, c.most
		withRig(t, set, nil, func(r *rig) {
			r.awaitServing()
			for _, sig := range c.signals {
				r.signal(sig)
			}
			r.pass(2 * bootTakes)
			r.signal(syscall.SIGUSR2)
			if !slices.Equal(r.host.carried, c.carried) {
				t.Errorf("%s: carried %q, not %q", c.name, r.host.carried, c.carried)
			}
			for _, kv := range r.host.carried {
				name, value, _ := strings.Cut(kv, "=")
				t.Setenv(name, value)
			}
			next := &supervisor{set: set}
			next.takeScale()
			if n := next.target(set); n != c.target || next.scaling.pinned != c.pinned {
				t.Errorf("%s: the new binary has %d workers, pinned: %v", c.name, n, next.scaling.pinned)
			}
			more := *set
			more.Workers++
			if n := next.target(&more); n != c.workers2 {
				t.Errorf("%s: with more in the settings the new binary has %d workers", c.name, n)
			}
			r.host.upgrade <- errStopping
		})
	}
}
