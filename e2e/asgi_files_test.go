package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// filesText is what the large file of apps/asgi/files.py has.
func filesText() string {
	var b strings.Builder
	for i := range 100000 {
		fmt.Fprintf(&b, "%07d\n", i)
	}
	return b.String()
}

// forCallers runs a test by each way to come: over HTTP/1.1, TLS, HTTP/2, and with uvloop.
func forCallers(t *testing.T, f func(t *testing.T, c *caller), args ...string) {
	t.Helper()
	cert := newPair(t, t.TempDir(), "localhost", 1)
	plain, secure := startASGI(t, args...), startASGI(t, append(append([]string{"--loop", "uvloop"}, cert.args()...), args...)...)
	for _, c := range []*caller{
		newCaller(t, "TCP", "http://"+plain.addr, protocols(false), "tcp", plain.addr),
		newCaller(t, "TLS", "https://"+secure.addr, protocols(false), "tcp", secure.addr),
		newCaller(t, "HTTP2", "https://"+secure.addr, protocols(true), "tcp", secure.addr),
	} {
		t.Run(c.name, func(t *testing.T) { f(t, c) })
	}
}

// TestASGIFiles sends files, whole and in parts, with a length and without, before and
// after the head has left.
func TestASGIFiles(t *testing.T) {
	text := filesText()
	parts := "a:" + text[80:96] + ":" + text[160:176]
	forCallers(t, func(t *testing.T, c *caller) {
		if _, _, b := c.ask(t, "GET", "/extensions", "", nil); !strings.HasPrefix(b, "http.response.early_hint http.response.pathsend http.response.trailers http.response.zerocopysend") {
			t.Errorf("extensions: %s", b)
		}
		for _, how := range []string{"", "late"} {
			for path, want := range map[string]string{"/path/big": text, "/path/empty": "", "/path/hole": strings.Repeat("\x00", 300000),
				"/path/dir": "IsADirectoryError", "/path/missing": "FileNotFoundError", "/part/": parts, "/rest/": text[8:],
				"/wrong/": "OSError OSError TypeError ValueError TypeError ValueError"} {
				if status, _, b := c.ask(t, "GET", path+"?"+how, "", nil); status != 200 || b != want {
					t.Errorf("%s %s: %d, %d bytes %.60q, want %d", path, how, status, len(b), b, len(want))
				}
			}
			if _, _, b := c.ask(t, "GET", "/path/proc?"+how, "", nil); !strings.HasPrefix(b, "Linux version") {
				t.Errorf("/proc: %q", b)
			}
		}
		for path, want := range map[string]string{"/path/big": text, "/part/": parts, "/rest/": text[8:]} {
			for _, how := range []string{"length", "length,late"} {
				if _, h, b := c.ask(t, "GET", path+"?"+how, "", nil); b != want || h.Get("Content-Length") != strconv.Itoa(len(want)) {
					t.Errorf("%s %s: %d bytes, %v", path, how, len(b), h)
				}
			}
			if _, _, b := c.ask(t, "HEAD", path+"?length", "", nil); b != "" {
				t.Errorf("HEAD %s: %d bytes", path, len(b))
			}
		}
	}, "files:app")
}

// TestASGIFilesOld has a client of HTTP/1.0 take a file of which it is told no length.
func TestASGIFilesOld(t *testing.T) {
	s := startASGI(t, "files:app")
	_, b, _ := strings.Cut(s.raw("GET /path/big?late HTTP/1.0\r\n\r\n"), "\r\n\r\n")
	if b != filesText() {
		t.Errorf("%d bytes", len(b))
	}
}

// TestASGIFilesBound sends a gigabyte whose length is not known, and a client that does not
// read makes the next part of a file wait: neither is a matter of memory or descriptors.
func TestASGIFilesBound(t *testing.T) {
	forCallers(t, func(t *testing.T, c *caller) {
		_, _, b := c.ask(t, "GET", "/memory/", "", nil)
		before, _ := strconv.Atoi(b)
		r, err := c.http.Get(c.origin + "/path/huge?late")
		if err != nil {
			t.Fatal(err)
		}
		if c.name == "TCP" { // the others have to encrypt it
			if n, err := io.Copy(io.Discard, r.Body); n != 1<<30 || err != nil {
				t.Errorf("%d bytes, %v", n, err)
			}
		}
		r.Body.Close()
		r, err = c.http.Get(c.origin + "/many/?late")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		n, open := 0, 0
		for end := time.Now().Add(15 * time.Second); n == 0 && open == 0 && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			_, _, b = c.ask(t, "GET", "/seen/", "", nil)
			_, _ = fmt.Sscanf(b, "%d parts, %d descriptors", &n, &open)
		}
		if open == 0 || open > 60 || n > 100 {
			t.Errorf("%d parts are under way, with %d descriptors", n, open)
		}
		_, _, b = c.ask(t, "GET", "/memory/", "", nil)
		if after, _ := strconv.Atoi(b); after-before > 64<<10 {
			t.Errorf("%d kB more of memory", after-before)
		}
	}, "files:app")
}

// TestASGITrailers sends fields behind the body to who asks for them, and to nobody else.
func TestASGITrailers(t *testing.T) {
	forCallers(t, func(t *testing.T, c *caller) {
		for path, want := range map[string]string{"/trailers/whole": "two", "/trailers/parts": "one two", "/trailers/empty": "", "/trailers/file": "0000000\n"} {
			for _, te := range []string{"trailers", ""} {
				req, _ := http.NewRequest("GET", c.origin+path, nil)
				if te != "" {
					req.Header.Set("TE", te)
				}
				r, err := c.http.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				_, announced := r.Trailer["X-Sum"]
				b, err := io.ReadAll(r.Body)
				r.Body.Close()
				if string(b) != want || err != nil {
					t.Errorf("%s: %q, %v", path, b, err)
				}
				sum, more := r.Trailer.Get("X-Sum"), r.Trailer.Get("X-More")
				if te != "" && (sum != "3" || more != "yes" || !announced || r.Trailer.Get("Connection") != "") || te == "" && sum+more != "" {
					t.Errorf("%s, TE %q: trailers %v", path, te, r.Trailer)
				}
			}
		}
		req, _ := http.NewRequest("GET", c.origin+"/badtrailers/", nil)
		req.Header.Set("TE", "trailers")
		r, err := c.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		if b, err := io.ReadAll(r.Body); string(b) != "x" || err != nil || r.Trailer.Get("X-Names") != "RuntimeError ValueError" {
			t.Errorf("%q, %v, %v", b, err, r.Trailer)
		}
		c.want(t, "two", "GET", "/trailers/none", "", nil)
	}, "files:app")
}
