package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ask sends a request on a connection of its own and returns all that comes.
func (s *server) ask(method, target, fields, body string) string {
	s.t.Helper()
	if body != "" {
		fields += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	return s.raw(fmt.Sprintf("%s %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n%s\r\n%s", method, target, fields, body))
}

// bodyOf is what stands behind the head of a response with a Content-Length.
func bodyOf(answer string) string {
	_, body, _ := strings.Cut(answer, "\r\n\r\n")
	return body
}

// TestValidated runs applications under the standard library's own checker,
// which raises, and so makes a 500, where the server breaks a rule.
func TestValidated(t *testing.T) {
	s := start(t, "--threads", "2", "pep3333:app")
	lines := "one\ntwo\nthree"
	for _, c := range []struct{ method, page, body, status, want string }{
		{"GET", "/simple", "", "200 OK", "simple"},
		{"HEAD", "/simple", "", "200 OK", ""},
		{"POST", "/simple", "unread", "200 OK", "simple"},
		{"OPTIONS", "/simple", "", "200 OK", "simple"},
		{"GET", "/with_length", "", "200 OK", "length"},
		{"HEAD", "/with_length", "", "200 OK", ""},
		{"GET", "/generated", "", "200 OK", "0 1 2 3 4 "},
		{"GET", "/written", "", "200 OK", "written returned"},
		{"GET", "/nothing", "", "204 No Content", ""},
		{"POST", "/reads", lines, "200 OK", "one|\n|two\nthree"},
		{"POST", "/iterates", lines, "200 OK", "one\n|two\n|three"},
		{"GET", "/iterates", "", "200 OK", ""},
		{"GET", "/replaces", "", "500 Replaced", "replaced"},
		{"GET", "/complains?x", "", "200 OK", "complained"},
	} {
		w := s.dial()
		w.send(fmt.Sprintf("%s %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", c.method, c.page, len(c.body), c.body))
		if r, b := w.answer(c.method); r.Status != c.status || b != c.want {
			t.Errorf("%s %s: %s %q", c.method, c.page, r.Status, b)
		}
	}
	for _, line := range []string{"complaint: one", "complaint: two"} {
		s.waitLog(line)
	}
	if strings.Contains(s.log.String(), "AssertionError") {
		t.Error("the checker has found something")
	}
}

// TestEnvironValues checks types, and values that come from a client's bytes.
func TestEnvironValues(t *testing.T) {
	s := start(t, "-w", "2", "--threads", "2", "pep3333:app")
	if out := s.ask("POST", "/types/%E4%B8%AD%ff?q=%E4", "X-A: \xe4\xb8\xad\xff\r\nX-Empty:\r\nContent-Type: a/b\r\nAuthorization: Basic eA==\r\n", "body"); bodyOf(out) != "" {
		t.Errorf("environ: %q", out)
	}
	for _, c := range []struct{ target, fields, keys, want string }{
		{"/shows/%E4%B8%AD%2Fx", "", "PATH_INFO", `["/shows/\u00e4\u00b8\u00ad/x"]`},
		{"/shows/a%00b%0d%0a", "", "PATH_INFO", `["/shows/a\u0000b\r\n"]`},
		{"/shows/a;b=c/../d//e", "", "PATH_INFO,SCRIPT_NAME", `["/shows/a;b=c/../d//e", ""]`},
		{"/shows/+", "", "PATH_INFO,REQUEST_METHOD,SERVER_PROTOCOL", `["/shows/+", "GET", "HTTP/1.1"]`},
		{"/shows", "X-A: 1\r\nx-a:  2\t\r\nX-B:\r\n", "HTTP_X_A,HTTP_X_B,HTTP_X_C", `["1,2", "", null]`},
		{"/shows", "X_A: 1\r\nX-A_B: 2\r\n", "HTTP_X_A,HTTP_X_A_B", `[null, null]`},
		{"/shows", "Content-Type: a/b\r\n", "CONTENT_TYPE,HTTP_CONTENT_TYPE,CONTENT_LENGTH", `["a/b", null, null]`},
		{"/shows", "Content-Length: 0\r\n", "CONTENT_LENGTH,HTTP_CONTENT_LENGTH", `["0", null]`},
		{"/shows", "Transfer-Encoding: chunked\r\n", "CONTENT_LENGTH,HTTP_TRANSFER_ENCODING,wsgi.input_terminated", `["0", null, true]`},
		{"/shows", "", "wsgi.multithread,wsgi.multiprocess,wsgi.run_once,wsgi.version", `[true, true, false, [1, 0]]`},
		{"http://a/shows/x", "", "PATH_INFO,HTTP_HOST", `["/shows/x", "a"]`},
	} {
		body := ""
		if strings.Contains(c.fields, "chunked") {
			body = "0\r\n\r\n"
		}
		out := s.raw(fmt.Sprintf("GET %s?%s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n%s\r\n%s", c.target, c.keys, c.fields, body))
		if got := bodyOf(out); got != c.want {
			t.Errorf("%s, %q: %s = %q", c.target, c.fields, c.keys, out)
		}
	}
	out := s.ask("GET", "/shows/%41?RAW_URI,QUERY_STRING&%41=b", "", "")
	if want := `["/shows/%41?RAW_URI,QUERY_STRING&%41=b", "RAW_URI,QUERY_STRING&%41=b"]`; bodyOf(out) != want {
		t.Errorf("raw target: %q", out)
	}
	for range 20 {
		s.ask("GET", "/spoils", "", "")
	}
	if out := s.ask("GET", "/shows?HTTP_SPOILT,SERVER_PROTOCOL,wsgi.url_scheme", "", ""); bodyOf(out) != `[null, "HTTP/1.1", "http"]` {
		t.Errorf("after an application that spoils environ: %q", out)
	}
}

// TestExceptions wants close() to be called and the log to name the request,
// wherever an application raises.
func TestExceptions(t *testing.T) {
	s := start(t, "pep3333:app")
	pids := s.workers()
	for _, c := range []struct{ page, has, hasNot, event, log string }{
		{"/raises_in_iter", "HTTP/1.1 500 ", "raised", "closed raises_in_iter", "raised before the first piece"},
		{"/raises_between", "first piece", "\r\n0\r\n", "closed raises_between", "raised between pieces"},
		{"/raises_in_close", "fine", "raised", "closed raises_in_close", "raised in close"},
		{"/raises_after_write", "half", "\r\n0\r\n", "", "raised after write"},
		{"/exits_in_iter", "HTTP/1.1 500 ", "", "closed exits_in_iter", "SystemExit"},
		{"/recursion", "HTTP/1.1 500 ", "", "", "RecursionError"},
		{"/late_start", "HTTP/1.1 201 Late\r\n", "", "closed late_start", ""},
		{"/empty_first", "HTTP/1.1 503 Replaced\r\nX-Second: 1\r\n", "X-First", "closed empty_first", ""},
	} {
		out := s.ask("GET", c.page+"?x=1", "", "")
		if !strings.Contains(out, c.has) || c.hasNot != "" && strings.Contains(out, c.hasNot) {
			t.Errorf("%s: %q", c.page, out)
		}
		if got := bodyOf(s.ask("GET", "/events", "", "")); got != c.event {
			t.Errorf("%s: events %q", c.page, got)
		}
		if c.log == "" {
			continue
		}
		s.waitLog(c.log)
		s.waitLog("on GET " + c.page + "?x=1")
	}
	if now := s.workers(); len(now) != 1 || now[0] != pids[0] {
		t.Errorf("worker %v became %v", pids, now)
	}
}

// TestSentAsYielded lets a generator wait until its first piece has arrived:
// were pieces held back, this would end in the client's time limit.
func TestSentAsYielded(t *testing.T) {
	s := start(t, "--threads", "2", "pep3333:app")
	c := s.dial()
	c.send(getLine("/waits"))
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line == "first\r\n" {
			break
		}
	}
	if _, b := s.get("/opens"); b != "opened" {
		t.Fatal(b)
	}
	want := "6\r\nsecond\r\n0\r\n\r\n"
	buf := make([]byte, len(want))
	for n := 0; n < len(buf); {
		k, err := c.r.Read(buf[n:])
		if err != nil {
			t.Fatalf("%q, %v", buf[:n], err)
		}
		n += k
	}
	if string(buf) != want {
		t.Errorf("%q", buf)
	}
}

// TestNoBody looks at what must not have one, on a connection that goes on: a
// byte too many would be read as the next answer.
func TestNoBody(t *testing.T) {
	s := start(t, "pep3333:app")
	c := s.dial()
	for range 2 {
		c.send("HEAD /head_length HTTP/1.1\r\nHost: a\r\n\r\n")
		if r, b := c.answer("HEAD"); r.ContentLength != 1000 || b != "" {
			t.Errorf("HEAD: length %d, %q", r.ContentLength, b)
		}
		for _, status := range []string{"204+No+Content", "304+Not+Modified"} {
			c.send(getLine("/status?" + status))
			r, b := c.answer("GET")
			if r.Header.Get("X-Own") != "1" || b != "" || len(r.TransferEncoding) > 0 {
				t.Errorf("%s: %v %q", status, r.Header, b)
			}
		}
		c.send("HEAD /raises_in_iter HTTP/1.1\r\nHost: a\r\n\r\n")
		if r, _ := c.answer("HEAD"); r.StatusCode != 500 {
			t.Errorf("HEAD of an exception: %s", r.Status)
		}
	}
	c.send(getLine("/events"))
	if _, b := c.answer("GET"); strings.Count(b, "closed status") != 4 {
		t.Errorf("closed: %q", b)
	}
}

func TestResponseHeaders(t *testing.T) {
	s := start(t, "pep3333:app")
	out := s.ask("GET", "/cookies", "", "")
	for _, want := range []string{"\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n", "\r\nX-Latin: caf\xe9\r\n", "\r\nDate: ", "\r\nConnection: close\r\n", "\r\nContent-Length: 3\r\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %q", want, out)
		}
	}
	out = s.ask("GET", "/own", "", "")
	if strings.Count(out, "\r\nDate: ") != 1 || strings.Count(out, "\r\nServer: ") != 1 || !strings.Contains(out, "\r\nServer: mine\r\n") || !strings.Contains(out, "1970") {
		t.Errorf("the application's own Date and Server: %q", out)
	}
	for _, c := range []struct {
		name, value string
		taken       bool
	}{
		{"X-Fine", "a b\tc", true}, {"X-Empty", "", true},
		{"Keep-Alive", "a\r\nX-Evil: 1", false},
		{"X-A", "a\r\nX-Evil: 1", false}, {"X-A", "a\nb", false}, {"X-A", "a\rb", false}, {"X-A", "a\x00b", false},
		{"X-A\r\nX-Evil", "a", false}, {"X A", "a", false}, {"", "a", false}, {"X:A", "a", false},
		{"X-A", "\u20ac", false}, {"Content-Length", "-1", false}, {"Content-Length", "1, 2", false}, {"Content-Length", "abc", false},
	} {
		pair, _ := json.Marshal([]string{c.name, c.value})
		out := s.ask("POST", "/refused", "", string(pair))
		if got := strings.HasSuffix(out, "taken"); got != c.taken || !c.taken && !strings.Contains(out, "refused ") || strings.Contains(out, "\r\nX-Evil") {
			t.Errorf("%q: %q: %q", c.name, c.value, out)
		}
	}
}

// TestHopByHop: what an application sets of the connection's business is left out,
// and said once; close is obeyed.
func TestHopByHop(t *testing.T) {
	s := start(t, "pep3333:app")
	c := s.dial()
	for range 2 {
		for _, f := range []struct{ name, value string }{
			{"Connection", "keep-alive"}, {"transfer-encoding", "chunked"}, {"Keep-Alive", "timeout=5"}, {"Upgrade", "h2c"}, {"TE", "trailers"},
			{"Trailer", "X"}, {"Proxy-Authenticate", "x"}, {"Proxy-Connection", "close"},
		} {
			pair, _ := json.Marshal([]string{f.name, f.value})
			c.send(fmt.Sprintf("POST /refused HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(pair), pair))
			r, b := c.answer("POST")
			if r.StatusCode != 200 || b != "taken" || r.Close || r.Header.Get(f.name) != "" || len(r.TransferEncoding) != 0 {
				t.Errorf("%s: %s: %v %q", f.name, f.value, r, b)
			}
			s.waitLog("name=" + strings.ToLower(f.name))
		}
	}
	c.send("POST /refused HTTP/1.1\r\nHost: a\r\nContent-Length: 26\r\n\r\n[\"connection\", \"a, close\"]")
	if r, b := c.answer("POST"); r.StatusCode != 200 || b != "taken" || !r.Close {
		t.Errorf("Connection: close: %v %q", r, b)
	}
	if _, err := c.r.ReadByte(); err != io.EOF {
		t.Errorf("the connection goes on: %v", err)
	}
	if n := strings.Count(s.log.String(), "header that concerns the connection"); n != 8 {
		t.Errorf("%d warnings of 8 names", n)
	}
}

// TestOddStatuses: what other servers take passes.
func TestOddStatuses(t *testing.T) {
	s := start(t, "pep3333:app")
	for status, want := range map[string]string{
		"200": "200 ", "200+": "200 ", "201Made": "201 Made", "600+Odd": "600 Odd", "999+Request+denied": "999 Request denied", "404++Not": "404 Not",
	} {
		out := s.ask("GET", "/status?"+status, "", "")
		if line, _, _ := strings.Cut(out, "\r\n"); line != "HTTP/1.1 "+want || !strings.Contains(out, "body that must not be sent") {
			t.Errorf("%s: %q", status, out)
		}
	}
	for _, status := range []string{"100+Continue", "101+Switching", "099+x", "2000+x", "abc", "20", ""} {
		if out := s.ask("GET", "/status?"+status, "", ""); !strings.HasPrefix(out, "HTTP/1.1 500 ") {
			t.Errorf("%s: %q", status, out)
		}
	}
	if n := s.metric("hostler_requests_total", `code="5xx"`); n != 9 {
		t.Errorf("%v were counted as 5xx", n)
	}
}

func TestFileWrapper(t *testing.T) {
	source, err := os.ReadFile(apps + "/pep3333.py")
	if err != nil {
		t.Fatal(err)
	}
	text := string(source)
	_, behindFirstLine, _ := strings.Cut(text, "\n")
	s := start(t, "pep3333:app")
	for kind, want := range map[string]string{
		"plain": text, "offset": text[1000:], "buffered": behindFirstLine, "length": text[:100],
		"memory": text, "raw": text, "duck": text, "closing": text, "pipe": "through a pipe",
	} {
		for range 2 {
			if code, b := s.get("/wrapped_file?" + kind); code != 200 || b != want {
				t.Errorf("%s: %d, %d bytes instead of %d", kind, code, len(b), len(want))
			}
		}
		if out := s.ask("HEAD", "/wrapped_file?"+kind, "", ""); bodyOf(out) != "" || !strings.HasPrefix(out, "HTTP/1.1 200 ") {
			t.Errorf("HEAD %s: %q", kind, out)
		}
	}
	if got := bodyOf(s.ask("GET", "/events", "", "")); strings.Count(got, "closed duck") != 3 || strings.Count(got, "closed closing") != 3 {
		t.Errorf("closed: %q", got)
	}
	if out := s.ask("GET", "/wrapped_file?too_long", "", ""); !strings.HasSuffix(out, text[len(text)-100:]) {
		t.Errorf("a file shorter than its Content-Length: …%q", out[max(0, len(out)-100):])
	}
	s.waitLog("less than its Content-Length")
}

// TestWrappedSpecialFiles: where the size of a file says nothing, it is read.
func TestWrappedSpecialFiles(t *testing.T) {
	online, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, "pep3333:app")
	for kind, want := range map[string]string{"proc": "Linux\n", "sys": string(online)} {
		if code, b := s.get("/wrapped_file?" + kind); code != 200 || b != want {
			t.Errorf("%s: %d %q", kind, code, b)
		}
	}
}

// TestWrappedRange: a framework that answers ranges seeks in the file it has wrapped.
func TestWrappedRange(t *testing.T) {
	source, err := os.ReadFile(apps + "/pep3333.py")
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, "pep3333:app")
	from := len(source) - 100
	out := s.ask("GET", "/ranged", fmt.Sprintf("Range: bytes=%d-%d\r\n", from, from+9), "")
	if !strings.HasPrefix(out, "HTTP/1.1 206 ") || bodyOf(out) != string(source[from:from+10]) {
		t.Errorf("%q", out)
	}
	if got := bodyOf(s.ask("GET", "/events", "", "")); got != "name pep3333.py\nread 100" {
		t.Errorf("to answer 10 bytes: %s", got)
	}
}

func TestThreadsAndForks(t *testing.T) {
	s := start(t, "pep3333:app")
	_, before := s.get("/background")
	s.eventually("the application's thread to run between requests", func() bool {
		_, now := s.get("/background")
		time.Sleep(20 * time.Millisecond)
		return len(now) > len(before)+1
	})
	// The child may leave with any status, but neither crash nor serve on.
	var status int
	if code, b := s.get("/forks"); code != 200 {
		t.Errorf("the parent of a child that raises SystemExit: %d %q", code, b)
	} else if _, err := fmt.Sscan(b, &status); err != nil || syscall.WaitStatus(status).Signaled() {
		t.Errorf("the child's status: %q, %v", b, err)
	}
	if code, b := s.get("/simple"); code != 200 || b != "simple" {
		t.Errorf("after a fork: %d %q", code, b)
	}
	if n := len(s.workers()); n != 1 {
		t.Errorf("%d workers", n)
	}
}

// TestEndBeforeClose wants the end of a chunked body to be sent before close() is
// called, which may take its time.
func TestEndBeforeClose(t *testing.T) {
	s := start(t, "--threads", "2", "pep3333:app")
	c := s.dial()
	c.send(getLine("/close_waits"))
	if _, b := c.answer("GET"); b != "all of it" {
		t.Errorf("%q", b)
	}
	s.get("/opens")
	s.eventually("close() to return", func() bool {
		_, b := s.get("/events")
		return strings.Contains(b, "close waited: True")
	})
}

// TestClientGoneInWrite wants no traceback of an application that merely heard,
// from write(), that nobody listens any more.
func TestClientGoneInWrite(t *testing.T) {
	s := start(t, "pep3333:app")
	c := s.dial()
	c.send(getLine("/gone"))
	if _, err := c.r.Peek(1); err != nil {
		t.Fatal(err)
	}
	c.Close()
	s.eventually("the request to end", func() bool { return s.metric("hostler_request_duration_seconds_count", "") == 1 })
	if n := s.metric("hostler_app_exceptions_total", ""); n != 0 || strings.Contains(s.log.String(), "Traceback") {
		t.Errorf("%v exceptions", n)
	}
}
