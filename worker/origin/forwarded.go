package origin

import (
	"bytes"

	"hostler/worker/http1"
)

// forwarded takes a Forwarded (RFC 7239, 4).
func (r *resolver) forwarded(value http1.Span) bool {
	var all [maxElements]element
	n, ok := parseForwarded(r.buf, value, &all)
	for n--; n >= 0 && ok && !r.elements.done; n-- {
		e := &all[n]
		// The client's scheme and host are in the element that has its address.
		r.element.proto, r.element.host = 0, e.host
		if e.proto.Len > 0 {
			r.element.proto = parseProto(e.proto.In(r.buf))
			ok = r.element.proto != 0
		}
		if e.host.Len > 0 {
			ok = ok && http1.ValidHost(e.host.In(r.buf))
		}
		node := e.node.In(r.buf)
		if i := bytes.LastIndexByte(node, ':'); i > 0 && obfuscated(node[i+1:]) {
			node = node[:i]
		}
		if name, _, _ := bytes.Cut(node, []byte(":")); len(node) == 0 || hidden(name) {
			r.elements.done = true
			continue
		}
		a, p, valid := parseNode(node)
		if !valid || a.Is6() && node[0] != '[' || bytes.IndexByte(node, '%') >= 0 {
			return false
		}
		r.elements.visit(&r.policy.Trusted, a, p)
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
	v := value.In(buf)
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
