package master

import (
	"bytes"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"hostler/protocol"
	"hostler/settings"
)

// TestWords: a process is believed in what its part has to say, and what else it
// sends is said once, and how much it was at its end.
func TestWords(t *testing.T) {
	for _, c := range []struct {
		name   string
		config protocol.WorkerConfig
		may    string
	}{
		{"worker", protocol.WorkerConfig{}, "RFEQZXO"},
		{"worker of a developer", protocol.WorkerConfig{Worker: settings.Worker{Development: true}}, "RFEQZXMO"},
		{"mold", protocol.WorkerConfig{Mold: true, Worker: settings.Worker{Preload: true}}, "RFPM"},
		{"hooks", protocol.WorkerConfig{HooksOnly: true}, "FNK"},
	} {
		var log bytes.Buffer
		h := hearing{log: slog.New(slog.NewTextHandler(&log, nil)), pid: 4711, words: wordsOf(&c.config)}
		heard, odd := "", 1
		h.parse(nil, 4711)
		for kind := range 256 {
			packet := []byte{byte(kind)}
			if protocol.Kind(kind) == protocol.KindForked {
				packet = []byte("P")
			}
			if m, ok := h.parse(packet, 4711); ok {
				heard += string(rune(m.Kind))
			} else {
				odd++
			}
		}
		h.end()
		if len(heard) != len(c.may) || strings.Trim(heard, c.may) != "" {
			t.Errorf("%s: heard %s, not %s", c.name, heard, c.may)
		}
		if n := strings.Count(log.String(), "\n"); n != 2 || h.odd != odd || !strings.Contains(log.String(), "packets=") {
			t.Errorf("%s: %d packets of %d are odd; log:\n%s", c.name, h.odd, odd, &log)
		}
	}
}

// TestTalkerWaits: who sends without end is slowed down; the parts of a long profile
// are not.
func TestTalkerWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h hearing
		begun := time.Now()
		for range 2 * protocol.MaxProfile / protocol.MaxMessage {
			h.pause()
		}
		if d := time.Since(begun); d != 0 {
			t.Errorf("a profile took %v", d)
		}
		for range 10000 {
			h.pause()
		}
		if d := time.Since(begun); d < 90*time.Second {
			t.Errorf("10000 messages took %v", d)
		}
		time.Sleep(time.Hour)
		begun = time.Now()
		h.pause()
		if d := time.Since(begun); d != 0 {
			t.Errorf("after a rest a message took %v", d)
		}
	})
}

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
					talker.report(report{message: protocol.Message{Kind: protocol.KindReady}})
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
			r.all()[0].report(report{message: protocol.Message{Kind: protocol.KindHookDone, Text: "forged"}})
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
		r.all()[0].report(report{message: protocol.Message{Kind: protocol.KindSlow, Text: "[" + one + "]"}})
		r.all()[0].report(report{message: protocol.Message{Kind: protocol.KindSlow, Text: "[" + strings.Repeat("{},", 20000) + "{}]"}})
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
