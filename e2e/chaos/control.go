package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"hostler/ctl"
	"hostler/protocol"
)

// controls is what an operator does with hostler ctl.
func controls() map[kind]func(*round, step) {
	return map[kind]func(*round, step){
		"scale":       (*round).scale,
		"restart":     (*round).restart,
		"ctl-one":     (*round).restartOne,
		"ctl-reload":  (*round).reloadByCtl,
		"ctl-upgrade": (*round).upgradeByCtl,
		"ctl-leave":   (*round).walkAway,
		"ctl-look":    (*round).look,
		"ctl-level":   (*round).logLevel,
		"ctl-profile": (*round).profile,
		"ctl-wrong":   (*round).wrongCommands,
	}
}

// command asks for something, again while it is refused because of what an earlier
// step has begun: a signal does not say when it has been obeyed.
func (r *round) command(name string, request, into any) error {
	for end := time.Now().Add(settling); ; time.Sleep(50 * time.Millisecond) {
		err := r.server.ask(http.MethodPost, name, request, into)
		var f *ctl.Failure
		if !errors.As(err, &f) || !strings.Contains(f.Message, "under way") || time.Now().After(end) {
			return err
		}
	}
}

func (r *round) scale(s step) {
	if r.shape.byNeed && s.n%3 == 0 {
		r.byNeed()
		return
	}
	to := 2 + s.n%4
	var got ctl.Scaled
	if err := r.server.ask(http.MethodPost, "scale", ctl.ScaleRequest{To: &to}, &got); err != nil {
		r.wrong("scale: %v", err)
		return
	}
	if got.To != to {
		r.wrong("scale to %d says it scales to %d", to, got.To)
	}
	r.target = to
}

// byNeed gives the number of workers back to the server.
func (r *round) byNeed() {
	var got ctl.Scaled
	if err := r.server.ask(http.MethodPost, "scale", ctl.ScaleRequest{Auto: true}, &got); err != nil {
		r.wrong("scale auto: %v", err)
		return
	}
	r.target = 0
}

func (r *round) restart(s step) {
	r.settled()
	var got ctl.Done
	if err := r.command("restart", ctl.WorkerRequest{}, &got); err != nil && s.kill == 0 {
		r.wrong("restart: %v", err)
	}
}

// restartOne restarts one worker, which is another process afterwards.
func (r *round) restartOne(s step) {
	r.settled()
	st, err := r.server.status()
	if err != nil || len(st.Workers) == 0 {
		r.wrong("no status: %v", err)
		return
	}
	w := st.Workers[s.which%len(st.Workers)]
	var got ctl.Done
	err = r.command("restart", ctl.WorkerRequest{Worker: w.Worker}, &got)
	// One that has left by itself meanwhile cannot be restarted.
	if slices.Contains(r.server.pids("serving"), w.PID) && s.kill == 0 {
		r.wrong("worker %d is still process %d after its restart, which said: %v", w.Worker, w.PID, err)
	}
}

// reloadByCtl brings new code, and none that is broken.
func (r *round) reloadByCtl(s step) {
	r.settled()
	if s.n%3 == 0 {
		r.brokenByCtl()
	}
	r.server.version++
	if err := r.server.writeApp(fmt.Sprintf("VERSION = %q", r.server.code())); err != nil {
		r.wrong("%v", err)
		return
	}
	for tries := 0; ; tries++ {
		var got ctl.Done
		err := r.server.ask(http.MethodPost, "reload", nil, &got)
		switch {
		case err == nil:
			r.settled() // an old worker may answer while it hears that it is one
			return
		case s.kill == 0 || tries == 3:
			r.wrong("reload: %v", err)
			return
		}
		r.calm()
	}
}

func (r *round) brokenByCtl() {
	if err := r.server.writeApp("raise LookupError('on purpose')"); err != nil {
		r.wrong("%v", err)
		return
	}
	var got ctl.Done
	err := r.server.ask(http.MethodPost, "reload", nil, &got)
	var f *ctl.Failure
	if !errors.As(err, &f) {
		r.wrong("a reload of broken code: %v", err)
	}
}

func (r *round) upgradeByCtl(s step) {
	r.settled()
	old := r.server.master()
	var got ctl.Done
	if err := r.command("upgrade", nil, &got); err != nil {
		if s.kill == 0 {
			r.wrong("upgrade: %v", err)
		}
		r.failedUpgrades++
		return
	}
	r.upgraded(old, func() bool { return false }) // it has said that it took
}

// walkAway begins what takes time, and does not stay to hear how it ends. What
// was begun goes on.
func (r *round) walkAway(s step) {
	r.settled()
	ctx, cancel := context.WithTimeout(context.Background(), max(s.last/10, 5*time.Millisecond))
	defer cancel()
	name, ends := "reload", []string{"reloaded", "reload_failed"}
	if s.n%2 == 0 {
		name, ends = "restart", []string{"restarted", "restart_failed"}
	}
	begin := time.Now()
	if _, err := r.server.ctl.Do(ctx, http.MethodPost, name, nil); err == nil {
		return // it was quicker
	}
	for time.Since(begin) < settling {
		var got ctl.Events
		_ = r.server.ask(http.MethodGet, "events", nil, &got) // none: not yet
		if slices.ContainsFunc(got.Events, func(e protocol.Event) bool { return e.Time.After(begin) && slices.Contains(ends, e.Kind) }) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	r.wrong("the %s that nobody waits for does not end", name)
}

// look asks for what does no harm.
func (r *round) look(s step) {
	for _, name := range []string{"status", "events", "slow"} {
		var got json.RawMessage
		if err := r.server.ask(http.MethodGet, name, nil, &got); err != nil {
			r.wrong("%s: %v", name, err)
		}
	}
	var got ctl.Dumped
	var f *ctl.Failure // there may be no worker in just that moment
	if err := r.server.ask(http.MethodPost, "dump", ctl.WorkerRequest{}, &got); err != nil && s.kill == 0 && !errors.As(err, &f) {
		r.wrong("dump: %v", err)
	}
}

// profile watches all workers for a second. Which of them live through it is not
// said, so what comes of it is nothing to go by; that it ends is.
func (r *round) profile(s step) {
	var got protocol.Profile
	err := r.server.ask(http.MethodPost, "profile", ctl.ProfileRequest{Seconds: 1}, &got)
	var f *ctl.Failure
	if err != nil && !errors.As(err, &f) {
		r.wrong("profile: %v", err)
	}
}

// logLevel lets everyone say everything for a while.
func (r *round) logLevel(s step) {
	for _, level := range []string{"debug", "info"} {
		var got ctl.Level
		if err := r.server.ask(http.MethodPost, "log-level", ctl.LevelRequest{Level: level}, &got); err != nil || got.Level != level {
			r.wrong("log-level %s is %q: %v", level, got.Level, err)
		}
		time.Sleep(s.last)
	}
}

// wrongCommands asks for what cannot be.
func (r *round) wrongCommands(step) {
	none := -1
	for _, c := range []struct {
		name    string
		request any
	}{
		{"restart", ctl.WorkerRequest{Worker: 1 << 20}}, {"dump", ctl.WorkerRequest{Worker: 1 << 20}}, {"scale", ctl.ScaleRequest{To: &none}},
		{"scale", ctl.ScaleRequest{}}, {"scale", "no object"}, {"log-level", ctl.LevelRequest{Level: "loud"}}, {"no-such-thing", nil},
	} {
		if b, err := r.server.ctl.Do(context.Background(), http.MethodPost, c.name, c.request); err == nil {
			r.wrong("%s %+v is answered: %s", c.name, c.request, b)
		}
	}
}
