package master

import (
	"slices"
	"time"

	"hostler/protocol"
)

// What nobody else would notice, and so is looked for while the server serves:
// workers that give no sign of life, sockets that nobody can accept from any more,
// an exchange that has come to its end. Whoever has a socket can shut it down for
// all, and workers run the application.

const (
	// lookEvery is how often that is.
	lookEvery = time.Second
	// frozenAfter is how long a worker may be silent until it does not count as
	// serving. It gives a sign of life four times a second; a machine may be busy.
	frozenAfter = 3 * time.Second
	// mendSeldom is the longest pause between two attempts to mend the same thing,
	// and for how long it has to last to count as mended.
	mendSeldom = time.Minute
)

// mending paces attempts: what is broken again and again is mended ever less often,
// and so the log has little of it.
type mending struct {
	next  time.Time
	pause time.Duration
}

// due reports whether to try now.
func (m *mending) due(now time.Time) bool {
	if now.Before(m.next) {
		return false
	}
	if now.Sub(m.next) > mendSeldom {
		m.pause = 0
	}
	m.pause = min(max(2*m.pause, lookEvery), mendSeldom)
	m.next = now.Add(m.pause)
	return true
}

// look looks for all of it.
func (s *supervisor) look(now time.Time) {
	if s.phase != phaseServing || now.Before(s.looked.Add(lookEvery)) {
		return
	}
	// A master that was itself stopped, with its workers perhaps, has seen nothing of
	// what they did meanwhile.
	elapsed := min(now.Sub(s.looked), 2*lookEvery)
	s.looked = now
	for _, w := range s.workers {
		s.checkLife(w, elapsed)
		if w.owed && w.state == stateServing {
			w.owed = false
			s.giveExchange(w)
			s.giveListeners(w)
			s.giveTrial(w)
		}
	}
	for _, f := range s.logs {
		f.straighten()
	}
	if s.upgrading || s.preparing != nil { // somebody else looks at the same sockets
		return
	}
	s.checkExchange(now)
	for _, l := range s.listeners() {
		s.checkListener(l, now)
	}
}

// listeners are those of the generation that serves, and of the one that boots.
func (s *supervisor) listeners() []*listener {
	all := s.current.listeners
	if s.next != nil {
		all = append(all[:len(all):len(all)], s.next.opened...)
	}
	return all
}

// checkLife notices a worker that gives no sign of life: one that is stopped, by a
// signal or a debugger, or waits for a disk with all it has. (One whose application
// hangs, with the GIL or without, is well in this sense: that is checkStuck's.) It
// serves nobody, and is killed when it has been silent for as long as a request may
// take; without such a limit it stays, for somebody may be looking into it.
func (s *supervisor) checkLife(w *worker, elapsed time.Duration) {
	if w.state != stateServing {
		return // booting and draining have time limits of their own
	}
	if beat := w.board.Gauges.Heartbeat.Load(); beat != w.beat || beat == 0 {
		w.beat, w.silent = beat, 0
		if w.frozen {
			w.frozen = false
			s.log.Info("a worker that gave no sign of life goes on", "worker", w.number(), "pid", w.proc.PID())
			s.noteWorker(w, protocol.Event{Kind: "worker_thawed"})
		}
		return
	}
	w.silent += elapsed
	limit := w.gen.set.Timeout
	attrs := []any{"worker", w.number(), "pid", w.proc.PID(), "silent_for", w.silent.Round(time.Second), "timeout", limit}
	if !w.frozen && w.silent >= frozenAfter {
		w.frozen = true
		why := "what happens to it then is up to --timeout"
		if limit <= 0 {
			why = "it stays as it is, since --timeout is 0"
		}
		if s.host.Stopped(w.proc.PID()) {
			why = "it is stopped, by a signal or a debugger; " + why
		}
		s.log.Error("a worker gives no sign of life and serves nobody", append(attrs, "reason", why)...)
		s.noteWorker(w, protocol.Event{Kind: "worker_frozen", Text: why})
	}
	if w.frozen && limit > 0 && w.silent >= limit {
		s.log.Error("a worker has given no sign of life for longer than a request may take; killing it", attrs...)
		s.want(w, string(causeFrozen))
		w.leaving = causeFrozen
		s.kill(w)
	}
}

// checkExchange makes another exchange in the place of one that has ended, or that a
// worker has spoiled, and gives it to the workers: until then no connection moves.
func (s *supervisor) checkExchange(now time.Time) {
	why := s.host.ExchangeEnded()
	if why == "" || !s.mendExchange.due(now) {
		return
	}
	ends, err := s.host.NewExchange()
	if err != nil {
		s.log.Error("connections do not move between workers: the exchange has ended, and there is no other", "reason", why, "error", err)
		return
	}
	s.exchange = &ends
	s.log.Error("the exchange of connections had ended; another is in its place", "reason", why)
	s.note(protocol.Event{Kind: "exchange_mended"})
	for _, w := range s.workers {
		if w.state != stateKilled {
			s.giveExchange(w)
		}
	}
}

// giveExchange gives w the exchange of today, if it is not the one that all had from
// their start.
func (s *supervisor) giveExchange(w *worker) {
	if s.exchange == nil {
		return
	}
	s.sendFile(w, protocol.FDHandOut, s.exchange[0])
	s.sendFile(w, protocol.FDHandIn, s.exchangeIn(w))
}

// checkListener has a listening socket looked at, apart.
func (s *supervisor) checkListener(l *listener, now time.Time) {
	if !l.busy.IsZero() {
		if !l.stuck && now.Sub(l.busy) >= frozenAfter {
			l.stuck, l.dead = true, true
			s.log.Error("a listening socket does not answer its owner; a worker may hold it up, so replace them: hostler ctl restart", "address", l.String(), "after", now.Sub(l.busy))
		}
		return
	}
	l.busy = now
	examine := s.host.Examine(l, s.backlogOf(l))
	s.apart(func() func() {
		e := examine()
		return func() { s.examined(l, e) }
	})
}

// backlogOf is how long l's queue should be; 0: as it is.
func (s *supervisor) backlogOf(l *listener) int {
	if l.unit {
		return l.backlog // what it was at first
	}
	return s.set.Backlog
}

// examined has a socket mended that somebody has shut down, or has changed so that it is
// of no use to clients.
func (s *supervisor) examined(l *listener, e examined) {
	l.busy, l.stuck = time.Time{}, false
	if s.phase != phaseServing || !slices.Contains(s.listeners(), l) {
		return
	}
	l.queue = e.queue
	l.dead = e.shut || e.spoiled != ""
	now := s.clock.now()
	if e.backlog > 0 {
		if e.queue.known && l.backlog > 0 && e.queue.limit != l.backlog {
			s.mended(l, "a worker had changed the length of a listen queue; it is as it was")
		}
		l.backlog, l.queue.limit = e.backlog, e.backlog
	}
	if !l.dead || !l.mending.due(now) {
		return
	}
	what := "a worker had shut down a listening socket; it is open again"
	if e.spoiled != "" {
		what = "a worker had set options on a listening socket; another is in its place"
	}
	mend := s.host.Mend(l, e.spoiled != "", s.backlogOf(l))
	l.busy = now
	s.apart(func() func() {
		other, err := mend()
		return func() {
			l.busy = time.Time{}
			s.mend(l, other, err, what, e.spoiled)
		}
	})
}

// mend puts a socket in the place of l's, if it is to be another.
func (s *supervisor) mend(l, other *listener, err error, what, spoiled string) {
	if s.phase != phaseServing || !slices.Contains(s.listeners(), l) {
		if other != nil {
			s.files.do("closing an address", other.drop)
		}
		return
	}
	if err == nil && other != nil {
		err = s.host.Become(l, other)
	}
	if err != nil {
		s.log.Error("nobody can connect, or not everybody: a worker has shut down a listening socket, or set options on it, and it cannot be opened again", "address", l.String(), "options", spoiled, "error", err)
		return
	}
	l.dead = false
	s.mended(l, what, "options", spoiled)
	if other == nil {
		return // it is the same for all who have it
	}
	for _, w := range s.workers {
		if w.state == stateBooting || w.state == stateServing {
			s.giveListeners(w)
		}
	}
}

func (s *supervisor) mended(l *listener, what string, attrs ...any) {
	s.log.Error(what, append([]any{"address", l.String()}, attrs...)...)
	s.note(protocol.Event{Kind: "listener_mended", Text: l.String()})
}

// giveListeners gives w the sockets that are others than those it was started with,
// or than those its mold was.
func (s *supervisor) giveListeners(w *worker) {
	for i, l := range w.gen.listeners {
		if l.fresh {
			s.sendFile(w, protocol.FDListeners+i, l.fd)
		}
	}
}

// sendFile has w put another file in the place of one of its descriptors.
func (s *supervisor) sendFile(w *worker, number, fd int) {
	m := protocol.Message{Kind: protocol.KindDescriptor, Number: number}
	if err := w.proc.SendFile(m, fd); err != nil {
		w.owed = true // it does not read just now, and will be sent it again
		s.log.Debug("a worker did not take a descriptor", "worker", w.number(), "number", number, "error", err)
	}
}

// unfit replaces a worker that cannot do its work any more, as it says, or as its
// silence says.
func (s *supervisor) unfit(w *worker, why string) {
	if w.state != stateServing || w.condemned != "" {
		return
	}
	s.log.Error("a worker cannot go on; it will be replaced", "worker", w.number(), "pid", w.proc.PID(), "reason", cut(why, maxReason))
	w.condemned = causeUnfit
	s.want(w, string(causeUnfit))
}

// maxReason bounds what a worker's word takes of the log.
const maxReason = 500
