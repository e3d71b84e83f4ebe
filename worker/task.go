package worker

import (
	"fmt"
	"slices"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"hostler/protocol"
	"hostler/worker/http1"
	"hostler/worker/websocket"
)

// What a Python thread is to do next; returned by Loop.Next. The values are
// part of the ABI with worker/python.
const (
	Run     = 1 // the Task holds a request
	Lead    = 2 // wait in epoll_wait on Task.Epoll into Task.Events, set NEvents and Polled, call Next
	Follow  = 3 // wait on the futex word Task.Wake while it is 0, call Next
	Exit    = 4 // leave the loop
	None    = 5 // only with NextHeld: nothing is ready
	Garbage = 6 // take the GIL, release what Loop.Garbage returns, call Next
	Yield   = 7 // wait until another thread that waits for the GIL has it, call Next
)

// Flags of Task.Result, set by C when the application has been called.
const (
	ResultFailed   = 1 << iota // it raised, or broke PEP 3333 beyond repair
	ResultFinal                // Out is the whole body
	ResultTimedOut             // with ResultFailed: after the timeout's exception was raised in it
)

// Bits of Task.Forwarded.
const (
	ForwardedHTTPS  = 1 << iota // the client speaks https
	ForwardedHost               // it asked for Host
	ForwardedPrefix             // the application is under Prefix
	ForwardedHTTP               // the client does not speak https, though the proxy does
	ForwardedStray              // Prefix is no begin of the path, as it should be
)

const (
	maxEvents    = 64
	inBufferSize = 64 << 10
	// respBufferSize bounds an application's response head: more than any client takes.
	// What is beyond largeHead is given back when the response is out.
	respBufferSize = 1 << 20
	largeHead      = 64 << 10
)

// Task is what a Python thread and this package hand to each other. It lies
// outside the Go heap, one per thread for the life of the process, and its
// layout is mirrored in worker/python/task.h; keep them alike.
//
// Next fills in the request part and hands the Task over by returning Run; until
// the thread calls Next again everything in it stays valid.
type Task struct {
	// The request.
	Buf       uintptr // what the spans of Req refer to
	Path      uintptr // decoded path
	Body      uintptr // the body, or its first part
	BodyLen   int64
	PathLen   uint32
	BodyMore  uint32 // more of the body has to be fetched with Thread.Read
	Listener  uint32 // index
	Forwarded uint32 // what a trusted proxy says: Forwarded… bits
	FD        int32  // for poll(2) while waiting for body or for room to write
	RemoteLen uint32
	PortLen   uint32
	Contended uint32   // set by C after a request: another thread waits for the GIL to run one
	Seq       uint64   // counts requests of this thread; never 0 while one runs
	Remote    [48]byte // REMOTE_ADDR
	Port      [8]byte  // REMOTE_PORT
	// With ForwardedHost and ForwardedPrefix, these are in Buf like Req's.
	Host     http1.Span
	Prefix   http1.Span // SCRIPT_NAME
	HostName uint32     // length of Host without its port
	// RoomEvents is what to wait for with poll(2) on FD when there shall be room to
	// write: POLLOUT, or POLLIN where FD is an eventfd. For input it is POLLIN.
	RoomEvents uint32
	TLS        uintptr // names and values for environ, each ended by a zero byte
	TLSLen     uint32
	BodyFile   uint32 // the body, or its begin, is in a file: Thread.Read and ReadAt may wait for the disk
	Req        http1.Request

	// The response; written by C.
	Resp      uintptr // status text, then field records (see http1.CheckHead)
	RespCap   uint32
	StatusLen uint32
	FieldsLen uint32
	Result    uint32 // Result… flags
	Out       uintptr
	OutLen    int64
	OutKept   uint32 // set by Write: it has taken over the reference it was given

	// Scheduling.
	Wake    uint32 // futex word: 1 = come
	Epoll   int32
	NEvents int32
	Polled  int64                      // CLOCK_MONOTONIC ns: when epoll_wait returned
	Taken   int64                      // set by Next: when it handed the request over
	Started int64                      // set by C: when the application was called, with the GIL
	Events  [maxEvents]unix.EpollEvent // Fd: the connection's slot, Pad: its generation
}

// TaskSize is what C must believe the size of a Task to be.
const TaskSize = unsafe.Sizeof(Task{})

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

	upgrade *websocket.Handshake // of the request, if it asks for a WebSocket

	forClient atomic.Int64 // ns that the request has waited for its client
	room      roomWait
	seen      int64 // when t last looked at the clock
	yielded   int64 // see Thread.yield
	leading   bool  // Next said Lead
	full      bool  // the last read may have left something in the socket
	arrived   int64 // when the event was taken that t works on

	parked bool // it follows
	onward bool // a request has been answered without a Python thread: see goesOn

	line  accessLine // of the access log
	ident atomic.Uint64

	rec   *protocol.Thread // its place on the scoreboard; a seat has a record of its own
	cork  *cork            // of the event loop that it is a seat of; nil: of none
	seat  int              // … its number
	place int              // in Async.live
	watch watch

	id     []byte // the request's identifier; empty: it has none
	tlsEnv []byte // what Task.TLS points to; outside the heap, nil before it is needed
	bell   int    // eventfd for streams of HTTP/2; -1: there are none
}

// watch is what a seat's request waits for. All of it is the event loop's thread's but
// for listed, which belongs to the scheduler's lock.
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
	listed bool
}

// Identify says which Python thread t is, as Python knows it.
func (t *Thread) Identify(ident uint64) { t.ident.Store(ident) }

// secured tells the application of the TLS that its request came by.
func (t *Thread) secured(env []byte) {
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

// dropField takes a field out of the request.
func (t *Thread) dropField(known uint32) {
	fields := slices.DeleteFunc(t.Req.Fields[:t.Req.NFields], func(f http1.Field) bool { return f.Known == known })
	t.Req.NFields = uint32(len(fields))
}

// minorHTTP2 is the Minor of a Request that came by HTTP/2.
const minorHTTP2 = 2

// runs says whether t is a Python thread, which can run a request. The deputy and
// the sweeper use a Thread for its buffers, and queue what they read.
func (t *Thread) runs() bool { return t.index >= 0 }

func newThread(l *Loop, index int) (*Thread, error) {
	limits := &l.limits
	taskPages := (int(TaskSize) + 4095) &^ 4095
	pathSize := max(inBufferSize, (limits.Line+7)&^7)
	fields := (limits.Fields + 1) * int(unsafe.Sizeof(http1.Field{}))
	mem, err := offHeap(taskPages + inBufferSize + pathSize + respBufferSize + fields)
	if err != nil {
		return nil, err
	}
	t := &Thread{Task: (*Task)(unsafe.Pointer(&mem[0])), l: l, index: index, bell: -1}
	if index >= 0 {
		t.rec = &l.slot.ThreadRecs[index]
	}
	t.buf = mem[taskPages : taskPages+inBufferSize]
	t.path = mem[taskPages+inBufferSize:][:pathSize]
	t.resp = mem[taskPages+inBufferSize+pathSize:][:respBufferSize]
	t.Req.Fields = unsafe.Slice((*http1.Field)(unsafe.Pointer(&mem[len(mem)-fields])), limits.Fields+1)
	t.Resp, t.RespCap = address(t.resp), respBufferSize
	t.Epoll = int32(l.sched.set.fd)
	t.out = make([]byte, 0, 4096)
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

// forgetHead gives back the memory of a large response head.
func (t *Thread) forgetHead() {
	_ = unix.Madvise(t.resp[largeHead:], unix.MADV_DONTNEED)
	t.out = make([]byte, 0, 4096)
}

// wake lets a parked thread go on.
func (t *Thread) wake() { wakeFutex(&t.Task.Wake) }
