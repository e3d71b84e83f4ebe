package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// leaver begins a request of the probe's and goes away once it is told to.
type leaver struct {
	name string
	// begin returns what leaves; the response is read up to its head if headed.
	begin func(t *testing.T, p *probe, method, path string, body io.Reader, headed bool) (leave func())
}

// leavers are the ways in which a client goes.
func leavers() []leaver {
	raw := func(leave func(c *net.TCPConn)) func(*testing.T, *probe, string, string, io.Reader, bool) func() {
		return func(t *testing.T, p *probe, method, path string, body io.Reader, headed bool) func() {
			length := ""
			if body != nil {
				length = "Content-Length: 1000000\r\n"
			}
			c := p.ask(method + " " + path + " HTTP/1.1\r\nHost: a\r\n" + length + "\r\n").(*net.TCPConn)
			if body != nil {
				_, _ = io.Copy(c, io.LimitReader(body, 5000))
			}
			if headed {
				until(t, bufio.NewReader(c), "")
			}
			return func() { leave(c) }
		}
	}
	viaClient := func(h2 bool) func(*testing.T, *probe, string, string, io.Reader, bool) func() {
		return func(t *testing.T, p *probe, method, path string, body io.Reader, headed bool) func() {
			ctx, cancel := context.WithCancel(context.Background())
			t.Cleanup(cancel)
			tr := &http.Transport{Protocols: protocols(h2), TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
			t.Cleanup(tr.CloseIdleConnections)
			req, _ := http.NewRequestWithContext(ctx, method, "https://"+p.addr+path, body)
			if h2 { // another stream keeps the connection
				other, err := tr.RoundTrip(httpGet("https://" + p.addr + "/listening"))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { other.Body.Close() })
			}
			began := make(chan error, 1)
			go func() {
				r, err := tr.RoundTrip(req)
				if err == nil {
					t.Cleanup(func() { r.Body.Close() })
				}
				began <- err
			}()
			if headed {
				if err := <-began; err != nil {
					t.Fatal(err)
				}
			}
			return cancel
		}
	}
	return []leaver{
		{"closed", raw(func(c *net.TCPConn) { c.Close() })},
		{"half-closed", raw(func(c *net.TCPConn) { _ = c.CloseWrite() })},
		{"reset", raw(func(c *net.TCPConn) { _ = c.SetLinger(0); c.Close() })},
		{"TLS", viaClient(false)},
		{"RST_STREAM", viaClient(true)},
	}
}

func httpGet(url string) *http.Request {
	req, _ := http.NewRequest("GET", url, nil)
	return req
}

// forLeavers runs a test of one probe for each way to leave, on each loop.
func forLeavers(t *testing.T, f func(t *testing.T, p *probe, how leaver), args ...string) {
	cert := newPair(t, t.TempDir(), "localhost", 1)
	for _, loop := range loops {
		for _, how := range leavers() {
			if loop != loops[0] && how.name != "closed" && how.name != "RST_STREAM" {
				continue
			}
			if asgiPeer != "" && how.name == "RST_STREAM" {
				continue
			}
			t.Run(loop+"/"+how.name, func(t *testing.T) {
				all := append([]string{"--loop", loop}, args...)
				if how.name == "TLS" || how.name == "RST_STREAM" {
					all = append(all, cert.args()...)
				}
				f(t, startProbe(t, all...), how)
			})
		}
	}
}

// TestASGIDisconnect has clients leave at every stage of a request, in every way: an
// application that listens is told, one that sends gets an OSError, one that does
// neither is cancelled, and work after the last byte goes on.
func TestASGIDisconnect(t *testing.T) {
	forLeavers(t, func(t *testing.T, p *probe, how leaver) {
		stages := []struct {
			path    string
			body    io.Reader
			headed  bool
			begun   string
			outcome func()
		}{
			{"/wait", nil, false, "waiting", func() { p.await("disconnect") }},
			{"/later", nil, false, "waiting", func() {
				p.await("disconnect")
				p.await("disconnect again")
				wantOSError(t, p, "send")
			}},
			{"/upload", dripping{}, false, "upload begun", func() {
				if n := p.await("upload disconnect"); n.number("got") == 0 {
					t.Errorf("upload: %v", n)
				}
			}},
			{"/listening", nil, true, "", func() { p.await("stream disconnect") }},
			{"/sending", nil, true, "", func() {
				wantOSError(t, p, "stream send")
			}},
			{"/silent", nil, true, "", func() {
				if n := p.await("silent cancelled"); n.string("error") != "CancelledError" {
					t.Errorf("silent: %v", n)
				}
			}},
			{"/background", nil, true, "background begun", func() { p.await("background done") }},
		}
		for _, s := range stages {
			method := "GET"
			if s.body != nil {
				method = "POST"
			}
			seen := len(p.noted(s.begun))
			leave := how.begin(t, p, method, s.path, s.body, s.headed)
			if s.begun != "" {
				p.await(s.begun, seen+1)
			}
			leave()
			s.outcome()
			if t.Failed() {
				t.Fatalf("%s: %v", s.path, p.noted(""))
			}
		}
		if n := p.noted("background"); n != nil {
			t.Errorf("background work was disturbed: %v", n)
		}
		if strings.Contains(p.log.String(), "Traceback") {
			t.Error("that a client left is in the log as an exception")
		}
	}, "--disconnect-grace", "1")
}

// TestASGIHalfClosed answers clients that end their own direction with their request, and
// read then: a whole answer, and one of a known length, however long that takes.
func TestASGIHalfClosed(t *testing.T) {
	p := startProbe(t, "--disconnect-grace", "0.5")
	for path, want := range map[string]string{"/slow?0.7": "slow", "/download": strings.Repeat("ab", 10), "/headers": "made"} {
		for _, version := range []string{"1.0", "1.1"} {
			c := p.ask("GET " + path + " HTTP/" + version + "\r\nHost: a\r\nConnection: close\r\n\r\n").(*net.TCPConn)
			_ = c.CloseWrite()
			b, err := io.ReadAll(c)
			if _, got, _ := strings.Cut(string(b), "\r\n\r\n"); got != want || err != nil {
				t.Errorf("%s: %q, %v, to a client that has ended its direction", path, b, err)
			}
		}
	}
}

// dripping is a body that has no end.
type dripping struct{}

func (dripping) Read(p []byte) (int, error) {
	time.Sleep(5 * time.Millisecond)
	return copy(p, strings.Repeat("x", 1000)), nil
}

func wantOSError(t *testing.T, p *probe, event string) {
	t.Helper()
	if n := p.await(event); !n.is("OSError") {
		t.Errorf("%s after the client has gone: %v", event, n)
	}
}

// TestASGIDisconnectSoon tells within milliseconds, also while the loop has nothing
// else to do.
func TestASGIDisconnectSoon(t *testing.T) {
	for _, loop := range loops {
		p := startProbe(t, "--loop", loop)
		best := time.Hour
		for i := range 10 {
			c := p.ask(getHead("/wait"))
			p.await("waiting", i+1)
			time.Sleep(20 * time.Millisecond)
			left := time.Now()
			c.Close()
			at := p.await("disconnect", i+1)["at"].(float64)
			best = min(best, time.UnixMicro(int64(at*1e6)).Sub(left))
		}
		if best > 5*time.Millisecond { // the best of them: the machine may be busy
			t.Errorf("%s: a disconnect is told after %v", loop, best)
		}
	}
}

// TestASGIGraceNone cancels a silent stream at once.
func TestASGIGraceNone(t *testing.T) {
	p := startProbe(t, "--disconnect-grace", "0")
	c := p.ask(getHead("/silent"))
	until(t, bufio.NewReader(c), "begun")
	c.Close()
	if n := p.await("silent cancelled"); n.string("error") != "CancelledError" {
		t.Error(n)
	}
}

// TestASGIBackPressure has send() wait for a client that does not read, before more
// than a megabyte beyond the sockets' buffers has been taken.
func TestASGIBackPressure(t *testing.T) {
	for _, loop := range loops {
		p := startProbe(t, "--loop", loop)
		c := p.ask(getHead("/flood"))
		n := p.await("flood waits")
		const most = 1<<20 + 8<<20 // what the two sockets of loopback may hold
		if sent := n.number("sent"); sent > most {
			t.Errorf("%s: %d bytes taken", loop, sent)
		}
		c.Close()
		// And one that begins to read gets it all.
		s := p.ask("GET /flood HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		got, err := io.Copy(io.Discard, s)
		if err != nil || got < 3200<<16 {
			t.Errorf("%s: a reader got %d bytes, %v", loop, got, err)
		}
	}
}

// TestASGIDeaf has the client wait, before much is taken of a body that nobody receives.
func TestASGIDeaf(t *testing.T) {
	p := startProbe(t)
	const size = 64 << 20
	c := p.ask(fmt.Sprintf("POST /deaf HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", size))
	var sent atomic.Int64
	go func() {
		piece := make([]byte, 1<<16)
		for sent.Load() < size {
			n, err := c.Write(piece)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	}()
	p.await("deaf")
	time.Sleep(2 * time.Second) // it sleeps three
	if n := sent.Load(); n > 1<<20+16<<20 {
		t.Errorf("%d bytes of a body that nobody receives were taken", n)
	}
	if b, _ := io.ReadAll(c); !strings.HasSuffix(string(b), fmt.Sprint(size)) && !strings.Contains(string(b), fmt.Sprintf("\r\n%d\r\n", size)) {
		t.Errorf("answered %q", b)
	}
}

// TestASGIDuplex answers each piece of a body before the next is sent.
func TestASGIDuplex(t *testing.T) {
	cert := newPair(t, t.TempDir(), "localhost", 1)
	plain, secure := startProbe(t), startProbe(t, cert.args()...)
	for _, c := range []*caller{
		newCaller(t, "TCP", "http://"+plain.addr, protocols(false), "tcp", plain.addr),
		newCaller(t, "TLS", "https://"+secure.addr, protocols(false), "tcp", secure.addr),
		newCaller(t, "HTTP/2", "https://"+secure.addr, protocols(true), "tcp", secure.addr),
	} {
		if asgiPeer != "" && c.name == "HTTP/2" {
			continue
		}
		r, w := io.Pipe()
		req, _ := http.NewRequest("POST", c.origin+"/duplex", r)
		got := make(chan *http.Response, 1)
		go func() {
			resp, err := c.http.Do(req)
			if err != nil {
				t.Error(c.name, err)
			}
			got <- resp
		}()
		_, _ = io.WriteString(w, "one\n")
		resp := <-got
		if resp == nil {
			return
		}
		lines := bufio.NewReader(resp.Body)
		for _, word := range []string{"one", "two", "three"} {
			if word != "one" {
				_, _ = io.WriteString(w, word+"\n")
			}
			until(t, lines, strings.ToUpper(word))
		}
		w.Close()
		if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
			t.Errorf("%s: the end: %q, %v", c.name, rest, err)
		}
		resp.Body.Close()
	}
}

// TestASGIContinue asks the client to go on when the application asks for the body.
func TestASGIContinue(t *testing.T) {
	p := startProbe(t)
	c := p.ask("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
	r := bufio.NewReader(c)
	until(t, r, "HTTP/1.1 100 Continue")
	_, _ = io.WriteString(c, "abc")
	until(t, r, "HTTP/1.1 200 OK")
	if out := p.raw("POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(out, "HTTP/1.1 200") {
		t.Errorf("nobody asked for the body: %q", out)
	}
}
