package acme

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hostler/internal/testlog"
	"hostler/protocol"
	"hostler/settings"
)

func newStore(t *testing.T) *Store {
	t.Helper()
	s := NewStore(filepath.Join(t.TempDir(), "a", "b"), "https://ca.example:14000/acme/directory")
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	if err := s.Prepare(); err != nil {
		t.Fatal(err)
	}
	return s
}

// issue puts a certificate for names, valid from then to then, into s.
func issue(t *testing.T, s *Store, names []string, from, to time.Time) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(from.UnixNano()), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, NotBefore: from, NotAfter: to}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.save(names, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), key); err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

func TestStore(t *testing.T) {
	s := newStore(t)
	now := time.Now()
	one, two := []string{"shop.example"}, []string{"shop.example", "www.shop.example"}
	for _, names := range [][]string{one, two} {
		if pair, _, err := s.Load(names); pair != nil || err != nil {
			t.Errorf("%v: %v, %v", names, pair, err)
		}
		want := issue(t, s, names, now, now.Add(time.Hour))
		_, leaf, err := s.Load(names)
		if err != nil || !leaf.Equal(want) {
			t.Errorf("%v: %v, %v", names, leaf, err)
		}
	}
	if _, leaf, _ := s.Load(one); len(leaf.DNSNames) != 1 {
		t.Errorf("one certificate is the other's: %v", leaf.DNSNames)
	}
	if pair, _, err := NewStore(s.root, "https://other.example/dir").Load(one); pair != nil || err != nil {
		t.Errorf("of another authority: %v, %v", pair, err)
	}
	file := filepath.Join(s.of(one), certificateFile)
	for what, b := range map[string]string{"empty": "", "rubbish": "\xff\x00"} {
		if err := os.WriteFile(file, []byte(b), 0o600); err != nil {
			t.Fatal(err)
		}
		if pair, _, err := s.Load(one); pair != nil || err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v, %v", what, pair, err)
		}
	}
	a, broken, err := s.account()
	if err != nil || broken != nil {
		t.Fatal(err, broken)
	}
	if again, broken, err := s.account(); err != nil || broken != nil || !again.Equal(a) {
		t.Errorf("another account: %v, %v", broken, err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, accountFile), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if other, broken, err := s.account(); err != nil || broken == nil || other.Equal(a) {
		t.Errorf("a broken key: %v, %v", broken, err)
	}
}

func TestStoreRights(t *testing.T) {
	root := t.TempDir()
	for mode, private := range map[os.FileMode]bool{0o700: true, 0o750: false, 0o707: false, 0o755: false, 0o701: false} {
		if err := os.Chmod(root, mode); err != nil {
			t.Fatal(err)
		}
		s := NewStore(root, "https://ca.example/dir")
		if check, prepare := s.Check(), s.Prepare(); (check == nil) != private || (prepare == nil) != private {
			t.Errorf("%o: %v, %v", mode, check, prepare)
		}
	}
	file := filepath.Join(root, "file")
	if err := errors.Join(os.Chmod(root, 0o700), os.WriteFile(file, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below")} {
		s := NewStore(dir, "https://ca.example/dir")
		if check, prepare := s.Check(), s.Prepare(); check == nil || prepare == nil {
			t.Errorf("%s: %v, %v", dir, check, prepare)
		}
	}
}

func TestChallenges(t *testing.T) {
	s := newStore(t)
	a := &protocol.Challenge{Type: protocol.ChallengeHTTP, Name: "shop.example", Token: "../x", Answer: "x.y"}
	b := &protocol.Challenge{Type: protocol.ChallengeALPN, Name: "shop.example", Token: "../x"}
	if err := errors.Join(s.present(a), s.present(b)); err != nil {
		t.Fatal(err)
	}
	// Another authority's orders are answered, too.
	other := NewStore(s.root, "https://other.example/dir")
	if all := other.Challenges(); len(all) != 2 || !slices.ContainsFunc(all, func(c protocol.Challenge) bool { return c.Answer == "x.y" && c.Token == "../x" }) {
		t.Errorf("%+v", all)
	}
	if err := s.withdraw(a); err != nil {
		t.Error(err)
	}
	if all := s.Challenges(); len(all) != 1 || all[0].Type != protocol.ChallengeALPN {
		t.Errorf("%+v", all)
	}
	// Those of a master that has died.
	old := time.Now().Add(-2 * challengeLife)
	if err := os.Chtimes(s.challengeName(b), old, old); err != nil {
		t.Fatal(err)
	}
	if all := s.Challenges(); len(all) != 0 {
		t.Errorf("%+v", all)
	}
	s.clear()
	if _, err := os.Stat(s.challengeName(b)); err == nil {
		t.Error("it is still there")
	}
}

func TestLock(t *testing.T) {
	s := newStore(t)
	a, err := s.lock()
	if a == nil || err != nil {
		t.Fatal(err)
	}
	if b, err := s.lock(); b != nil || err != nil {
		t.Errorf("two have it: %v", err)
	}
	a.Close()
	if b, err := s.lock(); b == nil || err != nil {
		t.Errorf("it was given back: %v", err)
	} else {
		b.Close()
	}
	one, err1 := s.join()
	if err1 != nil || !alone(one) || !alone(one) {
		t.Fatalf("nobody else is there: %v", err1)
	}
	two, err2 := s.join()
	if err2 != nil || alone(one) || alone(two) || alone(one) {
		t.Errorf("two are there: %v", err2)
	}
	two.Close()
	if !alone(one) {
		t.Error("the other has left")
	}
}

func TestRenewAt(t *testing.T) {
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	s := newStore(t)
	for _, life := range []time.Duration{90 * day, 6 * day, time.Minute} {
		leaf := issue(t, s, []string{"a.example"}, from, from.Add(life))
		at := renewAt(leaf, time.Time{}).Sub(from)
		if at > life/3*2 || at < life/3*2-life/20 || renewAt(leaf, time.Time{}).Sub(from) != at {
			t.Errorf("of %v: after %v", life, at)
		}
		least, most := min(day, life/3), life-life/10
		for wanted, want := range map[time.Duration]time.Duration{-day: least, 0: least, least + time.Second: least + time.Second, life * 2: most} {
			if got := renewAt(leaf, from.Add(wanted)).Sub(from); got != want {
				t.Errorf("of %v, if it is wanted after %v: after %v, not %v", life, wanted, got, want)
			}
		}
	}
	other := issue(t, s, []string{"b.example"}, from, from.Add(90*day))
	if a := issue(t, s, []string{"a.example"}, from, from.Add(90*day)); renewAt(a, time.Time{}).Equal(renewAt(other, time.Time{})) {
		t.Error("all come at once")
	}
}

// TestRefusedKeepsLimits: five failures an hour are allowed, which come back one by one;
// an order may have two.
func TestRefusedKeepsLimits(t *testing.T) {
	left, at := 5.0, time.Duration(0)
	for n := 1; n < 40; n++ {
		if left -= 2; left < 0 {
			t.Fatalf("the %d-th time, after %v, is too early", n, at)
		}
		wait := refused(n)
		if wait < time.Minute || wait > 12*time.Hour {
			t.Errorf("%d: %v", n, wait)
		}
		at += wait
		left = min(5, left+wait.Minutes()/12)
	}
	if doubled(10*time.Second, 1) != 10*time.Second || doubled(10*time.Second, 3) != 40*time.Second || doubled(time.Second, 1<<40) != 10*time.Minute {
		t.Error("doubled")
	}
}

// manager is one whose authority is handler.
func manager(t *testing.T, handler http.HandlerFunc) (*Manager, *testlog.Buffer) {
	t.Helper()
	a := httptest.NewTLSServer(handler)
	a.Config.ErrorLog = slog.NewLogLogger(slog.NewTextHandler(io.Discard, nil), 0)
	t.Cleanup(a.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	log := new(testlog.Buffer)
	set := settings.ACME{Certs: []settings.ACMECert{"shop.example"}, Directory: a.URL + "/dir", CA: ca, Storage: filepath.Join(t.TempDir(), "store")}
	store := NewStore(set.Storage, set.Directory)
	if err := store.Prepare(); err != nil {
		t.Fatal(err)
	}
	return NewManager(Options{Settings: set, Store: store, Version: "1", Log: slog.New(slog.NewTextHandler(log, nil)),
		Changed: func() {}, Presented: func(context.Context) error { return nil }, Ended: func(string, error) {}}), log
}

// TestLeftAlone: what stands in the way of the next order: what the authority has said, an
// attempt of which nothing more is known, and one that cannot be read.
func TestLeftAlone(t *testing.T) {
	names := []string{"shop.example"}
	asked := 0
	m, log := manager(t, func(w http.ResponseWriter, r *http.Request) {
		asked++
		if got := r.UserAgent(); !strings.HasPrefix(got, "hostler/1 ") {
			t.Errorf("it is asked by %q", got)
		}
		w.Header().Set("Retry-After", "7200")
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = io.WriteString(w, `{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many","status":429}`)
	})
	ctx := context.Background()
	now := time.Now()
	next := m.see(ctx, names)
	if wait := next.Sub(now); wait < 119*time.Minute || wait > 122*time.Minute || asked != 1 {
		t.Errorf("asked %d times, and again after %v", asked, wait)
	}
	// The next master knows.
	fresh := func() *Manager { o := m.Options; return NewManager(o) }
	if again := fresh().see(ctx, names); asked != 1 || again.Before(next.Add(-time.Second)) {
		t.Errorf("asked %d times, and again at %v", asked, again)
	}
	var a attempt
	if err := m.Store.readJSON(names, attemptFile, &a); err != nil || a.Failures != 1 || !strings.Contains(a.Error, "too many") {
		t.Errorf("%+v, %v", a, err)
	}
	file := filepath.Join(m.Store.of(names), attemptFile)
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if again := fresh().see(ctx, names); asked != 1 || again.Before(now.Add(50*time.Second)) || again.After(time.Now().Add(2*time.Minute)) {
			t.Errorf("asked %d times, and again at %v", asked, again)
		}
	}
	if n := strings.Count(log.String(), "cannot tell when a certificate was last ordered"); n != 1 {
		t.Errorf("said %d times", n)
	}
	// Whoever has the file removed wants it tried.
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if fresh().see(ctx, names); asked != 2 {
		t.Errorf("asked %d times", asked)
	}
	// A clock that was wrong once holds nothing up for years.
	b, err := json.Marshal(attempt{Last: now.Add(1000 * time.Hour), Next: now.Add(1001 * time.Hour), Failures: 3})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if fresh().see(ctx, names); asked != 3 {
		t.Errorf("asked %d times", asked)
	}
}

// TestDiesWhileItOrders: what is kept before the authority is asked, and what after the
// order was broken off.
func TestDiesWhileItOrders(t *testing.T) {
	names := []string{"shop.example"}
	var during attempt
	var m *Manager
	ctx, stop := context.WithCancel(context.Background())
	m, _ = manager(t, func(_ http.ResponseWriter, r *http.Request) {
		if err := m.Store.readJSON(names, attemptFile, &during); err != nil {
			t.Error(err)
		}
		stop()
		<-r.Context().Done()
	})
	now := time.Now()
	m.see(ctx, names)
	if wait := during.Next.Sub(now); during.Failures != 1 || wait < 55*time.Second || wait > 2*time.Minute {
		t.Errorf("while it orders: %+v", during)
	}
	var after attempt
	if err := m.Store.readJSON(names, attemptFile, &after); err != nil || after.Failures != 0 || after.Interrupted != 1 || after.Next.After(time.Now().Add(2*time.Second)) {
		t.Errorf("when it was broken off: %+v, %v", after, err)
	}
}

// TestRights: a key that others could read is theirs no more.
func TestKeyRights(t *testing.T) {
	m, log := manager(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusNotFound) })
	names, now := []string{"shop.example"}, time.Now()
	issue(t, m.Store, names, now, now.Add(1000*time.Hour))
	file := filepath.Join(m.Store.of(names), certificateFile)
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if next := m.see(context.Background(), names); next.Before(now.Add(30 * time.Minute)) {
		t.Errorf("next at %v", next)
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 || !strings.Contains(log.String(), "others could read the key") {
		t.Errorf("%v, %v\n%s", info.Mode(), err, log)
	}
}
