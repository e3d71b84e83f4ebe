package origin

import (
	"fmt"
	"net/netip"
)

// Trust says whose word about a request's origin is taken.
type Trust struct {
	all, unix bool
	nets      []netip.Prefix
}

// ParseTrust takes addresses, networks, "*" and "unix".
func ParseTrust(list []string) (Trust, error) {
	var t Trust
	for _, s := range list {
		switch s {
		case "*":
			t.all = true
			continue
		case "unix":
			t.unix = true
			continue
		}
		if a, err := netip.ParseAddr(s); err == nil {
			t.nets = append(t.nets, netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return t, fmt.Errorf("cannot trust %q: neither an address nor a network", s)
		}
		t.nets = append(t.nets, p.Masked())
	}
	return t, nil
}

func (t *Trust) addr(a netip.Addr) bool {
	if t.all {
		return true
	}
	a = a.Unmap().WithZone("")
	for _, n := range t.nets {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// Peer reports whether the word of the peer at a is taken; the zero value stands for
// one that came by a unix socket.
func (t *Trust) Peer(a netip.AddrPort) bool {
	if !a.IsValid() {
		return t.all || t.unix
	}
	return t.addr(a.Addr())
}
