package master

import (
	"slices"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"hostler/protocol"
)

const (
	// graceMargin is what a worker gets beyond its own grace to finalise Python.
	graceMargin = 2 * time.Second
	// bootLeave is how long a worker may take to leave that serves nobody yet, and has not
	// said that it has to end what the application has begun (KindLeaving).
	bootLeave = 2 * time.Second
	// quickLeave is how long a worker may take to leave at once.
	quickLeave = time.Second
	// killTime is how long a process may take to end that has been killed. Longer
	// takes only what the kernel cannot interrupt.
	killTime = 2 * time.Second
	// repeatTime is how long a second SIGINT is the first one's echo: supervisors
	// and shells send it to the process and to its group.
	repeatTime = time.Second
)

// stopping is what a stop has to keep to. A whole stop is over within
// --graceful-timeout; whoever waits for it has no more patience than that.
type stopping struct {
	asked  time.Time // when the first signal came; zero: none has
	quick  bool      // at once
	byHand bool      // somebody has pressed Ctrl-C
	told   bool      // and was told what that waits for
	kill   time.Time // when workers are killed that are still there
	over   time.Time // when all should be over
	last   time.Time // when it is over, whoever is still there
}

// drain tells w to leave because of why.
func (s *supervisor) drain(w *worker, mode protocol.DrainMode, grace time.Duration, why cause) {
	now := s.clock.now()
	switch w.state {
	case stateBooting:
		w.leaving = why
		s.become(w, stateDraining)
		w.drained, w.deadline = now, now.Add(bootLeave)
		// While it imports the application nobody reads its control socket; but
		// it may become ready in this moment, and then its SIGTERM means to
		// drain.
		s.send(w, protocol.Message{Kind: protocol.KindDrain, Mode: mode, Grace: min(grace, bootLeave)})
		w.termed = true
		s.tell(w, syscall.SIGTERM)
	case stateServing:
		w.leaving = why
		s.noteWorker(w, protocol.Event{Kind: "worker_draining", Cause: string(why)})
		s.become(w, stateDraining)
		w.drained, w.deadline = now, now.Add(grace+graceMargin)
		s.send(w, protocol.Message{Kind: protocol.KindDrain, Mode: mode, Grace: grace})
		if w.deaf {
			s.tell(w, syscall.SIGTERM) // to one that serves this is the same
		}
		s.log.Debug("worker draining", "worker", w.number(), "pid", w.proc.PID(), "cause", string(why))
	case stateDraining:
		// It leaves already; only a shorter time is news.
		if d := now.Add(grace + graceMargin); d.Before(w.deadline) {
			w.deadline = d
			s.send(w, protocol.Message{Kind: protocol.KindDrain, Mode: mode, Grace: grace})
		}
	}
}

// stop is what SIGTERM and SIGINT do: it ends gracefully. A second one is no order
// to drop what runs, for it is nobody's deliberate word: supervisors signal a process
// and its group, and repeat themselves. The exception is who presses Ctrl-C again.
func (s *supervisor) stop(sig syscall.Signal) {
	now := s.clock.now()
	if !s.stopping.asked.IsZero() {
		if sig == syscall.SIGINT && now.Sub(s.stopping.asked) >= repeatTime {
			s.stopNow()
		} else {
			s.log.Debug("stopping already", "signal", sig.String())
		}
		return
	}
	s.stopping.asked, s.stopping.byHand = now, sig == syscall.SIGINT
	grace := s.set.GracefulTimeout
	s.log.Info("stopping", "graceful_timeout", grace)
	if s.phase == phaseStarting && s.fatal == nil {
		s.fatal = errStoppedEarly
	}
	mode := protocol.DrainStop
	if s.upgraded {
		mode = protocol.DrainReplaced
	}
	// What follows the requests needs some of the time: Python's end, ours.
	margin := min(graceMargin, grace/4)
	s.within(now.Add(grace-margin/4), now.Add(grace))
	s.leave(mode, grace-margin)
}

// stopNow is what SIGQUIT does.
func (s *supervisor) stopNow() {
	if s.stopping.asked.IsZero() {
		s.stopping.asked = s.clock.now()
	}
	s.log.Info("stopping at once")
	s.quickly()
}

// within makes a stop keep to these times, unless it has to be quicker.
func (s *supervisor) within(kill, over time.Time) {
	st := &s.stopping
	if st.over.IsZero() || over.Before(st.over) {
		st.kill, st.over, st.last = kill, over, over.Add(2*killTime)
	}
}

// quickly ends all workers now. The kernel's answer to those that do not go is
// due at once if they were already told to.
func (s *supervisor) quickly() {
	if s.phase == phaseStarting && s.fatal == nil {
		s.fatal = errStoppedEarly
	}
	s.stopping.quick = true
	latest := s.clock.now().Add(quickLeave)
	s.within(latest, latest)
	s.leave(protocol.DrainQuick, 0)
}

// checkStop ends a stop that something holds up which not even SIGKILL can end.
func (s *supervisor) checkStop(now time.Time) {
	if s.phase != phaseStopping || s.stopping.last.IsZero() || now.Before(s.stopping.last) {
		return
	}
	var pids []int
	for _, w := range s.workers {
		pids = append(pids, w.proc.PID())
	}
	for _, h := range s.helpers {
		pids = append(pids, h.proc.PID())
	}
	for pid := range s.molds {
		pids = append(pids, pid)
	}
	s.log.Error("leaving processes behind that do not end though they have been killed", "pids", pids)
	s.phase = phaseDone
}

// leave begins to stop, or goes on with it in another mode.
func (s *supervisor) leave(mode protocol.DrainMode, grace time.Duration) {
	if s.phase != phaseStopping {
		s.phase = phaseStopping
		if s.managed() { // else the binary before us goes on, or the one after us
			s.host.Notify(daemon.SdNotifyStopping)
		}
		s.endAddresses()
		s.endIssuing()
		s.answerAll(&s.waiting, errStopping)
		s.answerAll(&s.waitAgain, errStopping)
		s.again = false
		s.endRestart(errStopping)
		if !s.upgraded {
			s.answerAll(&s.waitUpgrade, errStopping)
		}
		s.note(protocol.Event{Kind: "stopping"})
	}
	s.canaryOver(canaryEnded)
	for _, w := range s.workers {
		s.drain(w, mode, grace, causeStopped)
		if kill := s.stopping.kill; !kill.IsZero() && w.state == stateDraining {
			w.deadline = minTime(w.deadline, kill)
		}
	}
	for _, g := range []*generation{s.current, s.next} {
		if g != nil {
			s.starter.Retire(g.number) // no worker will be started
		}
	}
	if s.next != nil {
		s.dropAdmin(s.next)
	}
	s.next, s.preparing = nil, nil
}

// dropAdmin gives up the admin address that g would have.
func (s *supervisor) dropAdmin(g *generation) {
	if a := g.admin; a != nil {
		g.admin = nil
		s.files.do("closing an address", func() { s.host.DropAdmin(a) })
	}
}

// endAddresses gives up the master's copies of the listening sockets, so that an
// address is free as soon as the last worker has emptied its queue.
func (s *supervisor) endAddresses() {
	var all, gone []*listener
	add := func(ls []*listener) {
		for _, l := range ls {
			if !slices.Contains(all, l) {
				all = append(all, l)
			}
		}
	}
	if s.current != nil {
		add(s.current.listeners)
	}
	if s.next != nil {
		add(s.next.listeners)
	}
	if s.upgraded { // the other binary has these, too, and may need them
		add(s.retiring)
		s.retiring = nil
	}
	for _, l := range s.retiring {
		if !slices.Contains(all, l) {
			gone = append(gone, l)
		}
	}
	s.retiring = nil
	upgraded := s.upgraded
	s.files.do("closing all addresses", func() {
		// An upgrade may have ended well, and we have not heard of it yet.
		upgraded := s.host.Stopping(upgraded)
		for _, l := range all {
			// Another binary that serves needs the files of the sockets that we share.
			if !upgraded && !l.inherited {
				l.remove(s.log)
			}
			l.close()
		}
		for _, l := range gone {
			if upgraded {
				l.close()
			} else {
				l.retire(s.log)
			}
		}
	})
}
