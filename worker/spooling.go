package worker

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

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
	// spoolPause is how long nothing more is logged about failures after a line.
	spoolPause = int64(10 * time.Second)
)

var (
	errSpoolLimit = errors.New("the body is larger than --spool-limit")
	errSpoolLost  = errors.New("the connection is no longer ours")
)

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

// beginSpool takes an owned connection, whose body has filled its buffer, to a
// goroutine that writes it to a file. It returns false if that is not to be.
func (c *conn) beginSpool(l *Loop) bool {
	in := c.in
	if in.plan != planSpool {
		return false
	}
	in.plan = planHold // whatever comes of it, there is no second attempt
	s := &spool{of: l.spools, conn: c, asked: c.heard().clone()}
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
			c.reject(l, reason, c.heard())
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

// takeIn looks at what has been read into in, and reports whether the body ends there.
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

// sweep answers the clients for whom the disk takes too long. The housekeeping calls it.
func (p *spools) sweep(l *Loop) {
	if l.cfg.BodyTimeout <= 0 || l.slot.Gauges.SpoolFiles.Load() == 0 {
		return
	}
	p.mu.Lock()
	var stalled []*spool
	for s := range p.all {
		if s.takeAway(l.now() - int64(l.cfg.BodyTimeout)) {
			stalled = append(stalled, s)
		}
	}
	p.mu.Unlock()
	for _, s := range stalled {
		c := s.conn
		c.in = nil // the goroutine's, which still writes from it, or is just done
		l.slot.Counters.SpoolFailures.Add(1)
		c.reject(l, http1.ReasonSpoolStalled, s.asked)
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
