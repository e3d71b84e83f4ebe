package master

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"hostler/protocol"
)

// goNetwork narrows "tcp" to what the address says: Go would listen on all of
// IPv6 too for 0.0.0.0. An unspecified IPv6 address serves both.
func (b Bind) goNetwork() string {
	if b.Network != "tcp" {
		return b.Network
	}
	host, _, err := net.SplitHostPort(b.Address)
	if err != nil {
		return b.Network
	}
	a, err := netip.ParseAddr(host)
	switch {
	case err != nil || a.Is6() && a.IsUnspecified():
		return "tcp"
	case a.Is4():
		return "tcp4"
	}
	return "tcp6"
}

// sockets is the part of tableflip that keeps listening sockets across
// upgrades.
type sockets interface {
	ListenWithCallback(network, addr string, callback func(network, addr string) (net.Listener, error)) (net.Listener, error)
}

// listener is a listening socket that workers inherit. The descriptor is the
// master's own copy; tableflip keeps another one for the next binary.
type listener struct {
	Bind
	fd   int
	info protocol.Listener
	unit bool // the service manager's, see unitSocket
}

// close gives up the master's copy. Other processes' copies still listen.
func (l *listener) close() { unix.Close(l.fd) }

// retire ends listening for every process that has the socket: connections are
// refused from here on. It is for addresses taken out of the settings;
// tableflip cannot forget a socket, so closing would leave a queue that nobody
// serves.
func (l *listener) retire(log *slog.Logger) {
	if l.unit {
		l.close()
		return
	}
	if err := unix.Shutdown(l.fd, unix.SHUT_RDWR); err != nil {
		log.Warn("cannot stop listening", "address", l.String(), "error", err)
	}
	l.close()
	if l.Network == "unix" {
		if err := os.Remove(l.Address); err != nil && !errors.Is(err, fs.ErrNotExist) {
			log.Warn("cannot remove a socket file", "error", err)
		}
	}
}

// listen opens b, or takes over the socket that the previous binary had there.
func listen(s sockets, b Bind, backlog int) (*listener, error) {
	l, err := tryListen(s, b, backlog)
	if err != nil {
		return nil, fmt.Errorf("cannot bind %s: %w", b, bindCause(err))
	}
	return l, nil
}

func tryListen(s sockets, b Bind, backlog int) (*listener, error) {
	ln, err := takeOrOpen(s, b)
	if err != nil {
		return nil, err
	}
	// tableflip has a copy of its own and has switched off unlinking.
	defer ln.Close()
	fd, err := dupListener(ln)
	if err != nil {
		return nil, err
	}
	if on, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err == nil && on == 0 {
		// The previous binary had retired this address and it is wanted again.
		// tableflip hands an inherited socket out once; a second request opens
		// a new one, and that takes the old one's place.
		unix.Close(fd)
		fresh, err := takeOrOpen(s, b)
		if err != nil {
			return nil, err
		}
		defer fresh.Close()
		if fd, err = dupListener(fresh); err != nil {
			return nil, err
		}
	}
	l := &listener{Bind: b, fd: fd, info: listenerInfo(b, ln.Addr())}
	if err := l.setBacklog(backlog); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// setBacklog sets the length of the listen queue. Go listens with the system's
// maximum; a second listen(2) changes the queue of a socket in use.
func (l *listener) setBacklog(n int) error {
	if l.unit {
		return nil
	}
	if err := unix.Listen(l.fd, n); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	return nil
}

// takeOrOpen returns the inherited listener for b, or a new one.
func takeOrOpen(s sockets, b Bind) (net.Listener, error) {
	var cause error // tableflip flattens errors to text
	open := func(string, string) (net.Listener, error) {
		ln, err := openSocket(b)
		cause = err
		return ln, err
	}
	ln, err := s.ListenWithCallback(b.Network, b.Address, open)
	if cause != nil {
		return nil, cause
	}
	return ln, err
}

// dupListener copies ln's descriptor without touching its modes (File would
// give the same copy, but its Fd method switches the description to blocking).
func dupListener(ln net.Listener) (int, error) {
	sc, ok := ln.(syscall.Conn)
	if !ok {
		return -1, fmt.Errorf("%T has no descriptor", ln)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd, dupErr := -1, error(nil)
	err = raw.Control(func(n uintptr) { fd, dupErr = unix.FcntlInt(n, unix.F_DUPFD_CLOEXEC, 10) })
	if err = errors.Join(err, dupErr); err != nil {
		return -1, fmt.Errorf("cannot copy the socket: %w", err)
	}
	return fd, nil
}

func openSocket(b Bind) (net.Listener, error) {
	if b.Network == "unix" {
		return openUnix(b.Address)
	}
	var lc net.ListenConfig // sets SO_REUSEADDR
	// Accepted sockets are the workers' business, keep-alive probes too.
	lc.KeepAlive = -1
	// Workers accept with plain system calls; MPTCP's listeners know neither
	// receive timeouts nor all of the options.
	lc.SetMultipathTCP(false)
	return lc.Listen(context.Background(), b.goNetwork(), b.Address)
}

// openUnix listens on path. A socket file that nobody listens on any more (its
// master was killed) is replaced; anything else that is in the way is not.
func openUnix(path string) (net.Listener, error) {
	if !strings.HasPrefix(path, "@") {
		st, err := os.Lstat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, err
		case st.Mode()&fs.ModeSocket == 0:
			return nil, errors.New("there is a file that is no socket")
		default:
			c, err := net.DialTimeout("unix", path, time.Second)
			if err == nil {
				c.Close()
				return nil, syscall.EADDRINUSE
			}
			if errors.Is(err, syscall.EAGAIN) { // its queue is full
				return nil, syscall.EADDRINUSE
			}
			if !errors.Is(err, syscall.ECONNREFUSED) {
				return nil, err
			}
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(path, "@") {
		// The proxy in front usually runs as somebody else, and to connect means
		// to write. The directory's mode is there to keep people out.
		if err := os.Chmod(path, 0o666); err != nil {
			ln.Close()
			return nil, err
		}
	}
	return ln, nil
}

// bindCause strips what Go's net package repeats: the address is in our message
// already.
func bindCause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		err = op.Err
	}
	var sys *os.SyscallError
	if errors.As(err, &sys) {
		return sys.Err
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// listenerInfo tells workers what they listen on. The host is as
// configured; the port is the real one, which differs for port 0.
func listenerInfo(b Bind, addr net.Addr) protocol.Listener {
	if b.Network == "unix" {
		return protocol.Listener{Network: "unix", Host: b.Address}
	}
	host, port, err := net.SplitHostPort(b.Address)
	if err != nil {
		host = b.Address
	}
	if t, ok := addr.(*net.TCPAddr); ok {
		port = fmt.Sprint(t.Port)
		if host == "" {
			host = t.IP.String()
		}
	}
	return protocol.Listener{Network: "tcp", Host: host, Port: port}
}
