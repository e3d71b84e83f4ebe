package worker

import (
	"bytes"
	"fmt"
	"net/netip"

	"hostler/worker/http1"
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

// forwarded applies what a trusted proxy says of the client, and keeps what
// anybody else says of it from the application. It returns false if the request
// contradicts itself; it is answered then.
func (l *Loop) forwarded(t *Thread, c *conn, buf []byte) bool {
	var chain []byte
	proto := -1
	for i := range t.Req.NFields {
		f := &t.Req.Fields[i]
		if f.Known < http1.KnownXForwardedFor || f.Known > http1.KnownXForwardedSSL {
			continue
		}
		if !c.trusted {
			t.Skip[i/64] |= 1 << (i % 64)
			continue
		}
		v := span(buf, f.Value)
		said := -1
		switch f.Known {
		case http1.KnownXForwardedFor:
			if len(chain) > 0 {
				chain = append(append(bytes.Clone(chain), ','), v...)
			} else {
				chain = v
			}
		case http1.KnownXForwardedProto:
			if bytes.EqualFold(v, []byte("https")) {
				said = 1
			} else if bytes.EqualFold(v, []byte("http")) {
				said = 0
			}
		case http1.KnownXForwardedSSL:
			if bytes.EqualFold(v, []byte("on")) {
				said = 1
			} else if bytes.EqualFold(v, []byte("off")) {
				said = 0
			}
		}
		if said >= 0 && proto >= 0 && said != proto {
			l.refuse(c, 400, "")
			return false
		}
		if said >= 0 {
			proto = said
		}
	}
	if proto == 1 {
		t.HTTPS = 1
	}
	if len(chain) > 0 {
		if a, ok := l.trust.origin(chain); ok {
			t.RemoteLen = uint32(len(a.AppendTo(t.Remote[:0])))
			t.PortLen = 0
		}
	}
	return true
}

// origin returns the right-most address of an X-Forwarded-For chain that is not
// a trusted proxy's; what stands left of it, anybody may have made up.
func (t *trustList) origin(chain []byte) (netip.Addr, bool) {
	var last netip.Addr
	for len(chain) > 0 {
		i := bytes.LastIndexByte(chain, ',')
		s := bytes.Trim(chain[i+1:], " \t")
		chain = chain[:max(i, 0)]
		a, err := netip.ParseAddr(string(s))
		if err != nil {
			ap, err := netip.ParseAddrPort(string(s))
			if err != nil {
				break
			}
			a = ap.Addr()
		}
		last = a.Unmap().WithZone("")
		if !t.addr(last) {
			break
		}
	}
	return last, last.IsValid()
}
