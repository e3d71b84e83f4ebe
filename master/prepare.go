package master

import (
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"hostler/protocol"
	"hostler/settings"
)

// prepareTime is how long all may take that comes before a generation's first
// process. Most of it looks at files and names, and may wait for what is not there.
const prepareTime = 30 * time.Second

// preparation makes the next generation, apart from the state goroutine.
type preparation struct {
	deadline time.Time
	step     atomic.Pointer[string] // what it is at, for people

	log      *slog.Logger
	host     host
	first    bool
	closed   chan struct{} // when it is, addresses that are not needed are closed
	have     []*listener   // those that the current generation has
	retiring []*listener   // those that may come back
	back     []*listener   // those that do
	tickets  [][32]byte
	now      time.Time
	logs     *logFiles // open already, for the first generation; nil: they are not
	reloads  bool      // the settings are to be read again
	settings *Settings
}

type preparedEvent struct {
	p   *preparation
	g   *generation
	err error
}

// prepareNext begins to make the next generation. Nil: from settings that are to be
// read first.
func (s *supervisor) prepareNext(set *Settings) {
	now := s.clock.now()
	p := &preparation{deadline: now.Add(prepareTime), log: s.log, host: s.host, first: s.current == nil, closed: make(chan struct{}),
		retiring: slices.Clone(s.retiring), tickets: s.tickets.at(now), now: now, reloads: set == nil, settings: set, logs: s.opened}
	s.opened = nil
	p.at("closing addresses that are not needed")
	s.files.do("beginning a generation", func() { close(p.closed) })
	if s.current != nil {
		p.have = slices.Clone(s.current.listeners)
	}
	s.preparing = p
	go func() {
		g, err := p.run()
		if !s.post(preparedEvent{p, g, err}) && g != nil {
			s.discard(g)
		}
	}()
}

// prepared takes the generation over, if it is still wanted.
func (s *supervisor) prepared(ev preparedEvent) {
	if s.preparing != ev.p {
		s.discardApart(ev.g)
		return
	}
	s.preparing = nil
	if ev.err != nil {
		s.discardApart(ev.g)
		s.abandon(ev.err)
		return
	}
	// Such a one counts as opened, for if this comes to nothing it is out again.
	s.retiring = slices.DeleteFunc(s.retiring, func(l *listener) bool { return slices.Contains(ev.p.back, l) })
	ev.g.opened = append(ev.g.opened, ev.p.back...)
	if ev.p.reloads {
		s.level = "" // the master's own follows the settings by now, too
	}
	s.boot(ev.g)
}

// checkPreparation ends the patience with it.
func (s *supervisor) checkPreparation(now time.Time) {
	if p := s.preparing; p != nil && !now.Before(p.deadline) {
		s.preparing = nil
		s.abandon(fmt.Errorf("%s takes longer than %v", *p.step.Load(), prepareTime))
	}
}

// reloading reports whether another generation is on its way.
func (s *supervisor) reloading() bool { return s.preparing != nil || s.next != nil }

// discard undoes what has been prepared. It is for goroutines apart.
func (s *supervisor) discard(g *generation) {
	for _, l := range g.opened {
		l.retire(s.log)
	}
	if g.admin != nil {
		s.host.DropAdmin(g.admin)
	}
	if g.certs != nil {
		g.certs.close()
	}
	if g.logs != nil {
		g.logs.close()
	}
	if g.spans != nil {
		g.spans.Close()
	}
	g.pages.close()
}

func (s *supervisor) discardApart(g *generation) {
	if g != nil {
		s.files.do("closing addresses", func() { s.discard(g) })
	}
}

func (p *preparation) at(step string) { p.step.Store(&step) }

// run does all that can fail, or take long, before a process is started.
func (p *preparation) run() (g *generation, err error) {
	<-p.closed
	set := p.settings
	if p.reloads {
		p.at("reading the settings")
		if set, err = p.host.ReadSettings(); err != nil {
			return nil, fmt.Errorf("cannot read the settings: %w", err)
		}
	}
	g = &generation{set: set, said: make(map[[sha256.Size]byte]bool)}
	p.at("looking for the directory")
	if err = checkDirectory(set); err != nil {
		return nil, err
	}
	p.at("looking for Python")
	if g.python, err = p.host.FindPython(set); err != nil {
		return nil, err
	}
	p.at("looking up the user and the group")
	if g.identity, err = findIdentity(set.User, set.Group); err != nil {
		return nil, err
	}
	g.env, g.internal = workerEnv(slices.Concat(p.host.Environ(), loginEnv(set.User)), set.Env)
	p.at("reading the certificates")
	if err = openACME(&set.TLS.ACME); err != nil {
		return nil, err
	}
	if g.certs, err = openCertificates(&set.TLS, p.tickets, p.now); err != nil {
		return nil, err
	}
	p.at("reading the error pages")
	if g.pages, err = openErrorPages(set.ErrorPages); err != nil {
		return g, err
	}
	if g.logs = p.logs; g.logs == nil {
		p.at("opening the log files")
		logs := newLogFiles(set)
		if err := logs.open(g.identity); err != nil {
			return g, err
		}
		g.logs = logs
	}
	if set.Otel {
		p.at("preparing to export spans and metrics")
		if g.spans, err = p.host.OpenSpans(set); err != nil {
			return g, err
		}
	}
	for _, b := range slices.Concat(set.Binds, set.Redirects) {
		if err := p.listen(g, b); err != nil {
			return g, err
		}
	}
	g.keepCovered(p.have)
	if p.first {
		return g, nil // the admin server has been started by then
	}
	p.at("binding the admin address")
	g.admin, err = p.host.ListenAdmin(set)
	return g, err
}

// listen gives g a listener for b: the one that there is, if it is of use.
func (p *preparation) listen(g *generation, b settings.Bind) error {
	p.at("binding " + b.String())
	is := func(l *listener) bool { return l.Bind == b }
	var have *listener
	if i := slices.IndexFunc(p.have, is); i >= 0 {
		have = p.have[i]
	}
	// Taken out of the settings, and back again before its last worker was gone.
	back := slices.IndexFunc(p.retiring, func(l *listener) bool { return is(l) && !l.shared && l.lost() == "" })
	if have == nil && back >= 0 {
		l := p.retiring[back]
		g.listeners, p.back = append(g.listeners, l), append(p.back, l)
		return nil
	}
	why := ""
	if have != nil {
		if why = have.lost(); why == "" {
			g.listeners = append(g.listeners, have)
			return nil
		}
	}
	l, err := p.host.Listen(b, g.set.Backlog, p.have)
	switch {
	case err != nil && have != nil:
		// What is in the way is not ours, and would be so after a restart, too; it is
		// no reason to go on with the old code.
		p.log.Error("nobody finds a listening socket, and it cannot be bound anew", "address", b.String(), "reason", why, "error", err)
		g.listeners = append(g.listeners, have)
		return nil
	case err != nil:
		return err
	case have != nil:
		p.log.Warn("a listening socket has been bound anew", "address", b.String(), "reason", why)
	}
	g.listeners, g.opened = append(g.listeners, l), append(g.opened, l)
	return nil
}

// openModules makes the payload's Python modules ready for workers, who have them
// behind a file descriptor.
func (o *Options) openModules() (*os.File, error) {
	f, err := protocol.NewMemory("hostler-modules", o.Payload.Modules)
	if err != nil {
		return nil, fmt.Errorf("cannot keep the workers' Python modules: %w", err)
	}
	return f, nil
}
