package worker

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"hostler/worker/websocket"
)

// tunnelEnd is a connection at one end of a tunnel, over the transport that it found. Its
// flags are under tunnel.mu.
type tunnelEnd struct {
	transport
	tn     *tunnel
	c      *conn
	rests  phase
	room   func() // see conn.onRoom
	apart  bool   // it is none of the tunnel's, or not yet
	ended  bool   // nothing more comes from it
	paused bool   // it is not read until the other has room
}

var _ transport = (*tunnelEnd)(nil)

// call has the end's owner look, who may be the caller. mu is held.
func (e *tunnelEnd) call() {
	if !e.apart && e.c.claim(false) {
		e.queueUp()
	}
}

// queueUp leaves the end to a thread. The caller owns it.
func (e *tunnelEnd) queueUp() {
	e.c.setPhase(phaseReady, 0)
	e.tn.l.sched.push(e.c, anyway)
}

// again implements transport: it reads, and passes on what has come.
func (e *tunnelEnd) again(l *Loop, t *Thread) bool {
	tn, c := e.tn, e.c
	for range socketReads {
		if tn.over() {
			e.leave(l)
			return false
		}
		if e.reads() {
			n, err := c.read(t.buf)
			if e.take(t.buf[:max(n, 0)], err); n == len(t.buf) || n > 0 && (!c.drains() || c.hup) {
				continue
			}
		}
		tn.mu.Lock()
		at := int64(0)
		if e == &tn.client {
			at = tn.due()
		}
		c.setPhase(e.rests, at)
		rests := tn.stage != tunnelOver && c.release()
		tn.mu.Unlock()
		if rests {
			return false
		}
	}
	e.queueUp()
	return false
}

func (tn *tunnel) over() bool {
	tn.mu.Lock()
	defer tn.mu.Unlock()
	return tn.stage == tunnelOver
}

func (e *tunnelEnd) reads() bool {
	e.tn.mu.Lock()
	defer e.tn.mu.Unlock()
	return !e.ended && !e.paused
}

// take looks at what has been read, or that there was nothing.
func (e *tunnelEnd) take(b []byte, err error) {
	tn := e.tn
	tn.mu.Lock()
	defer tn.mu.Unlock()
	app := e == &tn.app
	switch {
	case tn.stage == tunnelOver:
	case len(b) > 0 && app:
		tn.fromApp(b)
	case len(b) > 0:
		tn.l.slot.Counters.ReceivedBytes.Add(uint64(len(b)))
		tn.fromClient(b)
	case err == unix.EAGAIN:
	case app:
		tn.finish(false)
	case err != nil:
		tn.finish(true)
	default:
		// It may wait for an answer still. The application is on its own: if it does not
		// listen, it may be waiting for something that never comes.
		e.ended = true
		tn.stay.end(tn.l.now())
		if len(tn.rest) == 0 {
			_ = unix.Shutdown(tn.app.c.fd, unix.SHUT_WR)
		}
	}
}

// leave ends an end's part in a tunnel that is over. The caller owns it.
func (e *tunnelEnd) leave(l *Loop) {
	if gone := e.leaves(false); e == &e.tn.app || gone {
		e.transport.close(l)
	} else {
		e.c.endSoon(l)
	}
}

// leaves notes that the end's owner closes it, and ends the tunnel.
func (e *tunnelEnd) leaves(gone bool) bool {
	e.tn.mu.Lock()
	defer e.tn.mu.Unlock()
	if !e.apart {
		e.apart = true
		e.tn.finish(gone)
	}
	return e.tn.gone
}

// close implements transport. Nobody sends any more when the descriptor goes.
func (e *tunnelEnd) close(l *Loop) {
	e.leaves(true)
	e.transport.close(l)
}

// abort implements transport.
func (e *tunnelEnd) abort(l *Loop) {
	e.leaves(true)
	e.transport.abort(l)
}

// dismiss implements transport.
func (e *tunnelEnd) dismiss(l *Loop) {
	e.leaves(false)
	e.c.endSoon(l)
}

// expire implements transport: its time has come.
func (e *tunnelEnd) expire(*Loop) { e.tn.expire() }

// urgent implements transport: what comes is for who holds the threads.
func (e *tunnelEnd) urgent() bool { return true }

// noRoom implements transport.
func (e *tunnelEnd) noRoom(*Loop) { e.queueUp() }

// portable implements transport.
func (e *tunnelEnd) portable() bool { return false }

// frameCount knows where frames begin in a stream of them.
type frameCount struct {
	head [14]byte // of the frame that comes, as far as it is there
	n    int
	left uint64 // of its payload
}

// between says that a frame has ended, or none has begun.
func (f *frameCount) between() bool { return f.n == 0 && f.left == 0 }

// next takes bytes up to the end of a frame, and returns how many of b these are.
func (f *frameCount) next(b []byte) int {
	at := 0
	for f.left == 0 && at < len(b) {
		f.head[f.n] = b[at]
		f.n++
		at++
		if f.n == f.headLen() {
			f.left, f.n = f.payload(), 0
			break
		}
	}
	if f.n > 0 {
		return at
	}
	n := min(uint64(len(b)-at), f.left)
	f.left -= n
	return at + int(n)
}

// headLen is how long the head is, as far as can be told.
func (f *frameCount) headLen() int {
	n := 2
	if f.n < 2 {
		return n
	}
	switch f.head[1] & 0x7f {
	case 126:
		n += 2
	case 127:
		n += 8
	}
	if f.head[1]&0x80 != 0 {
		n += 4
	}
	return n
}

func (f *frameCount) payload() uint64 {
	switch n := f.head[1] & 0x7f; n {
	case 126:
		return uint64(binary.BigEndian.Uint16(f.head[2:]))
	case 127:
		return binary.BigEndian.Uint64(f.head[2:])
	default:
		return uint64(n)
	}
}

// maskedClose is a close frame as clients send it.
func maskedClose(code int) []byte {
	const fin, masked = 0x80, 0x80
	b := []byte{fin | byte(websocket.Close), masked | 2, 0, 0, 0, 0}
	return binary.BigEndian.AppendUint16(b, uint16(code))
}
