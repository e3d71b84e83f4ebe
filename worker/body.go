package worker

import (
	"golang.org/x/sys/unix"

	"hostler/protocol"
	"hostler/worker/http1"
)

// What Thread.Read says when it has no bytes; part of the ABI with worker/python.
const (
	ReadEnd      = 0
	ReadWait     = -1 // wait for input on Task.FD, without the GIL, and call again
	ReadBroken   = -2 // the client went away, or stopped sending, before the end
	ReadBad      = -3 // the chunk framing is malformed
	ReadTooLarge = -4 // beyond --limit-request-body
	ReadDisk     = -5 // the file that it was spooled to cannot be read
)

// readSpool prepares t to read a body of which the begin is in a file.
func (t *Thread) readSpool(in *input) {
	s := in.spool
	t.BodyFile = 1
	b := &t.body
	b.file = s
	if s.whole {
		t.BodyLen = s.size
		return
	}
	t.BodyMore = 1
	b.rest = in.mem[in.head:in.body]
	b.chunked = in.chunked
	b.total = s.size + int64(len(b.rest))
	b.remaining = in.length - b.total
	b.open = in.chunked && !in.done || !in.chunked && b.remaining > 0
}

// ReadAt reads from a body that is whole, and in a file, into dst. It may wait for
// the disk.
func (t *Thread) ReadAt(dst []byte, off int64) int {
	l := t.l
	b := &t.body
	s := b.file
	if b.failed != 0 {
		return b.failed
	}
	if s == nil || off >= s.size || len(dst) == 0 {
		return ReadEnd
	}
	n, err := s.file.ReadAt(dst[:min(int64(len(dst)), s.size-off)], off)
	if n == 0 {
		l.log.Error("cannot read a request body that was spooled", "error", err)
		b.failed = ReadDisk
		return ReadDisk
	}
	t.progress()
	return n
}

// stored reads what is in the file or in memory; 0: that is over.
func (t *Thread) stored(dst []byte) int {
	b := &t.body
	if b.file != nil && b.at < b.file.size {
		n := t.ReadAt(dst, b.at)
		b.at += int64(max(n, 0))
		return n
	}
	n := copy(dst, b.rest)
	if b.rest = b.rest[n:]; n > 0 && len(b.rest) == 0 {
		t.in.body = t.in.head // there is room for what is to come
	}
	return n
}

// Read fetches more of the body into dst. It is a leaf and never waits, but for the
// disk where part of the body is in a file.
func (t *Thread) Read(dst []byte) int {
	l := t.l
	b := &t.body
	if b.failed != 0 {
		return b.failed
	}
	if len(dst) == 0 {
		return ReadEnd
	}
	if n := t.stored(dst); n != 0 || !b.open {
		return n
	}
	if b.expects {
		if b.expects = false; t.reply.stage != stageSent {
			t.conn.sayContinue(l)
		}
	}
	n := 0
	if b.waited != 0 {
		t.conn.news()
	}
	if b.chunked {
		n = t.readChunked(dst)
	} else {
		var err error
		n, err = t.conn.read(dst[:min(int64(len(dst)), b.remaining)])
		switch {
		case err == unix.EAGAIN:
			n = ReadWait
		case err != nil || n == 0:
			n = ReadBroken
		default:
			l.slot.Counters.ReceivedBytes.Add(uint64(n))
			b.remaining -= int64(n)
			b.open = b.remaining > 0
		}
	}
	switch {
	case n == ReadWait:
		now := l.now()
		if b.waited == 0 {
			b.waited = now
			acknowledge(t.conn.fd)
		}
		if kind, late := t.late(now); late {
			l.slot.Counters.Timeouts[kind].Add(1)
			n = ReadBroken
		}
	case n > 0:
		t.progress()
		b.got += int64(n)
		if b.waited != 0 { // the application's own time is not the client's fault
			b.patience += l.now() - b.waited
			b.waited = 0
		}
	}
	if n < ReadWait {
		b.failed = n
		b.open = true // so that the connection is not used again
	}
	return n
}

// late reports whether the client has taken too long to send more, and which limit that is.
func (t *Thread) late(now int64) (kind protocol.TimeoutKind, late bool) {
	b := &t.body
	limit, rate := int64(t.l.cfg.BodyTimeout), t.l.cfg.MinRate
	switch {
	case limit <= 0:
	case now-b.waited > limit:
		return protocol.TimeoutBody, true
	case rate > 0 && b.patience+now-b.waited > limit+granted(b.got, rate):
		return protocol.TimeoutBodyRate, true
	}
	return 0, false
}

// readChunked decodes from what lies between raw and n of the input, which is
// filled anew when it is used up. What follows the body there is the begin of
// the next request.
func (t *Thread) readChunked(dst []byte) int {
	l := t.l
	b, in := &t.body, t.in
	for {
		if in.raw < in.n {
			n, m, done, reason := in.dec.Decode(dst, in.mem[in.raw:in.n])
			if reason != http1.ReasonNone {
				t.conn.noteRefusal(l, reason)
				return ReadBad
			}
			in.raw += m
			b.total += int64(n)
			if l.cfg.LimitRequestBody > 0 && b.total > l.cfg.LimitRequestBody {
				t.conn.noteRefusal(l, http1.ReasonBodyTooLarge)
				return ReadTooLarge
			}
			if done {
				b.open = false
				t.end = copy(t.buf, in.mem[in.raw:in.n])
				t.pos = 0
				return n
			}
			if n > 0 {
				return n
			}
		}
		// The part before in.body is the application's until it has read it;
		// behind it there is room.
		in.raw, in.n = in.body, in.body
		n, err := t.conn.read(in.mem[in.n:min(len(in.mem), in.n+inBufferSize)])
		switch {
		case err == unix.EAGAIN:
			return ReadWait
		case err != nil || n == 0:
			return ReadBroken
		}
		l.slot.Counters.ReceivedBytes.Add(uint64(n))
		in.n += n
	}
}

// sayContinue tells a client that waits for it to send its body (RFC 9110, 10.1.1).
func (c *conn) sayContinue(l *Loop) { l.deliver(c, c.interim(nil, 100, nil), 0) }
