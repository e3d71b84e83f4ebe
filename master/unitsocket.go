package master

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"

	"hostler/master/spawn"
	"hostler/settings"
)

// unitSocket is a listening socket that the service manager has opened for us
// (sd_listen_fds(3)), or another program that has started us (fd://N). It stays
// theirs: we neither shut it down nor remove its file, nor change its backlog, and it
// listens on while we restart.
type unitSocket struct {
	name string        // FileDescriptorName= of the unit, or fd://N, for messages
	fd   string        // the number of the descriptor with which it came
	bind settings.Bind // as one would write it for --bind
	addr net.Addr
	file *os.File
}

// adminSocket is the name of a unit's socket for the admin server.
const adminSocket = "admin"

// fileKeeper is the part of the upgrader that keeps other files across upgrades.
type fileKeeper interface {
	AddFile(name string, file *os.File) error
	File(name string) (*os.File, error)
}

// firstUnit is the descriptor of the service manager's first socket (SD_LISTEN_FDS_START).
const firstUnit = 3

// unitSockets returns the sockets of the service manager and those that binds name by
// their descriptors, or what the previous binary had of them.
func unitSockets(keep fileKeeper, hasParent bool, binds []settings.Bind) ([]*unitSocket, error) {
	key := func(i int) string { return fmt.Sprintf("unit socket %d", i) }
	var files []*os.File
	if !hasParent {
		// The names stay in the environment, for the binary after this one. It
		// has descriptors of the upgrade's where sockets would be.
		files = activation.Files(false)
		for i, f := range files {
			if err := keep.AddFile(key(i), f); err != nil {
				return nil, fmt.Errorf("cannot keep the service manager's sockets for upgrades: %w", err)
			}
		}
	}
	for hasParent {
		f, err := keep.File(key(len(files)))
		if err != nil {
			return nil, fmt.Errorf("cannot take over the service manager's sockets: %w", err)
		}
		if f == nil {
			break
		}
		files = append(files, f)
	}
	os.Unsetenv("LISTEN_PID")
	os.Unsetenv("LISTEN_FDS")
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	var all []*unitSocket
	for i, f := range files {
		u := &unitSocket{name: fmt.Sprint("number ", i+1), fd: fmt.Sprint(firstUnit + i), file: f}
		if i < len(names) && names[i] != "" {
			u.name = names[i]
		}
		if err := u.look(); err != nil {
			return nil, fmt.Errorf("cannot use the service manager's socket %q: %w", u.name, err)
		}
		all = append(all, u)
	}
	for _, b := range binds {
		if b.Network != "fd" || findFD(all, b) != nil {
			continue
		}
		u := &unitSocket{name: b.String(), fd: b.Address}
		if err := u.take(keep, hasParent); err != nil {
			return nil, fmt.Errorf("cannot listen on %s: %w", b, err)
		}
		all = append(all, u)
	}
	return all, nil
}

// findFD returns which of all came as the descriptor of b, or nil.
func findFD(all []*unitSocket, b settings.Bind) *unitSocket {
	i := slices.IndexFunc(all, func(u *unitSocket) bool { return u.fd == b.Address })
	if i < 0 {
		return nil
	}
	return all[i]
}

var errNotGiven = errors.New("whoever started the server has given it no such socket")

// take finds u.fd: ours from the start, or the previous binary's.
func (u *unitSocket) take(keep fileKeeper, hasParent bool) (err error) {
	if hasParent {
		if u.file, err = keep.File(u.name); err == nil && u.file == nil {
			err = errNotGiven
		}
		if err != nil {
			return err
		}
		return u.look()
	}
	n, err := strconv.Atoi(u.fd)
	if err != nil {
		return err
	}
	fd, err := unix.FcntlInt(uintptr(n), unix.F_DUPFD_CLOEXEC, 10)
	if err != nil {
		return errNotGiven
	}
	u.file = os.NewFile(uintptr(fd), u.name)
	if err := u.look(); err != nil {
		return err
	}
	unix.CloseOnExec(n) // not for the workers' children
	return keep.AddFile(u.name, u.file)
}

// look finds out where the socket listens.
func (u *unitSocket) look() error {
	fd := spawn.RawFD(u.file)
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return errors.New("it is no socket")
	}
	listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if kind != unix.SOCK_STREAM || err != nil || listens == 0 {
		return errors.New("it does not listen for connections: a unit wants ListenStream=, and Accept=no")
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return err
	}
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		u.setTCP(netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)))
	case *unix.SockaddrInet6:
		u.setTCP(netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port)))
	case *unix.SockaddrUnix:
		u.addr = &net.UnixAddr{Name: a.Name, Net: "unix"}
		u.bind = settings.Bind{Network: "unix", Address: a.Name}
	default:
		return errors.New("it is neither TCP nor a Unix socket")
	}
	return nil
}

func (u *unitSocket) setTCP(a netip.AddrPort) {
	u.addr = net.TCPAddrFromAddrPort(a)
	u.bind = settings.Bind{Network: "tcp", Address: a.String()}
}

// matches reports whether u is what opening b would give.
func (u *unitSocket) matches(b settings.Bind) bool {
	if b.Network != u.bind.Network {
		return false
	}
	have, ok := u.addr.(*net.TCPAddr)
	if !ok {
		return b.Address == u.bind.Address
	}
	want, err := net.ResolveTCPAddr(goNetwork(b), b.Address)
	if err != nil || want.Port != have.Port {
		return false
	}
	if want.IP == nil || want.IP.IsUnspecified() {
		// A socket on all of IPv6 serves IPv4, too, unless the unit says otherwise;
		// beside it we could not open one of our own.
		v6 := want.IP != nil && want.IP.To4() == nil
		return have.IP.IsUnspecified() && (!v6 || have.IP.To4() == nil)
	}
	return want.IP.Equal(have.IP)
}

// listener returns u as the listener for b.
func (u *unitSocket) listener(b settings.Bind) (*listener, error) {
	fd, err := unix.FcntlInt(uintptr(spawn.RawFD(u.file)), unix.F_DUPFD_CLOEXEC, 10)
	if err != nil {
		return nil, fmt.Errorf("cannot copy the socket of %s: %w", b, err)
	}
	return &listener{Bind: b, fd: fd, info: listenerInfo(b, u.addr), options: readOptions(fd, guarded), unit: true}, nil
}

// findUnit returns the socket of the unit for b, or nil.
func (h *systemHost) findUnit(b settings.Bind) *unitSocket {
	i := slices.IndexFunc(h.unit, func(u *unitSocket) bool { return u.name != adminSocket && u.matches(b) })
	if i < 0 {
		return nil
	}
	return h.unit[i]
}

// findUnitAdmin returns the socket of the unit for the admin server, or nil.
func (h *systemHost) findUnitAdmin(b settings.Bind) *unitSocket {
	i := slices.IndexFunc(h.unit, func(u *unitSocket) bool { return u.name == adminSocket || u.matches(b) })
	if i < 0 {
		return nil
	}
	return h.unit[i]
}

// withUnit puts addresses in the place of the descriptors that set names, and makes the
// sockets of the unit its addresses if it names none.
func (h *systemHost) withUnit(set *Settings) error {
	set.Binds = slices.Clone(set.Binds)
	for i, b := range set.Binds {
		if b.Network != "fd" {
			continue
		}
		u := findFD(h.unit, b)
		if u == nil {
			return fmt.Errorf("cannot listen on %s: %w", b, errNotGiven)
		}
		set.Binds[i] = u.bind
	}
	if set.BindsGiven || len(h.unit) == 0 {
		return nil
	}
	var binds []settings.Bind
	for _, u := range h.unit {
		if u.name != adminSocket && (set.Admin == settings.Bind{} || !u.matches(set.Admin)) && !slices.ContainsFunc(set.Redirects, u.matches) {
			binds = append(binds, u.bind)
		}
	}
	if len(binds) > 0 {
		set.Binds = binds
	}
	return nil
}

// warnUnused names the sockets on which clients would wait for ever.
func (h *systemHost) warnUnused(log *slog.Logger, set *Settings) {
	for _, u := range h.unit {
		used := u.name == adminSocket && set.Admin != settings.Bind{} || set.Admin != settings.Bind{} && u.matches(set.Admin) ||
			slices.ContainsFunc(slices.Concat(set.Binds, set.Redirects), u.matches)
		if !used {
			log.Warn("a socket of the service manager is not used: no setting names its address", "socket", u.name, "address", u.bind.String())
		}
	}
}
