package worker

import (
	"bytes"
	"fmt"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"

	"hostler/protocol"
	"hostler/worker/websocket"
)

// tunnel joins a client with an application that has taken its connection, to answer the
// handshake of a WebSocket and to speak the protocol by itself (gunicorn.socket). What the
// application has is one end of a socket pair: a socket of its own, that blocks as it likes,
// whatever the client's connection is made of. The other end is to the engine a connection
// like the client's. The owner of either reads what comes there, and writes it to the other.
//
//	taken ──the application writes──▶ live ──it returns, or closes; the client leaves──▶ over
//	  └──it returns without a word, and the request is answered like all others────────▶ over
//
// Until it is live the client's connection is with the request's thread. Nobody but an owner
// closes either; who wants an end closed that is another's has its owner look (call).
type tunnel struct {
	l    *Loop
	stay stay

	mu       sync.Mutex
	stage    tunnelStage
	client   tunnelEnd
	app      tunnelEnd
	rest     []byte // from the client: the application's socket has no room for it
	frames   websocket.FrameCount
	said     []byte // the begin of the answer, as far as the status
	answered int64  // when that began
	gone     bool   // the client has
	bids     int    // the code that the application is to be told, as if the client closed
	bidden   bool   // … it has been; of the client nothing more is passed on
	closeBy  int64  // when it has to be over; 0: never
}

type tunnelStage uint8

const (
	tunnelTaken tunnelStage = iota
	tunnelLive
	tunnelOver // nothing is sent any more
)

// afterReturn is for how long the application's socket outlives its call.
const afterReturn = closeLeaving

// statusAt is where the status ends in "HTTP/1.1 101".
const statusAt = 12

// TakeSocket gives the connection of the request that t runs to the application. The
// caller owns the descriptor.
func (t *Thread) TakeSocket() (fd int, err error) {
	l := t.l
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("cannot make a socket pair: %w", err)
	}
	inner := l.conns.get()
	if inner == nil {
		unix.Close(pair[0])
		unix.Close(pair[1])
		return -1, fmt.Errorf("cannot make a socket pair: %w", unix.EMFILE)
	}
	_ = unix.SetNonblock(pair[0], true)
	inner.reset(pair[0], t.conn.listener, netip.AddrPort{})
	tn := &tunnel{l: l, stay: stay{t.rec, t.Taken}, rest: bytes.Clone(t.buf[t.pos:t.end])}
	tn.client = tunnelEnd{transport: t.conn.transport, tn: tn, c: t.conn, apart: true}
	tn.app = tunnelEnd{transport: inner.transport, tn: tn, c: inner, rests: phaseTaken}
	tn.client.rests = phaseSocket
	tn.client.room, tn.app.room = tn.clientHasRoom, tn.appHasRoom
	inner.transport = &tn.app
	inner.onRoom.Store(&tn.app.room)
	inner.setPhase(phaseTaken, 0)
	inner.state.Store(stateOwned)
	if err := inner.watch(l, unix.EPOLL_CTL_ADD); err != nil {
		inner.close(l)
		unix.Close(pair[1])
		return -1, fmt.Errorf("cannot watch a socket pair: %w", err)
	}
	t.taken = tn
	if !inner.release() {
		tn.app.queueUp()
	}
	return pair[1], nil
}

// OwnAnswer says whether the application has answered by the socket that it took. If it has
// not, it cannot any more, and t goes on with the request.
func (t *Thread) OwnAnswer() bool {
	l := t.l
	tn, _ := t.taken.(*tunnel)
	if tn == nil {
		return false
	}
	tn.mu.Lock()
	if tn.stage == tunnelTaken {
		if !tn.app.apart && unread(tn.app.c.fd) {
			tn.goLive() // nobody has come to read it yet
		} else {
			tn.finish(false)
		}
	}
	answered, status, over := tn.answered, tn.status(), tn.stage == tunnelOver
	tn.mu.Unlock()
	if answered == 0 {
		t.taken = nil
		return false
	}
	if t.conn == nil {
		return true
	}
	t.reply.status = status
	t.count()
	t.account(answered)
	t.conn, t.upgrade = nil, nil
	t.pos, t.end = 0, 0
	if t.stay(); over {
		tn.stay.end(l.now())
	}
	l.keeper.sockets.staying.Add(-1) // it has been counted since it was live
	return true
}

// goLive gives the client's connection to the tunnel. mu is held.
func (tn *tunnel) goLive() {
	l, c := tn.l, tn.client.c
	tn.stage, tn.answered = tunnelLive, l.now()
	tn.stay.rec.Exempt(tn.stay.start)
	s := &l.keeper.sockets
	s.staying.Add(1)
	s.mu.Lock()
	s.tunnels[tn] = true
	s.mu.Unlock()
	c.detach()
	c.out.mu.Lock() // others may be about to flush
	c.transport = &tn.client
	c.out.mu.Unlock()
	c.onRoom.Store(&tn.client.room)
	tn.client.apart = false
	rest := tn.rest
	tn.rest = nil
	tn.fromClient(rest)
	c.setPhase(phaseSocket, 0)
	if !c.release() {
		tn.client.queueUp()
	}
}

// status is that of the application's answer. mu is held.
func (tn *tunnel) status() int {
	n := 0
	if len(tn.said) < statusAt || !bytes.HasPrefix(tn.said, []byte("HTTP/1.")) {
		return 101
	}
	for _, d := range tn.said[statusAt-3 : statusAt] {
		if d < '0' || d > '9' {
			return 101
		}
		n = n*10 + int(d-'0')
	}
	return max(n, 100)
}

// fromApp passes on what the application has written. mu is held.
func (tn *tunnel) fromApp(b []byte) {
	if tn.stage == tunnelTaken {
		tn.goLive()
	}
	if tn.stage == tunnelOver {
		return
	}
	if n := statusAt - len(tn.said); n > 0 {
		tn.said = append(tn.said, b[:min(n, len(b))]...)
	}
	c := tn.client.c
	if res, _ := tn.l.deliver(c, message{head: b}, 0); res == WriteGone {
		tn.finish(true)
		return
	}
	if c.out.pending.Load() {
		tn.app.paused = c.out.left() > outLimit
		c.deadline.Store(tn.due()) // if it rests; else its owner looks
	}
}

// fromClient passes on what the client has sent. mu is held.
func (tn *tunnel) fromClient(b []byte) {
	for len(b) > 0 && !tn.bidden {
		if tn.bids != 0 && tn.frames.Between() {
			tn.bid()
			return
		}
		n := tn.frames.Next(b)
		tn.push(b[:n])
		b = b[n:]
	}
	if tn.bids != 0 && !tn.bidden && tn.frames.Between() {
		tn.bid()
	}
}

// bid tells the application, in the client's name, that the WebSocket is to be closed, and
// with which code: it answers the client with that. mu is held.
func (tn *tunnel) bid() {
	tn.bidden = true
	tn.push(websocket.AppendMaskedClose(nil, tn.bids))
}

// push writes to the application, and keeps what there is no room for. mu is held.
func (tn *tunnel) push(b []byte) {
	if len(tn.rest) > 0 {
		tn.rest = append(tn.rest, b...)
		return
	}
	armed := false
	for c := tn.app.c; len(b) > 0; {
		n, err := sendFD(c.fd, b, 0)
		switch {
		case err == nil:
			b = b[n:]
		case err != unix.EAGAIN:
			return // it has closed its end, which the end's owner sees
		case armed:
			tn.rest = bytes.Clone(b)
			tn.client.paused = true
			return
		default:
			c.out.mu.Lock()
			_, err = c.arm(tn.l)
			c.out.mu.Unlock()
			if armed = true; err != nil {
				tn.finish(true)
				return
			}
		}
	}
}

// appHasRoom is told when the application has taken some.
func (tn *tunnel) appHasRoom() {
	tn.mu.Lock()
	defer tn.mu.Unlock()
	if tn.stage != tunnelLive || len(tn.rest) == 0 {
		return
	}
	b := tn.rest
	tn.rest = nil
	if tn.push(b); len(tn.rest) > 0 || tn.stage != tunnelLive {
		return
	}
	if tn.client.ended {
		_ = unix.Shutdown(tn.app.c.fd, unix.SHUT_WR)
	}
	tn.client.paused = false
	tn.client.call()
}

// clientHasRoom is told when the client has taken some.
func (tn *tunnel) clientHasRoom() {
	tn.mu.Lock()
	defer tn.mu.Unlock()
	if tn.stage == tunnelLive && tn.app.paused && tn.client.c.out.left() <= outLimit/2 {
		tn.app.paused = false
		tn.app.call()
	}
}

// returned says that the application has returned. A thread of its own, or its library's,
// may be about to write the last frame, and closes the socket then; so does Python when the
// last reference to it goes. Who does neither has had its time soon.
func (tn *tunnel) returned() {
	tn.mu.Lock()
	defer tn.mu.Unlock()
	if tn.stage == tunnelLive {
		tn.endBy(tn.l.now() + afterReturn)
	}
}

// endBy has it end then, at the latest. mu is held.
func (tn *tunnel) endBy(at int64) {
	if tn.closeBy == 0 || at < tn.closeBy {
		tn.closeBy = at
	}
	tn.client.c.deadline.Store(tn.due()) // if it rests; else its owner looks
}

// depart implements departing.
func (tn *tunnel) depart(code int) {
	tn.mu.Lock()
	defer tn.mu.Unlock()
	if tn.stage != tunnelLive || tn.bids != 0 {
		return
	}
	tn.bids = code
	tn.endBy(tn.l.now() + min(closeTime, max(int64(tn.l.GraceLeft()/2), closeLeaving)))
	if tn.status() == 101 {
		tn.fromClient(nil)
	}
}

// finish ends it; gone: so has the client. mu is held.
func (tn *tunnel) finish(gone bool) {
	if tn.stage == tunnelOver {
		return
	}
	s, now := &tn.l.keeper.sockets, tn.l.now()
	if tn.stage == tunnelLive {
		s.mu.Lock()
		delete(s.tunnels, tn)
		s.mu.Unlock()
		tn.stay.end(now)
	}
	tn.stage, tn.gone, tn.rest = tunnelOver, gone, nil
	if !tn.app.apart {
		// Whoever has another copy of it, a forked child even.
		_ = unix.Shutdown(tn.app.c.fd, unix.SHUT_RDWR)
	}
	tn.client.call()
	tn.app.call()
}

// due says when the client's end is to be looked at; 0: never. mu is held.
func (tn *tunnel) due() int64 {
	at := tn.closeBy
	if c := tn.client.c; c.out.pending.Load() && tn.l.cfg.WriteTimeout > 0 {
		c.out.mu.Lock()
		p := c.out.patience(tn.l, c)
		c.out.mu.Unlock()
		if at == 0 || p < at {
			at = p
		}
	}
	return at
}

// expire ends the client's connection if its time is up. The caller owns it.
func (tn *tunnel) expire() {
	l, now, e := tn.l, tn.l.now(), &tn.client
	tn.mu.Lock()
	closing := tn.closeBy != 0 && tn.closeBy <= now
	at := tn.due()
	if closing {
		tn.finish(false)
	}
	tn.mu.Unlock()
	switch {
	case closing:
		e.leave(l)
	case at != 0 && at <= now:
		l.slot.Counters.Timeouts[protocol.TimeoutWrite].Add(1)
		e.c.abort(l)
	default:
		e.c.setPhase(phaseSocket, at)
		if !e.c.release() {
			l.resume(l.keeper.sweeper, e.c)
		}
	}
}

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
