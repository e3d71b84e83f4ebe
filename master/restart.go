package master

import (
	"errors"
	"fmt"

	"hostler/protocol"
)

// restart is a rolling restart: one worker after the other is condemned (or as
// many at a time as may be unavailable), and leaves when its replacement is ready.
type restart struct {
	pending []int // ids of the workers still to do
	done    chan<- error
}

// beginRestart restarts the worker of that number, or all for 0. Done gets the
// result.
func (s *supervisor) beginRestart(number int, done chan<- error) {
	r := &restart{done: done}
	for _, w := range s.workers {
		if w.gen == s.current && w.state == stateServing && (number == 0 || w.number() == number) {
			r.pending = append(r.pending, w.id)
		}
	}
	switch {
	case s.phase != phaseServing:
		s.answer(done, errors.New("cannot restart workers now: the server is starting or stopping"))
	case s.reloading() || s.upgrading:
		s.answer(done, errors.New("cannot restart workers now: a reload or an upgrade is under way"))
	case s.restart != nil:
		s.answer(done, errors.New("cannot restart workers now: another restart is under way"))
	case number != 0 && len(r.pending) == 0:
		s.answer(done, fmt.Errorf("no worker %d serves", number))
	default:
		s.restart = r
		what := "all workers"
		if number != 0 {
			what = fmt.Sprintf("worker %d", number)
		}
		s.log.Info("restarting " + what)
		s.note(protocol.Event{Kind: "restart_started", Text: what})
	}
}

// roll goes on with a restart: it condemns as many workers as may be replaced at
// a time, and returns true if it has.
func (s *supervisor) roll() bool {
	r := s.restart
	if r == nil || s.reloading() { // its end replaces them all, or lets us go on
		return false
	}
	missing, condemned := s.missing(), false
	for room := s.set.mostUnavailable() - missing; room > 0 && len(r.pending) > 0; {
		w := s.worker(r.pending[0])
		r.pending = r.pending[1:]
		if w == nil || w.gen != s.current || w.state != stateServing || w.condemned != "" {
			continue // has been replaced for another reason
		}
		w.condemned = causeRestart
		s.want(w, string(causeRestart))
		room--
		condemned = true
	}
	if missing == 0 && !condemned {
		s.endRestart(nil)
	}
	return condemned
}

// endRestart ends the restart, if one is under way. If it failed, the worker
// that was to be replaced stays.
func (s *supervisor) endRestart(err error) {
	r := s.restart
	if r == nil {
		return
	}
	s.restart = nil
	if err == nil {
		s.log.Info("restarted")
		s.note(protocol.Event{Kind: "restarted"})
	} else {
		s.log.Error("the restart ends early", "error", err)
		s.note(protocol.Event{Kind: "restart_failed", Text: err.Error()})
		for _, w := range s.workers {
			if w.condemned == causeRestart && w.state == stateServing {
				w.condemned = ""
			}
		}
	}
	s.answer(r.done, err)
}
