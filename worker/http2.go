package worker

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"golang.org/x/sys/unix"

	"hostler/protocol"
	"hostler/worker/http1"
)

const (
	// http2Streams is how many requests a client may have open on a connection.
	http2Streams = 128
	// http2Window is how much of a body a client may send ahead of our reading.
	http2Window = 256 << 10
	// http2ConnWindow is the same for all streams of a connection. It is given back
	// at once, or a few bodies that wait could lock out the others; what is
	// buffered is bounded by the windows of the streams.
	http2ConnWindow = 16 << 20
	// http2FrameSize is the size of frames that both sides have to take (RFC 9113, 4.2).
	http2FrameSize = 16 << 10
	// http2Backlog is how much may wait for a client before streams have to. Frames
	// are read all the same: a client may not get to reading before it has written.
	// What they make us say is bounded by spend, and by the number of streams.
	http2Backlog = 256 << 10
	// http2Gather is how much may wait for the answers to other requests, to leave
	// with them.
	http2Gather = 32 << 10
	// http2Turn is for how long, in bytes, an owner reads before others have their turn,
	// where a frame counts http2FrameCost beside what is in it.
	http2Turn      = 512 << 10
	http2FrameCost = 512
	// http2Farewell is how long after the announcement of a GOAWAY requests are
	// still taken, which were on their way (RFC 9113, 6.8).
	http2Farewell = int64(500 * time.Millisecond)
)

// http2Conn is a connection that speaks HTTP/2 (RFC 9113), over the transport that it
// found. Frames are read by the owner of the conn; what streams and their threads share
// with it is under mu.
//
// To the engine each stream is a connection by itself, with a request that reads
// as if it had come in HTTP/1.1 (see stream). So the parser and its policy, limits,
// time limits, the rules of WSGI and back-pressure are the same code for both. What a
// stream says in return are messages (heads, bytes, the end), which wait in its output
// as what they are until they become frames.
type http2Conn struct {
	transport
	l       *Loop
	c       *conn  // another's once this one is closed
	tlsEnv  []byte // as tlsConn.env; nil: no TLS
	tunnels bool   // the client knows that it may ask for tunnels (RFC 8441)

	// The owner's.
	partial []byte // the begin of a frame that is not whole
	began   int64  // when its first byte came
	src     bytes.Reader
	frames  *http2.Framer // reads from src
	greeted bool          // the client's preface is in
	settled bool          // its SETTINGS have come
	acked   bool          // it has acknowledged ours
	touched []*stream     // something came for them
	charges charges
	turn    int // what is left of the owner's turn: see http2Turn

	// toCome counts the requests of the last reads that no thread has looked at yet.
	toCome atomic.Int32
	// stalled counts the threads that wait for the client to take something.
	stalled atomic.Int32

	mu       sync.Mutex
	out      frameBuffer   // not sent yet
	writer   *http2.Framer // writes to out
	enc      *hpack.Encoder
	block    bytes.Buffer // enc's
	names    map[string]string
	streams  map[uint32]*stream
	last     uint32 // the highest stream of the client's
	ignored  uint32 // … that came after our last word
	reset    [64]endedStream
	resets   int   // reset[resets%len]: the last stream that we have ended early
	window   int64 // what we may send
	initial  int64 // … of a new stream
	maxFrame int
	received int64     // what the client may still send
	blocked  []*stream // they wait for room, or for a window
	opened   bool      // a window has, since they were looked at
	earned   int64     // frames that the client may send for what we have sent: see charges
	midway   int64     // until when the client must get on with what it has begun; 0: it has not
	goneAway int64     // when the end was announced; 0: it was not
	lastWord bool      // no more streams are taken
	silent   int64     // since when the client's side has ended; 0: it has not
	closed   bool
	waits    bool // it has been left to sendNow
}

// http2State is what a connection is at; the first that holds. It decides how long it
// may last:
//
//	state    there is                             it ends                         then
//	closed   no connection any more
//	midway   no SETTINGS yet, or part of a frame  after --header-timeout, or when GOAWAY
//	                                              a frame of a body is too slow,
//	                                              or as writing
//	writing  output that the client has not taken as a response does: after       reset
//	                                              --write-timeout, at --min-rate
//	busy     a stream                             when its streams do
//	idle     nothing of these                     after --keep-alive, or at once  GOAWAY
//	                                              if the last word is said, or
//	                                              the client has ended its side
//
// The last word is the second of the two GOAWAY frames by which a worker that leaves
// says so (see takeLeave). In whatever state it is said: what has been begun goes on to
// its end, and the connection with it when it is idle.
type http2State int

const (
	http2Closed http2State = iota
	http2Midway
	http2Writing
	http2Busy
	http2Idle
)

// state says what the connection is at. h.mu is held.
func (h *http2Conn) state() http2State {
	switch {
	case h.closed:
		return http2Closed
	case h.midway != 0:
		return http2Midway
	case h.c.out.pending.Load():
		return http2Writing
	case len(h.streams) > 0:
		return http2Busy
	}
	return http2Idle
}

// stateNow is state for those who have nothing locked.
func (h *http2Conn) stateNow() http2State {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state()
}

// holds implements transport.
func (h *http2Conn) holds() (n, since int64) { return int64(len(h.partial)), h.began }

// keepTime sets the time limit of a connection, whoever owns it, when its state may
// have changed. h.mu is held.
func (h *http2Conn) keepTime() {
	l, c := h.l, h.c
	limit := int64(0)
	switch h.state() {
	case http2Closed:
		return
	case http2Midway:
		limit = h.midway
		if writing := h.untaken(); writing != 0 {
			limit = min(limit, writing)
		}
	case http2Writing:
		limit = h.untaken()
	case http2Idle:
		switch limit = l.now(); {
		case h.silent != 0:
			l.keeper.soon.give() // the client may wait for our end
		case !h.lastWord:
			limit = l.idleDeadline(limit)
		}
	}
	c.deadline.Store(limit)
}

// untaken says until when the client has to take more of what waits for it; 0: there is
// nothing, or no limit.
func (h *http2Conn) untaken() int64 {
	o := &h.c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.pending.Load() {
		return 0
	}
	return o.patience(h.l, h.c)
}

// frameBuffer gathers frames for one send(2).
type frameBuffer []byte

func (b *frameBuffer) Write(p []byte) (int, error) {
	*b = append(*b, p...)
	return len(p), nil
}

// beginHTTP2 makes an owned connection one of HTTP/2, before a byte of it is read.
func (c *conn) beginHTTP2(l *Loop) *http2Conn {
	now := l.now()
	h := &http2Conn{transport: c.transport, l: l, c: c, streams: make(map[uint32]*stream), window: 65535, initial: 65535, began: now,
		midway: cmp.Or(l.firstDeadline(now), math.MaxInt64), maxFrame: http2FrameSize, received: http2ConnWindow, charges: charges{http2Burst, now},
		names: make(map[string]string)}
	if s, ok := c.transport.(*tlsConn); ok {
		h.tlsEnv = s.env
	}
	h.frames = http2.NewFramer(io.Discard, &h.src)
	h.frames.SetReuseFrames()
	h.frames.SetMaxReadFrameSize(http2FrameSize)
	h.frames.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	h.frames.MaxHeaderListSize = uint32(l.limits.Head)
	h.writer = http2.NewFramer(&h.out, nil)
	h.enc = hpack.NewEncoder(&h.block)
	h.enc.SetMaxDynamicTableSizeLimit(4096)
	settings := []http2.Setting{
		{ID: http2.SettingMaxConcurrentStreams, Val: http2Streams},
		{ID: http2.SettingInitialWindowSize, Val: http2Window},
		{ID: http2.SettingMaxHeaderListSize, Val: h.frames.MaxHeaderListSize},
	}
	if h.tunnels = l.keeper.sockets.tunnels; h.tunnels {
		settings = append(settings, http2.Setting{ID: http2.SettingEnableConnectProtocol, Val: 1})
	}
	_ = h.writer.WriteSettings(settings...)
	_ = h.writer.WriteWindowUpdate(0, http2ConnWindow-65535)
	c.out.mu.Lock() // what TLS has held back may be on its way
	c.transport = h
	c.out.mu.Unlock()
	c.http2.Store(h)
	c.setPhase(phaseStreams, l.firstDeadline(now))
	return h
}

// receive reads what has come on an owned connection and gives the connection
// up. It returns true if t has a request to run.
func (h *http2Conn) receive(t *Thread) bool {
	l, c := h.l, h.c
	t.pos, t.end = 0, 0
	h.turn = http2Turn
	for {
		n, err := c.read(t.buf)
		if n > 0 {
			l.slot.Counters.ReceivedBytes.Add(uint64(n))
			if e := h.feed(t.buf[:n]); e != nil {
				h.fail(e)
				return false
			}
			if h.turn <= 0 {
				touched := h.take()
				h.settle()
				c.requeue(l) // behind the others
				return h.serve(t, touched)
			}
			if !c.drains() || n == len(t.buf) || c.hup {
				continue
			}
		} else if err != unix.EAGAIN && (err != nil || !h.halfClosed()) {
			h.settle() // what is wrong with its last frames is said all the same
			c.close(l)
			return false
		}
		touched := h.take()
		h.settle()
		if c.release() {
			return h.serve(t, touched)
		}
		h.touched = append(touched, h.touched...)
	}
}

// halfClosed is called when the client has ended its side of an owned connection. What it
// has asked for is answered all the same, as on a connection of HTTP/1.1, as far as the
// windows reach that it has opened. It returns false if there is nothing left to do, or
// the client has gone altogether.
func (h *http2Conn) halfClosed() bool {
	if hungUp(h.c.fd) {
		return false
	}
	h.keep(nil)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.silent == 0 {
		h.silent = h.l.now()
		h.opened = true // those that wait for a window end
		for _, s := range h.streams {
			if !s.ended { // there is an end to be read
				h.touch(s)
			} else {
				h.l.sched.tell(&s.conn)
			}
		}
	}
	h.sendFrames()
	return len(h.streams) > 0 || h.c.out.pending.Load()
}

// take returns the streams for which something has come.
func (h *http2Conn) take() []*stream {
	s := h.touched
	h.touched = nil
	return s
}

// serve goes on with streams for which something has come: one of them
// with t, the others by way of the ready queue.
func (h *http2Conn) serve(t *Thread, touched []*stream) bool {
	l := h.l
	var mine *stream
	for _, s := range touched {
		switch {
		case !s.claim(false):
		case s.refused != http1.ReasonNone:
			s.conn.reject(l, s.refused, s.asked)
		case s.in != nil && s.in.spool != nil:
			go s.conn.spoolOn(l)
		case phase(s.phase.Load()) == phaseWriting: // it is answered; this was its client's end
			l.resume(t, &s.conn)
		case phase(s.phase.Load()) == phaseSocket:
			l.resume(t, &s.conn) // it needs no thread
		case mine == nil && t.runs():
			mine = s
		case t.runs():
			s.toCome = true
			s.h.toCome.Add(1)
			s.conn.requeue(l)
		default:
			l.resume(t, &s.conn)
		}
	}
	return mine != nil && l.resume(t, &mine.conn)
}

// settle does what reading has called for, and sets the time limit of an owned
// connection that goes to rest.
func (h *http2Conn) settle() {
	h.mu.Lock()
	opened := h.opened
	h.opened = false
	h.mu.Unlock()
	if opened {
		h.roomy()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sendFrames()
	h.midway = h.patience()
	h.c.phase.Store(uint32(phaseStreams))
	h.keepTime()
}

// patience says until when the client must get on with what it has begun; 0: it has
// begun nothing. h is owned.
func (h *http2Conn) patience() int64 {
	l := h.l
	limit := int64(0)
	switch {
	case h.silent != 0:
		return 0
	case !h.settled:
		limit = l.firstDeadline(h.began)
	case len(h.partial) == 0:
		return 0
	case len(h.partial) >= frameHeader && http2.FrameType(h.partial[3]) == http2.FrameData:
		limit = h.c.slowest(l, h.began, int64(len(h.partial)), l.cfg.BodyTimeout)
	default:
		limit = l.firstDeadline(h.began)
	}
	return cmp.Or(limit, math.MaxInt64)
}

// push sends the frames that have been gathered, or lets them wait for the answers
// to requests that came with theirs and will not take long: a send(2) costs as much
// as a quick request. Should they take longer after all, the deputy sends what there
// is. h.mu is held.
func (h *http2Conn) push() {
	l := h.l
	if h.toCome.Load() <= 0 || len(h.out) >= http2Gather || l.pace.average.Load() > quickCall {
		h.sendFrames()
		return
	}
	if h.waits || len(h.out) == 0 {
		return
	}
	h.waits = true
	l.sched.sendLater(h)
}

// sendNow implements sender: the deputy has waited for other answers until now.
func (h *http2Conn) sendNow() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waits = false
	h.sendFrames()
}

// sendFrames sends the frames that have been gathered. h.mu is held.
func (h *http2Conn) sendFrames() {
	if h.closed || len(h.out) == 0 {
		h.out = h.out[:0]
		return
	}
	o, n := &h.c.out, 0
	if !o.pending.Load() {
		// An error is the reader's to find.
		n, _ = h.transport.send(message{head: h.out})
	}
	if n < len(h.out) || h.c.holdsBack() {
		o.mu.Lock()
		o.addCopy(h.l, itemBytes, h.out[n:])
		o.open(h.l)
		o.mu.Unlock()
		o.flush(h.l, h.c)
		h.keepTime() // it may be writing now, or not any more
	}
	h.out = h.out[:0]
	if cap(h.out) > http2Backlog {
		h.out = nil
	}
}

// backlogged reports whether streams have to wait for what the client has not taken yet.
// h.mu is held.
func (h *http2Conn) backlogged() bool {
	return h.c.out.left()+int64(len(h.out)) > http2Backlog
}

// roomy is called when the client has taken something, or may be sent more. Streams that
// wait for it have their turns, one after the other for as long as there is something for
// the next: what is there for one of them must not cost us a look at all.
func (h *http2Conn) roomy() {
	h.mu.Lock()
	n := len(h.blocked)
	h.keepTime()
	h.mu.Unlock()
	for range n {
		h.mu.Lock()
		s := h.unblock()
		h.mu.Unlock()
		if s == nil {
			return
		}
		s.goOn()
	}
}

// unblock takes the first stream off the blocked ones that can go on. h.mu is held.
func (h *http2Conn) unblock() *stream {
	if len(h.blocked) == 0 || h.backlogged() {
		return nil
	}
	for i, s := range h.blocked {
		if !s.starved || s.window > 0 && h.window > 0 || s.dead || h.silent != 0 {
			h.blocked = append(h.blocked[:i], h.blocked[i+1:]...)
			s.waitsForRoom, s.starved = false, false
			return s
		}
	}
	return nil
}

// goOn sends what waits in a stream's output.
func (s *stream) goOn() {
	l := s.h.l
	gone := s.out.flush(l, &s.conn) == flushGone
	if gone || s.out.left() <= outLimit/2 { // what its thread waits for
		s.h.mu.Lock()
		s.signal()
		s.h.mu.Unlock()
		s.conn.roomy()
	}
	// One whose thread has gone ends here. One whose thread is about to go, and
	// believes that something is left, is told to look again.
	switch phase(s.phase.Load()) {
	case phaseRunning, phaseWriting:
		if s.claim(false) {
			l.resume(l.keeper.sweeper, &s.conn)
		}
	}
}

// fail ends an owned connection for a breach of the protocol.
func (h *http2Conn) fail(err error) {
	code := http2.ErrCodeProtocol
	var ce http2.ConnectionError
	switch {
	case errors.As(err, &ce):
		code = http2.ErrCode(ce)
	case errors.Is(err, http2.ErrFrameTooLarge):
		code = http2.ErrCodeFrameSize
	}
	h.c.rejectFrames(h.l, http1.ReasonHTTP2Connection, asked{})
	h.l.log.Debug("HTTP/2 connection ended", "client", string(h.c.remote[:h.c.remoteLen]), "error", err)
	h.end(code)
}

// end ends an owned connection, when what waits for the client is out.
func (h *http2Conn) end(code http2.ErrCode) {
	h.mu.Lock()
	if code != http2.ErrCodeNo || !h.lastWord { // else it has been said
		_ = h.writer.WriteGoAway(h.last, code, nil)
	}
	h.mu.Unlock()
	h.endStreams()
	h.c.endSoon(h.l)
}

// expire implements transport.
func (h *http2Conn) expire(l *Loop) {
	c := h.c
	h.mu.Lock()
	state, bye := h.state(), h.lastWord || h.silent != 0
	if writing := h.untaken(); writing != 0 && writing <= l.now() {
		state = http2Writing
	}
	h.keepTime()
	h.mu.Unlock()
	timeouts := &l.slot.Counters.Timeouts
	switch state {
	case http2Midway:
		timeouts[protocol.TimeoutHead].Add(1)
		h.end(http2.ErrCodeNo)
	case http2Writing:
		k := protocol.TimeoutWrite
		if c.tooSlow.Load() {
			k = protocol.TimeoutWriteRate
		}
		timeouts[k].Add(1)
		c.abort(l)
	case http2Idle:
		if !bye {
			timeouts[protocol.TimeoutIdle].Add(1)
		}
		h.end(http2.ErrCodeNo)
	default: // it has just begun something
		if !c.release() {
			l.resume(l.keeper.sweeper, c)
		}
	}
}

// endStreams ends all streams; nothing more is said on the connection.
func (h *http2Conn) endStreams() {
	h.keep(nil)
	h.mu.Lock()
	h.sendFrames()
	h.closed = true
	h.touched, h.blocked = nil, nil
	all := make([]*stream, 0, len(h.streams))
	for _, s := range h.streams {
		s.dead = true
		s.signal()
		all = append(all, s)
	}
	h.mu.Unlock()
	for _, s := range all {
		if s.claim(true) {
			s.conn.abort(h.l)
		}
	}
}

// close implements transport.
func (h *http2Conn) close(l *Loop) {
	h.endStreams()
	h.transport.close(l)
}

// abort implements transport.
func (h *http2Conn) abort(l *Loop) {
	h.endStreams()
	h.transport.abort(l)
}

// dismiss implements transport.
func (h *http2Conn) dismiss(*Loop) { h.end(http2.ErrCodeNo) }

// again implements transport.
func (h *http2Conn) again(_ *Loop, t *Thread) bool {
	h.c.phase.Store(uint32(phaseStreams))
	return h.receive(t)
}

// urgent implements transport.
func (h *http2Conn) urgent() bool { return true }

// noRoom implements transport: it is its requests that are declined, one by one.
func (h *http2Conn) noRoom(l *Loop) { l.sched.push(h.c, anyway) }

// roomy is called, by whoever takes the event, when a connection has room for output.
func (c *conn) roomy() {
	if h := c.http2.Load(); h != nil {
		h.roomy()
	}
	if f := c.onRoom.Load(); f != nil {
		(*f)()
	}
}

// streams are those that a connection has, if any.
func (c *conn) streams() []*stream {
	if h := c.http2.Load(); h != nil && phase(c.phase.Load()) == phaseStreams {
		return h.open()
	}
	return nil
}

// sweepStreams keeps the time limits of such streams, and says how many of them are
// WebSockets.
func (c *conn) sweepStreams(now int64) int64 {
	if h := c.http2.Load(); h != nil && phase(c.phase.Load()) == phaseStreams {
		return h.sweep(now)
	}
	return 0
}

// weighStreams is weighConn for an owned connection that has streams.
func (c *conn) weighStreams(k candidate, now int64) candidate {
	h := c.http2.Load()
	partial, since := h.holds()
	switch h.stateNow() {
	case http2Midway:
		k.kind = protocol.EvictedHead
		k.rate = perSecond(partial, now-since)
	case http2Writing:
		k.kind = protocol.EvictedWrite
		since, k.rate, k.bytes = c.out.weigh(now)
	case http2Idle:
		k.kind, since = protocol.EvictedIdle, c.deadline.Load()-int64(h.l.cfg.KeepAlive)
	default:
		return candidate{}
	}
	k.age = now - since
	k.bytes += partial
	return k
}

// greetHTTP2 begins with a connection of HTTP/2 whose first bytes are b. It returns false
// if it has ended it.
func (c *conn) greetHTTP2(l *Loop, b []byte) bool {
	h := c.beginHTTP2(l)
	err := h.feed(b)
	if err != nil {
		h.fail(err)
	}
	return err == nil
}

// linger implements transport.
func (h *http2Conn) linger(l *Loop) {
	h.endStreams()
	h.transport.linger(l)
}

// portable implements transport: what client and server have agreed on does not move.
func (h *http2Conn) portable() bool { return false }

// sweep keeps the time limits of the streams, and takes leave of the client when
// the worker drains. It returns how many of them are WebSockets.
func (h *http2Conn) sweep(now int64) (sockets int64) {
	var late []*stream
	h.mu.Lock()
	if h.l.leave.draining.Load() && !h.closed {
		h.takeLeave(now)
	}
	for _, s := range h.streams {
		if d := s.deadline.Load(); d != 0 && d <= now {
			late = append(late, s)
		}
		if phase(s.phase.Load()) == phaseSocket {
			sockets++
		}
	}
	h.mu.Unlock()
	for _, s := range late {
		if s.state.Load()&stateOwned != 0 || !s.claim(false) {
			continue
		}
		if d := s.deadline.Load(); d != 0 && d <= now {
			s.conn.timeUp(h.l)
		} else if !s.release() {
			h.l.resume(h.l.keeper.sweeper, &s.conn)
		}
	}
	return sockets
}

// open returns the streams that there are.
func (h *http2Conn) open() []*stream {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Values(h.streams))
}

// takeLeave tells the client to go elsewhere with its next requests: first that the end
// is near, and when those on their way have arrived, which was the last. h.mu is
// held.
func (h *http2Conn) takeLeave(now int64) {
	switch {
	case h.goneAway == 0:
		h.goneAway = now
		_ = h.writer.WriteGoAway(1<<31-1, http2.ErrCodeNo, nil)
		h.push()
	case !h.lastWord && now-h.goneAway >= h.farewell():
		h.lastWord = true
		_ = h.writer.WriteGoAway(h.last, http2.ErrCodeNo, nil)
		h.push()
		h.keepTime()
	}
}

// farewell is how long after the announcement of the end requests may come that were on
// their way.
func (h *http2Conn) farewell() int64 {
	if h.l.leave.stopping.Load() {
		return min(restFor(h.c.fd), http2Farewell)
	}
	return http2Farewell
}
