package master

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"hostler/master/spawn"
	"hostler/protocol"
	"hostler/settings"
)

// withACME are settings for an authority that nobody can reach.
func withACME(t *testing.T) *Settings {
	set := testSettings()
	dir := filepath.Join(t.TempDir(), "acme")
	set.TLS = settings.TLS{ACME: settings.ACME{Certs: []settings.ACMECert{"shop.example"}, Directory: "https://127.0.0.1:1/dir", Storage: dir}}
	return set
}

// TestChallengesShared: an authority is asked to look when all workers have said that
// they can answer, and not before; one that never says so holds it up for a while only.
func TestChallengesShared(t *testing.T) {
	set := withACME(t)
	withRig(t, set, nil, func(r *rig) {
		r.awaitServing()
		write := func(name string) {
			t.Helper()
			file := filepath.Join(set.TLS.ACME.Storage, "challenges", name+".json")
			if err := os.WriteFile(file, []byte(`{"type":"http-01","name":"shop.example","token":"`+name+`","answer":"`+name+`.x"}`), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		share := func() chan error {
			done := make(chan error, 1)
			go func() { done <- r.s.presented(context.Background()) }()
			return done
		}
		told := func(p *fakeProcess) int { n, _ := p.got(protocol.KindTLS); return n }
		ready := func(done chan error) bool {
			r.pass(time.Second)
			select {
			case err := <-done:
				if err != nil {
					t.Error(err)
				}
				return true
			default:
				return false
			}
		}
		all := r.all()
		taken := spawn.Report{Message: protocol.Message{Kind: protocol.KindTaken}}
		write("a")
		done := share()
		if ready(done) || told(all[0]) != 1 || told(all[1]) != 1 {
			t.Fatalf("before anybody has said so; told %d and %d times", told(all[0]), told(all[1]))
		}
		all[0].report(taken)
		all[0].report(taken) // who says more than he was asked speaks for nobody else
		if ready(done) {
			t.Fatal("one has not said so")
		}
		all[1].report(taken)
		if !ready(done) {
			t.Fatal("all have said so")
		}
		if !ready(share()) {
			t.Error("there is nothing that they do not have")
		}
		write("b")
		done = share()
		all[1].report(taken)
		if ready(done) {
			t.Fatal("one does not say so")
		}
		r.pass(answerTime)
		if !ready(done) {
			t.Error("one that does not say so holds it up for ever")
		}
		// One that boots is told, too, for it may accept in the next moment.
		r.signal(syscall.SIGHUP)
		write("c")
		done = share()
		r.pass(bootTakes / 2)
		for _, p := range r.all() {
			p.report(taken)
		}
		r.pass(time.Minute)
		if !ready(done) {
			t.Error("after a reload")
		}
	})
}

// TestIssuing: nobody is asked more often for a reload; other settings begin anew; and
// that the authority cannot be reached is said once, and noted.
func TestIssuing(t *testing.T) {
	set := withACME(t)
	withRig(t, set, nil, func(r *rig) {
		r.awaitServing()
		state := func() (i *issuing, orders map[string]uint64, missing int) {
			done := make(chan struct{})
			r.s.post(askEvent{func(s *supervisor) { i = s.issuing }, done})
			<-done
			v := r.s.view.Load()
			return i, v.CertificateOrders, v.CertificatesMissing
		}
		r.pass(time.Hour)
		first, orders, missing := state()
		// After 0, 10, 30, 70, 150, 310, 630, 1230 seconds, and so on.
		if first == nil || missing != 1 || orders["success"] != 0 || orders["failure"] < 8 || orders["failure"] > 13 {
			t.Errorf("%v, %v, %d missing", first, orders, missing)
		}
		if n := strings.Count(r.log.String(), `level=ERROR msg="cannot get a certificate`); n != 1 {
			t.Errorf("said %d times:\n%s", n, r.log.String())
		}
		r.signal(syscall.SIGHUP)
		r.pass(time.Minute)
		second, again, _ := state()
		if second != first || again["failure"] > orders["failure"]+1 {
			t.Errorf("after a reload: %v and %v, %v and %v", first, second, orders, again)
		}
		r.signal(syscall.SIGTERM)
		r.pass(time.Minute)
	})
}
