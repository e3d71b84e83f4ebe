package worker

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"hostler/protocol"
	"hostler/worker/http1"
	"hostler/worker/websocket"
)

// transport is what a connection is made of: where its bytes come from, how
// responses leave by it, and how it ends. There are the socket, TLS over a socket,
// HTTP/2 over either, and a stream of HTTP/2. The engine above is the same for all,
// and like a socket's descriptor a transport never blocks. It belongs to the
// connection's owner; send, sendItem, flush, arm and yield may also be called by
// whoever holds output.mu.
type transport interface {
	heads

	// read is read(2): unix.EAGAIN if nothing is there yet, 0 at the end.
	read(b []byte) (int, error)
	// news says that there may be something to read.
	news()
	// drains reports whether a read that leaves room in its buffer has taken all.
	drains() bool

	// send is send(2). It takes the begin of a message: of its bytes as many as it
	// says, and the end of the response only together with all of them. It may hold
	// back some of what it takes, until flush.
	send(m message) (int, error)
	// sendItem is send for the begin of a piece of output.
	sendItem(i *outItem, flags int) (int, error)
	// flush sends what is held back: unix.EAGAIN if something remains.
	flush() error
	// arm asks for the output to be flushed when there is room. It returns false
	// if that has been asked for already, and room has not been reported since.
	arm(l *Loop) (bool, error)
	// yield leaves the rest of the output for later: room for it is reported when
	// others have had their turn.
	yield(l *Loop) error

	// attach prepares a thread to run a request of the connection's. It returns
	// false if nobody wants the answer any more.
	attach(t *Thread) bool
	// detach says that no thread runs a request of the connection's.
	detach()
	// waiting adds n to the threads that wait for the client to take something, and
	// says how many do. (Of a socket there is one at most.)
	waiting(n int) int
	// holds is how much has come that is not in the connection's input yet, and since
	// when, where that is known.
	holds() (n, since int64)
	// dequeued says that the connection has left the ready queue.
	dequeued()
	// left reports whether the client has gone, as far as that shows when it is sent
	// nothing. silent is the caller's note of when its side was first seen to end.
	left(now int64, silent *int64) bool
	// stirred says, of an owned connection, whether something has come since it was last
	// heeded, and whether the client's side has ended.
	stirred() (input, ended bool)
	// portable reports whether there is no more to the connection than its socket, and
	// what has been read of it.
	portable() bool

	// finish ends a connection whose last reply is out, all of which the client can
	// tell if framed; unread: there may be more of its request to come.
	finish(l *Loop, framed, unread bool)
	// linger says that nothing more comes, and lets the client take what there is.
	linger(l *Loop)
	// sayEnd tells the client that nothing more comes, where the protocol has words
	// for that.
	sayEnd()
	// sayLeave tells the client that the worker leaves, likewise. Anybody may call it.
	sayLeave()
	// close closes the connection at once.
	close(l *Loop)
	// abort is close with what the peer has not taken thrown away, so that it cannot
	// take what it has for the whole.
	abort(l *Loop)
	// dismiss ends a connection that waits for its client and owes it nothing.
	dismiss(l *Loop)
	// expire ends a connection whose time is up, in a phase that the transport alone
	// has.
	expire(l *Loop)

	// again goes on with a connection that comes from the ready queue, or from rest in
	// such a phase: t reads what is there. It returns true if t has a request to run.
	again(l *Loop, t *Thread) bool
	// urgent reports whether what waits in the ready queue to be read has to be read
	// though every Python thread is away, as these may wait for it.
	urgent() bool
	// noRoom is called where the ready queue has no room for the connection.
	noRoom(l *Loop)
}

// heads makes the heads of responses. Each is appended to b, and is a message or its
// begin.
type heads interface {
	// protocol is the version of HTTP whose minor one a head says.
	protocol(minor uint32) string
	// head is that of the response in t.
	head(b []byte, t *Thread, o http1.HeadOptions, date []byte) message
	// interim is a response before the response; fields are records.
	interim(b []byte, status int, fields []byte) message
	// trailers ends the response with fields, which are records.
	trailers(b []byte, fields []byte) message
	// own is a whole response of the server's own.
	own(b []byte, o *http1.Own, date []byte) message
	// accepted is the response that accepts a WebSocket; fields are records.
	accepted(b []byte, h *websocket.Handshake, protocol string, fields, date []byte) message
}

// text are heads of HTTP/1.1: bytes like all others.
type text struct{}

func (text) protocol(minor uint32) string { return protocols[minor] }

func (text) head(b []byte, t *Thread, o http1.HeadOptions, date []byte) message {
	status, fields := t.respHead()
	return message{head: http1.AppendHead(b, status, fields, &t.reply.head, o, date)}
}

func (text) interim(b []byte, status int, fields []byte) message {
	if status == 100 {
		return message{head: continueLine}
	}
	return message{head: http1.AppendEarlyHints(b, fields)}
}

func (text) trailers(b []byte, fields []byte) message {
	return message{head: http1.AppendTrailers(b, fields), end: true}
}

var continueLine = []byte(http1.Continue)

func (text) own(b []byte, o *http1.Own, date []byte) message {
	m := message{head: http1.AppendOwn(b, o, date), end: true}
	if !o.Head {
		m.data = o.Body
	}
	return m
}

func (text) accepted(b []byte, h *websocket.Handshake, protocol string, fields, date []byte) message {
	var lines [512]byte
	return message{head: http1.AppendSwitch(b, h.AppendAnswer(lines[:0], protocol), fields, date)}
}

// respHead is the head that C has put into the Task.
func (t *Thread) respHead() (status, fields []byte) {
	return t.resp[:t.StatusLen], t.resp[t.StatusLen : t.StatusLen+t.FieldsLen]
}

// socket is the transport of a connection with nothing between it and HTTP/1.1.
type socket struct {
	text
	c *conn
}

var _ transport = (*socket)(nil)

func (s *socket) read(b []byte) (int, error) { return readFD(s.c.fd, b) }
func (s *socket) news()                      {}
func (s *socket) drains() bool               { return true }

func (s *socket) send(m message) (int, error) { return sendParts(s.c.fd, m.head, m.data, m.tail) }
func (s *socket) flush() error                { return nil }

func (s *socket) sendItem(i *outItem, flags int) (int, error) {
	if i.file >= 0 {
		return sendFile(s.c.fd, i.file, i.off, min(i.n, fileSlice))
	}
	return sendFD(s.c.fd, i.mem, flags)
}

func (s *socket) arm(l *Loop) (bool, error) {
	if s.c.wantsOut {
		return false, nil
	}
	return true, s.yield(l)
}

func (s *socket) yield(l *Loop) error {
	s.c.wantsOut = true
	return s.c.watch(l, unix.EPOLL_CTL_MOD) // an edge, if there is room
}

func (s *socket) attach(t *Thread) bool {
	t.FD, t.RoomEvents = int32(s.c.fd), unix.POLLOUT
	t.TLSLen = 0
	return true
}

func (s *socket) left(now int64, silent *int64) bool { return leftSocket(s.c.fd, now, silent) }

func (s *socket) stirred() (input, ended bool) {
	state := s.c.state.Load()
	return state != stateOwned, s.c.hup || state&stateHup != 0
}

func (s *socket) detach()                 {}
func (s *socket) waiting(int) int         { return 1 }
func (s *socket) holds() (n, since int64) { return 0, 0 }
func (s *socket) dequeued()               {}
func (s *socket) portable() bool          { return true }

func (s *socket) sayEnd()        {}
func (s *socket) sayLeave()      {}
func (s *socket) urgent() bool   { return false }
func (s *socket) noRoom(l *Loop) { s.c.shed(l) }

// abort implements transport: the close becomes a reset, and the kernel need not keep
// what the peer does not take.
func (s *socket) abort(l *Loop) {
	_ = unix.SetsockoptLinger(s.c.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	s.close(l)
}

// dismiss implements transport.
func (s *socket) dismiss(l *Loop) {
	s.c.sayEnd()
	s.c.close(l)
}

// expire implements transport: a handshake has not been begun.
func (s *socket) expire(l *Loop) {
	l.slot.Counters.Timeouts[protocol.TimeoutHead].Add(1)
	s.close(l)
}

// again implements transport.
func (s *socket) again(l *Loop, t *Thread) bool {
	s.c.setPhase(phaseIdle, l.idleDeadline(l.now()))
	return l.receive(t, s.c)
}

// waitsToBeRead says that a connection in the ready queue has no whole request there.
func (c *conn) waitsToBeRead() bool { return c.in == nil || !c.in.queued }

// holdsBack reports whether some of what send has taken waits for room.
func (c *conn) holdsBack() bool { return c.flush() == unix.EAGAIN }

// filePieces are buffers for files that sendfile(2) cannot send.
var filePieces = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// sendThrough sends the begin of a piece of output by a transport that is no socket.
func sendThrough(v transport, i *outItem) (int, error) {
	if i.file < 0 {
		return v.send(message{kind: i.kind, head: i.mem, end: i.end})
	}
	if err := v.flush(); err != nil {
		return 0, err // before the file is read in vain
	}
	b := filePieces.Get().(*[32 << 10]byte)
	defer filePieces.Put(b)
	n, err := unix.Pread(i.file, b[:min(i.n, int64(len(b)))], i.off)
	if err != nil || n <= 0 {
		return 0, err
	}
	return v.send(message{data: b[:n], end: i.end && int64(n) == i.n})
}

// halfOpen is how long a client that has ended its side of the connection is
// believed to wait for an answer all the same. Over TCP one that has gone looks
// the same, until something is sent to it.
const halfOpen = int64(time.Second)

// leftSocket reports whether the peer has left.
func leftSocket(fd int, now int64, silent *int64) bool {
	switch e := ended(fd); {
	case e == 0:
		return false
	case e != unix.POLLRDHUP:
		return true
	}
	if *silent == 0 {
		*silent = now
	}
	return now-*silent > halfOpen
}

// admit lets the set watch a connection at rest.
func (c *conn) admit(l *Loop) {
	ev, fd := c.interest(), c.fd
	// Released first: the set may report the connection before EpollCtl returns.
	c.state.Store(0)
	if l.sched.set.control(unix.EPOLL_CTL_ADD, fd, ev) != nil && c.claim(false) {
		c.close(l)
	}
}

// watch registers an owned connection with the set, or changes what is watched.
func (c *conn) watch(l *Loop, op int) error {
	return l.sched.set.control(op, c.fd, c.interest())
}

// close implements transport.
func (s *socket) close(l *Loop) {
	c := s.c
	if c.in != nil {
		l.mem.inputs.put(c.in)
		c.in = nil
	}
	c.out.drop(l)
	c.gen.Add(1)
	c.setPhase(phaseClosed, 0)
	unix.Close(c.fd)
	c.fd = -1
	l.conns.put(c)
	if l.leave.draining.Load() {
		l.checkDrained()
	}
}
