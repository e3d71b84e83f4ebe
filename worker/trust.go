package worker

import (
	"fmt"
	"net/netip"
)

// trustList says whose word about a request's origin is taken.
type trustList struct {
	all, unix bool
	nets      []netip.Prefix
}

func parseTrust(list []string) (trustList, error) {
	var t trustList
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

func (t *trustList) addr(a netip.Addr) bool {
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

func (t *trustList) peer(a netip.AddrPort) bool {
	if !a.IsValid() {
		return t.all || t.unix
	}
	return t.addr(a.Addr())
}
