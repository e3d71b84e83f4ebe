package protocol

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unicode"
	"unicode/utf8"
)

const (
	// MaxRoutes bounds the routes, by method, that a worker tells apart.
	MaxRoutes = 200
	// MaxRouteName is how long the name of a route may be.
	MaxRouteName = 128

	// RouteOther stands for those beyond the bound, and RouteNone for there being no route
	// that is known. Each method has room for the two.
	RouteOther = "other"
	RouteNone  = "-"
	maxRoutes  = MaxRoutes + 2*len(Methods)

	// maxRoutesKept bounds those of all workers, the gone ones included.
	maxRoutesKept = 1000
)

// RouteCounters count the requests of a method for which the application's framework has found one
// route. Its worker has named it before it counts it in Slot.Routed.
type RouteCounters struct {
	size     atomic.Uint32 // of the name
	method   atomic.Uint32 // of Methods
	name     [MaxRouteName / 8]atomic.Uint64
	Requests [len(Classes)]atomic.Uint64
	Duration Histogram
}

// Name says what r counts; name is one that RouteName has made.
func (r *RouteCounters) Name(method int, name string) {
	var b [MaxRouteName]byte
	n := copy(b[:], name)
	for i := range r.name {
		r.name[i].Store(binary.NativeEndian.Uint64(b[8*i:]))
	}
	r.method.Store(uint32(method))
	r.size.Store(uint32(n))
}

// key reads what r counts. A worker may have written anything.
func (r *RouteCounters) key() routeKey {
	var b [MaxRouteName]byte
	for i := range r.name {
		binary.NativeEndian.PutUint64(b[8*i:], r.name[i].Load())
	}
	n, method := min(r.size.Load(), MaxRouteName), int(r.method.Load())
	if method >= len(Methods) {
		method = 0
	}
	return routeKey{method, RouteName(b[:n])}
}

// RouteName makes a name of what a framework calls a route: one that is text, can be printed,
// and is not too long. What is not empty stays so, and what it has made it leaves alone.
func RouteName(text []byte) string {
	if len(text) == 0 {
		return RouteNone
	}
	var b strings.Builder
	for len(text) > 0 {
		c, n := utf8.DecodeRune(text)
		if text = text[n:]; !unicode.IsPrint(c) {
			c = utf8.RuneError
		}
		if b.Len()+utf8.RuneLen(c) > MaxRouteName {
			break
		}
		b.WriteRune(c)
	}
	return b.String()
}

type routeKey struct {
	method int
	name   string
}

// RouteSum is what all workers together have counted of a route.
type RouteSum struct {
	Method, Name string
	Requests     [len(Classes)]uint64
	Duration     HistogramSum
}

// HistogramSum is a sum over histograms.
type HistogramSum struct {
	Sum    int64 // nanoseconds
	Counts [len(Bounds) + 1]uint64
}

// Add adds what h has counted by now.
func (s *HistogramSum) Add(h *Histogram) {
	s.Sum += h.Sum.Load()
	for i := range h.Counts {
		s.Counts[i] += h.Counts[i].Load()
	}
}

func (s *RouteSum) add(r *RouteCounters) {
	for i := range r.Requests {
		s.Requests[i] += r.Requests[i].Load()
	}
	s.Duration.Add(&r.Duration)
}

func (s *RouteSum) addSum(o *RouteSum) {
	for i, n := range o.Requests {
		s.Requests[i] += n
	}
	s.Duration.Sum += o.Duration.Sum
	for i, n := range o.Duration.Counts {
		s.Duration.Counts[i] += n
	}
}

// routeSums knows which route counts for which sum. That is decided once for each, when it is
// first seen, and holds for as long as its worker does: so no sum ever goes back.
type routeSums struct {
	mu    sync.Mutex
	sums  map[routeKey]*routeSum
	slots [MaxSlots][]*routeSum // what a slot's routes count for, in their order
}

// routeSum is what gone workers have counted.
type routeSum struct {
	RouteSum
	held int // by so many routes of workers that are there
}

// Routes returns what has been counted by route, ordered.
func (s *Scoreboard) Routes() []RouteSum {
	k := &s.gone
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range s.Used() {
		k.see(i, s.Slot(i))
	}
	now := make(map[*routeSum]*RouteSum, len(k.sums))
	all := make([]RouteSum, 0, len(k.sums))
	for _, sum := range k.sums {
		all = append(all, sum.RouteSum)
		now[sum] = &all[len(all)-1]
	}
	for i, of := range &k.slots {
		for j, sum := range of {
			now[sum].add(&s.Slot(i).Routes[j])
		}
	}
	slices.SortFunc(all, func(a, b RouteSum) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Method, b.Method))
	})
	return all
}

// KeepRoutes takes what the worker in slot i has counted by route, for it has ended: the next
// one there has routes of its own.
func (s *Scoreboard) KeepRoutes(i int) {
	slot, k := s.Slot(i), &s.gone
	k.mu.Lock()
	defer k.mu.Unlock()
	k.see(i, slot)
	for j, sum := range k.slots[i] {
		sum.add(&slot.Routes[j])
		sum.held--
		slot.Routes[j].clear()
	}
	k.slots[i] = nil
	slot.Routed.Store(0)
}

func (r *RouteCounters) clear() {
	for i := range r.Requests {
		r.Requests[i].Store(0)
	}
	r.Duration.Sum.Store(0)
	for i := range r.Duration.Counts {
		r.Duration.Counts[i].Store(0)
	}
}

// see finds sums for the routes of a slot that have been named since the last time.
func (k *routeSums) see(i int, slot *Slot) {
	named := min(max(slot.Routed.Load(), 0), int64(maxRoutes))
	for j := len(k.slots[i]); j < int(named); j++ {
		sum := k.of(slot.Routes[j].key())
		sum.held++
		k.slots[i] = append(k.slots[i], sum)
	}
}

// of returns the sum for a route. Where there are too many, those that no worker has any more
// make room; what they have counted goes to the others.
func (k *routeSums) of(key routeKey) *routeSum {
	if sum := k.sums[key]; sum != nil {
		return sum
	}
	if k.sums == nil {
		k.sums = make(map[routeKey]*routeSum)
	}
	bound := key.name != RouteOther && key.name != RouteNone
	if bound && len(k.sums) >= maxRoutesKept && !k.forget() {
		return k.of(routeKey{key.method, RouteOther})
	}
	sum := &routeSum{RouteSum: RouteSum{Method: Methods[key.method], Name: key.name}}
	k.sums[key] = sum
	return sum
}

// forget reports whether there is room again.
func (k *routeSums) forget() bool {
	for key, sum := range k.sums {
		if sum.held == 0 && key.name != RouteOther && key.name != RouteNone {
			delete(k.sums, key)
			k.of(routeKey{key.method, RouteOther}).addSum(&sum.RouteSum)
		}
	}
	return len(k.sums) < maxRoutesKept
}
