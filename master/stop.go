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
	// bootLeave is how long a worker may take to leave that serves nobody yet.
	bootLeave = 2 * time.Second
	// quickLeave is how long a worker may take to leave at once.
	quickLeave = time.Second
)

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
		s.log.Debug("worker draining", "worker", w.number(), "pid", w.proc.PID(), "cause", string(why))
	case stateDraining:
		// It leaves already; only a shorter time is news.
		if d := now.Add(grace + graceMargin); d.Before(w.deadline) {
			w.deadline = d
			s.send(w, protocol.Message{Kind: protocol.KindDrain, Mode: mode, Grace: grace})
		}
	}
}

// stop is what a signal to stop does: the first ends gracefully unless quick,
// the second now.
func (s *supervisor) stop(quick bool) {
	s.stops++
	if quick || s.stops > 1 {
		s.log.Info("stopping at once")
		s.quickly()
		return
	}
	s.log.Info("stopping", "graceful_timeout", s.set.GracefulTimeout)
	if s.phase == phaseStarting && s.fatal == nil {
		s.fatal = errStoppedEarly
	}
	mode := protocol.DrainStop
	if s.upgraded {
		mode = protocol.DrainReplaced
	}
	s.leave(mode, s.set.GracefulTimeout)
}

// quickly ends all workers now. The kernel's answer to those that do not go is
// due at once if they were already told to.
func (s *supervisor) quickly() {
	if s.phase == phaseStarting && s.fatal == nil {
		s.fatal = errStoppedEarly
	}
	s.leave(protocol.DrainQuick, 0)
	latest := s.clock.now().Add(quickLeave)
	for _, w := range s.workers {
		if w.state == stateDraining && latest.Before(w.deadline) {
			w.deadline = latest
		}
	}
}

// leave begins to stop, or goes on with it in another mode.
func (s *supervisor) leave(mode protocol.DrainMode, grace time.Duration) {
	if s.phase != phaseStopping {
		s.phase = phaseStopping
		if s.managed() { // else the binary before us goes on, or the one after us
			s.host.Notify(daemon.SdNotifyStopping)
		}
		s.closeListeners()
		s.host.Stopping(s.upgraded)
		s.answerAll(&s.waiting, errStopping)
		s.answerAll(&s.waitAgain, errStopping)
		s.again = false
		s.endRestart(errStopping)
		if !s.upgraded {
			s.answerAll(&s.waitUpgrade, errStopping)
		}
		s.note(protocol.Event{Kind: "stopping"})
		if s.next != nil && s.next.admin != nil {
			s.host.DropAdmin(s.next.admin)
		}
		s.next = nil
	}
	for _, w := range s.workers {
		s.drain(w, mode, grace, causeStopped)
	}
}

// closeListeners gives up the master's copies, so that an address is free as
// soon as the last worker has emptied its queue.
func (s *supervisor) closeListeners() {
	var all []*listener
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
	for _, l := range all {
		// Another binary that serves needs the files of the sockets that we share.
		if !s.upgraded && !l.inherited {
			l.remove(s.log)
		}
		l.close()
	}
	for _, l := range s.retiring {
		if !slices.Contains(all, l) {
			l.retire(s.log)
		}
	}
	s.retiring = nil
}
