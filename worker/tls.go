package worker

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"hostler/protocol"
	"hostler/worker/origin"
)

// tlsConn is the transport of a connection with TLS: crypto/tls over a socket that
// never blocks. Records are read and written by the thread that has the request,
// like plain bytes. The handshake before, which takes turns with the peer and a
// lot of computing, is a goroutine's (see handshake).
type tlsConn struct {
	text
	tls  *tls.Conn
	wire wire
	env  []byte // what environ says of TLS: see tlsEnviron
}

var _ transport = (*tlsConn)(nil)

// wire is the socket as crypto/tls sees it, a net.Conn. Reading may make crypto/tls
// write as well (a key update, an alert), so there is a lock.
type wire struct {
	l       *Loop
	c       *conn
	shaking bool      // reads wait, in the handshake's goroutine
	resume  chan bool // to that goroutine: the connection is yours again; false: its time is up
	drained bool      // the last read took all there was; the owner's

	mu     sync.Mutex
	corked bool   // gather what is written for one send(2)
	unsent []byte // ciphertext that is not out
	known  int    // how much of it the connection's output counts
	broken error
}

// errAgain makes crypto/tls keep what it has of a record and go on from there the
// next time. It does so for temporary errors only.
var errAgain error = wouldBlock{}

type wouldBlock struct{}

func (wouldBlock) Error() string   { return "nothing to read" }
func (wouldBlock) Timeout() bool   { return true }
func (wouldBlock) Temporary() bool { return true }

// Read implements net.Conn.
func (w *wire) Read(b []byte) (int, error) {
	for {
		if w.drained && !w.shaking {
			return 0, errAgain
		}
		n, err := readFD(w.c.fd, b)
		switch {
		case n > 0:
			w.drained = n < len(b) && !w.c.hup // the end is still to be read
			return n, nil
		case err == nil:
			return 0, io.EOF
		case err != unix.EAGAIN:
			return 0, err
		case !w.shaking:
			w.drained = true
			return 0, errAgain
		}
		if !w.wait() {
			return 0, os.ErrDeadlineExceeded
		}
	}
}

// wait gives the connection back to the loop until there is something to read. It
// returns false when the handshake has no more time.
func (w *wire) wait() bool {
	w.flushHeld()
	return !w.c.release() || <-w.resume
}

// Write implements net.Conn. It takes everything: whoever writes sees to it that
// this does not become much.
func (w *wire) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken != nil {
		return 0, w.broken
	}
	n := 0
	if !w.corked && len(w.unsent) == 0 {
		var err error
		if n, err = sendFD(w.c.fd, b, 0); err != nil && err != unix.EAGAIN {
			w.broken = err
			return 0, err
		}
	}
	w.unsent = append(w.unsent, b[n:]...)
	if !w.corked {
		w.count()
	}
	return len(b), nil
}

// count tells the connection's output how much is held, when that has been tried to
// send. w.mu is held.
func (w *wire) count() {
	if n := len(w.unsent) - w.known; n != 0 {
		w.known = len(w.unsent)
		w.c.out.seal(w.l, n)
	}
}

// flush sends what is held.
func (w *wire) flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.count()
	w.corked = false
	for len(w.unsent) > 0 {
		n, err := sendFD(w.c.fd, w.unsent, 0)
		if err != nil {
			if err != unix.EAGAIN {
				w.broken = err
			}
			return err
		}
		w.unsent = w.unsent[n:]
	}
	w.unsent = nil
	return nil
}

func (w *wire) cork() {
	w.mu.Lock()
	w.corked = true
	w.mu.Unlock()
}

// flushHeld has what is held sent when there is room for it: an answer of TLS's own,
// which no response is going to take along. The connection is owned.
func (w *wire) flushHeld() {
	w.mu.Lock()
	held := len(w.unsent) > 0
	w.mu.Unlock()
	if !held {
		return
	}
	o := &w.c.out
	o.mu.Lock()
	o.open(w.l)
	o.mu.Unlock()
	o.flush(w.l, w.c)
}

// The rest of net.Conn is not for crypto/tls to use: the loop closes connections
// and keeps their time limits.

func (w *wire) Close() error                     { return nil }
func (w *wire) LocalAddr() net.Addr              { return nil }
func (w *wire) RemoteAddr() net.Addr             { return nil }
func (w *wire) SetDeadline(time.Time) error      { return nil }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

// read implements transport.
func (s *tlsConn) read(b []byte) (int, error) {
	n, err := s.tls.Read(b)
	if n > 0 {
		return n, nil
	}
	s.wire.flushHeld()
	switch {
	case err == nil || errors.Is(err, errAgain):
		return 0, unix.EAGAIN
	case err == io.EOF:
		return 0, nil
	}
	return 0, unix.ECONNRESET
}

const (
	// tlsAtOnce is how much send takes.
	tlsAtOnce = 64 << 10
	// tlsOneRecord is what certainly fits into one record; crypto/tls begins with
	// records that fit into a packet.
	tlsOneRecord = 1 << 10
)

// send implements transport.
func (s *tlsConn) send(m message) (int, error) {
	if err := s.wire.flush(); err != nil {
		return 0, err
	}
	if m.size() > tlsOneRecord {
		s.wire.cork()
	}
	n := 0
	for _, b := range [...][]byte{m.head, m.data, m.tail} {
		b = b[:min(len(b), tlsAtOnce-n)]
		if len(b) == 0 {
			continue
		}
		if _, err := s.tls.Write(b); err != nil {
			return n, unix.EPIPE
		}
		n += len(b)
	}
	if err := s.wire.flush(); err != nil && err != unix.EAGAIN {
		return n, err
	}
	return n, nil
}

// flush implements transport.
func (s *tlsConn) flush() error { return s.wire.flush() }

// arm implements transport.
func (s *tlsConn) arm(l *Loop) (bool, error) { return s.wire.c.sock.arm(l) }

func (s *tlsConn) yield(l *Loop) error { return s.wire.c.sock.yield(l) }

func (s *tlsConn) sendItem(i *outItem, _ int) (int, error) { return sendThrough(s, i) }

func (s *tlsConn) news()          { s.wire.drained = false }
func (s *tlsConn) drains() bool   { return false }
func (s *tlsConn) portable() bool { return false }

func (s *tlsConn) attach(t *Thread) bool {
	s.wire.c.sock.attach(t)
	t.setTLS(s.env)
	return true
}

func (s *tlsConn) left(now int64, silent *int64) bool { return s.wire.c.sock.left(now, silent) }

func (s *tlsConn) stirred() (input, ended bool) { return s.wire.c.sock.stirred() }

func (s *tlsConn) detach()                 {}
func (s *tlsConn) waiting(int) int         { return 1 }
func (s *tlsConn) holds() (n, since int64) { return 0, 0 }
func (s *tlsConn) dequeued()               {}
func (s *tlsConn) sayLeave()               {}

func (s *tlsConn) sayEnd() {
	if !s.wire.shaking {
		_ = s.tls.CloseWrite()
	}
}

func (s *tlsConn) finish(l *Loop, framed, unread bool) { s.wire.c.sock.finish(l, framed, unread) }

func (s *tlsConn) linger(l *Loop) {
	s.sayEnd()
	s.wire.c.sock.linger(l)
}

func (s *tlsConn) close(l *Loop)                 { s.wire.c.sock.close(l) }
func (s *tlsConn) abort(l *Loop)                 { s.wire.c.sock.abort(l) }
func (s *tlsConn) again(l *Loop, t *Thread) bool { return s.wire.c.sock.again(l, t) }
func (s *tlsConn) urgent() bool                  { return false }
func (s *tlsConn) noRoom(l *Loop)                { s.wire.c.sock.noRoom(l) }

// dismiss implements transport. A handshake is its goroutine's to end.
func (s *tlsConn) dismiss(l *Loop) {
	if s.wire.shaking {
		s.wire.resume <- false
		return
	}
	s.wire.c.sock.dismiss(l)
}

// expire implements transport.
func (s *tlsConn) expire(l *Loop) {
	l.slot.Counters.Timeouts[protocol.TimeoutHead].Add(1)
	s.dismiss(l)
}

// shake goes on with the handshake of a connection that the caller owns, in its
// goroutine.
func (c *conn) shake(l *Loop) {
	if s, begun := c.transport.(*tlsConn); begun {
		s.wire.resume <- true
		return
	}
	s := &tlsConn{wire: wire{l: l, c: c, shaking: true, resume: make(chan bool, 1)}}
	s.tls = tls.Server(&s.wire, l.tls.Load().config)
	c.transport = s
	go s.handshake()
}

// handshake owns the connection but while it waits.
func (s *tlsConn) handshake() {
	l, c := s.wire.l, s.wire.c
	if c.proxyDue && !s.proxiedFirst() {
		return
	}
	if err := s.tls.Handshake(); err != nil {
		l.slot.Counters.HandshakeFailures.Add(1)
		l.log.Debug("no TLS", "client", string(c.remote[:c.remoteLen]), "error", err)
		c.transport = &c.sock
		var header tls.RecordHeaderError
		if errors.As(err, &header) && looksLikeHTTP(header.RecordHeader) {
			_, _ = sendFD(c.fd, httpOnTLS(heard(header.RecordHeader[:]).isHead), 0)
		}
		c.linger(l)
		return
	}
	l.slot.Counters.Handshakes.Add(1)
	acknowledge(c.fd) // the client's last word is answered by nothing: Go has sent the tickets before
	state := s.tls.ConnectionState()
	s.env = tlsEnviron(&state)
	s.wire.shaking, s.wire.drained = false, false
	switch state.NegotiatedProtocol {
	case "h2":
		c.beginHTTP2(l)
	case protocol.ChallengeProtocol: // it has seen what it wanted to see
		c.linger(l)
		return
	default:
		c.setPhase(phaseIdle, l.firstDeadline(l.now()))
	}
	// The first request may have come with the end of the handshake, and then no
	// event will tell of it.
	c.requeue(l)
}

// proxiedFirst takes the PROXY protocol's header, which comes before TLS. It returns
// false if the connection has been closed.
func (s *tlsConn) proxiedFirst() bool {
	l, c := s.wire.l, s.wire.c
	var b [origin.MaxProxyHeader]byte
	have := 0
	for {
		n, _, err := unix.Recvfrom(c.fd, b[:], unix.MSG_PEEK)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil && err != unix.EAGAIN || err == nil && n == 0:
			c.close(l)
			return false
		case n > have:
			have = n
			used, ok := l.proxied(c, b[:n])
			if !ok {
				return false // it has closed the connection
			}
			if used > 0 {
				_, _ = readFD(c.fd, b[:used])
				return true
			}
		}
		if !s.wire.wait() {
			c.close(l)
			return false
		}
	}
}

// httpOnTLS is the answer to those who forget the s of https.
func httpOnTLS(isHead bool) []byte {
	b := []byte("HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n")
	if isHead {
		return b
	}
	return append(b, "This address speaks HTTPS only.\n"...)
}

// looksLikeHTTP reports whether a client began with a request instead of a handshake.
func looksLikeHTTP(b [5]byte) bool {
	switch string(b[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "PATCH", "DELET":
		return true
	}
	return false
}

// ReadTLS takes over the TLS material in the memory behind the descriptor, for
// connections to come, and closes the descriptor.
func (l *Loop) ReadTLS(fd int) error {
	m, err := protocol.ReadTLSMaterial(fd)
	unix.Close(fd)
	if err != nil {
		return err
	}
	s, err := newSecrets(m)
	if err != nil {
		return err
	}
	l.tls.Store(s)
	return nil
}
