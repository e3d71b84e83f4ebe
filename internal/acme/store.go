package acme

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"hostler/internal/inode"
	"hostler/protocol"
)

const (
	// maxFile bounds what is read of a file.
	maxFile = 1 << 20
	// challengeLife is how long a challenge may lie there. Nobody clears up after a
	// master that has died.
	challengeLife = time.Hour

	certificateFile = "certificate.pem"
	attemptFile     = "attempt.json"
	renewalFile     = "renewal.json"
	accountFile     = "account.key"
	challengeDir    = "challenges"
	lockFile        = "lock"
	mastersFile     = "masters"
)

// Store is a directory with the certificates of one authority.
type Store struct {
	root string
	dir  string // the authority's, in root
}

// NewStore returns the store in the directory root of the authority with that URL. It
// looks at nothing.
func NewStore(root, authority string) *Store {
	return &Store{root, filepath.Join(root, slug(authority))}
}

// slug makes a file's name of the authority's URL.
func slug(authority string) string {
	name := authority
	if u, err := url.Parse(authority); err == nil && u.Host != "" {
		name = u.Host + u.Path
	}
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '.' || r == '-' {
			return r
		}
		return '-'
	}, name)
}

// Prepare makes the directories, and refuses one that is not this user's alone: keys are
// in it.
func (s *Store) Prepare() error {
	err := os.MkdirAll(s.root, 0o700)
	for _, dir := range []string{s.root, s.dir, filepath.Join(s.root, challengeDir)} {
		if e := os.Mkdir(dir, 0o700); e != nil && !errors.Is(e, fs.ErrExist) && err == nil {
			err = e
		}
		if err == nil {
			err = private(dir)
		}
	}
	if err != nil {
		return fmt.Errorf("cannot keep certificates: %w", err)
	}
	return nil
}

// Check returns why Prepare would fail, and makes nothing.
func (s *Store) Check() error {
	dir := s.root
	for {
		err := private(dir)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("cannot keep certificates: %w", err)
		}
		above := filepath.Dir(dir)
		if info, err := os.Stat(above); err == nil && info.IsDir() {
			if err := unix.Access(above, unix.W_OK|unix.X_OK); err != nil {
				return fmt.Errorf("cannot keep certificates: %w", &fs.PathError{Op: "mkdir", Path: dir, Err: err})
			}
			return nil
		}
		if above == dir {
			return fmt.Errorf("cannot keep certificates: %w", err)
		}
		dir = above
	}
}

// private returns why dir is no directory of this user's alone.
func private(dir string) error {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: dir, Err: err}
	}
	switch mode := st.Mode; {
	case mode&unix.S_IFMT != unix.S_IFDIR:
		return fmt.Errorf("%s is no directory", dir)
	case int(st.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to another user (%d)", dir, st.Uid)
	case mode&0o077 != 0:
		return fmt.Errorf("%s is open to others (mode %04o): chmod 700 %s", dir, mode&0o7777, dir)
	}
	return nil
}

// of is the directory of the certificate for names.
func (s *Store) of(names []string) string {
	dir := names[0]
	if len(names) > 1 { // the first one alone has another
		sum := sha256.Sum256([]byte(strings.Join(names, ",")))
		dir += "+" + hex.EncodeToString(sum[:4])
	}
	return filepath.Join(s.dir, dir)
}

// Load returns the certificate for names, nil where there is none. An error says that it
// is of no use.
func (s *Store) Load(names []string) (*protocol.KeyPair, *x509.Certificate, error) {
	file := filepath.Join(s.of(names), certificateFile)
	b, err := inode.ReadRegular(file, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	p := &protocol.KeyPair{Name: file, Cert: b, Key: b}
	pair, err := p.Parse()
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", file, err)
	}
	for _, n := range names {
		if err := pair.Leaf.VerifyHostname(n); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	return p, pair.Leaf, nil
}

// save keeps a chain, in PEM, and its key as the certificate for names.
func (s *Store) save(names []string, chain []byte, key *ecdsa.PrivateKey) error {
	k, err := encodeKey(key)
	if err != nil {
		return err
	}
	// One file, so that the two always go together.
	b := append(slices.Clone(chain), k...)
	if _, err := tls.X509KeyPair(b, b); err != nil {
		return fmt.Errorf("the authority's certificate is of no use: %w", err)
	}
	return s.write(filepath.Join(s.of(names), certificateFile), b)
}

// write has a file of that name appear whole, or not at all.
func (s *Store) write(name string, b []byte) (err error) {
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".new-") // it is its owner's alone
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(b)
	err = cmp.Or(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err = os.Rename(f.Name(), name); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// attempt is what there is to know of a certificate's last order, before the next.
type attempt struct {
	Last        time.Time `json:"last"`
	Next        time.Time `json:"next"`        // not before
	Failures    int       `json:"failures"`    // refused, or not validated, one after the other
	Unreached   int       `json:"unreached"`   // there was no answer
	Interrupted int       `json:"interrupted"` // the master was stopped
	Error       string    `json:"error,omitempty"`
}

// renewal is when the authority wants a certificate renewed (RFC 9773).
type renewal struct {
	Serial string    `json:"serial"` // of the certificate
	At     time.Time `json:"at"`     // zero: it does not say
	Ask    time.Time `json:"ask"`    // again, not before
}

func (s *Store) readJSON(names []string, file string, into any) error {
	name := filepath.Join(s.of(names), file)
	b, err := inode.ReadRegular(name, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func (s *Store) writeJSON(names []string, file string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return s.write(filepath.Join(s.of(names), file), append(b, '\n'))
}

// account returns the key of the account with the authority, which is made where there is
// none. broken says why one that was there is not used any more.
func (s *Store) account() (key *ecdsa.PrivateKey, broken, err error) {
	name := filepath.Join(s.dir, accountFile)
	b, err := inode.ReadRegular(name, maxFile)
	if err == nil {
		if key, err = decodeKey(b); err == nil {
			return key, nil, nil
		}
		err = fmt.Errorf("%s: %w", name, err)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		broken = err
	}
	if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, broken, err
	}
	if b, err = encodeKey(key); err != nil {
		return nil, broken, err
	}
	return key, broken, s.write(name, b)
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func decodeKey(b []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, errors.New("no key is in it")
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := k.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("its key is of another kind")
	}
	return key, nil
}

// challengeName is the file of a challenge.
func (s *Store) challengeName(c *protocol.Challenge) string {
	sum := sha256.Sum256([]byte(c.Type + " " + c.Token))
	return filepath.Join(s.root, challengeDir, hex.EncodeToString(sum[:16])+".json")
}

func (s *Store) present(c *protocol.Challenge) error {
	b, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return s.write(s.challengeName(c), b)
}

func (s *Store) withdraw(c *protocol.Challenge) error { return os.Remove(s.challengeName(c)) }

// Challenges returns those that are to be answered now, whoever is being validated.
func (s *Store) Challenges() []protocol.Challenge {
	var all []protocol.Challenge
	for _, name := range s.challengeFiles(func(age time.Duration) bool { return age < challengeLife }) {
		var c protocol.Challenge
		if b, err := inode.ReadRegular(name, maxFile); err == nil && json.Unmarshal(b, &c) == nil {
			all = append(all, c)
		}
	}
	return all
}

// challengeFiles returns, in order, the files of challenges of such an age.
func (s *Store) challengeFiles(of func(age time.Duration) bool) []string {
	names, _ := filepath.Glob(filepath.Join(s.root, challengeDir, "*.json")) // none, where there is no directory
	return slices.DeleteFunc(names, func(name string) bool {
		info, err := os.Stat(name)
		return err != nil || !of(time.Since(info.ModTime()))
	})
}

// clear removes what is left of masters that have died.
func (s *Store) clear() {
	for _, name := range s.challengeFiles(func(age time.Duration) bool { return age >= challengeLife }) {
		os.Remove(name)
	}
}

// lock returns nil where somebody else orders. Closing the file gives it back.
func (s *Store) lock() (*os.File, error) {
	f, err := s.open(lockFile)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if err == unix.EWOULDBLOCK {
			return nil, nil
		}
		return nil, &fs.PathError{Op: "flock", Path: f.Name(), Err: err}
	}
	return f, nil
}

// join makes this master one of those that use the store, until the file is closed.
func (s *Store) join() (*os.File, error) {
	f, err := s.open(mastersFile)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); err != nil && err != unix.EWOULDBLOCK { // somebody is looking whether he is alone
		f.Close()
		return nil, &fs.PathError{Op: "flock", Path: f.Name(), Err: err}
	}
	return f, nil
}

// alone reports whether no other master uses the store. member is join's.
func alone(member *os.File) bool {
	err := unix.Flock(int(member.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	_ = unix.Flock(int(member.Fd()), unix.LOCK_SH|unix.LOCK_NB) // it is had, or was never lost
	return err == nil
}

func (s *Store) open(name string) (*os.File, error) {
	return os.OpenFile(filepath.Join(s.root, name), os.O_RDWR|os.O_CREATE, 0o600)
}
