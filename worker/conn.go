package worker

import (
	"log/slog"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Bits of conn.state.
const (
	stateOwned   = 1 << iota // someone has the connection
	statePending             // an event came while it was owned
	stateHup                 // … which told of the peer's end of file, or an error
)

// phase is what a connection waits for while it is at rest; it decides which
// time limit applies and what an event means.
type phase uint32

const (
	phaseIdle    phase = iota // for a request
	phaseHead                 // for the rest of a head
	phaseBody                 // for the rest of a body
	phaseReady                // for a Python thread
	phaseRunning              // it is with a Python thread
	phaseWriting              // for room to write
	phaseLinger               // for the peer to take note of our close
	phaseShaking              // for the peer's part of a TLS handshake
	phaseStreams              // for frames of HTTP/2
	phaseSocket               // for frames of a WebSocket
	phaseTaken                // it is the engine's end of a relay: for the application
	phaseClosed               // it is no connection at present
	numPhases
)

// conn is one client connection. Plain fields belong to the owner.
type conn struct {
	state    atomic.Uint32
	gen      atomic.Uint32 // counts the connections that this struct has been
	phase    atomic.Uint32
	tooSlow  atomic.Bool  // deadline is what the minimum rate allows
	deadline atomic.Int64 // CLOCK_MONOTONIC ns when the phase has lasted too long; 0: never

	slot      uint32
	fd        int
	listener  int
	served    int
	hup       bool  // the peer will send no more
	hops      uint8 // how often it has moved to another worker since its last answer
	trusted   bool  // its word about X-Forwarded-… is taken
	proxyDue  bool  // the PROXY protocol's header is to come before all else
	anonymous bool  // a proxy does not know whose it is
	wantsOut  bool  // EPOLLOUT is in its event mask
	closing   bool  // close once out is sent
	framed    bool  // the last reply tells where it ends
	unread    bool  // closing: the peer may not have sent all that it will
	remoteLen uint8
	portLen   uint8
	remote    [48]byte
	port      [8]byte
	untaken   int   // lingering: what the peer had to take still, when we last looked
	waits     int64 // phaseReady: since when there may be something to read; 0: nothing
	peer      netip.AddrPort

	in  *input
	out output

	seat atomic.Pointer[Thread] // of the event loop, that its request has; nil: it has none

	transport // what it is made of: &sock, or what lies over that
	sock      socket
	http2     atomic.Pointer[http2Conn] // c is a connection of HTTP/2, which has streams
	onRoom    atomic.Pointer[func()]    // whom to tell of room to write beside those
}

// claim takes the connection for the caller, or leaves the event to its owner.
func (c *conn) claim(hup bool) bool {
	for {
		s := c.state.Load()
		if s&stateOwned == 0 {
			if c.state.CompareAndSwap(s, stateOwned) {
				c.news()
				return true
			}
			continue
		}
		n := s | statePending
		if hup {
			n |= stateHup
		}
		if n == s || c.state.CompareAndSwap(s, n) {
			return false
		}
	}
}

// release gives the connection up. It returns false, and the caller remains the
// owner, if an event came in the meantime.
func (c *conn) release() bool {
	if c.state.CompareAndSwap(stateOwned, 0) {
		return true
	}
	if c.state.Swap(stateOwned)&stateHup != 0 {
		c.hup = true
	}
	c.news()
	return false
}

// heed takes note of what has come for an owned connection, as release does.
func (c *conn) heed() {
	if c.state.Load() != stateOwned && c.state.Swap(stateOwned)&stateHup != 0 {
		c.hup = true
	}
	c.news()
}

func (c *conn) setPhase(p phase, deadline int64) {
	c.phase.Store(uint32(p))
	c.deadline.Store(deadline)
}

// unreadSince makes c ready for a thread that is to read from it. What it reads may have
// been there since now.
func (c *conn) unreadSince(now int64) {
	c.setPhase(phaseReady, 0)
	c.waits = now
}

// reset makes c another connection. TCP_NODELAY and the like are set already.
func (c *conn) reset(fd, listener int, peer netip.AddrPort) {
	c.fd, c.listener = fd, listener
	c.served, c.hops = 0, 0
	c.hup, c.wantsOut, c.closing = false, false, false
	c.proxyDue, c.anonymous = false, false
	c.waits = 0
	c.out.quick = false
	c.sock.c = c
	c.transport = &c.sock
	c.http2.Store(nil)
	c.onRoom.Store(nil)
	c.setPeer(peer)
}

func (c *conn) setPeer(a netip.AddrPort) {
	c.peer = a
	if !a.IsValid() { // a unix socket
		c.remoteLen, c.portLen = 0, 0
		return
	}
	c.remoteLen = uint8(len(a.Addr().Unmap().WithZone("").AppendTo(c.remote[:0])))
	c.portLen = uint8(len(strconv.AppendUint(c.port[:0], uint64(a.Port()), 10)))
}

const connChunk = 256

// connTable holds all connections of a worker. A conn is never given back to
// the runtime, so a pointer to it stays valid: a late event finds another
// generation in it, not freed memory.
type connTable struct {
	mu     sync.Mutex
	chunks []atomic.Pointer[[connChunk]conn]
	free   []*conn
	made   int
	max    int          // when there are so many, no more are accepted
	n      atomic.Int64 // open connections
	room   poke         // poked when a connection was freed
}

// newConnTable makes a table for max connections and a few more: each accepter may
// have one in hand when the last place is taken, and who has been accepted is served.
func newConnTable(max int) *connTable {
	return &connTable{
		chunks: make([]atomic.Pointer[[connChunk]conn], (max+connChunk-1)/connChunk+1),
		max:    max,
		room:   newPoke(),
	}
}

// filesForOthers is how many descriptors are left to the application and ourselves.
const filesForOthers = 256

// maxConnections is how many connections there may be where want are wanted: each
// takes a descriptor.
func maxConnections(want int, log *slog.Logger) int {
	var files unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &files) != nil || files.Cur >= uint64(want)+filesForOthers {
		return want
	}
	n := int(files.Cur - min(files.Cur/2, filesForOthers))
	log.Info("fewer connections than --worker-connections, for want of file descriptors", "worker_connections", want, "open_files", files.Cur, "connections", n)
	return n
}

// get returns a connection that the caller owns, or nil if there are far too many.
func (t *connTable) get() *conn {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.free); n > 0 {
		c := t.free[n-1]
		t.free = t.free[:n-1]
		t.n.Add(1)
		return c
	}
	if t.made == len(t.chunks)*connChunk {
		return nil
	}
	i := t.made
	chunk := t.chunks[i/connChunk].Load()
	if chunk == nil {
		chunk = new([connChunk]conn)
		t.chunks[i/connChunk].Store(chunk)
	}
	t.made++
	c := &chunk[i%connChunk]
	c.slot = uint32(i)
	c.state.Store(stateOwned)
	c.phase.Store(uint32(phaseClosed))
	t.n.Add(1)
	return c
}

// put takes a closed connection back; it stays "owned", so that events that
// still lie about for it have nothing to claim.
func (t *connTable) put(c *conn) {
	t.mu.Lock()
	t.free = append(t.free, c)
	t.mu.Unlock()
	t.n.Add(-1)
	t.room.give()
}

// at returns the connection in a slot that get has handed out at some time.
func (t *connTable) at(slot uint32) *conn {
	if int(slot) >= len(t.chunks)*connChunk {
		return nil
	}
	chunk := t.chunks[slot/connChunk].Load()
	if chunk == nil {
		return nil
	}
	return &chunk[slot%connChunk]
}

// each calls f for every connection that has ever been handed out.
func (t *connTable) each(f func(*conn)) {
	t.mu.Lock()
	made := t.made
	t.mu.Unlock()
	for i := 0; i < made; i++ {
		f(&t.chunks[i/connChunk].Load()[i%connChunk])
	}
}

// interest is what the set is to report of an owned connection.
func (c *conn) interest() unix.EpollEvent {
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(c.slot), Pad: int32(c.gen.Load())}
	if c.wantsOut {
		ev.Events |= unix.EPOLLOUT
	}
	return ev
}
