package protocol

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// MaxSlots bounds the workers that may exist at one time: two generations
	// and those that are still draining from earlier ones. The scoreboard is
	// sparse, so unused slots cost address space only.
	MaxSlots = 1024
	// MaxThreads bounds the Python threads of one worker.
	MaxThreads = 256

	scoreboardSize = int(unsafe.Sizeof(board{}))
)

// Methods are the values of the method label. Index 0 stands for every method
// that is not named here, so that clients cannot make up labels.
var Methods = [...]string{"other", "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"}

// Classes are the classes of a status. Index 0 counts requests that got no
// answer (the client had gone, or the worker died).
var Classes = [...]string{"none", "1xx", "2xx", "3xx", "4xx", "5xx"}

// Bounds are the upper bounds of the latency histograms, in nanoseconds; a last
// bucket beyond them is implied.
var Bounds = [...]int64{
	100e3, 250e3, 500e3, 1e6, 2500e3, 5e6, 10e6, 25e6, 50e6, 100e6,
	250e6, 500e6, 1e9, 2500e6, 5e9, 10e9, 30e9,
}

// Histogram is a latency histogram. Counts are per bucket, not cumulative.
type Histogram struct {
	Sum    atomic.Int64 // nanoseconds
	Counts [len(Bounds) + 1]atomic.Uint64
}

// Observe adds one observation of ns nanoseconds.
func (h *Histogram) Observe(ns int64) {
	ns = max(ns, 0) // the clocks of two processes may differ by microseconds, and no sum goes back
	i := 0
	for i < len(Bounds) && ns > Bounds[i] {
		i++
	}
	h.Counts[i].Add(1)
	h.Sum.Add(ns)
}

// MaxRejects bounds the reasons for which a request may be refused; it is no
// smaller than http1.NumReasons (a test in worker/ says so).
const MaxRejects = 64

// TimeoutKind says which time limit a connection ran into.
type TimeoutKind int

// The time limits that are counted.
const (
	TimeoutHead TimeoutKind = iota
	TimeoutBody
	TimeoutIdle
	TimeoutWrite
	TimeoutBodyRate
	TimeoutWriteRate
	TimeoutPing
	NumTimeouts
)

// TimeoutNames are the values of the phase label.
var TimeoutNames = [NumTimeouts]string{"head", "body", "idle", "write", "body_rate", "write_rate", "ping"}

// Eviction says in which state a connection was that had to go when its worker was
// full.
type Eviction int

// The states. Their order is that of the scoreboard.
const (
	EvictedIdle  Eviction = iota // it rested between requests
	EvictedHead                  // it had not asked for anything yet
	EvictedBody                  // it sent its request's body, slowly
	EvictedWrite                 // it took its response, slowly
	NumEvictions
)

// EvictionNames are the values of the phase label.
var EvictionNames = [NumEvictions]string{"idle", "head", "body", "write"}

// Rank tells who goes first: those of the lowest.
func (e Eviction) Rank() int { return min(int(e), int(EvictedBody)) }

// Counters only ever grow, across all workers that held the slot.
type Counters struct {
	Requests          [len(Methods)][NumCodes]atomic.Uint64 // by method and CodeIndex
	Duration          [len(Methods)][len(Classes)]Histogram // arrival of the whole request to the end of the response
	QueueWait         Histogram                             // arrival of the whole request to the application's start
	GILWait           atomic.Int64                          // nanoseconds spent by Python threads waiting for the GIL
	ReceivedBytes     atomic.Uint64
	SentBytes         atomic.Uint64
	Accepted          atomic.Uint64
	Handshakes        atomic.Uint64 // of TLS
	Unavailable       atomic.Uint64 // requests answered 503: the queue was full, or they had waited too long
	Held              atomic.Uint64 // requests to slow routes that waited for a second free thread
	AcceptErrors      atomic.Uint64
	AppExceptions     atomic.Uint64
	AppViolations     atomic.Uint64 // PEP 3333 broken by the application, e.g. more bytes than Content-Length
	Timeouts          [NumTimeouts]atomic.Uint64
	Evicted           [NumEvictions]atomic.Uint64
	Rejected          [MaxRejects]atomic.Uint64 // by http1.Reason
	SpooledBodies     atomic.Uint64             // bodies that went to a file, or their begin
	SpooledBytes      atomic.Uint64
	SpoolFailures     atomic.Uint64
	AccessLogErrors   atomic.Uint64 // lines that are lost
	ErrorLogErrors    atomic.Uint64
	SpansLost         atomic.Uint64 // that did not get out of the worker
	HandedOut         atomic.Uint64 // connections given to other workers
	HandedIn          atomic.Uint64 // … and taken from them
	HandshakeFailures atomic.Uint64
	MessagesIn        atomic.Uint64 // of WebSockets
	MessagesOut       atomic.Uint64

	// ForwardedUntrusted counts requests of which somebody who is not trusted says
	// where they come from.
	ForwardedUntrusted atomic.Uint64

	LoopLag    Histogram     // how long an event loop was away from its post each time
	LoopBlocks atomic.Uint64 // … and of these, how often it was for long
}

// Gauges describe the worker that holds the slot now.
type Gauges struct {
	ConnsIdle    atomic.Int64  // between requests
	ConnsReading atomic.Int64  // a request has begun to arrive
	ConnsRunning atomic.Int64  // with a Python thread, or waiting for one
	ConnsWriting atomic.Int64  // the rest of a response is on its way
	Sockets      atomic.Int64  // WebSockets
	QueueDepth   atomic.Int64  // whole requests waiting for a Python thread
	QueueOldest  atomic.Int64  // when the oldest of them arrived; 0: none
	Threads      atomic.Int64  // Python threads that serve
	Tasks        atomic.Int64  // requests that an event loop runs
	TasksWaiting atomic.Int64  // … and that wait, as it may run no more
	Unseen       atomic.Int64  // requests and WebSockets of an event loop's that have found no record free
	LoopSince    atomic.Int64  // since when the event loop has not been at its post; LoopRests: it is; 0: there is none
	Served       atomic.Uint64 // requests begun by this worker
	Heartbeat    atomic.Int64  // last sign of life of the worker's Go side
	SpoolFiles   atomic.Int64  // bodies in files now
	SpoolBytes   atomic.Int64  // … and how much of the disk they take
	GILWanted    atomic.Int64  // since when a thread that was sent to find out has waited for the GIL; 0: none does
}

// LoopRests is LoopSince while the event loop waits for something to do.
const LoopRests = 1

// Thread says what a Python thread works on. One writer; readers use Snapshot.
//
// It is a sequence lock of which every word is atomic: a plain copy would do on
// amd64, but a weaker memory model may move a reader's loads past its second
// look at the sequence.
type Thread struct {
	head  atomic.Uint64 // sequence (32 bits, odd while being written), client (8), target (16), method (8)
	start atomic.Int64  // when the application was started; 0: idle
	data  [threadRecordWords]atomic.Uint64

	// The request's clock. What is said of one request says which, or when, so that
	// Begin need not undo it.
	progress       atomic.Int64 // when it last took or gave data
	waits          atomic.Int64 // the start of the request that waits for its client
	limit, limitOf atomic.Int64 // the application's own timeout, and its request
	endless        atomic.Int64 // the start of the request that has no limit in all

	logged atomic.Int64 // the start of the request whose line in the access log is written, though the thread goes on with it

	place   Place        // in a trace
	placeOf atomic.Int64 // … of the request that began then; 0: of none
}

const (
	threadRecordWords = 29
	minorShift        = 6  // of the version, above the length of a method
	maxMethod         = 16 // bytes of a record that a method may take
	maxClient         = 48
)

// Begin is BeginOver HTTP/1.1.
func (t *Thread) Begin(now int64, method, target, client []byte) {
	t.BeginOver(now, 1, method, target, client)
}

// BeginOver records the request that the thread starts on at time now, and over which
// version of HTTP it came: the minor one, or 2 for HTTP/2. Long targets are cut.
func (t *Thread) BeginOver(now int64, minor uint32, method, target, client []byte) {
	// The thread's last writer may have died while writing and left an odd
	// sequence behind; or, not add, gets back into step.
	seq := uint32(t.head.Load()>>32) | 1
	t.head.Store(uint64(seq) << 32)
	var buf [threadRecordWords * 8]byte
	m := copy(buf[:maxMethod], method)
	c := copy(buf[m:m+maxClient], client)
	n := copy(buf[m+c:], target)
	for i := range (m + c + n + 7) / 8 {
		t.data[i].Store(binary.NativeEndian.Uint64(buf[i*8:]))
	}
	t.start.Store(now)
	t.head.Store(uint64(seq+1)<<32 | uint64(c)<<24 | uint64(n)<<8 | uint64(minor&3)<<minorShift | uint64(m))
}

// Open is Begin where nobody is to know what the request is.
func (t *Thread) Open(now int64) { t.start.Store(now) }

// A request has a clock, which --timeout is held against. It runs from the request's
// begin, stands still while the request waits for its client, and begins anew whenever
// data has gone either way. The thread's own writer, or who writes in its name, calls
// Progress and SetTimeout. Wait and Waited may be called by others, a moment too late
// even: they say of which request they speak, and touch no other's.

// Progress records that the request has taken or given data.
func (t *Thread) Progress(now int64) { t.progress.Store(now) }

// Wait stops the clock of the request that began at start.
func (t *Thread) Wait(start int64) { raise(&t.waits, start) }

// Waited starts it again, from the beginning.
func (t *Thread) Waited(start, now int64) {
	if t.start.Load() != start {
		return // the clock is another's, which began after now
	}
	raise(&t.progress, now) // first, or the clock would be seen to run from before
	t.waits.CompareAndSwap(start, 0)
}

// Exempt is Wait for a request that may last for as long as its client likes: what it
// takes by any clock does not count from here on.
func (t *Thread) Exempt(start int64) {
	raise(&t.endless, start)
	raise(&t.waits, start)
}

// Logged says that the request that began at start has had its line in the access log.
func (t *Thread) Logged(start int64) { raise(&t.logged, start) }

// raise sets a time, unless it is later by now: requests begin one after the other.
func raise(at *atomic.Int64, to int64) {
	for was := at.Load(); was < to && !at.CompareAndSwap(was, to); {
		was = at.Load()
	}
}

// SetTimeout gives the request that began at start another timeout, and its clock a
// new beginning.
func (t *Thread) SetTimeout(start, now, limit int64) {
	t.limitOf.Store(0)
	t.limit.Store(limit)
	t.limitOf.Store(start)
	t.progress.Store(now)
}

// OwnTimeout returns the timeout that SetTimeout has given the request that began at start.
func (t *Thread) OwnTimeout(start int64) (limit int64, own bool) {
	if t.limitOf.Load() != start {
		return 0, false
	}
	limit = t.limit.Load()
	return limit, t.limitOf.Load() == start
}

// ClockSince returns since when the clock of the request that began at start has run;
// 0: it stands still.
func (t *Thread) ClockSince(start int64) int64 {
	if t.waits.Load() == start {
		return 0
	}
	return max(start, t.progress.Load())
}

// Deadline returns when the time of the request that began at start is up, where
// timeout is what its clock may show, unless the application has another wish, and
// total what it may take by any clock. 0: there is no such limit.
func (t *Thread) Deadline(start int64, timeout, total time.Duration) int64 {
	at := int64(math.MaxInt64)
	if total > 0 && t.endless.Load() != start {
		at = start + int64(total)
	}
	if since := t.ClockSince(start); timeout > 0 && since != 0 {
		if limit, own := t.OwnTimeout(start); own {
			timeout = time.Duration(limit)
		}
		at = min(at, since+int64(timeout))
	}
	return at
}

// End records that the thread is idle.
func (t *Thread) End() { t.start.Store(0) }

// Activity is a consistent copy of a thread's record.
type Activity struct {
	Start                  int64 // CLOCK_MONOTONIC nanoseconds
	Method, Target, Client string
	Minor                  int  // 0: HTTP/1.0, 1: HTTP/1.1, 2: HTTP/2
	Logged                 bool // its line in the access log is written, or another record's
	Socket                 bool // it has become a WebSocket, and is counted
}

// Started returns when the application was started on what the thread works on
// (CLOCK_MONOTONIC nanoseconds), and 0 if it is idle.
func (t *Thread) Started() int64 { return t.start.Load() }

// Snapshot returns what the thread works on, and false if it is idle. Where the
// writer died, or was stopped, while writing, only Start is known.
func (t *Thread) Snapshot() (Activity, bool) {
	var buf [threadRecordWords * 8]byte
	for range 100 {
		head := t.head.Load()
		start := t.start.Load()
		if start == 0 {
			return Activity{}, false
		}
		m, n, c := int(head&(1<<minorShift-1)), int(head>>8&0xffff), int(head>>24&0xff)
		if head>>32&1 == 1 || m+n+c > len(buf) {
			continue
		}
		for i := range (m + n + c + 7) / 8 {
			binary.NativeEndian.PutUint64(buf[i*8:], t.data[i].Load())
		}
		if t.head.Load() != head {
			continue
		}
		return Activity{start, string(buf[:m]), string(buf[m+c : m+c+n]), string(buf[m : m+c]), int(head >> minorShift & 3),
			t.logged.Load() == start, t.endless.Load() == start}, true
	}
	start := t.start.Load()
	return Activity{Start: start}, start != 0
}

// SlotState is where the worker in a slot is in its life.
type SlotState uint32

// The states of a slot; the master alone writes them.
const (
	SlotFree SlotState = iota
	SlotBooting
	SlotServing
	SlotDraining
	SlotCanary // it serves what others give it: see WorkerConfig.Canary
)

func (s SlotState) String() string {
	switch s {
	case SlotFree:
		return "free"
	case SlotBooting:
		return "booting"
	case SlotServing:
		return "serving"
	case SlotDraining:
		return "draining"
	case SlotCanary:
		return "canary"
	}
	return fmt.Sprintf("SlotState(%d)", uint32(s))
}

// Slot is one worker's part of the scoreboard.
type Slot struct {
	State      atomic.Uint32 // SlotState
	Generation atomic.Uint32
	PID        atomic.Int64
	StartedAt  atomic.Int64 // CLOCK_MONOTONIC nanoseconds
	Routed     atomic.Int64 // how many of Routes the worker has named
	_          [24]byte
	Gauges     Gauges
	Pools      [MaxPools]PoolGauges
	_          [64]byte // what the worker writes often keeps a cache line of its own
	Counters   Counters
	ThreadRecs [MaxThreads]Thread
	Routes     [maxRoutes]RouteCounters
}

// board is nothing but slots: a word in it that a worker needs to begin with, one that was
// taken over could spoil for all that are to take its place.
type board struct {
	slots [MaxSlots]Slot
}

// Scoreboard is a mapping of the shared memory.
type Scoreboard struct {
	b    *board
	mem  []byte
	gone routeSums // the master's alone
}

// ErrScoreboard reports memory that is no scoreboard, or another version's.
var ErrScoreboard = errors.New("not a scoreboard of this version")

// CreateScoreboard makes a new, empty scoreboard and returns it with the memfd
// that workers map. The caller owns the file.
func CreateScoreboard() (*Scoreboard, *os.File, error) {
	f, err := newMemory("hostler-scoreboard", scoreboardSize)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot create the scoreboard: %w", err)
	}
	if err := seal(f, sealSize); err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("cannot create the scoreboard: %w", err)
	}
	s, err := mapBoard(int(f.Fd())) // a memfd knows no non-blocking mode
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return s, f, nil
}

// OpenScoreboard maps the scoreboard behind fd, of which the size has to be right; for the
// rest, master and workers are of one binary. It keeps no reference to fd.
func OpenScoreboard(fd int) (*Scoreboard, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("cannot open the scoreboard: %w", err)
	}
	if st.Size != int64(scoreboardSize) {
		return nil, fmt.Errorf("cannot open the scoreboard: %w", ErrScoreboard)
	}
	return mapBoard(fd)
}

func mapBoard(fd int) (*Scoreboard, error) {
	mem, err := unix.Mmap(fd, 0, scoreboardSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("cannot map the scoreboard: %w", err)
	}
	return &Scoreboard{b: (*board)(unsafe.Pointer(&mem[0])), mem: mem}, nil
}

// Slot returns slot i, 0 ≤ i < MaxSlots.
func (s *Scoreboard) Slot(i int) *Slot { return &s.b.slots[i] }

// Used returns how many slots, from the first on, have ever been handed out.
// That is all of them, since the master hands out the lowest that is free. It
// does not look beyond the first unused one: even reading a page of shared
// memory allocates it.
func (s *Scoreboard) Used() int {
	for i := range s.b.slots {
		if !s.b.slots[i].Used() {
			return i
		}
	}
	return MaxSlots
}

// Used reports whether the slot has ever been handed out. Generations count
// from 1, and unlike the rest a slot's generation outlives its worker.
func (s *Slot) Used() bool { return s.Generation.Load() != 0 }

// Close unmaps the scoreboard; no Slot of it may be used afterwards.
func (s *Scoreboard) Close() error {
	s.b = nil
	return unix.Munmap(s.mem)
}

// Assign clears what belonged to the slot's last worker and hands the slot to a
// new one. Counters stay.
func (s *Slot) Assign(generation uint32, threads int) {
	s.clear()
	s.Gauges.Threads.Store(int64(threads))
	s.Generation.Store(generation)
	s.PID.Store(0)
	s.StartedAt.Store(Monotonic())
	s.State.Store(uint32(SlotBooting))
}

// Monotonic returns CLOCK_MONOTONIC in nanoseconds.
func Monotonic() int64 {
	var ts unix.Timespec
	// Cannot fail: the clock always exists and ts is ours.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return ts.Nano()
}
