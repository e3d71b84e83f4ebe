package worker

import (
	"encoding/json"
	"slices"
	"sync"
	"time"

	"hostler/protocol"
)

const (
	slowFloor = protocol.SlowFloor
	// slowRoutes bounds the routes of which the worst requests are known.
	slowRoutes = 128
	// slowBatch bounds a message with reports; so many of the longest fit.
	slowBatch = 16
	// slowQueue bounds the reports that wait to be sent.
	slowQueue = 64
)

// slowLog tells the master of requests that are among the worst of their route. The
// hot path sees no more of it than one comparison.
type slowLog struct {
	tell func(protocol.Message) bool // must not wait; false: later, perhaps; nil: there is no master

	mu      sync.Mutex
	worst   map[string][]int64 // by route; durations, the longest first
	reports []protocol.SlowRequest
	stacked map[int]int64 // by thread, the start of the request whose stack was taken
}

// SetReporter tells the loop where reports for the master go. It is called before
// Start.
func (l *Loop) SetReporter(tell func(protocol.Message) bool) { l.slow.tell = tell }

// note is called at the end of a request that took SlowFloor at least.
func (s *slowLog) note(t *Thread, now int64) {
	if s.tell == nil {
		return
	}
	buf := bytesAt(t.Buf, int(t.Req.HeadLen))
	target := t.Req.Target.In(buf)
	q := protocol.SlowRequest{Method: string(t.Req.Method.In(buf)), Target: string(target[:min(len(target), protocol.SlowTarget)]),
		Client: string(t.Remote[:t.RemoteLen]), Status: t.reply.status, Duration: time.Duration(now - t.reply.arrived),
		ForClient: time.Duration(t.forClient.Load()), Thread: t.index, Start: t.Taken}
	if t.Started != 0 {
		q.Waited = time.Duration(t.Started - t.reply.arrived)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	stacked := s.stacked[t.index] == t.Taken
	delete(s.stacked, t.index)
	if s.isWorst(protocol.Route(q.Method, q.Target), int64(q.Own())) || stacked {
		s.report(q)
	}
}

// isWorst says whether a request of that duration, less what its client took, is among the worst of its route
// up to now.
func (s *slowLog) isWorst(route string, d int64) bool {
	worst, known := s.worst[route]
	if !known && len(s.worst) >= slowRoutes && !s.forget(d) {
		return false
	}
	if len(worst) == protocol.SlowPerRoute {
		if d <= worst[len(worst)-1] {
			return false
		}
		worst = worst[:len(worst)-1]
	}
	i, _ := slices.BinarySearchFunc(worst, d, func(a, b int64) int { return int(b - a) })
	if s.worst == nil {
		s.worst = make(map[string][]int64)
	}
	s.worst[route] = slices.Insert(worst, i, d)
	return true
}

// forget makes room for a route by forgetting the quickest, if that is quicker than
// d.
func (s *slowLog) forget(d int64) bool {
	least := ""
	for route, worst := range s.worst {
		if worst[0] < d {
			least, d = route, worst[0]
		}
	}
	delete(s.worst, least)
	return least != ""
}

func (s *slowLog) report(q protocol.SlowRequest) {
	if len(s.reports) < slowQueue {
		s.reports = append(s.reports, q)
	}
}

// Stacked is called with the stack of a thread that runs the request that began at
// start.
func (l *Loop) Stacked(thread int, start int64, stack string) {
	if l.deputy.stacked != nil && start == l.slot.Gauges.LoopSince.Load() {
		l.deputy.stacked(start, stack)
		return
	}
	a, ok := l.slot.ThreadRecs[thread].Snapshot()
	if !ok || a.Start != start || l.slow.tell == nil {
		return
	}
	target := a.Target[:min(len(a.Target), protocol.SlowTarget)]
	if n := len(stack) - protocol.SlowStack; n > 0 {
		stack = "…" + stack[n:] // its end says most
	}
	l.slow.mu.Lock()
	defer l.slow.mu.Unlock()
	if l.slow.stacked == nil {
		l.slow.stacked = make(map[int]int64)
	}
	l.slow.stacked[thread] = start
	l.slow.report(protocol.SlowRequest{Method: a.Method, Target: target, Client: a.Client, Duration: time.Duration(l.now() - start),
		Stack: stack, Thread: thread, Start: start})
}

// send sends reports that wait. Housekeeping calls it.
func (s *slowLog) send() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.reports) > 0 {
		n, size := 0, 0
		for n < min(len(s.reports), slowBatch) && (n == 0 || size+len(s.reports[n].Stack) < 2*protocol.SlowStack) {
			size += len(s.reports[n].Stack)
			n++
		}
		b, err := json.Marshal(s.reports[:n])
		if err == nil && len(b) < protocol.MaxMessage && !s.tell(protocol.Message{Kind: protocol.KindSlow, Text: string(b)}) {
			return // the master does not read at present
		}
		s.reports = slices.Delete(s.reports, 0, n)
	}
}
