package e2e

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"hostler/internal/testcert"
)

// proxy is a real one, in front of a hostler.
type proxy struct {
	*server
	plain, tls string // where it listens
	dir        string
}

// run starts the proxy and waits until it listens. It ends with the test.
func (p *proxy) run(name string, args ...string) {
	t := p.t
	t.Helper()
	out := new(logBuffer)
	cmd := exec.Command(tool(t, name), args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-exited:
		case <-time.After(10 * time.Second):
			t.Errorf("%s did not stop within 10 s of SIGTERM", name)
			_ = cmd.Process.Kill()
			<-exited
		}
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(p.dir, "error.log"))
			t.Logf("%s says:\n%s%s", name, out, log)
		}
	})
	for _, addr := range []string{p.plain, p.tls} {
		p.eventually(name+" to listen", func() bool {
			select {
			case <-exited:
				log, _ := os.ReadFile(filepath.Join(p.dir, "error.log"))
				t.Fatalf("%s left:\n%s%s", name, out, log)
			default:
			}
			c, err := net.Dial("tcp", addr)
			if err != nil {
				return false
			}
			c.Close()
			return true
		})
	}
}

// certificate writes one for localhost, and its key, to dir/pem.
func (p *proxy) certificate() {
	t := p.t
	t.Helper()
	cert, key, err := testcert.New(1, "localhost")
	if err != nil {
		t.Fatal(err)
	}
	p.write("pem", string(cert)+string(key))
}

func (p *proxy) write(name, text string) string {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
	return path
}

func nginx(p *proxy, upstream string) {
	conf := "daemon off;\nworker_processes 1;\npid DIR/pid;\nerror_log DIR/error.log;\n"
	if os.Getuid() == 0 {
		conf += "user root root;\n" // else it could not reach a socket of ours
	}
	conf += "events {}\nhttp {\naccess_log off;\n"
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		conf += kind + "_temp_path DIR/" + kind + ";\n"
	}
	conf += `
upstream hostler {
    server UPSTREAM;
    keepalive 32;
    keepalive_timeout 60s;
}
server {
    listen PLAIN;
    listen TLS ssl;
    ssl_certificate DIR/pem;
    ssl_certificate_key DIR/pem;
    client_max_body_size 0;
    keepalive_requests 100000;
    location / {
        proxy_pass http://hostler;
        proxy_http_version 1.1;
        proxy_buffering off;
        proxy_request_buffering off;
        proxy_next_upstream off;
        proxy_set_header Connection "";
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
    }
}
}
`
	p.run("nginx", "-p", p.dir, "-c", p.write("nginx.conf", p.fill(conf, upstream)))
}

func apache(p *proxy, upstream string) {
	if socket, ok := strings.CutPrefix(upstream, "unix:"); ok {
		// Apache gives root's rights up, and must still reach the socket.
		for path, mode := range map[string]os.FileMode{filepath.Dir(filepath.Dir(socket)): 0o755, socket: 0o666} {
			if err := os.Chmod(path, mode); err != nil {
				p.t.Fatal(err)
			}
		}
		upstream = "unix:" + socket + "|http://localhost"
	} else {
		upstream = "http://" + upstream
	}
	conf := "ServerRoot DIR\nDefaultRuntimeDir DIR\nPidFile DIR/pid\nErrorLog DIR/error.log\nServerName localhost\n"
	for _, m := range []string{"mpm_event", "authz_core", "headers", "proxy", "proxy_http", "ssl", "socache_shmcb"} {
		conf += "LoadModule " + m + "_module /usr/lib/apache2/modules/mod_" + m + ".so\n"
	}
	if os.Getuid() == 0 {
		conf += "User www-data\nGroup www-data\n"
	}
	conf += `
StartServers 1
ServerLimit 2
ThreadsPerChild 32
MaxRequestWorkers 64
Listen PLAIN
Listen TLS
MaxKeepAliveRequests 0
ProxyPreserveHost On
RequestHeader set X-Forwarded-Proto expr=%{REQUEST_SCHEME}
ProxyPass / "UPSTREAM/" enablereuse=on flushpackets=on ttl=60 retry=0
<VirtualHost TLS>
    SSLEngine on
    SSLCertificateFile DIR/pem
    SSLCertificateKeyFile DIR/pem
</VirtualHost>
`
	p.run("apache2", "-d", p.dir, "-f", p.write("apache.conf", p.fill(conf, upstream)), "-DFOREGROUND")
}

func (p *proxy) fill(conf, upstream string) string {
	return strings.NewReplacer("DIR", p.dir, "PLAIN", p.plain, "TLS", p.tls, "UPSTREAM", upstream).Replace(conf)
}

// client connects from an address that is not the proxy's, so that the two can be
// told apart.
func (p *proxy) client() *http.Client {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		return d.DialContext(ctx, network, addr)
	}
	tr := &http.Transport{DialContext: dial, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableCompression: true}
	p.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second}
}

// origin asks the application who asks.
func (p *proxy) origin(url string, fields ...string) (int, map[string]string) {
	p.t.Helper()
	return p.originBy(p.client(), url, fields...)
}

// originBy is origin with a client.
func (p *proxy) originBy(client *http.Client, url string, fields ...string) (int, map[string]string) {
	t := p.t
	t.Helper()
	r, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "example.org"
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]string)
	if err := json.Unmarshal(b, &seen); err != nil && resp.StatusCode == 200 {
		t.Fatalf("%q: %v", b, err)
	}
	return resp.StatusCode, seen
}

func TestBehindProxies(t *testing.T) {
	for name, front := range map[string]func(*proxy, string){"nginx": nginx, "apache": apache} {
		for _, network := range []string{"tcp", "unix"} {
			t.Run(name+" over "+network, func(t *testing.T) {
				p := &proxy{dir: t.TempDir(), plain: fmt.Sprintf("127.0.0.1:%d", freePort(t)), tls: fmt.Sprintf("127.0.0.1:%d", freePort(t))}
				args := []string{"-w", "2", "--threads", "4", "--behind", "nginx", "--stream-uploads", "/upload", "proxied:app"}
				socket := filepath.Join(p.dir, "hostler.sock")
				if network == "unix" {
					args = append(args, "-b", "unix:"+socket)
				}
				p.server = start(t, args...)
				upstream := p.addr
				if network == "unix" {
					upstream = "unix:" + socket
				}
				p.certificate()
				front(p, upstream)
				p.checkOrigin()
				p.checkKeepAlive()
				p.checkUpload()
				p.checkStream()
				p.checkReload()
			})
		}
	}
}

// checkOrigin wants the application to see the client and not the proxy, whatever
// the client says of itself.
func (p *proxy) checkOrigin() {
	t := p.t
	t.Helper()
	lies := []string{"X-Forwarded-For", "6.6.6.6, 7.7.7.7", "X-Forwarded-Proto", "https", "Forwarded", "for=6.6.6.6;proto=https",
		"X-Forwarded-Prefix", "//evil.example", "X-Forwarded-Host", "evil.example"}
	for _, c := range []struct {
		url, scheme, https string
		fields             []string
	}{
		{"http://" + p.plain, "http", "", nil},
		{"https://" + p.tls, "https", "on", nil},
		{"http://" + p.plain, "http", "", lies},
	} {
		code, seen := p.origin(c.url+"/who?x=1", c.fields...)
		for k, want := range map[string]string{
			"REMOTE_ADDR": "127.0.0.2", "wsgi.url_scheme": c.scheme, "HTTPS": c.https, "HTTP_HOST": "example.org", "PATH_INFO": "/who", "SCRIPT_NAME": "",
		} {
			if seen[k] != want {
				t.Errorf("%s %q: %d, %s is %q, want %q", c.url, c.fields, code, k, seen[k], want)
			}
		}
	}
}

// checkKeepAlive wants the proxy to use its connections to hostler again.
func (p *proxy) checkKeepAlive() {
	p.t.Helper()
	before := p.metric("hostler_connections_accepted_total", "")
	c := p.client()
	for range 60 {
		r, err := c.Get("http://" + p.plain + "/")
		if err != nil {
			p.t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		r.Body.Close()
		if r.StatusCode != 200 {
			p.t.Errorf("status %d", r.StatusCode)
		}
	}
	if n := p.metric("hostler_connections_accepted_total", "") - before; n > 6 {
		p.t.Errorf("60 requests took %v connections", n)
	}
}

func (p *proxy) checkUpload() {
	t := p.t
	t.Helper()
	body := filler(5_000_000)
	for _, kind := range []string{"sized", "chunked"} {
		called := filepath.Join(os.TempDir(), fmt.Sprintf("hostler-e2e-%d-%s", os.Getpid(), filepath.Base(p.plain)+kind))
		t.Cleanup(func() { os.Remove(called) })
		r, w := io.Pipe()
		go func() {
			_, _ = io.WriteString(w, body[:2_500_000])
			// The rest is sent when the application has been called, so it comes
			// here only if nobody waits for the whole body first.
			for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
				if _, err := os.Stat(called); err == nil {
					_, _ = io.WriteString(w, body[2_500_000:])
					w.Close()
					return
				}
			}
			w.CloseWithError(fmt.Errorf("the application is not called before the body is whole"))
		}()
		req, err := http.NewRequest("POST", "http://"+p.plain+"/upload?"+called, r)
		if err != nil {
			t.Fatal(err)
		}
		if kind == "sized" {
			req.ContentLength = int64(len(body))
		}
		resp, err := p.client().Do(req)
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != 200 || string(b) != digestOf(body) {
			t.Errorf("%s: %s %.100q, %v", kind, resp.Status, b, err)
		}
	}
}

func (p *proxy) checkStream() {
	t := p.t
	t.Helper()
	taken := filepath.Join(p.dir, "taken")
	r, err := p.client().Get("http://" + p.plain + "/stream?" + taken)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b := make([]byte, len("first\n"))
	if _, err := io.ReadFull(r.Body, b); err != nil || string(b) != "first\n" {
		t.Errorf("the first piece: %q, %v", b, err)
	}
	p.write("taken", "")
	if rest, err := io.ReadAll(r.Body); err != nil || string(rest) != "second\n" {
		t.Errorf("the second piece: %q, %v", rest, err)
	}
}

// checkReload reloads under load through the proxy, which is told not to try again.
func (p *proxy) checkReload() {
	p.t.Helper()
	_, before := p.origin("http://" + p.plain + "/")
	through := &server{t: p.t, addr: p.plain}
	stop := make(chan struct{})
	result := through.load(12, "/", stop)
	for i := range 4 {
		time.Sleep(200 * time.Millisecond)
		p.signal(syscall.SIGHUP)
		p.waitLog("msg=reloaded", i+1)
	}
	time.Sleep(200 * time.Millisecond)
	close(stop)
	(<-result).check(p.t, 300)
	if _, after := p.origin("http://" + p.plain + "/"); after["pid"] == before["pid"] {
		p.t.Error("the same worker after four reloads")
	}
}

// TestHAProxy lets the PROXY protocol's own implementation speak it: both versions,
// over TCP and a unix socket, health checks included, and over a reload.
func TestHAProxy(t *testing.T) {
	local := func() string { return fmt.Sprintf("127.0.0.1:%d", freePort(t)) }
	p := &proxy{dir: t.TempDir(), plain: local(), tls: local()}
	socket := filepath.Join(p.dir, "hostler.sock")
	p.server = start(t, "-w", "2", "--threads", "4", "--keep-alive", "75", "-b", "unix:"+socket,
		"--proxy-protocol", "auto", "--proxy-allow-ips", "127.0.0.1,unix", "proxied:app")
	conf := "defaults\nmode tcp\ntimeout connect 5s\ntimeout client 30s\ntimeout server 30s\noption httpchk GET /health\n"
	fronts := map[string]string{"v1 over TCP": p.plain, "v2 over TCP": local(), "v1 over unix": local(), "v2 over unix": p.tls}
	for name, front := range fronts {
		version, network, _ := strings.Cut(name, " over ")
		send, upstream := "send-proxy", p.addr
		if version == "v2" {
			send = "send-proxy-v2"
		}
		if network == "unix" {
			upstream = socket
		}
		conf += fmt.Sprintf("listen %s\nbind %s\nserver s %s %s check inter 200ms fall 1\n", strings.ReplaceAll(name, " ", "-"), front, upstream, send)
	}
	p.run("haproxy", "-db", "-f", p.write("haproxy.conf", conf))
	time.Sleep(time.Second) // health checks have had their say
	check := func() {
		t.Helper()
		for name, front := range fronts {
			_, seen := p.origin("http://"+front+"/", "X-Forwarded-For", "6.6.6.6", "X-Forwarded-Proto", "https")
			if seen["REMOTE_ADDR"] != "127.0.0.2" || seen["wsgi.url_scheme"] != "http" {
				t.Errorf("%s: %v", name, seen)
			}
		}
	}
	check()
	stop := make(chan struct{})
	var results []<-chan loadResult
	for _, front := range fronts {
		through := &server{t: t, addr: front}
		results = append(results, through.load(3, "/", stop))
	}
	for i := range 3 {
		time.Sleep(200 * time.Millisecond)
		s := p.server
		s.signal(syscall.SIGHUP)
		s.waitLog("msg=reloaded", i+1)
	}
	time.Sleep(200 * time.Millisecond)
	close(stop)
	for _, r := range results {
		(<-r).check(t, 50)
	}
	check()
	if n := p.metric("hostler_rejected_requests_total", ""); n != 0 {
		t.Errorf("%v requests were refused", n)
	}
}

// TestForwardedEnviron says what becomes of each field.
func TestForwardedEnviron(t *testing.T) {
	s := start(t, "--forwarded-headers", "for,proto,host,prefix,forwarded", "proxied:app")
	for _, c := range []struct {
		target, fields string
		want           string // keys and values
	}{
		{"/a", "", "REMOTE_ADDR=127.0.0.1 wsgi.url_scheme=http HTTP_HOST=a SERVER_NAME=127.0.0.1 SCRIPT_NAME= PATH_INFO=/a"},
		{"/a", "X-Forwarded-For: 9.9.9.9:81\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\nX-Forwarded-Prefix: /shop\r\n",
			"REMOTE_ADDR=9.9.9.9 REMOTE_PORT=81 wsgi.url_scheme=https HTTPS=on HTTP_HOST=shop.example SERVER_NAME=shop.example SERVER_PORT=443 SCRIPT_NAME=/shop PATH_INFO=/a"},
		{"/shop/a", "X-Forwarded-Prefix: /shop/\r\nX-Forwarded-Host: [::1]:81\r\n",
			"wsgi.url_scheme=http HTTPS= HTTP_HOST=[::1]:81 SERVER_NAME=[::1] SERVER_PORT=81 SCRIPT_NAME=/shop PATH_INFO=/a"},
		{"/shop", "X-Forwarded-Prefix: /shop\r\nX-Forwarded-Host: b\r\n", "HTTP_HOST=b SERVER_PORT=80 SCRIPT_NAME=/shop PATH_INFO="},
		{"/shopping", "X-Forwarded-Prefix: /shop\r\n", "SCRIPT_NAME=/shop PATH_INFO=/shopping"},
		{"/a", "Forwarded: for=\"[2001:db8::1]:7\";proto=https;host=\"b:82\"\r\n",
			"REMOTE_ADDR=2001:db8::1 REMOTE_PORT=7 wsgi.url_scheme=https HTTP_HOST=b:82 SERVER_NAME=b SERVER_PORT=82"},
	} {
		_, body, _ := strings.Cut(s.raw("GET "+c.target+" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"+c.fields+"\r\n"), "\r\n\r\n")
		seen := make(map[string]string)
		if err := json.Unmarshal([]byte(body), &seen); err != nil {
			t.Errorf("%q: %q, %v", c.fields, body, err)
		}
		for pair := range strings.FieldsSeq(c.want) {
			if k, v, _ := strings.Cut(pair, "="); seen[k] != v {
				t.Errorf("%s %q: %s is %q, want %q", c.target, c.fields, k, seen[k], v)
			}
		}
	}
	for fields, reason := range map[string]string{
		"X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n":        "forwarded_mismatch",
		"X-Forwarded-For: 9.9.9.9\r\nForwarded: for=\"8.8.8.8\"\r\n":     "forwarded_mismatch",
		"X-Forwarded-For: <script>\r\n":                                  "bad_forwarded",
		"X-Forwarded-Prefix: //evil.example\r\nX-Forwarded-For: ::1\r\n": "bad_forwarded",
	} {
		before := s.metric("hostler_rejected_requests_total", `reason="`+reason+`"`)
		if out := s.raw("GET / HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n"); !strings.HasPrefix(out, "HTTP/1.1 400 ") || strings.Contains(out, "evil") || strings.Contains(out, "script") {
			t.Errorf("%q: %q", fields, out)
		}
		if n := s.metric("hostler_rejected_requests_total", `reason="`+reason+`"`) - before; n != 1 {
			t.Errorf("%q: %s is counted %v times", fields, reason, n)
		}
	}
}

func TestProxyProtocol(t *testing.T) {
	log := filepath.Join(t.TempDir(), "access")
	s := start(t, "-w", "2", "--proxy-protocol", "auto", "--access-log", log, "proxied:app")
	const v1 = "PROXY TCP4 203.0.113.9 10.0.0.1 4711 80\r\n"
	const v2 = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x0a\x0a\x00\x00\x01\x12\x67\x00\x50"
	var kept []*wire
	for header, addr := range map[string]string{v1: "203.0.113.9", v2: "203.0.113.10"} {
		c := s.dial()
		c.send(header[:7])
		time.Sleep(20 * time.Millisecond)
		c.send(header[7:], getLine("/"))
		if _, b := c.answer("GET"); !strings.Contains(b, `"`+addr+`"`) || !strings.Contains(b, `"4711"`) {
			t.Errorf("%q: %s", header, b)
		}
		kept = append(kept, c)
	}
	s.signal(syscall.SIGHUP) // they move to another worker, and keep their address
	s.waitLog("cause=reload", 2)
	for _, c := range kept {
		c.send(getLine("/"))
		if _, b := c.answer("GET"); !strings.Contains(b, `"203.0.113.`) {
			t.Errorf("after the reload: %s", b)
		}
		c.send(v1)
		if r, _ := c.answer("GET"); r.StatusCode != 400 {
			t.Errorf("a header between requests: %s", r.Status)
		}
	}
	for sent, reason := range map[string]string{getLine("/"): "missing_proxy_header", "PROXY TCP4 x y 1 2\r\n": "bad_proxy_header"} {
		c := s.dial()
		c.send(sent)
		if b, _ := io.ReadAll(c.r); len(b) > 0 {
			t.Errorf("%q is answered: %q", sent, b)
		}
		s.eventually(reason, func() bool { return s.metric("hostler_rejected_requests_total", `reason="`+reason+`"`) == 1 })
	}
	s.eventually("four lines of the access log that name the clients", func() bool {
		b, err := os.ReadFile(log)
		return err == nil && strings.Count("\n"+string(b), "\n203.0.113.") >= 4
	})
}
