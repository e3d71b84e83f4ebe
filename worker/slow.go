package worker

import (
	"encoding/json"
	"slices"
	"sync"

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

// note is called at the end of a request that took SlowFloor at least.
func (s *slowLog) note(q protocol.SlowRequest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stacked := s.stacked[q.Thread] == q.Start
	delete(s.stacked, q.Thread)
	if s.isWorst(protocol.Route(q.Method, q.Target), int64(q.Own())) || stacked {
		s.report(q)
	}
}

// isWorst reports whether a request of that duration, less what its client took, is among the worst of its route
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

// noteStack is called with the stack of a thread that still runs the request that began at
// start.
func (s *slowLog) noteStack(q protocol.SlowRequest) {
	q.Target = q.Target[:min(len(q.Target), protocol.SlowTarget)]
	if n := len(q.Stack) - protocol.SlowStack; n > 0 {
		q.Stack = "…" + q.Stack[n:] // its end says most
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stacked == nil {
		s.stacked = make(map[int]int64)
	}
	s.stacked[q.Thread] = q.Start
	s.report(q)
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
