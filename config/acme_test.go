package config_test

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"hostler/config"
	"hostler/settings"
)

// TestACME: --acme alone makes of a plain server one with HTTPS that sends clients of
// HTTP there; addresses that were given stay as they are.
func TestACME(t *testing.T) {
	tcp := func(a ...string) (all []settings.Bind) {
		for _, a := range a {
			all = append(all, settings.Bind{Network: "tcp", Address: a})
		}
		return all
	}
	for _, c := range []struct {
		args             []string
		env              []string
		uid              int
		binds, redirects []settings.Bind
		certs            []settings.ACMECert
		storage          string
	}{
		{[]string{"--acme", "shop.example"}, nil, 0, tcp(":443"), tcp(":80"), []settings.ACMECert{"shop.example"}, "/var/lib/hostler/acme"},
		{[]string{"--acme", "Shop.Example.,www.shop.example, shop.example", "--acme", "bücher.example"}, []string{"HOME=/home/x"}, 7, tcp(":443"), tcp(":80"),
			[]settings.ACMECert{"shop.example,www.shop.example", "xn--bcher-kva.example"}, "/home/x/.local/state/hostler/acme"},
		{[]string{"--acme", "a.example", "-b", ":8443"}, []string{"HOME=/home/x", "XDG_STATE_HOME=/state"}, 7, tcp(":8443"), nil, []settings.ACMECert{"a.example"}, "/state/hostler/acme"},
		{[]string{"--acme", "a.example"}, []string{"PORT=5000", "STATE_DIRECTORY=/var/lib/shop:/x"}, 0, tcp("0.0.0.0:5000"), nil, []settings.ACMECert{"a.example"}, "/var/lib/shop/acme"},
		{[]string{"--acme", "a.example", "--redirect-bind", ":8080", "--acme-storage", "keys"}, nil, 7, tcp(":443"), tcp(":8080"), []settings.ACMECert{"a.example"}, "keys"},
		{nil, []string{"HOSTLER_ACME=a.example,b.example", "HOSTLER_BIND=:1"}, 0, tcp(":1"), nil, []settings.ACMECert{"a.example,b.example"}, "/var/lib/hostler/acme"},
	} {
		got, err := config.Load(append([]string{"shop"}, c.args...), c.env, config.Options{ReadFile: files(nil).read, UID: func() int { return c.uid }})
		if err != nil {
			t.Errorf("%q: %v", c.args, err)
			continue
		}
		if !slices.Equal(got.Binds, c.binds) || !slices.Equal(got.Redirects, c.redirects) || !reflect.DeepEqual(got.TLS.ACME.Certs, c.certs) || got.TLS.ACME.Storage != c.storage {
			t.Errorf("%q: %v, %v, %q, %s", c.args, got.Binds, got.Redirects, got.TLS.ACME.Certs, got.TLS.ACME.Storage)
		}
		if got.TLS.ACME.Directory != "https://acme-v02.api.letsencrypt.org/directory" || !got.TLS.On() {
			t.Errorf("%q: %+v", c.args, got.TLS.ACME)
		}
	}
}

func TestACMEWrong(t *testing.T) {
	for args, want := range map[string]string{
		"--acme *.shop.example":                       `--acme: "*.shop.example": for all names of a domain`,
		"--acme 192.0.2.1":                            `"192.0.2.1" is an address`,
		"--acme [2001:db8::1]":                        "is an address",
		"--acme https://shop.example":                 "without scheme, port and path",
		"--acme shop.example:443":                     "without scheme, port and path",
		"--acme shop..example":                        "is no name of a host",
		"--acme -shop.example":                        "is no name of a host",
		"--acme shop_1.example":                       "is no name of a host",
		"--acme ../../etc":                            "without scheme",
		"--acme ,":                                    "has no name in it",
		"--acme a.example --acme A.example":           "--acme: a.example is given twice",
		"--acme a.example --acme-email nobody":        `--acme-email: "nobody" is no mail address`,
		"--acme a.example --acme-directory http://ca": `--acme-directory: "http://ca" is no URL that begins with https://`,
		"--acme a.example --acme-directory https://":  "is no URL",
		"--acme a.example -b unix:/x":                 "no address would speak TLS",
		"--acme a.example":                            "name one with --acme-storage",
		"--acme-email a@b.example":                    "--acme-email: makes no sense without --acme",
		"--acme-storage /x":                           "--acme-storage: makes no sense without --acme",
		"--acme a.example --acme-storage /x -b :1 --redirect-bind :1": "is also another address here",
		"--redirect-bind :1": "--redirect-bind: makes no sense without --certfile or --acme",
		"--acme " + strings.Repeat("a", 64) + ".example --acme-storage /x": "is no name of a host",
	} {
		_, err := config.Load(append([]string{"shop"}, strings.Fields(args)...), nil, config.Options{ReadFile: files(nil).read, UID: func() int { return 7 }})
		var problems *config.Error
		if !errors.As(err, &problems) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
}
