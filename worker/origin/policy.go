package origin

import (
	"fmt"
	"net/netip"
)

// Fields are the header fields whose word is taken of a trusted peer, a bit each.
type Fields uint32

// The fields that say something of the client.
const (
	FieldFor        Fields = 1 << iota // X-Forwarded-For
	FieldProto                         // X-Forwarded-Proto, X-Forwarded-Ssl
	FieldHost                          // X-Forwarded-Host
	FieldPrefix                        // X-Forwarded-Prefix, SCRIPT_NAME
	FieldForwarded                     // Forwarded (RFC 7239), as far as the bits above go
	FieldCloudflare                    // CF-Connecting-IP
)

var fieldNames = map[string]Fields{
	"for": FieldFor, "proto": FieldProto, "host": FieldHost, "prefix": FieldPrefix,
	"forwarded": FieldForwarded, "cf-connecting-ip": FieldCloudflare,
}

// ParseFields takes the names of --forwarded-headers.
func ParseFields(list []string) (Fields, error) {
	var f Fields
	for _, s := range list {
		bit, ok := fieldNames[s]
		if !ok {
			return 0, fmt.Errorf("cannot take a client from %q: no field that tells of one", s)
		}
		f |= bit
	}
	return f, nil
}

// Options are what a Policy is made from, as the settings have it.
type Options struct {
	Trusted       []string // --forwarded-allow-ips
	Fields        []string // --forwarded-headers
	Proxies       []string // --proxy-allow-ips
	ProxyProtocol string   // --proxy-protocol
}

// Policy says who is trusted to say what of clients. The zero value trusts nobody.
type Policy struct {
	Trusted Trust  // whose header fields count
	Fields  Fields // which of them
	Proxies Trust  // whose connections begin with a header of the PROXY protocol
	Proxy   ProxyVersions
}

// NewPolicy returns the policy that o asks for.
func NewPolicy(o Options) (p Policy, err error) {
	if p.Trusted, err = ParseTrust(o.Trusted); err != nil {
		return Policy{}, err
	}
	if p.Fields, err = ParseFields(o.Fields); err != nil {
		return Policy{}, err
	}
	if p.Proxies, err = ParseTrust(o.Proxies); err != nil {
		return Policy{}, err
	}
	if p.Proxy, err = ParseProxyVersions(o.ProxyProtocol); err != nil {
		return Policy{}, err
	}
	return p, nil
}

// AwaitsProxyHeader reports whether a connection from peer has to begin with a header
// of the PROXY protocol.
func (p *Policy) AwaitsProxyHeader(peer netip.AddrPort) bool {
	return p.Proxy != 0 && p.Proxies.Peer(peer)
}
