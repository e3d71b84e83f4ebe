package worker

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"hostler/internal/testlog"
	"hostler/worker/http1"
)

func TestRefusalsAreLoggedOncePerSecond(t *testing.T) {
	var r refusals
	const second = int64(time.Second)
	note := func(now int64, wantSay bool, wantUnsaid uint64) {
		t.Helper()
		if say, unsaid := r.note(http1.ReasonBareLF, now); say != wantSay || unsaid != wantUnsaid {
			t.Errorf("at %d: %v, %d", now, say, unsaid)
		}
	}
	due := func(now int64, want uint64) {
		t.Helper()
		if n := r.due(http1.ReasonBareLF, now); n != want {
			t.Errorf("at %d: %d are due, not %d", now, n, want)
		}
	}
	now := 100 * second
	note(now, true, 0)
	for i := range int64(1000) {
		note(now+i, false, 0)
	}
	if say, _ := r.note(http1.ReasonBareCR, now); !say {
		t.Error("another reason has to wait, too")
	}
	due(now+second-1, 0)
	note(now+second, true, 1000)
	note(now+second+1, false, 0)
	due(now+2*second-1, 0)
	due(now+2*second, 1)
	due(now+2*second, 0)
	note(now+2*second+1, false, 0) // there has just been a line
	due(now+3*second, 1)
	due(now+5*second, 0)
	note(now+5*second, true, 0)
}

const (
	postHead  = "POST / HTTP/1.1\r\nHost: x\r\n"
	chunkHead = postHead + "Transfer-Encoding: chunked\r\n\r\n"
	echoed    = "reflectme"
)

// refusedFor has something that is refused for each reason.
var refusedFor = map[http1.Reason]string{
	http1.ReasonBareLF:                      "GET /" + echoed + " HTTP/1.1\n",
	http1.ReasonBareCR:                      "GET / HTTP/1.1\r\nHost: x\r\nX: " + echoed + "\r" + echoed + "\r\n\r\n",
	http1.ReasonObsFold:                     postHead + "X: 1\r\n " + echoed + "\r\n\r\n",
	http1.ReasonSpaceBeforeColon:            postHead + echoed + " : 1\r\n\r\n",
	http1.ReasonBadFieldName:                postHead + echoed + "\r\n\r\n",
	http1.ReasonBadFieldValue:               postHead + "X: " + echoed + "\x00\r\n\r\n",
	http1.ReasonDuplicateHost:               postHead + "Host: " + echoed + "\r\n\r\n",
	http1.ReasonMissingHost:                 "GET /" + echoed + " HTTP/1.1\r\n\r\n",
	http1.ReasonBadHost:                     "GET / HTTP/1.1\r\nHost: " + echoed + "/\r\n\r\n",
	http1.ReasonDuplicateContentLength:      postHead + "Content-Length: 1\r\nContent-Length: 1\r\n\r\n" + echoed,
	http1.ReasonBadContentLength:            postHead + "Content-Length: " + echoed + "\r\n\r\n",
	http1.ReasonLengthAndChunked:            postHead + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n" + echoed,
	http1.ReasonDuplicateTransferEncoding:   postHead + "Transfer-Encoding: chunked\r\nTransfer-Encoding: " + echoed + "\r\n\r\n",
	http1.ReasonBadTransferEncoding:         postHead + "Transfer-Encoding: " + echoed + "\r\n\r\n",
	http1.ReasonUnsupportedTransferEncoding: postHead + "Transfer-Encoding: gzip, chunked\r\n\r\n" + echoed,
	http1.ReasonChunkedInHTTP10:             "POST /" + echoed + " HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
	http1.ReasonDuplicateContentType:        postHead + "Content-Type: " + echoed + "\r\nContent-Type: " + echoed + "\r\n\r\n",
	http1.ReasonBadExpect:                   postHead + "Expect: " + echoed + "\r\n\r\n",
	http1.ReasonBadMethod:                   echoed + " / HTTP/1.1\r\n\r\n",
	http1.ReasonBadTarget:                   "GET " + echoed + " HTTP/1.1\r\n\r\n",
	http1.ReasonBadRequestLine:              "GET /" + echoed + "\r\n\r\n",
	http1.ReasonBadVersion:                  "GET / " + echoed + "\r\n\r\n",
	http1.ReasonUnsupportedVersion:          "GET /" + echoed + " HTTP/3.0\r\n\r\n",
	http1.ReasonLineTooLong:                 "GET /" + strings.Repeat(echoed, 1000),
	http1.ReasonFieldTooLong:                postHead + "X: " + strings.Repeat(echoed, 1000),
	http1.ReasonTooManyFields:               postHead + strings.Repeat("X: "+echoed+"\r\n", 101),
	http1.ReasonHeadTooLarge:                postHead + strings.Repeat("X: "+strings.Repeat(echoed, 500)+"\r\n", 20),
	http1.ReasonBadChunkSize:                chunkHead + echoed + "\r\n",
	http1.ReasonBadChunkExt:                 chunkHead + "1;=" + echoed + "\r\n",
	http1.ReasonChunkExtTooLarge:            chunkHead + "1;" + strings.Repeat(echoed, 2000),
	http1.ReasonBadChunkEnd:                 chunkHead + "1\r\n" + echoed,
	http1.ReasonBadTrailer:                  chunkHead + "0\r\nHost: " + echoed + "\r\n\r\n",
	http1.ReasonTrailerTooLarge:             chunkHead + "0\r\nX: " + strings.Repeat(echoed, 2000),
	http1.ReasonTruncatedHead:               "GET /" + echoed,
	http1.ReasonTruncatedBody:               postHead + "Content-Length: 20\r\n\r\n" + echoed,
	http1.ReasonBadForwarded:                postHead + "X-Forwarded-Proto: " + echoed + "\r\n\r\n",
	http1.ReasonForwardedMismatch:           postHead + "X-Forwarded-Proto: http\r\nX-Forwarded-Proto: https\r\n\r\n",
	http1.ReasonBadProxyHeader:              "PROXY " + echoed + "\r\n",
	http1.ReasonMissingProxyHeader:          get,
	http1.ReasonBodyTooLarge:                postHead + "Content-Length: 1000\r\n\r\n" + echoed,
	http1.ReasonConnect:                     "CONNECT " + echoed + ":80 HTTP/1.1\r\nHost: " + echoed + ":80\r\n\r\n",
	http1.ReasonUnknownProtocol:             http2Begin + "\x00\x00\x1d\x01\x04\x00\x00\x00\x01\x86\x84\x02\x07CONNECT\x01\x01x\x00\x09:protocol\x03foo",
	http1.ReasonHTTP2Stream:                 http2Begin + "\x00\x00\x02\x01\x05\x00\x00\x00\x01\x82\x86", // no :path
	http1.ReasonHTTP2Connection:             http2Begin + "\x00\x00\x00\x01\x05\x00\x00\x00\x02",         // an even number
	http1.ReasonSpoolStalled:                postHead + "Content-Length: 2000000\r\n\r\n" + strings.Repeat(echoed, 40_000),
}

// http2Begin is a client's preface, and SETTINGS.
const http2Begin = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// lineOf is what the access log has of a request that is refused: its request line, if it
// has one.
func lineOf(reason http1.Reason, request string) string {
	switch reason {
	case http1.ReasonMissingProxyHeader: // nobody knows whose it is
		return "-"
	case http1.ReasonUnknownProtocol:
		return "CONNECT / HTTP/2.0"
	}
	if line := regexp.MustCompile("^([^ ]+ [^ ]+ HTTP/1\\.[01])\r\n").FindStringSubmatch(request); line != nil {
		return line[1]
	}
	return "-"
}

// TestEveryRefusalShows wants for each reason: a count under its label, a line in
// the log and one in the access log, and an answer that repeats nothing.
func TestEveryRefusalShows(t *testing.T) {
	log := new(testlog.Buffer)
	path := filepath.Join(t.TempDir(), "access")
	access, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { access.Close() })
	rigOf := func(version string, frames bool, changes ...func(*rig)) *rig {
		cfg := testConfig()
		cfg.HTTP2Cleartext = frames
		cfg.LimitRequestBody = 100
		cfg.ForwardedAllowIPs, cfg.ForwardedHeaders = []string{"127.0.0.1"}, []string{"proto"}
		cfg.ProxyAllowIPs, cfg.ProxyProtocol = []string{"127.0.0.1"}, version
		r := newRig(t, cfg, func(c *call) {
			t.Errorf("the application is asked for %s %s", c.method, c.target)
			c.ok("")
		})
		r.log = slog.New(slog.NewTextHandler(log, nil))
		r.accessTo(access)
		for _, change := range changes {
			change(r)
		}
		r.start()
		return r
	}
	plain, proxied, framed := rigOf("", false), rigOf("v1", false), rigOf("", true, func(r *rig) { r.keeper.sockets.tunnels = true })
	disk := &fakeDisk{free: 1 << 40, stands: make(chan struct{})}
	defer close(disk.stands)
	stalled := rigOf("", false, func(r *rig) {
		r.spools.limit, r.spools.disk = 1<<30, disk
		r.cfg.LimitRequestBody, r.cfg.BodyTimeout = 0, 100*time.Millisecond
	})
	lines := 0
	for reason := http1.ReasonNone + 1; int(reason) < http1.NumReasons; reason++ {
		input, ok := refusedFor[reason]
		if !ok {
			t.Errorf("%v: nothing that is refused for it", reason)
			continue
		}
		r, want := plain, fmt.Sprintf("HTTP/1.1 %d ", reason.Status())
		sent := -1 // the answer's body
		switch reason {
		case http1.ReasonTruncatedHead:
			want = ""
		case http1.ReasonBadProxyHeader, http1.ReasonMissingProxyHeader:
			r, want = proxied, ""
		case http1.ReasonUnknownProtocol:
			r, want, sent = framed, "501 Not Implemented", len(plainText(501, nil))
		case http1.ReasonHTTP2Stream:
			r, want, sent = framed, "\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x01", 0 // RST_STREAM, protocol error
		case http1.ReasonHTTP2Connection:
			r, want, sent = framed, "\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01", 0 // GOAWAY
		case http1.ReasonSpoolStalled:
			r = stalled
		}
		c := r.dialTCP()
		_, _ = io.WriteString(c, input)
		if r == framed { // a client of HTTP/2 that closes its side has left
			answer := make([]byte, 0, 1000)
			for !strings.Contains(string(answer), want) {
				n, err := c.Read(answer[len(answer):cap(answer)])
				if err != nil {
					t.Fatalf("%v: answered %q, %v", reason, answer, err)
				}
				answer = answer[:len(answer)+n]
			}
			want = ""
		}
		_ = c.CloseWrite()
		answer := readAll(c)
		if want == "" && answer != "" && r != framed || !strings.Contains(answer, want) {
			t.Errorf("%v: answered %q", reason, answer)
		}
		if sent < 0 {
			_, body, _ := strings.Cut(answer, "\r\n\r\n")
			sent = len(body)
		}
		size := "-"
		if sent > 0 {
			size = fmt.Sprint(sent)
		}
		if strings.Contains(answer, echoed) {
			t.Errorf("%v: the answer repeats the request: %q", reason, answer)
		}
		if n := r.slot.Counters.Rejected[reason].Load(); n != 1 {
			t.Errorf("%v: counted %d times", reason, n)
		}
		said := log.Take()
		if strings.Count(said, "\n") != 1 || !strings.Contains(said, `level=WARN msg="request refused" reason=`+reason.String()+" client=127.0.0.1\n") || strings.Contains(said, echoed) {
			t.Errorf("%v: the log says %q", reason, said)
		}
		lines++
		r.access.to.Flush(time.Minute)
		b, _ := os.ReadFile(path)
		all := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
		last := all[len(all)-1]
		if len(all) != lines || !strings.HasPrefix(last, "127.0.0.1 - - [") || !strings.Contains(last, fmt.Sprintf(`] "%s" %d %s "-" "-"`, lineOf(reason, input), reason.Status(), size)) {
			t.Errorf("%v: %d lines in the access log, the last is %q", reason, len(all), last)
		}
	}
}

// TestRefusedHead refuses requests for a head alone for every reason, in pieces, too:
// the answer is one.
func TestRefusedHead(t *testing.T) {
	cfg := testConfig()
	cfg.LimitRequestBody = 100
	cfg.ForwardedAllowIPs, cfg.ForwardedHeaders = []string{"127.0.0.1"}, []string{"proto"}
	r := serve(t, cfg, echo)
	tried := 0
	for reason, input := range refusedFor {
		_, rest, ok := strings.Cut(input, " ")
		switch reason {
		case http1.ReasonBadMethod, http1.ReasonConnect, http1.ReasonTruncatedHead, http1.ReasonBadProxyHeader, http1.ReasonMissingProxyHeader,
			http1.ReasonHTTP2Stream, http1.ReasonHTTP2Connection, http1.ReasonUnknownProtocol,
			http1.ReasonSpoolStalled: // see TestSpoolStalls
			continue
		}
		if !ok {
			t.Fatalf("%v: %q", reason, input)
		}
		for _, input := range []string{"HEAD " + rest, "\r\nHEAD " + rest} {
			for _, cut := range []int{0, len("HEAD /"), len(input) - 1} {
				tried++
				c := r.dialTCP()
				before := r.slot.Counters.ReceivedBytes.Load()
				_, _ = io.WriteString(c, input[:cut])
				if cut < 10 {
					eventually(t, "the first part is read", func() bool { return r.slot.Counters.ReceivedBytes.Load() >= before+uint64(cut) })
				} // else it may have been refused
				_, _ = io.WriteString(c, input[cut:])
				if reason == http1.ReasonTruncatedBody {
					_ = c.CloseWrite()
				}
				head, body, whole := strings.Cut(readAll(c), "\r\n\r\n")
				length := fmt.Sprintf("\r\nContent-Length: %d\r\n", len(plainText(reason.Status(), nil)))
				if !whole || body != "" || !strings.HasPrefix(head, fmt.Sprintf("HTTP/1.1 %d ", reason.Status())) || !strings.Contains(head, length) {
					t.Errorf("%v, cut at %d: answered %q, %q", reason, cut, head, body)
				}
			}
		}
	}
	if tried < 150 {
		t.Errorf("only %d were tried", tried)
	}
}

// TestLateHead is that for a request that does not become whole in time.
func TestLateHead(t *testing.T) {
	cfg := testConfig()
	cfg.HeaderTimeout = 50 * time.Millisecond
	r := serve(t, cfg, echo)
	for _, begin := range []string{"HEAD / HTTP/1.1\r\nHost: x\r\nA", "\r\nHEAD / HT"} {
		c := r.dialTCP()
		send(t, c, begin)
		if head, body, whole := strings.Cut(readAll(c), "\r\n\r\n"); !whole || body != "" || !strings.HasPrefix(head, "HTTP/1.1 408 ") {
			t.Errorf("%q: %q, %q", begin, head, body)
		}
	}
}

// TestRedirectedHead is that for what is not refused, but not the application's either.
func TestRedirectedHead(t *testing.T) {
	cfg := testConfig()
	cfg.Listeners[0].Redirect = "443"
	r := serve(t, cfg, echo)
	for request, want := range map[string]string{
		"HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n": "https://x/a", "HEAD / HTTP/1.1\r\nHost:\r\n\r\n": "https://a/",
		"HEAD http://y:80/b HTTP/1.1\r\nHost: x\r\n\r\n": "https://y/b",
	} {
		c := r.dialTCP()
		send(t, c, request)
		head, body, whole := strings.Cut(readAll(c), "\r\n\r\n")
		if !whole || body != "" || !strings.HasPrefix(head, "HTTP/1.1 308 ") || !strings.Contains(head, "Location: "+want+"\r\n") {
			t.Errorf("%q: %q, %q", request, head, body)
		}
	}
}

func readAll(c net.Conn) string {
	b, _ := io.ReadAll(c) // a reset is an end, too
	return string(b)
}

// A body that turns out malformed, or too large, while the application reads it is
// a refusal as well.
func TestRefusedWhileRead(t *testing.T) {
	cfg := testConfig()
	log := new(testlog.Buffer)
	r := newRig(t, cfg, func(c *call) {
		if _, rc := c.all(); rc == 0 {
			t.Error("the body is read to its end")
		}
		c.t.Result |= ResultFailed
	})
	r.log = slog.New(slog.NewTextHandler(log, nil))
	cfg.LimitRequestBody = 2_000_000
	r.start()
	for reason, end := range map[http1.Reason]string{http1.ReasonBadChunkSize: "zz\r\n", http1.ReasonBodyTooLarge: "ffffff\r\n" + strings.Repeat("x", 2_000_000)} {
		c := r.dialTCP()
		go func() { _, _ = io.WriteString(c, chunkHead+"180000\r\n"+strings.Repeat("x", 0x180000)+"\r\n"+end) }()
		readAll(c)
		if n := r.slot.Counters.Rejected[reason].Load(); n != 1 {
			t.Errorf("%v: counted %d times", reason, n)
		}
		if said := log.Take(); !strings.Contains(said, "reason="+reason.String()+" ") {
			t.Errorf("%v: the log says %q", reason, said)
		}
	}
}

// A flood of rubbish makes few lines, and all of it is accounted for in the end.
func TestFloodOfRefusals(t *testing.T) {
	log := new(testlog.Buffer)
	r := newRig(t, testConfig(), echo)
	r.log = slog.New(slog.NewTextHandler(log, nil))
	r.start()
	const n = 500
	begin := time.Now()
	for range n {
		c := r.dial()
		send(t, c, "\n")
		readAll(c)
		c.Close()
	}
	took := time.Since(begin)
	r.stopNow()
	eventually(t, "the rest to be said", func() bool {
		lines, sum := 0, 0
		for _, l := range strings.Split(strings.TrimSpace(log.String()), "\n") {
			more := 0
			if _, after, ok := strings.Cut(l, "more="); ok {
				fmt.Sscan(after, &more)
			}
			if strings.Contains(l, `"request refused"`) {
				sum++
			}
			sum += more
			lines++
		}
		if lines > 3+int(took/time.Second) {
			t.Fatalf("%d lines for %v of rubbish", lines, took)
		}
		return sum == n
	})
}
