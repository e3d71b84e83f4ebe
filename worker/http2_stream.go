package worker

import (
	"slices"

	"golang.org/x/net/http2"
	"golang.org/x/sys/unix"

	"hostler/worker/http1"
)

// stream is a stream of HTTP/2: to the engine a connection that brings one request.
// What the client sends reads as HTTP/1.1 (head as text, a body without length in
// chunks). Nobody but its own h can see that text, so nothing can be smuggled in it:
// names and values are checked by the Framer before, and by the parser after. What is
// said to the client is no text: messages become HEADERS and DATA, and wait in the
// stream's output where there is no room for them.
//
// As with every conn, plain fields of it belong to the owner; the fields below to
// h.mu.
type stream struct {
	conn
	sections
	h  *http2Conn
	id uint32

	window   int64        // what we may send
	received int64        // what the client may still send
	owed     int64        // what it has sent and not been given back
	declared int64        // Content-Length; -1: none
	body     []byte       // come, and not read yet
	chunked  bool         // body is framed for the engine
	ended    bool         // the client has sent all
	refused  http1.Reason // its head is, by us; ReasonNone: it is not
	asked    asked        // … what it is
	tunnel   bool         // it is to become one, for a WebSocket: a CONNECT with a :protocol
	dead     bool         // nobody waits for the answer any more

	headSent     bool
	endSent      bool
	waitsForRoom bool // in h.blocked
	starved      bool // it is for want of a window

	toCome bool // h.toCome counts it; the owner's

	bell int  // eventfd of the thread that runs the request; -1: none does
	rung bool // it has been written to
}

var _ transport = (*stream)(nil)

// newStream makes a stream that is at rest. h.mu is held.
func newStream(h *http2Conn, id uint32, ended bool) *stream {
	s := &stream{h: h, id: id, window: h.initial, received: http2Window, declared: -1, ended: ended, bell: -1}
	c, p := &s.conn, h.c
	c.fd, c.transport = -1, s
	c.listener, c.trusted, c.anonymous = p.listener, p.trusted, p.anonymous
	c.peer, c.remote, c.remoteLen, c.port, c.portLen = p.peer, p.remote, p.remoteLen, p.port, p.portLen
	c.setPhase(phaseHead, h.l.firstDeadline(h.l.now()))
	return s
}

// deliver takes a part of the body. It returns false if the body is not as long as
// it was declared to be. h.mu is held.
func (s *stream) deliver(data []byte, end bool) bool {
	if s.declared >= 0 {
		if s.declared -= int64(len(data)); s.declared < 0 || end && s.declared != 0 {
			return false
		}
	}
	before := len(s.body)
	if s.chunked && len(data) > 0 {
		s.body = http1.AppendChunkHeader(s.body, len(data))
		s.body = append(append(s.body, data...), "\r\n"...)
	} else {
		s.body = append(s.body, data...)
	}
	s.ended = end
	if end && s.chunked {
		s.body = append(s.body, http1.LastChunk...)
	}
	s.h.l.mem.streamBytes.Add(int64(len(s.body) - before))
	return true
}

// holds implements transport.
func (s *stream) holds() (n, since int64) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	return int64(len(s.body)), 0
}

// signal wakes who runs the request, should that wait. h.mu is held.
func (s *stream) signal() {
	s.h.l.sched.tell(&s.conn)
	if s.bell >= 0 && !s.rung {
		s.rung = true
		one := [8]byte{1}
		_, _ = unix.Write(s.bell, one[:]) // fails only when it rings already
	}
}

// silence makes the bell ready to ring again. h.mu is held.
func (s *stream) silence() {
	if s.rung {
		s.rung = false
		var b [8]byte
		_, _ = readFD(s.bell, b[:])
	}
}

// attach implements transport. The thread waits for its bell, as the socket is not the
// stream's.
func (s *stream) attach(t *Thread) bool {
	t.FD, t.RoomEvents = int32(t.bell), unix.POLLIN
	t.Req.Minor = minorHTTP2
	t.setTLS(s.h.tlsEnv)
	if s.chunked {
		t.Req.NFields-- // our own field, which the client has not sent
	}
	if s.tunnel {
		t.Req.Flags |= http1.FlagUpgrade
	}
	return s.runOn(t.bell)
}

// detach implements transport.
func (s *stream) detach() { s.runOn(-1) }

// waiting implements transport.
func (s *stream) waiting(n int) int { return int(s.h.stalled.Add(int32(n))) }

// runOn says which thread's bell to ring from now on; -1: none. It returns false
// if nobody waits for an answer.
func (s *stream) runOn(bell int) bool {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	s.silence()
	s.bell = bell
	return !s.dead
}

// left implements transport: the client has reset the stream, or left altogether.
func (s *stream) left(now int64, _ *int64) bool {
	h := s.h
	h.mu.Lock()
	defer h.mu.Unlock()
	return s.dead || h.closed || h.silent != 0 && now-h.silent > halfOpen
}

// stirred implements transport.
func (s *stream) stirred() (input, ended bool) {
	h := s.h
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(s.body) > 0 || s.ended || s.dead, s.dead || h.closed || h.silent != 0
}

// dequeued implements transport. It takes an owned stream out of those that a thread
// has not looked at.
func (s *stream) dequeued() {
	if s.toCome {
		s.toCome = false
		s.h.toCome.Add(-1)
	}
}

func (s *stream) news()          {}
func (s *stream) drains() bool   { return false }
func (s *stream) portable() bool { return false }
func (s *stream) sayEnd()        {}

// sayLeave implements transport.
func (s *stream) sayLeave() {
	h := s.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed && h.goneAway == 0 {
		h.takeLeave(h.l.now())
	}
}

// read implements transport.
func (s *stream) read(b []byte) (int, error) {
	h := s.h
	h.mu.Lock()
	defer h.mu.Unlock()
	s.silence()
	if s.dead {
		return 0, unix.ECONNRESET
	}
	n := copy(b, s.body)
	h.l.mem.streamBytes.Add(-int64(n))
	if n == 0 {
		if s.ended || h.silent != 0 {
			return 0, nil
		}
		return 0, unix.EAGAIN
	}
	if s.body = s.body[n:]; len(s.body) == 0 {
		s.body = nil
	}
	if !s.ended && s.owed >= http2Window/2 && len(s.body) <= http2Window/2 {
		_ = h.writer.WriteWindowUpdate(s.id, uint32(s.owed))
		s.received += s.owed
		s.owed = 0
		h.push()
	}
	return n, nil
}

// send implements transport.
func (s *stream) send(m message) (int, error) {
	h := s.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.dead || h.closed || s.endSent {
		return 0, unix.EPIPE
	}
	if h.backlogged() {
		if h.push(); h.backlogged() {
			return 0, unix.EAGAIN
		}
	}
	n := 0
	if m.kind != itemBytes {
		n = len(m.head)
		end := m.end && n == m.size()
		h.writeHead(s, m.kind, m.head, end)
		if m.head = nil; end || m.size() == 0 {
			return n, nil
		}
	}
	if !s.headSent {
		return n, unix.EPIPE // no head: a bug of ours
	}
	if m.size() == 0 {
		s.writeData(nil, m.end)
		return n, nil
	}
	left := m.size()
	for _, b := range [...][]byte{m.head, m.data, m.tail} {
		for len(b) > 0 {
			k := int(min(int64(len(b)), h.window, s.window, int64(h.maxFrame)))
			if k <= 0 {
				s.starved = true
				h.push() // what fits
				if h.silent != 0 {
					return n, unix.EPIPE // nobody will open the window
				}
				if n == 0 {
					return 0, unix.EAGAIN
				}
				return n, nil
			}
			left -= k
			n += k
			if s.writeData(b[:k], m.end && left == 0); k == len(b) || k >= http2Worth { // not a sip
				h.earn()
			}
			b = b[k:]
			if len(h.out) > http2Backlog {
				h.push()
				if h.c.out.pending.Load() {
					return n, nil
				}
			}
		}
	}
	return n, nil
}

// writeData writes a frame of the body. h.mu is held.
func (s *stream) writeData(b []byte, end bool) {
	h := s.h
	s.endSent = end
	_ = h.writer.WriteData(s.id, end, b)
	h.window -= int64(len(b))
	s.window -= int64(len(b))
}

// sendItem implements transport.
func (s *stream) sendItem(i *outItem, _ int) (int, error) { return sendThrough(s, i) }

// flush implements transport.
func (s *stream) flush() error {
	s.h.mu.Lock()
	s.h.push()
	s.h.mu.Unlock()
	return nil
}

// arm implements transport.
func (s *stream) arm(*Loop) (bool, error) {
	h := s.h
	h.mu.Lock()
	defer h.mu.Unlock()
	s.silence()
	if s.dead || h.closed {
		return false, unix.EPIPE
	}
	if s.waitsForRoom {
		return false, nil
	}
	s.waitsForRoom = true
	h.blocked = append(h.blocked, s)
	return true, nil
}

// yield implements transport. Room in the connection's socket is reported anew, and the
// stream is behind the others that wait for it.
func (s *stream) yield(l *Loop) error {
	if _, err := s.arm(l); err != nil {
		return err
	}
	h := s.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return unix.EPIPE
	}
	h.c.out.mu.Lock()
	defer h.c.out.mu.Unlock()
	return h.transport.yield(l)
}

// finish implements transport. A response of which the end has not been said is not
// whole, and the client must not take it for that. unread is of interest where a WebSocket
// ends: else its client knows, and ends its own side.
func (s *stream) finish(_ *Loop, _, unread bool) {
	h := s.h
	h.mu.Lock()
	if !s.dead && !h.closed {
		switch {
		case s.upgraded():
			s.endTunnel(unread)
		case !s.endSent:
			h.resetStream(s.id, http2.ErrCodeInternal)
		case !s.ended:
			h.resetStream(s.id, http2.ErrCodeNo) // RFC 9113, 8.1: we need no more of it
		}
	}
	s.leave()
}

// linger implements transport.
func (s *stream) linger(l *Loop) { s.finish(l, false, false) }

// close implements transport.
func (s *stream) close(l *Loop) {
	if s.upgraded() && s.ended && !s.out.pending.Load() {
		s.finish(l, true, false) // as its client has ended it
		return
	}
	s.abort(l)
}

// abort implements transport: the response cannot become whole, or is not wanted.
func (s *stream) abort(*Loop) {
	h := s.h
	h.mu.Lock()
	if !s.dead && !h.closed {
		code := http2.ErrCodeInternal
		if s.upgraded() {
			code = http2.ErrCodeCancel // what a reset of TCP is to a tunnel (RFC 8441, 5)
		}
		h.resetStream(s.id, code)
		h.lastReset().due = s.underWay()
	}
	s.leave()
}

// upgraded reports whether an owned stream has become a WebSocket.
func (s *stream) upgraded() bool { return s.conn.transport != transport(s) }

// endTunnel ends a WebSocket's stream, as the end of a TCP connection would (RFC 8441, 5).
// reset: the client is to stop sending. h.mu is held.
func (s *stream) endTunnel(reset bool) {
	h := s.h
	if !s.endSent {
		s.writeData(nil, true)
	}
	switch {
	case s.ended:
		return
	case reset:
		h.resetStream(s.id, http2.ErrCodeNo)
	default:
		h.noteEnd(s.id)
	}
	h.lastReset().due = s.underWay()
}

// underWay is how much a client may have sent on a stream that it does not know to have
// ended. It is of interest with a WebSocket, whose frames are many and small; h.mu is held.
func (s *stream) underWay() int64 {
	if s.tunnel {
		return s.received + 1 // its end is one, too
	}
	return 0
}

func (s *stream) dismiss(l *Loop) { s.abort(l) }
func (s *stream) expire(l *Loop)  { s.abort(l) }

func (s *stream) urgent() bool   { return s.waitsToBeRead() }
func (s *stream) noRoom(l *Loop) { s.conn.shed(l) }

// again implements transport.
func (s *stream) again(l *Loop, t *Thread) bool {
	s.setPhase(phaseIdle, l.idleDeadline(l.now()))
	return l.receive(t, &s.conn)
}

// leave takes the stream out of its connection, and gives back what it has. h.mu
// is held; leave lets it go.
func (s *stream) leave() {
	h := s.h
	s.dead = true
	s.dequeued() // it has never been looked at, if the queue was full
	s.silence()
	s.bell = -1
	h.l.mem.streamBytes.Add(-int64(len(s.body)))
	s.body = nil
	if h.streams[s.id] == s {
		delete(h.streams, s.id)
	}
	if s.waitsForRoom {
		h.blocked = slices.DeleteFunc(h.blocked, func(b *stream) bool { return b == s })
	}
	h.push()
	h.keepTime()
	h.mu.Unlock()
	s.out.drop(h.l)
	if s.in != nil {
		h.l.mem.inputs.put(s.in)
		s.in = nil
	}
	s.setPhase(phaseClosed, 0) // and it stays owned
}
