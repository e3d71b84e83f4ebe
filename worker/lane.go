package worker

import (
	"sync/atomic"

	"golang.org/x/sys/unix"

	"hostler/protocol"
	"hostler/settings"
)

// lane is a queue of connections that are owned by it. The ready queue is one; where so
// many of its requests may run at once and no more, it has permits. All of it belongs to
// the scheduler's lock, but for what it is made with.
type lane struct {
	max     int // when so many wait, there is no room; a few may be there by force
	permits int // requests that may run at a time

	depth, oldest, running *atomic.Int64 // gauges, as far as there are any

	busy int     // permits that are given out
	ring []*conn // n of them from head on
	head int
	n    int
}

// full reports whether there is no room for one more.
func (w *lane) full() bool { return w.n >= w.max }

// push puts c behind the others.
func (w *lane) push(c *conn) {
	w.grow()
	*w.at(w.n) = c
	w.n++
	w.publish()
}

// pushFront puts c before the others.
func (w *lane) pushFront(c *conn) {
	w.grow()
	w.head = (w.head + len(w.ring) - 1) % len(w.ring)
	w.ring[w.head] = c
	w.n++
	w.publish()
}

// pop removes the first, or returns nil.
func (w *lane) pop() *conn {
	if w.n == 0 {
		return nil
	}
	c := w.ring[w.head]
	w.ring[w.head] = nil
	w.head = (w.head + 1) % len(w.ring)
	w.n--
	w.publish()
	return c
}

// take removes the first for which ok says so, or returns nil.
func (w *lane) take(ok func(*conn) bool) *conn {
	for i := range w.n {
		c := *w.at(i)
		if !ok(c) {
			continue
		}
		for ; i > 0; i-- {
			*w.at(i) = *w.at(i - 1)
		}
		*w.at(0) = c
		return w.pop()
	}
	return nil
}

// acquire takes a permit, if there is one.
func (w *lane) acquire() bool {
	if w.busy >= w.permits {
		return false
	}
	w.busy++
	w.publish()
	return true
}

// release gives a permit back: to the first that waits, which it returns, or to whoever
// comes.
func (w *lane) release() *conn {
	c := w.pop()
	if c == nil {
		w.busy--
		w.publish()
	}
	return c
}

func (w *lane) at(i int) **conn { return &w.ring[(w.head+i)%len(w.ring)] }

// grow makes room for one more.
func (w *lane) grow() {
	if w.n < len(w.ring) {
		return
	}
	ring := make([]*conn, max(16, 2*len(w.ring)))
	for i := range w.n {
		ring[i] = *w.at(i)
	}
	w.ring, w.head = ring, 0
}

func (w *lane) publish() {
	if w.depth != nil {
		w.depth.Store(int64(w.n))
	}
	if w.running != nil {
		w.running.Store(int64(w.busy))
	}
	if w.oldest != nil {
		oldest := int64(0)
		if w.n > 0 && w.ring[w.head].in != nil {
			oldest = w.ring[w.head].in.arrived
		}
		w.oldest.Store(oldest)
	}
}

// batch are events of the set that nobody has handled yet. It belongs to the
// scheduler's lock.
type batch struct {
	evs      []unix.EpollEvent
	pos, end int
	at       int64 // when they were taken
}

func newBatch() batch { return batch{evs: make([]unix.EpollEvent, 2*maxEvents)} }

func (b *batch) empty() bool { return b.pos == b.end }

// add takes events that came at a time. Only one thread leads at a time, and it leads
// only when the batch is empty; but others poll, too, when nobody leads, so room is not
// a given, and the batch grows.
func (b *batch) add(evs []unix.EpollEvent, at int64) {
	if b.empty() {
		b.pos, b.end, b.at = 0, 0, at
	}
	for i := range evs {
		if b.end == len(b.evs) {
			if b.pos == 0 {
				b.evs = append(b.evs, make([]unix.EpollEvent, len(b.evs))...)
			}
			b.end = copy(b.evs, b.evs[b.pos:b.end])
			b.pos = 0
		}
		b.evs[b.end] = evs[i]
		b.end++
	}
}

// next removes the first. The batch is not empty.
func (b *batch) next() unix.EpollEvent {
	b.pos++
	return b.evs[b.pos-1]
}

// pool is a lane: requests for certain paths, which run on so many threads at once
// and no more. What exceeds that waits in a queue of the pool's, as an input of its
// connection; it holds no thread, and the other requests do not wait behind it.
//
// A permit to run goes from request to request: whoever ends with one gives it to
// the one that has waited longest, which then waits for a thread like any other. So
// nobody can slip in before those that wait.
type pool struct {
	lane
	index int
	pathPattern
}

// anyPool is the index of the pool of all requests for which there is no other, where
// an event loop runs them: other workers have one, too, but no threads for it.
const anyPool = -1

func newPools(configured []settings.Pool, queue int, slot *protocol.Slot) []*pool {
	var all []*pool
	for i, c := range configured {
		g := &slot.Pools[i]
		all = append(all, &pool{index: i, pathPattern: newPathPattern(c.Pattern),
			lane: lane{max: queue, permits: c.Threads, depth: &g.Depth, running: &g.Busy}})
	}
	return all
}
