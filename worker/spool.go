package worker

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"hostler/protocol"
	"hostler/worker/http1"
)

// A body that is larger than what is held in memory goes to a file before the
// application is called (--spool-limit, --spool-dir): it is whole then, has its length
// and can be rewound, and a slow client holds no Python thread.
//
// Writing to a disk may take long, or for ever, so no thread that serves others does
// it. The connection is owned by a goroutine of its own while there is something to
// read; that writes, and does not read meanwhile, so the client has to wait for the
// disk. Between its pieces the connection is at rest like any other that sends a body,
// in phaseBody, and nothing but its input holds the file.
//
// If the disk is full, or there is none, or there are too many such bodies already,
// the application is called with what there is, and reads the rest as it arrives. If
// the disk does not answer at all, the client gets a 503 and the file is left to the
// goroutine that waits for it.

const (
	// spoolRoom is what stays free of a buffer: if the rest of the body is read by the
	// application after all, there has to be some room.
	spoolRoom = 16 << 10
	// maxSpools bounds the files that a worker has: each takes a descriptor, and when
	// the disk stands still each holds a thread of the runtime's.
	maxSpools = 128
	// spoolPause is how long nothing more is logged about failures after a line.
	spoolPause = int64(10 * time.Second)
)

// spoolFile is what a spool needs of a file.
type spoolFile interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	Name() string
}

// spoolDisk is where these files are.
type spoolDisk interface {
	// create makes a file without a name.
	create() (spoolFile, error)
	// room says how many more bytes such a file may be given.
	room(f spoolFile) (int64, error)
}

var (
	errSpoolFull  = errors.New("the disk is full, but for what is kept for others")
	errSpoolLimit = errors.New("the body is larger than --spool-limit")
	errSpoolLost  = errors.New("the connection is no longer ours")
)

// spools are the spooled bodies of a worker.
type spools struct {
	disk   spoolDisk
	limit  int64 // of a body; 0: none is spooled
	most   int   // files at a time
	stream []pathPattern
	slot   *protocol.Slot

	mu     sync.Mutex
	all    map[*spool]struct{}
	said   int64 // when a failure was last logged
	unsaid int
}

func newSpools(cfg *protocol.WorkerConfig, slot *protocol.Slot) *spools {
	s := &spools{disk: spoolDir(cfg.SpoolDir), limit: cfg.SpoolLimit, most: maxSpools, slot: slot, all: make(map[*spool]struct{})}
	for _, p := range cfg.StreamUploads {
		s.stream = append(s.stream, newPathPattern(p))
	}
	return s
}

// planBody says what becomes of the body of the request in t, whose head is at the
// begin of b.
func (l *Loop) planBody(t *Thread, c *conn, b []byte) bodyPlan {
	r, s := &t.Req, l.spools
	if len(s.stream) > 0 {
		t.Buf = address(b)
		path := t.decodePath()
		for _, p := range s.stream {
			if p.match(path) {
				return planStream
			}
		}
	}
	chunked := r.Flags&http1.FlagChunked != 0
	if !chunked && (r.ContentLength <= bodyBuffer || r.ContentLength > s.limit) || s.limit <= 0 {
		return planHold
	}
	if r.Flags&http1.FlagAuthority != 0 || l.cfg.Listeners[c.listener].Redirect != "" {
		return planHold // the answer is our own
	}
	t.Buf = address(b)
	if t.isStatic() {
		return planHold
	}
	return planSpool
}

// spool is a body on its way to a file, or there.
type spool struct {
	of    *spools
	file  spoolFile // nil: not made yet
	size  int64     // what has been written; the owner's of the connection
	whole bool      // that is all

	isHead bool // the request is for a head alone

	mu    sync.Mutex
	since int64 // when the disk was asked for something that it has not answered; 0: it was not
	conn  *conn
	lost  bool // the connection was taken away meanwhile
}

// beginSpool takes an owned connection, whose body has filled its buffer, to a
// goroutine that writes it to a file. It returns false if that is not to be.
func (c *conn) beginSpool(l *Loop) bool {
	in := c.in
	if in.plan != planSpool {
		return false
	}
	in.plan = planHold // whatever comes of it, there is no second attempt
	s := &spool{of: l.spools, conn: c, isHead: c.asksHead()}
	l.spools.mu.Lock()
	full := len(l.spools.all) >= l.spools.most
	if !full {
		l.spools.all[s] = struct{}{}
	}
	l.spools.mu.Unlock()
	if full {
		l.spoolFailed(errors.New("too many bodies are being spooled"))
		return false
	}
	l.slot.Gauges.SpoolFiles.Add(1)
	in.spool = s
	go c.spoolOn(l)
	return true
}

// spoolOn goes on with an owned connection whose body is being spooled, until there is
// nothing to read, or the body is whole.
func (c *conn) spoolOn(l *Loop) {
	in := c.in
	for {
		whole, reason := l.takeIn(in)
		if reason != http1.ReasonNone {
			c.reject(l, reason, c.asksHead())
			return
		}
		limit := len(in.mem) - spoolRoom
		if whole || limit-in.n < spoolRoom {
			switch err := l.store(c, in, whole); {
			case err == errSpoolLost:
				l.mem.inputs.put(in)
				return
			case err != nil || whole:
				c.startSpooled(l, in)
				return
			}
			limit = len(in.mem) - spoolRoom
		}
		limit = min(limit, in.n+inBufferSize) // as in gather
		if !in.chunked {
			limit = int(min(int64(limit), int64(in.head)+in.length-in.spool.size))
		}
		n, err := c.read(in.mem[in.n:limit])
		if n > 0 {
			in.n += n
			l.slot.Counters.ReceivedBytes.Add(uint64(n))
			continue
		}
		if err != unix.EAGAIN {
			c.endOfInput(l)
			return
		}
		if c.settle(l, phaseBody) {
			return
		}
	}
}

// takeIn looks at what has been read into in, and says whether the body ends there.
func (l *Loop) takeIn(in *input) (whole bool, reason http1.Reason) {
	size := in.spool.size
	if !in.chunked {
		in.body, in.raw = in.n, in.n
		return size+int64(in.n-in.head) >= in.length, http1.ReasonNone
	}
	if reason = in.decode(); reason != http1.ReasonNone {
		return false, reason
	}
	if limit := l.cfg.LimitRequestBody; limit > 0 && size+int64(in.body-in.head) > limit {
		return false, http1.ReasonBodyTooLarge
	}
	return in.done, http1.ReasonNone
}

// store writes what there is of the body to the file. What cannot be written stays
// where it is.
func (l *Loop) store(c *conn, in *input, whole bool) error {
	s, b := in.spool, in.mem[in.head:in.body]
	var n int
	err := errSpoolLimit
	if s.size+int64(len(b)) <= l.spools.limit {
		if !s.ask(l.now()) {
			return errSpoolLost
		}
		n, err = s.write(b)
		if !s.answered() {
			return errSpoolLost
		}
	}
	if s.size == 0 && n > 0 {
		l.slot.Counters.SpooledBodies.Add(1)
	}
	s.size += int64(n)
	l.slot.Counters.SpooledBytes.Add(uint64(n))
	l.slot.Gauges.SpoolBytes.Add(int64(n))
	in.drop(n)
	switch {
	case err == nil:
		s.whole = whole
		l.mem.inputs.shrink(in, in.head+spoolBuffer)
	case err != errSpoolLimit:
		l.spoolFailed(err)
	}
	return err
}

// write appends to the file, which it makes if there is none.
func (s *spool) write(b []byte) (int, error) {
	if s.file == nil {
		f, err := s.of.disk.create()
		if err != nil {
			return 0, err
		}
		s.file = f
	}
	room, err := s.of.disk.room(s.file)
	if err != nil {
		return 0, err
	}
	if room < int64(len(b)) {
		return 0, fmt.Errorf("%s: %w", s.file.Name(), errSpoolFull)
	}
	return s.file.WriteAt(b, s.size)
}

// ask notes that the disk is about to be asked for something; answered, that it is
// done. They return false if the connection has been taken away.
func (s *spool) ask(now int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since = now
	return !s.lost
}

func (s *spool) answered() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since = 0
	return !s.lost
}

// takeAway says whether the body has waited for the disk since before the time given;
// the connection is the caller's then.
func (s *spool) takeAway(before int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since == 0 || s.since > before || s.lost {
		return false
	}
	s.lost = true
	return true
}

// sweepSpools answers the clients for whom the disk takes too long. The housekeeping
// calls it.
func (hk *housekeeper) sweepSpools(now int64) {
	l := hk.l
	if l.cfg.BodyTimeout <= 0 || l.slot.Gauges.SpoolFiles.Load() == 0 {
		return
	}
	l.spools.mu.Lock()
	var stalled []*spool
	for s := range l.spools.all {
		if s.takeAway(now - int64(l.cfg.BodyTimeout)) {
			stalled = append(stalled, s)
		}
	}
	l.spools.mu.Unlock()
	for _, s := range stalled {
		c := s.conn
		c.in = nil // the goroutine's, which still writes from it, or is just done
		l.slot.Counters.SpoolFailures.Add(1)
		c.reject(l, http1.ReasonSpoolStalled, s.isHead)
	}
}

// startSpooled has the request of an owned connection run whose body is as whole as
// it will become.
func (c *conn) startSpooled(l *Loop, in *input) {
	if s := in.spool; s.size == 0 {
		s.free()
		in.spool = nil
	}
	if !in.chunked {
		in.need = in.n
	}
	in.arrived, in.queued = l.now(), true
	if !c.enqueue(l) {
		in.queued = false
		c.shed(l)
	}
}

// free gives the file up. Nobody waits for that: it may take its time.
func (s *spool) free() {
	go func() {
		if s.file != nil {
			// What was in it is of no use to anybody; and if the application has
			// forked, closing it is not enough.
			_ = s.file.Truncate(0)
			s.file.Close()
		}
		s.of.slot.Gauges.SpoolBytes.Add(-s.size)
		s.of.slot.Gauges.SpoolFiles.Add(-1)
		s.of.mu.Lock()
		delete(s.of.all, s)
		s.of.mu.Unlock()
	}()
}

// spoolFailed counts a body that could not be spooled, and says why, once in a while.
func (l *Loop) spoolFailed(err error) {
	l.slot.Counters.SpoolFailures.Add(1)
	s, now := l.spools, l.now()
	s.mu.Lock()
	s.unsaid++
	n := s.unsaid
	say := s.said == 0 || now-s.said >= spoolPause
	if say {
		s.said, s.unsaid = now, 0
	}
	s.mu.Unlock()
	if say {
		l.log.Warn("a request body cannot be spooled to a file; the application reads it as it comes", "error", err, "bodies", n)
	}
}
