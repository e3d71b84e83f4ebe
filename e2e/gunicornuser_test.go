package e2e

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
)

const whoConf = `
import os
raw_env = ["RUN_BY=%d" % os.getuid()]
def post_fork(server, worker):
    os.environ["FORKED_BY"] = str(os.getuid())
`

const whoApp = `
import os
def app(environ, start_response):
    start_response('200 OK', [])
    return [('%s %s %d' % (os.environ["RUN_BY"], os.environ["FORKED_BY"], os.getuid())).encode()]
`

// TestGunicornConfAsNobody: with --user the file is run with that user's rights, and says
// nothing of what the master does as root.
func TestGunicornConfAsNobody(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root has workers that are somebody else")
	}
	dir, err := os.MkdirTemp("/var/tmp", "hostler-") // others may look into it, unlike t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	conf := func(text string) {
		t.Helper()
		err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(dir+"/gunicorn.conf.py", []byte(text), 0o644), os.WriteFile(dir+"/whoapp.py", []byte(whoApp), 0o644))
		if err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"--python", "/usr/bin/python3", "--admin-bind", "off", "--user", "nobody", "whoapp:app"}
	conf(whoConf)
	s := launchBareIn(t, dir, args...)
	s.waitLog("msg=serving")
	if status, body := s.get("/"); status != 200 || body != fmt.Sprintf("%d %d %d", nobody, nobody, nobody) {
		t.Errorf("%d %q", status, body)
	}
	for _, more := range []string{"pidfile = 'x.pid'", "user = 'root'"} {
		conf(whoConf + more + "\n")
		if status, out := run(t, dir, nil, args...); status != 2 || !strings.Contains(out, "give it as a flag") {
			t.Errorf("%s: status %d, %s", more, status, out)
		}
	}
}

const tlsConf = `
certfile, keyfile = %q, %q
def ssl_context(config, default_ssl_context_factory):
    import ssl
    context = default_ssl_context_factory()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context
`

// TestGunicornSSLContext: the lowest version that the hook's context has is the server's.
func TestGunicornSSLContext(t *testing.T) {
	dir := t.TempDir()
	p := newPair(t, dir, "localhost", 1)
	write(t, dir, map[string]string{"shapeapp.py": shapeApp, "gunicorn.conf.py": fmt.Sprintf(tlsConf, p.cert, p.key)})
	s := launchBareIn(t, dir, "--python", venv, "--admin-bind", "off", "shapeapp:app")
	s.waitLog("msg=serving")
	for version, works := range map[uint16]bool{tls.VersionTLS12: false, tls.VersionTLS13: true} {
		raw, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		err = tls.Client(raw, &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version}).Handshake()
		raw.Close()
		if (err == nil) != works {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
	}
}
