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
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// site is a file of deploy/ with other addresses and paths in it: each of old has to be there,
// once, in pairs with what stands for it.
func (p *proxy) site(file string, old ...string) string {
	t := p.t
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../deploy", file))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(old); i += 2 {
		if n := strings.Count(string(b), old[i]); n != 1 {
			t.Fatalf("%s has %q %d times", file, old[i], n)
		}
	}
	return p.fill(strings.NewReplacer(old...).Replace(string(b)), "")
}

// shippedNginx runs nginx with the site of deploy/nginx.
func shippedNginx(p *proxy, upstream string) {
	const tcp, unix = "    server 127.0.0.1:8000;", "    # or: server unix:/run/hostler/hostler.sock;"
	places := []string{"\n    listen 80;", "\n    listen PLAIN;", "listen 443 ssl http2;", "listen TLS ssl http2;",
		"/etc/ssl/example.org.pem", "DIR/pem", "/etc/ssl/example.org.key", "DIR/pem"}
	if strings.HasPrefix(upstream, "unix:") {
		places = append(places, tcp, "", unix, "    server "+upstream+";")
	} else {
		places = append(places, tcp, "    server "+upstream+";")
	}
	conf := "daemon off;\nworker_processes 1;\npid DIR/pid;\nerror_log DIR/error.log;\n"
	if os.Getuid() == 0 {
		conf += "user root root;\n" // else it could not reach a socket of ours
	}
	conf += "events {}\nhttp {\naccess_log off;\n"
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		conf += kind + "_temp_path DIR/" + kind + ";\n"
	}
	conf = p.fill(conf, "") + p.site("nginx/hostler.conf", places...) + "}\n"
	p.run("nginx", "-p", p.dir, "-c", p.write("nginx.conf", conf))
}

// shippedApache runs Apache with the site of deploy/apache, and the modules that it names.
func shippedApache(p *proxy, upstream string) {
	const tcp, unix = `    ProxyPass / "http://127.0.0.1:8000/"`, `    # or: ProxyPass / "unix:/run/hostler/hostler.sock|`
	places := []string{"<VirtualHost *:80>", "<VirtualHost PLAIN>", "<VirtualHost *:443>", "<VirtualHost TLS>",
		"/etc/ssl/example.org.pem", "DIR/pem", "/etc/ssl/example.org.key", "DIR/pem"}
	if strings.HasPrefix(upstream, "unix:") {
		// Apache gives root's rights up, and must still reach the folder.
		if err := os.Chmod(filepath.Dir(p.dir), 0o755); err != nil {
			p.t.Fatal(err)
		}
		places = append(places, tcp, "    #", unix, `    ProxyPass / "`+upstream+"|")
	} else {
		places = append(places, tcp, `    ProxyPass / "http://`+upstream+`/"`)
	}
	text := p.site("apache/hostler.conf", places...)
	conf := "ServerRoot DIR\nDefaultRuntimeDir DIR\nPidFile DIR/pid\nErrorLog DIR/error.log\nServerName localhost\n"
	named := regexp.MustCompile(`a2enmod ([a-z0-9_ ]+)\.`).FindStringSubmatch(text)
	if named == nil {
		p.t.Fatal("the site names no modules")
	}
	// Those that Debian has without being told, and what ssl brings along.
	for _, m := range append([]string{"mpm_event", "authz_core", "alias", "socache_shmcb"}, strings.Fields(named[1])...) {
		conf += "LoadModule " + m + "_module /usr/lib/apache2/modules/mod_" + m + ".so\n"
	}
	if os.Getuid() == 0 {
		conf += "User www-data\nGroup www-data\n"
	}
	conf += "StartServers 1\nServerLimit 2\nThreadsPerChild 32\nMaxRequestWorkers 64\nListen PLAIN\nListen TLS\n"
	p.run("apache2", "-d", p.dir, "-f", p.write("apache.conf", p.fill(conf, "")+text), "-DFOREGROUND")
}

// TestDeployedProxies: the files of deploy/ do what they are for, but for addresses and paths as
// they are, in front of both kinds of applications.
func TestDeployedProxies(t *testing.T) {
	for name, front := range map[string]func(*proxy, string){"nginx": shippedNginx, "apache": shippedApache} {
		for _, kind := range []string{"wsgi", "asgi"} {
			t.Run(name+" "+kind, func(t *testing.T) {
				p := &proxy{dir: t.TempDir(), plain: fmt.Sprintf("127.0.0.1:%d", freePort(t)), tls: fmt.Sprintf("127.0.0.1:%d", freePort(t))}
				args := []string{"-w", "2", "--threads", "8", "--behind", "nginx", "--stream-uploads", "/upload", "deployed:" + kind}
				socket := filepath.Join(p.dir, "hostler.sock")
				if kind == "asgi" {
					args = append(args, "-b", "unix:"+socket)
				}
				p.server = start(t, args...)
				upstream := p.addr
				if kind == "asgi" {
					upstream = "unix:" + socket
				}
				p.certificate()
				front(p, upstream)
				p.checkRedirect()
				p.checkDeployedOrigin()
				p.checkSocket()
				for _, h2 := range []bool{false, true} {
					p.checkDeployedUpload(h2)
					p.checkDeployedStream(h2)
				}
				p.checkDeployedReload()
				if n := p.metric("hostler_rejected_requests_total", ""); n != 0 {
					t.Errorf("%v requests were refused", n)
				}
			})
		}
	}
}

// secure is a client of HTTPS that speaks one protocol, from another address than the proxy's.
func (p *proxy) secure(h2 bool) *http.Client {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	tr := &http.Transport{Protocols: protocols(h2), TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableCompression: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return d.DialContext(ctx, network, p.tls)
		}}
	p.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 60 * time.Second}
}

func (p *proxy) checkRedirect() {
	p.t.Helper()
	out := (&server{t: p.t, addr: p.plain}).raw("GET /a/b?c=d HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n\r\n")
	if !strings.HasPrefix(out, "HTTP/1.1 301 ") || !strings.Contains(out, "\r\nLocation: https://example.org/a/b?c=d\r\n") {
		p.t.Errorf("without TLS: %q", out)
	}
}

// checkDeployedOrigin: the application sees who the client is and how it came, whatever that
// says of itself.
func (p *proxy) checkDeployedOrigin() {
	t := p.t
	t.Helper()
	lies := []string{"X-Forwarded-For", "6.6.6.6, 7.7.7.7", "X-Forwarded-Proto", "http", "Forwarded", "for=6.6.6.6;proto=http",
		"X-Forwarded-Prefix", "/evil", "X-Forwarded-Host", "evil.example", "X-Forwarded-Ssl", "off"}
	for _, c := range []struct {
		h2     bool
		fields []string
	}{{false, nil}, {true, nil}, {false, lies}, {true, lies},
		// What Connection names is not for the next one: a proxy's own fields shall not go with it.
		{false, append([]string{"Connection", "X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host"}, lies...)},
	} {
		code, seen := p.originBy(p.secure(c.h2), "https://example.org/who?x=1", c.fields...)
		for k, want := range map[string]string{
			"REMOTE_ADDR": "127.0.0.2", "wsgi.url_scheme": "https", "HTTPS": "on", "HTTP_HOST": "example.org", "PATH_INFO": "/who", "SCRIPT_NAME": "",
		} {
			if seen[k] != want {
				t.Errorf("HTTP/2 %v, %q: %d, %s is %q, want %q", c.h2, c.fields, code, k, seen[k], want)
			}
		}
	}
}

// checkSocket: a WebSocket, from a client that is known, and a large message both ways.
func (p *proxy) checkSocket() {
	t := p.t
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	c, err := tls.DialWithDialer(&d, "tcp", p.tls, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	w := wsOpen(t, c, "/socket", "")
	if !w.accepted() {
		t.Fatalf("the handshake: %s", w.head.Status)
	}
	long := strings.Repeat("é", 200_000)
	w.want("1 127.0.0.2")
	w.say(0x81, "hello")
	w.say(0x81, long)
	w.want("1 hello", "1 "+long)
	w.say(0x88, "\x03\xe8")
	w.want("close 1000 ")
}

// checkDeployedUpload: a large body reaches the application while it is on its way.
func (p *proxy) checkDeployedUpload(h2 bool) {
	t := p.t
	t.Helper()
	body := filler(30_000_000)
	called := filepath.Join(t.TempDir(), "called")
	if err := os.Chmod(filepath.Dir(called), 0o777); err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	go func() {
		_, _ = io.WriteString(w, body[:len(body)/2])
		for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if _, err := os.Stat(called); err == nil {
				_, _ = io.WriteString(w, body[len(body)/2:])
				w.Close()
				return
			}
		}
		w.CloseWithError(fmt.Errorf("the application is not called before the body is whole"))
	}()
	req, err := http.NewRequest("POST", "https://example.org/upload?"+called, r)
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = int64(len(body))
	resp, err := p.secure(h2).Do(req)
	if err != nil {
		t.Errorf("HTTP/2 %v: %v", h2, err)
		return
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || string(b) != digestOf(body) || (resp.ProtoMajor == 2) != h2 {
		t.Errorf("HTTP/2 %v: %s %s %.100q, %v", h2, resp.Proto, resp.Status, b, err)
	}
}

// checkDeployedStream: what an application sends is with the client before it sends more.
func (p *proxy) checkDeployedStream(h2 bool) {
	t := p.t
	t.Helper()
	taken := filepath.Join(t.TempDir(), "taken")
	r, err := p.secure(h2).Get("https://example.org/stream?" + taken)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b := make([]byte, len("first\n"))
	if _, err := io.ReadFull(r.Body, b); err != nil || string(b) != "first\n" {
		t.Errorf("the first piece: %q, %v", b, err)
	}
	if err := os.WriteFile(taken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(r.Body); err != nil || string(rest) != "second\n" {
		t.Errorf("the second piece: %q, %v", rest, err)
	}
}

// checkDeployedReload: reloads under load, of clients of both protocols, and no error.
func (p *proxy) checkDeployedReload() {
	t := p.t
	t.Helper()
	var mu sync.Mutex
	var result loadResult
	enough := func(n int) {
		mu.Lock()
		was := result.ok
		mu.Unlock()
		p.eventually("answers", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return result.ok >= was+n || len(result.failures) > 0
		})
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 8 {
		c := p.secure(i%2 == 0)
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(2 * time.Millisecond):
				}
				r, err := c.Get("https://example.org/")
				if err == nil {
					_, err = io.Copy(io.Discard, r.Body)
					r.Body.Close()
					if err == nil && r.StatusCode != 200 {
						err = fmt.Errorf("%s", r.Status)
					}
				}
				mu.Lock()
				if err != nil {
					result.failures = append(result.failures, err.Error())
				} else {
					result.ok++
				}
				mu.Unlock()
			}
		})
	}
	for i := range 3 {
		enough(100)
		p.signal(syscall.SIGHUP)
		p.waitLog("msg=reloaded", i+1)
	}
	enough(100)
	close(stop)
	wg.Wait()
	result.check(t, 400)
}

// TestComposeHealth: what deploy/compose asks whether the server is well says so, and says when
// there is none.
func TestComposeHealth(t *testing.T) {
	text, err := os.ReadFile("../deploy/compose/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	const image, inside = "/srv/app/.venv/bin/hostler", "/tmp/hostler.sock"
	_, line, _ := strings.Cut(string(text), "      test: ")
	line, _, _ = strings.Cut(line, "\n")
	var command []string
	if err := json.Unmarshal([]byte(line), &command); err != nil || len(command) < 3 || command[0] != "CMD" || command[1] != image || !slices.Contains(command, inside) {
		t.Fatalf("the check is %s, %v", line, err)
	}
	socket := filepath.Join(t.TempDir(), "ctl")
	command[slices.Index(command, inside)] = socket
	s := start(t, "--ctl-socket", socket, "rules:app")
	if out, err := exec.Command(binary, command[2:]...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	s.stop()
	if out, err := exec.Command(binary, command[2:]...).CombinedOutput(); err == nil {
		t.Errorf("without a server: %s", out)
	}
}
