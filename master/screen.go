package master

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"hostler/protocol"
)

// Screen is somebody who has started the server at a terminal. It waits for nothing: the
// state goroutine tells it.
type Screen interface {
	// Serving is called when the first workers serve.
	Serving(Greeting)
	// Waiting is called when a stop by Ctrl-C takes a while, because of these requests.
	Waiting(requests []Waited, others int)
}

// Greeting is what somebody wants to know who has started a server.
type Greeting struct {
	App, Python, Version         string
	Listening                    []string // as for --bind
	TLS                          bool
	Workers, MaxWorkers, Threads int
	ThreadsAuto                  bool // at most so many
}

// Waited is a request that a stop waits for.
type Waited struct {
	Worker, PID    int
	Method, Target string
	Age            time.Duration
}

// mostWaited bounds the requests that are named.
const mostWaited = 5

// greet says that the first generation serves.
func (s *supervisor) greet(g *generation) {
	s.screen.Serving(Greeting{
		App: s.set.title(), Python: g.python, Version: s.stats.version, Listening: strings.Fields(joinBinds(g.listeners)), TLS: s.set.TLS.On(),
		Workers: s.target(s.set), MaxWorkers: s.set.MaxWorkers, Threads: s.set.Threads, ThreadsAuto: s.set.ThreadsAuto,
	})
}

// waitDue is when somebody who has pressed Ctrl-C is told what that waits for. Until
// then a second one is taken for the first one's echo; see stop.
func (s *supervisor) waitDue(time.Time) time.Time {
	if s.screen == nil || s.phase != phaseStopping || !s.stopping.byHand || s.stopping.quick || s.stopping.told {
		return time.Time{}
	}
	return s.stopping.asked.Add(repeatTime)
}

func (s *supervisor) tellWaiting(now time.Time, mono int64) {
	due := s.waitDue(now)
	if due.IsZero() || now.Before(due) {
		return
	}
	s.stopping.told = true
	all := s.running(mono)
	s.screen.Waiting(all[:min(len(all), mostWaited)], len(all)-min(len(all), mostWaited))
}

// running returns the requests that are in Python, the oldest first.
func (s *supervisor) running(mono int64) (all []Waited) {
	for _, w := range s.workers {
		if !w.serves() {
			continue
		}
		for i := range min(max(w.board.Gauges.Threads.Load(), 0), protocol.MaxThreads) {
			if a, busy := w.board.ThreadRecs[i].Snapshot(); busy {
				all = append(all, Waited{Worker: w.number(), PID: w.proc.PID(), Method: a.Method, Target: a.Target, Age: time.Duration(max(mono-a.Start, 0))})
			}
		}
	}
	slices.SortFunc(all, func(a, b Waited) int { return cmp.Compare(b.Age, a.Age) })
	return all
}
