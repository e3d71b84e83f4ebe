package worker

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"hostler/protocol"
	"hostler/settings"
)

// secrets are what the worker has of the master's TLS material.
type secrets struct {
	config  *tls.Config       // for connections to come
	answers map[string]string // by path: to who asks whether a name leads here; see protocol.Challenge
}

// challengePath is where an authority looks for the answer to a token (RFC 8555, 8.3).
const challengePath = "/.well-known/acme-challenge/"

// newSecrets makes m fit for use.
func newSecrets(m *protocol.TLSMaterial) (*secrets, error) {
	c, err := tlsConfig(m)
	if err != nil {
		return nil, err
	}
	s := &secrets{config: c}
	validated := make(map[string]*tls.Config)
	for _, ch := range m.Challenges {
		switch ch.Type {
		case protocol.ChallengeHTTP:
			if s.answers == nil {
				s.answers = make(map[string]string)
			}
			s.answers[challengePath+ch.Token] = ch.Answer
		case protocol.ChallengeALPN:
			pair, err := ch.Pair.Parse()
			if err != nil {
				return nil, fmt.Errorf("cannot answer for %s: %w", ch.Name, err)
			}
			validated[strings.ToLower(ch.Name)] = &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{protocol.ChallengeProtocol},
				Certificates: []tls.Certificate{pair}, SessionTicketsDisabled: true}
		}
	}
	if len(validated) > 0 {
		c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if len(hello.SupportedProtos) != 1 || hello.SupportedProtos[0] != protocol.ChallengeProtocol {
				return nil, nil // who offers anything else is no authority, and gets what all get
			}
			return validated[strings.ToLower(hello.ServerName)], nil
		}
	}
	return s, nil
}

// tlsConfig is what crypto/tls has to know. Curves and all that is not said here are
// crypto/tls's choice.
func tlsConfig(m *protocol.TLSMaterial) (*tls.Config, error) {
	c := &tls.Config{MinVersion: m.MinVersion, CipherSuites: m.Ciphers, NextProtos: slices.Clone(m.Protocols)}
	if slices.Contains(c.NextProtos, "http/1.1") {
		// Some clients that are told to speak HTTP/1.0 offer nothing else. Who offers
		// only what nobody speaks here gets an alert (RFC 7301, 3.2).
		c.NextProtos = append(c.NextProtos, "http/1.0")
	}
	for _, p := range m.Pairs {
		pair, err := tls.X509KeyPair(p.Cert, p.Key)
		if err != nil {
			return nil, fmt.Errorf("cannot use the certificate %s: %w", p.Name, err)
		}
		c.Certificates = append(c.Certificates, pair) // the one that suits the client's SNI, or the first
	}
	// Where there is none yet, clients get the alert unrecognized_name. A stand-in of our
	// own making would teach people to click warnings away.
	switch m.ClientCerts {
	case settings.ClientCertsOptional:
		c.ClientAuth = tls.VerifyClientCertIfGiven
	case settings.ClientCertsRequired:
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	if c.ClientAuth != tls.NoClientCert {
		c.ClientCAs = x509.NewCertPool()
		if !c.ClientCAs.AppendCertsFromPEM(m.ClientCAs) {
			return nil, errors.New("cannot verify clients: no certificate of an authority")
		}
	}
	// All workers have the same keys, so a session resumes with any of them.
	c.SetSessionTicketKeys(m.TicketKeys)
	return c, nil
}

// tlsEnviron returns what environ is to say of a connection, by the names of
// Apache's mod_ssl: name and value by turns, each with a zero byte behind it.
func tlsEnviron(s *tls.ConnectionState) []byte {
	var b []byte
	add := func(name, value string) {
		if len(b)+len(name)+len(value)+2 <= maxTLSEnviron {
			b = append(append(b, name...), 0)
			b = append(append(b, value...), 0)
		}
	}
	version := map[uint16]string{tls.VersionTLS12: "TLSv1.2", tls.VersionTLS13: "TLSv1.3"}[s.Version]
	add("SSL_PROTOCOL", version)
	add("SSL_CIPHER", tls.CipherSuiteName(s.CipherSuite))
	if s.ServerName != "" {
		add("SSL_TLS_SNI", s.ServerName)
	}
	if len(s.PeerCertificates) == 0 {
		return b
	}
	cert := s.PeerCertificates[0]
	add("SSL_CLIENT_VERIFY", "SUCCESS") // others get no connection
	add("SSL_CLIENT_S_DN", cert.Subject.String())
	add("SSL_CLIENT_S_DN_CN", cert.Subject.CommonName)
	add("SSL_CLIENT_I_DN", cert.Issuer.String())
	add("SSL_CLIENT_M_SERIAL", fmt.Sprintf("%X", cert.SerialNumber))
	add("SSL_CLIENT_V_START", cert.NotBefore.UTC().Format(sslTime))
	add("SSL_CLIENT_V_END", cert.NotAfter.UTC().Format(sslTime))
	add("SSL_CLIENT_CERT", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})))
	return b
}

// sslTime is how OpenSSL prints a time.
const sslTime = "Jan _2 15:04:05 2006 GMT"
