package worker

import (
	"sync/atomic"
	"time"

	"hostler/protocol"
)

// A Python thread in the middle of a response of which enough waits for the client has
// to wait, too. That is as it should be while nobody else wants the thread. When
// requests wait and no thread is free, or none of their pool's permits, who waits for a
// client is asked to go on:
//
//   - what the application makes is buffered beyond outLimit, up to outMost, for as long
//     as all that is buffered is less than half of --limit-buffers. A response of no
//     more than that gets its thread free at once;
//   - beyond it, a client that takes next to nothing loses its response, and the thread
//     is free: after crawlEnough, or after restEnough if streams of its connection hold
//     more than their share of the threads. One goes at a time.
//
// So a few clients that do not read, whatever they speak, keep others from the threads
// for seconds at most; who takes crawl times the minimum rate is never cut.
const (
	// outMost is how much of a response may wait where its thread is needed.
	outMost = 16 << 20
	// threadShare is which part of the threads the streams of a connection may let
	// wait for their client, and one in any case.
	threadShare = 4
	// givePause is for how long after a response has been given up no other is: its
	// thread has to have got to the requests that wait.
	givePause = int64(100 * time.Millisecond)
	// pressurePause is how long nothing more is logged of clients that had to go, after a
	// line.
	pressurePause = 10 * int64(time.Second)
)

// roomWaits is what a Loop knows of all such waits.
type roomWaits struct {
	gave atomic.Int64 // when a response was last given up
	said atomic.Int64 // when that was last logged
}

// WaitRoom tries to send what is queued. It returns WriteOK when little enough
// is left, WriteWait when the thread should wait for room on Task.FD (without
// the GIL, for a second at most) and call again.
func (t *Thread) WaitRoom() int {
	l := t.l
	c := t.conn
	before := c.out.left()
	switch c.out.flush(l, c) {
	case flushGone:
		return t.giveUp()
	case flushDone:
		t.hasRoom()
		return WriteOK
	}
	left := c.out.left()
	if left <= outLimit/2 {
		t.hasRoom()
		return WriteOK
	}
	now, w := l.now(), &t.room
	if w.moved == 0 {
		c.waiting(1)
		w.since, w.sent = now, c.out.taken()
	}
	if left < before || w.moved == 0 {
		w.moved = now
	}
	if limit := int64(l.cfg.WriteTimeout); limit > 0 && (now-w.moved > limit || c.out.tooSlow(l, now)) {
		return t.giveUp()
	}
	switch {
	case t.buffersOn(left):
		return WriteOK
	case l.sched.starved(t) && t.crawls(now) && l.giveOne(now):
		return t.giveUp()
	}
	return WriteWait
}

// buffersOn reports whether t, which would wait for its client, shall go on, with so much of
// its response left.
func (t *Thread) buffersOn(left int64) bool {
	l := t.l
	return left <= outMost && l.mem.outBytes.Load() < l.mem.roomForAll() && l.sched.starved(t)
}

// hasRoom ends a thread's wait, if it waits.
func (t *Thread) hasRoom() {
	if t.room.moved != 0 {
		t.room = roomWait{}
		t.conn.waiting(-1)
	}
}

func (t *Thread) giveUp() int {
	t.hasRoom()
	t.reply.gone = true
	return WriteGone
}

// rivals is how many threads may run what waits for t's.
func (t *Thread) rivals() int {
	l := t.l
	if t.pass != nil {
		return min(t.pass.permits, int(l.sched.inUse.Load()))
	}
	return int(l.sched.inUse.Load())
}

// crawls reports whether t's client has taken next to nothing for long enough to lose its
// thread.
func (t *Thread) crawls(now int64) bool {
	l := t.l
	w, c := &t.room, t.conn
	patience := crawlEnough
	if c.waiting(0) > max(1, t.rivals()/threadShare) {
		patience = restEnough
	}
	if now-w.since < patience {
		return false
	}
	taken := c.out.taken()
	rate := perSecond(taken-w.sent, now-w.since)
	if rate > 0 && rate >= crawl*l.cfg.MinRate {
		w.since, w.sent = now, taken
		return false
	}
	return true
}

// giveOne reports whether it is time for a response to be given up, for those that wait
// for a thread, and says so.
func (l *Loop) giveOne(now int64) bool {
	v := &l.keeper.rooms
	if last := v.gave.Load(); now-last < givePause || !v.gave.CompareAndSwap(last, now) {
		return false
	}
	l.slot.Counters.Evicted[protocol.EvictedWrite].Add(1)
	if said := v.said.Load(); (said == 0 || now-said >= pressurePause) && v.said.CompareAndSwap(said, now) {
		l.log.Warn("requests wait for threads that wait for clients: those that take next to nothing are closed", "threads", l.sched.inUse.Load())
	}
	return true
}
