package worker

import (
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"

	"hostler/protocol"
)

// TestChallengeHTTP: who asks for the token of a challenge has its answer, whatever else
// an address is for, also while no Python thread is free; all other requests go their way.
func TestChallengeHTTP(t *testing.T) {
	cfg := testConfig()
	cfg.Listeners[0].Redirect = "443"
	cfg.Threads = 1
	cfg.Listeners = append(cfg.Listeners, protocol.Listener{Network: "unix"})
	r := newRig(t, cfg, func(*call) { t.Error("the application was called") })
	m := &protocol.TLSMaterial{TicketKeys: [][32]byte{{1}}, Challenges: []protocol.Challenge{{Type: protocol.ChallengeHTTP, Name: "x", Token: "to-ken_1", Answer: "to-ken_1.thumb"}}}
	r.material(m)
	r.start()
	c := r.dial()
	in := responses(t, c)
	ask := func(path string) string {
		return "GET /.well-known/acme-challenge/" + path + " HTTP/1.1\r\nHost: x\r\n\r\n"
	}
	send(t, c, ask("to-ken_1"))
	in.want(200, "to-ken_1.thumb")
	send(t, c, ask("to-ken_1")+ask("to-ken_1")) // pipelined, and the connection goes on
	in.want(200, "to-ken_1.thumb")
	in.want(200, "to-ken_1.thumb")
	send(t, c, ask("another"))
	if p := in.want(308, "*"); p.fields["location"] != "https://x/.well-known/acme-challenge/another" {
		t.Errorf("another token: %q", p.fields["location"])
	}
	c = r.dial()
	send(t, c, "POST /.well-known/acme-challenge/to-ken_1 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nxx")
	if p := responses(t, c).want(405, "*"); p.fields["allow"] != "GET, HEAD" {
		t.Errorf("POST: %v", p.fields)
	}
	m.Challenges = nil // it is over
	r.material(m)
	c = r.dial()
	send(t, c, ask("to-ken_1"))
	responses(t, c).want(308, "*")
}

// TestChallengeWhileBusy: the answer waits for no Python thread.
func TestChallengeWhileBusy(t *testing.T) {
	cfg := testConfig()
	cfg.Threads = 1
	release, busy := make(chan struct{}), make(chan struct{})
	r := newRig(t, cfg, func(c *call) { close(busy); <-release; c.ok("done") })
	r.material(&protocol.TLSMaterial{TicketKeys: [][32]byte{{1}}, Challenges: []protocol.Challenge{{Type: protocol.ChallengeHTTP, Token: "t", Answer: "t.a"}}})
	r.start()
	slow := r.dial()
	send(t, slow, get)
	<-busy
	c := r.dial()
	send(t, c, "GET /.well-known/acme-challenge/t HTTP/1.1\r\nHost: x\r\n\r\n")
	responses(t, c).want(200, "t.a")
	close(release)
	responses(t, slow).want(200, "done")
}

// TestChallengeALPN: who speaks acme-tls/1 and nothing else, for a name that is being
// validated, sees the certificate for that, and the connection ends. All others see what
// they always do.
func TestChallengeALPN(t *testing.T) {
	pair := keyPair(t, "shop.example")
	m := protocol.TLSMaterial{Challenges: []protocol.Challenge{{Type: protocol.ChallengeALPN, Name: "shop.example", Token: "t", Pair: pair}}}
	r := serveTLS(t, tlsTestConfig(), m, echo)
	want, err := pair.Parse()
	if err != nil {
		t.Fatal(err)
	}
	dial := func(name string, protocols ...string) (*tls.Conn, error) {
		c := r.dialTLS(&tls.Config{ServerName: name, NextProtos: protocols})
		return c, c.Handshake()
	}
	c, err := dial("SHOP.example", "acme-tls/1")
	if err != nil {
		t.Fatal(err)
	}
	state := c.ConnectionState()
	if state.NegotiatedProtocol != "acme-tls/1" || !state.PeerCertificates[0].Equal(want.Leaf) {
		t.Errorf("%q, %v", state.NegotiatedProtocol, state.PeerCertificates[0].DNSNames)
	}
	if b := readAll(c); b != "" {
		t.Errorf("after the handshake: %q", b)
	}
	for _, other := range []struct {
		name      string
		protocols []string
	}{{"shop.example", []string{"http/1.1"}}, {"shop.example", nil}, {"shop.example", []string{"acme-tls/1", "http/1.1"}}} {
		c, err := dial(other.name, other.protocols...)
		if err != nil {
			t.Errorf("%v: %v", other, err)
			continue
		}
		if c.ConnectionState().PeerCertificates[0].Equal(want.Leaf) {
			t.Errorf("%v: sees the challenge's certificate", other)
		}
	}
	if _, err := dial("other.example", "acme-tls/1"); err == nil || !strings.Contains(err.Error(), "no application protocol") {
		t.Errorf("another name: %v", err)
	}
}

// TestNoCertificateYet: clients are told that there is none, until there is one.
func TestNoCertificateYet(t *testing.T) {
	r := serveTLS(t, tlsTestConfig(), protocol.TLSMaterial{Pairs: []protocol.KeyPair{}}, echo)
	err := r.dialTLS(&tls.Config{ServerName: "shop.example"}).Handshake()
	var alert *net.OpError
	if !errors.As(err, &alert) || !strings.Contains(err.Error(), "unrecognized name") {
		t.Errorf("without a certificate: %v", err)
	}
	r.material(&protocol.TLSMaterial{Pairs: []protocol.KeyPair{keyPair(t, "shop.example")}, TicketKeys: [][32]byte{{1}}})
	if err := r.dialTLS(&tls.Config{ServerName: "shop.example"}).Handshake(); err != nil {
		t.Errorf("with one: %v", err)
	}
}
