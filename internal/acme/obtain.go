package acme

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mholt/acmez/v3"
	rfc8555 "github.com/mholt/acmez/v3/acme"

	"hostler/internal/inode"
	"hostler/protocol"
)

const (
	// orderTime is how long an order may take, all looks of the authority's at the names
	// included.
	orderTime = 5 * time.Minute
	// askTime is likewise for a question about renewal.
	askTime = 30 * time.Second
	// requestTime is how long one request may take.
	requestTime = 30 * time.Second
	// othersLook is how long it takes until other masters answer a challenge that is new
	// in the store, where they look every five seconds.
	othersLook = 7 * time.Second
)

// outcome is what else there is to say of an order.
type outcome struct {
	asked     bool      // the authority has looked at the names, or has said no
	notBefore time.Time // it does not want to hear of us; zero: it has not said
}

// client returns what speaks to the authority.
func (m *Manager) client() (*rfc8555.Client, *polite, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	if file := m.Settings.CA; file != "" {
		b, err := inode.ReadRegular(file, maxFile)
		if err != nil {
			return nil, nil, err
		}
		t.TLSClientConfig = &tls.Config{RootCAs: x509.NewCertPool()}
		if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(b) {
			return nil, nil, fmt.Errorf("%s: no certificate is in it", file)
		}
	}
	p := &polite{next: t}
	return &rfc8555.Client{Directory: m.Settings.Directory, UserAgent: "hostler/" + m.Version, PollTimeout: orderTime,
		HTTPClient: &http.Client{Transport: p, Timeout: requestTime}}, p, nil
}

// polite heeds the authority's word when it is asked too much.
type polite struct {
	next  http.RoundTripper
	until atomic.Pointer[time.Time]
}

// RoundTrip implements http.RoundTripper.
func (p *polite) RoundTrip(r *http.Request) (*http.Response, error) {
	a, err := p.next.RoundTrip(r)
	if err == nil && (a.StatusCode == http.StatusTooManyRequests || a.StatusCode == http.StatusServiceUnavailable) {
		text, until := a.Header.Get("Retry-After"), time.Time{}
		if n, err := strconv.Atoi(text); err == nil && n >= 0 {
			until = time.Now().Add(time.Duration(n) * time.Second)
		} else if at, err := http.ParseTime(text); err == nil {
			until = at
		}
		if !until.IsZero() {
			until = minTime(until, time.Now().Add(7*24*time.Hour)) // the longest limit that Let's Encrypt has
			p.until.Store(&until)
		}
	}
	return a, err
}

// done closes connections to the authority: the next is for tomorrow.
func (p *polite) done() { p.next.(*http.Transport).CloseIdleConnections() }

// obtain orders a certificate for names, has each of them validated and keeps it.
func (m *Manager) obtain(ctx context.Context, names []string) (what outcome, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, orderTime, errors.New("the authority has not finished within "+orderTime.String()))
	defer cancel()
	c, p, err := m.client()
	if err != nil {
		return what, err
	}
	defer p.done()
	s := &solver{m: m}
	defer func() {
		var no rfc8555.Problem
		what.asked = s.presented.Load() || errors.As(err, &no)
		if t := p.until.Load(); t != nil {
			what.notBefore = *t
		}
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		var request *url.Error
		if errors.As(err, &request) && !what.asked {
			err = fmt.Errorf("cannot reach %s: %w", m.Settings.Directory, request.Err)
		}
	}()
	accountKey, broken, err := m.Store.account()
	if broken != nil {
		m.Log.Warn("the account's key is of no use; this is another account", "error", broken)
	}
	if err != nil {
		return what, err
	}
	// It is the same account for the same key, if the authority still knows it.
	account := rfc8555.Account{PrivateKey: accountKey, TermsOfServiceAgreed: true}
	if m.Settings.Email != "" {
		account.Contact = []string{"mailto:" + m.Settings.Email}
	}
	if err := m.bind(ctx, c, &account); err != nil {
		return what, err
	}
	if account, err = c.NewAccount(ctx, account); err != nil {
		return what, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return what, err
	}
	csr, err := acmez.NewCSR(key, names)
	if err != nil {
		return what, err
	}
	order, err := acmez.OrderParametersFromCSR(account, csr)
	if err != nil {
		return what, err
	}
	if _, leaf, _ := m.Store.Load(names); leaf != nil && time.Now().Before(leaf.NotAfter) && len(leaf.AuthorityKeyId) > 0 {
		if d, err := c.GetDirectory(ctx); err == nil && d.RenewalInfo != "" {
			order.Replaces = leaf
		}
	}
	solvers := map[string]acmez.Solver{protocol.ChallengeALPN: s}
	if m.Plain {
		solvers[protocol.ChallengeHTTP] = s
	}
	chains, err := (&acmez.Client{Client: c, ChallengeSolvers: solvers}).ObtainCertificate(ctx, order)
	if err != nil {
		return what, err
	}
	if len(chains) == 0 {
		return what, errors.New("the authority has given no certificate")
	}
	return what, m.Store.save(names, chains[0].ChainPEM, key)
}

// bind tells the authority whose customer's account it is, where it wants to know.
func (m *Manager) bind(ctx context.Context, c *rfc8555.Client, account *rfc8555.Account) error {
	file := m.Settings.EAB
	if file == "" {
		return nil
	}
	b, err := inode.ReadRegular(file, maxFile)
	if err != nil {
		return err
	}
	words := strings.Fields(string(b))
	if len(words) != 2 {
		return fmt.Errorf("%s: has not two words, the key's ID and the key", file)
	}
	return account.SetExternalAccountBinding(ctx, c, rfc8555.EAB{KeyID: words[0], MACKey: strings.TrimRight(words[1], "=")})
}

// askRenewal asks when the authority wants a certificate renewed, and when to ask again.
func (m *Manager) askRenewal(ctx context.Context, leaf *x509.Certificate) (at, again time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	c, p, err := m.client()
	if err != nil {
		return at, again, err
	}
	defer p.done()
	r, err := c.GetRenewalInfo(ctx, leaf)
	if err != nil {
		return at, again, err
	}
	if r.RetryAfter != nil {
		again = *r.RetryAfter
	}
	return r.SelectedTime, again, nil
}

// solver puts challenges where all masters find them.
type solver struct {
	m         *Manager
	presented atomic.Bool
}

var (
	_ acmez.Solver = (*solver)(nil)
	_ acmez.Waiter = (*solver)(nil)
)

// Present implements acmez.Solver.
func (s *solver) Present(_ context.Context, asked rfc8555.Challenge) error {
	s.presented.Store(true)
	c := challenge(asked)
	if c.Type == protocol.ChallengeALPN {
		cert, err := acmez.TLSALPN01ChallengeCert(asked)
		if err != nil {
			return err
		}
		key, err := encodeKey(cert.PrivateKey.(*ecdsa.PrivateKey))
		if err != nil {
			return err
		}
		c.Pair = protocol.KeyPair{Name: c.Name, Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}), Key: key}
	}
	return s.m.Store.present(c)
}

// Wait implements acmez.Waiter.
func (s *solver) Wait(ctx context.Context, _ rfc8555.Challenge) error {
	if err := s.m.Presented(ctx); err != nil || s.m.member == nil || alone(s.m.member) {
		return err
	}
	// The authority may come to another master, who looks every so often.
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(othersLook):
		return nil
	}
}

// CleanUp implements acmez.Solver.
func (s *solver) CleanUp(_ context.Context, asked rfc8555.Challenge) error {
	return s.m.Store.withdraw(challenge(asked))
}

func challenge(c rfc8555.Challenge) *protocol.Challenge {
	return &protocol.Challenge{Type: c.Type, Name: c.Identifier.Value, Token: c.Token, Answer: c.KeyAuthorization}
}
