package config

import (
	"errors"
	"fmt"
	"net/mail"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/net/idna"

	"hostler/settings"
)

// mostNames is how many names Let's Encrypt puts into a certificate.
const mostNames = 100

// parseACMENames reads the names of a certificate.
func parseACMENames(s string) (settings.ACMECert, error) {
	var names []string
	for _, n := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' }) {
		name, err := parseACMEName(n)
		if err != nil {
			return "", err
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	switch {
	case len(names) == 0:
		return "", errors.New("has no name in it")
	case len(names) > mostNames:
		return "", fmt.Errorf("has more than %d names in it", mostNames)
	}
	return settings.ACMECert(strings.Join(names, ",")), nil
}

// parseACMEName returns a name as it stands in a certificate.
func parseACMEName(s string) (string, error) {
	switch _, err := netip.ParseAddr(strings.Trim(s, "[]")); {
	case err == nil:
		return "", fmt.Errorf("%q is an address: certificates are for names", s)
	case strings.HasPrefix(s, "*."):
		return "", fmt.Errorf("%q: for all names of a domain an authority wants to see its DNS changed, which is not for a server to do; name each", s)
	case strings.ContainsAny(s, ":/"):
		return "", fmt.Errorf("%q is no name of a host: write it without scheme, port and path", s)
	}
	name, err := idna.Lookup.ToASCII(strings.TrimSuffix(s, "."))
	if err != nil || name == "" || len(name) > 253 || strings.Contains(name, "..") || slices.ContainsFunc(strings.Split(name, "."), func(l string) bool {
		return l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' || strings.ContainsFunc(l, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
		})
	}) {
		return "", fmt.Errorf("%q is no name of a host", s)
	}
	return name, nil
}

func parseEmail(s string) (string, error) {
	if a, err := mail.ParseAddress(s); err != nil || a.Address != s {
		return "", fmt.Errorf("%q is no mail address", s)
	}
	return s, nil
}

func parseDirectoryURL(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" || strings.ContainsAny(s, " \t\r\n") {
		return "", fmt.Errorf("%q is no URL that begins with https://", s)
	}
	return s, nil
}

// completeACME fills in what follows from --acme.
func (c *Config) completeACME(env []string, opts Options) {
	if len(c.TLS.ACME.Certs) == 0 {
		return
	}
	if _, given := c.origins["bind"]; !given {
		c.Binds, c.texts["bind"] = []settings.Bind{{Network: "tcp", Address: ":443"}}, []string{":443"}
		if _, given := c.origins["redirect-bind"]; !given {
			c.Redirects, c.texts["redirect-bind"] = []settings.Bind{{Network: "tcp", Address: ":80"}}, []string{":80"}
		}
	}
	if c.TLS.ACME.Storage == "" {
		if dir := stateDirectory(env, opts.UID()); dir != "" {
			c.TLS.ACME.Storage = filepath.Join(dir, "acme")
		}
	}
}

// stateDirectory is where this user's state outlives the server; "": it is not known.
func stateDirectory(env []string, uid int) string {
	value := func(name string) string {
		v := ""
		for _, kv := range env {
			if n, text, ok := strings.Cut(kv, "="); ok && n == name {
				v = text
			}
		}
		return v
	}
	if dir, _, _ := strings.Cut(value("STATE_DIRECTORY"), ":"); filepath.IsAbs(dir) {
		return dir
	}
	if uid == 0 { // sudo leaves the other's variables
		return "/var/lib/hostler"
	}
	if dir := value("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "hostler")
	}
	if home := value("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".local/state/hostler")
	}
	return ""
}

// validateACME is Validate for what has to do with --acme. Tcp says whether an address
// would speak TLS.
func (c *Config) validateACME(tcp bool) []string {
	var problems []string
	certs := c.TLS.ACME.Certs
	if len(certs) == 0 {
		for _, name := range [...]string{"acme-email", "acme-storage", "acme-ca", "acme-eab", "acme-directory"} {
			if c.Given(name) {
				problems = append(problems, c.where(name)+": makes no sense without --acme")
			}
		}
		return problems
	}
	for i, cert := range certs {
		if slices.Contains(certs[:i], cert) {
			problems = append(problems, fmt.Sprintf("%s: %s is given twice", c.where("acme"), cert))
		}
	}
	if !tcp {
		problems = append(problems, c.where("acme")+": no address would speak TLS; a unix socket does not")
	}
	if c.TLS.ACME.Storage == "" {
		problems = append(problems, c.where("acme")+": there is no directory for certificates: name one with --acme-storage")
	}
	return problems
}
