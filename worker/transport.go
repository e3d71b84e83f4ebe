package worker

import (
	"sync"

	"golang.org/x/sys/unix"
)

// transport carries a connection's bytes where the socket itself does not: TLS
// over it, or a stream of HTTP/2. The engine above is the same for all, and like
// a socket's descriptor a transport never blocks. It belongs to the connection's
// owner; send and flush may also be called by whoever holds output.mu.
type transport interface {
	// read is read(2): unix.EAGAIN if nothing is there yet, 0 at the end.
	read(b []byte) (int, error)
	// send is send(2) of up to three parts. It may hold back some of what it
	// takes, until flush.
	send(p, q, r []byte) (int, error)
	// flush sends what is held back: unix.EAGAIN if something remains.
	flush() error
	// arm asks for the output to be flushed when there is room. It returns false
	// if that has been asked for already, and room has not been reported since.
	arm() (bool, error)
}

// read reads from an owned connection.
func (c *conn) read(b []byte) (int, error) {
	if c.via == nil {
		return readFD(c.fd, b)
	}
	return c.via.read(b)
}

// send sends up to three parts, as one.
func (c *conn) send(p, q, r []byte) (int, error) {
	if c.via == nil {
		return sendParts(c.fd, p, q, r)
	}
	return c.via.send(p, q, r)
}

// holdsBack says whether some of what send has taken waits for room.
func (c *conn) holdsBack() bool { return c.via != nil && c.via.flush() == unix.EAGAIN }

// armOutput asks for room for output to be reported. output.mu is held.
func (l *Loop) armOutput(c *conn) (bool, error) {
	if c.via != nil {
		return c.via.arm()
	}
	return l.armSocket(c)
}

// armSocket makes the set report room in the socket.
func (l *Loop) armSocket(c *conn) (bool, error) {
	if c.wantsOut {
		return false, nil
	}
	c.wantsOut = true
	return true, l.watch(c, unix.EPOLL_CTL_MOD)
}

// filePieces are buffers for files that sendfile(2) cannot send.
var filePieces = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// sendItem sends the begin of a piece of output and returns how much of it.
func (c *conn) sendItem(i *outItem, flags int) (int, error) {
	switch {
	case c.via == nil && i.file >= 0:
		return sendFile(c.fd, i)
	case c.via == nil:
		return sendFD(c.fd, i.mem, flags)
	case i.file < 0:
		return c.via.send(i.mem, nil, nil)
	}
	if err := c.via.flush(); err != nil {
		return 0, err // before the file is read in vain
	}
	b := filePieces.Get().(*[32 << 10]byte)
	defer filePieces.Put(b)
	n, err := unix.Pread(i.file, b[:min(i.n, int64(len(b)))], i.off)
	if err != nil || n <= 0 {
		return 0, err
	}
	return c.via.send(b[:n], nil, nil)
}
