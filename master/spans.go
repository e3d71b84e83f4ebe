package master

import (
	"context"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"hostler/protocol"
)

// Spans makes what takes spans of requests from workers, and counts for all of these.
type Spans interface {
	// Open is called apart from the state goroutine, for settings with Otel.
	Open(ctx context.Context, set *Settings) (SpanTaker, error)
	Counts() protocol.SpanCounts
}

// SpanTaker takes the spans of a generation's workers.
type SpanTaker interface {
	// Take takes over the pipe that a worker writes lines to (protocol.Span). ended is
	// called when the worker has. Neither waits for anything.
	Take(pipe *os.File, worker int) (ended func())
	// Lost takes a request that died with its worker, and of what. What it says the worker
	// has written. It does not wait for anything.
	Lost(s protocol.Span, worker int, cause string)
	// Serve says that the generation serves. It does not wait for anything.
	Serve()
	// Close waits until what there is has been sent, or for a moment, once all workers
	// have ended.
	Close()
}

// spanTakers are those that are there. What takes them is a thing of its own goroutines; the
// rest belongs to the state goroutine.
type spanTakers struct {
	open    []SpanTaker
	closing sync.WaitGroup
}

// finish closes all, and waits for that for d at most.
func (t *spanTakers) finish(d time.Duration) bool {
	t.keep(func(SpanTaker) bool { return false })
	done := make(chan struct{})
	go func() {
		t.closing.Wait()
		close(done)
	}()
	select {
	case <-done:
		return true
	case <-time.After(d):
		return false
	}
}

// keep closes those that are not wanted.
func (t *spanTakers) keep(wanted func(SpanTaker) bool) {
	t.open = slices.DeleteFunc(t.open, func(o SpanTaker) bool {
		if wanted(o) {
			return false
		}
		t.closing.Go(o.Close)
		return true
	})
}

// closeSpans closes those that nobody needs any more.
func (s *supervisor) closeSpans() {
	if len(s.spans.open) == 0 {
		return
	}
	all := s.generations()
	s.spans.keep(func(o SpanTaker) bool {
		return slices.ContainsFunc(all, func(g *generation) bool { return g.spans == o })
	})
}

// handSpans gives a pipe for its spans to each worker that serves and has none. One that has
// no room for the message gets it the next time.
func (s *supervisor) handSpans() {
	for _, w := range s.workers {
		if w.gen.spans == nil || w.gen.set.Tracing == nil || w.spansEnd != nil || w.ready.IsZero() || w.state == stateKilled {
			continue
		}
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			s.log.Debug("there is no pipe for a worker's spans", "worker", w.number(), "error", err)
			continue
		}
		err := w.proc.SendFile(protocol.Message{Kind: protocol.KindReopen, Text: protocol.LogSpans}, p[1])
		unix.Close(p[1])
		if err != nil {
			unix.Close(p[0])
			s.log.Debug("a worker did not take the pipe for its spans", "worker", w.number(), "error", err)
			continue
		}
		_ = unix.SetNonblock(p[0], true) // only this end: the other one is another description
		w.spansEnd = w.gen.spans.Take(os.NewFile(uintptr(p[0]), "spans"), w.number())
	}
}

// The words for what went wrong with a request that died with its worker. The first is also that of
// one that could be stopped.
var (
	lostTimeout = []byte("timeout")
	lostWorker  = []byte("worker_died")
)

// tellLost tells of a request that died with w, where that would have done so.
func (s *supervisor) tellLost(w *worker, rec *protocol.Thread, r *lostRequest, mono int64, now time.Time) {
	at, ok := rec.Place(r.Start)
	if !ok || w.gen.spans == nil || w.gen.set.Tracing == nil {
		return
	}
	since := r.Start
	if at.Arrived > 0 {
		since = min(since, at.Arrived)
	}
	lost := protocol.Span{
		Trace: at.Trace, ID: at.ID, Parent: at.Parent, Flags: at.Flags, End: now.UnixNano(), Duration: max(mono-since, 0), Queue: -1, Minor: int64(r.Minor),
		Method: []byte(r.Method), Path: protocol.PathOf([]byte(r.Target)), Scheme: []byte("http"), Client: []byte(r.Client), Error: lostWorker,
	}
	if at.Security != 0 {
		lost.Scheme = []byte("https")
	}
	if r.timedOut {
		lost.Error = lostTimeout
	}
	w.gen.spans.Lost(lost, w.number(), r.cause)
}
