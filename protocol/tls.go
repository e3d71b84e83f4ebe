package protocol

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"os"
)

// TLSMaterial is what a worker needs to serve TLS. It comes in a sealed memfd, on
// FDSecrets (/dev/null where no listener speaks TLS) and, when it has changed, beside
// KindTLS; the worker reads it once and closes it. It is not in the settings, which
// anybody can read in /proc, nor read from the files, which the workers' user need not
// be allowed to read.
type TLSMaterial struct {
	Pairs       []KeyPair   `json:"pairs"`
	ClientCAs   []byte      `json:"client_cas,omitempty"`   // PEM
	ClientCerts string      `json:"client_certs,omitempty"` // as in the settings
	MinVersion  uint16      `json:"min_version"`            // as in crypto/tls
	Ciphers     []uint16    `json:"ciphers"`                // of TLS 1.2, likewise; none: its choice
	Protocols   []string    `json:"protocols"`              // for ALPN, the preferred one first
	TicketKeys  [][32]byte  `json:"ticket_keys"`            // of session tickets: the first encrypts, all decrypt
	Challenges  []Challenge `json:"challenges,omitempty"`   // of ACME's, to be answered meanwhile
}

// Challenge is how a worker shows an authority that a name leads here (RFC 8555, 8.3; RFC
// 8737).
type Challenge struct {
	Type   string  `json:"type"`
	Name   string  `json:"name"`
	Token  string  `json:"token"`
	Answer string  `json:"answer"` // to who asks for the token on a plain address, with ChallengeHTTP
	Pair   KeyPair `json:"pair"`   // for who speaks nothing but ChallengeProtocol, with ChallengeALPN
}

// The types of challenges, and the protocol of the latter.
const (
	ChallengeHTTP     = "http-01"
	ChallengeALPN     = "tls-alpn-01"
	ChallengeProtocol = "acme-tls/1"
)

// KeyPair is a certificate chain and its key, in PEM.
type KeyPair struct {
	Name string `json:"name"` // the file's, for messages
	Cert []byte `json:"cert"`
	Key  []byte `json:"key"`
}

// Parse checks the pair and returns it for use.
func (p *KeyPair) Parse() (tls.Certificate, error) { return tls.X509KeyPair(p.Cert, p.Key) }

// NewTLSMemory makes memory with m in it, which nobody can write to any more. Other
// material is other memory. The caller closes it.
func NewTLSMemory(m *TLSMaterial) (*os.File, error) {
	f, err := writeTLSMemory(m)
	if err != nil {
		return nil, fmt.Errorf("cannot hand over TLS keys: %w", err)
	}
	return f, nil
}

func writeTLSMemory(m *TLSMaterial) (*os.File, error) {
	b, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	return NewMemory("hostler-tls", b)
}

// ReadTLSMaterial returns what NewTLSMemory has written.
func ReadTLSMaterial(fd int) (*TLSMaterial, error) {
	b, err := readMemory(fd)
	if err != nil {
		return nil, fmt.Errorf("cannot read TLS keys: %w", err)
	}
	m := new(TLSMaterial)
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("cannot read TLS keys: %w", err)
	}
	return m, nil
}
