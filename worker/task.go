package worker

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"hostler/worker/http1"
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
	ResultWhole                // with ResultFailed: behind the end of its response, which stays good
)

// What Thread.Write says; part of the ABI with worker/python.
const (
	WriteOK   = 0
	WriteWait = 1  // call WaitRoom until it says something else
	WriteCut  = 2  // the response has all the bytes that it may have
	WriteGone = -1 // the client has gone: stop

	WriteNoHead = -2 // start_response has not been called

	FileCopy = 3 // of a file: it has to be read and written instead
)

// What a piece of a body is to Thread.Write; part of the ABI with worker/python.
const (
	PieceLast  = iota // its end follows, or it is not known what does
	PieceWhole        // it is the whole body
	PieceMore         // of a stream: others follow
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
	inBufferSize = 64 << 10
	// readSize is how much a Python thread reads at once: a body of 64 kB comes whole with its
	// head, and is the application's where it lies.
	readSize = inBufferSize + 16<<10
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

// minorHTTP2 is the Minor of a Request that came by HTTP/2.
const minorHTTP2 = 2
