package master

import (
	"context"
	"time"

	"hostler/protocol"
)

const (
	// collectPatience is how long a scrape waits for what workers have to look up. Who is
	// later is not waited for again before it has answered: its figures are those of the
	// last time.
	collectPatience = 500 * time.Millisecond
	// collectEvery bounds what scrapes cost workers.
	collectEvery = time.Second
)

// collection is one time that workers look up those of the application's metrics that have
// no value until somebody asks. It belongs to the state goroutine.
type collection struct {
	begun time.Time
	left  int           // workers that have not answered
	done  chan struct{} // closed when none is left
}

// Collect has the workers look up what of the application's metrics has to be asked for,
// and waits until they have, or for as long as a scrape may.
func (m *Master) Collect(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, collectPatience)
	defer cancel()
	var c *collection
	if m.ask(ctx, func(s *supervisor) { c = s.collect() }) != nil {
		return
	}
	select {
	case <-c.done:
	case <-ctx.Done():
	case <-m.sup.gone:
	}
}

// collect begins a collection, unless there has just been one. The lowest number of the
// newest generation answers for all where it is enough that one does.
func (s *supervisor) collect() *collection {
	now := s.clock.now()
	if c := s.collection; c != nil && now.Sub(c.begun) < collectEvery {
		return c
	}
	c := &collection{begun: now, done: make(chan struct{})}
	s.collection = c
	var asked []*worker
	var one *worker
	for _, w := range s.workers {
		if w.state != stateServing || !w.counts || w.collects != nil {
			continue
		}
		asked = append(asked, w)
		if one == nil || w.gen.number > one.gen.number || w.gen == one.gen && w.slot < one.slot {
			one = w
		}
	}
	for _, w := range asked {
		m := protocol.Message{Kind: protocol.KindCollect}
		if w == one {
			m.Text = protocol.CollectAll
		}
		if w.proc.Send(m) == nil {
			w.collects = c
			c.left++
		}
	}
	if c.left == 0 {
		close(c.done)
	}
	return c
}

// collected is called when w has answered, or will not any more.
func (s *supervisor) collected(w *worker) {
	c := w.collects
	if c == nil {
		return // nobody has asked
	}
	w.collects = nil
	if c.left--; c.left == 0 {
		close(c.done)
	}
}
