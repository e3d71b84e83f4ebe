package origin

import (
	"bytes"
	"net/netip"
	"strconv"
	"unsafe"
)

// chain goes through the addresses that proxies have noted, from the right, up to
// the first that is not a proxy we trust; what stands left of it anybody may have
// made up.
type chain struct {
	addr netip.Addr
	port uint16
	done bool
}

func (c *chain) visit(trust *Trust, a netip.Addr, port uint16) {
	c.addr, c.port = a, port
	c.done = !trust.addr(a)
}

// addresses takes an X-Forwarded-For. It returns false at a malformed address that
// a trusted proxy stands for.
func (c *chain) addresses(trust *Trust, list []byte) bool {
	for !c.done && len(list) > 0 {
		i := bytes.LastIndexByte(list, ',')
		s := trimBlanks(list[i+1:])
		list = list[:max(i, 0)]
		switch {
		case len(s) == 0:
		case hidden(s):
			c.done = true
		default:
			a, port, ok := parseNode(s)
			if !ok {
				return false
			}
			c.visit(trust, a, port)
		}
	}
	return true
}

// hidden reports whether a node keeps its address to itself (RFC 7239, 6.2 and 6.3).
func hidden(s []byte) bool { return obfuscated(s) || bytes.EqualFold(s, []byte("unknown")) }

func obfuscated(s []byte) bool {
	if len(s) == 0 || s[0] != '_' {
		return false
	}
	for _, c := range s[1:] {
		if !isAlnum(c) && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return len(s) > 1
}

// parseNode reads an address, which may have a port; an IPv6 address with a port
// stands in brackets.
func parseNode(s []byte) (a netip.Addr, port uint16, ok bool) {
	host, rest, bracketed := s, []byte(nil), s[0] == '['
	if bracketed {
		end := bytes.IndexByte(s, ']')
		if end < 0 {
			return a, 0, false
		}
		host, rest = s[1:end], s[end+1:]
	} else if i := bytes.IndexByte(s, ':'); i >= 0 && i == bytes.LastIndexByte(s, ':') {
		host, rest = s[:i], s[i:]
	}
	if len(rest) > 0 {
		if rest[0] != ':' || len(rest) > len(":65535") {
			return a, 0, false
		}
		n, err := strconv.ParseUint(string(rest[1:]), 10, 16)
		if err != nil {
			return a, 0, false
		}
		port = uint16(n)
	}
	const longest = 64 // an IPv6 address and a zone
	if len(host) == 0 || len(host) > longest {
		return a, 0, false
	}
	// The string is gone with the zone, which alone would refer to it.
	a, err := netip.ParseAddr(unsafe.String(&host[0], len(host)))
	if err != nil || bracketed && !a.Is6() {
		return netip.Addr{}, 0, false
	}
	return a.Unmap().WithZone(""), port, true
}
