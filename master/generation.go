package master

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

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
	g.logs.version = 1
	s.logs = append(s.logs, g.logs)
	if g.set.Hooks == "" {
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
	g := s.next
	s.next = nil
	if g != nil {
		s.endHelper(g.helper)
		s.starter.Retire(g.number)
	}
	s.stats.reloaded(false, s.clock.now())
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
		s.phase = phaseServing
		for _, l := range g.listeners {
			l.inherited = false // the binary before us leaves now
		}
		s.stats.reloadOK = true
		s.note(protocol.Event{Kind: "serving", Generation: g.number})
		s.log.Info("serving", "app", s.set.title(), "workers", s.target(s.set), "threads", s.set.Threads,
			"listening", joinBinds(g.listeners), "python", g.python)
		// The binary before us ends as soon as it hears that we serve: the manager
		// has to know first whom to look after.
		s.host.Notify(fmt.Sprintf("MAINPID=%d", os.Getpid()))
		s.files.do("writing the pid file and the like", func() {
			s.host.Serving(g.set, true)
			s.post(thenEvent{s.served})
		})
		s.reloadEnded(nil)
		return
	}
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
		if err := l.setBacklog(g.set.Backlog); err != nil {
			s.log.Warn("cannot change the backlog", "address", l.String(), "error", err)
		}
	}
	for _, w := range s.workers {
		if w.gen != g {
			s.drain(w, mode, g.set.GracefulTimeout, causeReload)
		}
	}
	s.stats.reloaded(true, s.clock.now())
	s.note(protocol.Event{Kind: "reloaded", Generation: g.number})
	s.log.Info("reloaded", "generation", g.number, "workers", s.target(s.set))
	if g.admin != nil {
		s.host.ServeAdmin(g.admin)
		g.admin = nil
	}
	s.followErrorLog(g.logs)
	s.files.do("writing the pid file and the like", func() { s.host.Serving(g.set, false) })
	s.notifyReloaded()
	s.reloadEnded(nil)
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

// reconcile makes the workers what they should be. It runs after every event
// and is the only place where workers are started.
func (s *supervisor) reconcile() {
	s.retire()
	s.closeCertificates()
	s.closeLogs()
	defer s.handLogs()
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
	if ready >= want {
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
	spare := want - ready
	for i := len(s.workers) - 1; i >= 0; i-- {
		w := s.workers[i]
		if w.gen != g || w.state != stateServing || w.condemned == "" {
			continue
		}
		if spare > 0 {
			spare--
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
	cfg.Listeners = g.listenerInfos()
	cfg.InternalEnv, cfg.MasterPID = g.internal, os.Getpid()
	if g.page != "" {
		cfg.Page, cfg.Preload = g.page, false
	}
	if s.level != "" {
		cfg.LogLevel = s.level
	}
	s.ids++
	w := &worker{id: s.ids, slot: slot, gen: g, board: s.board.Slot(slot), state: stateBooting,
		why: why, quiet: s.crashes.tries > 0,
		started: s.clock.now(), maxRequests: limit, late: make(map[int]late), stuck: make(map[int]int64), slow: make(map[int]slowSeen)}
	if age := g.set.MaxAge; age > 0 {
		w.oldAt = w.started.Add(jittered(g.set, age))
	}
	w.maxMemory = jittered(g.set, g.set.MaxMemory)
	// The worker may write to its slot before Start returns.
	w.board.Assign(uint32(g.number), g.set.Threads)
	spec := processSpec{python: g.python, dir: g.set.dir, config: cfg, env: g.env, identity: g.identity, listeners: g.fds(), secrets: g.certs.fd(), errors: g.logs.errors.fd}
	proc, err := s.starter.Start(spec, func(r report) { s.post(workerEvent{w.id, r}) })
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
	s.profileLost(w)
	s.become(w, stateGone)
	w.proc.Close()
	s.workers = slices.DeleteFunc(s.workers, func(o *worker) bool { return o == w })
}

func (s *supervisor) workerSaid(w *worker, m protocol.Message) {
	switch m.Kind {
	case protocol.KindReady:
		if w.state != stateBooting {
			s.readyTooLate(w)
			return
		}
		s.become(w, stateServing)
		w.ready = s.clock.now()
		w.board.PID.Store(int64(w.proc.PID()))
		s.log.Info("worker ready", "worker", w.number(), "pid", w.proc.PID(), "generation", w.gen.number,
			"after", w.ready.Sub(w.started).Round(time.Millisecond))
		if w.quiet {
			s.noteWorker(w, protocol.Event{Kind: "worker_started", Text: w.why})
		}
		s.noteWorker(w, protocol.Event{Kind: "worker_ready"})
		s.giveExchange(w)
		s.giveListeners(w)
		s.showPage(w)
	case protocol.KindModules:
		s.reported(w, m.Text)
	case protocol.KindBootFailed:
		w.bootError = w.gen.set.asWhom(m.Text)
		if w.state == stateBooting {
			w.leaving = causeBootFailed
			s.become(w, stateDraining)
			w.deadline = s.clock.now().Add(bootLeave)
			s.bootFailed(w, bootReason(w.bootError))
		}
	case protocol.KindSlow:
		s.slowReported(w, m.Text)
	case protocol.KindUnfit:
		s.unfit(w, m.Text)
	case protocol.KindProfiled:
		s.profileCame(w, m.Text)
	case protocol.KindDrained:
		w.finished = true
		s.log.Debug("worker has nothing left to do", "worker", w.number(), "pid", w.proc.PID())
	}
}

// readyTooLate is called when w, told to leave while it booted, got ready in the
// same moment. It may have taken connections, so it has the time of a worker
// that serves.
func (s *supervisor) readyTooLate(w *worker) {
	if w.state != stateDraining || !w.termed {
		return
	}
	grace := w.gen.set.GracefulTimeout
	w.ready, w.deadline = s.clock.now(), w.drained.Add(grace+graceMargin)
	if kill := s.stopping.kill; !kill.IsZero() {
		w.deadline = minTime(w.deadline, kill)
		grace = min(grace, kill.Sub(w.ready))
	}
	s.send(w, protocol.Message{Kind: protocol.KindDrain, Mode: protocol.DrainReplaced, Grace: grace})
}

func joinBinds(ls []*listener) string {
	names := make([]string, len(ls))
	for i, l := range ls {
		names[i] = l.String()
		if l.Network == "tcp" && l.info.Port != "" {
			if h, p, ok := cutPort(l.Address); ok && p == "0" {
				names[i] = h + ":" + l.info.Port
			}
		}
	}
	return strings.Join(names, " ")
}

func cutPort(addr string) (host, port string, ok bool) {
	i := strings.LastIndexByte(addr, ':')
	if i < 0 {
		return addr, "", false
	}
	return addr[:i], addr[i+1:], true
}

// upgrade starts another binary in this one's place. The error says why it
// cannot be begun; how it ends is told to waitUpgrade.
func (s *supervisor) upgrade() error {
	why := ""
	switch {
	case s.phase != phaseServing:
		why = "the server is starting or stopping"
	case s.reloading():
		why = "a reload is under way"
	case s.upgrading:
		why = "an upgrade is under way"
	case s.first:
		why = "this is process 1, and the new binary would end with it; replace the container"
	}
	if why != "" {
		err := errors.New("cannot upgrade now: " + why)
		s.log.Error(err.Error())
		return err
	}
	replace, err := s.host.Upgrade(s.carryScale(), slices.Concat(s.retiring, s.current.listeners))
	if err != nil {
		s.log.Error("cannot upgrade", "error", err)
		return err
	}
	s.upgrading = true
	s.note(protocol.Event{Kind: "upgrade_started"})
	s.log.Info("upgrading: starting the new binary")
	go func() { s.post(upgradeEvent{replace()}) }()
	return nil
}

func (s *supervisor) upgradeEnded(err error) {
	s.upgrading = false
	s.answerAll(&s.waitUpgrade, err)
	if err != nil {
		s.stats.upgrades["failure"]++
		s.note(protocol.Event{Kind: "upgrade_failed", Text: err.Error()})
		if s.phase == phaseServing {
			s.log.Error("the upgrade failed; this binary serves on", "error", err)
		}
		s.reloadAgain()
		return
	}
	s.stats.upgrades["success"]++
	s.upgraded = true
	s.note(protocol.Event{Kind: "upgraded", Text: "another binary serves"})
	s.log.Info("the new binary serves; leaving")
	// With time for Python's end and for a hook, since nobody waits for it.
	kill := s.clock.now().Add(s.set.GracefulTimeout + graceMargin)
	s.within(kill, kill.Add(hookLeave))
	s.leave(protocol.DrainReplaced, s.set.GracefulTimeout)
}
