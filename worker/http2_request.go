package worker

import (
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"hostler/worker/http1"
)

// translate writes the request's head as HTTP/1.1 has it into the stream's input.
// It returns false if the head is malformed (RFC 9113, 8.1.1 to 8.3.1). Without
// memory the stream has no input afterwards.
func (s *stream) translate(f *http2.MetaHeadersFrame) bool {
	method, scheme := f.PseudoValue("method"), f.PseudoValue("scheme")
	path, authority := f.PseudoValue("path"), f.PseudoValue("authority")
	target, protocol := path, f.PseudoValue("protocol")
	// The Framer has refused doubles, and those of responses.
	switch {
	case protocol != "": // RFC 8441
		if !s.h.tunnels || method != "CONNECT" || scheme == "" || path == "" || path[0] != '/' {
			return false
		}
		method, s.tunnel = "GET", true // which it is in HTTP/1.1
	case method == "CONNECT":
		if target = authority; target == "" || scheme != "" || path != "" {
			return false
		}
	case method == "" || scheme == "" || path == "" || path[0] != '/' && !(path == "*" && method == "OPTIONS"):
		return false
	}
	if !wellFormed(f.Fields) {
		return false
	}
	fields := f.RegularFields()
	size := len(method) + len(target) + len(" HTTP/1.1\r\nhost: \r\ntransfer-encoding: chunked\r\n\r\n") + len(authority) + 1
	host, hosts := "", 0
	for i := range fields {
		n, v := fields[i].Name, fields[i].Value
		size += len(n) + len(v) + len(": \r\n")
		switch n {
		case "host":
			if hosts++; hosts > 1 {
				return false
			}
			host = v
		case "content-length":
			n := http1.ParseLength([]byte(v))
			if n < 0 || s.declared >= 0 && n != s.declared {
				return false
			}
			s.declared = n
		}
	}
	if authority != "" && host != "" && !http1.SameHost([]byte(authority), []byte(host), schemePort(scheme)) || s.ended && s.declared > 0 {
		return false
	}
	if authority == "" {
		authority = host
	}
	switch {
	case !s.tunnel:
		s.chunked = !s.ended && s.declared < 0
	case s.declared >= 0: // it has no body
		return false
	case !strings.EqualFold(protocol, "websocket"):
		s.refused = http1.ReasonUnknownProtocol
		return true
	}
	in := s.h.l.mem.inputs.get(size)
	if in == nil {
		return true
	}
	b := append(in.mem[:0], method...)
	b = append(append(append(b, ' '), target...), " HTTP/1.1\r\n"...)
	if authority != "" || hosts > 0 {
		b = append(append(append(b, "host: "...), authority...), "\r\n"...)
	}
	for i := range fields {
		n, v := fields[i].Name, fields[i].Value // of a length said twice the parser will not have any
		if n == "host" {
			continue // it is :authority
		}
		b = append(append(append(append(b, n...), ": "...), v...), "\r\n"...)
	}
	if s.chunked {
		b = append(b, "transfer-encoding: chunked\r\n"...) // the last field: see attach
	}
	b = append(b, "\r\n"...)
	in.n = len(b)
	s.in = in
	return true
}

// schemePort is the port of a scheme that leads here.
func schemePort(scheme string) string {
	if strings.EqualFold(scheme, "https") {
		return "443"
	}
	return "80"
}

// wellFormed reports whether fields are what HTTP/2 allows, beyond what the Framer has
// looked at: none is about the connection, no value begins or ends with a blank (RFC
// 9113, 8.2).
func wellFormed(fields []hpack.HeaderField) bool {
	for i := range fields {
		n, v := fields[i].Name, fields[i].Value
		if v != "" && (isBlank(v[0]) || isBlank(v[len(v)-1])) {
			return false
		}
		switch n {
		case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
			return false
		case "te":
			if !strings.EqualFold(v, "trailers") {
				return false
			}
		}
	}
	return true
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }
