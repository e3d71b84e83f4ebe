package master

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

// moldRest is the least time between two molds of a generation.
const moldRest = time.Second

// mold is a process that has imported the application and forks workers. It
// belongs to one generation. Workers are forked one after the other; those asked
// for before the mold is ready wait for it, and share its fate if it cannot boot.
//
// A forked worker is nobody's child until the kernel, for its real parent leaves
// at once, makes it ours: we are the nearest subreaper.
type mold struct {
	s          *spawner
	spec       processSpec
	generation int

	mu      sync.Mutex
	proc    *child
	ready   bool
	retired bool
	asked   *forkling   // has been sent to the mold, no answer yet
	queue   []*forkling // wait for their turn
	reason  string      // why it did not boot
	started time.Time
}

// forkling is a worker that is not forked yet.
type forkling struct {
	child  *child
	config string
	theirs []int // what travels with its settings: its end of the control socket, its FDSecrets
	to     func(report)
}

// closeTheirs gives up the master's copies.
func (f *forkling) closeTheirs() {
	for _, fd := range f.theirs {
		unix.Close(fd)
	}
}

// startForked asks the mold of the worker's generation for it, and starts the
// mold if there is none.
func (s *spawner) startForked(spec processSpec, to func(report)) (process, error) {
	arg, err := spec.config.Encode()
	if err != nil {
		return nil, err
	}
	m, err := s.moldFor(spec)
	if err != nil {
		return nil, err
	}
	secrets := spec.secrets
	if secrets < 0 {
		secrets = rawFD(s.stdin)
	}
	// A copy: by its turn there may be other certificates.
	if secrets, err = unix.FcntlInt(uintptr(secrets), unix.F_DUPFD_CLOEXEC, 10); err != nil {
		return nil, fmt.Errorf("cannot start a worker: %w", err)
	}
	c, theirs, err := newChild(spec.config)
	if err != nil {
		unix.Close(secrets)
		return nil, err
	}
	f := &forkling{c, arg, []int{theirs, secrets}, to}
	c.told = func() { m.unwanted(f) }
	m.mu.Lock()
	defer m.mu.Unlock()
	m.queue = append(m.queue, f)
	m.next()
	return c, nil
}

// unwanted is called when a worker that is not forked yet has been sent a signal.
// One that waits for its turn ends here and now. SIGABRT says that it takes too
// long: where the mold still imports, its traceback is what people need.
func (m *mold) unwanted(f *forkling) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.ready && m.proc != nil && f.child.signalled() == syscall.SIGABRT {
		_ = m.proc.Signal(syscall.SIGABRT)
		return
	}
	if i := slices.Index(m.queue, f); i >= 0 {
		m.queue = slices.Delete(m.queue, i, i+1)
		f.closeTheirs()
		f.ends(m.s, syscall.WaitStatus(f.child.signalled()))
	}
}

func (s *spawner) moldFor(spec processSpec) (*mold, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.subreaper {
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			return nil, fmt.Errorf("cannot become the parent of forked workers: %w", err)
		}
		s.subreaper = true
	}
	generation := spec.config.Generation
	if m := s.molds[generation]; m != nil {
		return m, nil
	}
	cfg := *spec.config
	cfg.Mold = true
	spec.config = &cfg
	spec.secrets = -1 // each worker gets those of its time
	m := &mold{s: s, spec: spec, generation: generation}
	s.molds[generation] = m
	// Not here: whoever starts a process needs the lock.
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
	m.ready, m.reason, m.started = false, "", time.Now()
	proc, err := m.s.startFresh(m.spec, m.said)
	if err != nil {
		m.fail(err.Error())
		m.s.forget(m)
		return
	}
	m.proc = proc
	m.s.log.Debug("mold started", "pid", proc.PID(), "generation", m.generation)
}

// said takes the mold's messages.
func (m *mold) said(r report) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case r.exited:
		m.exited(r.status)
	case r.message.Kind == protocol.KindReady:
		m.ready = true
		m.s.log.Info("mold ready", "pid", m.proc.PID(), "generation", m.generation, "after", time.Since(m.started).Round(time.Millisecond))
		m.next()
	case r.message.Kind == protocol.KindBootFailed:
		m.reason = r.message.Text
	case r.message.Kind == protocol.KindModules:
		if len(m.queue) > 0 { // it speaks for those that it will be forked for
			m.queue[0].to(r)
		}
	case r.message.Kind == protocol.KindForked:
		f := m.asked
		m.asked = nil
		if f == nil {
			return
		}
		f.closeTheirs()
		if r.message.PID == 0 {
			f.fail(m.s, r.message.Text)
		} else {
			m.s.forked(f, r.message.PID)
		}
		m.next()
	}
}

// next sends the next worker's settings to the mold, if it is ready for them.
func (m *mold) next() {
	for m.ready && m.asked == nil && len(m.queue) > 0 {
		f := m.queue[0]
		m.queue = m.queue[1:]
		if err := m.proc.sendWith(protocol.Message{Kind: protocol.KindFork, Text: f.config}, f.theirs...); err != nil {
			f.closeTheirs()
			f.fail(m.s, err.Error())
			continue
		}
		m.asked = f
	}
}

// exited is called when the mold is gone. Workers that wait for it fail to boot
// as it did. If it had been ready, it is replaced at once, so that the next worker
// need not wait for the import.
func (m *mold) exited(ws syscall.WaitStatus) {
	m.proc.Close()
	m.proc = nil
	why := m.reason
	if why == "" {
		why = "the process to fork it from ended (" + statusText(ws) + ")"
	}
	rebuild := m.ready && !m.retired
	m.fail(why)
	if m.retired {
		return
	}
	if !rebuild {
		m.s.forget(m)
		return
	}
	m.s.log.Error("the mold died; building another while its workers serve on", "generation", m.generation, "status", statusText(ws))
	time.AfterFunc(moldRest-min(moldRest, time.Since(m.started)), m.start)
}

// fail fails all workers that wait.
func (m *mold) fail(why string) {
	m.ready = false
	all := m.queue
	if m.asked != nil {
		all = append([]*forkling{m.asked}, all...)
	}
	m.asked, m.queue = nil, nil
	for _, f := range all {
		f.closeTheirs()
		f.fail(m.s, why)
	}
}

// fail reports that the worker did not boot.
func (f *forkling) fail(s *spawner, why string) {
	if sig := f.child.signalled(); sig != 0 { // not wanted any more
		f.ends(s, syscall.WaitStatus(sig))
		return
	}
	f.to(report{message: protocol.Message{Kind: protocol.KindBootFailed, Text: why}})
	f.ends(s, 1<<8) // as if it had left with exit status 1
}

// ends reports the end of a worker that was never forked.
func (f *forkling) ends(s *spawner, ws syscall.WaitStatus) {
	f.child.ended(ws)
	go f.child.listen(s.log, f.to)
}

// signalled returns the signal that a worker not forked yet has been sent.
func (c *child) signalled() syscall.Signal {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.early
}

// forked makes pid the worker's process. Only now is the worker listened to: what
// it says comes after its pid is known.
func (s *spawner) forked(f *forkling, pid int) {
	c := f.child
	go c.listen(s.log, f.to)
	s.mu.Lock()
	defer s.mu.Unlock()
	c.mu.Lock()
	c.pid = pid
	early := c.early
	c.mu.Unlock()
	if ws, gone := s.stranger(pid); gone {
		c.ended(ws)
		return
	}
	s.kids[pid] = c
	if early != 0 {
		_ = syscall.Kill(pid, early) // ours, and not reaped
	}
}

// forget drops a mold that will not be used again.
func (s *spawner) forget(m *mold) {
	// Called with m.mu held, and moldFor does not hold s.mu while it waits for
	// that; so this order is safe.
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.molds, func(_ int, have *mold) bool { return have == m })
}

// Retire implements starter.
func (s *spawner) Retire(generation int) {
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
	if m.proc != nil {
		_ = m.proc.Signal(syscall.SIGTERM)
	} else {
		m.fail("its generation has been given up")
	}
}
