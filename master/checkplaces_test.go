package master

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hostler/internal/testcert"
	"hostler/settings"
)

// TestCheckPlaces: what would keep a server from starting is found without starting it;
// what a running one has is in nobody's way.
func TestCheckPlaces(t *testing.T) {
	dir := t.TempDir()
	cert, key, err := testcert.New(1, "localhost")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"pair.pem": append(cert, key...), "text": []byte("text"), "most": make([]byte, maxErrorPage), "large": make([]byte, maxErrorPage+1)} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	sock, err := net.Listen("unix", filepath.Join(dir, "sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	at := func(name string) string { return filepath.Join(dir, name) }
	tcp := func(a string) []settings.Bind { return []settings.Bind{{Network: "tcp", Address: a}} }
	unix := func(a string) []settings.Bind { return []settings.Bind{{Network: "unix", Address: a}} }
	for name, c := range map[string]struct {
		set  settings.Master
		want string // "": nothing is wrong
	}{
		"nothing":               {},
		"a certificate":         {settings.Master{TLS: settings.TLS{Certs: []string{at("pair.pem")}}}, ""},
		"no certificate":        {settings.Master{TLS: settings.TLS{Certs: []string{at("none.pem")}}}, "cannot read a certificate"},
		"another file":          {settings.Master{TLS: settings.TLS{Certs: []string{at("text")}}}, "cannot use the certificate"},
		"no key":                {settings.Master{TLS: settings.TLS{Certs: []string{at("pair.pem")}, Keys: []string{at("none")}}}, "cannot read a certificate"},
		"no authority":          {settings.Master{TLS: settings.TLS{Certs: []string{at("pair.pem")}, ClientCAs: at("text")}}, "cannot verify clients"},
		"an error page":         {settings.Master{ErrorPages: []settings.ErrorPage{{Status: 500, File: at("text")}}}, ""},
		"no error page":         {settings.Master{ErrorPages: []settings.ErrorPage{{Status: 500, File: at("none")}}}, "cannot read an error page"},
		"one too large":         {settings.Master{ErrorPages: []settings.ErrorPage{{Status: 500, File: at("large")}}}, "cannot read an error page"},
		"too many":              {settings.Master{ErrorPages: slices.Repeat([]settings.ErrorPage{{Status: 500, File: at("most")}}, 5)}, "cannot take so many error pages"},
		"logs":                  {settings.Master{ErrorLog: at("e.log"), Worker: settings.Worker{AccessLog: at("text")}}, ""},
		"streams for logs":      {settings.Master{ErrorLog: "-", Worker: settings.Worker{AccessLog: "/dev/stdout"}}, ""},
		"an error log nowhere":  {settings.Master{ErrorLog: at("logs/e.log")}, "cannot write the error log"},
		"a directory for a log": {settings.Master{Worker: settings.Worker{AccessLog: dir}}, "is a directory"},
		"a log below --chdir":   {settings.Master{Worker: settings.Worker{Chdir: dir, AccessLog: "logs/a.log"}}, "cannot write the access log"},
		"a pid file":            {settings.Master{PIDFile: at("pid")}, ""},
		"a pid file nowhere":    {settings.Master{PIDFile: at("run/pid")}, "cannot write the pid file"},
		"a control socket":      {settings.Master{CtlSocket: at("ctl")}, ""},
		"one that is there":     {settings.Master{CtlSocket: at("sock")}, ""},
		"one nowhere":           {settings.Master{CtlSocket: at("run/ctl")}, "cannot make the control socket"},
		"a file there":          {settings.Master{CtlSocket: at("text")}, "is no socket"},
		"no spool":              {settings.Master{Worker: settings.Worker{SpoolDir: at("spool")}}, "cannot spool"},
		"an address":            {settings.Master{Binds: tcp("127.0.0.1:0")}, ""},
		"all addresses":         {settings.Master{Binds: tcp(":0")}, ""},
		"one that is taken":     {settings.Master{Binds: tcp(taken.Addr().String())}, ""},
		"another machine's":     {settings.Master{Binds: tcp("192.0.2.1:80")}, "cannot bind 192.0.2.1:80: cannot assign requested address"},
		"for a redirect":        {settings.Master{Redirects: tcp("192.0.2.1:80")}, "cannot bind 192.0.2.1:80"},
		"for the admin server":  {settings.Master{Admin: tcp("192.0.2.1:80")[0], AdminGiven: true}, "cannot bind 192.0.2.1:80"},
		"one that may fail":     {settings.Master{Admin: tcp("192.0.2.1:80")[0]}, ""},
		"a unix socket":         {settings.Master{Binds: unix(at("web"))}, ""},
		"one without a file":    {settings.Master{Binds: unix("@hostler-check")}, ""},
		"a unix socket nowhere": {settings.Master{Binds: unix(at("run/web"))}, "cannot bind unix:"},
		"a file in its place":   {settings.Master{Binds: unix(at("text"))}, "is no socket"},
	} {
		before, _ := os.ReadDir(dir)
		err := checkPlaces(&Settings{Master: c.set})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, not %q", name, err, c.want)
		}
		if after, _ := os.ReadDir(dir); len(after) != len(before) {
			t.Errorf("%s: a file was made", name)
		}
	}
	several := &Settings{Master: settings.Master{PIDFile: at("run/pid"), ErrorLog: at("logs/e.log")}}
	if err := checkPlaces(several); err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("of two faults: %v", err)
	}
}
