package worker

import (
	"sync/atomic"
	"time"

	"hostler/protocol"
)

const (
	// blockFloor is for how long an event loop may be away from its post, in nanoseconds,
	// before it is said to be blocked: nothing else of its worker gets on meanwhile.
	blockFloor = int64(100 * time.Millisecond)
	// blockPause is how long no other line is logged after one.
	blockPause = int64(time.Second)
)

// block is what is known of an event loop that does not get on. It belongs to the deputy,
// but for told.
type block struct {
	seen  int64        // since when the loop was away that was last looked at
	said  int64        // when that was last logged
	told  atomic.Int64 // of which the stack is wanted
	quiet int          // how many have not been logged
}

// look returns what the deputy calls at each tick while the loop is away. It counts who is
// away for long, and has the loop's stack taken. Should that not be to be had, as somebody
// keeps the GIL, the line is there without.
func (b *block) look(l *Loop) func() {
	return func() {
		since, now := l.slot.Gauges.LoopSince.Load(), l.now()
		if late := b.told.Load(); late != 0 && now-late > 3*blockFloor && b.told.CompareAndSwap(late, 0) {
			b.say(l, late, "")
		}
		if since <= protocol.LoopRests || since == b.seen || now-since < blockFloor {
			return
		}
		b.seen = since
		l.slot.Counters.LoopBlocks.Add(1)
		if now-b.said < blockPause {
			b.quiet++
			return
		}
		b.said = now
		b.told.Store(since)
		l.intervene(InterveneStack, 0, since)
	}
}

// stacked returns what is called with the stack of the loop's thread, by another one.
func (b *block) stacked(l *Loop) func(since int64, stack string) {
	return func(since int64, stack string) {
		if b.told.CompareAndSwap(since, 0) {
			b.say(l, since, stack)
		}
	}
}

// say logs it, with the request that is being stepped, if it is one.
func (b *block) say(l *Loop, since int64, stack string) {
	args := []any{"for", time.Duration(l.now() - since).Round(time.Millisecond), "requests", l.slot.Gauges.Tasks.Load()}
	if r, ok := l.slot.ThreadRecs[0].Snapshot(); ok {
		args = append(args, "method", r.Method, "target", r.Target)
	}
	if stack != "" {
		args = append(args, "stack", stack)
	}
	l.log.Warn("the event loop is blocked: none of this worker's requests gets on", args...)
}
