package worker

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"golang.org/x/sys/unix"

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
	// http2Burst and http2Rate bound what costs us more than it costs the client:
	// how many such frames it may send at once, and how many per second.
	http2Burst = 1000
	http2Rate  = 200
	// http2Farewell is how long after the announcement of a GOAWAY requests are
	// still taken, which were on their way (RFC 9113, 6.8).
	http2Farewell = int64(500 * time.Millisecond)
)

// http2Conn is a connection that speaks HTTP/2 (RFC 9113). Frames are read by the
// owner of the conn; what streams and their threads share with it is under mu.
//
// To the engine each stream is a connection by itself, with a request that reads
// as if it had come in HTTP/1.1 (see stream). So the parser and its policy, limits,
// time limits, the rules of WSGI and back-pressure are the same code for both.
type http2Conn struct {
	l      *Loop
	c      *conn  // another's once this one is closed
	tlsEnv []byte // as tlsConn.env; nil: no TLS

	// The owner's.
	partial  []byte // the begin of a frame that is not whole
	src      bytes.Reader
	frames   *http2.Framer // reads from src
	greeted  bool          // the client's preface is in
	settled  bool          // its SETTINGS have come
	touched  []*stream     // something came for them
	allowed  float64       // see spend
	allowedT int64         // when it was reckoned

	// toCome counts the requests of the last reads that no thread has looked at yet.
	toCome atomic.Int32

	mu       sync.Mutex
	out      frameBuffer   // not sent yet
	writer   *http2.Framer // writes to out
	enc      *hpack.Encoder
	block    bytes.Buffer // enc's
	names    map[string]string
	streams  map[uint32]*stream
	last     uint32 // the highest stream of the client's
	reset    [64]uint32
	resets   int   // reset[resets%len]: the next place for a stream that we have ended early
	window   int64 // what we may send
	initial  int64 // … of a new stream
	maxFrame int
	received int64 // what the client may still send
	blocked  []*stream
	midway   bool  // the client is in the middle of something that has a time limit
	goneAway int64 // when the end was announced; 0: it was not
	lastWord bool  // no more streams are taken
	closed   bool
	waits    bool // in Loop.unsent
}

// frameBuffer gathers frames for one send(2).
type frameBuffer []byte

func (b *frameBuffer) Write(p []byte) (int, error) {
	*b = append(*b, p...)
	return len(p), nil
}

// beginHTTP2 makes an owned connection one of HTTP/2, before a byte of it is read.
func (l *Loop) beginHTTP2(c *conn) {
	h := &http2Conn{l: l, c: c, streams: make(map[uint32]*stream), window: 65535, initial: 65535, midway: true,
		maxFrame: http2FrameSize, received: http2ConnWindow, allowed: http2Burst, allowedT: l.now(), names: make(map[string]string)}
	if s, ok := c.via.(*tlsConn); ok {
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
	_ = h.writer.WriteSettings(
		http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: http2Streams},
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: http2Window},
		http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: h.frames.MaxHeaderListSize},
	)
	_ = h.writer.WriteWindowUpdate(0, http2ConnWindow-65535)
	c.http2.Store(h)
	c.setPhase(phaseStreams, l.firstDeadline(l.now()))
}

// receiveFrames reads what has come on an owned connection and gives the connection
// up. It returns true if t has a request to run.
func (l *Loop) receiveFrames(t *Thread, c *conn) bool {
	h := c.http2.Load()
	t.pos, t.end = 0, 0
	const most = 32 // reads, before others get their turn
	for i := 0; ; i++ {
		n, err := c.read(t.buf)
		if n > 0 {
			l.slot.Counters.BytesIn.Add(uint64(n))
			if e := h.feed(t.buf[:n]); e != nil {
				h.fail(e)
				return false
			}
			if i >= most && t.runs() { // the deputy stops when the windows are full
				touched := h.take()
				h.settle()
				l.requeue(c)
				return l.serveStreams(t, touched)
			}
			if c.via != nil || n == len(t.buf) || c.hup { // else the socket is drained
				continue
			}
		} else if err != unix.EAGAIN {
			h.settle() // what is wrong with its last frames is said all the same
			l.closeConn(c)
			return false
		}
		touched := h.take()
		h.settle()
		if c.release() {
			return l.serveStreams(t, touched)
		}
		h.touched = append(touched, h.touched...)
	}
}

// take returns the streams for which something has come.
func (h *http2Conn) take() []*stream {
	s := h.touched
	h.touched = nil
	return s
}

// serveStreams goes on with streams for which something has come: one of them
// with t, the others by way of the ready queue.
func (l *Loop) serveStreams(t *Thread, touched []*stream) bool {
	var mine *stream
	for _, s := range touched {
		switch {
		case !s.claim(false):
		case s.tooLarge:
			l.reject(&s.conn, http1.ReasonHeadTooLarge)
		case mine == nil && t.runs():
			mine = s
		case t.runs():
			s.toCome = true
			s.h.toCome.Add(1)
			l.requeue(&s.conn)
		default:
			l.resume(t, &s.conn)
		}
	}
	return mine != nil && l.resume(t, &mine.conn)
}

// settle sends what reading has called for, and sets the time limit of an owned
// connection that goes to rest.
func (h *http2Conn) settle() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.send()
	begun := h.midway
	h.midway = !h.settled || len(h.partial) > 0
	switch {
	case !h.midway:
		h.c.setPhase(phaseStreams, 0)
		h.rest()
	case !begun || h.c.deadline.Load() == 0:
		h.c.setPhase(phaseStreams, h.l.firstDeadline(h.l.now()))
	default:
		h.c.setPhase(phaseStreams, h.c.deadline.Load())
	}
}

// rest sets the time limit of a connection on which nothing goes on any more,
// whoever owns it. h.mu is held.
func (h *http2Conn) rest() {
	if h.closed || h.midway || len(h.streams) > 0 {
		return
	}
	now := h.l.now()
	limit := h.l.idleDeadline(now)
	if h.lastWord {
		limit = now
	}
	h.c.deadline.Store(limit)
}

// push sends the frames that have been gathered, or lets them wait for the answers
// to requests that came with theirs and will not take long: a send(2) costs as much
// as a quick request. Should they take longer after all, the deputy sends what there
// is. h.mu is held.
func (h *http2Conn) push() {
	l := h.l
	if h.toCome.Load() <= 0 || len(h.out) >= http2Gather || l.average.Load() > quickCall {
		h.send()
		return
	}
	if h.waits || len(h.out) == 0 {
		return
	}
	h.waits = true
	l.mu.Lock()
	l.unsent = append(l.unsent, h)
	wake := l.asleep
	l.asleep = false
	l.mu.Unlock()
	if wake {
		l.wakeDeputy()
	}
}

// sendUnsent sends what has waited for other answers until now.
func (l *Loop) sendUnsent() {
	l.mu.Lock()
	all := l.unsent
	l.unsent = nil
	l.mu.Unlock()
	for _, h := range all {
		h.mu.Lock()
		h.waits = false
		h.send()
		h.mu.Unlock()
	}
}

// send sends the frames that have been gathered. h.mu is held.
func (h *http2Conn) send() {
	if h.closed || len(h.out) == 0 {
		h.out = h.out[:0]
		return
	}
	o, n := &h.c.out, 0
	if !o.pending.Load() {
		// An error is the reader's to find.
		n, _ = h.c.send(h.out, nil, nil)
	}
	if n < len(h.out) || h.c.holdsBack() {
		o.mu.Lock()
		o.addCopy(h.l, h.out[n:])
		o.open(h.l)
		o.mu.Unlock()
		o.flush(h.l, h.c)
	}
	h.out = h.out[:0]
	if cap(h.out) > http2Backlog {
		h.out = nil
	}
}

// roomy is called when the client has taken something, or may be sent more.
func (h *http2Conn) roomy() {
	h.mu.Lock()
	blocked := h.blocked
	h.blocked = nil
	for _, s := range blocked {
		s.waitsForRoom = false
		s.signal()
	}
	h.mu.Unlock()
	for _, s := range blocked {
		s.out.flush(h.l, &s.conn)
		// One whose thread has gone ends here. One whose thread is about to go, and
		// believes that something is left, is told to look again.
		switch phase(s.phase.Load()) {
		case phaseRunning, phaseWriting:
			if s.claim(false) {
				h.l.resume(h.l.sweeper, &s.conn)
			}
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
	h.l.rejectFrames(h.c, http1.ReasonHTTP2Connection)
	h.l.log.Debug("HTTP/2 connection ended", "client", string(h.c.remote[:h.c.remoteLen]), "error", err)
	h.mu.Lock()
	_ = h.writer.WriteGoAway(h.last, code, nil)
	h.mu.Unlock()
	h.close()
	h.l.lingerConn(h.c)
}

// expire ends an owned connection that has nothing to do, or never gets to the
// point.
func (h *http2Conn) expire() {
	h.mu.Lock()
	_ = h.writer.WriteGoAway(h.last, http2.ErrCodeNo, nil)
	h.mu.Unlock()
	h.close()
	h.l.lingerConn(h.c)
}

// close ends all streams; the connection is about to be closed.
func (h *http2Conn) close() {
	h.mu.Lock()
	h.send()
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
			s.abort()
		}
	}
}

// sweep keeps the time limits of the streams, and takes leave of the client when
// the worker drains.
func (h *http2Conn) sweep(now int64) {
	var late []*stream
	h.mu.Lock()
	if h.l.draining.Load() && !h.closed {
		h.leave(now)
	}
	for _, s := range h.streams {
		if d := s.deadline.Load(); d != 0 && d <= now {
			late = append(late, s)
		}
	}
	h.mu.Unlock()
	for _, s := range late {
		if s.state.Load()&stateOwned != 0 || !s.claim(false) {
			continue
		}
		if d := s.deadline.Load(); d != 0 && d <= now {
			h.l.expire(&s.conn)
		} else if !s.release() {
			h.l.resume(h.l.sweeper, &s.conn)
		}
	}
}

// open returns the streams that there are.
func (h *http2Conn) open() []*stream {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Values(h.streams))
}

// leave tells the client to go elsewhere with its next requests: first that the end
// is near, and when those on their way have arrived, which was the last. h.mu is
// held.
func (h *http2Conn) leave(now int64) {
	switch {
	case h.goneAway == 0:
		h.goneAway = now
		_ = h.writer.WriteGoAway(1<<31-1, http2.ErrCodeNo, nil)
		h.push()
	case !h.lastWord && now-h.goneAway >= http2Farewell:
		h.lastWord = true
		_ = h.writer.WriteGoAway(h.last, http2.ErrCodeNo, nil)
		h.push()
		h.rest()
	}
}

// spend reports whether the client may send another frame that costs us more than
// it; who sends a flood of them is after our CPU.
func (h *http2Conn) spend() error {
	now := h.l.now()
	h.allowed = min(http2Burst, h.allowed+float64(now-h.allowedT)*http2Rate/1e9) - 1
	h.allowedT = now
	if h.allowed < 0 {
		return http2.ConnectionError(http2.ErrCodeEnhanceYourCalm)
	}
	return nil
}
