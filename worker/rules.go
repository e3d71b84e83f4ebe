package worker

import (
	"maps"
	"sync"
	"sync/atomic"

	"hostler/protocol"
)

// rules are the routes that the application's framework finds for requests
// (--metrics-routes), and what the worker has counted of them. A rule is such a route as the
// application writes it, for one method.
type rules struct {
	on    bool
	slot  *protocol.Slot
	known atomic.Pointer[map[ruleKey]*rule] // a map that does not change

	mu    sync.Mutex // of who adds one
	named int        // of slot.Routes; what shared memory says of that is for the master
	bound int        // … of those that there are only so many of
}

type ruleKey struct {
	method uint32
	name   string
}

type rule struct {
	name   []byte // empty: there is none
	counts *protocol.RouteCounters
}

func newRule(name string, counts *protocol.RouteCounters) *rule {
	if name == protocol.RouteNone {
		return &rule{nil, counts}
	}
	return &rule{[]byte(name), counts}
}

func (r *rules) open(on bool, slot *protocol.Slot) {
	r.on, r.slot = on, slot
	r.known.Store(new(map[ruleKey]*rule))
}

// find returns the rule for what the framework calls the route; nothing: there is none.
func (r *rules) find(method uint32, text []byte) *rule {
	if f := (*r.known.Load())[ruleKey{method, string(text)}]; f != nil {
		return f
	}
	return r.add(method, protocol.RouteName(text))
}

// add makes one, if there is none of that name. Those beyond the bound are counted as others.
func (r *rules) add(method uint32, name string) *rule {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, key := *r.known.Load(), ruleKey{method, name}
	if f := known[key]; f != nil {
		return f
	}
	if name == protocol.RouteNone || name == protocol.RouteOther {
		return r.keep(known, key)
	}
	if r.bound == protocol.MaxRoutes {
		return newRule(name, r.other(method))
	}
	r.bound++
	return r.keep(known, key)
}

// other returns what counts the others of a method. mu is held, as in what follows.
func (r *rules) other(method uint32) *protocol.RouteCounters {
	known, key := *r.known.Load(), ruleKey{method, protocol.RouteOther}
	if f := known[key]; f != nil {
		return f.counts
	}
	return r.keep(known, key).counts
}

// keep makes a rule that is found from now on.
func (r *rules) keep(known map[ruleKey]*rule, key ruleKey) *rule {
	counts := &r.slot.Routes[r.named]
	counts.Name(int(key.method), key.name)
	r.named++
	r.slot.Routed.Store(int64(r.named))
	more := maps.Clone(known)
	if more == nil {
		more = make(map[ruleKey]*rule)
	}
	f := newRule(key.name, counts)
	more[key] = f
	r.known.Store(&more)
	return f
}

// count counts a request that has ended, with a status of such a class.
func (f *rule) count(class int, took int64) {
	f.counts.Requests[class].Add(1)
	f.counts.Duration.Observe(took)
}
