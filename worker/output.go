package worker

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// output is what a client has not taken of its response yet. The connection's
// owner adds to it; whoever handles an event for room to write may flush it.
type output struct {
	pending atomic.Bool // items is not empty
	mu      sync.Mutex
	items   []outItem
	bytes   int64        // of memory in items
	sealed  atomic.Int64 // … and, beside that, ciphertext that TLS holds back
	began   int64        // when something was first left over
	moved   int64        // when the client last took some of it
	sent    int64        // bytes since then
	quick   bool         // the kernel may keep notSentQuick
}

const (
	// copyLimit is up to which size a body is copied behind its head, to leave
	// in one plain send(2).
	copyLimit = 8 << 10
	// outLimit is how much of a response may wait for the client before the
	// application has to. The last piece of a response may be larger: it is
	// there already, and with nothing more to come the thread is free for others.
	outLimit = 1 << 20
)

type flushed int

const (
	flushDone flushed = iota
	flushMore         // an event will tell when there is room
	flushGone
)

func (o *output) add(l *Loop, i outItem) {
	o.items = append(o.items, i)
	o.bytes += int64(len(i.mem))
	l.mem.buffered(len(i.mem))
}

// seal counts n bytes more of ciphertext that is held back, or fewer.
func (o *output) seal(l *Loop, n int) {
	o.sealed.Add(int64(n))
	l.mem.buffered(n)
}

// open says that there is something to flush. o.mu is held.
func (o *output) open(l *Loop) {
	if !o.pending.Load() {
		o.began, o.sent = l.now(), 0
		o.moved = o.began
		o.pending.Store(true)
	}
}

// tooSlow says that the client takes less than the minimum rate.
func (o *output) tooSlow(l *Loop, now int64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	rate := l.cfg.MinRate
	return rate > 0 && o.began+int64(l.cfg.WriteTimeout)+granted(o.sent, rate) < now
}

// mergeLimit is up to which size copies share an item: an application that yields
// a few bytes at a time must not make a long list of them, with a send(2) each.
const mergeLimit = 32 << 10

func (o *output) addCopy(l *Loop, kind itemKind, b []byte) {
	if len(b) == 0 {
		return
	}
	if n := len(o.items); n > 0 && kind == itemBytes {
		if i := &o.items[n-1]; i.kind == itemBytes && i.file < 0 && i.ref == 0 && !i.end && len(i.mem)+len(b) <= mergeLimit {
			i.mem = append(i.mem, b...)
			o.bytes += int64(len(b))
			l.mem.buffered(len(b))
			return
		}
	}
	o.add(l, outItem{kind: kind, mem: append([]byte(nil), b...), file: -1})
}

// quickRate is how many bytes a millisecond a client takes that is quick: what the kernel
// keeps for it is gone within half a second.
const quickRate = 2 << 10

// fit lets the kernel keep more for a client that turns out to be quick, and no longer so
// for one that no longer is: a response of a megabyte leaves in one send(2) instead of
// four, and a client that reads slowly, or not at all, does not hold as much. o.mu is held.
func (o *output) fit(c *conn, now int64) {
	quick := o.sent >= (now-o.began)/int64(time.Millisecond)*quickRate
	if quick == o.quick || o.sent < notSentMost || !c.portable() {
		return
	}
	if quick {
		limitUnsent(c.fd, notSentQuick)
	} else {
		limitUnsent(c.fd, notSentMost)
	}
	o.quick = quick
}

// end says that the response ends with what has been added. It adds something only
// where there is nothing, all of which has been taken.
func (o *output) end(l *Loop) {
	if len(o.items) == 0 {
		o.add(l, outItem{file: -1})
	}
	o.items[len(o.items)-1].end = true
}

// addMessage adds a message. ref, if not 0, is the object that owns its data; it says
// whether it has taken that over.
func (o *output) addMessage(l *Loop, m message, ref uintptr) (kept bool) {
	o.addCopy(l, m.kind, m.head)
	if kept = ref != 0 && len(m.data) > copyLimit; kept {
		o.add(l, outItem{mem: m.data, ref: ref, file: -1})
	} else {
		o.addCopy(l, itemBytes, m.data)
	}
	o.addCopy(l, itemBytes, m.tail)
	if m.end {
		o.end(l)
	}
	return kept
}

// patience says until when the client has to take more. o.mu is held.
func (o *output) patience(l *Loop, c *conn) int64 {
	return c.slowestAfter(l, o.moved, o.began, o.sent, l.cfg.WriteTimeout)
}

// taken is how much the client has taken since something was first left over.
func (o *output) taken() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.sent
}

// crowded says that much waits, or a file does: no more is to be added.
func (o *output) crowded() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes > outLimit/2 || slices.ContainsFunc(o.items, func(i outItem) bool { return i.file >= 0 })
}

func (o *output) left() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes
}

// flush sends what the socket takes.
func (o *output) flush(l *Loop, c *conn) flushed {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.pending.Load() {
		return flushDone // dropped in the meantime: the connection may be another's
	}
	armed, turn := false, int64(fileSlice)
	for len(o.items) > 0 || c.holdsBack() {
		var i *outItem
		n, err := 0, error(unix.EAGAIN)
		if len(o.items) > 0 {
			i = &o.items[0]
			flags := 0
			if len(o.items) > 1 {
				flags = unix.MSG_MORE
			}
			n, err = c.sendItem(i, flags)
		}
		if err == unix.EAGAIN {
			if armed {
				return flushMore
			}
			// From now on room is reported. It is at once if there is some
			// again, so nothing is missed between the two calls.
			if armed, err = c.arm(l); err != nil {
				return flushGone
			}
			if !armed {
				return flushMore
			}
			continue
		}
		if err != nil || n == 0 && i.file >= 0 {
			return flushGone // of a file that has shrunk nothing comes
		}
		l.slot.Counters.SentBytes.Add(uint64(n))
		o.sent += int64(n)
		o.moved = l.now()
		o.fit(c, o.moved)
		if phase(c.phase.Load()) == phaseWriting {
			c.deadline.Store(o.patience(l, c))
		}
		if i.file >= 0 {
			i.off += int64(n)
			i.n -= int64(n)
			if i.n > 0 {
				if turn -= int64(n); turn <= 0 {
					if c.yield(l) != nil {
						return flushGone
					}
					return flushMore
				}
				continue
			}
		} else {
			o.bytes -= int64(n)
			l.mem.outBytes.Add(-int64(n))
			i.mem = i.mem[n:]
			if len(i.mem) > 0 {
				continue
			}
		}
		i.free(l)
		o.items = append(o.items[:0], o.items[1:]...)
	}
	o.items = nil
	o.pending.Store(false)
	return flushDone
}

// lost reports whether the client of an owned connection will not take what waits. Of an
// error whoever flushes is told, once; a read may say no more then than that nothing comes,
// as it does where the client has only ended its own direction.
func (c *conn) lost(l *Loop) bool {
	return c.hup && c.out.pending.Load() && c.out.flush(l, c) == flushGone
}

// drop forgets what is left; no flush touches the descriptor afterwards.
func (o *output) drop(l *Loop) {
	if o.sealed.Load() != 0 {
		l.mem.outBytes.Add(-o.sealed.Swap(0))
	}
	if !o.pending.Load() {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for k := range o.items {
		o.items[k].free(l)
	}
	l.mem.outBytes.Add(-o.bytes)
	o.items, o.bytes = nil, 0
	o.pending.Store(false)
}

func (i *outItem) free(l *Loop) {
	if i.file >= 0 {
		unix.Close(i.file)
	}
	if i.ref != 0 {
		l.sched.discard(i.ref)
	}
	*i = outItem{file: -1}
}

// deliver sends a message by an owned connection, behind what waits there, and queues
// what does not leave now. It reports whether it has taken over ref, as addMessage does.
func (l *Loop) deliver(c *conn, m message, ref uintptr) (res int, kept bool) {
	o := &c.out
	if !o.pending.Load() {
		total := m.size()
		if total == 0 && !m.end {
			return WriteOK, false
		}
		n, err := c.send(m)
		if err != nil && err != unix.EAGAIN {
			return WriteGone, false
		}
		l.slot.Counters.SentBytes.Add(uint64(n))
		if err == nil && n == total && !c.holdsBack() {
			return WriteOK, false
		}
		if n == total && err == nil {
			m.end = false // that is out
		}
		m.head, n = skip(m.head, n)
		m.data, n = skip(m.data, n)
		m.tail, _ = skip(m.tail, n)
	}
	o.mu.Lock()
	kept = o.addMessage(l, m, ref)
	waiting := o.bytes
	o.open(l)
	o.mu.Unlock()
	switch o.flush(l, c) {
	case flushGone:
		return WriteGone, kept
	case flushMore:
		if waiting > outLimit {
			return WriteWait, kept
		}
	}
	return WriteOK, kept
}
