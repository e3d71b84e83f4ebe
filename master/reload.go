package master

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"

	"github.com/coreos/go-systemd/v22/daemon"

	"hostler/protocol"
)

// boot makes g the next generation; reconcile starts its workers.
func (s *supervisor) boot(g *generation) {
	s.numbers++
	g.number = s.numbers
	s.next = g
	if g.certs != nil {
		s.certs = append(s.certs, g.certs)
	}
	if g.pages != nil {
		s.pages = append(s.pages, g.pages)
	}
	g.logs.version = 1
	s.logs = append(s.logs, g.logs)
	if g.spans != nil {
		s.spans.open = append(s.spans.open, g.spans)
	}
	if g.set.Hooks == "" && !g.set.ConfHooks {
		return
	}
	first := hookStarting
	if s.current != nil {
		first = hookReload
	}
	if err := s.startHelper(g, first); err != nil {
		s.abandon(err)
	}
}

// reload begins the transaction that replaces the generation, or puts it off
// until the one under way has ended. done, if not nil, gets the result.
func (s *supervisor) reload(done chan<- error) {
	switch {
	case s.phase == phaseStopping:
		if done != nil {
			s.answer(done, errStopping)
		}
		return
	case s.trial != nil:
		s.abandon(errNewer)
	case s.reloading() || s.upgrading:
		s.notifyReloading()
		s.log.Info("a reload will follow what is under way")
		s.again = true
		if done != nil {
			s.waitAgain = append(s.waitAgain, done)
		}
		return
	}
	if done != nil {
		s.waiting = append(s.waiting, done)
	}
	s.notifyReloading()
	s.log.Info("reloading", "generation", s.numbers+1)
	asked := "SIGHUP"
	if len(s.waiting) > 0 {
		asked = "hostler ctl"
	}
	if s.touched != "" {
		asked, s.touched = "a change of "+s.touched, ""
	}
	s.note(protocol.Event{Kind: "reload_started", Generation: s.numbers + 1, Text: "by " + asked})
	s.prepareNext(nil)
}

// abandon ends a reload, or the start, that has failed.
func (s *supervisor) abandon(err error) {
	if s.current == nil {
		if s.standIn(err) {
			return
		}
		s.fatal = err
		s.quickly()
		return
	}
	s.canaryOver(canaryEnded)
	g := s.next
	s.next = nil
	if g != nil {
		s.endHelper(g.helper)
		s.starter.Retire(g.number)
	}
	s.stats.reloaded(err, s.clock.now())
	failed := s.numbers
	if g == nil { // it never got a number
		failed++
	}
	s.note(protocol.Event{Kind: "reload_failed", Generation: failed, Text: err.Error()})
	s.log.Error("the reload failed; the old workers serve on", "generation", s.current.number, "error", err)
	s.broken(err)
	if g != nil {
		for _, w := range s.workers {
			if w.gen == g {
				// Those that were ready may have taken connections.
				s.drain(w, protocol.DrainReplaced, g.set.GracefulTimeout, causeReload)
			}
		}
		s.retiring = append(s.retiring, g.opened...)
		s.dropAdmin(g)
	}
	s.notifyReloaded()
	s.reloadEnded(err)
}

// commit makes the generation that has booted the one that serves.
func (s *supervisor) commit() {
	g, old := s.next, s.current
	s.current, s.next, s.set = g, nil, g.set
	s.backoff.reset()
	s.crashes = crashLoop{}
	s.lost = nil
	if old == nil {
		s.firstServes(g)
	} else {
		s.replace(old, g)
	}
	s.issue()
	if g.spans != nil {
		g.spans.Serve()
	}
	s.reloadEnded(nil)
}

// firstServes is commit for the first generation.
func (s *supervisor) firstServes(g *generation) {
	s.phase = phaseServing
	for _, l := range g.listeners {
		l.inherited = false // the binary before us leaves now
	}
	s.stats.reloadOK = true
	s.note(protocol.Event{Kind: "serving", Generation: g.number})
	level := slog.LevelInfo
	if s.screen != nil {
		s.greet(g)
		level = slog.LevelDebug // it is said
	}
	s.log.Log(context.Background(), level, "serving", "app", s.set.title(), "workers", s.target(s.set), "threads", s.set.threadsSaid(),
		"listening", joinBinds(g.listeners), "python", g.python)
	s.callHook(g.helper, protocol.HookCall{Hook: hookReady})
	// The binary before us ends as soon as it hears that we serve: the manager
	// has to know first whom to look after.
	s.host.Notify(fmt.Sprintf("MAINPID=%d", os.Getpid()))
	s.files.do("writing the pid file and the like", func() {
		s.host.Serving(g.set, true)
		s.post(thenEvent{s.served})
	})
}

// replace is commit for a generation that comes after another.
func (s *supervisor) replace(old, g *generation) {
	if g.set.Development && g.page == "" {
		s.codeBroken(g.set, false)
	}
	s.starter.Retire(old.number)
	s.endHelper(old.helper)
	mode := protocol.DrainReplaced
	for _, l := range g.listeners {
		l.takeOver()
	}
	for _, l := range old.listeners {
		if !slices.Contains(g.listeners, l) {
			s.retiring = append(s.retiring, l)
			if !l.shared {
				mode = protocol.DrainStop // nobody else will take what is in its queue
			}
		}
	}
	for _, l := range g.listeners {
		if !l.unit {
			l.backlog = 0 // it may be another now, and is with the next look
		}
	}
	for _, w := range s.workers {
		if w.gen != g {
			s.drain(w, mode, g.set.GracefulTimeout, causeReload)
		}
	}
	s.stats.reloaded(nil, s.clock.now())
	s.note(protocol.Event{Kind: "reloaded", Generation: g.number})
	s.log.Info("reloaded", "generation", g.number, "workers", s.target(s.set))
	if g.admin != nil {
		s.host.ServeAdmin(g.admin)
		g.admin = nil
	}
	s.followErrorLog(g.logs)
	s.files.do("writing the pid file and the like", func() { s.host.Serving(g.set, false) })
	s.notifyReloaded()
}

// served is called when the world has been told that the first generation serves.
func (s *supervisor) served() {
	if s.phase == phaseServing {
		s.host.Notify(daemon.SdNotifyReady)
		s.feed(s.clock.now(), s.clock.mono())
	}
}

// reloadEnded answers those who wait and begins the reload that was put off.
func (s *supervisor) reloadEnded(err error) {
	s.answerAll(&s.waiting, err)
	s.reloadAgain()
}

func (s *supervisor) reloadAgain() {
	if !s.again || s.reloading() || s.upgrading || s.phase != phaseServing {
		return
	}
	s.again = false
	s.waiting, s.waitAgain = s.waitAgain, nil
	s.reload(nil)
}
