package master

import (
	"context"
	"reflect"
	"slices"
	"time"

	"hostler/internal/acme"
	"hostler/protocol"
	"hostler/settings"
)

const (
	// answerTime is how long is waited until all workers answer what an authority will
	// ask.
	answerTime = 30 * time.Second
	// breakOff is how long it may take to note that an order was broken off, so that
	// whoever comes next may begin another one soon.
	breakOff = time.Second
)

// issuing is who gets certificates by ACME. He works apart, and touches nothing of the
// state: what he gets lies in the storage, where checkCertificates finds it.
type issuing struct {
	set   settings.ACME
	plain bool
	who   *acme.Manager
	stop  context.CancelFunc
	ended chan struct{} // closed when he has
}

// sharing is somebody who waits until the workers have what is in the storage.
type sharing struct {
	looks map[*certificates]int // which look it takes
	done  chan<- error
	until time.Time
}

func storeOf(set *settings.ACME) *acme.Store { return acme.NewStore(set.Storage, set.Directory) }

// openACME makes the storage, where there is to be one.
func openACME(set *settings.ACME) error {
	if len(set.Certs) == 0 {
		return nil
	}
	return storeOf(set).Prepare()
}

// issue sees to it that certificates are got and renewed as the current settings say. It
// goes on where they still say the same.
func (s *supervisor) issue() {
	set := s.set.TLS.ACME
	// Requests for http-01 arrive on a plain address.
	plain := len(s.set.Redirects) > 0 || slices.ContainsFunc(s.set.Binds, func(b settings.Bind) bool { return b.Network == "unix" })
	if s.issuing != nil {
		if plain == s.issuing.plain && reflect.DeepEqual(set, s.issuing.set) {
			s.issuing.who.Look() // somebody may have mended something
			return
		}
		s.endIssuing()
	}
	if len(set.Certs) == 0 {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	m := acme.NewManager(acme.Options{Settings: set, Store: storeOf(&set), Plain: plain, Version: s.stats.version, Log: s.log,
		Changed:   func() { s.post(thenEvent{s.lookAgain}) },
		Presented: s.presented,
		Ended:     func(names string, err error) { s.post(thenEvent{func() { s.ordered(names, err) }}) },
	})
	i := &issuing{set, plain, m, stop, make(chan struct{})}
	s.issuing = i
	go func() {
		defer close(i.ended)
		m.Run(ctx)
	}()
}

// endIssuing has nothing more ordered. What an authority has under way it may finish;
// nobody waits for that.
func (s *supervisor) endIssuing() {
	i := s.issuing
	if i == nil {
		return
	}
	i.stop()
	s.issuing = nil
	s.files.do("breaking off an order", func() {
		select {
		case <-i.ended:
		case <-time.After(breakOff):
		}
	})
}

// lookAgain has the certificates read at once.
func (s *supervisor) lookAgain() {
	for _, c := range s.watched() {
		c.next, c.again = time.Time{}, c.looking
	}
}

// ordered is called when an order has ended.
func (s *supervisor) ordered(names string, err error) {
	if err != nil {
		s.stats.orders["failure"]++
		s.note(protocol.Event{Kind: "certificate_not_issued", Text: names + ": " + err.Error()})
		return
	}
	s.stats.orders["success"]++
	s.note(protocol.Event{Kind: "certificate_issued", Text: names})
}

// presented returns when all workers that accept have what is in the storage now. It is
// for goroutines apart.
func (s *supervisor) presented(ctx context.Context) error {
	done := make(chan error, 1)
	if !s.post(thenEvent{func() { s.share(done) }}) {
		return errStopping
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-s.gone:
		return errStopping
	}
}

// share tells done when all workers that accept have what is in the storage now.
func (s *supervisor) share(done chan<- error) {
	s.lookAgain()
	sh := &sharing{looks: make(map[*certificates]int), done: done, until: s.clock.now().Add(answerTime)}
	for _, c := range s.watched() {
		sh.looks[c] = c.begun + 1 // one that is under way may have begun too early
	}
	s.sharing = append(s.sharing, sh)
}

// answerSharing tells those who wait for it that the workers have all.
func (s *supervisor) answerSharing() {
	if len(s.sharing) == 0 {
		return
	}
	now, watched := s.clock.now(), s.watched()
	s.sharing = slices.DeleteFunc(s.sharing, func(sh *sharing) bool {
		late := !now.Before(sh.until)
		for c, look := range sh.looks {
			if slices.Contains(watched, c) && (c.ended < look || s.owing(c, late)) && !late {
				return false
			}
		}
		sh.done <- nil // if somebody has not got it in all that time, others may be asked
		return true
	})
}

// owing reports whether a worker has not taken the latest of c yet. Forget says that this
// is no matter any more.
func (s *supervisor) owing(c *certificates, forget bool) bool {
	owing := false
	for _, w := range s.workers {
		if w.gen.certs != c || w.state != stateBooting && w.state != stateServing {
			continue
		}
		if w.certs != c.version || w.certsOwed > 0 {
			owing = true
		}
		if forget {
			w.certsOwed = 0
		}
	}
	return owing
}

func (s *supervisor) sharingDue(now time.Time) (next time.Time) {
	for _, sh := range s.sharing {
		next = sooner(next, sh.until)
	}
	return next
}
