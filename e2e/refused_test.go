package e2e

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// TestRefused sends what is no request, or more than one could be read from, and
// wants the connection closed with nothing of it before the application.
func TestRefused(t *testing.T) {
	s := start(t, "wire:app")
	smuggled := "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
	for _, c := range []struct {
		status          int
		reason, request string
	}{
		{400, "duplicate_content_length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc"},
		{400, "length_and_chunked", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		{400, "bare_lf", "GET / HTTP/1.1\nHost: a\n\n"},
		{400, "bare_lf", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\nY: 2\r\n\r\n"},
		{400, "bare_cr", "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n"},
		{400, "space_before_colon", "GET / HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n"},
		{400, "obs_fold", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n"},
		{400, "bad_field_value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n"},
		{400, "bad_field_name", "GET / HTTP/1.1\r\nHost: a\r\nX(: 1\r\n\r\n"},
		{400, "bad_chunk_size", "POST /digest HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n"},
		{400, "bad_chunk_size", "POST /digest HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n"},
		{400, "bad_chunk_end", "POST /digest HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n"},
		{400, "missing_host", "GET / HTTP/1.1\r\n\r\n"},
		{400, "duplicate_host", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"},
		{400, "bad_host", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"},
		{400, "bad_content_length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc"},
		{400, "bad_content_length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nabc"},
		{501, "unsupported_transfer_encoding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"},
		{400, "chunked_in_http10", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		{400, "", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"},
		{505, "unsupported_version", "GET / HTTP/2.0\r\nHost: a\r\n\r\n"},
		{400, "", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"},
		{414, "line_too_long", "GET /" + strings.Repeat("a", 9000) + " HTTP/1.1\r\nHost: a\r\n\r\n"},
		{431, "field_too_long", "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("a", 9000) + "\r\n\r\n"},
		{431, "too_many_fields", "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: 1\r\n", 101) + "\r\n"},
		{405, "connect", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n"},
	} {
		name := fmt.Sprintf("%.60q", c.request)
		label := fmt.Sprintf("reason=%q", c.reason)
		before := s.metric("hostler_rejected_requests_total", label)
		w := s.dial()
		w.send(c.request, smuggled)
		r, body := w.answer("GET")
		if r.StatusCode != c.status || !r.Close || strings.Contains(body, "smuggled") {
			t.Errorf("%s: %s, close %v, %q", name, r.Status, r.Close, body)
		}
		if rest, _ := io.ReadAll(w.r); len(rest) > 0 {
			t.Errorf("%s: behind the refusal comes %q", name, rest)
		}
		if c.reason != "" {
			s.waitLog("reason=" + c.reason + " ")
		}
		if n := s.metric("hostler_rejected_requests_total", label); c.reason != "" && n != before+1 {
			t.Errorf("%s: %s counted %v times", name, c.reason, n-before)
		}
	}
	s.waitLog(fmt.Sprintf(`level=WARN msg="request refused" worker=1 pid=%d reason=bare_lf client=127.0.0.1`, s.workers()[0]))
	if n := s.metric("hostler_app_exceptions_total", ""); n != 0 {
		t.Errorf("the application raised %v times", n)
	}
}

func TestLimits(t *testing.T) {
	s := start(t, "--limit-request-line", "200", "--limit-request-fields", "3", "--limit-request-field-size", "150", "--limit-request-body", "100", "wire:app")
	for _, c := range []struct {
		status  int
		request string
	}{
		{200, getLine("/" + strings.Repeat("a", 180))},
		{414, getLine("/" + strings.Repeat("a", 200))},
		{200, "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nX: 1\r\n\r\n"},
		{431, "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nX: 1\r\nX: 1\r\n\r\n"},
		{431, "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("a", 160) + "\r\n\r\n"},
		{200, post("/digest", filler(100))},
		{413, post("/digest", filler(101))},
		{200, postChunked("/digest", filler(100), 30)},
		{413, postChunked("/digest", filler(101), 30)},
	} {
		w := s.dial()
		w.send(c.request)
		if r, _ := w.answer("GET"); r.StatusCode != c.status || r.Close != (c.status != 200) {
			t.Errorf("%.100q: %s, close %v", c.request, r.Status, r.Close)
		}
	}
}

// TestTimeLimits leaves connections alone in every phase.
func TestTimeLimits(t *testing.T) {
	s := start(t, "--header-timeout", "1", "--body-timeout", "1", "--write-timeout", "1", "--keep-alive", "1", "--min-rate", "0", "wire:app")
	idle, head, body, later, deaf := s.dial(), s.dial(), s.dial(), s.dial(), s.dial()
	head.send("GET / HTTP/1.1\r\nHo")
	body.send(strings.TrimSuffix(post("/digest", "abcdef"), "def"))
	later.send(getLine("/n"))
	later.want(200, "GET /n")
	later.send("GET / HTT")
	deaf.send(getLine("/big"))
	idle.end()
	for name, w := range map[string]*wire{"head": head, "body": body, "second head": later} {
		if r, _ := w.answer("GET"); r.StatusCode != 408 || !r.Close {
			t.Errorf("%s: %s, close %v", name, r.Status, r.Close)
		}
		w.end()
	}
	s.eventually("the end of the connection that takes nothing", func() bool {
		return s.metric("hostler_connection_timeouts_total", `phase="write"`) == 1
	})
	if n, _ := io.Copy(io.Discard, deaf.r); n >= 20_000_000 {
		t.Error("the client that did not read got everything")
	}
	for phase, want := range map[string]float64{"head": 3, "body": 1, "idle": 0} {
		if n := s.metric("hostler_connection_timeouts_total", fmt.Sprintf("phase=%q", phase)); n != want {
			t.Errorf("timeouts in phase %s: %v", phase, n)
		}
	}
	// A body that comes slowly, but comes, is no reason.
	w := s.dial()
	request := post("/digest", "abcdef")
	w.send(request[:len(request)-6])
	for i := range 6 {
		time.Sleep(300 * time.Millisecond)
		w.send(request[len(request)-6+i : len(request)-5+i])
	}
	w.want(200, digestOf("abcdef"))
}
