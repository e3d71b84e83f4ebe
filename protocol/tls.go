package protocol

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Whether clients show certificates.
const (
	ClientCertsNone     = ""
	ClientCertsOptional = "optional"
	ClientCertsRequired = "required"
)

// TLSMaterial is what a worker needs to serve TLS. It comes in a memfd that worker
// and master share, on FDSecrets (/dev/null where no listener speaks TLS): not in
// the settings, which anybody can read in /proc, nor from the files, which the
// workers' user need not be allowed to read.
type TLSMaterial struct {
	Pairs       []KeyPair  `json:"pairs"`
	ClientCAs   []byte     `json:"client_cas,omitempty"` // PEM
	ClientCerts string     `json:"client_certs,omitempty"`
	MinVersion  uint16     `json:"min_version"` // as in crypto/tls
	Protocols   []string   `json:"protocols"`   // for ALPN, the preferred one first
	TicketKeys  [][32]byte `json:"ticket_keys"` // of session tickets: the first encrypts, all decrypt
}

// KeyPair is a certificate chain and its key, in PEM.
type KeyPair struct {
	Name string `json:"name"` // the file's, for messages
	Cert []byte `json:"cert"`
	Key  []byte `json:"key"`
}

// Parse checks the pair and returns it for use.
func (p *KeyPair) Parse() (tls.Certificate, error) { return tls.X509KeyPair(p.Cert, p.Key) }

// NewTLSMemory makes the memory that TLS material lies in. The caller closes it.
func NewTLSMemory() (*os.File, error) {
	fd, err := unix.MemfdCreate("hostler-tls", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("cannot make memory for TLS keys: %w", err)
	}
	return os.NewFile(uintptr(fd), "hostler-tls"), nil
}

// WriteTLSMaterial replaces what is in the memory. A reader may see it half done,
// which it notices: two halves are no JSON, or no pairs.
func WriteTLSMaterial(f *os.File, m *TLSMaterial) error {
	b, err := json.Marshal(m)
	if err == nil {
		if err = f.Truncate(0); err == nil {
			_, err = f.WriteAt(b, 0)
		}
	}
	if err != nil {
		return fmt.Errorf("cannot hand over TLS keys: %w", err)
	}
	return nil
}

// ReadTLSMaterial returns what WriteTLSMaterial has written.
func ReadTLSMaterial(fd int) (*TLSMaterial, error) {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	if err != nil {
		return nil, fmt.Errorf("cannot read TLS keys: %w", err)
	}
	b := make([]byte, st.Size)
	n, err := unix.Pread(fd, b, 0)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("cannot read TLS keys: %w", err)
	}
	m := new(TLSMaterial)
	if err := json.Unmarshal(b[:n], m); err != nil {
		return nil, fmt.Errorf("cannot read TLS keys: %w", err)
	}
	return m, nil
}
