package master

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"hostler/master/spawn"
	"hostler/protocol"
)

// TestTalkerDoesNotKeepOthersWaiting: what is due is done, however many messages
// come.
func TestTalkerDoesNotKeepOthersWaiting(t *testing.T) {
	wedged := func(int) manner { return manner{wedged: true} }
	withRig(t, testSettings(), wedged, func(r *rig) {
		r.awaitServing()
		talker := r.all()[0]
		quit := make(chan struct{})
		defer close(quit)
		go func() {
			for {
				select {
				case <-quit:
					return
				case <-time.After(300 * time.Microsecond):
					talker.report(spawn.Report{Message: protocol.Message{Kind: protocol.KindReady}})
				}
			}
		}()
		r.signal(syscall.SIGTERM)
		begun := time.Now()
		r.awaitEnd()
		if d := time.Since(begun); d > testSettings().GracefulTimeout+graceMargin+time.Second {
			t.Errorf("the workers were killed after %v", d)
		}
	})
}

// TestUnaskedHookDone: the journal has only what hooks say that were run.
func TestUnaskedHookDone(t *testing.T) {
	set := testSettings()
	set.Hooks = "hooks"
	withRig(t, set, func(int) manner { return manner{hooks: "on_starting child_exit"} }, func(r *rig) {
		r.pass(time.Minute)
		for range 10 {
			r.all()[0].report(spawn.Report{Message: protocol.Message{Kind: protocol.KindHookDone, Text: "forged"}})
		}
		r.pass(time.Second)
		if v := r.view(); v.HookFailures != 0 {
			t.Errorf("%d hooks have failed", v.HookFailures)
		}
	})
}

// TestSlowReportsAreBounded: a worker fills no more of the master's memory than the
// reports of our own workers do.
func TestSlowReportsAreBounded(t *testing.T) {
	withRig(t, testSettings(), nil, func(r *rig) {
		r.awaitServing()
		one := `{"method":"` + strings.Repeat("M", 3000) + `","target":"/` + strings.Repeat("x", 3000) + `","client":"` + strings.Repeat("c", 3000) +
			`","stack":"` + strings.Repeat("s", 50000) + `","duration":99}`
		r.all()[0].report(spawn.Report{Message: protocol.Message{Kind: protocol.KindSlow, Text: "[" + one + "]"}})
		r.all()[0].report(spawn.Report{Message: protocol.Message{Kind: protocol.KindSlow, Text: "[" + strings.Repeat("{},", 20000) + "{}]"}})
		r.pass(time.Second)
		routes := r.s.slow.all()
		if len(routes) != 2 {
			t.Fatalf("%d routes", len(routes))
		}
		for _, route := range routes {
			for _, q := range route.Worst {
				if n := len(q.Method) + len(q.Target) + len(q.Client) + len(q.Stack); n > 2*protocol.SlowStack+1024 {
					t.Errorf("a report takes %d bytes", n)
				}
			}
		}
	})
}
