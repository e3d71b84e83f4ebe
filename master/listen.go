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

	"hostler/internal/apart"
	"hostler/internal/inode"
	"hostler/internal/unixsocket"
	"hostler/internal/upgrade"
	"hostler/protocol"
	"hostler/settings"
)

// goNetwork narrows "tcp" to what the address says: Go would listen on all of
// IPv6 too for 0.0.0.0. An unspecified IPv6 address serves both.
func goNetwork(b settings.Bind) string {
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

// sockets is where listening sockets of the binary before us are.
type sockets interface {
	Take(upgrade.Key) (fd int, ok bool)
}

// listener is a listening socket that workers inherit. The descriptor is the
// master's own copy.
type listener struct {
	settings.Bind
	fd        int
	info      protocol.Listener
	unit      bool        // the service manager's, see unitSocket
	inherited bool        // from the binary before us, which still serves
	file      *inode.File // of a Unix socket in the file system; nil: there is none, or it is not ours
	options   options     // of a TCP socket at first
	dead      bool        // nobody can connect: a worker has shut it down, or spoiled it
	queue     listenQueue // when it was last looked at
	backlog   int         // what it had then; 0: unknown
	busy      time.Time   // since when it is being looked at or mended; zero: it is not
	stuck     bool        // for too long, which has been said
	shared    bool        // another listener has the same socket, and goes on with it
	shares    *listener   // whose socket it has until its generation serves; nil: nobody's
	fresh     bool        // it is not the socket any more that it was at first
	mending   mending
}

// hasFile reports whether the socket is to be found in the file system.
func (l *listener) hasFile() bool {
	return l.Network == "unix" && !l.unit && !strings.HasPrefix(l.Address, "@")
}

// copyFile returns the socket's file once more; nil if there is none, or no descriptor.
func (l *listener) copyFile() *inode.File {
	if l.file == nil {
		return nil
	}
	fd, err := dup(l.file.FD())
	if err != nil {
		return nil
	}
	file, err := unixsocket.New(fd)
	if err != nil {
		return nil
	}
	return file
}

// close gives up the master's copy. Other processes' copies still listen.
func (l *listener) close() {
	if l.file != nil { // there may be clients in its queue, and whatever they have sent
		apart.Close(l.fd)
	} else {
		unix.Close(l.fd)
	}
	if l.file != nil {
		l.file.Close()
	}
}

// remove removes the socket's file, if that is still ours.
func (l *listener) remove(log *slog.Logger) {
	if l.file == nil {
		return
	}
	if err := l.file.Remove(l.Address); err != nil {
		log.Warn("cannot remove a socket file", "error", err)
	}
}

// retire ends listening for every process that has the socket: connections are
// refused from here on. It is for addresses taken out of the settings.
func (l *listener) retire(log *slog.Logger) {
	if l.unit || l.inherited || l.shared {
		l.close()
		return
	}
	l.remove(log)                                                                       // first: the inode is given away when nobody has the socket
	if err := unix.Shutdown(l.fd, unix.SHUT_RDWR); err != nil && err != unix.ENOTCONN { // it was shut down already
		log.Warn("cannot stop listening", "address", l.String(), "error", err)
	}
	l.close()
}

// lost says why nobody can come to the socket any more, or "". A worker may have shut
// it down, and somebody may have removed its file, or put another one in its place.
func (l *listener) lost() string {
	if l.unit {
		return "" // the manager's business
	}
	if l.hasFile() && (l.file == nil || !l.file.Has(l.Address)) {
		return "its file has been removed, or replaced"
	}
	if l.shut() {
		return "somebody has shut it down"
	}
	return ""
}

// shut reports whether somebody has shut the socket down, which holds for all who have it.
func (l *listener) shut() bool { return hungUp(l.fd) }

// hungUp reports whether nothing will come from a socket any more.
func hungUp(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0 && p[0].Revents&(unix.POLLHUP|unix.POLLRDHUP) != 0
}

// listen opens b, or takes over the socket that the previous binary had there. ours are
// the listeners that may be in its way.
func listen(s sockets, b settings.Bind, backlog int, ours []*listener) (*listener, error) {
	l, err := takeListener(s, b)
	if err == nil && l == nil {
		l, err = openListener(b)
		if err != nil {
			l, err = openBeside(b, ours, err)
		}
	}
	if err == nil {
		if err = l.setBacklog(backlog); err != nil {
			l.close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot bind %s: %w", b, bindCause(err))
	}
	return l, nil
}

// takeListener returns the listener of the binary before us for b. It is nil if there
// is none of use; then what there was is closed.
func takeListener(s sockets, b settings.Bind) (*listener, error) {
	fd, ok := s.Take(upgrade.ListenerKey(b.Network, b.Address))
	if !ok {
		return nil, nil
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	l := &listener{Bind: b, fd: fd, info: listenerInfo(b, addrOf(sa)), inherited: true}
	l.options, _ = blankOptions(fd, guarded) // its workers may have changed those that it has
	if file, ok := s.Take(fileOf(b)); ok {
		l.file, err = unixsocket.New(file)
	} else if l.hasFile() { // a binary that did not tell
		l.file, err = unixsocket.Open(b.Address)
	}
	if err != nil {
		l.file = nil
	}
	if l.lost() != "" {
		l.close()
		return nil, nil
	}
	return l, nil
}

// key is what the socket is called on its way to another binary.
func (l *listener) key() upgrade.Key { return upgrade.ListenerKey(l.Network, l.Address) }

// fileOf is what the file of b's socket is called on its way to another binary.
func fileOf(b settings.Bind) upgrade.Key { return upgrade.FileKey("socket file " + b.Address) }

// handOver adds what the next binary needs of ls to files. The descriptors are
// copies.
func handOver(ls []*listener, files map[upgrade.Key]int) error {
	add := func(k upgrade.Key, fd int) error {
		dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 10)
		if err != nil {
			return fmt.Errorf("cannot copy a socket: %w", err)
		}
		if old, ok := files[k]; ok {
			unix.Close(old)
		}
		files[k] = dup
		return nil
	}
	for _, l := range ls {
		if l.unit {
			continue // see unitSockets
		}
		if err := add(l.key(), l.fd); err != nil {
			return err
		}
		if l.file != nil {
			if err := add(fileOf(l.Bind), l.file.FD()); err != nil {
				return err
			}
		}
	}
	return nil
}

// dropUnused closes what the binary before us had and this one has not taken. The
// files of sockets go, if they are still those sockets'. The binary before us lets its
// workers take what waits in a socket, if it has been told that nobody else will.
func dropUnused(log *slog.Logger, unused map[upgrade.Key]int, told bool) {
	for k, fd := range unused {
		name, _ := k.Name() // none of a listener
		path, isFile := strings.CutPrefix(name, "socket file ")
		if _, file := k.Name(); !file && !told { // a socket that nobody will accept from any more
			_ = unix.Shutdown(fd, unix.SHUT_RDWR)
		}
		if !isFile {
			apart.Close(fd)
			continue
		}
		file, err := unixsocket.New(fd)
		if err == nil {
			err = file.Remove(path)
			file.Close()
		}
		if err != nil {
			log.Warn("cannot remove a socket file", "path", path, "error", err)
		}
	}
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

// socketMode is for everybody: the proxy in front usually runs as somebody else, and
// to connect means to write. The directory's mode is there to keep people out.
const socketMode = 0o666

func openListener(b settings.Bind) (*listener, error) {
	if b.Network == "unix" {
		if !strings.HasPrefix(b.Address, "@") {
			if err := unixsocket.Clear(b.Address); err != nil {
				return nil, err
			}
		}
		fd, file, err := unixsocket.Listen(b.Address, socketMode)
		if err != nil {
			return nil, err
		}
		return &listener{Bind: b, fd: fd, info: listenerInfo(b, nil), file: file}, nil
	}
	return listenTCP(b, nil)
}

// listenTCP opens a TCP address. prepare, if not nil, is called before it is bound.
func listenTCP(b settings.Bind, prepare func(fd int) error) (*listener, error) {
	lc := net.ListenConfig{} // sets SO_REUSEADDR
	if prepare != nil {
		lc.Control = func(_, _ string, raw syscall.RawConn) (err error) {
			return errors.Join(raw.Control(func(fd uintptr) { err = prepare(int(fd)) }), err)
		}
	}
	// Accepted sockets are the workers' business, keep-alive probes too.
	lc.KeepAlive = -1
	// Workers accept with plain system calls; MPTCP's listeners know neither
	// receive timeouts nor all of the options.
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(context.Background(), goNetwork(b), b.Address)
	if err != nil {
		return nil, err
	}
	defer ln.Close()
	fd, err := dupListener(ln)
	if err != nil {
		return nil, err
	}
	return &listener{Bind: b, fd: fd, info: listenerInfo(b, ln.Addr()), options: readOptions(fd, guarded)}, nil
}

// netListener returns a copy of l for this process to accept on.
func (l *listener) netListener() (net.Listener, error) {
	fd, err := unix.FcntlInt(uintptr(l.fd), unix.F_DUPFD_CLOEXEC, 10)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), l.String())
	defer f.Close()
	return net.FileListener(f)
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

// addrOf is the address of a socket as package net has it; nil for a Unix socket.
func addrOf(sa unix.Sockaddr) net.Addr {
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)))
	case *unix.SockaddrInet6:
		return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port)))
	}
	return nil
}

// bindCause strips what Go's net package repeats: the address is in our message
// already.
func bindCause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		if err = op.Err; strings.HasPrefix(op.Net, "tcp") && errors.Is(err, unix.EACCES) {
			return portRefused(unix.EACCES)
		}
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

// portRefused says why a port is not to be had, which is not in the system's two words.
func portRefused(err error) error {
	if errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%w: ports below 1024 are root's, or need CAP_NET_BIND_SERVICE", err)
	}
	return err
}

// listenerInfo tells workers what they listen on. The host is as
// configured; the port is the real one, which differs for port 0.
func listenerInfo(b settings.Bind, addr net.Addr) protocol.Listener {
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

func joinBinds(ls []*listener) string {
	names := make([]string, len(ls))
	for i, l := range ls {
		names[i] = l.String()
		if l.Network == "tcp" && l.info.Port != "" {
			if h, p, ok := cutPort(l.Address); ok && p == "0" {
				names[i] = h + ":" + l.info.Port
			}
		}
	}
	return strings.Join(names, " ")
}

func cutPort(addr string) (host, port string, ok bool) {
	i := strings.LastIndexByte(addr, ':')
	if i < 0 {
		return addr, "", false
	}
	return addr[:i], addr[i+1:], true
}
