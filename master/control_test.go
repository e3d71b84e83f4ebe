package master

import (
	"context"
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"hostler/protocol"
)

// master wraps the rig's supervisor.
func (r *rig) master() *Master { return &Master{sup: r.s, down: make(chan struct{})} }

// begin calls f in a goroutine; the channel gets its error.
func async(f func() error) <-chan error {
	c := make(chan error, 1)
	go func() { c <- f() }()
	synctest.Wait()
	return c
}

// ended returns the error of what async began, which must have ended.
func ended(t *testing.T, c <-chan error) error {
	t.Helper()
	select {
	case err := <-c:
		return err
	default:
		t.Fatal("it has not ended")
		return nil
	}
}

func running(t *testing.T, c <-chan error) {
	t.Helper()
	select {
	case err := <-c:
		t.Fatalf("it has ended: %v", err)
	default:
	}
}

// kinds are the journal's events as "kind worker".
func (r *rig) events(kind string) []protocol.Event {
	return slices.DeleteFunc(r.s.journal.all(), func(e protocol.Event) bool { return e.Kind != kind })
}

func TestScaleTo(t *testing.T) {
	withRig(t, testSettings(), nil, func(r *rig) {
		r.awaitServing()
		m := r.master()
		if from, to, err := m.Scale(r.t.Context(), 4, false); from != 2 || to != 4 || err != nil {
			t.Errorf("%d, %d, %v", from, to, err)
		}
		r.pass(bootTakes)
		r.expect("1:serving/1 2:serving/1 3:serving/1 4:serving/1")
		for _, n := range []int{-4, 1000} {
			if _, _, err := m.Scale(r.t.Context(), n, true); err == nil {
				t.Errorf("by %d is taken", n)
			}
		}
		if _, to, err := m.Scale(r.t.Context(), -3, true); to != 1 || err != nil {
			t.Errorf("%d, %v", to, err)
		}
		if _, to, err := m.Scale(r.t.Context(), 1, false); to != 1 || err != nil {
			t.Errorf("as before: %d, %v", to, err)
		}
		r.pass(leaveTakes)
		r.expect("1:serving/1")
		// The signal counts from there.
		r.signal(syscall.SIGTTIN)
		r.pass(bootTakes)
		if got := r.view().TargetWorkers; got != 2 {
			t.Errorf("target %d", got)
		}
		if e := r.events("scale"); len(e) != 3 || e[0].Text != "from 2 to 4 workers: by hostler ctl" {
			t.Errorf("events %+v", e)
		}
		if e := r.events("worker_left"); len(e) != 3 || e[0].Cause != "scale_down" {
			t.Errorf("events %+v", e)
		}
	})
}

// TestRestartAll: one at a time, each replacement ready first.
func TestRestartAll(t *testing.T) {
	withRig(t, testSettings(), nil, func(r *rig) {
		r.awaitServing()
		m := r.master()
		done := async(func() error { return m.Restart(r.t.Context(), 0) })
		r.expect("1:serving/1 2:serving/1 3:booting/1")
		if err := m.Restart(r.t.Context(), 0); err == nil {
			t.Error("two restarts at once")
		}
		r.pass(bootTakes)
		r.expect("1:draining/1 2:serving/1 3:serving/1 4:booting/1")
		running(t, done)
		r.pass(bootTakes)
		if err := ended(t, done); err != nil {
			t.Error(err)
		}
		r.pass(leaveTakes)
		r.expect("3:serving/1 4:serving/1")
		if r.exits(causeRestart) != 2 || r.view().Generation != 1 {
			t.Errorf("%+v", r.view())
		}
		if e := r.events("worker_started"); len(e) != 4 || e[2].Text != "replaces worker 1, pid 1000 (restart)" {
			t.Errorf("events %+v", e)
		}
	})
}

func TestRestartOne(t *testing.T) {
	withRig(t, testSettings(), nil, func(r *rig) {
		r.awaitServing()
		m := r.master()
		done := async(func() error { return m.Restart(r.t.Context(), 2) })
		r.pass(bootTakes + leaveTakes)
		if err := ended(t, done); err != nil {
			t.Error(err)
		}
		r.expect("1:serving/1 3:serving/1")
		if err := m.Restart(r.t.Context(), 2); err == nil || err.Error() != "no worker 2 serves" {
			t.Errorf("a worker that is not there: %v", err)
		}
	})
}

// TestRestartFails: a replacement that does not boot ends the restart, and the
// worker that was to go stays.
func TestRestartFails(t *testing.T) {
	withRig(t, testSettings(), nil, func(r *rig) {
		r.awaitServing()
		r.behave(manner{fails: "Traceback\nKeyError: 'x'"})
		m := r.master()
		done := async(func() error { return m.Restart(r.t.Context(), 0) })
		r.pass(bootTakes)
		err := ended(t, done)
		var boot *BootError
		if !errors.As(err, &boot) || boot.Detail() != "Traceback\nKeyError: 'x'" || boot.Reason != "KeyError: 'x'" {
			t.Errorf("error %v", err)
		}
		r.pass(time.Minute)
		r.expect("1:serving/1 2:serving/1")
		if len(r.all()) != 3 {
			t.Errorf("%d processes were started", len(r.all()))
		}
		r.behave(manner{})
		done = async(func() error { return m.Restart(r.t.Context(), 0) })
		r.pass(2*bootTakes + leaveTakes)
		if err := ended(t, done); err != nil {
			t.Error(err)
		}
		r.expect("3:serving/1 4:serving/1")
	})
}

// TestRestartDuringCrash: a worker that dies meanwhile is replaced first, and
// once.
func TestRestartDuringCrash(t *testing.T) {
	withRig(t, testSettings(), nil, func(r *rig) {
		r.awaitServing()
		m := r.master()
		done := async(func() error { return m.Restart(r.t.Context(), 0) })
		r.all()[1].exit(killed(syscall.SIGKILL)) // the second, while the first is replaced
		r.pass(3 * bootTakes)
		if err := ended(t, done); err != nil {
			t.Error(err)
		}
		if len(r.all()) != 4 || r.view().TargetWorkers != 2 {
			t.Errorf("%d processes were started", len(r.all()))
		}
	})
}

// TestRestartMeetsReloadAndStop wants an answer whatever comes in between.
func TestRestartMeetsReloadAndStop(t *testing.T) {
	withRig(t, testSettings(), nil, func(r *rig) {
		r.awaitServing()
		m := r.master()
		done := async(func() error { return m.Restart(r.t.Context(), 0) })
		r.signal(syscall.SIGHUP)
		if err := m.Restart(r.t.Context(), 0); err == nil {
			t.Error("a restart during a reload")
		}
		r.pass(bootTakes + leaveTakes)
		if err := ended(t, done); err != nil {
			t.Errorf("after the reload: %v", err)
		}
		if v := r.view(); v.Generation != 2 || len(v.Workers) != 2 {
			t.Errorf("%+v", v)
		}
		done = async(func() error { return m.Restart(r.t.Context(), 0) })
		r.signal(syscall.SIGTERM)
		if err := ended(t, done); !errors.Is(err, errStopping) {
			t.Errorf("after the signal: %v", err)
		}
	})
}

func TestSetLogLevel(t *testing.T) {
	set := testSettings()
	set.LogLevel = "warning"
	withRig(t, set, nil, func(r *rig) {
		r.awaitServing()
		m := r.master()
		if err := m.SetLogLevel(r.t.Context(), "debug"); err != nil {
			t.Error(err)
		}
		if n, msg := r.all()[1].got(protocol.KindLevel); n != 1 || msg.Text != "debug" {
			t.Errorf("told %d times, %+v", n, msg)
		}
		r.signal(syscall.SIGTTIN)
		r.signal(syscall.SIGHUP)
		all := r.all()
		if got := []string{all[0].spec.Config.LogLevel, all[2].spec.Config.LogLevel, all[3].spec.Config.LogLevel}; !slices.Equal(got, []string{"warning", "debug", "warning"}) {
			t.Errorf("first, later and after the reload: %q", got)
		}
	})
}

func TestUpgradeAndWait(t *testing.T) {
	withRig(t, testSettings(), nil, func(r *rig) {
		m := r.master()
		if err := m.Upgrade(r.t.Context()); err == nil {
			t.Error("an upgrade while starting")
		}
		r.awaitServing()
		done := async(func() error { return m.Upgrade(r.t.Context()) })
		if err := m.Upgrade(r.t.Context()); err == nil {
			t.Error("two upgrades at once")
		}
		r.host.upgrade <- errors.New("no good")
		synctest.Wait()
		if err := ended(t, done); err == nil || !strings.Contains(err.Error(), "the old binary serves on: no good (") {
			t.Errorf("failed upgrade: %v", err)
		}
		done = async(func() error { return m.Upgrade(r.t.Context()) })
		r.host.upgrade <- nil
		synctest.Wait()
		if err := ended(t, done); err != nil {
			t.Error(err)
		}
		if err := r.awaitEnd(); err != nil {
			t.Error(err)
		}
		if len(r.events("upgrade_failed")) != 1 || len(r.events("upgraded")) != 1 || len(r.events("stopping")) != 1 {
			t.Errorf("events %+v", r.s.journal.all())
		}
		if _, _, err := m.Scale(r.t.Context(), 1, true); !errors.Is(err, errStopping) {
			t.Errorf("after the end: %v", err)
		}
	})
}

func TestDrain(t *testing.T) {
	withRig(t, testSettings(), nil, func(r *rig) {
		r.awaitServing()
		m := r.master()
		first := async(func() error { return m.Drain(r.t.Context()) })
		// A second one must not be the second SIGTERM, which stops at once.
		second := async(func() error { return m.Drain(r.t.Context()) })
		ctx, cancel := context.WithCancel(r.t.Context())
		third := async(func() error { return m.Drain(ctx) })
		cancel()
		synctest.Wait()
		if err := ended(t, third); !errors.Is(err, context.Canceled) {
			t.Errorf("who does not wait: %v", err)
		}
		if _, msg := r.all()[0].got(protocol.KindDrain); msg.Mode != protocol.DrainStop {
			t.Errorf("told %+v", msg)
		}
		if err := r.awaitEnd(); err != nil {
			t.Error(err)
		}
		running(t, first)
		close(m.down)
		synctest.Wait()
		if err := errors.Join(ended(t, first), ended(t, second), m.Drain(r.t.Context())); err != nil {
			t.Error(err)
		}
	})
}

// TestJournalSaysWhy: of a worker that was killed, and of the one that came.
func TestJournalSaysWhy(t *testing.T) {
	withRig(t, testSettings(), nil, func(r *rig) {
		r.awaitServing()
		r.pass(time.Minute)
		r.all()[0].exit(killed(syscall.SIGSEGV))
		r.pass(bootTakes)
		died, started := r.events("worker_died"), r.events("worker_started")
		if len(died) != 1 || died[0].Worker != 1 || died[0].PID != 1000 || died[0].Cause != "signal" || died[0].Text != "signal:SIGSEGV" {
			t.Errorf("died: %+v", died)
		}
		if n := len(started); n != 3 || started[2].Text != "replaces worker 1, pid 1000 (signal, signal:SIGSEGV)" || started[2].Time.IsZero() {
			t.Errorf("started: %+v", started)
		}
		r.behave(manner{fails: "KeyError"})
		r.signal(syscall.SIGHUP)
		r.pass(bootTakes)
		if e := r.events("reload_failed"); len(e) != 1 || e[0].Generation != 2 || !strings.Contains(e[0].Text, "KeyError") {
			t.Errorf("reload_failed: %+v", e)
		}
	})
}

func TestJournalIsARing(t *testing.T) {
	j := new(journal)
	for i := range journalSize + 7 {
		j.add(protocol.Event{PID: i})
		all := j.all()
		if n := min(i+1, journalSize); len(all) != n || all[0].PID != i+1-n || all[n-1].PID != i {
			t.Fatalf("after %d: %d events, %d to %d", i, len(all), all[0].PID, all[len(all)-1].PID)
		}
	}
}

// TestAnswersFollowState: who is told that something has ended may look at once,
// and must see it.
func TestAnswersFollowState(t *testing.T) {
	withRig(t, testSettings(), nil, func(r *rig) {
		r.awaitServing()
		reload, upgrade, restarted := make(chan error, 1), make(chan error, 1), make(chan error, 1)
		early := false
		err := r.master().ask(r.t.Context(), func(s *supervisor) {
			s.waiting, s.waitUpgrade = append(s.waiting, reload), append(s.waitUpgrade, upgrade)
			s.restart = &restart{done: restarted}
			s.endRestart(nil)
			s.reloadEnded(nil)
			s.upgradeEnded(nil, errors.New("on purpose"))
			early = len(restarted)+len(reload)+len(upgrade) > 0
		})
		if err != nil || early {
			t.Errorf("answered before the state was published: %t, %v", early, err)
		}
		if ended(t, restarted) != nil || ended(t, reload) != nil || ended(t, upgrade) == nil {
			t.Error("other answers than were given")
		}
	})
}
