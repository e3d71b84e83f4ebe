package worker

import "sync"

// A cork holds back what one step of an event loop's request, or WebSocket, sends, so that
// it leaves in one send(2): until the loop's thread has a turn, another connection sends something, or
// there is enough of it. Should the step take longer, the deputy sends it at its tick.
type cork struct {
	mu     sync.Mutex
	l      *Loop
	c      *conn   // whose it is; nil: nobody's
	t      *Thread // … which has the request; nil: it is a WebSocket
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
	if k.c == nil {
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

// takeFrame is take for a frame of the WebSocket on c. The loop's thread calls it.
func (k *cork) takeFrame(c *conn, m message) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.c != c {
		k.send()
	}
	if m.size() > copyLimit || c.out.pending.Load() {
		k.send()
		return false
	}
	if k.c == nil {
		k.c = c
		k.fills++
	}
	if k.buf = append(append(k.buf, m.head...), m.data...); len(k.buf) >= corkSize {
		k.send()
	}
	return true
}

// follow sends a frame together with what is held back of the WebSocket on c. It returns
// false if there is nothing. Anybody may call it who may send by c.
func (k *cork) follow(c *conn, frame []byte) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.c != c {
		return false
	}
	k.buf = append(k.buf, frame...)
	k.send()
	return true
}

// pull sends what there is. The loop's thread calls it.
func (k *cork) pull() {
	k.mu.Lock()
	if t := k.t; k.c != nil {
		k.send()
		if t != nil {
			k.hear(t)
		}
	}
	k.mu.Unlock()
}

// tick is called by the deputy, and sends what was there at its last tick.
func (k *cork) tick() {
	k.mu.Lock()
	if k.c != nil && k.fills == k.seen {
		k.send()
	}
	k.seen = k.fills
	k.mu.Unlock()
}

// send is pull by anybody. The lock is held.
func (k *cork) send() {
	t, c := k.t, k.c
	if c == nil {
		return
	}
	k.t, k.c = nil, nil
	if rc, _ := k.l.deliver(c, message{head: k.buf}, 0); rc == WriteGone {
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

// moveTo appends to buf what there is of t's, and has it no more.
func (k *cork) moveTo(buf []byte, t *Thread) []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.t != t {
		return buf
	}
	k.t = nil
	buf = append(buf, k.buf...)
	k.buf = k.buf[:0]
	return buf
}
