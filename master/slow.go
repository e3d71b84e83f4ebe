package master

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"hostler/protocol"
)

// slowRoutes bounds the routes of which the worst requests are kept. If there are
// more, those with the worst requests stay.
const slowRoutes = 100

// What a report may hold: more would be no worker's of ours.
const (
	slowReports = 64
	slowName    = 64 // bytes of a method, or of a client's address
)

// cut returns no more than the first n bytes of s, as a string of its own.
func cut(s string, n int) string { return strings.Clone(s[:min(len(s), n)]) }

// slowSeen is a request that is over --slow-request. Its stack, for hostler ctl
// slow, is asked for a little after all tracebacks have been: Python code is run
// for it, which the dump had better not come across.
type slowSeen struct {
	start   int64
	dumped  time.Time
	stacked bool
}

// slowTable is the worst requests by route, of all workers there have been. Like
// the journal it has a lock of its own.
type slowTable struct {
	mu     sync.Mutex
	routes map[string][]protocol.SlowRequest // the worst first, never empty
}

// add takes a report in. One of a request that is known already says more of it.
func (t *slowTable) add(q protocol.SlowRequest) {
	t.mu.Lock()
	defer t.mu.Unlock()
	route := protocol.Route(q.Method, q.Target)
	worst := t.routes[route]
	if i := slices.IndexFunc(worst, func(o protocol.SlowRequest) bool {
		return o.PID == q.PID && o.Thread == q.Thread && o.Start == q.Start
	}); i >= 0 {
		q.Stack = cmp.Or(q.Stack, worst[i].Stack)
		worst = slices.Delete(worst, i, i+1)
	}
	i, _ := slices.BinarySearchFunc(worst, q, slower)
	if i == protocol.SlowPerRoute {
		return
	}
	worst = slices.Insert(worst, i, q)
	if t.routes == nil {
		t.routes = make(map[string][]protocol.SlowRequest)
	}
	t.routes[route] = worst[:min(len(worst), protocol.SlowPerRoute)]
	if len(t.routes) > slowRoutes {
		least := route
		for r, worst := range t.routes {
			if worst[0].Own() < t.routes[least][0].Own() {
				least = r
			}
		}
		delete(t.routes, least)
	}
}

func slower(a, b protocol.SlowRequest) int { return cmp.Compare(b.Own(), a.Own()) }

// all returns a copy, the route with the worst request first.
func (t *slowTable) all() []protocol.SlowRoute {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]protocol.SlowRoute, 0, len(t.routes))
	for route, worst := range t.routes {
		out = append(out, protocol.SlowRoute{Route: route, Worst: slices.Clone(worst)})
	}
	slices.SortFunc(out, func(a, b protocol.SlowRoute) int {
		return cmp.Or(slower(a.Worst[0], b.Worst[0]), cmp.Compare(a.Route, b.Route))
	})
	return out
}

// slowReported takes in what w says of its slow requests.
func (s *supervisor) slowReported(w *worker, text string) {
	var all []protocol.SlowRequest
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		s.log.Debug("a worker's report of slow requests makes no sense", "worker", w.number(), "error", err)
		return
	}
	for _, q := range all[:min(len(all), slowReports)] {
		q.Method, q.Target, q.Client = cut(q.Method, slowName), cut(q.Target, protocol.SlowTarget), cut(q.Client, slowName)
		q.Stack = cut(q.Stack, 2*protocol.SlowStack)
		q.Time, q.Worker, q.PID, q.Generation = s.clock.now().UTC(), w.number(), w.proc.PID(), w.gen.number
		s.slow.add(q)
	}
}

// Slow returns the worst requests by route.
func (m *Master) Slow() []protocol.SlowRoute { return m.sup.slow.all() }
