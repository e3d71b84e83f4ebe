package master

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"hostler/internal/testcert"
)

// withTLS are settings with a certificate of their own.
func withTLS(t *testing.T) *Settings {
	t.Helper()
	cert, key, err := testcert.New(1, "localhost")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "cert.pem")
	if err := os.WriteFile(file, append(cert, key...), 0o600); err != nil {
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
