package worker

import (
	"bytes"
	"net/netip"
	"strconv"
	"unsafe"

	"hostler/worker/http1"
)

// walk goes through the addresses that proxies have noted, from the right, up to
// the first that is not a proxy we trust; what stands left of it anybody may have
// made up.
type walk struct {
	addr netip.Addr
	port uint16
	done bool
}

func (w *walk) visit(trust *trustList, a netip.Addr, port uint16) {
	w.addr, w.port = a, port
	w.done = !trust.addr(a)
}

// addresses takes an X-Forwarded-For. It returns false at a malformed address that
// a trusted proxy stands for.
func (w *walk) addresses(trust *trustList, list []byte) bool {
	for !w.done && len(list) > 0 {
		i := bytes.LastIndexByte(list, ',')
		s := trimBlanks(list[i+1:])
		list = list[:max(i, 0)]
		switch {
		case len(s) == 0:
		case hidden(s):
			w.done = true
		default:
			a, port, ok := parseNode(s)
			if !ok {
				return false
			}
			w.visit(trust, a, port)
		}
	}
	return true
}

// hidden says that a node does not tell its address (RFC 7239, 6.2 and 6.3).
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

// forwarded takes a Forwarded (RFC 7239, 4).
func (h *hearing) forwarded(value http1.Span) bool {
	var all [maxElements]element
	n, ok := parseForwarded(h.buf, value, &all)
	for n--; n >= 0 && ok && !h.elements.done; n-- {
		e := &all[n]
		// The client's scheme and host are in the element that has its address.
		h.element.proto, h.element.host = 0, e.host
		if e.proto.Len > 0 {
			h.element.proto = parseProto(span(h.buf, e.proto))
			ok = h.element.proto != 0
		}
		if e.host.Len > 0 {
			ok = ok && http1.ValidHost(span(h.buf, e.host))
		}
		node := span(h.buf, e.node)
		if i := bytes.LastIndexByte(node, ':'); i > 0 && obfuscated(node[i+1:]) {
			node = node[:i]
		}
		if name, _, _ := bytes.Cut(node, []byte(":")); len(node) == 0 || hidden(name) {
			h.elements.done = true
			continue
		}
		a, p, valid := parseNode(node)
		if !valid || a.Is6() && node[0] != '[' || bytes.IndexByte(node, '%') >= 0 {
			return false
		}
		h.elements.visit(h.trust, a, p)
	}
	return ok
}

// element is one of Forwarded's: what one proxy says.
type element struct{ node, proto, host http1.Span }

// maxElements bounds the proxies in a row.
const maxElements = 32

// parseForwarded cuts a value into its elements. The whole of it has to be right:
// in a broken one, what a client wrote could swallow what the proxy added.
func parseForwarded(buf []byte, value http1.Span, all *[maxElements]element) (n int, ok bool) {
	v := span(buf, value)
	for i := 0; ; i++ {
		var e element
		any := false
		for {
			i = skipBlanks(v, i)
			start := i
			for i < len(v) && isTchar(v[i]) {
				i++
			}
			if name := v[start:i]; len(name) > 0 {
				if i == len(v) || v[i] != '=' {
					return 0, false
				}
				s, next, plain := parameter(v, i+1)
				if next < 0 || !e.set(name, http1.Span{Off: value.Off + s.Off, Len: s.Len}, plain) {
					return 0, false
				}
				i, any = next, true
			}
			i = skipBlanks(v, i)
			if i == len(v) || v[i] != ';' {
				break
			}
			i++
		}
		if any {
			if n == maxElements {
				return 0, false
			}
			all[n] = e
			n++
		}
		if i == len(v) {
			return n, true
		}
		if v[i] != ',' {
			return 0, false
		}
	}
}

// set takes a parameter, whose value is plain if no part of it is escaped. None
// may come twice; that of a kind we do not know may be anything.
func (e *element) set(name []byte, value http1.Span, plain bool) bool {
	var at *http1.Span
	switch {
	case bytes.EqualFold(name, []byte("for")):
		at = &e.node
	case bytes.EqualFold(name, []byte("proto")):
		at = &e.proto
	case bytes.EqualFold(name, []byte("host")):
		at = &e.host
	default:
		return true
	}
	if at.Len > 0 || value.Len == 0 || !plain {
		return false
	}
	*at = value
	return true
}

// parameter reads the token or quoted string at i of v (RFC 9110, 5.6). next is
// what follows it, or -1.
func parameter(v []byte, i int) (s http1.Span, next int, plain bool) {
	if i == len(v) || v[i] != '"' {
		start := i
		for i < len(v) && isTchar(v[i]) {
			i++
		}
		if i == start {
			return s, -1, false
		}
		return http1.Span{Off: uint32(start), Len: uint32(i - start)}, i, true
	}
	i++
	plain = true
	for start := i; i < len(v); i++ {
		switch v[i] {
		case '"':
			return http1.Span{Off: uint32(start), Len: uint32(i - start)}, i + 1, plain
		case '\\':
			plain = false
			i++
		}
	}
	return s, -1, false
}

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
}

func isTchar(c byte) bool {
	return isAlnum(c) || c != 0 && bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) >= 0
}

func skipBlanks(v []byte, i int) int {
	for i < len(v) && (v[i] == ' ' || v[i] == '\t') {
		i++
	}
	return i
}

func trimBlanks(v []byte) []byte { return bytes.Trim(v, " \t") }

// lastMember returns the last member of a list that is not empty.
func lastMember(buf []byte, list http1.Span) http1.Span {
	v := span(buf, list)
	for len(v) > 0 {
		i := bytes.LastIndexByte(v, ',') + 1
		start := skipBlanks(v, i)
		if m := trimBlanks(v[i:]); len(m) > 0 {
			return http1.Span{Off: list.Off + uint32(start), Len: uint32(len(m))}
		}
		v = v[:max(i-1, 0)]
	}
	return http1.Span{}
}

// prefix checks an X-Forwarded-Prefix, and cuts slashes off its end. Applications
// make links of it: "//host" and the like would lead elsewhere. An escape would be
// one too many or too few, as SCRIPT_NAME is not encoded.
func prefix(buf []byte, s http1.Span) (http1.Span, bool) {
	v := span(buf, s)
	for len(v) > 0 && v[len(v)-1] == '/' {
		v = v[:len(v)-1]
	}
	s.Len = uint32(len(v))
	if len(v) == 0 {
		return s, true
	}
	if v[0] != '/' {
		return s, false
	}
	for part := range bytes.SplitSeq(v[1:], []byte("/")) {
		if len(part) == 0 || string(part) == "." || string(part) == ".." {
			return s, false
		}
		for _, c := range part { // pchar of RFC 3986, 3.3
			if !isAlnum(c) && bytes.IndexByte([]byte("-._~!$&'()*+,;=:@"), c) < 0 {
				return s, false
			}
		}
	}
	return s, true
}
