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
	"hostler/protocol"
	"hostler/settings"
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
	set.TLS = settings.TLS{Certs: []string{file}, MinVersion: tls.VersionTLS12}
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

// TestCertificatesHandedOver: a worker is given other certificates in memory of
// their own, again if it had no room for the message, and once.
func TestCertificatesHandedOver(t *testing.T) {
	set := withTLS(t)
	withRig(t, set, nil, func(r *rig) {
		r.awaitServing()
		told := func(p *fakeProcess) int { n, _ := p.got(protocol.KindTLS); return n }
		memory := func() (f *os.File) {
			done := make(chan struct{})
			r.s.post(askEvent{func(s *supervisor) { f = s.current.certs.memory }, done})
			<-done
			return f
		}
		all := r.all()
		full := func(yes bool) {
			all[0].mu.Lock()
			defer all[0].mu.Unlock()
			all[0].manner.full = yes
		}
		full(true)
		before := memory()
		cert, key, err := testcert.New(2, "localhost")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(set.TLS.Certs[0], append(cert, key...), 0o600); err != nil {
			t.Fatal(err)
		}
		r.pass(certsEvery + time.Second)
		if told(all[0]) != 0 || told(all[1]) != 1 {
			t.Fatalf("told %d and %d times", told(all[0]), told(all[1]))
		}
		if memory() == before {
			t.Error("the memory that workers may be reading was written to")
		}
		if _, err := before.Stat(); err == nil {
			t.Error("the memory of the former certificates is still open")
		}
		full(false)
		r.pass(3 * certsEvery)
		if told(all[0]) != 1 || told(all[1]) != 1 {
			t.Errorf("told %d and %d times in the end", told(all[0]), told(all[1]))
		}
	})
}
