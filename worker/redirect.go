package worker

import (
	"bytes"
	"net/netip"

	"hostler/protocol"
	"hostler/worker/http1"
	"hostler/worker/origin"
)

// redirect sends the client of a plain address to the same one at port, by https.
func (l *Loop) redirect(t *Thread, c *conn, buf []byte, port string) {
	r := &t.Req
	host := ownName(&l.cfg.Listeners[c.listener]) // a client of HTTP/1.0 need not name one
	for i := range r.NFields {
		if f := &r.Fields[i]; f.Known == http1.KnownHost {
			if f.Value.Len > 0 {
				host = f.Value.In(buf)
			}
			break
		}
	}
	host = host[:origin.HostNameLen(host)]
	if len(host) == 0 {
		c.reject(l, http1.ReasonMissingHost, t.asked())
		return
	}
	b := append([]byte("Location: https://"), host...)
	if port != "443" {
		b = append(append(b, ':'), port...)
	}
	target := r.Target.In(buf)
	if r.Flags&http1.FlagAbsolute != 0 {
		_, rest, _ := bytes.Cut(target, []byte("://"))
		target = nil
		if i := bytes.IndexAny(rest, "/?"); i >= 0 {
			target = rest[i:]
		}
		if len(target) == 0 || target[0] == '?' {
			b = append(b, '/')
		}
	}
	if r.Flags&http1.FlagAsterisk != 0 {
		target = []byte("/")
	}
	b = append(append(b, target...), "\r\n"...)
	c.refuse(l, 308, string(b), t.asked())
}

// ownName is a listener's host as it stands in a URL; nil: its clients alone know.
func ownName(of *protocol.Listener) []byte {
	a, err := netip.ParseAddr(of.Host)
	switch {
	case err != nil:
		return []byte(of.Host)
	case a.IsUnspecified():
		return nil
	case a.Is6():
		return []byte("[" + a.WithZone("").String() + "]")
	}
	return []byte(a.String())
}
