package worker

import (
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"hostler/protocol"
)

// Exchange is where this worker gives connections to others, and gets them.
type Exchange struct {
	Out, In int // see protocol.NewExchange
	Board   *protocol.Scoreboard
	Slot    int // this worker's, on Board

	canary  canary
	ended   atomic.Bool   // nothing goes through it any more
	sent    atomic.Uint64 // packets: see stamp
	trouble seldom
}

// silentFor is for how long a worker that shows no sign of life may still be taken
// for one that has threads to spare.
const silentFor = int64(2 * time.Second)

// free counts the Python threads of other workers that could take a request.
func (x *Exchange) free() int {
	n := 0
	for i := range x.Board.Used() {
		if i != x.Slot {
			n += x.freeThreads(i)
		}
	}
	return n
}

// others counts the Python threads of other workers.
func (x *Exchange) others() int {
	n := 0
	for i := range x.Board.Used() {
		if i != x.Slot {
			n += x.threads(i)
		}
	}
	return n
}

// threads counts the Python threads of the worker in a slot that serves.
func (x *Exchange) threads(slot int) int {
	s := x.Board.Slot(slot)
	if protocol.SlotState(s.State.Load()) != protocol.SlotServing {
		return 0
	}
	if beat := s.Gauges.Heartbeat.Load(); beat != 0 && protocol.Monotonic()-beat > silentFor {
		return 0 // it is stopped
	}
	return min(int(s.Gauges.Threads.Load()), len(s.ThreadRecs))
}

// freeThreads counts the threads of the worker in a slot that could take a request.
func (x *Exchange) freeThreads(slot int) int {
	s := x.Board.Slot(slot)
	if s.Gauges.QueueDepth.Load() > 0 || s.Gauges.TasksWaiting.Load() > 0 {
		return 0
	}
	if since := s.Gauges.LoopSince.Load(); since != 0 {
		return min(x.threads(slot), 1) * loopRoom(since)
	}
	n := 0
	for k := range x.threads(slot) {
		if s.ThreadRecs[k].Started() == 0 {
			n++
		}
	}
	return n
}

// freeInPool counts the requests of a pool that other workers could run now.
func (x *Exchange) freeInPool(p *pool) int {
	switch {
	case x == nil:
		return 0
	case p.index == anyPool:
		return x.free()
	}
	n := 0
	mine := x.Board.Slot(x.Slot).Generation.Load() // others may have other pools
	for i := range x.Board.Used() {
		s := x.Board.Slot(i)
		if i == x.Slot || s.Generation.Load() != mine {
			continue
		}
		g := &s.Pools[p.index]
		n += min(x.freeThreads(i), max(p.permits-int(g.Busy.Load()+g.Depth.Load()), 0))
	}
	return n
}

// loopRoom counts the requests that an event loop could take, which has been away from its
// post since then. While it is, whatever it does, all that it gets waits.
func loopRoom(since int64) int {
	const (
		atRest = 8
		busy   = int64(2 * time.Millisecond)
	)
	if since != protocol.LoopRests && protocol.Monotonic()-since > busy {
		return 0
	}
	return atRest
}

// id tells this worker from all others that share the exchange, those of another
// binary included.
func (x *Exchange) id() uint64 { return uint64(os.Getpid())<<16 | uint64(x.Slot) }

// idBits is how much of a Handover's From is the worker's id: a pid has 22 bits.
const idBits = 40

// stamp is the From of a packet: beside the worker it tells the packet from all others,
// for two connections of a unix socket, whose peers have no names, may be alike.
func (x *Exchange) stamp() uint64 { return x.sent.Add(1)<<idBits | x.id() }

// isOwn reports whether this worker has sent a packet itself.
func (x *Exchange) isOwn(h *protocol.Handover) bool { return h.From&(1<<idBits-1) == x.id() }

// canary is a worker's part in a canary: see canary.go.
type canary struct {
	giver   atomic.Pointer[giver] // nil: there is nobody to give to
	returns atomic.Bool           // this worker is the canary's: connections go back when they have their answer
}

// giver chooses what goes to the canary.
type giver struct {
	mu    sync.Mutex
	out   int // the end to give into; -1: no more
	share float64
	due   float64 // the share of the requests so far …
	next  float64 // … and at how much of it the next is to go
	given float64
}

// turn says whether a request is to go: one in 1/share, of these any one, for a client that
// asks for two things by turns would always have the same one go.
func (g *giver) turn() bool {
	g.due += g.share
	if g.due < g.next {
		return false
	}
	g.given++
	g.next = g.given + rand.Float64()
	return true
}

// takesBack reports whether a connection that has its answer goes back to the workers that
// serve: there are some.
func (k *canary) takesBack(x *Exchange) bool { return k.returns.Load() && x.others() > 0 }
