package worker

import (
	"strconv"

	"hostler/settings"
	"hostler/worker/http1"
	"hostler/worker/origin"
)

// forwarded applies what a trusted proxy says of the client; what anybody else says
// of it means nothing to us. Only requests with FlagForwarded come here. It returns
// false if the request has been refused.
func (l *Loop) forwarded(t *Thread, c *conn, buf []byte) bool {
	if !c.trusted {
		if field := l.origin.Distrust(&t.Req, l.cfg.ForwardedUntrusted == settings.ForwardedDrop); field != 0 {
			l.sayUntrusted(c, http1.KnownFields[field])
		}
		return true
	}
	o, reason := l.origin.Resolve(buf, &t.Req)
	if reason != http1.ReasonNone {
		c.reject(l, reason, t.asked())
		return false
	}
	t.setOrigin(&o, buf, l.cfg.Listeners[c.listener].TLS)
	return true
}

// setOrigin tells the application of o, on a listener with TLS or without.
func (t *Thread) setOrigin(o *origin.Origin, buf []byte, tls bool) {
	if o.Addr.IsValid() {
		t.RemoteLen = uint32(len(o.Addr.AppendTo(t.Remote[:0])))
		t.PortLen = 0
		if o.Port != 0 {
			t.PortLen = uint32(len(strconv.AppendUint(t.Port[:0], uint64(o.Port), 10)))
		}
	}
	switch {
	case o.Proto == origin.ProtoHTTPS:
		t.Forwarded |= ForwardedHTTPS
	case o.Proto == origin.ProtoHTTP && tls:
		t.Forwarded |= ForwardedHTTP
	}
	if o.Host.Len > 0 {
		t.Forwarded |= ForwardedHost
		t.Host, t.HostName = o.Host, origin.HostNameLen(o.Host.In(buf))
	}
	if o.Prefix.Len > 0 {
		t.Forwarded |= ForwardedPrefix
		t.Prefix = o.Prefix
		// The proxy has taken it off already, or it has not.
		if origin.Below(bytesAt(t.Path, int(t.PathLen)), o.Prefix.In(buf)) {
			t.Path += uintptr(o.Prefix.Len)
			t.PathLen -= o.Prefix.Len
		} else if o.Script {
			t.Forwarded |= ForwardedStray
		}
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
	l.log.Warn("a peer that is not trusted says who its client is", args...)
}

// untrustedElsewhere reports whether another worker has logged what sayUntrusted logs.
func (x *Exchange) untrustedElsewhere() bool {
	for i := range x.Board.Used() {
		if i != x.Slot && x.Board.Slot(i).Counters.ForwardedUntrusted.Load() > 0 {
			return true
		}
	}
	return false
}

// proxied looks for the PROXY protocol's header in b, the first bytes of a
// connection that has to begin with one, and takes the client's address from it.
// It returns the header's length, or 0 if more of it is to come; with ok false
// the connection is closed: without the header nobody knows whose it is, so it
// gets no answer.
func (l *Loop) proxied(c *conn, b []byte) (n int, ok bool) {
	client, n, reason := l.origin.Proxy.Read(b)
	if reason != http1.ReasonNone {
		c.reject(l, reason, asked{})
		return 0, false
	}
	if n > 0 {
		c.setClient(l, client)
	}
	return n, true
}

// setClient makes the client that a header has named the connection's peer. What is
// said in X-Forwarded-… is the client's word from now on: a proxy that speaks this
// protocol does not look into HTTP.
func (c *conn) setClient(l *Loop, client origin.ProxyClient) {
	c.proxyDue = false
	switch {
	case client.Own:
	case client.Addr.IsValid():
		c.setPeer(client.Addr)
		c.trusted = l.origin.Trusted.Peer(c.peer)
	default: // the proxy does not know whose it is
		c.anonymous, c.trusted = true, false
	}
}
