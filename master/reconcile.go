package master

import (
	"errors"
	"math/rand/v2"
	"os"
	"slices"

	"hostler/master/spawn"
	"hostler/protocol"
)

// reconcile makes the workers what they should be. It runs after every event
// and is the only place where workers are started.
func (s *supervisor) reconcile() {
	s.retire()
	s.closeCertificates()
	s.closeLogs()
	s.closeSpans()
	s.closeErrorPages()
	defer s.handLogs()
	defer s.handSpans()
	if s.phase == phaseStopping {
		s.end()
		return
	}
	for s.next != nil {
		g := s.next
		s.bootNext()
		if s.next == g { // else it has ended, and another may have begun
			break
		}
	}
	if s.current != nil && s.phase == phaseServing {
		s.keepUp()
		if s.roll() {
			s.keepUp()
		}
	}
	if s.phase == phaseStopping {
		s.end()
	}
}

// end ends it all when nobody is left.
func (s *supervisor) end() {
	// The hooks hear of the molds' end, too.
	if len(s.workers) == 0 && (len(s.molds) == 0 || s.stopping.last.IsZero()) && s.endHelpers() {
		s.phase = phaseDone
	}
}

// bootNext starts the next generation's workers and commits when all are ready.
func (s *supervisor) bootNext() {
	g, want := s.next, s.target(s.next.set)
	if g.waitsForHook() {
		return
	}
	if why := s.unwell(); why != "" {
		s.goBack(why)
		return
	}
	first := s.canaries(g)
	if first > 0 {
		want = first
	}
	live, ready := s.count(g)
	for ; live < want; live++ {
		if err := s.start(g, "new generation"); err != nil {
			s.abandon(err)
			return
		}
	}
	if live > want {
		s.shrink(g, live-want)
		_, ready = s.count(g)
	}
	switch {
	case ready < want:
	case first > 0 && s.trial == nil:
		s.try(g)
	case first == 0:
		s.commit()
	}
}

// keepUp replaces the current generation's dead and condemned workers.
func (s *supervisor) keepUp() {
	g, want := s.current, s.target(s.current.set)
	now := s.clock.now()
	live, ready := s.count(g)
	for ; live < want && !s.backoff.wait(now); live++ {
		if err := s.start(g, s.wanted()); err != nil {
			s.startFailed(err.Error(), err.Error())
			s.endRestart(err)
		}
	}
	if live >= want {
		s.lost = nil
	}
	if live > want {
		s.shrink(g, live-want)
		_, ready = s.count(g)
	}
	// A condemned worker stays until there are enough without it.
	missing := want - ready
	for i := len(s.workers) - 1; i >= 0; i-- {
		w := s.workers[i]
		if w.gen != g || w.state != stateServing || w.condemned == "" {
			continue
		}
		if missing > 0 {
			missing--
			continue
		}
		s.drain(w, protocol.DrainReplaced, g.set.GracefulTimeout, w.condemned)
	}
}

func (s *supervisor) count(g *generation) (live, ready int) {
	for _, w := range s.workers {
		if w.gen == g && w.live() {
			live++
			if w.state == stateServing {
				ready++
			}
		}
	}
	return live, ready
}

// shrink drains n workers of g: those that boot first, then the latest.
func (s *supervisor) shrink(g *generation, n int) {
	for _, state := range []workerState{stateBooting, stateServing} {
		for i := len(s.workers) - 1; i >= 0 && n > 0; i-- {
			if w := s.workers[i]; w.gen == g && w.live() && w.state == state {
				s.drain(w, protocol.DrainReplaced, g.set.GracefulTimeout, causeScaleDown)
				n--
			}
		}
	}
}

// retire closes listeners that no settings name any more, once the workers that
// had them are gone.
func (s *supervisor) retire() {
	if s.preparing != nil || s.upgrading {
		return // somebody may want one back
	}
	s.retiring = slices.DeleteFunc(s.retiring, func(l *listener) bool {
		for _, w := range s.workers {
			if slices.Contains(w.gen.listeners, l) {
				return false
			}
		}
		s.files.do("closing an address", func() { l.retire(s.log) })
		return true
	})
}

var errNoSlot = errors.New("cannot start a worker: all slots are taken by workers that are still leaving")

// start starts a worker of g in the lowest free slot. Why is for the journal.
func (s *supervisor) start(g *generation, why string) error {
	slot := slices.Index(s.taken[:], false)
	if slot < 0 {
		return errNoSlot
	}
	limit := g.set.MaxRequests
	if limit > 0 && g.set.MaxRequestsJitter > 0 {
		limit += rand.IntN(g.set.MaxRequestsJitter + 1)
	} else {
		limit = jittered(g.set, limit)
	}
	cfg := g.set.workerConfig(s.stats.version, slot, g.number, max(s.target(g.set), g.set.MaxWorkers), limit)
	cfg.Canary = g == s.next && s.canaries(g) > 0
	cfg.Listeners = g.listenerInfos()
	cfg.InternalEnv, cfg.MasterPID = g.internal, os.Getpid()
	if g.page != "" {
		cfg.Page, cfg.Preload = g.page, false
	}
	if s.level != "" {
		cfg.LogLevel = s.level
	}
	s.ids++
	w := &worker{id: s.ids, slot: slot, gen: g, board: s.board.Slot(slot), state: stateBooting, canary: cfg.Canary,
		why: why, quiet: s.crashes.tries > 0,
		started: s.clock.now(), maxRequests: limit, late: make(map[int]late), stuck: make(map[int]int64), slow: make(map[int]slowSeen)}
	if age := g.set.MaxAge; age > 0 {
		w.oldAt = w.started.Add(jittered(g.set, age))
	}
	w.maxMemory = jittered(g.set, g.set.MaxMemory)
	s.preFork(g, slot)
	// The worker may write to its slot before Start returns.
	w.board.Assign(uint32(g.number), g.set.Threads)
	spec := spawn.Spec{Python: g.python, Dir: g.set.dir, Config: cfg, Env: g.env, Identity: g.identity, Listeners: g.fds(), Secrets: g.certs.fd(), Pages: g.pages.fd(), Errors: g.logs.errors.fd}
	proc, err := s.starter.Start(spec, func(r spawn.Report) { s.post(workerEvent{w.id, r}) })
	if err != nil {
		w.board.Free()
		return g.set.startError(err)
	}
	w.proc = proc
	if g.certs != nil {
		w.certs = g.certs.version
	}
	if g.set.BootTimeout > 0 {
		w.deadline = w.started.Add(g.set.BootTimeout)
	}
	s.taken[slot] = true
	s.workers = append(s.workers, w)
	if proc.PID() != 0 {
		s.began(w)
	}
	return nil
}

// began is called when w's process is there.
func (s *supervisor) began(w *worker) {
	w.board.PID.Store(int64(w.proc.PID()))
	s.log.Debug("worker started", "worker", w.number(), "pid", w.proc.PID(), "generation", w.gen.number)
	if !w.quiet {
		s.noteWorker(w, protocol.Event{Kind: "worker_started", Text: w.why})
	}
}

// startRefused is called when w could not be started: there never was a process.
func (s *supervisor) startRefused(w *worker, err error) {
	err = w.gen.set.startError(err)
	wanted := w.leaving == ""
	s.remove(w)
	switch {
	case !wanted || s.phase == phaseStopping:
	case w.gen == s.next:
		s.abandon(err)
	case w.gen == s.current:
		s.startFailed(err.Error(), err.Error())
		s.endRestart(err)
	}
}

// remove forgets w, whose process is gone.
func (s *supervisor) remove(w *worker) {
	s.unwatch(w)
	s.profileLost(w)
	s.dumpEnded(w)
	s.collected(w)
	if w.spansEnd != nil {
		w.spansEnd()
	}
	s.become(w, stateGone)
	w.proc.Close()
	s.workers = slices.DeleteFunc(s.workers, func(o *worker) bool { return o == w })
}
