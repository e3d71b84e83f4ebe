package worker

import (
	"container/list"
	"fmt"
	"slices"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"hostler/protocol"
	"hostler/worker/http1"
	"hostler/worker/tracecontext"
	"hostler/worker/websocket"
)

// Thread is a Python thread as this package sees it. All of it belongs to the
// thread while it is in Next or in the application; the fields in the second
// group belong to the scheduler's lock.
type Thread struct {
	*Task
	l      *Loop
	index  int
	buf    []byte // where a connection is read into; outside the heap
	pos    int    // bytes of buf before pos belong to requests already answered
	end    int    // bytes of buf that are filled
	in     *input // what the request came in where buf did not suffice
	resp   []byte
	out    []byte // response head under construction
	path   []byte
	conn   *conn
	inARow int    // requests of one connection served in a row
	pass   *lane  // whose permit the request has; nil: it needs none
	route  *route // of the request, if it is one that has been slow
	body   bodyReader
	reply  reply

	upgrade *websocket.Handshake    // of the request, if it asks for a WebSocket
	stays   bool                    // with a WebSocket that the request has become: see stay
	taken   interface{ returned() } // a relay, where the application has taken the request's connection

	forClient atomic.Int64 // ns that the request has waited for its client
	room      roomWait
	seen      int64 // when t last looked at the clock
	yielded   int64 // see Thread.yield
	leading   bool  // Next said Lead
	full      bool  // the last read may have left something in the socket
	arrived   int64 // when the event was taken that t works on

	parked bool // it follows
	onward bool // a request has been answered without a Python thread: see keepsConn

	rule  *rule      // of the request; nil: it is not known, or is not asked for
	line  accessLine // of the access log
	span  span       // of the request, with --otel
	ident atomic.Uint64

	rec       *protocol.Thread // its place on the scoreboard; a seat has a record of its own
	cork      *cork            // of the event loop that it is a seat of; nil: of none
	coalescer *coalescer       // of its thread; nil: it is no Python thread
	seat      int              // … its number
	waiter    *protocol.Thread // … and the record of the request, if it has one beside rec
	unseen    *list.Element    // … its place among Async.unseen; nil: it is not among them
	hides     bool             // … and whether it is counted as one of those
	place     int              // in Async.live
	watch     watch
	listed    bool // in scheduler.news, whose lock it belongs to

	id     []byte // the request's identifier; empty: it has none
	tlsEnv []byte // what Task.TLS points to; outside the heap, nil before it is needed
	bell   int    // eventfd for streams of HTTP/2; -1: there are none
}

// watch is what a seat's request waits for. All of it is the event loop's thread's.
//
// Whoever takes an event of a connection that has an owner tells the owner's seat, which
// only says that it is to be looked at (scheduler.tell): what is so is seen when it is.
// So a notice that comes twice, or too late, does no harm.
type watch struct {
	wants  uint32
	alarms uint32 // to be told though nobody has asked
	told   uint32 // alarms that have been given
	waits  bool   // for its client: its clock stands still
	since  int64  // … from then on
	gone   int64  // when its client was first seen to have gone; 0: it has not
}

// span is where a request is in its trace. Unless its Flags have tracecontext.Sampled, nobody
// is told of it.
type span struct {
	tracecontext.Context
	parent tracecontext.Context
}

func (s *span) sampled() bool { return s.Flags&tracecontext.Sampled != 0 }

type stage uint8

const (
	stageNone stage = iota // start_response has not been called
	stageHead              // the head is checked, and may still be replaced
	stageSent              // the head is out
)

// reply is the state of the response to the request that a thread runs.
type reply struct {
	arrived   int64
	remaining int64 // of the Content-Length; -1: not known
	sent      int64 // bytes of body
	head      http1.Head
	status    int
	stage     stage
	chunked   bool
	close     bool
	gone      bool // the client has
	noBody    bool
	trailers  bool // fields follow the body
	cut       bool
	short     bool // it has less than its Content-Length
	counted   bool
	ended     bool   // the last chunk is out
	static    bool   // it is the server's own, of a file
	own       int    // the status that there is an error with; 0: of the application
	fields    string // … and what is to be said besides, as lines of a head
	raised    []byte // with --debug, the traceback of what the application has raised
	looked    int64  // when it was last looked whether the client is there
	silent    int64  // since when the client is known to send no more; 0: it may
}

// bodyReader is the state of a body that was too large to be held in memory: first
// comes what is in the file, then what is held, then what is still to arrive.
type bodyReader struct {
	file      *spool // nil: none
	at        int64  // … how much of it has been read
	rest      []byte // what is held in memory, and has not been read
	expects   bool   // the client waits for a 100 (Continue)
	open      bool   // not at its end
	chunked   bool
	remaining int64 // not chunked: bytes still to come
	total     int64 // chunked: bytes so far
	waited    int64 // since when the thread waits for input; 0: it does not
	patience  int64 // ns that it has waited, all in all
	got       int64 // bytes since it first waited
	failed    int
}

// roomWait is a thread's wait for its client to take something.
type roomWait struct {
	moved int64 // when the client last took something; 0: the thread does not wait
	since int64 // from when on its rate is reckoned
	sent  int64 // how much it had taken by then
}

func newThread(l *Loop, index int) (*Thread, error) {
	limits := &l.limits
	taskPages := (int(TaskSize) + 4095) &^ 4095
	pathSize := max(inBufferSize, (limits.Line+7)&^7)
	fields := (limits.Fields + 1) * int(unsafe.Sizeof(http1.Field{}))
	mem, err := offHeap(taskPages + readSize + pathSize + respBufferSize + fields)
	if err != nil {
		return nil, err
	}
	t := &Thread{Task: (*Task)(unsafe.Pointer(&mem[0])), l: l, index: index, bell: -1}
	if index >= 0 {
		t.rec = &l.slot.ThreadRecs[index]
	}
	t.buf = mem[taskPages : taskPages+readSize]
	t.path = mem[taskPages+readSize:][:pathSize]
	t.resp = mem[taskPages+readSize+pathSize:][:respBufferSize]
	t.Req.Fields = unsafe.Slice((*http1.Field)(unsafe.Pointer(&mem[len(mem)-fields])), limits.Fields+1)
	t.Resp, t.RespCap = address(t.resp), respBufferSize
	t.Epoll = int32(l.sched.set.fd)
	t.out = make([]byte, 0, 4096)
	if index >= 0 {
		t.coalescer = &coalescer{l: l, limit: coalesceTime}
	}
	return t, nil
}

// newSeat makes a Thread of which there may be thousands, most of them waiting: what a
// request touches before its answer lies side by side, and there is not much address space.
func newSeat(l *Loop) (*Thread, error) {
	fieldsAt := (int(TaskSize) + 63) &^ 63
	bufAt := fieldsAt + (l.limits.Fields+1)*int(unsafe.Sizeof(http1.Field{}))
	pathAt := bufAt + inBufferSize
	respAt := pathAt + max(inBufferSize, (l.limits.Line+7)&^7)
	mem, err := offHeap(respAt + largeHead)
	if err != nil {
		return nil, err
	}
	t := &Thread{Task: (*Task)(unsafe.Pointer(&mem[0])), l: l, bell: -1, rec: new(protocol.Thread)}
	t.Req.Fields = unsafe.Slice((*http1.Field)(unsafe.Pointer(&mem[fieldsAt])), l.limits.Fields+1)
	t.buf, t.path, t.resp = mem[bufAt:pathAt], mem[pathAt:respAt], mem[respAt:]
	t.Resp, t.RespCap = address(t.resp), largeHead
	t.Epoll = int32(l.sched.set.fd)
	return t, nil
}

// tunnels reports whether the request in t is the CONNECT of a tunnel for a WebSocket (RFC
// 8441). In HTTP/2 nothing else offers an upgrade. Whoever answers it with 2xx accepts it.
func (t *Thread) tunnels() bool {
	return t.Req.Minor == minorHTTP2 && t.Req.Flags&http1.FlagUpgrade != 0
}

// Identify says which Python thread t is, as Python knows it.
func (t *Thread) Identify(ident uint64) { t.ident.Store(ident) }

// runs reports whether t is a Python thread, which can run a request. The deputy and
// the sweeper use a Thread for its buffers, and queue what they read.
func (t *Thread) runs() bool { return t.index >= 0 }

// setTLS tells the application of the TLS that its request came by.
func (t *Thread) setTLS(env []byte) {
	t.TLSLen = 0
	if len(env) > 0 && t.hasTLSEnv() {
		t.TLSLen = uint32(copy(t.tlsEnv[:maxTLSEnviron], env))
	}
}

// maxIDEnviron is room for an identifier, its name and two zero bytes.
const maxIDEnviron = 256

// environVariable adds a variable to those of TLS.
func (t *Thread) environVariable(name string, value []byte) {
	if !t.hasTLSEnv() {
		return
	}
	b := append(append(t.tlsEnv[:t.TLSLen], name...), 0)
	b = append(append(b, value...), 0)
	t.TLSLen = uint32(len(b))
}

// hasTLSEnv makes the memory for what TLS says, and an identifier.
func (t *Thread) hasTLSEnv() bool {
	if t.tlsEnv == nil {
		mem, err := offHeap(maxTLSEnviron + maxIDEnviron)
		if err != nil {
			return false
		}
		t.tlsEnv = mem
	}
	t.TLS = address(t.tlsEnv)
	return true
}

// addBell gives t what it needs for HTTP/2. It is not left to the first request: an
// application may have used up the descriptors by then.
func (t *Thread) addBell() error {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("cannot create an eventfd: %w", err)
	}
	t.bell = fd
	return nil
}

// head is where the head of the request lies.
func (t *Thread) head() []byte { return bytesAt(t.Buf, int(t.Req.HeadLen)) }

// routeHash is the key of the request's route.
func (t *Thread) routeHash() uint64 {
	buf := t.head()
	return protocol.RouteHash(t.Req.Method.In(buf), t.Req.Path.In(buf))
}

// ruleName is the route of t's request, where it is known. It does not change.
func (t *Thread) ruleName() []byte {
	if t.rule == nil || t.reply.static {
		return nil // of a static one it would be the last request's
	}
	return t.rule.name
}

// dropField takes a field out of the request.
func (t *Thread) dropField(known uint32) {
	fields := slices.DeleteFunc(t.Req.Fields[:t.Req.NFields], func(f http1.Field) bool { return f.Known == known })
	t.Req.NFields = uint32(len(fields))
}

// forgetHead gives back the memory of a large response head.
func (t *Thread) forgetHead() {
	_ = unix.Madvise(t.resp[largeHead:], unix.MADV_DONTNEED)
	t.out = make([]byte, 0, 4096)
}

// wake lets a parked thread go on.
func (t *Thread) wake() { wakeFutex(&t.Task.Wake) }

// maxTLSEnviron bounds what a connection's TLS adds to environ. The client's
// certificate itself is left out where it does not fit.
const maxTLSEnviron = 16 << 10
