package spawn

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"hostler/protocol"
)

const (
	// moldRest is the least time between two molds of a generation. It doubles, up
	// to moldRestMost, while they die before they are moldProven old.
	moldRest     = time.Second
	moldRestMost = 30 * time.Second
	moldProven   = time.Minute
	// forkTime is what a mold has to fork a worker in. Handlers that it has to run
	// before may wait for threads; the fork of a large process takes a while, too.
	forkTime = 10 * time.Second
	// moldLeave is what a mold gets to leave.
	moldLeave = time.Second
	// moldFails is for how long, and moldFailures how often in a row, no worker that was
	// asked for becomes ready until it is the mold that is taken to be of no use any more:
	// whoever is its user can lower its limits.
	moldFails    = 5 * time.Second
	moldFailures = 3
)

// mold is a process that has imported the application and forks workers. It
// belongs to one generation. Workers are forked one after the other; those asked
// for before the mold is ready wait for it, and share its fate if it cannot boot.
//
// A forked worker is nobody's child until the kernel, for its real parent leaves
// at once, makes it ours: we are the nearest subreaper.
//
// The mold runs the application, so nothing that it says is believed: which process
// a worker is is known from the kernel (child.awaitName), and a mold that does not
// do its part in time is given up.
type mold struct {
	s          *Spawner
	spec       Spec
	generation int

	mu       sync.Mutex
	proc     *child // nil: there is none
	phase    moldPhase
	retired  bool        // no worker is wanted of it any more
	asked    *forkling   // has been sent to the mold, no answer yet
	patience *time.Timer // ends it
	queue    []*forkling // wait for their turn
	reason   string      // why it did not boot
	begun    time.Time
	deaths   int       // in a row, of molds that were not old
	said     bool      // that it says what it should not
	aborted  bool      // it has been sent SIGABRT
	failures int       // of workers, in a row
	failing  time.Time // since the first of them
}

type moldPhase int

const (
	moldBoots moldPhase = iota
	moldReady
	moldGivenUp // it is being killed
)

// MoldEvent is that a mold has begun, or has ended.
type MoldEvent struct {
	Generation, PID int
	Gone            bool
	Retired         bool // it was told to leave
	Status          syscall.WaitStatus
}

// forkling is a worker that is not forked yet.
type forkling struct {
	child  *child
	config string
	theirs []int // what travels with its settings: its end of the control socket, its FDSecrets
	to     func(Report)
}

// startForked asks the mold of the worker's generation for it, and starts the
// mold if there is none.
func (s *Spawner) startForked(spec Spec, to func(Report)) (Process, error) {
	arg, err := spec.Config.Encode()
	if err != nil {
		return nil, err
	}
	m, err := s.moldFor(spec)
	if err != nil {
		return nil, err
	}
	secrets := spec.Secrets
	if secrets < 0 {
		secrets = RawFD(s.stdin)
	}
	// A copy: by its turn there may be other certificates.
	if secrets, err = unix.FcntlInt(uintptr(secrets), unix.F_DUPFD_CLOEXEC, 10); err != nil {
		return nil, fmt.Errorf("cannot start a worker: %w", err)
	}
	c, theirs, err := s.newChild(spec.Config)
	if err != nil {
		unix.Close(secrets)
		return nil, err
	}
	f := &forkling{c, arg, []int{theirs, secrets}, to}
	c.told = func() { m.unwanted(f) }
	c.named = func(pid int) error { return s.adopt(c, pid) }
	go c.listen(s.log, m.watching(to))
	m.mu.Lock()
	defer m.mu.Unlock()
	m.queue = append(m.queue, f)
	m.next()
	return c, nil
}

// watching is to for a worker of the mold's, of which the mold is to know how it has fared.
func (m *mold) watching(to func(Report)) func(Report) {
	ready := false
	return func(r Report) {
		to(r)
		if r.Message.Kind == protocol.KindReady {
			ready = true
			m.fared(true)
		}
		left := r.Status.Exited() && r.Status.ExitStatus() == 0 || r.Status.Signaled() && r.Status.Signal() == syscall.SIGTERM
		if r.Exited && !ready && !left {
			m.fared(false)
		}
	}
}

// fared is called when a worker has become ready, or never will.
func (m *mold) fared(well bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.phase != moldReady || m.retired {
		return
	}
	if well {
		m.failures = 0
		return
	}
	if m.failures == 0 {
		m.failing = time.Now()
	}
	m.failures++
	if d := time.Since(m.failing); d >= moldFails && m.failures >= moldFailures {
		m.giveUp(fmt.Sprintf("none of the last %d workers that were asked of it, in %v, has become ready", m.failures, d.Round(time.Second)))
	}
}

// adopt makes pid the process of c, a forked worker which has said that it is there.
// The kernel says that it is the one that has; it may still be any process of the
// mold's making. It has to be our child, or we could signal what took its number
// later, and it must not be known as somebody else.
func (s *Spawner) adopt(c *child, pid int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kids[pid] != nil {
		return fmt.Errorf("process %d is there already, as another one", pid)
	}
	if isOurs(pid) { // whoever had the number before
		s.add(c, pid)
		return nil
	}
	e, gone := s.stranger(pid)
	if !gone {
		return fmt.Errorf("process %d is not our child", pid)
	}
	if c.begin(pid) {
		c.end(e)
	}
	return nil
}

// unwanted is called when a worker that is not forked yet has been sent a signal.
// One that waits for its turn ends here and now. SIGABRT says that it takes too
// long: then the mold's tracebacks are what people need.
func (m *mold) unwanted(f *forkling) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f.child.signalled() == syscall.SIGABRT && m.proc != nil {
		switch {
		case m.asked == f:
			m.giveUp("it does not fork a worker in time")
			return
		case m.phase == moldBoots:
			m.abort()
			return
		}
	}
	if i := slices.Index(m.queue, f); i >= 0 {
		m.queue = slices.Delete(m.queue, i, i+1)
		f.ends(ending{status: syscall.WaitStatus(f.child.signalled())})
	}
}

// abort has the mold write its threads' tracebacks, and end. A second signal would
// cut them short.
func (m *mold) abort() {
	if !m.aborted {
		m.aborted = true
		_ = m.proc.Signal(syscall.SIGABRT) // faulthandler's
	}
}

func (s *Spawner) moldFor(spec Spec) (*mold, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.adoptOrphans(); err != nil {
		return nil, fmt.Errorf("cannot become the parent of forked workers: %w", err)
	}
	generation := spec.Config.Generation
	if m := s.molds[generation]; m != nil {
		return m, nil
	}
	cfg := *spec.Config
	cfg.Mold = true
	spec.Config = &cfg
	spec.Secrets = -1 // each worker gets those of its time
	m := &mold{s: s, spec: spec, generation: generation}
	s.molds[generation] = m
	// Not here, with the lock.
	go m.start()
	return m, nil
}

// start starts the mold's process.
func (m *mold) start() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.retired {
		return
	}
	m.phase, m.reason, m.said, m.aborted, m.failures, m.begun = moldBoots, "", false, false, 0, time.Now()
	proc, err := m.s.startFresh(m.spec, m.heard)
	if err != nil {
		m.fail(err.Error())
		m.s.forget(m)
		return
	}
	m.proc = proc
}

// heard takes what is reported of the mold. What that means for others is told
// to them by goroutines of theirs, without our lock.
func (m *mold) heard(r Report) {
	switch {
	case r.Begun:
		m.s.log.Debug("mold started", "pid", m.pid(), "generation", m.generation)
		m.tell(MoldEvent{Generation: m.generation, PID: m.pid()})
	case r.Exited:
		m.tell(m.exited(r))
	case r.Deaf:
		m.mu.Lock()
		proc := m.proc
		m.mu.Unlock()
		time.AfterFunc(moldLeave, func() { m.isDeaf(proc) }) // it is about to end, as a rule
	case r.Message.Kind == protocol.KindModules:
		if to := m.spokenFor(); to != nil {
			to(r)
		}
	default:
		m.hear(r)
	}
}

// spokenFor returns where to report the modules that it has imported: it speaks
// for those that it will be forked for.
func (m *mold) spokenFor() func(Report) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.queue) == 0 {
		return nil
	}
	return m.queue[0].to
}

func (m *mold) pid() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.proc == nil {
		return 0
	}
	return m.proc.PID()
}

func (m *mold) tell(ev MoldEvent) {
	if m.s.Molded != nil && ev.PID != 0 {
		m.s.Molded(ev)
	}
}

// isDeaf is called when proc has closed its control socket, and should have ended.
func (m *mold) isDeaf(proc *child) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.proc == proc && proc != nil && !proc.hasEnded() {
		m.giveUp("it has closed its control socket")
	}
}

// hear takes the mold's messages.
func (m *mold) hear(r Report) {
	m.mu.Lock()
	defer m.mu.Unlock()
	kind := r.Message.Kind
	switch {
	case m.phase == moldGivenUp:
	case kind == protocol.KindMetrics: // they have been taken
	case kind == protocol.KindReady && m.phase == moldBoots:
		m.phase = moldReady
		m.s.log.Info("mold ready", "pid", m.proc.PID(), "generation", m.generation, "after", time.Since(m.begun).Round(time.Millisecond))
		m.next()
	case kind == protocol.KindBootFailed && m.phase == moldBoots:
		m.reason = r.Message.Text
	case kind == protocol.KindForked && m.asked != nil:
		m.answered(r.Message.Text)
	case !m.said:
		m.said = true
		m.s.log.Error("a mold sent a message that nobody asked for; such messages are ignored", "pid", m.proc.PID(), "kind", string(rune(kind)))
	}
}

// answered takes the mold's answer to a request: the worker has been forked, or
// there is a reason why not. The worker itself says which process it is.
func (m *mold) answered(why string) {
	f := m.asked
	m.asked = nil
	m.patience.Stop()
	if why != "" {
		f.fail("the process to fork it from says: " + why)
	} else if f.child.PID() == 0 && !f.child.hasEnded() {
		m.patience = time.AfterFunc(forkTime, func() { m.missed(f) })
	}
	m.next()
}

// missed is called when it is about time that f were there.
func (m *mold) missed(f *forkling) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f.child.PID() == 0 && !f.child.hasEnded() {
		f.fail("the process to fork it from says that it has, but there is nobody")
		m.giveUp("it does not fork what it says it forks")
	}
}

// next sends the next worker's settings to the mold, if it is ready for them.
func (m *mold) next() {
	for m.phase == moldReady && m.asked == nil && len(m.queue) > 0 {
		f := m.queue[0]
		m.queue = m.queue[1:]
		if err := m.proc.sendWith(protocol.Message{Kind: protocol.KindFork, Text: f.config}, f.theirs...); err != nil {
			f.fail(err.Error())
			continue
		}
		f.closeTheirs()
		m.asked = f
		m.patience = time.AfterFunc(forkTime, func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			if m.asked == f {
				m.giveUp(fmt.Sprintf("it did not fork a worker within %v", forkTime))
			}
		})
	}
}

// giveUp kills a mold that does not do its part, with all that it has forked and
// that is not known as a worker. Those that wait for it fail; who starts others gets
// another mold.
func (m *mold) giveUp(why string) {
	if m.phase == moldGivenUp || m.proc == nil {
		return
	}
	m.phase = moldGivenUp
	m.s.log.Error("giving up the process that workers are forked from, and killing what it has forked; the tracebacks of its threads follow",
		"pid", m.proc.PID(), "generation", m.generation, "reason", why)
	m.s.forget(m)
	m.fail("the process to fork it from was given up: " + why)
	proc := m.proc
	proc.takeGroup()
	m.abort()
	time.AfterFunc(AbortGrace, proc.killGroup)
}

// exited is called when the mold is gone. Workers that wait for it fail to boot
// as it did. If it had been ready, it is replaced at once, so that the next worker
// need not wait for the import.
func (m *mold) exited(r Report) MoldEvent {
	m.mu.Lock()
	defer m.mu.Unlock()
	ev := MoldEvent{Generation: m.generation, PID: m.proc.PID(), Gone: true, Retired: m.retired, Status: r.Status}
	m.proc.Close()
	m.proc = nil
	if m.phase == moldGivenUp {
		go m.s.endHoldersLater()
		return ev
	}
	why := m.reason
	switch {
	case r.Err != nil:
		why = r.Err.Error()
	case why == "":
		why = "the process to fork it from " + EndedEarly(r.Status, m.spec.Python)
	}
	rebuild := m.phase == moldReady && !m.retired
	m.phase = moldBoots
	m.fail(why)
	if m.retired {
		return ev
	}
	if !rebuild {
		m.s.forget(m)
		return ev
	}
	m.s.log.Error("the mold died; building another while its workers serve on", "generation", m.generation, "status", StatusText(r.Status))
	time.AfterFunc(m.rest(), m.start)
	return ev
}

// rest is how long to wait with another mold.
func (m *mold) rest() time.Duration {
	age := time.Since(m.begun)
	if age >= moldProven {
		m.deaths = 0
	}
	pause := min(moldRest<<min(m.deaths, 5), moldRestMost)
	m.deaths++
	return pause - min(pause, age)
}

// fail fails all workers that wait.
func (m *mold) fail(why string) {
	all := m.queue
	if m.asked != nil {
		m.patience.Stop()
		all = append([]*forkling{m.asked}, all...)
	}
	m.asked, m.queue = nil, nil
	for _, f := range all {
		f.fail(why)
	}
}

// fail reports that the worker did not boot.
func (f *forkling) fail(why string) {
	if sig := f.child.signalled(); sig != 0 { // not wanted any more
		f.ends(ending{status: syscall.WaitStatus(sig)})
		return
	}
	f.ends(ending{why: why, status: 1 << 8}) // as if it had left with exit status 1
}

// ends is the end of a worker that was never forked. If it has been all the same,
// it lives.
func (f *forkling) ends(e ending) {
	f.closeTheirs()
	f.child.never(e)
}

// closeTheirs gives up the master's copies.
func (f *forkling) closeTheirs() {
	for _, fd := range f.theirs {
		unix.Close(fd)
	}
	f.theirs = nil
}

// forget drops a mold that will not be used again.
func (s *Spawner) forget(m *mold) {
	// Called with m.mu held, and moldFor does not hold s.mu while it waits for
	// that; so this order is safe.
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.molds, func(_ int, have *mold) bool { return have == m })
}

// ReopenLog implements Starter.
func (s *Spawner) ReopenLog(generation, fd int) {
	s.mu.Lock()
	m := s.molds[generation]
	s.mu.Unlock()
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.proc == nil { // the next one is born with it
		return
	}
	if err := m.proc.SendFile(protocol.Message{Kind: protocol.KindReopen, Text: protocol.LogErrors}, fd); err != nil {
		s.log.Warn("a mold goes on with the old error log", "pid", m.proc.PID(), "error", err)
	}
}

// Retire implements Starter.
func (s *Spawner) Retire(generation int) {
	s.mu.Lock()
	m := s.molds[generation]
	delete(s.molds, generation)
	s.mu.Unlock()
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.retired = true
	if m.proc == nil {
		m.fail("its generation has been given up")
		return
	}
	late := func(f *forkling) bool { return f.child.signalled() == syscall.SIGABRT }
	if m.phase == moldBoots && slices.ContainsFunc(m.queue, late) {
		m.abort() // as unwanted is about to
	} else {
		_ = m.proc.Signal(syscall.SIGTERM)
	}
	proc, idle := m.proc, m.phase == moldReady && m.asked == nil
	time.AfterFunc(moldLeave, func() { // hits nobody who has left
		if idle { // what the application has started in it may be of use to workers that drain
			_ = proc.Signal(syscall.SIGKILL)
		} else {
			proc.killGroup()
		}
	})
}
