package origin

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/pires/go-proxyproto"

	"hostler/worker/http1"
)

// ProxyVersions are the versions of the PROXY protocol that are spoken here, a
// bit each.
type ProxyVersions uint8

// The versions.
const (
	ProxyV1 ProxyVersions = 1 << iota
	ProxyV2
)

// ParseProxyVersions takes --proxy-protocol.
func ParseProxyVersions(s string) (ProxyVersions, error) {
	switch s {
	case "":
		return 0, nil
	case "v1":
		return ProxyV1, nil
	case "v2":
		return ProxyV2, nil
	case "auto":
		return ProxyV1 | ProxyV2, nil
	}
	return 0, fmt.Errorf("cannot speak version %q of the PROXY protocol", s)
}

const (
	maxProxyV1  = 107 // the longest line of version 1, by its specification
	proxyV2Head = 16  // signature, command, family, length

	// MaxProxyHeader is the length of the longest header that is taken; no less than
	// proxyproto.MaxV2HeaderSize, a variable.
	MaxProxyHeader = proxyV2Head + 4096
)

// ProxyClient is whose a connection is, by its header.
type ProxyClient struct {
	Addr netip.AddrPort // of the client, if it is known
	// Own is set where the connection is the proxy's own, to see whether we live:
	// its address is the peer's, and all it says is its own word.
	Own bool
}

// Read takes the header that b begins with, the first bytes of a connection that has
// to begin with one. n is its length; 0 and ReasonNone say that more of it is to come.
func (v ProxyVersions) Read(b []byte) (client ProxyClient, n int, reason http1.Reason) {
	n, reason = v.measure(b)
	if n == 0 || reason != http1.ReasonNone {
		return ProxyClient{}, 0, reason
	}
	client, ok := readProxyHeader(b[:n])
	if !ok {
		return ProxyClient{}, 0, http1.ReasonBadProxyHeader
	}
	return client, n, http1.ReasonNone
}

// measure finds the length of the header that b begins with, as Read does.
func (v ProxyVersions) measure(b []byte) (int, http1.Reason) {
	switch {
	case v&ProxyV1 != 0 && begins(b, proxyproto.SIGV1):
		if i := bytes.IndexByte(b[:min(len(b), maxProxyV1)], '\n'); i >= 0 {
			return i + 1, http1.ReasonNone
		}
		if len(b) >= maxProxyV1 {
			return 0, http1.ReasonBadProxyHeader
		}
	case v&ProxyV2 != 0 && begins(b, proxyproto.SIGV2):
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

// begins reports whether b begins with sig, as far as b goes.
func begins(b, sig []byte) bool { return bytes.HasPrefix(sig, b[:min(len(b), len(sig))]) }

// proxyLocal is the command LOCAL of version 2, proxyUnspec the command PROXY with the
// family UNSPEC, which is what version 1 calls UNKNOWN (2.2 of the specification).
const proxyLocal = 0x20

var proxyUnspec = [2]byte{0x21, 0x00}

// readProxyHeader reads a whole header.
func readProxyHeader(header []byte) (client ProxyClient, ok bool) {
	if len(header) >= proxyV2Head && begins(header, proxyproto.SIGV2) {
		switch kind := [2]byte(header[12:14]); {
		case kind[0] == proxyLocal:
			// The rest of the header is to be ignored, whatever family it names.
			return ProxyClient{Own: true}, true
		case kind == proxyUnspec:
			return ProxyClient{}, true
		}
	}
	h, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(header), len(header)))
	if err != nil {
		return ProxyClient{}, false
	}
	a, isTCP := h.SourceAddr.(*net.TCPAddr)
	switch {
	case isTCP:
		return ProxyClient{Addr: a.AddrPort()}, true
	case h.Command == proxyproto.LOCAL || h.TransportProtocol == proxyproto.UnixStream:
		// "PROXY UNKNOWN", or a client that came by a socket of the proxy's machine:
		// the proxy cannot say whose the connection is.
		return ProxyClient{}, true
	}
	return ProxyClient{}, false // nobody who uses UDP speaks HTTP/1 to us
}
