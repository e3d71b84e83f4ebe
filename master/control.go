package master

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"hostler/protocol"
)

// What operators can have done while the master runs. All of it happens in the
// state goroutine; these methods post an event and wait for the answer.

// ask runs do in the state goroutine and returns when it has.
func (m *Master) ask(ctx context.Context, do func(*supervisor)) error {
	done := make(chan struct{})
	if err := m.post(ctx, askEvent{do, done}); err != nil {
		return err
	}
	select {
	case <-done:
		return nil
	case <-m.sup.gone:
		return errStopping
	case <-ctx.Done():
		return ctx.Err()
	}
}

// post gives an event to the state goroutine.
func (m *Master) post(ctx context.Context, ev any) error {
	select {
	case m.sup.events <- ev:
		return nil
	case <-m.sup.gone:
		return errStopping
	case <-ctx.Done():
		return ctx.Err()
	}
}

// await waits for the result of something long that ask began.
func (m *Master) await(ctx context.Context, what string, done <-chan error) error {
	select {
	case err := <-done:
		return err
	case <-m.sup.gone:
		select {
		case err := <-done: // both were ready
			return err
		default:
			return errStopping
		}
	case <-ctx.Done():
		return fmt.Errorf("%s goes on: %w", what, ctx.Err())
	}
}

// InForce returns the settings that are in force: those of the generation that serves,
// or before there is one those that it is to have.
func (m *Master) InForce(ctx context.Context) (set *Settings, err error) {
	err = m.ask(ctx, func(s *supervisor) { set = s.set })
	return set, err
}

// Scale changes the number of workers to n, or by n, and returns what it was
// and is. Workers start and leave afterwards.
func (m *Master) Scale(ctx context.Context, n int, relative bool) (from, to int, err error) {
	ended := m.ask(ctx, func(s *supervisor) {
		if s.phase == phaseStopping {
			err = errStopping
			return
		}
		from = s.target(s.set)
		to = n
		if relative {
			to = from + n
		}
		if to < 1 || to > protocol.MaxSlots/2 {
			err = fmt.Errorf("there can be 1 to %d workers, not %d", protocol.MaxSlots/2, to)
			return
		}
		if to != from {
			s.pin()
			s.adjust = to - s.set.Workers // never beyond the bounds, unlike a sum
			s.scaled(from, to, "by hostler ctl")
		}
	})
	if ended != nil {
		return 0, 0, ended
	}
	return from, to, err
}

// ScaleByNeed gives the number of workers back to --workers MIN:MAX, and returns
// what it was and is.
func (m *Master) ScaleByNeed(ctx context.Context) (from, to int, err error) {
	ended := m.ask(ctx, func(s *supervisor) {
		from = s.target(s.set)
		switch {
		case s.phase == phaseStopping:
			err = errStopping
			return
		case s.set.MaxWorkers == 0:
			err = errors.New("the number of workers does not go by need: there is no --workers MIN:MAX")
			return
		case s.scaling.pinned:
			s.unpin()
		}
		to = s.target(s.set)
	})
	if ended != nil {
		return 0, 0, ended
	}
	return from, to, err
}

// Restart replaces the worker of that number, or all one after the other for 0,
// and waits until the replacements serve. The old ones may still drain.
func (m *Master) Restart(ctx context.Context, number int) error {
	done := make(chan error, 1)
	if err := m.ask(ctx, func(s *supervisor) { s.beginRestart(number, done) }); err != nil {
		return err
	}
	return m.await(ctx, "the restart", done)
}

// SetLogLevel makes all workers, those to come too, log at a level as in the
// settings, until these are read again. The master's own level is its logger's.
func (m *Master) SetLogLevel(ctx context.Context, level string) error {
	return m.ask(ctx, func(s *supervisor) {
		s.level = level
		for _, w := range s.workers {
			if w.state != stateKilled { // one that boots reads it when it is ready
				s.send(w, protocol.Message{Kind: protocol.KindLevel, Text: level})
			}
		}
	})
}

// Upgrade does what SIGUSR2 does and waits until the new binary serves or has
// failed.
func (m *Master) Upgrade(ctx context.Context) error {
	done := make(chan error, 1)
	err := m.ask(ctx, func(s *supervisor) {
		if err := s.upgrade(); err != nil {
			s.answer(done, err)
			return
		}
		s.waitUpgrade = append(s.waitUpgrade, done)
	})
	if err != nil {
		return err
	}
	return m.await(ctx, "the upgrade", done)
}

// Drain does what SIGTERM does, once however often it is called, and waits
// until nothing but this process is left.
func (m *Master) Drain(ctx context.Context) error {
	err := m.ask(ctx, func(s *supervisor) {
		if s.phase != phaseStopping {
			s.signal(syscall.SIGTERM)
		}
	})
	if err != nil && !errors.Is(err, errStopping) {
		return err
	}
	select {
	case <-m.down:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the server goes on to drain: %w", ctx.Err())
	}
}

// Events returns the latest lifecycle events, oldest first.
func (m *Master) Events() []protocol.Event { return m.sup.journal.all() }
