package worker

import (
	"slices"
	"sync"
	"sync/atomic"

	"hostler/protocol"
	"hostler/worker/websocket"
)

const (
	// socketMessages and socketBytes are how much may wait for the application before no
	// more is read. The client's own window closes then.
	socketMessages = 16
	socketBytes    = 256 << 10
	// socketReads is how often an owner reads before others have their turn.
	socketReads = 4
)

// webSocket is a connection that speaks WebSocket (RFC 6455), over the transport that it
// found: TCP, TLS, or a stream of HTTP/2. It rests in phaseSocket. Whoever takes an event
// reads frames, answers pings, and leaves messages to the application; so that goes on
// while the application does something else. The application takes messages and sends
// some when it likes, without owning the connection.
//
//	open ──a close frame is sent──▶ closing ──the peer's comes, or time is up──▶ over
//	 └──────────────the peer's comes, the connection breaks, an error──────────▶ over
//
// The object outlives its connection, until the application is done with it.
type webSocket struct {
	transport
	l       *Loop
	c       *conn  // a stream's, over HTTP/2
	cork    *cork  // of the event loop whose it is; nil: it has none
	number  uint32 // among l.keeper.sockets
	deflate websocket.Deflate

	// The owner's.
	reader   websocket.Reader
	rest     []byte // has been read, and is looked at when there is room for what it says
	gathered int    // bytes of a message that is not whole, and of rest, which count as buffered
	begun    int64  // when there was none of them last

	mu      sync.Mutex // whoever sends holds it, and whoever ends the connection
	stage   socketStage
	paused  bool             // too much waits: nobody reads
	done    bool             // the application is, with it
	asked   uint32           // what the application waits for: NoticeBody, a message or the end, or NoticeRoom
	listed  bool             // it is to be looked at: see heed
	queue   []letter         // for it
	held    int              // bytes in queue
	lent    []byte           // what it got last
	end     goodbye          // what it is told after the last message; Code 0: nothing yet
	opened  int64            // when
	heard   int64            // when the peer last said something
	pinged  int64            // when it was last asked to
	owed    []byte           // what the peer's last ping says, which has no answer yet; nil: it has
	closeBy int64            // closing: when the peer's close frame has to be here
	room    func()           // see conn.onRoom
	line    *lastingLine     // of the access log; nil: there is none
	word    *uint32          // futex word of Python threads that wait; nil: an event loop is notified
	stay    stay             // … and of the thread that stays with it
	waiter  *protocol.Thread // its record, where no thread stays with it; nil: it has none
	hides   bool             // … and none was free
}

// stay is a Python thread's time with a WebSocket that its request has become.
type stay struct {
	rec   *protocol.Thread // nil: there is no thread
	start int64            // of its request
}

// end says that the WebSocket is over. The thread may have something else to do by now.
func (s stay) end(now int64) {
	if s.rec != nil {
		s.rec.Waited(s.start, now)
	}
}

type socketStage uint8

const (
	socketOpen    socketStage = iota
	socketClosing             // our close frame is out
	socketOver                // nothing is sent or looked at any more
)

// letter is a message that waits for the application.
type letter struct {
	kind websocket.Kind
	data []byte
}

// goodbye is how a WebSocket ended.
type goodbye struct {
	code   int
	reason string
}

// tell has the application hear of what it waits for. w.mu is held.
func (w *webSocket) tell(what uint32) {
	if w.word != nil {
		w.rouse(what)
		return
	}
	if w.asked&what != 0 && !w.listed && !w.done {
		w.listed = true
		w.l.keeper.sockets.notify(w.number)
	}
}

// rouse has those who wait for some of what look. w.mu is held.
func (w *webSocket) rouse(what uint32) {
	if w.asked&what != 0 && !w.done {
		w.asked = 0
		bumpFutex(w.word)
	}
}

// say notes down how it ended, which is told once. w.mu is held.
func (w *webSocket) say(code int, reason string) {
	if w.end.code == 0 {
		w.end = goodbye{code, reason}
	}
	w.tell(NoticeBody | NoticeRoom)
}

// over ends it, but for the connection.
func (w *webSocket) over(code int, reason string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.overNow(code, reason)
}

// last is over with a close frame, if none of ours has been sent: there is one at most. why
// is what the peer is told.
func (w *webSocket) last(code int, why, reason string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lastNow(code, why, reason)
}

// lastNow is last with w.mu held.
func (w *webSocket) lastNow(code int, why, reason string) {
	if w.stage == socketOpen {
		w.sendClose(code, why)
	}
	w.overNow(code, reason)
}

// overNow is over with w.mu held.
func (w *webSocket) overNow(code int, reason string) {
	if w.stage == socketOver {
		return
	}
	if w.cork != nil {
		w.cork.follow(w.c, nil) // the connection may be another's soon
	}
	w.stage = socketOver
	w.stay.end(w.l.now())
	w.line.end(w.l.now())
	w.l.waiters.give(w.waiter)
	w.waiter = nil
	if w.hides {
		w.hides = false
		w.l.slot.Gauges.Unseen.Add(-1)
	}
	w.say(code, reason)
}

// frame sends a frame of the application's. w.mu is held.
func (w *webSocket) frame(op websocket.Opcode, data []byte, deflated bool, ref uintptr) (res int, kept bool) {
	hub := &w.l.keeper.sockets
	b := hub.frames.Get().(*[]byte)
	defer hub.frames.Put(b)
	m := message{head: websocket.AppendHeader((*b)[:0], op, len(data), deflated)}
	if len(data) <= copyLimit {
		m.head = append(m.head, data...)
	} else {
		m.data = data
	}
	w.line.add(len(m.head) + len(m.data))
	if w.cork == nil || !w.cork.takeFrame(w.c, m) {
		res, kept = w.l.deliver(w.c, m, ref)
	}
	*b = m.head[:0]
	return res, kept
}

// control sends a frame of ours. w.mu is held.
func (w *webSocket) control(frame []byte) {
	w.line.add(len(frame))
	if w.cork == nil || !w.cork.follow(w.c, frame) {
		w.l.deliver(w.c, message{head: frame}, 0)
	}
}

// sendClose sends a close frame. w.mu is held.
func (w *webSocket) sendClose(code int, reason string) {
	var b [maxControl]byte
	w.control(websocket.AppendClose(b[:0], code, reason))
}

// maxControl is how long a control frame is at most.
const maxControl = 127

// shut is Close. w.mu is held, and the stage is open.
func (w *webSocket) shut(code int, reason string) {
	if w.l.leave.draining.Load() {
		w.sayLeave() // or its client comes back by the same connection
	}
	w.sendClose(code, reason)
	w.stage = socketClosing
	w.waitClose(w.l.leave.closeLimit(w.l.now()))
	w.tell(NoticeRoom) // nothing is sent any more
	w.readOn()
}

// waitClose gives the peer that long from now to close. w.mu is held.
func (w *webSocket) waitClose(limit int64) {
	w.closeBy = w.l.now() + limit
	w.c.deadline.Store(w.closeBy) // if it rests; else its owner looks at closeBy
}

// readOn has reading go on that too much had stopped. w.mu is held, and the stage is not
// over.
func (w *webSocket) readOn() {
	if !w.paused {
		return
	}
	w.paused = false
	if w.c.claim(false) {
		w.queueUp()
	}
}

// queueUp leaves it to a thread to read on, in its turn. The caller owns the connection.
func (w *webSocket) queueUp() {
	w.c.setPhase(phaseReady, 0)
	w.l.sched.push(w.c, anyway) // it has had its place all along
}

// departing is what is told that the worker leaves.
type departing interface{ depart(code int) }

// sockets are the WebSockets that the application is not done with, by number.
type sockets struct {
	mu      sync.Mutex
	all     []*webSocket
	free    []uint32
	relays  map[departing]bool // to those that the application speaks itself
	staying atomic.Int64       // Python threads that stay with one of either
	crowded seldom             // … that they all do

	// notify says that a WebSocket is to be looked at, for the application (see heed). It
	// must not wait, or call back. Python threads have none.
	notify func(number uint32)
	// refuses says that what asks for a WebSocket as it should not is refused. Without it that
	// is a request as all others.
	refuses bool
	// tunnels says that a request over HTTP/2 may ask for one (RFC 8441): browsers do so
	// then, and know no way back.
	tunnels bool

	scratch sync.Pool    // *websocket.Scratch
	frames  sync.Pool    // *[]byte: frames on their way out
	pieces  [3]sync.Pool // *[]byte: messages on their way in, by pieceSizes
}

// pieceSizes are those of buffers for messages that are kept for other ones.
var pieceSizes = [...]int{512, 4 << 10, 64 << 10}

func (s *sockets) init() {
	s.relays = make(map[departing]bool)
	s.scratch.New = func() any { return new(websocket.Scratch) }
	s.frames.New = func() any { b := make([]byte, 0, copyLimit+16); return &b }
	for i, n := range pieceSizes {
		s.pieces[i].New = func() any { b := make([]byte, 0, n); return &b }
	}
}

// piece returns an empty buffer with room for n bytes.
func (s *sockets) piece(n int) []byte {
	for i, size := range pieceSizes {
		if n <= size {
			return *s.pieces[i].Get().(*[]byte)
		}
	}
	return make([]byte, 0, n)
}

// give takes a buffer back.
func (s *sockets) give(b []byte) {
	if i := slices.Index(pieceSizes[:], cap(b)); i >= 0 {
		b = b[:0]
		s.pieces[i].Put(&b)
	}
}

// add gives a WebSocket its number.
func (s *sockets) add(w *webSocket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.free); n > 0 {
		w.number = s.free[n-1]
		s.free = s.free[:n-1]
		s.all[w.number] = w
		return
	}
	w.number = uint32(len(s.all))
	s.all = append(s.all, w)
}

// at returns a WebSocket by its number, which the application has not done with; nil if
// there is none.
func (s *sockets) at(number uint32) *webSocket {
	s.mu.Lock()
	defer s.mu.Unlock()
	if int(number) >= len(s.all) {
		return nil
	}
	return s.all[number]
}

// list returns all.
func (s *sockets) list() []*webSocket {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.all), func(w *webSocket) bool { return w == nil })
}

// full reports whether so much waits for the application that no more is to be read. Whoever
// takes some of it then sees to it that reading goes on.
func (w *webSocket) full() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.paused = w.stage != socketOver && (len(w.queue) >= socketMessages || w.held >= socketBytes)
	return w.paused
}
