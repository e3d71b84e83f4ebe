package master

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"hostler/internal/apart"
	"hostler/internal/inode"
)

// Workers have the listening sockets, and run the application: what was taken over can
// shut a socket down, or set options on it that keep clients from it, hold their
// connections up or cut them. Those are read and held against what they were.
//
// A system call on a socket may have to wait for another one that has it locked, and
// there are ways to make that one last. So nothing here is for the state goroutine, and
// it is done to a copy of the descriptor: the listener may be closed meanwhile.

// examined is what is found out about a listening socket.
type examined struct {
	shut    bool   // nobody can connect
	spoiled string // the options that are not as they were, for people; "": all are
	queue   listenQueue
	backlog int // the length of the queue, put right by now; 0: unknown
}

// examine looks at the socket, and sets the length of its queue, if that is not 0.
func (l *listener) examine(fd, backlog int) examined {
	var e examined
	if e.shut = hungUp(fd) || l.Network == "tcp" && !l.samePort(fd); e.shut {
		return e
	}
	if l.Network == "tcp" && l.options.are != nil {
		e.spoiled = l.options.changed(fd)
	}
	e.queue = l.readQueue(fd)
	if backlog > 0 {
		_ = unix.Listen(fd, backlog) // which a socket that listens takes at any time
	}
	e.backlog = l.readQueue(fd).limit
	return e
}

// mend opens a socket again that has been shut down or spoiled; file, if not nil, is that
// of a unix socket. Nil: it is the same one, for all who have it. For one that is spoiled
// there has to be another: some options cannot be read, some not be taken back.
func (l *listener) mend(fd int, file *inode.File, spoiled bool, backlog int) (other *listener, err error) {
	// A TCP socket that is shut down keeps its address and may listen again.
	if !spoiled && l.Network == "tcp" && unix.Listen(fd, backlog) == nil && !hungUp(fd) && l.samePort(fd) {
		return nil, nil
	}
	if l.unit {
		return nil, errors.New("it is the service manager's: restart its socket unit")
	}
	if strings.HasPrefix(l.Address, "@") {
		return nil, errors.New("an abstract address is free only when all workers have ended: restart the server")
	}
	b := l.Bind
	if l.Network == "tcp" {
		if host, _, err := net.SplitHostPort(b.Address); err == nil {
			b.Address = net.JoinHostPort(host, l.info.Port) // if it was left to the system
		}
		// Of sockets of one address only one listens, and both must allow that.
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		_ = unix.Shutdown(fd, unix.SHUT_RDWR)
	} else if file != nil {
		_ = file.Remove(l.Address) // or it is in the way, which is said below
	}
	if other, err = openListener(b); err != nil {
		return nil, bindCause(err)
	}
	if err = other.setBacklog(backlog); err != nil {
		other.drop()
		return nil, err
	}
	other.backlog = other.readQueue(other.fd).limit
	return other, nil
}

// drop gives up a socket that nobody else has.
func (l *listener) drop() {
	l.remove(slog.New(slog.DiscardHandler))
	l.close()
}

// become puts another socket in the place of l's, under the same number here. This is
// for the state goroutine, and does not wait: others have the old one, too.
func (l *listener) become(other *listener) error {
	old, err := apart.Replace(other.fd, l.fd)
	if err != nil {
		other.drop()
		return fmt.Errorf("cannot take its number: %w", err)
	}
	apart.Close(old)
	unix.Close(other.fd)
	if l.file != nil {
		l.file.Close()
	}
	l.file, l.options, l.backlog, l.inherited, l.fresh = other.file, other.options, other.backlog, false, true
	return nil
}

// samePort reports whether the socket has the port that the workers know of. One that
// the system chose is given up when the socket is shut down.
func (l *listener) samePort(fd int) bool {
	sa, err := unix.Getsockname(fd)
	return err == nil && listenerInfo(l.Bind, addrOf(sa)).Port == l.info.Port
}

// option is one that a process without privileges can set on a listening socket to the
// harm of clients. Most go on to the connections that come from it.
type option struct {
	name          string
	level, number int
}

// guarded are those options. TCP_NODELAY and TCP_NOTSENT_LOWAT are not among them: each
// worker sets them.
var guarded = []option{
	// What is allocated for options: keys of TCP_MD5SIG, which cannot be read, filters,
	// routing headers.
	{"a filter, a key or a header", unix.SOL_SOCKET, unix.SO_MEMINFO},
	{"SO_LOCK_FILTER", unix.SOL_SOCKET, unix.SO_LOCK_FILTER},
	{"SO_BINDTODEVICE", unix.SOL_SOCKET, unix.SO_BINDTODEVICE},
	{"SO_MARK", unix.SOL_SOCKET, unix.SO_MARK},
	{"SO_PRIORITY", unix.SOL_SOCKET, unix.SO_PRIORITY},
	{"SO_DONTROUTE", unix.SOL_SOCKET, unix.SO_DONTROUTE},
	{"SO_RCVLOWAT", unix.SOL_SOCKET, unix.SO_RCVLOWAT},
	{"SO_RCVTIMEO", unix.SOL_SOCKET, unix.SO_RCVTIMEO},
	{"SO_LINGER", unix.SOL_SOCKET, unix.SO_LINGER},
	{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE},
	{"SO_MAX_PACING_RATE", unix.SOL_SOCKET, unix.SO_MAX_PACING_RATE},
	{"SO_PEEK_OFF", unix.SOL_SOCKET, unix.SO_PEEK_OFF},
	{"SO_OOBINLINE", unix.SOL_SOCKET, unix.SO_OOBINLINE},
	{"SO_REUSEADDR", unix.SOL_SOCKET, unix.SO_REUSEADDR},
	{"SO_BUF_LOCK", unix.SOL_SOCKET, unix.SO_BUF_LOCK},
	{"SO_RCVBUF", unix.SOL_SOCKET, unix.SO_RCVBUF},
	{"SO_SNDBUF", unix.SOL_SOCKET, unix.SO_SNDBUF},
	{"IP_TTL", unix.IPPROTO_IP, unix.IP_TTL},
	{"IP_MINTTL", unix.IPPROTO_IP, unix.IP_MINTTL},
	{"IP_TOS", unix.IPPROTO_IP, unix.IP_TOS},
	{"IP_MTU_DISCOVER", unix.IPPROTO_IP, unix.IP_MTU_DISCOVER},
	{"IP_RECVERR", unix.IPPROTO_IP, unix.IP_RECVERR},
	{"IPV6_UNICAST_HOPS", unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS},
	{"IPV6_MINHOPCOUNT", unix.IPPROTO_IPV6, unix.IPV6_MINHOPCOUNT},
	{"IPV6_TCLASS", unix.IPPROTO_IPV6, unix.IPV6_TCLASS},
	{"IPV6_MTU_DISCOVER", unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER},
	{"IPV6_RECVERR", unix.IPPROTO_IPV6, unix.IPV6_RECVERR},
	{"TCP_MAXSEG", unix.IPPROTO_TCP, unix.TCP_MAXSEG},
	{"TCP_DEFER_ACCEPT", unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT},
	{"TCP_WINDOW_CLAMP", unix.IPPROTO_TCP, unix.TCP_WINDOW_CLAMP},
	{"TCP_CORK", unix.IPPROTO_TCP, unix.TCP_CORK},
	{"TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT},
	{"TCP_SYNCNT", unix.IPPROTO_TCP, unix.TCP_SYNCNT},
	{"TCP_LINGER2", unix.IPPROTO_TCP, unix.TCP_LINGER2},
	{"TCP_FASTOPEN", unix.IPPROTO_TCP, unix.TCP_FASTOPEN},
	{"TCP_CONGESTION", unix.IPPROTO_TCP, unix.TCP_CONGESTION},
	{"TCP_TX_DELAY", unix.IPPROTO_TCP, unix.TCP_TX_DELAY},
	{"TCP_AO_INFO", unix.IPPROTO_TCP, tcpAOInfo},
}

const tcpAOInfo = 40 // TCP_AO_INFO

// guardedOfExchange are those of the exchange's ends, which all workers share: they keep
// packets from whoever receives, or from being sent, or bring with each a descriptor more.
var guardedOfExchange = []option{
	{"a filter", unix.SOL_SOCKET, unix.SO_MEMINFO},
	{"SO_LOCK_FILTER", unix.SOL_SOCKET, unix.SO_LOCK_FILTER},
	{"SO_PEEK_OFF", unix.SOL_SOCKET, unix.SO_PEEK_OFF},
	{"SO_RCVTIMEO", unix.SOL_SOCKET, unix.SO_RCVTIMEO},
	{"SO_SNDTIMEO", unix.SOL_SOCKET, unix.SO_SNDTIMEO},
	{"SO_RCVBUF", unix.SOL_SOCKET, unix.SO_RCVBUF},
	{"SO_SNDBUF", unix.SOL_SOCKET, unix.SO_SNDBUF},
	{"SO_PASSCRED", unix.SOL_SOCKET, unix.SO_PASSCRED},
	{"SO_PASSSEC", unix.SOL_SOCKET, unix.SO_PASSSEC},
	{"SO_PASSPIDFD", unix.SOL_SOCKET, unix.SO_PASSPIDFD},
	{"SO_PASSRIGHTS", unix.SOL_SOCKET, unix.SO_PASSRIGHTS},
}

// options are the values of some, as bytes.
type options struct {
	of  []option
	are []string
}

// readOptions reads them. What the socket or the kernel does not have is empty.
func readOptions(fd int, of []option) options {
	all := make([]string, len(of))
	locked := false
	for i, o := range of {
		switch {
		case locked && (o.number == unix.SO_RCVBUF || o.number == unix.SO_SNDBUF) && o.level == unix.SOL_SOCKET:
			continue // sizes that nobody has set are the system's, as of when the socket was made
		case o.level == unix.SOL_SOCKET && o.number == unix.SO_MEMINFO:
			const from = 4 * 6 // SK_MEMINFO_OPTMEM
			if b := o.read(fd); len(b) >= from+4 {
				all[i] = b[from : from+4]
			}
		default:
			all[i] = o.read(fd)
			locked = locked || o.number == unix.SO_BUF_LOCK && o.level == unix.SOL_SOCKET && all[i] != ""
		}
	}
	return options{of, all}
}

func (o option) read(fd int) string {
	var buf [64]byte
	n := uint32(len(buf))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(o.level), uintptr(o.number),
		uintptr(unsafe.Pointer(&buf)), uintptr(unsafe.Pointer(&n)), 0)
	if errno != 0 {
		return ""
	}
	return string(buf[:n])
}

// blankOptions are those of a new socket such as fd is one.
func blankOptions(fd int, of []option) (options, error) {
	family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return options{}, err
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return options{}, err
	}
	blank, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return options{}, err
	}
	defer unix.Close(blank)
	_ = unix.SetsockoptInt(blank, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	return readOptions(blank, of), nil
}

// changed names the options that a socket does not have as it had them at first. As a new
// one has them is right, too: the system's defaults may have changed.
func (o options) changed(fd int) string {
	now := readOptions(fd, o.of)
	var blank options
	var names []string
	for i, was := range o.are {
		if now.are[i] == was {
			continue
		}
		if blank.are == nil {
			var err error
			if blank, err = blankOptions(fd, o.of); err != nil {
				return "" // another time
			}
		}
		if now.are[i] != blank.are[i] {
			names = append(names, o.of[i].name)
		}
	}
	return strings.Join(names, ", ")
}
