package worker

import (
	"bytes"
	"strconv"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"golang.org/x/sys/unix"

	"hostler/worker/http1"
)

// stream is a stream of HTTP/2: to the engine a connection that brings one request.
// What the client sends reads as HTTP/1.1 (head as text, a body without length in
// chunks), and the HTTP/1.1 that is written becomes HEADERS and DATA. Nobody but
// its own h can see that text, so nothing can be smuggled in it: names and values
// are checked by the Framer before, and by the parser after.
//
// As with every conn, plain fields of it belong to the owner; the fields below to
// h.mu.
type stream struct {
	conn
	h  *http2Conn
	id uint32

	window   int64  // what we may send
	received int64  // what the client may still send
	owed     int64  // what it has sent and not been given back
	declared int64  // Content-Length; -1: none
	body     []byte // come, and not read yet
	chunked  bool   // body is framed for the engine
	ended    bool   // the client has sent all
	tooLarge bool   // the head is
	dead     bool   // nobody waits for the answer any more

	headSent     bool
	last         bool // what is sent next is the rest of the response
	endSent      bool
	waitsForRoom bool // in h.blocked

	toCome bool // h.toCome counts it; the owner's

	bell int  // eventfd of the thread that runs the request; -1: none does
	rung bool // it has been written to
}

var _ transport = (*stream)(nil)

// newStream makes a stream that is at rest. h.mu is held.
func newStream(h *http2Conn, id uint32, ended bool) *stream {
	s := &stream{h: h, id: id, window: h.initial, received: http2Window, declared: -1, ended: ended, bell: -1}
	c, p := &s.conn, h.c
	c.fd, c.stream, c.via = -1, s, s
	c.listener, c.trusted, c.anonymous = p.listener, p.trusted, p.anonymous
	c.peer, c.remote, c.remoteLen, c.port, c.portLen = p.peer, p.remote, p.remoteLen, p.port, p.portLen
	c.setPhase(phaseHead, h.l.firstDeadline(h.l.now()))
	return s
}

// translate writes the request's head as HTTP/1.1 has it into the stream's input.
// It returns false if the head is malformed (RFC 9113, 8.1.1 to 8.3.1). Without
// memory the stream has no input afterwards.
func (s *stream) translate(f *http2.MetaHeadersFrame) bool {
	method, scheme := f.PseudoValue("method"), f.PseudoValue("scheme")
	path, authority := f.PseudoValue("path"), f.PseudoValue("authority")
	target := path
	// The Framer has refused doubles, and those of responses.
	switch {
	case f.PseudoValue("protocol") != "": // RFC 8441, which we did not offer
		return false
	case method == "CONNECT":
		if target = authority; target == "" || scheme != "" || path != "" {
			return false
		}
	case method == "" || scheme == "" || path == "" || path[0] != '/' && !(path == "*" && method == "OPTIONS"):
		return false
	}
	fields := f.RegularFields()
	size := len(method) + len(target) + len(" HTTP/1.1\r\nhost: \r\ntransfer-encoding: chunked\r\n\r\n") + len(authority) + 1
	host, hosts := "", 0
	for i := range fields {
		n, v := fields[i].Name, fields[i].Value
		size += len(n) + len(v) + len(": \r\n")
		switch n {
		case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
			return false
		case "te":
			if !strings.EqualFold(v, "trailers") {
				return false
			}
		case "host":
			if hosts++; hosts > 1 {
				return false
			}
			host = v
		case "content-length":
			n := http1.ParseLength([]byte(v))
			if n < 0 || s.declared >= 0 && n != s.declared {
				return false
			}
			s.declared = n
		}
	}
	if authority != "" && host != "" && !http1.SameHost([]byte(authority), []byte(host), schemePort(scheme)) || s.ended && s.declared > 0 {
		return false
	}
	if authority == "" {
		authority = host
	}
	s.chunked = !s.ended && s.declared < 0
	in := s.h.l.inputs.get(size)
	if in == nil {
		return true
	}
	b := append(in.mem[:0], method...)
	b = append(append(append(b, ' '), target...), " HTTP/1.1\r\n"...)
	if authority != "" || hosts > 0 {
		b = append(append(append(b, "host: "...), authority...), "\r\n"...)
	}
	length := false
	for i := range fields {
		switch n := fields[i].Name; n {
		case "host":
			continue
		case "content-length":
			if length {
				continue
			}
			length = true
			fallthrough
		default:
			b = append(append(b, n...), ": "...)
			b = append(append(b, fields[i].Value...), "\r\n"...)
		}
	}
	if s.chunked {
		b = append(b, "transfer-encoding: chunked\r\n"...)
	}
	b = append(b, "\r\n"...)
	in.n = len(b)
	s.in = in
	return true
}

// schemePort is the port of a scheme that leads here.
func schemePort(scheme string) string {
	if strings.EqualFold(scheme, "https") {
		return "443"
	}
	return "80"
}

// deliver takes a part of the body. It returns false if the body is not as long as
// it was declared to be. h.mu is held.
func (s *stream) deliver(data []byte, end bool) bool {
	if s.declared >= 0 {
		if s.declared -= int64(len(data)); s.declared < 0 || end && s.declared != 0 {
			return false
		}
	}
	if s.chunked && len(data) > 0 {
		s.body = http1.AppendChunkHeader(s.body, len(data))
		s.body = append(append(s.body, data...), "\r\n"...)
	} else {
		s.body = append(s.body, data...)
	}
	s.ended = end
	if end && s.chunked {
		s.body = append(s.body, http1.LastChunk...)
	}
	return true
}

// signal wakes the thread that runs the request, should it wait. h.mu is held.
func (s *stream) signal() {
	if s.bell >= 0 && !s.rung {
		s.rung = true
		one := [8]byte{1}
		_, _ = unix.Write(s.bell, one[:]) // fails only when it rings already
	}
}

// silence makes the bell ready to ring again. h.mu is held.
func (s *stream) silence() {
	if s.rung {
		s.rung = false
		var b [8]byte
		_, _ = readFD(s.bell, b[:])
	}
}

// runOn says which thread's bell to ring from now on; -1: none. It returns false
// if nobody waits for an answer.
func (s *stream) runOn(bell int) bool {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	s.silence()
	s.bell = bell
	return !s.dead
}

// sendsLast says that what is sent next is the rest of the response.
func (s *stream) sendsLast() {
	s.h.mu.Lock()
	s.last = true
	s.h.mu.Unlock()
}

// hasCome takes an owned stream out of those that a thread has not looked at.
func (s *stream) hasCome() {
	if s.toCome {
		s.toCome = false
		s.h.toCome.Add(-1)
	}
}

// read implements transport.
func (s *stream) read(b []byte) (int, error) {
	h := s.h
	h.mu.Lock()
	defer h.mu.Unlock()
	s.silence()
	if s.dead {
		return 0, unix.ECONNRESET
	}
	n := copy(b, s.body)
	if n == 0 {
		if s.ended {
			return 0, nil
		}
		return 0, unix.EAGAIN
	}
	if s.body = s.body[n:]; len(s.body) == 0 {
		s.body = nil
	}
	if !s.ended && s.owed >= http2Window/2 && len(s.body) <= http2Window/2 {
		_ = h.writer.WriteWindowUpdate(s.id, uint32(s.owed))
		s.received += s.owed
		s.owed = 0
		h.push()
	}
	return n, nil
}

// send implements transport. The first part begins with the head, if that is not
// out; interim responses come by themselves.
func (s *stream) send(p, q, r []byte) (int, error) {
	h := s.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.dead || h.closed {
		return 0, unix.EPIPE
	}
	if h.c.out.left()+int64(len(h.out)) > http2Backlog {
		return 0, unix.EAGAIN
	}
	n := 0
	last := s.last && len(s.out.items) == 0
	if !s.headSent {
		if n = bytes.Index(p, headEnd) + len(headEnd); n < len(headEnd) {
			return 0, unix.EPIPE // no head: a bug of ours
		}
		head := p[:n]
		p = p[n:]
		h.writeHead(s, head, last && len(p)+len(q)+len(r) == 0)
	}
	for _, b := range [...][]byte{p, q, r} {
		for len(b) > 0 {
			m := min(int64(len(b)), h.window, s.window, int64(h.maxFrame))
			if m <= 0 {
				h.push() // what fits
				if n == 0 {
					return 0, unix.EAGAIN
				}
				return n, nil
			}
			s.endSent = last && m == int64(len(b)) && len(q)+len(r) == 0
			_ = h.writer.WriteData(s.id, s.endSent, b[:m])
			h.window -= m
			s.window -= m
			n += int(m)
			b = b[m:]
			if len(h.out) > http2Backlog {
				h.push()
				if h.c.out.pending.Load() {
					return n, nil
				}
			}
		}
		q, r = r, nil // what is left
	}
	return n, nil
}

// flush implements transport.
func (s *stream) flush() error {
	s.h.mu.Lock()
	s.h.push()
	s.h.mu.Unlock()
	return nil
}

// arm implements transport.
func (s *stream) arm() (bool, error) {
	h := s.h
	h.mu.Lock()
	defer h.mu.Unlock()
	s.silence()
	if s.dead || h.closed {
		return false, unix.EPIPE
	}
	if s.waitsForRoom {
		return false, nil
	}
	s.waitsForRoom = true
	h.blocked = append(h.blocked, s)
	return true, nil
}

// finish ends an owned stream whose response is whole.
func (s *stream) finish() {
	h := s.h
	h.mu.Lock()
	if !s.dead && !h.closed {
		switch {
		case !s.headSent:
			h.resetStream(s.id, http2.ErrCodeInternal)
		case !s.endSent:
			_ = h.writer.WriteData(s.id, true, nil)
		}
		if !s.ended && s.headSent {
			h.resetStream(s.id, http2.ErrCodeNo) // RFC 9113, 8.1: we need no more of it
		}
	}
	s.leave()
}

// abort ends an owned stream whose response cannot become whole, or is not wanted.
func (s *stream) abort() {
	h := s.h
	h.mu.Lock()
	if !s.dead && !h.closed {
		h.resetStream(s.id, http2.ErrCodeInternal)
	}
	s.leave()
}

// leave takes the stream out of its connection, and gives back what it has. h.mu
// is held; leave lets it go.
func (s *stream) leave() {
	h := s.h
	s.dead = true
	s.hasCome() // it has never been looked at, if the queue was full
	s.silence()
	s.bell = -1
	s.body = nil
	if h.streams[s.id] == s {
		delete(h.streams, s.id)
	}
	h.push()
	h.rest()
	h.mu.Unlock()
	s.out.drop(h.l)
	if s.in != nil {
		h.l.inputs.put(s.in)
		s.in = nil
	}
	s.setPhase(phaseClosed, 0) // and it stays owned
}

var headEnd = []byte("\r\n\r\n")

// writeHead turns a response's head, which the engine has written as HTTP/1.1, into
// HEADERS. h.mu is held.
func (h *http2Conn) writeHead(s *stream, text []byte, end bool) {
	line, rest, _ := bytes.Cut(text, crlf)
	status := "500"
	if len(line) >= len("HTTP/1.1 200") {
		status = statusText(line[len("HTTP/1.1 "):][:3])
	}
	h.block.Reset()
	h.field(":status", status)
	for {
		line, rest, _ = bytes.Cut(rest, crlf)
		name, value, ok := bytes.Cut(line, []byte(": "))
		if !ok {
			if name, ok = bytes.CutSuffix(line, []byte(":")); !ok {
				break // the empty line
			}
		}
		switch n := h.lower(name); n {
		case "connection", "keep-alive", "transfer-encoding", "upgrade", "proxy-connection":
		default:
			h.field(n, string(value))
		}
	}
	s.headSent = status[0] != '1'
	s.endSent = end
	b := h.block.Bytes()
	first := b[:min(len(b), h.maxFrame)]
	b = b[len(first):]
	_ = h.writer.WriteHeaders(http2.HeadersFrameParam{StreamID: s.id, BlockFragment: first, EndStream: end, EndHeaders: len(b) == 0})
	for len(b) > 0 {
		part := b[:min(len(b), h.maxFrame)]
		b = b[len(part):]
		_ = h.writer.WriteContinuation(s.id, len(b) == 0, part)
	}
}

func (h *http2Conn) field(name, value string) {
	_ = h.enc.WriteField(hpack.HeaderField{Name: name, Value: value}) // to memory: cannot fail
}

// lower returns a field's name in lower case, as HTTP/2 has it.
func (h *http2Conn) lower(name []byte) string {
	if s, ok := h.names[string(name)]; ok {
		return s
	}
	s := strings.ToLower(string(name))
	if len(h.names) < 64 { // an application that makes names up must not fill our memory
		h.names[string(name)] = s
	}
	return s
}

// statusText returns a status code of three digits as a string, the common ones
// without a new one.
func statusText(b []byte) string {
	switch string(b) {
	case "200":
		return "200"
	case "304":
		return "304"
	case "404":
		return "404"
	}
	if n, err := strconv.Atoi(string(b)); err != nil || n < 100 {
		return "500"
	}
	return string(b)
}
