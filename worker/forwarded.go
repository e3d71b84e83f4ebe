package worker

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"hostler/protocol"
	"hostler/worker/http1"
)

// Who says what of the client; bits of Loop.believes.
const (
	believeFor        = 1 << iota // X-Forwarded-For
	believeProto                  // X-Forwarded-Proto, X-Forwarded-Ssl
	believeHost                   // X-Forwarded-Host
	believePrefix                 // X-Forwarded-Prefix
	believeForwarded              // Forwarded (RFC 7239), as far as the bits above go
	believeCloudflare             // CF-Connecting-IP
)

var believable = map[string]uint32{
	"for": believeFor, "proto": believeProto, "host": believeHost, "prefix": believePrefix,
	"forwarded": believeForwarded, "cf-connecting-ip": believeCloudflare,
}

func parseBelieved(list []string) (uint32, error) {
	var b uint32
	for _, s := range list {
		bit, ok := believable[s]
		if !ok {
			return 0, fmt.Errorf("cannot believe %q: no field that tells of a client", s)
		}
		b |= bit
	}
	return b, nil
}

// forwarded applies what a trusted proxy says of the client; what anybody else says
// of it means nothing to us. Only requests with FlagForwarded come here. It returns
// false if the request has been refused: what it says of the client is malformed,
// or contradicts itself, and so somebody along the way does not say what the others
// believe he does.
func (l *Loop) forwarded(t *Thread, c *conn, buf []byte) bool {
	script := scriptName(&t.Req)
	if !c.trusted {
		l.untrusted(t, c)
		return true
	}
	h := hearing{trust: &l.trust, believes: l.believes, buf: buf}
	if reason := h.hear(&t.Req); reason != http1.ReasonNone {
		l.reject(c, reason, t.Req.MethodID == http1.MethodHead)
		return false
	}
	s := &h.verdict
	if l.believes&believePrefix == 0 {
		script = http1.Span{}
	}
	if script.Len > 0 {
		var ok bool
		if s.prefix, ok = prefix(buf, script); !ok {
			l.reject(c, http1.ReasonBadForwarded, t.Req.MethodID == http1.MethodHead)
			return false
		}
	}
	if s.addr.IsValid() {
		t.RemoteLen = uint32(len(s.addr.AppendTo(t.Remote[:0])))
		t.PortLen = 0
		if s.port != 0 {
			t.PortLen = uint32(len(strconv.AppendUint(t.Port[:0], uint64(s.port), 10)))
		}
	}
	switch {
	case s.proto == protoHTTPS:
		t.Forwarded |= ForwardedHTTPS
	case s.proto == protoHTTP && l.cfg.Listeners[c.listener].TLS:
		t.Forwarded |= ForwardedHTTP
	}
	if s.host.Len > 0 {
		t.Forwarded |= ForwardedHost
		t.Host, t.HostName = s.host, nameLen(span(buf, s.host))
	}
	if s.prefix.Len > 0 {
		t.Forwarded |= ForwardedPrefix
		t.Prefix = s.prefix
		// The proxy has taken it off already, or it has not.
		path, prefix := bytesAt(t.Path, int(t.PathLen)), span(buf, s.prefix)
		if bytes.HasPrefix(path, prefix) && (len(path) == len(prefix) || path[len(prefix)] == '/') {
			t.Path += uintptr(len(prefix))
			t.PathLen -= uint32(len(prefix))
		} else if script.Len > 0 {
			t.Forwarded |= ForwardedStray
		}
	}
	return true
}

// scriptName takes the fields of that name, with an underscore, out of a request and
// returns the value of the last. Proxies in front of Gunicorn say by it where the
// application is; as a header it would be anybody's word in environ.
func scriptName(r *http1.Request) (value http1.Span) {
	fields := r.Fields[:r.NFields]
	kept := slices.DeleteFunc(fields, func(f http1.Field) bool {
		if f.Known != http1.KnownScriptName {
			return false
		}
		value = f.Value
		return true
	})
	r.NFields = uint32(len(kept))
	return value
}

// untrusted deals with what somebody says of the client whose word is not taken.
func (l *Loop) untrusted(t *Thread, c *conn) {
	says := func(f http1.Field) bool {
		k := f.Known
		return k >= http1.KnownXForwardedFor && k <= http1.KnownXRealIP || k == http1.KnownForwarded ||
			k == http1.KnownCFConnectingIP && l.believes&believeCloudflare != 0
	}
	fields := t.Req.Fields[:t.Req.NFields]
	i := slices.IndexFunc(fields, says)
	if i < 0 {
		return // a field of Cloudflare's that nobody is believed for
	}
	l.sayUntrusted(c, http1.KnownFields[fields[i].Known])
	if l.cfg.ForwardedUntrusted == protocol.ForwardedDrop {
		t.Req.NFields = uint32(len(slices.DeleteFunc(fields, says)))
	}
}

// sayUntrusted counts a request that somebody who is not trusted says something of.
// The first is logged: it may be the operator's own proxy.
func (l *Loop) sayUntrusted(c *conn, field string) {
	first := l.slot.Counters.ForwardedUntrusted.Add(1) == 1
	if !first || l.exchange != nil && l.exchange.untrustedElsewhere() {
		return
	}
	peer, remedy := string(c.remote[:c.remoteLen]), ""
	switch {
	case c.anonymous: // nobody's word can be taken for his
	case !c.peer.IsValid():
		peer, remedy = "unix", "unix"
	default:
		remedy = peer
	}
	args := []any{"field", field, "peer", peer}
	if remedy != "" {
		args = append(args, "if_it_is_your_proxy", "--forwarded-allow-ips "+remedy)
	}
	l.log.Warn("what this peer says of its client is not believed", args...)
}

// untrustedElsewhere says whether another worker has logged what sayUntrusted logs.
func (x *Exchange) untrustedElsewhere() bool {
	for i := range x.Board.Used() {
		if i != x.Slot && x.Board.Slot(i).Counters.ForwardedUntrusted.Load() > 0 {
			return true
		}
	}
	return false
}

// nameLen is the length of a valid host without its port.
func nameLen(host []byte) uint32 {
	if i := bytes.LastIndexByte(host, ':'); i > bytes.LastIndexByte(host, ']') {
		return uint32(i)
	}
	return uint32(len(host))
}

const (
	protoHTTP = iota + 1
	protoHTTPS
)

// said is what somebody says of the client. Zero values are silence.
type said struct {
	addr   netip.Addr
	port   uint16
	proto  uint8
	host   http1.Span
	prefix http1.Span
}

// hearing gathers what the fields of a request say of its client.
type hearing struct {
	trust    *trustList
	believes uint32
	buf      []byte
	verdict  said

	chain, elements walk // through X-Forwarded-For and Forwarded
	element         said // what the element of Forwarded says that names the client
	cf              bool
}

func (h *hearing) hear(r *http1.Request) http1.Reason {
	s := &h.verdict
	ok, same := true, true
	// From the right: what stands there was written by the proxy next to us, and
	// field lines of one name are one list (RFC 9110, 5.3).
	for i := int(r.NFields) - 1; i >= 0 && ok && same; i-- {
		f := &r.Fields[i]
		v := span(h.buf, f.Value)
		if len(v) == 0 {
			continue
		}
		switch f.Known {
		case http1.KnownXForwardedFor:
			ok = h.believes&believeFor == 0 || h.chain.addresses(h.trust, v)
		case http1.KnownForwarded:
			ok = h.believes&believeForwarded == 0 || h.forwarded(f.Value)
		case http1.KnownXForwardedProto:
			if h.believes&believeProto != 0 {
				ok, same = h.protos(v)
			}
		case http1.KnownXForwardedSSL:
			if h.believes&believeProto != 0 {
				switch {
				case bytes.EqualFold(v, []byte("on")):
					same = s.agreeProto(protoHTTPS)
				case bytes.EqualFold(v, []byte("off")):
					same = s.agreeProto(protoHTTP)
				default:
					ok = false
				}
			}
		case http1.KnownXForwardedHost:
			if h.believes&believeHost != 0 && s.host.Len == 0 {
				s.host = lastMember(h.buf, f.Value)
				ok = s.host.Len == 0 || http1.ValidHost(span(h.buf, s.host))
			}
		case http1.KnownXForwardedPrefix:
			if h.believes&believePrefix != 0 && s.prefix.Len == 0 {
				s.prefix, ok = prefix(h.buf, lastMember(h.buf, f.Value))
			}
		case http1.KnownCFConnectingIP:
			if h.believes&believeCloudflare != 0 {
				a, _, valid := parseNode(v)
				ok, same = valid && !h.cf, s.agreeAddr(a, 0)
				h.cf = true
			}
		}
	}
	if !ok {
		return http1.ReasonBadForwarded
	}
	if h.believes&believeFor != 0 {
		same = same && s.agreeAddr(h.chain.addr, h.chain.port) && s.agreeAddr(h.elements.addr, h.elements.port)
	}
	if h.believes&believeProto != 0 {
		same = same && s.agreeProto(h.element.proto)
	}
	if h.believes&believeHost != 0 {
		same = same && h.agreeHost(h.element.host)
	}
	if !same {
		return http1.ReasonForwardedMismatch
	}
	return http1.ReasonNone
}

// agreeAddr adds what another source says, and tells whether it is the same.
func (s *said) agreeAddr(a netip.Addr, port uint16) bool {
	if !a.IsValid() {
		return true
	}
	if s.addr.IsValid() {
		if s.port == 0 {
			s.port = port
		}
		return s.addr == a
	}
	s.addr, s.port = a, port
	return true
}

func (s *said) agreeProto(p uint8) bool {
	if p != 0 && s.proto == 0 {
		s.proto = p
	}
	return p == 0 || s.proto == p
}

func (h *hearing) agreeHost(o http1.Span) bool {
	s := &h.verdict
	if o.Len > 0 && s.host.Len == 0 {
		s.host = o
	}
	port := "80"
	if s.proto == protoHTTPS {
		port = "443"
	}
	return o.Len == 0 || http1.SameHost(span(h.buf, o), span(h.buf, s.host), port)
}

// protos takes an X-Forwarded-Proto. Proxies in a row that each add a value have
// to agree: the field does not say whose is whose.
func (h *hearing) protos(list []byte) (ok, same bool) {
	for p := range bytes.SplitSeq(list, []byte(",")) {
		if p = trimBlanks(p); len(p) == 0 {
			continue
		}
		proto := parseProto(p)
		if proto == 0 {
			return false, true
		}
		if !h.verdict.agreeProto(proto) {
			return true, false
		}
	}
	return true, true
}

// parseProto returns 0 for what is not a scheme that leads here. Some proxies name
// the scheme of a WebSocket.
func parseProto(v []byte) uint8 {
	switch {
	case bytes.EqualFold(v, []byte("https")), bytes.EqualFold(v, []byte("wss")):
		return protoHTTPS
	case bytes.EqualFold(v, []byte("http")), bytes.EqualFold(v, []byte("ws")):
		return protoHTTP
	}
	return 0
}
