package worker

import "sync"

// A cork holds back what one step of an event loop's request sends, so that it leaves in
// one send(2): until the loop's thread has a turn, another connection sends something, or
// there is enough of it. Should the step take longer, the deputy sends it at its tick.
type cork struct {
	mu     sync.Mutex
	t      *Thread // whose it is; nil: nobody's
	c      *conn
	buf    []byte
	broken *Thread // its client had gone when the deputy looked
	fills  uint32  // counts those that have begun
	seen   uint32  // the deputy's: the one at its last tick
}

// corkSize is how much a cork holds back.
const corkSize = 32 << 10

// take takes a message of the response in t. It returns false where that is not for it, and
// what it had of t's has been sent.
func (k *cork) take(t *Thread, m message) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.hear(t)
	if k.t != t || t.reply.gone {
		k.send()
	}
	if m.kind != itemBytes || t.Req.Minor == minorHTTP2 || m.size() > copyLimit || t.conn.out.pending.Load() || t.reply.gone {
		k.send()
		k.hear(t)
		return false
	}
	if k.t == nil {
		k.t, k.c = t, t.conn
		k.fills++
	}
	k.buf = append(append(append(k.buf, m.head...), m.data...), m.tail...)
	if len(k.buf) >= corkSize {
		k.send()
		k.hear(t)
	}
	return true
}

// pull sends what there is. The loop's thread calls it.
func (k *cork) pull() {
	k.mu.Lock()
	if t := k.t; t != nil {
		k.send()
		k.hear(t)
	}
	k.mu.Unlock()
}

// tick is called by the deputy, and sends what was there at its last tick.
func (k *cork) tick() {
	k.mu.Lock()
	if k.t != nil && k.fills == k.seen {
		k.send()
	}
	k.seen = k.fills
	k.mu.Unlock()
}

// send is pull by anybody. The lock is held.
func (k *cork) send() {
	t := k.t
	if t == nil {
		return
	}
	k.t = nil
	if rc, _ := t.l.deliver(k.c, message{head: k.buf}, 0); rc == WriteGone {
		k.broken = t
	}
	k.buf = k.buf[:0]
}

// hear notes whether t's client has gone. The lock is held.
func (k *cork) hear(t *Thread) {
	if k.broken == t {
		k.broken = nil
		t.reply.gone = true
	}
}
