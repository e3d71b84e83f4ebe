package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The tests of this file have real frameworks and applications from a venv of their
// own (scripts/requirements-apps.txt).

// appsPython is the interpreter of that venv.
func appsPython(t *testing.T) string {
	t.Helper()
	p, err := filepath.Abs("../build/apps/bin/python")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(p); err != nil {
		t.Fatal("build/apps is missing: run make tools")
	}
	return p
}

// startReal serves an application of apps/real.
func startReal(t *testing.T, args ...string) *server {
	t.Helper()
	return start(t, append([]string{"--python", appsPython(t), "--chdir", filepath.Join(apps, "real")}, args...)...)
}

// caller reaches an application by some way.
type caller struct {
	name   string
	origin string // scheme and authority, as the application has to see them
	http   *http.Client
	sized  bool // forms have a Content-Length
}

// newCaller returns a client that connects to dial, whatever a URL says. It takes no
// redirect by itself.
func newCaller(t *testing.T, name, origin string, p *http.Protocols, network, addr string) *caller {
	tr := &http.Transport{Protocols: p, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		}}
	t.Cleanup(tr.CloseIdleConnections)
	return &caller{name: name, origin: origin, http: &http.Client{Transport: tr, Timeout: 60 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

func protocols(h2 bool) *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(!h2)
	p.SetHTTP2(h2)
	return p
}

// ask returns the status, header and body of an answer.
func (c *caller) ask(t *testing.T, method, path, kind string, body io.Reader, fields ...string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequest(method, c.origin+path, body)
	if err != nil {
		t.Fatal(err)
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	for i := 0; i+1 < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	r, err := c.http.Do(req)
	if err != nil {
		t.Fatalf("%s: %s %s: %v", c.name, method, path, err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatalf("%s: %s %s: %v", c.name, method, path, err)
	}
	return r.StatusCode, r.Header, string(b)
}

// want asks, and wants a 200 with this body.
func (c *caller) want(t *testing.T, want, method, path, kind string, body io.Reader) {
	t.Helper()
	if status, _, b := c.ask(t, method, path, kind, body); status != 200 || b != want {
		t.Errorf("%s: %s %s: %d %.200q, want %.200q", c.name, method, path, status, b, want)
	}
}

// unsized hides how long a body is, so that it goes in chunks.
type unsized struct{ io.Reader }

// form is a form's body without its length, if the application takes that.
func (c *caller) form(body io.Reader) io.Reader {
	if c.sized {
		return body
	}
	return unsized{body}
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// multipartFile is a form with a file in it.
func multipartFile(t *testing.T, name, content string) (kind string, body *bytes.Buffer) {
	t.Helper()
	body = new(bytes.Buffer)
	m := multipart.NewWriter(body)
	_ = m.WriteField("comment", "a file follows")
	w, err := m.CreateFormFile("file", name)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(w, content)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	return m.FormDataContentType(), body
}

// exercise asks an application for all that a framework does with a request.
func (c *caller) exercise(t *testing.T, file string) {
	t.Helper()
	c.want(t, "hello", "GET", "/hello", "", nil)
	c.want(t, "", "HEAD", "/hello", "", nil)
	const formKind = "application/x-www-form-urlencoded"
	form := url.Values{"message": {"héllo & more"}}.Encode()
	c.want(t, "got héllo & more", "POST", "/form", formKind, strings.NewReader(form))
	c.want(t, "got héllo & more", "POST", "/form", formKind, c.form(strings.NewReader(form)))
	large := strings.Repeat("0123456789abcde\n", 200_000) // 3.2 MB
	for _, size := range []int{0, 30_000, len(large)} {
		c.want(t, digest(large[:size]), "POST", "/raw", "application/octet-stream", unsized{strings.NewReader(large[:size])})
	}
	c.want(t, digest(large[:900_000]), "POST", "/raw", "application/octet-stream", strings.NewReader(large[:900_000]))
	kind, upload := multipartFile(t, "large file.bin", large)
	c.want(t, "large file.bin "+digest(large), "POST", "/upload", kind, upload)
	kind, upload = multipartFile(t, "file.bin", large[:900_000])
	c.want(t, "file.bin "+digest(large[:900_000]), "POST", "/upload", kind, c.form(upload))
	if status, _, b := c.ask(t, "GET", "/stream", "", nil); status != 200 || strings.Count(b, "row ") != 1000 || !strings.HasSuffix(b, "row 999\n") {
		t.Errorf("%s: stream: %d, %d bytes", c.name, status, len(b))
	}
	if status, _, b := c.ask(t, "GET", "/boom", "", nil); status != 500 || strings.Contains(b, "Traceback") {
		t.Errorf("%s: an exception: %d %q", c.name, status, b)
	}
	c.http.Jar, _ = cookiejar.New(nil)
	for i := range 3 {
		c.want(t, fmt.Sprintf("%d times", i+1), "GET", "/count", "", nil)
	}
	c.http.Jar = nil
	status, h, _ := c.ask(t, "GET", "/redirect", "", nil)
	if to := h.Get("Location"); status/100 != 3 || to != c.origin+"/hello" {
		t.Errorf("%s: redirected with %d to %q, want %s/hello", c.name, status, to, c.origin)
	}
	c.want(t, file, "GET", "/static/file.bin", "", nil)
	if status, _, b := c.ask(t, "GET", "/static/nowhere.bin", "", nil); status != 404 && status != 500 {
		t.Errorf("%s: a file that is not there: %d %q", c.name, status, b)
	}
}

// TestFrameworks serves the same small application by each framework, to clients of
// every kind.
func TestFrameworks(t *testing.T) {
	files := t.TempDir()
	file := strings.Repeat("a file\n", 100_000)
	if err := os.WriteFile(filepath.Join(files, "file.bin"), []byte(file), 0o644); err != nil {
		t.Fatal(err)
	}
	cert := newPair(t, files, "localhost", 1)
	for _, name := range []string{"flask", "django", "bottle", "falcon", "pyramid", "cherrypy"} {
		t.Run(name, func(t *testing.T) {
			front := &proxy{dir: t.TempDir(), plain: fmt.Sprintf("127.0.0.1:%d", freePort(t)), tls: fmt.Sprintf("127.0.0.1:%d", freePort(t))}
			socket := filepath.Join(front.dir, "hostler.sock")
			common := []string{"--threads", "2", "-e", "FILES=" + files, name + "app:app"}
			plain := startReal(t, append([]string{"-b", "unix:" + socket}, common...)...)
			secure := startReal(t, append(cert.args(), common...)...)
			front.server = plain
			front.certificate()
			nginx(front, "unix:"+socket)
			h1 := protocols(false)
			for _, c := range []*caller{
				newCaller(t, "TCP", "http://shop.example:8080", h1, "tcp", plain.addr),
				newCaller(t, "unix socket", "http://shop.example", h1, "unix", socket),
				newCaller(t, "TLS", "https://"+secure.addr, h1, "tcp", secure.addr),
				newCaller(t, "TLS, HTTP/2", "https://"+secure.addr, protocols(true), "tcp", secure.addr),
				newCaller(t, "nginx", "https://"+front.tls, h1, "tcp", front.tls),
			} {
				c.exercise(t, file)
			}
			for _, s := range []*server{plain, secure} {
				if n := s.metric("hostler_app_violations_total", ""); n != 0 {
					t.Errorf("%v violations of PEP 3333 are counted", n)
				}
			}
		})
	}
}
