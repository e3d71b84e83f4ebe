package settings

// TLS says where the certificates are, and what is spoken.
type TLS struct {
	Certs       []string // files of certificate chains
	Keys        []string // files of their keys, in the same order; for the rest they are in the same files
	ClientCAs   string   // file; "": clients show no certificate
	ClientCerts string   // with ClientCAs: ClientCertsOptional or ClientCertsRequired
	MinVersion  uint16   // as in crypto/tls
	Ciphers     []uint16 // of TLS 1.2; as in crypto/tls
	Protocols   []string // "h2", "http/1.1"; for ALPN, the preferred one first
	ACME        ACME     // certificates besides those
}

// On reports whether TLS is spoken at all.
func (t *TLS) On() bool { return len(t.Certs) > 0 || len(t.ACME.Certs) > 0 }

// Key returns the file of the key of the i-th certificate.
func (t *TLS) Key(i int) string {
	if i < len(t.Keys) {
		return t.Keys[i]
	}
	return t.Certs[i]
}

// Whether clients show certificates.
const (
	ClientCertsNone     = ""
	ClientCertsOptional = "optional"
	ClientCertsRequired = "required"
)
