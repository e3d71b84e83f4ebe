package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"hostler/internal/testcert"
)

// authority is a Pebble, the test authority of Let's Encrypt's, with a DNS in which every
// name leads to this machine. It asks for proof at the ports http and tls.
type authority struct {
	t              *testing.T
	dir, api, mgmt string
	config         []byte
	env            []string
	dns            int
	log            *logBuffer
	cmd            *exec.Cmd
}

// tool starts a program of build/pebble; the end of the test ends it.
func (a *authority) tool(log io.Writer, name string, env []string, args ...string) *exec.Cmd {
	a.t.Helper()
	path, err := filepath.Abs("../build/pebble/" + name)
	if err != nil {
		a.t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Dir, cmd.Env = a.dir, append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		a.t.Fatalf("%v: run make tools", err)
	}
	a.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

// newAuthority prepares one whose certificates are valid for so many seconds.
func newAuthority(t *testing.T, http, tls, validity int, env ...string) *authority {
	t.Helper()
	port := func() string { return fmt.Sprintf("127.0.0.1:%d", freePort(t)) }
	a := &authority{t: t, dir: t.TempDir(), api: port(), mgmt: port(), dns: freePort(t), log: new(logBuffer)}
	a.env = append([]string{"PEBBLE_AUTHZREUSE=0", "PEBBLE_VA_NOSLEEP=1"}, env...)
	cert, key, err := testcert.New(7, "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	a.write("api.pem", cert)
	a.write("api.key", key)
	type object = map[string]any
	a.config, err = json.Marshal(object{"pebble": object{"listenAddress": a.api, "managementListenAddress": a.mgmt, "certificate": "api.pem", "privateKey": "api.key",
		"httpPort": http, "tlsPort": tls, "keyAlgorithm": "ecdsa", "retryAfter": object{"authz": 1, "order": 1},
		"profiles": object{"default": object{"description": "all", "validityPeriod": validity}}}})
	if err != nil {
		t.Fatal(err)
	}
	a.write("config.json", a.config)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of the authority:\n%s", a.log)
		}
	})
	dns := fmt.Sprintf("127.0.0.1:%d", a.dns)
	a.tool(io.Discard, "pebble-challtestsrv", nil, "-dnsserver", dns, "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-http01", "", "-https01", "",
		"-tlsalpn01", "", "-doh", "", "-management", port())
	return a
}

func (a *authority) write(name string, b []byte) {
	a.t.Helper()
	if err := os.WriteFile(filepath.Join(a.dir, name), b, 0o644); err != nil {
		a.t.Fatal(err)
	}
}

// start begins to answer.
func (a *authority) start() *authority {
	a.t.Helper()
	a.cmd = a.tool(a.log, "pebble", a.env, "-config", "config.json", "-dnsserver", fmt.Sprintf("127.0.0.1:%d", a.dns))
	a.until("the authority to answer", func() bool {
		_, err := a.get("https://" + a.api + "/dir")
		return err == nil
	})
	return a
}

func (a *authority) until(what string, f func() bool) {
	a.t.Helper()
	for end := time.Now().Add(30 * time.Second); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			a.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// get asks the authority's own server, which nobody but hostler verifies.
func (a *authority) get(url string) ([]byte, error) {
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}, Timeout: 10 * time.Second}
	r, err := c.Get(url)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	return io.ReadAll(r.Body)
}

// root is who signs.
func (a *authority) root() *x509.CertPool {
	a.t.Helper()
	b, err := a.get("https://" + a.mgmt + "/roots/0")
	pool := x509.NewCertPool()
	if err != nil || !pool.AppendCertsFromPEM(b) {
		a.t.Fatalf("no root: %q, %v", b, err)
	}
	return pool
}

// orders is how many the authority has seen.
func (a *authority) orders() int { return strings.Count(a.log.String(), "Added order") }

// args are hostler's for this authority and storage.
func (a *authority) args(storage string) []string {
	return []string{"--acme-directory", "https://" + a.api + "/dir", "--acme-ca", filepath.Join(a.dir, "api.pem"), "--acme-storage", storage}
}

// issued waits until s has a certificate for name that a client which trusts the
// authority takes, and returns it.
func (a *authority) issued(s *server, name string, root *x509.CertPool) *x509.Certificate {
	s.t.Helper()
	var leaf *x509.Certificate
	var last error
	// A proof that a slow machine fails is tried again after a minute.
	for end := time.Now().Add(150 * time.Second); leaf == nil; time.Sleep(50 * time.Millisecond) {
		var c *tls.Conn
		if c, last = tls.Dial("tcp", s.addr, &tls.Config{ServerName: name, RootCAs: root}); last == nil {
			leaf = c.ConnectionState().PeerCertificates[0]
			c.Close()
		} else if time.Now().After(end) {
			s.t.Fatalf("no certificate for %s: %v", name, last)
		}
	}
	return leaf
}

// trusting is a client that connects to s for any name, and verifies it.
func (s *server) trusting(root *x509.CertPool, h2 bool) *http.Client {
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: root}, ForceAttemptHTTP2: h2,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", s.addr)
		}}
	s.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second}
}

// TestACME: a server that has no certificate yet starts, though the authority is down;
// says so, sends clients of HTTP to HTTPS, and has its certificates when the authority is
// there, however that asks for proof. After a restart it orders nothing.
func TestACME(t *testing.T) {
	for _, how := range []string{"tls-alpn-01", "http-01"} {
		t.Run(how, func(t *testing.T) {
			httpPort, tlsPort, nowhere := freePort(t), freePort(t), freePort(t)
			addr, plain := fmt.Sprintf("127.0.0.1:%d", tlsPort), fmt.Sprintf("127.0.0.1:%d", httpPort)
			var a *authority
			args := []string{"-b", addr, "-w", "2", "--acme", "shop.example,WWW.shop.example", "--acme", "api.example", "--acme-email", "ops@shop.example"}
			if how == "http-01" {
				a = newAuthority(t, httpPort, nowhere, 90*24*3600)
				args = append(args, "--redirect-bind", plain)
			} else {
				a = newAuthority(t, nowhere, tlsPort, 90*24*3600)
			}
			storage := filepath.Join(t.TempDir(), "deep", "acme")
			run := func() *server {
				admin := fmt.Sprintf("127.0.0.1:%d", freePort(t))
				all := append(append([]string{"--admin-bind", admin, "--python", venv, "--chdir", apps}, args...), a.args(storage)...)
				s := launchWith(t, append(all, "environ:app")...)
				s.addr, s.admin = addr, admin
				s.waitLog("msg=serving")
				return s
			}
			s := run()
			s.waitLog("cannot get a certificate; trying again", 2)
			if !strings.Contains(s.log.String(), "cannot reach https://"+a.api+"/dir") {
				t.Errorf("what was said: %s", s.log)
			}
			if _, err := tls.Dial("tcp", addr, &tls.Config{ServerName: "shop.example"}); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
				t.Errorf("without a certificate: %v", err)
			}
			if status, text := fetch(t, "http://"+s.admin+"/readyz"); status != 200 {
				t.Errorf("readyz: %d %s", status, text)
			}
			if n := s.metric("hostler_acme_certificates_missing", ""); n != 2 {
				t.Errorf("%v certificates are missing", n)
			}
			if how == "http-01" {
				c := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
				r, err := c.Get("http://" + plain + "/a?b")
				body(t, r, err)
				if want := fmt.Sprintf("https://127.0.0.1:%d/a?b", tlsPort); r.StatusCode != 308 || r.Header.Get("Location") != want {
					t.Errorf("plain: %s, %s", r.Status, r.Header)
				}
			}
			a.start()
			root := a.root()
			leaf := a.issued(s, "shop.example", root)
			if got := fmt.Sprint(leaf.DNSNames); got != "[shop.example www.shop.example]" {
				t.Errorf("names: %s", got)
			}
			a.issued(s, "www.shop.example", root)
			other := a.issued(s, "api.example", root)
			for _, h2 := range []bool{true, false} {
				r, err := s.trusting(root, h2).Get("https://shop.example/x")
				env := map[string]string{}
				if err := json.Unmarshal([]byte(body(t, r, err)), &env); err != nil {
					t.Fatal(err)
				}
				if want := map[bool]string{true: "HTTP/2.0", false: "HTTP/1.1"}[h2]; env["SERVER_PROTOCOL"] != want || env["HTTPS"] != "on" {
					t.Errorf("%s, %s", env["SERVER_PROTOCOL"], env["HTTPS"])
				}
			}
			s.eventually("the orders to be counted", func() bool { return s.metric("hostler_acme_orders_total", `result="success"`) == 2 })
			if n := s.metric("hostler_acme_certificates_missing", ""); n != 0 {
				t.Errorf("%v certificates are missing", n)
			}
			if n := s.metric("hostler_tls_certificate_expiry_timestamp_seconds", `certificate="api.example"`); n != float64(other.NotAfter.Unix()) {
				t.Errorf("expiry: %f, not %d", n, other.NotAfter.Unix())
			}
			private(t, storage)
			orders := a.orders()
			s.stop()
			s = run()
			if again := a.issued(s, "shop.example", root); !again.Equal(leaf) {
				t.Error("another certificate after a restart")
			}
			a.issued(s, "api.example", root)
			s.signal(syscall.SIGHUP)
			s.waitLog("msg=reloaded")
			if n := a.orders(); n != orders {
				t.Errorf("%d orders after a restart and a reload, %d before", n, orders)
			}
			if challenges, _ := filepath.Glob(storage + "/challenges/*"); len(challenges) > 0 {
				t.Errorf("left behind: %q", challenges)
			}
		})
	}
}

// private fails if somebody else could read what is in dir.
func private(t *testing.T, dir string) {
	t.Helper()
	files := 0
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		want := os.FileMode(0o600)
		if info.IsDir() {
			want = 0o700
		} else {
			files++
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has the mode %v", path, info.Mode())
		}
		return nil
	})
	if err != nil || files == 0 {
		t.Errorf("%d files, %v", files, err)
	}
}

// TestACMERenewal: a certificate that ends soon is renewed, under load, and no request
// fails; without a reload.
func TestACMERenewal(t *testing.T) {
	a := newAuthority(t, freePort(t), freePort(t), 30)
	port := freePort(t)
	var config map[string]map[string]any
	if err := json.Unmarshal(a.config, &config); err != nil {
		t.Fatal(err)
	}
	config["pebble"]["tlsPort"] = port
	b, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	a.write("config.json", b)
	a.start()
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	admin := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	s := launchWith(t, append([]string{"-b", addr, "--admin-bind", admin, "--python", venv, "--chdir", apps, "-w", "2", "--acme", "shop.example", "environ:app"}, a.args(filepath.Join(t.TempDir(), "acme"))...)...)
	s.addr, s.admin = addr, admin
	s.waitLog("msg=serving")
	root := a.root()
	// Verified as of the certificate's first moments: how late this machine is does not
	// matter here.
	var mu sync.Mutex
	serials := make(map[string]bool)
	verify := func(state tls.ConnectionState) error {
		leaf, pool := state.PeerCertificates[0], x509.NewCertPool()
		for _, c := range state.PeerCertificates[1:] {
			pool.AddCert(c)
		}
		_, err := leaf.Verify(x509.VerifyOptions{DNSName: "shop.example", Roots: root, Intermediates: pool, CurrentTime: leaf.NotBefore.Add(time.Second)})
		mu.Lock()
		defer mu.Unlock()
		serials[leaf.SerialNumber.String()] = true
		return err
	}
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(serials)
	}
	get := func(c *http.Client) error {
		r, err := c.Get("https://shop.example/")
		if err != nil {
			return err
		}
		defer r.Body.Close()
		if _, err := io.Copy(io.Discard, r.Body); err != nil || r.StatusCode != 200 {
			return fmt.Errorf("%s, %v", r.Status, err)
		}
		return nil
	}
	newClient := func(h2, keep bool) *http.Client {
		c := s.trusting(root, h2)
		tr := c.Transport.(*http.Transport)
		tr.DisableKeepAlives = !keep
		tr.TLSClientConfig.InsecureSkipVerify, tr.TLSClientConfig.VerifyConnection = true, verify
		return c
	}
	first := newClient(false, false)
	s.eventually("the first certificate", func() bool { return get(first) == nil })
	var wg sync.WaitGroup
	var done, failed atomic.Int64
	stop := make(chan struct{})
	for i := range 6 {
		c := newClient(i%2 == 0, i%3 == 0)
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
				if err := get(c); err != nil {
					failed.Add(1)
					t.Error(err)
				}
				done.Add(1)
			}
		})
	}
	for end := time.Now().Add(150 * time.Second); count() < 2 && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
	}
	close(stop)
	wg.Wait()
	if count() < 2 || failed.Load() > 0 {
		t.Errorf("%d certificates; %d of %d requests failed", count(), failed.Load(), done.Load())
	}
	if n := s.metric("hostler_reloads_total", ""); n != 0 {
		t.Errorf("%v reloads", n)
	}
	a.until("the authority to be told what is replaced", func() bool { return strings.Contains(a.log.String(), "is a replacement of") })
}

// startACME is a server with a certificate for shop.example to be had from a, which asks
// for proof at port.
func startACME(t *testing.T, a *authority, storage string, port int, args ...string) *server {
	t.Helper()
	addr, admin := fmt.Sprintf("127.0.0.1:%d", port), fmt.Sprintf("127.0.0.1:%d", freePort(t))
	all := append([]string{"-b", addr, "--admin-bind", admin, "--python", venv, "--chdir", apps, "--acme", "shop.example"}, a.args(storage)...)
	s := launchWith(t, append(append(all, args...), "environ:app")...)
	s.addr, s.admin = addr, admin
	s.waitLog("msg=serving")
	return s
}

// TestACMEInTheMiddle: a reload and an upgrade while the authority has an order under way
// change nothing about it.
func TestACMEInTheMiddle(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR2} {
		t.Run(sig.String(), func(t *testing.T) {
			port := freePort(t)
			a := newAuthority(t, freePort(t), port, 90*24*3600, "PEBBLE_VA_NOSLEEP=", "PEBBLE_VA_SLEEPTIME=4").start()
			pid := filepath.Join(t.TempDir(), "pid")
			s := startACME(t, a, filepath.Join(t.TempDir(), "acme"), port, "-p", pid, "-w", "2")
			a.until("the authority to take its time", func() bool { return strings.Contains(a.log.String(), "Sleeping for") })
			old := s.cmd.Process.Pid
			s.signal(sig)
			if sig == syscall.SIGUSR2 {
				a.until("the new master", func() bool { return readPid(pid) != old && readPid(pid) != 0 })
				t.Cleanup(func() { endMaster(t, pid) })
			} else {
				s.waitLog("msg=reloaded")
			}
			a.issued(s, "shop.example", a.root())
			if n := strings.Count(a.log.String(), "Issued certificate"); n != 1 {
				t.Errorf("%d certificates were issued", n)
			}
		})
	}
}

// endMaster ends the server whose number is in a pid file.
func endMaster(t *testing.T, file string) {
	pid := readPid(file)
	if pid == 0 {
		return
	}
	_ = syscall.Kill(pid, syscall.SIGTERM)
	for end := time.Now().Add(20 * time.Second); syscall.Kill(pid, 0) == nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("%d does not end", pid)
			_ = syscall.Kill(pid, syscall.SIGKILL)
			return
		}
	}
}

// TestACMEShared: of two servers with one storage one orders, and the other answers for
// him; both have the certificate.
func TestACMEShared(t *testing.T) {
	ports := [2]int{freePort(t), freePort(t)}
	storage := filepath.Join(t.TempDir(), "acme")
	a := newAuthority(t, freePort(t), ports[0], 90*24*3600)
	// The first can only fail, but holds what it has: that it was asked a moment ago.
	one := startACME(t, a, storage, ports[0])
	one.waitLog("cannot get a certificate; trying again")
	a.start()
	two := startACME(t, a, storage, ports[1])
	root := a.root()
	x, y := a.issued(one, "shop.example", root), a.issued(two, "shop.example", root)
	if !x.Equal(y) {
		t.Error("two certificates")
	}
	if n := strings.Count(a.log.String(), "Issued certificate"); n != 1 {
		t.Errorf("%d certificates were issued", n)
	}
	if n := one.metric("hostler_acme_orders_total", `result="success"`) + two.metric("hostler_acme_orders_total", `result="success"`); n != 1 {
		t.Errorf("%v orders succeeded", n)
	}
}

// TestACMEHangs: an authority that does not answer holds up nothing, neither the end.
func TestACMEHangs(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	reached := make(chan struct{})
	go func() {
		var kept []net.Conn
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if kept = append(kept, c); len(kept) == 1 {
				close(reached)
			}
		}
	}()
	a := newAuthority(t, freePort(t), freePort(t), 3600)
	a.api = l.Addr().String()
	s := startACME(t, a, filepath.Join(t.TempDir(), "acme"), freePort(t))
	<-reached
	s.signal(syscall.SIGHUP)
	s.waitLog("msg=reloaded")
	s.stop() // which is patient for ten seconds
	if !strings.Contains(s.log.String(), "msg=stopped") {
		t.Error("it did not end well")
	}
}

// TestACMEStorage: a storage that is open to others is refused, by --check, too; a
// certificate there that is of no use is said, and ordered anew; and after a failure the
// authority is left alone, however often the server is started.
func TestACMEStorage(t *testing.T) {
	port := freePort(t)
	a := newAuthority(t, freePort(t), port, 90*24*3600).start()
	storage := filepath.Join(t.TempDir(), "acme")
	if err := os.MkdirAll(storage, 0o755); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"--python", venv, "--chdir", apps, "--admin-bind", "off", "-b", fmt.Sprintf("127.0.0.1:%d", port), "--acme", "shop.example", "environ:app"}, a.args(storage)...)
	for _, args := range [][]string{args, append([]string{"--check"}, args...)} {
		out, err := exec.Command(binary, args...).CombinedOutput()
		if want := storage + " is open to others (mode 0755): chmod 700 " + storage; err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
	if err := os.Chmod(storage, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(binary, append([]string{"--check"}, args...)...).CombinedOutput(); err != nil {
		t.Errorf("check: %v\n%s", err, out)
	}
	if n := a.orders(); n != 0 {
		t.Errorf("a check has ordered %d certificates", n)
	}
	s := startACME(t, a, storage, port)
	root := a.root()
	first := a.issued(s, "shop.example", root)
	s.stop()

	files, _ := filepath.Glob(storage + "/*/shop.example/certificate.pem")
	if len(files) != 1 {
		t.Fatalf("%q", files)
	}
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for what, b := range map[string][]byte{"cut": whole[:len(whole)/2], "empty": nil, "rubbish": bytes.Repeat([]byte{0xff}, 4000), "another's": otherPair(t)} {
		if err := os.WriteFile(files[0], b, 0o600); err != nil {
			t.Fatal(err)
		}
		s := startACME(t, a, storage, port)
		s.waitLog("a certificate in the storage is of no use, and ordered anew")
		if again := a.issued(s, "shop.example", root); again.Equal(first) {
			t.Errorf("%s: the first one again", what)
		}
		s.stop()
	}

	// A name that does not lead here: the authority says no.
	bad := filepath.Join(t.TempDir(), "acme")
	before := a.orders()
	for i := range 4 {
		s := startACME(t, a, bad, freePort(t))
		if i == 0 {
			s.waitLog("cannot get a certificate; trying again")
			s.eventually("the failure to be counted", func() bool { return s.metric("hostler_acme_orders_total", `result="failure"`) == 1 })
			before = a.orders()
		}
		s.stop()
	}
	if n := a.orders(); n != before {
		t.Errorf("%d orders more by servers that were started again", n-before)
	}
}

// otherPair is a pair for another name.
func otherPair(t *testing.T) []byte {
	cert, key, err := testcert.New(3, "other.example")
	if err != nil {
		t.Fatal(err)
	}
	if block, _ := pem.Decode(cert); block == nil {
		t.Fatal("no certificate")
	}
	return append(cert, key...)
}

// TestACMEUser: workers of another user serve with a certificate that they cannot read.
func TestACMEUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	const app = `
import os
def app(environ, start_response):
    start_response("200 OK", [])
    try:
        return [repr(os.listdir(environ["QUERY_STRING"])).encode()]
    except OSError as e:
        return [f"{os.geteuid()} {e.__class__.__name__}".encode()]
`
	if err := os.WriteFile(dir+"/storageapp.py", []byte(app), 0o644); err != nil {
		t.Fatal(err)
	}
	for d := dir; d != "/" && d != os.TempDir(); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	port := freePort(t)
	a := newAuthority(t, freePort(t), port, 90*24*3600).start()
	storage := dir + "/acme"
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	s := launchWith(t, append([]string{"-b", addr, "--admin-bind", "off", "--python", "/usr/bin/python3", "--chdir", dir, "--user", "nobody", "--acme", "shop.example", "storageapp:app"}, a.args(storage)...)...)
	s.addr = addr
	s.waitLog("msg=serving")
	root := a.root()
	a.issued(s, "shop.example", root)
	r, err := s.trusting(root, true).Get("https://shop.example/?" + storage)
	if text := body(t, r, err); !strings.HasSuffix(text, " PermissionError") || strings.HasPrefix(text, "0 ") {
		t.Errorf("the application sees %s", text)
	}
	private(t, storage)
}
