package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

func TestEnviron(t *testing.T) {
	s := start(t, "rules:app")
	out := s.raw("GET /environ?a=%20b HTTP/1.1\r\nHost: example.org:81\r\nX-One: 1\r\nx-one: 2\r\nX_Two: evil\r\nCookie: a=1\r\nCookie: b=2\r\n" +
		"X-Latin: caf\xe9\r\nConnection: close\r\n\r\n")
	_, body, _ := strings.Cut(out, "\r\n\r\n")
	var env map[string]any
	if err := json.Unmarshal([]byte(body), &env); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	host, port, _ := net.SplitHostPort(s.addr)
	for k, want := range map[string]any{
		"REQUEST_METHOD": "GET", "PATH_INFO": "/environ", "QUERY_STRING": "a=%20b", "RAW_URI": "/environ?a=%20b", "SCRIPT_NAME": "",
		"SERVER_NAME": host, "SERVER_PORT": port, "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "127.0.0.1",
		"HTTP_HOST": "example.org:81", "HTTP_X_ONE": "1,2", "HTTP_COOKIE": "a=1; b=2", "HTTP_X_LATIN": "caf\u00e9",
		"wsgi.url_scheme": "http", "wsgi.multithread": false, "wsgi.multiprocess": false, "wsgi.run_once": false, "wsgi.input_terminated": true,
	} {
		if env[k] != want {
			t.Errorf("environ[%q] = %v, want %v", k, env[k], want)
		}
	}
	for _, k := range []string{"HTTP_X_TWO", "CONTENT_LENGTH", "CONTENT_TYPE"} {
		if v, ok := env[k]; ok {
			t.Errorf("environ[%q] = %v, want none", k, v)
		}
	}
	if env["REMOTE_PORT"] == "" || env["REMOTE_PORT"] == nil {
		t.Error("no REMOTE_PORT")
	}
}

func TestForwarded(t *testing.T) {
	for _, c := range []struct {
		allow, untrusted, scheme, addr string
		visible                        bool
	}{
		{"127.0.0.1,10.0.0.0/8", "drop", "https", "192.0.2.7", true},
		{"192.0.2.0/24", "keep", "http", "127.0.0.1", true},
		{"192.0.2.0/24", "drop", "http", "127.0.0.1", false},
	} {
		s := start(t, "-w", "2", "--forwarded-allow-ips", c.allow, "--forwarded-untrusted", c.untrusted, "rules:app")
		out := s.raw("GET /environ HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\nX-Forwarded-For: 6.6.6.6, 192.0.2.7, 10.1.1.1\r\nConnection: close\r\n\r\n")
		if !strings.Contains(out, fmt.Sprintf("%q: %q", "wsgi.url_scheme", c.scheme)) || !strings.Contains(out, fmt.Sprintf("%q: %q", "REMOTE_ADDR", c.addr)) {
			t.Errorf("trusting %s: %s", c.allow, out)
		}
		if got := strings.Contains(out, "HTTP_X_FORWARDED_FOR"); got != c.visible {
			t.Errorf("trusting %s, %s: X-Forwarded-For in environ: %v", c.allow, c.untrusted, got)
		}
		for range 10 {
			s.raw("GET / HTTP/1.1\r\nHost: a\r\nX-Real-IP: 192.0.2.7\r\nConnection: close\r\n\r\n")
		}
		lines, count := 0, 0.0
		if c.scheme == "http" {
			lines, count = 1, 11
			s.waitLog(`field=x-forwarded-proto peer=127.0.0.1 if_it_is_your_proxy="--forwarded-allow-ips 127.0.0.1"`)
		}
		if n := strings.Count(s.log.String(), "not trusted"); n != lines {
			t.Errorf("trusting %s: %d lines in the log, want %d: %s", c.allow, n, lines, s.log)
		}
		if n := s.metric("hostler_forwarded_untrusted_total", ""); n != count {
			t.Errorf("trusting %s: %v are counted, want %v", c.allow, n, count)
		}
	}
}

// TestRules holds the answers to plain requests against what PEP 3333 wants.
func TestRules(t *testing.T) {
	s := start(t, "rules:app")
	for _, c := range []struct {
		path, want, not string // parts of the answer that must and must not be there
	}{
		{"/valid", "valid ", ""},
		{"/write", "\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n3\r\nghi\r\n0\r\n\r\n", ""},
		{"/twice", "HTTP/1.1 500 ", ""},
		{"/replaced", "HTTP/1.1 503 Sorry\r\nX-Second: 2\r\n", "X-First"},
		{"/late", "4\r\npart\r\n", "never"},
		{"/short", "Content-Length: 10\r\n", "abcdef"},
		{"/short_gen", "\r\n\r\nab", "ab\r\n"},
		{"/long", "\r\n\r\nabc", "abcd"},
		{"/long_gen", "\r\n\r\nabc", "abcd"},
		{"/hop", "HTTP/1.1 200 OK\r\n", ""},
		{"/inject", "HTTP/1.1 500 ", "Evil"},
		{"/inject_name", "HTTP/1.1 500 ", "Evil"},
		{"/bad_status", "HTTP/1.1 500 ", ""},
		{"/no_latin", "HTTP/1.1 500 ", ""},
		{"/str_body", "HTTP/1.1 500 ", "text\r\n"},
		{"/none_body", "HTTP/1.1 500 ", ""},
		{"/bytearray", "HTTP/1.1 500 ", ""},
		{"/no_start", "HTTP/1.1 500 ", ""},
		{"/204", "HTTP/1.1 204 No Content\r\n", "Content-Length"},
		{"/304", "HTTP/1.1 304 Not Modified\r\n", "body"},
		{"/hints", "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\n", ""},
		{"/bad_hints", "HTTP/1.1 500 ", "Evil"},
		{"/exception", "HTTP/1.1 500 ", "marker"},
		{"/system_exit", "HTTP/1.1 500 ", ""},
		{"/interrupt", "HTTP/1.1 500 ", ""},
		{"/fork", "forked", ""},
		{"/fork_back", "forked", ""},
		{"/thread", "X-Thread: 1", ""},
		{"/keep", "kept", ""},
		{"/use_kept", "refused: ", ""},
		{"/no_file", "zzzz", ""},
	} {
		out := s.raw("GET " + c.path + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		if !strings.Contains(out, c.want) || (c.not != "" && strings.Contains(out, c.not)) {
			t.Errorf("%s: want %q, not %q, got %q", c.path, c.want, c.not, out)
		}
		if n := strings.Count(out, "HTTP/1.1 ") - strings.Count(out, "HTTP/1.1 103"); n != 1 {
			t.Errorf("%s: %d answers: %q", c.path, n, out)
		}
	}
	if _, closed := s.get("/was_closed"); closed != "late short_gen long_gen" {
		t.Errorf("closed: %q", closed)
	}
	for _, want := range []string{"the application raised on GET /exception", "a marker for the log", "on GET /system_exit",
		"more than its Content-Length", "less than its Content-Length"} {
		s.waitLog(want)
	}
	if out := s.raw("HEAD /write HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); !strings.HasSuffix(out, "\r\n\r\n") || strings.Contains(out, "abc") {
		t.Errorf("HEAD: %q", out)
	}
	if n := s.metric("hostler_app_exceptions_total", ""); n < 14 {
		t.Errorf("app exceptions: %v", n)
	}
}

func TestFile(t *testing.T) {
	s := start(t, "rules:app")
	want, err := os.ReadFile(apps + "/rules.py")
	if err != nil {
		t.Fatal(err)
	}
	if _, body := s.get("/file"); body != string(want[3:]) {
		t.Errorf("%d bytes instead of %d", len(body), len(want)-3)
	}
}

// TestLazyBody sees the first piece while the generator still sleeps.
func TestLazyBody(t *testing.T) {
	s := start(t, "rules:app")
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "GET /gen HTTP/1.1\r\nHost: a\r\n\r\n")
	buf := make([]byte, 4096)
	n, err := c.Read(buf)
	if got := string(buf[:n]); err != nil || !strings.HasSuffix(got, "4\r\none \r\n") {
		t.Errorf("first: %q %v", got, err)
	}
	n, err = io.ReadAtLeast(c, buf, len("3\r\ntwo\r\n0\r\n\r\n"))
	if got := string(buf[:n]); err != nil || got != "3\r\ntwo\r\n0\r\n\r\n" {
		t.Errorf("rest: %q %v", got, err)
	}
}

func TestCloseWhenClientGone(t *testing.T) {
	s := start(t, "rules:app")
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(c, "GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
	_, _ = c.Read(make([]byte, 100))
	c.Close()
	s.eventually("close() of the endless body", func() bool {
		_, b := s.get("/was_closed")
		return b == "endless"
	})
}

func TestChildProcess(t *testing.T) {
	s := start(t, "rules:app")
	_, out := s.get("/sub")
	for _, line := range strings.Split(out, "\n") {
		k, v, _ := strings.Cut(line, ":")
		if (k == "SigBlk" || k == "SigCgt") && strings.TrimSpace(v) != "0000000000000000" {
			t.Errorf("a child of the application starts with %s %s", k, v)
		}
	}
	if fds, _, _ := strings.Cut(out, "Name"); len(strings.Fields(fds)) > 4 { // 0 1 2 and ls's own
		t.Errorf("a child of the application has descriptors %q", fds)
	}
}

func TestAtexit(t *testing.T) {
	mark := t.TempDir() + "/bye"
	s := start(t, "-w", "2", "--threads", "2", "-e", "ATEXIT="+mark, "rules:app")
	s.stop()
	if b, _ := os.ReadFile(mark); string(b) != "bye\nbye\n" {
		t.Errorf("atexit handlers of 2 workers wrote %q", b)
	}
}

// TestBodies reads request bodies of many sizes in every way.
func TestBodies(t *testing.T) {
	s := start(t, "--threads", "2", "rules:app")
	for _, size := range []int{0, 1, 100, 65000, 65536, 81920, 300000, 1 << 20, 1<<20 + 1, 3_000_000} {
		body := make([]byte, size)
		for i := range body {
			body[i] = byte(i*7 + i/251)
		}
		lines := strings.Count(string(body), "\n")
		if size > 0 && body[size-1] != '\n' {
			lines++
		}
		var chunked strings.Builder
		for rest, n := body, 1; len(rest) > 0; n = (n*3 + 1) % 70000 {
			k := min(n+1, len(rest))
			fmt.Fprintf(&chunked, "%x\r\n%s\r\n", k, rest[:k])
			rest = rest[k:]
		}
		chunked.WriteString("0\r\n\r\n")
		for _, how := range []string{"", "lines", "readlines", "readline", "read"} {
			for _, framed := range []string{
				fmt.Sprintf("Content-Length: %d\r\n\r\n%s", size, body),
				"Transfer-Encoding: chunked\r\n\r\n" + chunked.String(),
			} {
				out := s.raw("POST /count?" + how + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + framed)
				var bytes, pieces int
				_, answer, _ := strings.Cut(out, "\r\n\r\n")
				if _, err := fmt.Sscan(answer, &bytes, &pieces); err != nil || bytes != size || (strings.HasSuffix(how, "lines") && pieces != lines) {
					t.Errorf("%d bytes, %s, %.20q: %q", size, how, framed, out)
				}
			}
		}
		out := s.raw(fmt.Sprintf("POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", size, body))
		if _, answer, _ := strings.Cut(out, "\r\n\r\n"); answer != string(body) {
			t.Errorf("%d bytes echoed as %d", size, len(answer))
		}
	}
}

func TestTruncatedBody(t *testing.T) {
	s := start(t, "rules:app")
	for _, request := range []string{
		"Content-Length: 100\r\n\r\nabc",
		"Content-Length: 3000000\r\n\r\n" + strings.Repeat("a", 2_000_000),
		"Transfer-Encoding: chunked\r\n\r\n5\r\nabc",
		"Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("a\r\n0123456789\r\n", 150_000) + "zz\r\n",
	} {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(c, "POST /count HTTP/1.1\r\nHost: a\r\n"+request)
		_ = c.(*net.TCPConn).CloseWrite()
		out, _ := io.ReadAll(c)
		c.Close()
		if a := string(out); !strings.HasPrefix(a, "HTTP/1.1 400 ") && !strings.Contains(a, "\r\n\r\nerror: ") {
			t.Errorf("%.40q…: %q", request, a)
		}
	}
}
