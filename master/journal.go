package master

import (
	"fmt"
	"sync"

	"hostler/protocol"
)

// journalSize is how many events are kept.
const journalSize = 1000

// journal keeps the latest events. It has a lock of its own, so that it can be
// read when the state goroutine has ended or is busy forking.
type journal struct {
	mu     sync.Mutex
	events []protocol.Event // a ring once it is full
	oldest int
}

func (j *journal) add(e protocol.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.events) < journalSize {
		j.events = append(j.events, e)
		return
	}
	j.events[j.oldest] = e
	j.oldest = (j.oldest + 1) % journalSize
}

// all returns a copy, oldest first.
func (j *journal) all() []protocol.Event {
	j.mu.Lock()
	defer j.mu.Unlock()
	out := make([]protocol.Event, 0, len(j.events))
	out = append(out, j.events[j.oldest:]...)
	return append(out, j.events[:j.oldest]...)
}

// note adds e to the journal.
func (s *supervisor) note(e protocol.Event) {
	e.Time = s.clock.now().UTC()
	s.journal.add(e)
}

// noteWorker adds what happened to w.
func (s *supervisor) noteWorker(w *worker, e protocol.Event) {
	e.Worker, e.PID, e.Generation = w.number(), w.proc.PID(), w.gen.number
	s.note(e)
}

// want notes down that a worker is needed in w's place, so that the journal can
// say of the one that comes what it is for.
func (s *supervisor) want(w *worker, why string) {
	s.lost = append(s.lost, fmt.Sprintf("replaces worker %d, pid %d (%s)", w.number(), w.proc.PID(), why))
}

// wanted says what the next worker is for.
func (s *supervisor) wanted() string {
	if len(s.lost) == 0 {
		return "more workers wanted"
	}
	why := s.lost[0]
	s.lost = s.lost[1:]
	return why
}
