package worker

import (
	"sync"
	"sync/atomic"
	"time"
)

// A coalescer keeps replies back that are whole, while its thread has more requests at hand,
// and sends them together. Most of what a short reply costs is that its client is woken for
// it; where many connections are one client's, as a proxy's are, it is woken once for all of
// them. A connection whose reply waits is its thread's still, and nothing of it is read.
//
// A reply waits for coalesceTime, as far as one can tell how long the next request takes.
// Where that takes longer than others do, the deputy sends what waits (1 or 2 ms).
type coalescer struct {
	l     *Loop
	limit int64 // coalesceTime

	until atomic.Int64 // when what waits is to leave; 0: nothing waits

	mu    sync.Mutex // everything below
	buf   []byte
	all   []coalesced
	begun uint32 // how often something has waited after nothing did
	seen  uint32 // … at the deputy's last tick
}

// coalesced is the connection of a reply, which is in the buffer up to end, behind the one
// before it.
type coalesced struct {
	c   *conn
	end int
}

const (
	coalesceTime    = int64(200 * time.Microsecond)
	coalesceReplies = 16
	coalesceSize    = 32 << 10 // when there is so much, it leaves
)

// take takes m, the rest of the response in t, and what a cork has of it. It returns false
// where that is not to wait: the connection ends, or may have another request here, or
// its client has not taken all that there was.
func (k *coalescer) take(t *Thread, m message, now int64) bool {
	c, r := t.conn, &t.reply
	if k == nil || !c.portable() || r.close || r.short || t.pos != t.end || t.full || c.hup || c.in != nil || c.out.pending.Load() || m.size() > copyLimit {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	n := len(k.buf)
	if t.cork != nil {
		k.buf = t.cork.moveTo(k.buf, t)
	}
	k.buf = append(append(append(k.buf, m.head...), m.data...), m.tail...)
	t.out = m.head[:0]
	if len(k.buf) == n {
		return false // all of it has left
	}
	if len(k.all) == 0 {
		k.until.Store(now + k.limit)
		k.begun++
	}
	k.all = append(k.all, coalesced{c, len(k.buf)})
	t.inARow = 0
	if len(k.all) >= coalesceReplies || len(k.buf) >= coalesceSize || k.until.Load() < now {
		k.send()
	}
	return true
}

// pull sends what waits.
func (k *coalescer) pull() {
	if k.until.Load() == 0 {
		return
	}
	k.mu.Lock()
	k.send()
	k.mu.Unlock()
}

// pullBefore sends what waits where it would be late then.
func (k *coalescer) pullBefore(then int64) {
	if until := k.until.Load(); until != 0 && until < then {
		k.pull()
	}
}

// pullLate sends what waits where it is late.
func (k *coalescer) pullLate() {
	if until := k.until.Load(); until != 0 && until < k.l.now() {
		k.pull()
	}
}

// tick is called by the deputy, and sends what waited at its last tick.
func (k *coalescer) tick() {
	if k.until.Load() == 0 {
		return
	}
	k.mu.Lock()
	if k.begun == k.seen {
		k.send()
	}
	k.seen = k.begun
	k.mu.Unlock()
}

// send is pull with the lock held.
func (k *coalescer) send() {
	at := 0
	for _, r := range k.all {
		rc, _ := k.l.deliver(r.c, message{head: k.buf[at:r.end]}, 0)
		at = r.end
		r.c.afterCoalescing(k.l, rc == WriteGone)
	}
	k.all, k.buf = k.all[:0], k.buf[:0]
	k.until.Store(0)
}
