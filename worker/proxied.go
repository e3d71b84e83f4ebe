package worker

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"net"

	"github.com/pires/go-proxyproto"

	"hostler/worker/http1"
)

// proxyVersions are the versions of the PROXY protocol that are spoken here, a
// bit each.
type proxyVersions uint8

const (
	proxyV1 proxyVersions = 1 << iota
	proxyV2
)

func parseProxyVersions(s string) (proxyVersions, error) {
	switch s {
	case "":
		return 0, nil
	case "v1":
		return proxyV1, nil
	case "v2":
		return proxyV2, nil
	case "auto":
		return proxyV1 | proxyV2, nil
	}
	return 0, fmt.Errorf("cannot speak version %q of the PROXY protocol", s)
}

const (
	maxProxyV1  = 107 // the longest line of version 1, by its specification
	proxyV2Head = 16  // signature, command, family, length

	maxProxyHeader = proxyV2Head + 4096 // no less than proxyproto.MaxV2HeaderSize, a variable
)

// proxyHeader measures the header that b begins with. 0 and ReasonNone say that
// more of it is to come.
func proxyHeader(b []byte, v proxyVersions) (int, http1.Reason) {
	switch {
	case v&proxyV1 != 0 && begins(b, proxyproto.SIGV1):
		if i := bytes.IndexByte(b[:min(len(b), maxProxyV1)], '\n'); i >= 0 {
			return i + 1, http1.ReasonNone
		}
		if len(b) >= maxProxyV1 {
			return 0, http1.ReasonBadProxyHeader
		}
	case v&proxyV2 != 0 && begins(b, proxyproto.SIGV2):
		if len(b) < proxyV2Head {
			return 0, http1.ReasonNone
		}
		n := int(binary.BigEndian.Uint16(b[proxyV2Head-2:]))
		if n > int(proxyproto.MaxV2HeaderSize) {
			return 0, http1.ReasonBadProxyHeader
		}
		if len(b) >= proxyV2Head+n {
			return proxyV2Head + n, http1.ReasonNone
		}
	default:
		return 0, http1.ReasonMissingProxyHeader
	}
	return 0, http1.ReasonNone
}

// begins says whether b begins with sig, as far as b goes.
func begins(b, sig []byte) bool { return bytes.HasPrefix(sig, b[:min(len(b), len(sig))]) }

// proxied looks for the PROXY protocol's header in b, the first bytes of a
// connection that has to begin with one, and takes the client's address from it.
// It returns the header's length, or 0 if more of it is to come; with ok false
// the connection is closed: without the header nobody knows whose it is, so it
// gets no answer.
func (l *Loop) proxied(c *conn, b []byte) (n int, ok bool) {
	n, reason := proxyHeader(b, l.speaks)
	if reason == http1.ReasonNone && n > 0 && !l.setClient(c, b[:n]) {
		reason = http1.ReasonBadProxyHeader
	}
	if reason != http1.ReasonNone {
		l.reject(c, reason, false)
		return 0, false
	}
	return n, true
}

// setClient makes the client that a whole header names the connection's peer.
// What is said in X-Forwarded-… is the client's word from now on: a proxy that
// speaks this protocol does not look into HTTP.
func (l *Loop) setClient(c *conn, header []byte) bool {
	if len(header) >= proxyV2Head && begins(header, proxyproto.SIGV2) {
		switch kind := [2]byte(header[12:14]); {
		case kind[0] == proxyLocal:
			// The proxy's own connection, to see whether we live. The rest of the
			// header is to be ignored, whatever family it names.
			c.awaits = false
			return true
		case kind == proxyUnspec:
			c.awaits, c.anonymous, c.trusted = false, true, false
			return true
		}
	}
	h, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(header), len(header)))
	if err != nil {
		return false
	}
	c.awaits = false
	a, isTCP := h.SourceAddr.(*net.TCPAddr)
	switch {
	case isTCP:
		c.setPeer(a.AddrPort())
		c.trusted = l.trust.peer(c.peer)
	case h.Command == proxyproto.LOCAL || h.TransportProtocol == proxyproto.UnixStream:
		// "PROXY UNKNOWN", or a client that came by a socket of the proxy's machine:
		// the proxy cannot say whose the connection is.
		c.anonymous, c.trusted = true, false
	default:
		return false // nobody who uses UDP speaks HTTP/1 to us
	}
	return true
}

// proxyLocal is the command LOCAL of version 2, proxyUnspec the command PROXY with the
// family UNSPEC, which is what version 1 calls UNKNOWN (2.2 of the specification).
const proxyLocal = 0x20

var proxyUnspec = [2]byte{0x21, 0x00}
