package master

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

// withTLS are settings with a certificate of their own.
func withTLS(t *testing.T) *Settings {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(100 * 365 * 24 * time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "cert.pem")
	b := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...)
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	set := testSettings()
	set.TLS = &TLS{Pairs: []CertFiles{{file, file}}, MinVersion: tls.VersionTLS12}
	return set
}

// TestCertificatesClosed: a generation's certificates are open as long as it has
// workers, and no longer, whether it has served or not.
func TestCertificatesClosed(t *testing.T) {
	withRig(t, withTLS(t), nil, func(r *rig) {
		r.awaitServing()
		open := func(want int) (all []*certificates) {
			t.Helper()
			done := make(chan struct{})
			r.s.post(askEvent{func(s *supervisor) {
				all = slices.Clone(s.certs)
				for _, c := range all {
					if _, err := c.memory.Stat(); err != nil {
						t.Errorf("in use: %v", err)
					}
				}
			}, done})
			<-done
			if len(all) != want {
				t.Fatalf("%d generations' certificates are open, not %d", len(all), want)
			}
			return all
		}
		first := open(1)[0]
		r.signal(syscall.SIGHUP)
		r.pass(bootTakes + leaveTakes/2)
		open(2) // the old workers are still leaving
		r.pass(time.Minute)
		open(1)
		if _, err := first.memory.Stat(); err == nil {
			t.Error("the first generation's are not closed")
		}
		r.behave(manner{fails: "broken"})
		r.signal(syscall.SIGHUP)
		r.pass(time.Minute)
		open(1)
	})
}
