package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// peer is a server with the application peers:app.
type peer struct{ *server }

func peerWith(t *testing.T, args ...string) *peer {
	return &peer{start(t, append(args, "peers:app")...)}
}

// calls returns what has reached the application since it was last asked.
func (s *peer) calls() string {
	s.t.Helper()
	_, b := s.get("/calls")
	var list []string
	if err := json.Unmarshal([]byte(b), &list); err != nil {
		s.t.Fatalf("%q: %v", b, err)
	}
	return strings.Join(list, ", ")
}

// halfClose sends a request, says that no more will come, and returns all that
// does come.
func (s *peer) halfClose(request string) string {
	s.t.Helper()
	w := s.dial()
	// A server that refuses a long request may close before it has all of it.
	_, _ = io.WriteString(w, request)
	_ = w.Conn.(*net.TCPConn).CloseWrite()
	b, err := io.ReadAll(w.r)
	if err != nil && !strings.Contains(err.Error(), "reset") {
		s.t.Fatalf("after %q: %v", b, err)
	}
	return string(b)
}

func (s *peer) wantCalls(want string) {
	s.t.Helper()
	if got := s.calls(); got != want {
		s.t.Errorf("the application saw %q, want %q", got, want)
	}
}

// refused wants nothing but a refusal, and the connection's end.
func (s *peer) refused(status int, request string) {
	s.t.Helper()
	out := s.halfClose(request)
	if !strings.HasPrefix(out, fmt.Sprintf("HTTP/1.1 %d ", status)) || strings.Count(out, "HTTP/1.1 ") != 1 || !strings.Contains(out, "\r\nConnection: close\r\n") {
		s.t.Errorf("%.100q is answered by %q", request, out)
	}
}

// TestPeers has the holes that other servers had (above all Gunicorn, with the
// numbers of its issues) as far as they show on a connection. Those that the
// parser decides alone are TestPeers in worker/http1.
func TestPeers(t *testing.T) {
	shared := start(t, "--header-timeout", "5", "--body-timeout", "5", "peers:app")
	const evil, smuggled = "Evil", "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
	run := func(name string, f func(t *testing.T, s *peer)) {
		t.Run(name, func(t *testing.T) {
			s := *shared
			s.t = t
			f(t, &peer{&s})
		})
	}

	run("CVE-2018-1000164 CRLF in response headers", func(t *testing.T, s *peer) {
		for _, page := range []string{"/evil_value", "/evil_value_lf", "/evil_name", "/evil_status"} {
			if out := s.raw("GET " + page + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(out, "HTTP/1.1 500 ") || strings.Contains(out, evil) {
				t.Errorf("%s: %q", page, out)
			}
		}
		s.calls()
	})
	run("Sec-WebSocket-Key1 has no body", func(t *testing.T, s *peer) { // 2704, 2955
		out := s.raw("GET /one HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Key1: x\r\n\r\nGET /two HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		if strings.Count(out, "HTTP/1.1 200 OK\r\n") != 2 {
			t.Errorf("%q", out)
		}
		s.wantCalls("GET /one, GET /two")
	})
	run("header underscores", func(t *testing.T, s *peer) { // 2799, 3200
		out := s.raw("GET /show HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: 1.2.3.4\r\nTransfer_Encoding: chunked\r\nContent_Length: 5\r\nScript_Name: /x\r\n" +
			"X_A: 1\r\nConnection: close\r\n\r\n")
		for _, bad := range []string{"1.2.3.4", "HTTP_TRANSFER", "CONTENT_LENGTH", "HTTP_X_A", "HTTP_SCRIPT_NAME"} {
			if strings.Contains(out, bad) {
				t.Errorf("%s in %q", bad, out)
			}
		}
		s.wantCalls("GET /show")
	})
	run("truncated chunked body", func(t *testing.T, s *peer) { // 3382, 3685
		for _, body := range []string{"", "0\r\n", "5\r\nhello\r\n", "5\r\nhello\r\n0\r\n\r"} {
			s.refused(400, "POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"+body)
		}
		s.wantCalls("")
	})
	run("truncated Content-Length body", func(t *testing.T, s *peer) { // 3234
		s.refused(400, "POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\na")
		s.wantCalls("")
		// One that the application reads as it arrives: reading raises.
		s = peerWith(t, "--stream-uploads", "/read")
		out := s.halfClose("POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\n" + filler(2_000_000))
		if strings.Contains(out, "HTTP/1.1 200") || strings.Count(out, "HTTP/1.1 ") > 1 {
			t.Errorf("%q", out)
		}
		if got := s.calls(); !strings.HasPrefix(got, "POST /read, ") {
			t.Errorf("the application saw %q", got)
		}
	})
	run("request targets", func(t *testing.T, s *peer) { // 1023, 3371: Gunicorn answered 500
		for _, target := range []string{"http://[::1/", "http://[zz]/", "s://]ufd/", "a", "*", "a:80", "/\x00", "/\xc3\xa9", "/a#b", "//u@h/ x"} {
			s.refused(400, "GET "+target+" HTTP/1.1\r\nHost: a\r\n\r\n"+smuggled)
		}
		s.wantCalls("")
		out := s.raw("GET //[::1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(out, "HTTP/1.1 200 ") { // a path like any other
			t.Errorf("%q", out)
		}
		s.wantCalls("GET //[::1")
	})
	run("keep-alive smuggling", func(t *testing.T, s *peer) { // 3614
		// The rest of a body that nobody reads is never the next request.
		s.refused(400, "POST /fine HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n"+smuggled)
		s.wantCalls("")
		s = peerWith(t, "--stream-uploads", "/fine")
		w := s.dial()
		go func() {
			_, _ = io.WriteString(w, "POST /fine HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\n"+strings.Repeat(smuggled, 5_000_000/len(smuggled)))
		}()
		if r := w.want(200, "fine"); !r.Close {
			t.Error("the connection goes on behind a body that was not read")
		}
		if rest, _ := io.ReadAll(w.r); len(rest) > 0 {
			t.Errorf("behind the answer comes %q", rest)
		}
		s.wantCalls("POST /fine")
		for _, method := range []string{"HEAD", "GET", "DELETE", "OPTIONS"} {
			w := s.dial()
			w.send(method, " /fine HTTP/1.1\r\nHost: a\r\nContent-Length: ", fmt.Sprint(len(smuggled)), "\r\n\r\n", smuggled, getLine("/next"))
			if r, _ := w.answer(method); r.StatusCode != 200 {
				t.Errorf("%s with a body: %s", method, r.Status)
			}
			w.want(200, "fine")
			s.wantCalls(method + " /fine, GET /next")
		}
	})
	run("bytes after CONNECT or Upgrade", func(t *testing.T, s *peer) {
		s.refused(405, "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n"+smuggled)
		s.wantCalls("")
		// We switch to no protocol, and say so by going on in HTTP/1.1 (RFC 9110,
		// 7.8): a client that goes on in another one without a 101 is refused.
		out := s.raw("GET /up HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05hello")
		if !strings.HasPrefix(out, "HTTP/1.1 200 OK\r\n") || strings.Contains(out, " 101 ") || !strings.Contains(out, "\r\n\r\nfineHTTP/1.1 400 ") {
			t.Errorf("%q", out)
		}
		s.wantCalls("GET /up")
		s.refused(400, "GET /up HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n")
		s.wantCalls("")
	})
	run("PROXY header on a later request", func(t *testing.T, s *peer) { // 26.0; Puma 3944, 3947
		p := peerWith(t, "--proxy-protocol", "v1")
		const first, forged = "PROXY TCP4 203.0.113.9 10.0.0.1 4711 80\r\n", "PROXY TCP4 198.51.100.1 10.0.0.1 4711 80\r\n"
		out := p.halfClose(first + getLine("/show") + forged + getLine("/show"))
		if strings.Count(out, "HTTP/1.1 200") != 1 || !strings.Contains(out, `"REMOTE_ADDR": "203.0.113.9"`) || !strings.Contains(out, "HTTP/1.1 400 ") {
			t.Errorf("%q", out)
		}
		for _, bad := range []string{"", "PROXY TCP4 203.0.113.9\r\n", "PROXY TCP4 a b 1 2\r\n", "PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n"} {
			if out := p.halfClose(bad + getLine("/show")); out != "" {
				t.Errorf("%q: %q", bad, out)
			}
		}
		others := peerWith(t, "--proxy-protocol", "v1", "--proxy-allow-ips", "10.9.8.7")
		if out := others.halfClose(first + getLine("/show")); !strings.HasPrefix(out, "HTTP/1.1 400 ") {
			t.Errorf("a PROXY header from anybody: %q", out)
		}
		others.wantCalls("")
	})
	run("early hints", func(t *testing.T, s *peer) { // 3585, 3588
		if out := s.raw("GET /hints HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(out, "HTTP/1.1 500 ") || strings.Contains(out, evil) {
			t.Errorf("%q", out)
		}
		s.calls()
	})
	run("scheme and forwarded trust", func(t *testing.T, s *peer) {
		const both = "X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: off\r\n"
		s.refused(400, "GET /show HTTP/1.1\r\nHost: a\r\n"+both+"\r\n")
		s.refused(400, "GET /show HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n\r\n")
		s.wantCalls("")
		deaf := start(t, "--forwarded-allow-ips", "10.9.8.7", "--forwarded-untrusted", "drop", "peers:app")
		out := deaf.raw("GET /show HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Forwarded-For: 1.2.3.4\r\n" + both + "\r\n")
		if !strings.Contains(out, `"wsgi.url_scheme": "http"`) || !strings.Contains(out, `"REMOTE_ADDR": "127.0.0.1"`) || strings.Contains(out, "1.2.3.4") {
			t.Errorf("a stranger is believed: %q", out)
		}
		// Whoever connects by a unix socket has no address: "unix" stands for them.
		// They are believed unless another list says otherwise.
		for _, c := range []struct {
			args     []string
			believed bool
		}{
			{nil, true},
			{[]string{"--forwarded-allow-ips", "unix"}, true},
			{[]string{"--forwarded-allow-ips", "127.0.0.1"}, false},
			{[]string{"--forwarded-allow-ips", ""}, false},
		} {
			socket := filepath.Join(t.TempDir(), "http.sock")
			s := peerWith(t, append(c.args, "-b", "unix:"+socket)...)
			w := dialTo(t, "unix", socket)
			w.send("GET /show HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n")
			if _, body := w.answer("GET"); strings.Contains(body, `"REMOTE_ADDR": "1.2.3.4"`) != c.believed {
				t.Errorf("on a unix socket, with %q: %s", c.args, body)
			}
			const told = `peer=unix if_it_is_your_proxy="--forwarded-allow-ips unix"`
			if !c.believed {
				s.waitLog(told)
			} else if strings.Contains(s.log.String(), told) {
				t.Errorf("on a unix socket, with %q, it is said to be a stranger", c.args)
			}
		}
	})
	run("unbounded input", func(t *testing.T, s *peer) { // 26.2.1, 27.0
		s.refused(414, "GET /"+strings.Repeat("a", 1<<20))
		s.refused(431, "GET / HTTP/1.1\r\nHost: a\r\n"+strings.Repeat("X: 1\r\n", 10_000)+"\r\n")
		s.refused(431, "GET / HTTP/1.1\r\nHost: a\r\nX: "+strings.Repeat("a", 1<<20))
		s.refused(400, "POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"+strings.Repeat("0", 1<<20))
		s.refused(431, "POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: "+strings.Repeat("a", 1<<20))
		s.wantCalls("")
	})
	run("response framing", func(t *testing.T, s *peer) { // 3410, 3413, 27.0
		for _, c := range []struct{ method, page, end string }{
			{"HEAD", "/page", "\r\n\r\n"},
			{"GET", "/empty", "\r\n\r\n"},
			{"GET", "/unchanged", "\r\n\r\n"},
			{"GET", "/too_long", "\r\n\r\nabc"},
			{"GET", "/too_short", "\r\n\r\nabc"},
			{"GET", "/dies_late", "\r\n\r\nhalf"},
		} {
			out := s.raw(c.method + " " + c.page + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
			if _, rest, _ := strings.Cut(out, "\r\n\r\n"); "\r\n\r\n"+rest != c.end || strings.Count(out, "HTTP/1.1 ") != 1 {
				t.Errorf("%s: %q", c.page, out)
			}
		}
		// What does not keep to its Content-Length ends the connection.
		for _, page := range []string{"/too_short", "/dies_late"} {
			w := s.dial()
			w.send(getLine(page), smuggled)
			b, _ := io.ReadAll(w.r)
			if strings.Count(string(b), "HTTP/1.1 ") != 1 {
				t.Errorf("%s: %q", page, b)
			}
		}
		w := s.dial()
		w.send(getLine("/too_long"), getLine("/fine"))
		w.want(200, "abc")
		if b, _ := io.ReadAll(io.LimitReader(w.r, 3)); len(b) > 0 && string(b) != "HTT" {
			t.Errorf("behind the Content-Length comes %q", b)
		}
		s.calls()
	})
	run("error pages repeat nothing", func(t *testing.T, s *peer) { // 1858; CVE-2012-0053
		const word = "reflectme"
		for _, request := range []string{
			word + " / HTTP/1.1\r\nHost: a\r\n\r\n", "GET " + word + " HTTP/1.1\r\nHost: a\r\n\r\n", "GET / " + word + "\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: " + word + "/\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n" + word + "\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: a\r\nCookie: " + word + strings.Repeat("c", 20_000) + "\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: a\r\nExpect: " + word + "\r\n\r\n",
			"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + word + "\r\n",
		} {
			if out := s.halfClose(request); !strings.HasPrefix(out, "HTTP/1.1 4") || strings.Contains(strings.ToLower(out), word) {
				t.Errorf("%.60q is answered by %q", request, out)
			}
		}
		s.wantCalls("")
	})
	run("a body that stalls", func(t *testing.T, s *peer) {
		w := s.dial()
		w.send("POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n", "0123456789")
		_ = w.SetDeadline(time.Now().Add(20 * time.Second))
		if r, _ := w.answer("POST"); r.StatusCode != 408 || !r.Close {
			t.Errorf("%s, close %v", r.Status, r.Close)
		}
		w.end()
		s.wantCalls("")
	})
}
