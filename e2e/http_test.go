package e2e

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func digestOf(body string) string {
	return fmt.Sprintf("%d %x", len(body), sha256.Sum256([]byte(body)))
}

// filler is size bytes that repeat only after a prime number of them.
func filler(size int) string {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i % 251)
	}
	return string(b)
}

func TestKeepAlive(t *testing.T) {
	s := start(t, "--keep-alive", "1", "wire:app")
	c := s.dial()
	for i := range 50 {
		c.send(getLine(fmt.Sprintf("/n%d", i)))
		if r := c.want(200, fmt.Sprintf("GET /n%d", i)); r.Close {
			t.Fatalf("the connection is closed after %d requests", i+1)
		}
	}
	c.send("HEAD /h HTTP/1.1\r\nHost: a\r\n\r\n")
	if r, b := c.answer("HEAD"); r.ContentLength != int64(len("HEAD /h")) || b != "" {
		t.Errorf("HEAD: %d %q", r.ContentLength, b)
	}
	c.end() // idle for a second: closed without a word
	if n := s.metric("hostler_connection_timeouts_total", `phase="idle"`); n != 1 {
		t.Errorf("idle connections closed: %v", n)
	}

	c = s.dial()
	c.send("GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	if r := c.want(200, "GET /last"); !r.Close {
		t.Error("Connection: close is not answered by the same")
	}
	c.end()
}

func TestNoKeepAlive(t *testing.T) {
	s := start(t, "--keep-alive", "0", "wire:app")
	c := s.dial()
	c.send(getLine("/"))
	if r := c.want(200, "GET /"); !r.Close {
		t.Error("the end of the connection is not announced")
	}
	c.end()
}

// TestPipelining sends many requests of all kinds in one write, and reads the
// answers only then.
func TestPipelining(t *testing.T) {
	for _, threads := range []string{"1", "4"} {
		s := start(t, "--threads", threads, "wire:app")
		c := s.dial()
		var all strings.Builder
		for i := range 200 {
			switch i % 4 {
			case 1:
				all.WriteString(post("/digest", filler(i*11)))
			case 2:
				all.WriteString(postChunked("/digest", filler(i*7), 500))
			default:
				all.WriteString(getLine(fmt.Sprintf("/n%d", i)))
			}
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = io.WriteString(c, all.String())
		}()
		for i := range 200 {
			switch i % 4 {
			case 1:
				c.want(200, digestOf(filler(i*11)))
			case 2:
				c.want(200, digestOf(filler(i*7)))
			default:
				c.want(200, fmt.Sprintf("GET /n%d", i))
			}
			if t.Failed() {
				t.Fatalf("at request %d, with %s threads", i, threads)
			}
		}
		<-done
	}
}

func TestHTTP10(t *testing.T) {
	s := start(t, "wire:app")
	if out := s.raw("GET /a HTTP/1.0\r\n\r\n"); !strings.HasSuffix(out, "\r\n\r\nGET /a") {
		t.Errorf("without keep-alive: %q", out)
	}
	out := s.raw("GET /unframed HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
	head, body, _ := strings.Cut(out, "\r\n\r\n")
	if body != "piece 0\npiece 1\npiece 2\n" || strings.Contains(head, "chunked") {
		t.Errorf("a body of unknown length: %q", out)
	}
	c := s.dial()
	for range 3 {
		c.send("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
		if r := c.want(200, "GET /a"); !strings.EqualFold(r.Header.Get("Connection"), "keep-alive") {
			t.Errorf("keep-alive is not confirmed: %v", r.Header)
		}
	}
}

// TestExpect wants 100 Continue before the body is sent, and none without cause.
func TestExpect(t *testing.T) {
	s := start(t, "wire:app")
	for _, size := range []int{5, 500_000} {
		c, body := s.dial(), filler(size)
		c.send(fmt.Sprintf("POST /digest HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", size))
		line, err := c.r.ReadString('\n')
		blank, _ := c.r.ReadString('\n')
		if err != nil || line != "HTTP/1.1 100 Continue\r\n" || blank != "\r\n" {
			t.Fatalf("%q %q %v", line, blank, err)
		}
		c.send(body)
		c.want(200, digestOf(body))
		// The whole body is there already: no 100 is needed.
		c.send("POST /digest HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\nabc")
		c.want(200, digestOf("abc"))
	}
	c := s.dial()
	c.send("POST /digest HTTP/1.1\r\nHost: a\r\nExpect: a-miracle\r\nContent-Length: 3\r\n\r\n")
	if r, _ := c.answer("POST"); r.StatusCode != 417 || !r.Close {
		t.Errorf("an expectation that nobody can meet: %s", r.Status)
	}
	c = s.dial() // a client of HTTP/1.0 knows no 100
	c.send("POST /digest HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
	c.silent(200 * time.Millisecond)
	c.send("abc")
	c.want(200, digestOf("abc"))
}

func TestByteByByte(t *testing.T) {
	s := start(t, "wire:app")
	c := s.dial()
	for _, request := range []string{getLine("/slowly?x=%20"), post("/digest", "abc"), postChunked("/digest", "abcdef", 4)} {
		for i := range len(request) {
			c.send(request[i : i+1])
			time.Sleep(time.Millisecond)
		}
	}
	c.want(200, "GET /slowly?x=%20")
	c.want(200, digestOf("abc"))
	c.want(200, digestOf("abcdef"))
}

// TestUploads sends bodies around every limit of the buffers, on one connection.
func TestUploads(t *testing.T) {
	for _, threads := range []string{"1", "2"} {
		s := start(t, "--threads", threads, "wire:app")
		c := s.dial()
		for _, size := range []int{0, 1, 8191, 8192, 16383, 16384, 16385, 65535, 65536, 65537, 131072, 262144, 262145, 1 << 20, 1<<20 + 1, 5_000_000} {
			body := filler(size)
			for _, request := range []string{post("/digest", body), postChunked("/digest", body, 1000), postChunked("/digest", body, 300_000)} {
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				c.send(request, getLine("/next"))
				c.want(200, digestOf(body))
				c.want(200, "GET /next")
				if t.Failed() {
					t.Fatalf("with a body of %d bytes, %s threads", size, threads)
				}
			}
		}
	}
}

// TestUnreadBody wants a body that the application leaves alone to do no harm to
// the answer, nor to be taken for the next request.
func TestUnreadBody(t *testing.T) {
	s := start(t, "wire:app")
	for _, size := range []int{10, 100_000, 5_000_000} {
		for _, page := range []string{"/ignore", "/part"} {
			want := map[string]string{"/ignore": "ignored", "/part": "part " + filler(10)}[page]
			c := s.dial()
			go func() { _, _ = io.WriteString(c, post(page, filler(size))) }()
			if r := c.want(200, want); !r.Close {
				c.send(getLine("/next"))
				c.want(200, "GET /next")
			}
		}
	}
}

// TestSlowReaders wants clients that hardly read, of responses of every kind, to
// cost the only Python thread nothing, and to get every byte in the end.
func TestSlowReaders(t *testing.T) {
	file := filepath.Join(t.TempDir(), "big")
	content := strings.Repeat("0123456789abcde\n", 1_250_000)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, "-e", "BIG_FILE="+file, "wire:app")
	var slow []*wire
	for _, page := range []string{"/big", "/big_file", "/big", "/big_file"} {
		c := s.dial()
		c.send(getLine(page))
		if _, err := c.r.Peek(1000); err != nil {
			t.Fatalf("%s: %v", page, err)
		}
		slow = append(slow, c)
		for i := range 20 {
			if code, b := s.get(fmt.Sprintf("/n%d", i)); code != 200 || b != fmt.Sprintf("GET /n%d", i) {
				t.Fatalf("beside %s: %d %q", page, code, b)
			}
		}
	}
	s.eventually("four connections that are written to", func() bool { return s.metric("hostler_connections", `state="writing"`) == 4 })
	_, big := slow[0].answer("GET")
	_, again := slow[2].answer("GET")
	if len(big) != 20_000_000 || big != again || big[255] != '\n' {
		t.Errorf("%d and %d bytes of /big", len(big), len(again))
	}
	for _, i := range []int{1, 3} {
		if _, got := slow[i].answer("GET"); got != content {
			t.Errorf("%d bytes of the file, or others", len(got))
		}
	}
	for _, c := range slow { // and the connections go on
		c.send(getLine("/next"))
		c.want(200, "GET /next")
	}
	c := s.dial()
	c.send(getLine("/big_pieces"))
	time.Sleep(300 * time.Millisecond)
	if _, got := c.answer("GET"); got != big {
		t.Errorf("%d bytes in pieces, or others", len(got))
	}
}

// TestHalfClose wants an answer although the client has shut its side.
func TestHalfClose(t *testing.T) {
	s := start(t, "wire:app")
	for _, request := range []string{getLine("/sleep?0.2"), post("/sleep?0.2", "abc"), getLine("/sleep?0")} {
		c := s.dial()
		c.send(request)
		if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		c.want(200, "slept")
		c.end()
	}
}

// TestResets breaks connections off in every phase.
func TestResets(t *testing.T) {
	s := start(t, "--threads", "2", "wire:app")
	before := s.workers()
	for range 10 {
		for _, part := range []string{"", "GET / HT", "GET / HTTP/1.1\r\nHost: a\r\n", getLine("/n"), getLine("/sleep?0.02"), getLine("/big"),
			getLine("/big_pieces"), post("/digest", "abc")[:55], post("/digest", filler(3_000_000))[:2_000_000],
			postChunked("/digest", filler(3_000_000), 10_000)[:1_500_000], getLine("/a") + getLine("/sleep?0.02") + "GET"} {
			c := s.dial()
			if len(part) > 100_000 {
				_ = c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond)) // the server may wait with the rest
			}
			_, _ = io.WriteString(c, part)
			if strings.Contains(part, "/big") {
				_, _ = c.Read(make([]byte, 1000))
			}
			c.reset()
		}
	}
	s.eventually("all connections to be gone", func() bool { return s.metric("hostler_connections", "") == 0 })
	if code, b := s.get("/n"); code != 200 || b != "GET /n" {
		t.Errorf("%d %q", code, b)
	}
	if after := s.workers(); len(after) != 1 || after[0] != before[0] {
		t.Errorf("workers %v became %v", before, after)
	}
	s.eventually("all threads to be idle", func() bool { return s.metric("hostler_threads", `state="busy"`) == 0 })
}

func TestAddresses(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "http.sock")
	v6 := fmt.Sprintf("[::1]:%d", freePort(t))
	second := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	s := start(t, "-w", "2", "-b", "unix:"+socket, "-b", v6, "-b", second, "rules:app")
	for _, a := range []struct{ network, addr, name, remote string }{
		{"tcp", s.addr, "127.0.0.1", "127.0.0.1"}, {"tcp", second, "127.0.0.1", "127.0.0.1"}, {"tcp6", v6, "[::1]", "::1"}, {"unix", socket, "", ""},
	} {
		c := dialTo(t, a.network, a.addr)
		for range 2 {
			c.send(getLine("/environ"))
			_, body := c.answer("GET")
			if !strings.Contains(body, fmt.Sprintf("%q: %q", "REMOTE_ADDR", a.remote)) {
				t.Errorf("%s: no REMOTE_ADDR %q in %s", a.addr, a.remote, body)
			}
			if a.name != "" && !strings.Contains(body, fmt.Sprintf("%q: %q", "SERVER_NAME", a.name)) {
				t.Errorf("%s: no SERVER_NAME %q in %s", a.addr, a.name, body)
			}
		}
	}
	s.stop()
	if _, err := os.Stat(socket); err == nil {
		t.Error("the socket file is still there")
	}
}

// TestNoLimits takes the limits of heads away, as a script for Gunicorn does.
func TestNoLimits(t *testing.T) {
	s := start(t, "--limit-request-line", "0", "--limit-request-fields", "0", "--limit-request-field_size", "0", "--http2-cleartext", "rules:app")
	var fields strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&fields, "X-Field-%d: %d\r\n", i, i)
	}
	long := strings.Repeat("x", 200_000)
	out := s.raw("GET /environ?" + long + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\nCookie: a=" + long + "\r\n" + fields.String() + "\r\n")
	_, answer, _ := strings.Cut(out, "\r\n\r\n")
	env := map[string]any{}
	if err := json.Unmarshal([]byte(answer), &env); err != nil {
		t.Fatalf("%v in %.300q", err, out)
	}
	if env["QUERY_STRING"] != long || env["HTTP_COOKIE"] != "a="+long || env["HTTP_X_FIELD_0"] != "0" || env["HTTP_X_FIELD_1999"] != "1999" {
		t.Errorf("environ has %d entries", len(env))
	}
	h2 := new(http.Protocols)
	h2.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: h2}
	defer tr.CloseIdleConnections()
	req, _ := http.NewRequest("GET", "http://"+s.addr+"/environ?"+long, nil)
	req.Header.Set("Cookie", "a="+long)
	for i := range 500 {
		req.Header.Set(fmt.Sprintf("X-Field-%d", i), "1")
	}
	r, err := (&http.Client{Transport: tr, Timeout: 30 * time.Second}).Do(req)
	text := body(t, r, err)
	clear(env)
	if err := json.Unmarshal([]byte(text), &env); err != nil || env["QUERY_STRING"] != long || env["HTTP_COOKIE"] != "a="+long || env["HTTP_X_FIELD_499"] != "1" {
		t.Errorf("HTTP/2: %v, environ has %d entries", err, len(env))
	}
}
