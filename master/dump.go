package master

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hostler/protocol"
)

const (
	// dumpPause is the time that a worker has for a dump before the next begins.
	// faulthandler writes a few bytes at a time, and two at once would be mixed up.
	dumpPause = 200 * time.Millisecond
	// dumpPatience is how long whoever asks waits for a worker's. The signal handler
	// that makes it needs no GIL, but a thread that runs.
	dumpPatience = 2 * time.Second
)

// dumping is a worker's dump for which somebody waits. It belongs to the state goroutine.
type dumping struct {
	text []byte
	done chan struct{} // closed when text is whole, or will never be
	end  bool          // it is whole
}

// Dump returns the tracebacks of the Python threads of the worker of that number, or of
// all for 0, which write them to the error log, too.
func (m *Master) Dump(ctx context.Context, number int) ([]protocol.Dump, error) {
	var serving []*worker
	err := m.ask(ctx, func(s *supervisor) {
		for _, w := range s.workers {
			// One that has not got ready does not read its control socket.
			if w.state != stateKilled && !w.ready.IsZero() && (number == 0 || w.number() == number) {
				serving = append(serving, w)
			}
		}
	})
	switch {
	case err != nil:
		return nil, err
	case len(serving) == 0 && number != 0:
		return nil, fmt.Errorf("no worker %d serves", number)
	case len(serving) == 0:
		return nil, errors.New("no worker serves")
	}
	var all []protocol.Dump
	for _, w := range serving {
		d, err := m.dumpOf(ctx, w)
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

func (m *Master) dumpOf(ctx context.Context, w *worker) (protocol.Dump, error) {
	result := protocol.Dump{Worker: w.number(), PID: w.proc.PID()}
	lasting := context.WithoutCancel(ctx) // what has begun is ended
	var d *dumping
	if err := m.ask(lasting, func(s *supervisor) { d, result.Missing = s.beginDump(w) }); err != nil || d == nil {
		return result, err
	}
	patience := time.NewTimer(dumpPatience)
	defer patience.Stop()
	select {
	case <-d.done:
	case <-patience.C:
	case <-ctx.Done():
	case <-m.sup.gone:
		return result, errStopping
	}
	err := m.ask(lasting, func(s *supervisor) {
		result.Text = string(d.text)
		if s.dumps[w] == d {
			delete(s.dumps, w)
		}
		if !d.end && w.state == stateGone {
			result.Missing = "it has ended"
		} else if !d.end {
			result.Missing = "it has not answered in time: it is stopped, or has no processor time"
		}
	})
	return result, errors.Join(err, ctx.Err())
}

func (s *supervisor) beginDump(w *worker) (d *dumping, missing string) {
	switch {
	case w.state == stateKilled || w.state == stateGone:
		return nil, "it has ended"
	case s.dumps[w] != nil:
		return nil, "a dump of it is being taken already"
	case w.proc.Send(protocol.Message{Kind: protocol.KindDump, Text: protocol.DumpTell}) != nil:
		return nil, "it does not listen"
	}
	if s.dumps == nil {
		s.dumps = make(map[*worker]*dumping)
	}
	s.dumps[w] = &dumping{done: make(chan struct{})}
	return s.dumps[w], ""
}

// dumpCame takes the next part of w's dump; "" ends it. What nobody has asked for is
// dropped, and what is too much.
func (s *supervisor) dumpCame(w *worker, text string) {
	d := s.dumps[w]
	switch {
	case d == nil:
	case text != "":
		d.text = append(d.text, text[:min(len(text), protocol.MaxDump-len(d.text))]...)
	default:
		d.end = true
		s.dumpEnded(w)
	}
}

// dumpEnded is called when nothing more comes of w's dump.
func (s *supervisor) dumpEnded(w *worker) {
	if d := s.dumps[w]; d != nil {
		delete(s.dumps, w)
		close(d.done)
	}
}
