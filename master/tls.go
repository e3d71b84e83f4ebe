package master

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"hash"
	"os"
	"slices"
	"time"

	"hostler/internal/inode"
	"hostler/master/spawn"
	"hostler/protocol"
	"hostler/settings"
)

const (
	// certsEvery is how often the certificates' files are looked at. Reading them is
	// nothing, and what replaces them (a symbolic link that is moved, a file that is
	// renamed or written to) does not matter then.
	certsEvery = 5 * time.Second
	// ticketLife is for how long a key encrypts session tickets, and again for how
	// long it still opens them.
	ticketLife = 24 * time.Hour
	// maxCertificate bounds a file; that of all authorities there are is a fifth of it.
	maxCertificate = 1 << 20
)

// certificates is a generation's TLS material, in memory that its workers read.
type certificates struct {
	set     *settings.TLS
	memory  *os.File // sealed; what changes is in other memory
	version int      // of what is in it
	sum     [sha256.Size]byte
	pairs   [sha256.Size]byte // likewise of the certificates alone
	list    []protocol.CertificateStatus
	missing int       // certificates of ACME's that there are not yet
	failed  string    // why the files of today are not in use; "": they are
	next    time.Time // when to look at the files again
	looking bool      // somebody does
	again   bool      // and is to look once more at once
	begun   int       // looks so far
	ended   int       // those that are over
}

// tickets are the keys of session tickets, the same in all generations so that
// sessions live on.
type tickets struct {
	keys [][32]byte // the newest first
	next time.Time
}

func (t *tickets) at(now time.Time) [][32]byte {
	if now.Before(t.next) {
		return slices.Clone(t.keys) // who reads them is not always alone
	}
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails
	t.keys = slices.Insert(t.keys, 0, key)[:min(len(t.keys)+1, 2)]
	t.next = now.Add(ticketLife)
	return slices.Clone(t.keys)
}

// carriedTickets is how the next binary reads them.
type carriedTickets struct {
	Keys [][32]byte `json:"keys"`
	Next time.Time  `json:"next"`
}

// carry is what the next binary is to know, so that sessions outlive the upgrade; empty: there
// is nothing.
func (t *tickets) carry() []byte {
	if len(t.keys) == 0 {
		return nil
	}
	b, _ := json.Marshal(carriedTickets{t.keys, t.next}) // numbers and a time: never fails
	return b
}

// takeTickets takes over the keys of the binary before us. Without them nothing is lost but
// that clients shake hands in full, once.
func (s *supervisor) takeTickets() {
	var was carriedTickets
	b, err := s.host.Tickets()
	if err == nil && len(b) > 0 {
		err = json.Unmarshal(b, &was)
	}
	if err != nil {
		s.log.Warn("TLS sessions do not outlive this upgrade", "error", err)
		return
	}
	s.tickets = tickets{was.Keys, was.Next}
}

// openCertificates reads what set names.
func openCertificates(set *settings.TLS, tickets [][32]byte, now time.Time) (*certificates, error) {
	if !set.On() {
		return nil, nil
	}
	read, err := readCertificates(set, tickets)
	if err != nil {
		return nil, err
	}
	c := &certificates{set: set, next: now.Add(certsEvery)}
	if _, err := c.take(read); err != nil {
		return nil, err
	}
	return c, nil
}

// certificateFiles is what is in a generation's files.
type certificateFiles struct {
	material   *protocol.TLSMaterial
	sum, pairs [sha256.Size]byte
	list       []protocol.CertificateStatus
	missing    int
}

// readCertificates reads and checks what set names.
func readCertificates(set *settings.TLS, tickets [][32]byte) (*certificateFiles, error) {
	m := &protocol.TLSMaterial{MinVersion: set.MinVersion, Ciphers: set.Ciphers, Protocols: set.Protocols, TicketKeys: tickets}
	sum := sha256.New()
	var err error
	read := func(setting, name string) []byte {
		b, e := inode.ReadRegular(name, maxCertificate)
		if e != nil && err == nil {
			err = fmt.Errorf("--%s: cannot read a certificate: %w", setting, e)
		}
		addSum(sum, b)
		return b
	}
	files := &certificateFiles{material: m}
	for i, cert := range set.Certs {
		key := set.Key(i)
		p := protocol.KeyPair{Name: cert, Cert: read("certfile", cert)}
		if p.Key = p.Cert; key != cert {
			p.Key = read("keyfile", key)
		}
		if err != nil {
			return nil, err
		}
		pair, err := p.Parse()
		if err != nil {
			return nil, fmt.Errorf("--certfile: cannot use the certificate %s with the key %s: %w", cert, key, err)
		}
		m.Pairs = append(m.Pairs, p)
		files.list = append(files.list, protocol.CertificateStatus{Name: nameOf(pair.Leaf, cert), NotAfter: pair.Leaf.NotAfter})
	}
	store := storeOf(&set.ACME)
	for _, c := range set.ACME.Certs {
		p, leaf, _ := store.Load(c.Names()) // who orders them says what is wrong
		if p == nil {
			files.missing++
			continue
		}
		addSum(sum, p.Cert)
		m.Pairs = append(m.Pairs, *p)
		files.list = append(files.list, protocol.CertificateStatus{Name: c.Names()[0], NotAfter: leaf.NotAfter})
	}
	files.pairs = [sha256.Size]byte(sum.Sum(nil))
	if len(set.ACME.Certs) > 0 {
		m.Challenges = store.Challenges()
		for i := range m.Challenges {
			c := &m.Challenges[i]
			addSum(sum, []byte(c.Name))
			addSum(sum, []byte(c.Answer))
			addSum(sum, c.Pair.Cert)
		}
	}
	if set.ClientCAs != "" {
		m.ClientCerts = set.ClientCerts
		if m.ClientCAs = read("ca-certs", set.ClientCAs); err != nil {
			return nil, err
		}
		if !x509.NewCertPool().AppendCertsFromPEM(m.ClientCAs) {
			return nil, fmt.Errorf("--ca-certs: cannot verify clients with %s: no certificate is in it", set.ClientCAs)
		}
	}
	for _, k := range m.TicketKeys {
		addSum(sum, k[:])
	}
	files.sum = [sha256.Size]byte(sum.Sum(nil))
	return files, nil
}

// take takes over what has changed in the files, and reports whether certificates have.
func (c *certificates) take(files *certificateFiles) (changed bool, err error) {
	if c.memory != nil && files.sum == c.sum {
		return false, nil
	}
	memory, err := protocol.NewTLSMemory(files.material)
	if err != nil {
		return false, err
	}
	c.close()
	changed = files.pairs != c.pairs
	c.memory, c.list, c.missing, c.sum, c.pairs = memory, files.list, files.missing, files.sum, files.pairs
	c.version++
	return changed, nil
}

// close gives up the master's copy. Workers that are to read it have their own.
func (c *certificates) close() {
	if c.memory != nil {
		c.memory.Close()
	}
}

func addSum(sum hash.Hash, b []byte) {
	fmt.Fprintf(sum, "%d:", len(b))
	sum.Write(b)
}

// nameOf is what people call a certificate.
func nameOf(cert *x509.Certificate, file string) string {
	switch {
	case len(cert.DNSNames) > 0:
		return cert.DNSNames[0]
	case cert.Subject.CommonName != "":
		return cert.Subject.CommonName
	}
	return file
}

// fd is what workers inherit, or -1.
func (c *certificates) fd() int {
	if c == nil {
		return -1
	}
	return spawn.RawFD(c.memory)
}

// closeCertificates closes those that no generation needs any more.
func (s *supervisor) closeCertificates() {
	s.certs = slices.DeleteFunc(s.certs, func(c *certificates) bool {
		uses := func(g *generation) bool { return g != nil && g.certs == c }
		if uses(s.current) || uses(s.next) || slices.ContainsFunc(s.workers, func(w *worker) bool { return uses(w.gen) }) {
			return false
		}
		c.close()
		return true
	})
}

// watched are the certificates that may have to change: those of who accepts now, or soon.
func (s *supervisor) watched() (all []*certificates) {
	for _, g := range []*generation{s.current, s.next} {
		if g != nil && g.certs != nil && (g == s.current || len(g.certs.set.ACME.Certs) > 0) {
			all = append(all, g.certs)
		}
	}
	return all
}

// checkCertificates looks whether certificates have been replaced.
func (s *supervisor) checkCertificates(now time.Time) {
	for _, c := range s.watched() {
		if c.looking || now.Before(c.next) {
			continue
		}
		keys := s.tickets.at(now)
		c.looking = true
		c.begun++
		s.apart(func() func() {
			files, err := readCertificates(c.set, keys)
			return func() { s.certificatesRead(c, files, err) }
		})
	}
}

// certificatesRead takes over what was read, if c is still in use.
func (s *supervisor) certificatesRead(c *certificates, files *certificateFiles, err error) {
	c.looking = false
	if !c.again {
		c.next = s.clock.now().Add(certsEvery)
	}
	c.again = false
	c.ended++
	if !slices.Contains(s.watched(), c) {
		return
	}
	changed := false
	if err == nil {
		changed, err = c.take(files)
	}
	s.handCertificates(c) // those, too, that had no room for an earlier message
	generation := s.numbers
	if s.current != nil && s.current.certs == c {
		generation = s.current.number
	}
	if err != nil {
		if c.failed != err.Error() {
			s.log.Error("the certificates in use stay as they were", "error", err)
			s.note(protocol.Event{Kind: "certificates_failed", Generation: generation, Text: err.Error()})
		}
		c.failed = err.Error()
		return
	}
	restored := c.failed != ""
	c.failed = ""
	if !changed {
		return
	}
	s.log.Info("certificates changed", "certificates", c.names(), "restored", restored)
	s.note(protocol.Event{Kind: "certificates_changed", Generation: generation, Text: c.names()})
}

// handCertificates gives c to the workers that have others.
func (s *supervisor) handCertificates(c *certificates) {
	for _, w := range s.workers {
		if w.gen.certs != c || w.certs == c.version || w.state == stateKilled {
			continue
		}
		if err := w.proc.SendFile(protocol.Message{Kind: protocol.KindTLS}, c.fd()); err != nil {
			s.log.Debug("a worker did not take the certificates", "worker", w.number(), "error", err)
			continue
		}
		w.certs = c.version // one that boots reads them when it is ready
		w.certsOwed++
	}
}

func (c *certificates) names() string {
	var b []byte
	for i, l := range c.list {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(b, l.Name...)
	}
	return string(b)
}

// redirectPort is the port that clients of a plain address are sent to.
func redirectPort(listeners []*listener) string {
	for _, l := range listeners {
		if l.info.Network == "tcp" {
			return l.info.Port
		}
	}
	return "" // the settings have been checked for that
}
