package master

import (
	"errors"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"hostler/settings"
)

// A reload may name an address that is in the way of one that we have: the same in other
// words, one of all addresses where there were all, or the other way round. The kernel
// lets nobody bind the second while the first listens, which it has to until the new
// workers are there. So:
//
//	the same        the socket goes on under its new name
//	one of all      is bound beside the other (SO_REUSEPORT, for as long as that takes)
//	                and gets what comes for it from then on
//	all, after one  is bound beside it, too; but the kernel prefers the one, and when it
//	                is closed what is in its queue is lost. So it stays, and workers
//	                accept from both.

// openBeside opens b, which is in use as why says, where those that are in its way are
// ours.
func openBeside(b settings.Bind, ours []*listener, why error) (*listener, error) {
	if b.Network == "unix" {
		for _, o := range ours {
			if o.file != nil && o.file.Has(b.Address) {
				return o.share(b)
			}
		}
		return nil, why
	}
	addr, err := net.ResolveTCPAddr(goNetwork(b), b.Address)
	if !errors.Is(why, unix.EADDRINUSE) || err != nil {
		return nil, why
	}
	want := unmapped(addr.AddrPort(), goNetwork(b))
	var rivals []*listener
	for _, o := range ours {
		have, ok := o.addrPort()
		switch {
		case !ok || have.Port() != want.Port():
		case have == want:
			return o.share(b)
		default:
			rivals = append(rivals, o)
		}
	}
	if len(rivals) == 0 {
		return nil, why
	}
	for _, o := range rivals {
		_ = reusePort(o.fd, true) // if not, the bind says so
		defer func() { _ = reusePort(o.fd, false) }()
	}
	l, err := listenTCP(b, func(fd int) error { return reusePort(fd, true) })
	if err == nil {
		_ = reusePort(l.fd, false) // it only lets others in
	}
	return l, err
}

func reusePort(fd int, yes bool) error {
	on := 0
	if yes {
		on = 1
	}
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, on)
}

// unmapped tells an IPv4 address from the IPv6 one that Go has for it.
func unmapped(a netip.AddrPort, network string) netip.AddrPort {
	switch ip := a.Addr(); {
	case !ip.IsValid(): // the address names a port only
		if network == "tcp4" {
			return netip.AddrPortFrom(netip.IPv4Unspecified(), a.Port())
		}
		return netip.AddrPortFrom(netip.IPv6Unspecified(), a.Port())
	case ip.Is4In6():
		return netip.AddrPortFrom(ip.Unmap(), a.Port())
	}
	return a
}

// addrPort is where a TCP socket of ours listens.
func (l *listener) addrPort() (netip.AddrPort, bool) {
	if l.Network != "tcp" || l.unit || l.fd < 0 {
		return netip.AddrPort{}, false
	}
	sa, err := unix.Getsockname(l.fd)
	if err != nil {
		return netip.AddrPort{}, false
	}
	a, ok := addrOf(sa).(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}, false
	}
	return unmapped(a.AddrPort(), "tcp"), true
}

// share returns a listener of another name with the same socket.
func (l *listener) share(b settings.Bind) (*listener, error) {
	fd, err := unix.FcntlInt(uintptr(l.fd), unix.F_DUPFD_CLOEXEC, 10)
	if err != nil {
		return nil, err
	}
	o := &listener{Bind: b, fd: fd, info: listenerInfo(b, nil), inherited: l.inherited, shared: true, shares: l}
	if sa, err := unix.Getsockname(fd); err == nil {
		o.info = listenerInfo(b, addrOf(sa))
	}
	if o.file = l.copyFile(); o.file == nil && l.file != nil {
		o.close()
		return nil, errors.New("there are no more descriptors")
	}
	return o, nil
}

// takeOver is called when the listener's generation serves: a socket that it shares is
// its own from here on.
func (l *listener) takeOver() {
	if l.shares != nil {
		l.shares.shared, l.shared = true, false
		l.shares = nil
	}
}

// covers reports whether what comes to o would come to l if o were not there.
func (l *listener) covers(o *listener) bool {
	all, ok := l.addrPort()
	one, valid := o.addrPort()
	if !ok || !valid || all.Port() != one.Port() || !all.Addr().IsUnspecified() || all == one {
		return false
	}
	return one.Addr().Is4() && (all.Addr().Is6() || !one.Addr().IsUnspecified()) || one.Addr().Is6() && all.Addr().Is6()
}

// keepCovered has g go on with those listeners of the generation before that it does not
// name, and that are covered by one of its own.
func (g *generation) keepCovered(before []*listener) {
	named := len(g.listeners)
	for _, o := range before {
		if slices.Contains(g.listeners, o) || o.lost() != "" {
			continue
		}
		if slices.ContainsFunc(g.listeners, func(l *listener) bool { return l.shares == o }) {
			continue
		}
		if i := slices.IndexFunc(g.listeners[:named], func(l *listener) bool { return l.covers(o) }); i >= 0 {
			g.listeners, g.covered = append(g.listeners, o), append(g.covered, i)
		}
	}
}
