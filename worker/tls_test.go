package worker

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hostler/internal/testcert"
	"hostler/protocol"
	"hostler/settings"
)

// keyPair makes a certificate for names, signed by itself.
func keyPair(t testing.TB, names ...string) protocol.KeyPair {
	t.Helper()
	cert, key, err := testcert.New(int64(len(names[0])), names...)
	if err != nil {
		t.Fatal(err)
	}
	return protocol.KeyPair{Name: names[0], Cert: cert, Key: key}
}

func tlsTestConfig() *protocol.WorkerConfig {
	cfg := testConfig()
	cfg.Listeners[0].TLS = true
	return cfg
}

// serveTLS is serve with TLS by m, to which a certificate and keys of tickets are
// added.
func serveTLS(t testing.TB, cfg *protocol.WorkerConfig, m protocol.TLSMaterial, app func(*call)) *rig {
	t.Helper()
	r := newRig(t, cfg, app)
	if m.Pairs == nil {
		m.Pairs = []protocol.KeyPair{keyPair(t, "localhost")}
	}
	if m.Protocols == nil {
		m.Protocols = []string{"h2", "http/1.1"}
	}
	m.TicketKeys = [][32]byte{{1}}
	r.material(&m)
	r.start()
	return r
}

// material hands TLS material over as the master does.
func (r *rig) material(m *protocol.TLSMaterial) {
	r.t.Helper()
	f, err := protocol.NewTLSMemory(m)
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.ReadTLS(fd); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) dialTLS(c *tls.Config) *tls.Conn {
	r.t.Helper()
	if c == nil {
		c = &tls.Config{}
	}
	c.InsecureSkipVerify = true
	return tls.Client(r.dial(), c)
}

func TestTLSRequests(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		r := serveTLS(t, tlsTestConfig(), protocol.TLSMaterial{}, echo)
		c := r.dialTLS(&tls.Config{MaxVersion: version})
		in := responses(t, c)
		send(t, c, get)
		in.want(200, "GET /a ")
		send(t, c, get+get+get) // pipelined
		for range 3 {
			in.want(200, "GET /a ")
		}
		for _, n := range []int{1, 1000, 16 << 10, 100000, bodyBuffer, 3 * bodyBuffer} {
			body := strings.Repeat("0123456789abcdef", n/16+1)[:n]
			request := "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + itoa(n) + "\r\n\r\n" + body
			go func() { _, _ = io.WriteString(c, request) }() // an error shows in the answer
			in.want(200, "POST / "+body)
		}
		send(t, c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		in.want(200, "GET / ")
		// The end is an end, not a cut.
		if b, err := in.br.ReadByte(); err != io.EOF {
			t.Errorf("%q, %v", b, err)
		}
		if n := r.slot.Counters.Handshakes.Load(); n != 1 {
			t.Errorf("%d handshakes counted", n)
		}
	}
}

func itoa(n int) string { return string(appendInt(nil, n)) }

func appendInt(b []byte, n int) []byte {
	if n >= 10 {
		b = appendInt(b, n/10)
	}
	return append(b, byte('0'+n%10))
}

// TestTLSByteByByte gives handshake and request in the smallest pieces, and takes a
// response in small ones.
func TestTLSByteByByte(t *testing.T) {
	r := serveTLS(t, tlsTestConfig(), protocol.TLSMaterial{}, func(c *call) { c.ok(strings.Repeat("x", 3<<20)) })
	c := tls.Client(&dribble{r.dial()}, &tls.Config{InsecureSkipVerify: true})
	send(t, c, get)
	p := responses(t, c).want(200, "*")
	if p.body != strings.Repeat("x", 3<<20) {
		t.Errorf("%d bytes", len(p.body))
	}
	eventually(t, "nothing is counted as waiting", func() bool { return r.mem.outBytes.Load() == 0 })
}

type dribble struct{ net.Conn }

func (d *dribble) Write(b []byte) (int, error) {
	for i := range b {
		if _, err := d.Conn.Write(b[i : i+1]); err != nil {
			return i, err
		}
		time.Sleep(20 * time.Microsecond)
	}
	return len(b), nil
}

func (d *dribble) Read(b []byte) (int, error) { return d.Conn.Read(b[:min(len(b), 3000)]) }

// TestTLSTogether has the request arrive with the end of the handshake.
func TestTLSTogether(t *testing.T) {
	r := serveTLS(t, tlsTestConfig(), protocol.TLSMaterial{}, echo)
	for range 20 {
		held := &holding{Conn: r.dial()}
		c := tls.Client(held, &tls.Config{InsecureSkipVerify: true})
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		held.pass = true
		send(t, c, get)
		responses(t, c).want(200, "GET /a ")
		c.Close()
	}
}

// holding keeps all but the first write until it may pass.
type holding struct {
	net.Conn
	n    int
	pass bool
	buf  bytes.Buffer
}

func (h *holding) Write(b []byte) (int, error) {
	if h.n++; h.n == 1 {
		return h.Conn.Write(b)
	}
	h.buf.Write(b)
	if h.pass {
		_, err := h.buf.WriteTo(h.Conn)
		return len(b), err
	}
	return len(b), nil
}

func TestTLSByName(t *testing.T) {
	m := protocol.TLSMaterial{Pairs: []protocol.KeyPair{keyPair(t, "first"), keyPair(t, "second", "*.second")}}
	r := serveTLS(t, tlsTestConfig(), m, echo)
	served := func(name string) string {
		c := r.dialTLS(&tls.Config{ServerName: name})
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	for name, want := range map[string]string{"first": "first", "second": "second", "a.second": "second", "other": "first"} {
		if got := served(name); got != want {
			t.Errorf("%s gets the certificate of %s", name, got)
		}
	}
	old := r.dialTLS(nil)
	if err := old.Handshake(); err != nil {
		t.Fatal(err)
	}
	m.Pairs = []protocol.KeyPair{keyPair(t, "third")}
	m.Protocols, m.TicketKeys = []string{"http/1.1"}, [][32]byte{{2}}
	r.material(&m)
	if got := served("first"); got != "third" {
		t.Errorf("after the change: %s", got)
	}
	send(t, old, get) // goes on as it was
	responses(t, old).want(200, "GET /a ")
}

// TestTLSResumes resumes a session with another worker that has the same keys.
func TestTLSResumes(t *testing.T) {
	m := protocol.TLSMaterial{Pairs: []protocol.KeyPair{keyPair(t, "localhost")}}
	cache := tls.NewLRUClientSessionCache(4)
	for i := range 2 {
		r := serveTLS(t, tlsTestConfig(), m, echo)
		c := r.dialTLS(&tls.Config{ServerName: "localhost", ClientSessionCache: cache})
		send(t, c, get)
		responses(t, c).want(200, "GET /a ")
		if c.ConnectionState().DidResume != (i == 1) {
			t.Errorf("connection %d: resumed %v", i, c.ConnectionState().DidResume)
		}
	}
}

func TestTLSClientCerts(t *testing.T) {
	ca := keyPair(t, "client one")
	pair, err := ca.Parse()
	if err != nil {
		t.Fatal(err)
	}
	app := func(c *call) { c.ok(strings.ReplaceAll(string(bytesAt(c.t.TLS, int(c.t.TLSLen))), "\x00", "|")) }
	for _, mode := range []string{settings.ClientCertsOptional, settings.ClientCertsRequired} {
		r := serveTLS(t, tlsTestConfig(), protocol.TLSMaterial{ClientCAs: ca.Cert, ClientCerts: mode}, app)
		c := r.dialTLS(&tls.Config{Certificates: []tls.Certificate{pair}})
		send(t, c, get)
		p := responses(t, c).want(200, "*")
		for _, want := range []string{"SSL_PROTOCOL|TLSv1.3|", "SSL_CLIENT_VERIFY|SUCCESS|", "SSL_CLIENT_S_DN|CN=client one|", "SSL_CLIENT_S_DN_CN|client one|",
			"SSL_CLIENT_M_SERIAL|A|", "SSL_CLIENT_CERT|-----BEGIN CERTIFICATE-----\n"} {
			if !strings.Contains(p.body, want) {
				t.Errorf("%s is not in %q", want, p.body)
			}
		}
		c = r.dialTLS(nil) // with none
		_, err := io.WriteString(c, get)
		var b [1]byte
		if err == nil {
			_, err = c.Read(b[:])
		}
		if (err == nil) != (mode == settings.ClientCertsOptional) {
			t.Errorf("%s, without a certificate: %v", mode, err)
		}
		other := keyPair(t, "stranger")
		stranger, _ := other.Parse()
		c = r.dialTLS(&tls.Config{GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &stranger, nil }})
		if _, err = io.WriteString(c, get); err == nil {
			_, err = c.Read(b[:])
		}
		if err == nil {
			t.Errorf("%s: a stranger is served", mode)
		}
	}
}

// TestTLSHandshakes that do not come to an end, or were never meant to be one.
func TestTLSHandshakes(t *testing.T) {
	cfg := tlsTestConfig()
	cfg.HeaderTimeout = 300 * time.Millisecond
	r := serveTLS(t, cfg, protocol.TLSMaterial{MinVersion: tls.VersionTLS13}, echo)
	before := runtime.NumGoroutine()

	c := r.dial()
	send(t, c, get)
	p, err := io.ReadAll(c)
	if !strings.Contains(string(p), "This address speaks HTTPS only.") {
		t.Errorf("%q, %v", p, err)
	}
	old := r.dialTLS(&tls.Config{MaxVersion: tls.VersionTLS12})
	if err := old.Handshake(); err == nil {
		t.Error("TLS 1.2 is taken")
	}
	for _, text := range []string{"", "\x16\x03\x01", "nonsense, nothing else", "\x16\x03\x01\xff\xff" + strings.Repeat("x", 70000)} {
		c := r.dial()
		_, _ = io.WriteString(c, text) // it may be closed in the middle
		if _, err := io.Copy(io.Discard, c); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%.20q: %v", text, err)
		}
	}
	for range 5 { // gone in the middle
		c := r.dial()
		send(t, c, "\x16\x03\x01\x02")
		c.Close()
	}
	eventually(t, "all gone", func() bool { return r.conns.n.Load() == 0 && runtime.NumGoroutine() <= before })
	if n := r.slot.Counters.HandshakeFailures.Load(); n < 5 {
		t.Errorf("%d failures counted", n)
	}
	if r.slot.Counters.Timeouts[protocol.TimeoutHead].Load() < 2 {
		t.Error("no time limit counted")
	}
}

func TestTLSProxyProtocol(t *testing.T) {
	cfg := tlsTestConfig()
	cfg.ProxyProtocol, cfg.ProxyAllowIPs = "auto", []string{"127.0.0.1/32"}
	r := serveTLS(t, cfg, protocol.TLSMaterial{}, func(c *call) { c.ok(string(c.t.Remote[:c.t.RemoteLen])) })
	raw := r.dial()
	for _, b := range []byte("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n") {
		send(t, raw, string([]byte{b}))
		time.Sleep(100 * time.Microsecond)
	}
	c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
	send(t, c, get)
	responses(t, c).want(200, "192.0.2.1")
	raw = r.dial() // one without it gets nothing
	if err := tls.Client(raw, &tls.Config{InsecureSkipVerify: true}).Handshake(); err == nil {
		t.Error("served without the header")
	}
}

// TestTLSDrain: connections with TLS stay where they are, and end politely.
func TestTLSDrain(t *testing.T) {
	r := serveTLS(t, tlsTestConfig(), protocol.TLSMaterial{}, echo)
	resting, asking := r.dialTLS(nil), r.dialTLS(nil)
	for _, c := range []*tls.Conn{resting, asking} {
		send(t, c, get)
		responses(t, c).want(200, "GET /a ")
	}
	go r.Drain(protocol.DrainReplaced, 20*time.Second)
	eventually(t, "the drain to begin", r.leave.draining.Load)
	send(t, asking, get)
	in := responses(t, asking)
	if p := in.want(200, "GET /a "); p.fields["connection"] != "close" {
		t.Errorf("%v", p.fields)
	}
	in.wantEnd()
	responses(t, resting).wantEnd()
	<-r.Drained()
}

// TestTLSHeldCounts: what TLS holds back is of what is buffered for clients, too.
func TestTLSHeldCounts(t *testing.T) {
	big := pattern(8 << 20)
	r := serveTLS(t, tlsTestConfig(), protocol.TLSMaterial{}, func(c *call) { c.ok(big) })
	c := r.dialTLS(nil)
	send(t, c, get)
	eventually(t, "ciphertext to be held", func() bool {
		found := false
		r.conns.each(func(c *conn) {
			if phase(c.phase.Load()) != phaseWriting {
				return
			}
			s := c.transport.(*tlsConn)
			c.out.mu.Lock()
			defer c.out.mu.Unlock()
			s.wire.mu.Lock()
			defer s.wire.mu.Unlock()
			if len(s.wire.unsent) == 0 {
				return
			}
			found = true
			if all := r.mem.outBytes.Load(); all != c.out.bytes+int64(len(s.wire.unsent)) {
				t.Errorf("%d bytes count of %d and %d", all, c.out.bytes, len(s.wire.unsent))
			}
		})
		return found
	})
	if p := responses(t, c).want(200, "*"); p.body != big {
		t.Errorf("%d bytes", len(p.body))
	}
	r.level()
	// A client that goes leaves nothing behind.
	gone := r.dialTLS(nil)
	send(t, gone, get)
	eventually(t, "output to wait", func() bool { return r.mem.outBytes.Load() > 0 })
	gone.Close()
	eventually(t, "it to be gone", func() bool { return r.mem.outBytes.Load() == 0 })
}

// TestTLSHTTP2 is HTTP/2 as browsers speak it, many requests at once.
func TestTLSHTTP2(t *testing.T) {
	cfg := tlsTestConfig()
	cfg.Threads = 3
	r := serveTLS(t, cfg, protocol.TLSMaterial{}, func(c *call) {
		body, rc := c.all()
		if rc != 0 {
			c.t.Result |= ResultFailed
			return
		}
		c.ok(c.target + " " + string(body) + strings.Repeat("x", 200000))
	})
	tr := &http.Transport{DisableCompression: true, Protocols: new(http.Protocols),
		DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
			c := r.dialTLS(&tls.Config{NextProtos: []string{"h2"}})
			return c, c.Handshake()
		}}
	tr.Protocols.SetHTTP2(true)
	defer tr.CloseIdleConnections()
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			body := strings.Repeat("b", 20000*(i%10))
			req, _ := http.NewRequest("POST", "https://localhost/"+itoa(i), strings.NewReader(body))
			resp, err := tr.RoundTrip(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			if err != nil || resp.ProtoMajor != 2 || string(b) != "/"+itoa(i)+" "+body+strings.Repeat("x", 200000) {
				t.Errorf("%d: %v, %d bytes", i, err, len(b))
			}
		})
	}
	wg.Wait()
}

// TestOwnName: without a Host field the client is sent to where the server listens.
func TestOwnName(t *testing.T) {
	for host, want := range map[string]string{
		"a": "a", "127.0.0.1": "127.0.0.1", "::1": "[::1]", "fe80::1%eth0": "[fe80::1]", "": "", "::": "", "0.0.0.0": "",
	} {
		if got := string(ownName(&protocol.Listener{Network: "tcp", Host: host})); got != want {
			t.Errorf("%q: %q, not %q", host, got, want)
		}
	}
}

func TestRedirect(t *testing.T) {
	cfg := testConfig()
	cfg.Listeners[0].Redirect = "443"
	r := serve(t, cfg, func(*call) { t.Error("the application was called") })
	for request, want := range map[string]string{
		"GET /a?b HTTP/1.1\r\nHost: x:80\r\n\r\n":               "https://x/a?b",
		"POST /a HTTP/1.1\r\nHost: [::1]:80\r\n\r\n":            "https://[::1]/a",
		"GET http://y:1/c?d HTTP/1.1\r\nHost: y:1\r\n\r\n":      "https://y/c?d",
		"GET http://y?d HTTP/1.1\r\nHost: y\r\n\r\n":            "https://y/?d",
		"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n":                 "https://x/",
		"GET / HTTP/1.0\r\n\r\n":                                "https://a/",
		"GET //evil.example/%0d%0a HTTP/1.1\r\nHost: x\r\n\r\n": "https://x//evil.example/%0d%0a",
	} {
		c := r.dial()
		send(t, c, request)
		if p := responses(t, c).want(308, "*"); p.fields["location"] != want {
			t.Errorf("%q: %q", request, p.fields["location"])
		}
	}
}
