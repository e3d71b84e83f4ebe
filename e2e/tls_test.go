package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
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

// pair is a certificate and its key, in files of one directory.
type pair struct{ cert, key string }

func (p pair) args() []string { return []string{"--certfile", p.cert, "--keyfile", p.key} }

func (p pair) load(t *testing.T) tls.Certificate {
	t.Helper()
	c, err := tls.LoadX509KeyPair(p.cert, p.key)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// newPair writes a certificate for name, signed by itself, that serial tells from
// others.
func newPair(t *testing.T, dir, name string, serial int64) pair {
	t.Helper()
	cert, key, err := testcert.New(serial, name)
	if err != nil {
		t.Fatal(err)
	}
	p := pair{filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")}
	for file, b := range map[string][]byte{p.cert: cert, p.key: key} {
		// Renamed over the old one: a reader sees this or that, but whole.
		if err := os.WriteFile(file+".new", b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// secure is a client of s over TLS, with HTTP/2 or without.
func (s *server) secure(h2 bool, c *tls.Config) *http.Client {
	if c == nil {
		c = new(tls.Config)
	}
	c.InsecureSkipVerify = true
	tr := &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: h2, MaxIdleConnsPerHost: 64}
	if !h2 {
		tr.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	s.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second}
}

func (s *server) serial(name string) int64 {
	s.t.Helper()
	c, err := tls.Dial("tcp", s.addr, &tls.Config{InsecureSkipVerify: true, ServerName: name})
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

func body(t *testing.T, r *http.Response, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestTLSEnviron looks at what the application sees.
func TestTLSEnviron(t *testing.T) {
	dir := t.TempDir()
	server, client := newPair(t, dir, "localhost", 1), newPair(t, dir, "alice", 255)
	for _, extra := range [][]string{nil, {"--preload"}} {
		s := start(t, append(append(server.args(), "--ca-certs", client.cert, "-w", "2", "environ:app"), extra...)...)
		for _, h2 := range []bool{false, true} {
			c := s.secure(h2, &tls.Config{ServerName: "localhost", Certificates: []tls.Certificate{client.load(t)}})
			r, err := c.Get("https://" + s.addr + "/a%20b?c=d")
			env := map[string]string{}
			if err := json.Unmarshal([]byte(body(t, r, err)), &env); err != nil {
				t.Fatal(err)
			}
			want := map[string]string{"wsgi.url_scheme": "https", "HTTPS": "on", "SERVER_PROTOCOL": "HTTP/1.1", "PATH_INFO": "/a b", "QUERY_STRING": "c=d",
				"HTTP_HOST": s.addr, "SSL_CLIENT_VERIFY": "SUCCESS", "SSL_CLIENT_S_DN": "CN=alice", "SSL_CLIENT_S_DN_CN": "alice",
				"SSL_CLIENT_M_SERIAL": "FF", "SSL_PROTOCOL": "TLSv1.3", "SSL_TLS_SNI": "localhost", "REMOTE_ADDR": "127.0.0.1"}
			if h2 {
				want["SERVER_PROTOCOL"] = "HTTP/2.0"
			}
			for k, v := range want {
				if env[k] != v {
					t.Errorf("h2 %v: %s is %q, not %q", h2, k, env[k], v)
				}
			}
			if !strings.Contains(env["SSL_CLIENT_CERT"], "BEGIN CERTIFICATE") || env["SSL_CLIENT_V_END"] == "" {
				t.Errorf("%q, %q", env["SSL_CLIENT_CERT"], env["SSL_CLIENT_V_END"])
			}
		}
		if r, err := s.secure(false, nil).Get("https://" + s.addr + "/"); err == nil {
			t.Errorf("without a certificate: %s", r.Status)
		}
		s.eventually("the failure to be counted", func() bool { return s.metric("hostler_tls_handshakes_total", `result="failure"`) > 0 })
		if n := s.metric("hostler_tls_handshakes_total", `result="success"`); n != 2 {
			t.Errorf("%v handshakes", n)
		}
		s.stop()
	}
}

// TestTLSKeysStayPrivate: workers serve with a key that their user cannot read, and
// that is nowhere in the command lines or the environment.
func TestTLSKeysStayPrivate(t *testing.T) {
	p := newPair(t, t.TempDir(), "localhost", 1)
	dir, err := os.MkdirTemp("/var/tmp", "hostler-") // others may look into it, unlike t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	code, err := os.ReadFile(apps + "/environ.py")
	if err == nil {
		err = errors.Join(os.Chmod(dir, 0o755), os.WriteFile(dir+"/environ.py", code, 0o644))
	}
	if err != nil {
		t.Fatal(err)
	}
	args := p.args()
	if os.Geteuid() == 0 {
		args = append(args, "--user", "nobody")
	}
	s := launchBare(t, append(args, "--python", "/usr/bin/python3", "--admin-bind", "off", "--chdir", dir, "environ:app")...)
	s.waitLog("msg=serving")
	r, err := s.secure(true, nil).Get("https://" + s.addr + "/")
	body(t, r, err)
	key, err := os.ReadFile(p.key)
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range append(s.workers(), s.cmd.Process.Pid) {
		for _, file := range []string{"cmdline", "environ"} {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
			if err != nil || strings.Contains(string(b), strings.Split(string(key), "\n")[1]) {
				t.Errorf("%s of %d shows the key (%v)", file, pid, err)
			}
		}
	}
}

// TestCertificatesChange replaces the files: by others, by nonsense, and by good
// ones again, under clients that notice nothing.
func TestCertificatesChange(t *testing.T) {
	dir := t.TempDir()
	p, second := newPair(t, dir, "localhost", 1), newPair(t, dir, "second", 2)
	s := start(t, append(append(p.args(), second.args()...), "-w", "2", "--keep-alive", "60", "environ:app")...)
	if a, b := s.serial("localhost"), s.serial("second"); a != 1 || b != 2 {
		t.Fatalf("certificates %d and %d", a, b)
	}
	old, err := tls.Dial("tcp", s.addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	ask := func() {
		t.Helper()
		if _, err := io.WriteString(old, getLine("/")); err != nil {
			t.Fatal(err)
		}
		_ = old.SetReadDeadline(time.Now().Add(5 * time.Second))
		r, err := http.ReadResponse(bufio.NewReader(old), nil)
		body(t, r, err)
	}
	ask()
	newPair(t, dir, "localhost", 11)
	s.waitLog("certificates changed")
	s.eventually("the new one", func() bool { return s.serial("localhost") == 11 })

	if err := os.WriteFile(second.key, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	newPair(t, dir, "localhost", 12)
	s.waitLog("the certificates in use stay as they were")
	s.eventually("the metric", func() bool { return s.metric("hostler_tls_certificates_current", "") == 0 })
	if n := s.serial("localhost"); n != 11 {
		t.Errorf("certificate %d", n)
	}
	s.signal(syscall.SIGHUP) // a transaction that fails
	s.waitLog("the reload failed; the old workers serve on")
	if n := s.serial("second"); n != 2 {
		t.Errorf("certificate %d", n)
	}

	newPair(t, dir, "second", 22)
	s.waitLog("certificates changed", 2)
	s.eventually("both new ones", func() bool { return s.serial("localhost") == 12 && s.serial("second") == 22 })
	s.eventually("the metric", func() bool { return s.metric("hostler_tls_certificates_current", "") == 1 })
	if end := s.metric("hostler_tls_certificate_expiry_timestamp_seconds", `certificate="second"`); end < float64(time.Now().Unix()) {
		t.Errorf("expiry %v", end)
	}
	ask() // a connection from before it all
}

// TestCertificatesChangeForked: a worker that is forked later has the certificates
// of its time, not those of when its mold began.
func TestCertificatesChangeForked(t *testing.T) {
	dir := t.TempDir()
	s := start(t, append(newPair(t, dir, "localhost", 1).args(), "-w", "1", "--preload", "faults:app")...)
	newPair(t, dir, "localhost", 11)
	s.waitLog("certificates changed")
	s.eventually("the new one", func() bool { return s.serial("localhost") == 11 })
	mold := s.mold()
	for _, pid := range s.workers() {
		if pid == mold {
			continue
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	s.waitLog("worker ready", 2)
	if n := s.serial("localhost"); n != 11 {
		t.Errorf("certificate %d", n)
	}
}

// TestTLSReloads keeps clients busy, of HTTP/1.1 and of HTTP/2, over reloads and
// an upgrade. No request fails.
func TestTLSReloads(t *testing.T) {
	pidfile := filepath.Join(t.TempDir(), "pid")
	p := newPair(t, t.TempDir(), "localhost", 1)
	s := start(t, append(p.args(), "-w", "2", "--threads", "2", "-p", pidfile, "environ:app")...)
	next := s.successor(pidfile)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var done atomic.Int64
	for i := range 12 {
		c := s.secure(i%2 == 0, nil)
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				r, err := c.Get("https://" + s.addr + "/")
				if err != nil {
					t.Errorf("request %d of client %d: %v", n, i, err)
					return
				}
				if b, err := io.ReadAll(r.Body); err != nil || r.StatusCode != 200 || len(b) == 0 {
					t.Errorf("request %d of client %d: %s, %v", n, i, r.Status, err)
				}
				r.Body.Close()
				done.Add(1)
				if i < 4 {
					time.Sleep(time.Duration(n%40) * time.Millisecond) // some rest in between
				}
			}
		})
	}
	for i := range 3 {
		s.signal(syscall.SIGHUP)
		s.waitLog("msg=reloaded", i+1)
		time.Sleep(1500 * time.Millisecond)
	}
	s.signal(syscall.SIGUSR2)
	s.waitLog("the new binary serves")
	<-s.exited
	before := done.Load()
	for end := time.Now().Add(20 * time.Second); done.Load() < before+100; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Error("the new binary does not serve")
			break
		}
	}
	close(stop)
	wg.Wait()
	if next() == s.cmd.Process.Pid {
		t.Error("there is no new master")
	}
}

// TestTLSResumes: who has been here once resumes its session with each worker, over reloads
// and an upgrade. The share of handshakes that are resumed is one.
func TestTLSResumes(t *testing.T) {
	for name, version := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pidfile := filepath.Join(t.TempDir(), "pid")
			s := start(t, append(newPair(t, t.TempDir(), "localhost", 1).args(), "-w", "4", "-p", pidfile, "environ:app")...)
			next := s.successor(pidfile)
			config := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
			resumed := func() bool {
				c, err := tls.Dial("tcp", s.addr, config)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				// A ticket of TLS 1.3 comes behind the handshake.
				fmt.Fprint(c, "GET / HTTP/1.0\r\n\r\n")
				if _, err := io.ReadAll(c); err != nil {
					t.Fatal(err)
				}
				return c.ConnectionState().DidResume
			}
			if resumed() {
				t.Error("the first one has resumed")
			}
			all := func(when string) {
				for i := range 40 {
					if !resumed() {
						t.Errorf("%s, connection %d has not resumed", when, i)
					}
				}
			}
			all("at first")
			s.signal(syscall.SIGHUP)
			s.waitLog("msg=reloaded")
			all("after a reload")
			s.signal(syscall.SIGUSR2)
			s.waitLog("the new binary serves")
			<-s.exited
			next()
			all("after an upgrade")
		})
	}
}

// TestTLSNagle: a client whose kernel holds the request back until the end of the handshake has
// been acknowledged does not wait for an acknowledgement that is delayed, by 40 ms at least. On a
// busy machine a connection may take longer for other reasons, but not each.
func TestTLSNagle(t *testing.T) {
	s := start(t, append(newPair(t, t.TempDir(), "localhost", 1).args(), "environ:app")...)
	s.eventually("an answer without that delay", func() bool {
		plain := s.dialTCP().(*net.TCPConn)
		defer plain.Close()
		_ = plain.SetNoDelay(false) // Go's clients have it on
		c := tls.Client(plain, &tls.Config{InsecureSkipVerify: true})
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		done := time.Now()
		fmt.Fprint(c, "GET / HTTP/1.0\r\n\r\n")
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		return time.Since(done) < 30*time.Millisecond
	})
}

// TestNagle is the same for a client that sends a request in pieces: its body apart from its head,
// and that in two.
func TestNagle(t *testing.T) {
	for name, args := range map[string][]string{
		"gathered": nil, "streamed": {"--stream-uploads", "/*"}, "TLS": newPair(t, t.TempDir(), "localhost", 1).args(),
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, append(args, "uploads:app")...)
			plain := s.dialTCP().(*net.TCPConn)
			_ = plain.SetNoDelay(false)
			c := net.Conn(plain)
			if name == "TLS" {
				c = tls.Client(plain, &tls.Config{InsecureSkipVerify: true})
			}
			r := bufio.NewReader(c)
			asked := 0 // a connection's first requests are acknowledged at once by all kernels
			s.eventually("an answer without that delay", func() bool {
				begun := time.Now()
				for _, piece := range []string{"POST /length HTTP/1.1\r\nHo", "st: a\r\nContent-Length: 10\r\n\r\n", "first", "later"} {
					if _, err := io.WriteString(c, piece); err != nil {
						t.Fatal(err)
					}
				}
				answer, err := http.ReadResponse(r, nil)
				if err != nil {
					t.Fatal(err)
				}
				if got := body(t, answer, err); !strings.Contains(got, "10") {
					t.Errorf("%s %q", answer.Status, got)
				}
				asked++
				return asked > 5 && time.Since(begun) < 30*time.Millisecond
			})
		})
	}
}

func TestRedirectBind(t *testing.T) {
	plain := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	p := newPair(t, t.TempDir(), "localhost", 1)
	s := start(t, append(p.args(), "--redirect-bind", plain, "environ:app")...)
	c := s.secure(false, nil)
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	r, err := c.Post("http://"+plain+"/a?b", "text/plain", strings.NewReader("x"))
	body(t, r, err)
	if r.StatusCode != 308 || r.Header.Get("Location") != "https://"+s.addr+"/a?b" {
		t.Errorf("%s %q", r.Status, r.Header.Get("Location"))
	}
	c.CheckRedirect = nil
	r, err = c.Get("http://" + plain + "/")
	if !strings.Contains(body(t, r, err), `"https"`) {
		t.Error("the redirect does not lead to the application")
	}
}

// TestTLSBadStarts: one clear message, and no server.
func TestTLSBadStarts(t *testing.T) {
	dir := t.TempDir()
	a, b := newPair(t, dir, "a", 1), newPair(t, dir, "b", 2)
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no such file":        {[]string{"--certfile", dir + "/none", "--keyfile", a.key}, "--certfile: cannot read a certificate: open " + dir + "/none: no such file"},
		"no such key":         {[]string{"--certfile", a.cert, "--keyfile", dir + "/none"}, "--keyfile: cannot read a certificate: open " + dir + "/none: no such file"},
		"another one's key":   {[]string{"--certfile", a.cert, "--keyfile", b.key}, "private key does not match"},
		"no certificate":      {[]string{"--certfile", a.key}, "cannot use the certificate"},
		"a key alone":         {[]string{"--keyfile", a.key}, "--keyfile: a key without --certfile"},
		"one key for two":     {[]string{"--certfile", a.cert, "--certfile", b.cert, "--keyfile", a.key}, "1 keys for 2 certificates"},
		"clients without":     {[]string{"--ca-certs", a.cert}, "--ca-certs: makes no sense without --certfile"},
		"no authority":        {append(a.args(), "--ca-certs", a.key), "cannot verify clients with"},
		"no protocol":         {append(a.args(), "--http-protocols", ""), "http-protocols"},
		"a wrong protocol":    {append(a.args(), "--http-protocols", "h3"), "is neither h2 nor h1"},
		"TLS on nothing":      {append(a.args(), "-b", "unix:"+dir+"/sock"), "no address would speak TLS"},
		"the redirect's port": {append(a.args(), "-b", "127.0.0.1:29999", "--redirect-bind", "127.0.0.1:29999"), "is also another address here"},
	} {
		t.Run(name, func(t *testing.T) {
			status, out := run(t, apps, nil, append([]string{"-b", fmt.Sprintf("127.0.0.1:%d", freePort(t)), "--admin-bind", "off", "--python", venv, "environ:app"}, c.args...)...)
			if name == "TLS on nothing" || name == "the redirect's port" {
				status, out = run(t, apps, nil, append([]string{"--admin-bind", "off", "--python", venv, "environ:app"}, c.args...)...)
			}
			if status == 0 || strings.Count(out, c.want) != 1 || strings.Contains(out, "panic") {
				t.Errorf("status %d, %q not once in %s", status, c.want, out)
			}
		})
	}
}

// TestH2Spec runs the conformance test for HTTP/2 servers.
func TestH2Spec(t *testing.T) {
	p := newPair(t, t.TempDir(), "localhost", 1)
	for name, c := range map[string]struct {
		args, spec []string
		failed     string // what h2spec's summary says
	}{
		"tls": {p.args(), []string{"-t", "-k"}, " 0 failed"},
		// Who does not begin with HTTP/2's preface is served HTTP/1.1 here, and gets a
		// 400 before the end of the connection, which h2spec takes for a bad frame.
		"cleartext": {[]string{"--http2-cleartext"}, []string{}, " 1 failed"},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, append(c.args, "environ:app")...)
			host, port, _ := net.SplitHostPort(s.addr)
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
			defer cancel()
			out, err := exec.CommandContext(ctx, "../build/h2spec", append(c.spec, "-h", host, "-p", port, "--timeout", "3")...).CombinedOutput()
			text := string(out)
			if err != nil && text == "" {
				t.Fatalf("cannot run h2spec: %v (run make tools)", err)
			}
			_, failures, _ := strings.Cut(text, "\nFailures:")
			if !strings.Contains(text, "145 tests,") || !strings.Contains(text, c.failed) ||
				name == "cleartext" && strings.Count(failures, "×") != strings.Count(failures, "Sends invalid connection preface") {
				t.Errorf("%s", failures+text[max(0, len(text)-200):])
			}
		})
	}
}

// TestH2Load has a real client of another make run many streams, over a reload.
func TestH2Load(t *testing.T) {
	h2load := tool(t, "h2load")
	p := newPair(t, t.TempDir(), "localhost", 1)
	s := start(t, append(p.args(), "-w", "2", "--threads", "2", "environ:app")...)
	out, err := exec.Command(h2load, "-n", "20000", "-c", "16", "-m", "8", "https://"+s.addr+"/").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "20000 succeeded, 0 failed, 0 errored, 0 timeout") {
		t.Errorf("%v\n%s", err, out)
	}
	if n := s.metric("hostler_requests_total", `code="2xx",method="GET"`); n != 20000 {
		t.Errorf("%v requests counted", n)
	}
}

// TestTLSOffers asks for what old clients, and strange ones, ask for.
func TestTLSOffers(t *testing.T) {
	cert := newPair(t, t.TempDir(), "localhost", 1)
	shake := func(s *server, c *tls.Config) (string, error) {
		c.InsecureSkipVerify = true
		conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 20 * time.Second}, "tcp", s.addr, c)
		if err != nil {
			return "", err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		state := conn.ConnectionState()
		if state.NegotiatedProtocol != "h2" {
			if _, err := io.WriteString(conn, "GET /hello HTTP/1.0\r\n\r\n"); err != nil {
				return "", err
			}
			answer, err := io.ReadAll(conn)
			if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 200 ") {
				return "", fmt.Errorf("answered %q, %v", answer, err)
			}
		}
		return state.NegotiatedProtocol, nil
	}
	both, h2 := start(t, append(cert.args(), "rules:app")...), start(t, append(cert.args(), "--http-protocols", "h2", "rules:app")...)
	const refused = "no application protocol"
	for offer, want := range map[string][2]string{ // by both, and by HTTP/2 alone
		"":                  {"", ""},
		"http/1.0":          {"http/1.0", refused},
		"http/1.1":          {"http/1.1", ""}, // as Go has it: such clients are from before HTTP/2
		"http/1.0 http/1.1": {"http/1.1", ""},
		"spdy/3 http/1.0":   {"http/1.0", refused},
		"h2 http/1.0":       {"h2", "h2"},
		"spdy/3":            {refused, refused},
		"http/0.9 acme":     {refused, refused},
	} {
		for i, s := range []*server{both, h2} {
			got, err := shake(s, &tls.Config{NextProtos: strings.Fields(offer)})
			if err != nil && strings.Contains(err.Error(), refused) {
				got, err = refused, nil
			}
			if err != nil || got != want[i] {
				t.Errorf("%q: %q %v, want %q", offer, got, err, want[i])
			}
		}
	}

	cbc := []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA}
	chacha := []uint16{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256}
	old := start(t, append(cert.args(), "--ciphers", "ECDHE+AESGCM:ECDHE-ECDSA-AES256-SHA:ECDHE-RSA-AES256-SHA", "rules:app")...)
	for name, c := range map[string]struct {
		s       *server
		offer   []uint16
		version uint16
		served  bool
	}{
		"CBC by default":         {both, cbc, tls.VersionTLS12, false},
		"ChaCha20 by default":    {both, chacha, tls.VersionTLS12, true},
		"all by default":         {both, nil, tls.VersionTLS12, true},
		"TLS 1.1":                {both, nil, tls.VersionTLS11, false},
		"CBC with --ciphers":     {old, cbc, tls.VersionTLS12, true},
		"one left out":           {old, cbc[:2], tls.VersionTLS12, false},
		"ChaCha20 is not named":  {old, chacha, tls.VersionTLS12, false},
		"all with --ciphers":     {old, nil, tls.VersionTLS12, true},
		"TLS 1.3 with --ciphers": {old, chacha, tls.VersionTLS13, true},
	} {
		if _, err := shake(c.s, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: c.version, CipherSuites: c.offer}); (err == nil) != c.served {
			t.Errorf("%s: %v", name, err)
		}
	}
}
