package origin

import (
	"bytes"
	"net/netip"

	"hostler/worker/http1"
)

// Proto is the scheme that a client speaks.
type Proto uint8

// What is known of the scheme.
const (
	ProtoUnknown Proto = iota
	ProtoHTTP
	ProtoHTTPS
)

// Origin is what is said of the client. Zero values are silence; the spans lie in the
// request's buffer.
type Origin struct {
	Addr   netip.Addr
	Port   uint16
	Proto  Proto
	Host   http1.Span // with its port
	Prefix http1.Span // where the application is, without a slash at its end
	// Script is set where a field named SCRIPT_NAME was there: its prefix has to be
	// the path's begin.
	Script bool
}

// Resolve finds out what a trusted peer says of the client in r, which was parsed from
// buf, and takes SCRIPT_NAME out of r. A reason says why the request is refused.
func (p *Policy) Resolve(buf []byte, r *http1.Request) (Origin, http1.Reason) {
	script := takeScriptName(r)
	res := resolver{policy: p, buf: buf}
	if reason := res.resolve(r); reason != http1.ReasonNone {
		return Origin{}, reason
	}
	o := &res.origin
	if script.Len > 0 && p.Fields&FieldPrefix != 0 {
		var ok bool
		if o.Prefix, ok = prefix(buf, script); !ok {
			return Origin{}, http1.ReasonBadForwarded
		}
		o.Script = true
	}
	return *o, http1.ReasonNone
}

// Below reports whether path is under prefix: the proxy has not taken it off yet.
func Below(path, prefix []byte) bool {
	return bytes.HasPrefix(path, prefix) && (len(path) == len(prefix) || path[len(prefix)] == '/')
}

// HostNameLen is the length of a valid host without its port.
func HostNameLen(host []byte) uint32 {
	if i := bytes.LastIndexByte(host, ':'); i > bytes.LastIndexByte(host, ']') {
		return uint32(i)
	}
	return uint32(len(host))
}

// resolver gathers what the fields of a request say of its client.
type resolver struct {
	policy *Policy
	buf    []byte
	origin Origin

	forwardedFor chain
	elements     chain // the addresses in Forwarded
	element      struct {
		proto Proto
		host  http1.Span
	} // what the element of Forwarded says that names the client
	cloudflare bool // CF-Connecting-IP was there
}

// takes reports whether all of f count.
func (r *resolver) takes(f Fields) bool { return r.policy.Fields&f == f }

func (r *resolver) resolve(req *http1.Request) http1.Reason {
	ok, same := true, true
	// From the right: what stands there was written by the proxy next to us, and
	// field lines of one name are one list (RFC 9110, 5.3).
	for i := int(req.NFields) - 1; i >= 0 && ok && same; i-- {
		if f := &req.Fields[i]; f.Value.Len > 0 {
			ok, same = r.field(f)
		}
	}
	if !ok {
		return http1.ReasonBadForwarded
	}
	if r.takes(FieldFor) {
		same = same && r.agreeAddr(r.forwardedFor.addr, r.forwardedFor.port) && r.agreeAddr(r.elements.addr, r.elements.port)
	}
	if r.takes(FieldProto) {
		same = same && r.agreeProto(r.element.proto)
	}
	if r.takes(FieldHost) {
		same = same && r.agreeHost(r.element.host)
	}
	if !same {
		return http1.ReasonForwardedMismatch
	}
	return http1.ReasonNone
}

// field takes in one field that is not empty. It reports whether it is well-formed, and
// whether it says the same as those before.
func (r *resolver) field(f *http1.Field) (ok, same bool) {
	v := f.Value.In(r.buf)
	switch {
	case f.Known == http1.KnownXForwardedFor && r.takes(FieldFor):
		return r.forwardedFor.addresses(&r.policy.Trusted, v), true
	case f.Known == http1.KnownForwarded && r.takes(FieldForwarded):
		return r.forwarded(f.Value), true
	case f.Known == http1.KnownXForwardedProto && r.takes(FieldProto):
		return r.protos(v)
	case f.Known == http1.KnownXForwardedSSL && r.takes(FieldProto):
		return r.ssl(v)
	case f.Known == http1.KnownXForwardedHost && r.takes(FieldHost) && r.origin.Host.Len == 0:
		host := lastMember(r.buf, f.Value)
		r.origin.Host = host
		return host.Len == 0 || http1.ValidHost(host.In(r.buf)), true
	case f.Known == http1.KnownXForwardedPrefix && r.takes(FieldPrefix) && r.origin.Prefix.Len == 0:
		r.origin.Prefix, ok = prefix(r.buf, lastMember(r.buf, f.Value))
		return ok, true
	case f.Known == http1.KnownCFConnectingIP && r.takes(FieldCloudflare):
		a, _, valid := parseNode(v)
		ok, same = valid && !r.cloudflare, r.agreeAddr(a, 0)
		r.cloudflare = true
		return ok, same
	}
	return true, true
}

// agreeAddr adds what another source says, and reports whether it is the same.
func (r *resolver) agreeAddr(a netip.Addr, port uint16) bool {
	o := &r.origin
	if !a.IsValid() {
		return true
	}
	if o.Addr.IsValid() {
		if o.Port == 0 {
			o.Port = port
		}
		return o.Addr == a
	}
	o.Addr, o.Port = a, port
	return true
}

func (r *resolver) agreeProto(p Proto) bool {
	o := &r.origin
	if p != ProtoUnknown && o.Proto == ProtoUnknown {
		o.Proto = p
	}
	return p == ProtoUnknown || o.Proto == p
}

func (r *resolver) agreeHost(host http1.Span) bool {
	o := &r.origin
	if host.Len > 0 && o.Host.Len == 0 {
		o.Host = host
	}
	port := "80"
	if o.Proto == ProtoHTTPS {
		port = "443"
	}
	return host.Len == 0 || http1.SameHost(host.In(r.buf), o.Host.In(r.buf), port)
}

// protos takes an X-Forwarded-Proto. Proxies in a row that each add a value have
// to agree: the field does not say whose is whose.
func (r *resolver) protos(list []byte) (ok, same bool) {
	for p := range bytes.SplitSeq(list, []byte(",")) {
		if p = trimBlanks(p); len(p) == 0 {
			continue
		}
		proto := parseProto(p)
		if proto == ProtoUnknown {
			return false, true
		}
		if !r.agreeProto(proto) {
			return true, false
		}
	}
	return true, true
}

// ssl takes an X-Forwarded-Ssl.
func (r *resolver) ssl(v []byte) (ok, same bool) {
	switch {
	case bytes.EqualFold(v, []byte("on")):
		return true, r.agreeProto(ProtoHTTPS)
	case bytes.EqualFold(v, []byte("off")):
		return true, r.agreeProto(ProtoHTTP)
	}
	return false, true
}

// parseProto returns ProtoUnknown for what is not a scheme that leads here. Some
// proxies name the scheme of a WebSocket.
func parseProto(v []byte) Proto {
	switch {
	case bytes.EqualFold(v, []byte("https")), bytes.EqualFold(v, []byte("wss")):
		return ProtoHTTPS
	case bytes.EqualFold(v, []byte("http")), bytes.EqualFold(v, []byte("ws")):
		return ProtoHTTP
	}
	return ProtoUnknown
}
