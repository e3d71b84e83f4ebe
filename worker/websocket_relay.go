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

// relay joins a client with an application that has taken its connection, to answer the
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
type relay struct {
	l    *Loop
	stay stay
	rec  *protocol.Thread // on the scoreboard; nil: there is none

	mu       sync.Mutex
	stage    relayStage
	client   relayEnd
	app      relayEnd
	rest     []byte // from the client: the application's socket has no room for it
	frames   websocket.FrameCount
	said     []byte       // the begin of the answer, as far as the status
	headEnd  int          // how much of an empty line it has just been; all of it: its head is over
	line     *lastingLine // of the access log; nil: there is none
	answered int64        // when that began
	gone     bool         // the client has
	bids     int          // the code that the application is to be told, as if the client closed
	bidden   bool         // … it has been; of the client nothing more is passed on
	closeBy  int64        // when it has to be over; 0: never
}

type relayStage uint8

const (
	relayTaken relayStage = iota
	relayLive
	relayOver // nothing is sent any more
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
	r := &relay{l: l, stay: stay{t.rec, t.Taken}}
	r.client = relayEnd{transport: t.conn.transport, r: r, c: t.conn, apart: true}
	r.app = relayEnd{transport: inner.transport, r: r, c: inner, rests: phaseTaken}
	r.client.rests = phaseSocket
	r.client.room, r.app.room = r.clientHasRoom, r.appHasRoom
	inner.transport = &r.app
	inner.onRoom.Store(&r.app.room)
	inner.setPhase(phaseTaken, 0)
	inner.state.Store(stateOwned)
	if err := inner.watch(l, unix.EPOLL_CTL_ADD); err != nil {
		inner.close(l)
		unix.Close(pair[1])
		return -1, fmt.Errorf("cannot watch a socket pair: %w", err)
	}
	r.line = l.access.keep(t, nil, &l.spans)
	r.rec = t.record()
	r.keep(bytes.Clone(t.buf[t.pos:t.end]))
	t.taken = r
	if !inner.release() {
		r.app.queueUp()
	}
	return pair[1], nil
}

// OwnAnswer reports whether the application has answered by the socket that it took. If it has
// not, it cannot any more, and t goes on with the request.
func (t *Thread) OwnAnswer() bool {
	l := t.l
	r, _ := t.taken.(*relay)
	if r == nil {
		return false
	}
	r.mu.Lock()
	if r.stage == relayTaken {
		if !r.app.apart && hasInput(r.app.c.fd) {
			r.goLive() // nobody has come to read it yet
		} else {
			r.finish(false)
		}
	}
	answered, status, over := r.answered, r.status(), r.stage == relayOver
	r.mu.Unlock()
	if answered == 0 {
		t.taken = nil
		return false
	}
	if t.conn == nil {
		return true
	}
	t.reply.status = status
	t.count()
	t.tally(answered)
	t.conn, t.upgrade = nil, nil
	t.pos, t.end = 0, 0
	if t.stay(); over {
		r.stay.end(l.now())
	}
	l.keeper.sockets.staying.Add(-1) // it has been counted since it was live
	return true
}

// goLive gives the client's connection to the relay. mu is held.
func (r *relay) goLive() {
	l, c := r.l, r.client.c
	r.stage, r.answered = relayLive, l.now()
	r.stay.rec.Exempt(r.stay.start)
	if r.rec != nil {
		r.rec.Exempt(r.stay.start)
	}
	s := &l.keeper.sockets
	s.staying.Add(1)
	s.mu.Lock()
	s.relays[r] = true
	s.mu.Unlock()
	c.seat.Store(nil)
	c.detach()
	c.out.mu.Lock() // others may be about to flush
	c.transport = &r.client
	c.out.mu.Unlock()
	c.onRoom.Store(&r.client.room)
	r.client.apart = false
	rest := r.rest
	r.keep(nil)
	r.fromClient(rest)
	c.setPhase(phaseSocket, 0)
	if !c.release() {
		r.client.queueUp()
	}
}

// status is that of the application's answer. mu is held.
func (r *relay) status() int {
	n := 0
	if len(r.said) < statusAt || !bytes.HasPrefix(r.said, []byte("HTTP/1.")) {
		return 101
	}
	for _, d := range r.said[statusAt-3 : statusAt] {
		if d < '0' || d > '9' {
			return 101
		}
		n = n*10 + int(d-'0')
	}
	return max(n, 100)
}

// fromApp passes on what the application has written. mu is held.
func (r *relay) fromApp(b []byte) {
	if r.stage == relayTaken {
		r.goLive()
	}
	if r.stage == relayOver {
		return
	}
	if n := statusAt - len(r.said); n > 0 {
		r.said = append(r.said, b[:min(n, len(b))]...)
		r.line.opens(r.status())
	}
	r.weigh(b)
	c := r.client.c
	if res, _ := r.l.deliver(c, message{head: b}, 0); res == WriteGone {
		r.finish(true)
		return
	}
	if c.out.pending.Load() {
		r.app.paused = c.out.left() > outLimit
		c.deadline.Store(r.due()) // if it rests; else its owner looks
	}
}

// emptyLine is what a head ends with.
const emptyLine = "\r\n\r\n"

// weigh adds b to what has been sent since the head of the answer. mu is held.
func (r *relay) weigh(b []byte) {
	for len(b) > 0 && r.headEnd < len(emptyLine) {
		switch b[0] {
		case emptyLine[r.headEnd]:
			r.headEnd++
		case emptyLine[0]:
			r.headEnd = 1
		default:
			r.headEnd = 0
		}
		b = b[1:]
	}
	r.line.add(len(b))
}

// fromClient passes on what the client has sent. mu is held.
func (r *relay) fromClient(b []byte) {
	for len(b) > 0 && !r.bidden {
		if r.bids != 0 && r.frames.Between() {
			r.bid()
			return
		}
		n := r.frames.Next(b)
		r.push(b[:n])
		b = b[n:]
	}
	if r.bids != 0 && !r.bidden && r.frames.Between() {
		r.bid()
	}
}

// bid tells the application, in the client's name, that the WebSocket is to be closed, and
// with which code: it answers the client with that. mu is held.
func (r *relay) bid() {
	r.bidden = true
	r.push(websocket.AppendMaskedClose(nil, r.bids))
}

// push writes to the application, and keeps what there is no room for. mu is held.
func (r *relay) push(b []byte) {
	if len(r.rest) > 0 {
		r.keep(append(r.rest, b...))
		return
	}
	armed := false
	for c := r.app.c; len(b) > 0; {
		n, err := sendFD(c.fd, b, 0)
		switch {
		case err == nil:
			b = b[n:]
		case err != unix.EAGAIN:
			return // it has closed its end, which the end's owner sees
		case armed:
			r.keep(bytes.Clone(b))
			r.client.paused = true
			return
		default:
			c.out.mu.Lock()
			_, err = c.arm(r.l)
			c.out.mu.Unlock()
			if armed = true; err != nil {
				r.finish(true)
				return
			}
		}
	}
}

// keep keeps b for the application, which has no room for it; it counts as buffered. mu is
// held.
func (r *relay) keep(b []byte) {
	if r.stage == relayOver {
		b = nil
	}
	r.l.mem.gathered(len(b) - len(r.rest))
	r.rest = b
}

// appHasRoom is told when the application has taken some.
func (r *relay) appHasRoom() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stage != relayLive || len(r.rest) == 0 {
		return
	}
	b := r.rest
	r.keep(nil)
	if r.push(b); len(r.rest) > 0 || r.stage != relayLive {
		return
	}
	if r.client.ended {
		_ = unix.Shutdown(r.app.c.fd, unix.SHUT_WR)
	}
	r.client.paused = false
	r.client.call()
}

// clientHasRoom is told when the client has taken some.
func (r *relay) clientHasRoom() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stage == relayLive && r.app.paused && r.client.c.out.left() <= outLimit/2 {
		r.app.paused = false
		r.app.call()
	}
}

// returned says that the application has returned. A thread of its own, or its library's,
// may be about to write the last frame, and closes the socket then; so does Python when the
// last reference to it goes. Who does neither has had its time soon.
func (r *relay) returned() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stage == relayLive {
		r.endBy(r.l.now() + afterReturn)
	}
}

// endBy has it end then, at the latest. mu is held.
func (r *relay) endBy(at int64) {
	if r.closeBy == 0 || at < r.closeBy {
		r.closeBy = at
	}
	r.client.c.deadline.Store(r.due()) // if it rests; else its owner looks
}

// depart implements departing.
func (r *relay) depart(code int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stage != relayLive {
		return
	}
	now := r.l.now()
	r.endBy(now + r.l.leave.closeLimit(now)) // which may have become less
	if r.bids != 0 {
		return
	}
	r.bids = code
	if r.status() == 101 {
		r.fromClient(nil)
	}
}

// finish ends it; gone: so has the client. mu is held.
func (r *relay) finish(gone bool) {
	if r.stage == relayOver {
		return
	}
	s, now := &r.l.keeper.sockets, r.l.now()
	if r.stage == relayLive {
		s.mu.Lock()
		delete(s.relays, r)
		s.mu.Unlock()
		r.stay.end(now)
	}
	r.line.end(now)
	r.stage, r.gone = relayOver, gone
	r.keep(nil)
	if !r.app.apart {
		// Whoever has another copy of it, a forked child even.
		_ = unix.Shutdown(r.app.c.fd, unix.SHUT_RDWR)
	}
	r.client.call()
	r.app.call()
}

// due says when the client's end is to be looked at; 0: never. mu is held.
func (r *relay) due() int64 {
	at := r.closeBy
	if c := r.client.c; c.out.pending.Load() && r.l.cfg.WriteTimeout > 0 {
		c.out.mu.Lock()
		p := c.out.patience(r.l, c)
		c.out.mu.Unlock()
		if at == 0 || p < at {
			at = p
		}
	}
	return at
}

// expire ends the client's connection if its time is up. The caller owns it.
func (r *relay) expire() {
	l, now, e := r.l, r.l.now(), &r.client
	r.mu.Lock()
	closing := r.closeBy != 0 && r.closeBy <= now
	at := r.due()
	if closing {
		r.finish(false)
	}
	r.mu.Unlock()
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

// relayEnd is a connection at one end of a relay, over the transport that it found. Its
// flags are under relay.mu.
type relayEnd struct {
	transport
	r      *relay
	c      *conn
	rests  phase
	room   func() // see conn.onRoom
	apart  bool   // it is none of the relay's, or not yet
	ended  bool   // nothing more comes from it
	paused bool   // it is not read until the other has room
}

var _ transport = (*relayEnd)(nil)

// call has the end's owner look, who may be the caller. mu is held.
func (e *relayEnd) call() {
	if !e.apart && e.c.claim(false) {
		e.queueUp()
	}
}

// queueUp leaves the end to a thread. The caller owns it.
func (e *relayEnd) queueUp() {
	e.c.setPhase(phaseReady, 0)
	e.r.l.sched.push(e.c, anyway)
}

// again implements transport: it reads, and passes on what has come.
func (e *relayEnd) again(l *Loop, t *Thread) bool {
	r, c := e.r, e.c
	for range socketReads {
		if c.lost(l) {
			r.lost()
		}
		if r.over() {
			e.leave(l)
			return false
		}
		if n := e.pass(t.buf); n == len(t.buf) || n > 0 && (!c.drains() || c.hup) {
			continue
		}
		r.mu.Lock()
		at := int64(0)
		if e == &r.client {
			at = r.due()
		}
		c.setPhase(e.rests, at)
		rests := r.stage != relayOver && c.release()
		r.mu.Unlock()
		if rests {
			return false
		}
	}
	e.queueUp()
	return false
}

func (r *relay) over() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stage == relayOver
}

// lost says that the client takes nothing any more.
func (r *relay) lost() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.finish(true)
}

// pass reads once, and passes on what has come: it returns how much. What the application
// has written is always either in its socket or passed on, for OwnAnswer looks at both.
func (e *relayEnd) pass(buf []byte) int {
	r := e.r
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.ended || e.paused {
		return 0
	}
	app := e == &r.app
	if !app { // which may be TLS's, and say things by itself
		r.mu.Unlock()
	}
	n, err := e.c.read(buf)
	if !app {
		r.mu.Lock()
	}
	e.take(buf[:max(n, 0)], err)
	return n
}

// take looks at what has been read, or that there was nothing. mu is held.
func (e *relayEnd) take(b []byte, err error) {
	r := e.r
	app := e == &r.app
	switch {
	case r.stage == relayOver:
	case len(b) > 0 && app:
		r.fromApp(b)
	case len(b) > 0:
		r.l.slot.Counters.ReceivedBytes.Add(uint64(len(b)))
		r.fromClient(b)
	case err == unix.EAGAIN:
	case app:
		r.finish(false)
	case err != nil:
		r.finish(true)
	default:
		// It may wait for an answer still. The application is on its own: if it does not
		// listen, it may be waiting for something that never comes.
		e.ended = true
		r.stay.end(r.l.now())
		if len(r.rest) == 0 {
			_ = unix.Shutdown(r.app.c.fd, unix.SHUT_WR)
		}
	}
}

// leave ends an end's part in a relay that is over. The caller owns it.
func (e *relayEnd) leave(l *Loop) {
	if gone := e.leaves(false); e == &e.r.app || gone {
		e.transport.close(l)
	} else {
		e.c.endSoon(l)
	}
}

// leaves notes that the end's owner closes it, and ends the relay.
func (e *relayEnd) leaves(gone bool) bool {
	e.r.mu.Lock()
	defer e.r.mu.Unlock()
	if !e.apart {
		e.apart = true
		e.r.finish(gone)
	}
	return e.r.gone
}

// close implements transport. Nobody sends any more when the descriptor goes.
func (e *relayEnd) close(l *Loop) {
	e.leaves(true)
	e.transport.close(l)
}

// abort implements transport.
func (e *relayEnd) abort(l *Loop) {
	e.leaves(true)
	e.transport.abort(l)
}

// dismiss implements transport.
func (e *relayEnd) dismiss(l *Loop) {
	e.leaves(false)
	e.c.endSoon(l)
}

// expire implements transport: its time has come.
func (e *relayEnd) expire(*Loop) { e.r.expire() }

// urgent implements transport: what comes is for who holds the threads.
func (e *relayEnd) urgent() bool { return true }

// noRoom implements transport.
func (e *relayEnd) noRoom(*Loop) { e.queueUp() }

// portable implements transport.
func (e *relayEnd) portable() bool { return false }
