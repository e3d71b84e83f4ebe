package worker

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"hostler/protocol"
	"hostler/settings"
)

// large is a page that no socket takes at once.
var large = "<p>{{request_id}}" + strings.Repeat("busy ", 50_000)

func givenPages() pages {
	return newPages([]protocol.ErrorPage{
		{Status: 503, Type: "application/json", Body: []byte(`{"error":"busy"}`)},
		{Status: 5, Type: "text/html", Body: []byte(large)},
		{Status: 404, Type: "text/plain", Body: nil},
	})
}

// TestErrorPages: errors of the server's own say what the operator wants; those of the
// application's own say what that does.
func TestErrorPages(t *testing.T) {
	cfg := staticConfig(t, testConfig())
	cfg.RequestID = true
	r := newRig(t, cfg, func(c *call) {
		switch c.target {
		case "/raise":
			c.t.Result = ResultFailed
		case "/late":
			c.t.Result = ResultFailed | ResultTimedOut
		default:
			c.head("503 Service Unavailable")
			c.final(offHeapCopy("the application's"))
		}
	})
	r.refusals.pages = givenPages()
	r.start()
	c := r.dial()
	in := responses(t, c)
	ask := func(method, target string) {
		send(t, c, method+" "+target+" HTTP/1.1\r\nHost: x\r\nX-Request-ID: id-7\r\n\r\n")
	}
	page := strings.ReplaceAll(large, "{{request_id}}", "id-7")
	for target, status := range map[string]int{"/raise": 500, "/late": 504} {
		ask("GET", target)
		if p := in.want(status, page); p.fields["content-type"] != "text/html" || p.fields["x-request-id"] != "id-7" {
			t.Errorf("%s: %v", target, p.fields)
		}
		ask("HEAD", target)
		p, err := in.read(true)
		if err != nil || p.status != status || p.fields["content-length"] != "250007" {
			t.Errorf("HEAD %s: %v, %v", target, p, err)
		}
	}
	ask("GET", "/own")
	in.want(503, "the application's")
	ask("GET", "/static/none/there")
	in.want(404, "")
	ask("POST", "/static/a.txt")
	if p := in.want(405, "405 Method Not Allowed\nRequest: id-7\n"); p.fields["allow"] != "GET, HEAD" {
		t.Errorf("405: %v", p.fields)
	}
	send(t, c, "GET /raise HTTP/1.0\r\n\r\n")
	if p := in.want(500, "*"); !strings.HasPrefix(p.body, "<p>") || strings.Contains(p.body, "{{") {
		t.Errorf("HTTP/1.0: %.40q", p.body)
	}
	in.wantEnd()
}

// TestErrorPageTooMuch: nobody can run the request.
func TestErrorPageTooMuch(t *testing.T) {
	cfg := testConfig()
	cfg.Threads, cfg.Queue = 1, 1
	release, busy := make(chan struct{}), make(chan struct{}, 2)
	r := newRig(t, cfg, func(c *call) { busy <- struct{}{}; <-release; c.ok("done") })
	r.refusals.pages = newPages([]protocol.ErrorPage{{Status: 503, Type: "text/html", Body: []byte(large)}})
	r.start()
	first := r.dial()
	send(t, first, get)
	<-busy
	waits := r.dial()
	send(t, waits, get)
	eventually(t, "a request waits", func() bool { return r.slot.Gauges.QueueDepth.Load() == 1 })
	c := r.dial()
	send(t, c, get)
	in := responses(t, c)
	in.want(503, strings.ReplaceAll(large, "{{request_id}}", "")) // larger than the socket's buffer
	in.wantEnd()
	close(release)
	responses(t, first).want(200, "done")
}

// TestPlainErrors: without a page, who asks for HTML by name gets some.
func TestPlainErrors(t *testing.T) {
	r := serve(t, testConfig(), func(c *call) { c.t.Result = ResultFailed })
	for accept, html := range map[string]bool{
		"": false, "*/*": false, "application/json, text/*": false, "text/html": true, "application/json;q=1, Text/HTML;q=0.1": true,
		"text/html;q=0": false, "text/html; q=0.0, */*": false, "text/html;level=1;q=0.5": true, "xtext/html": false,
	} {
		c := r.dial()
		send(t, c, "GET / HTTP/1.1\r\nHost: x\r\nAccept: "+accept+"\r\n\r\n")
		in := responses(t, c)
		p := in.want(500, "*")
		if got := p.fields["content-type"] == "text/html; charset=utf-8" && strings.HasPrefix(p.body, "<!DOCTYPE html>"); got != html || !html && p.body != "500 Internal Server Error\n" {
			t.Errorf("%q: %v", accept, p)
		}
		// What is refused before it is a request.
		send(t, c, "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\naccept: "+accept+"\r\n\r\naccept: text/html\r\n")
		if p := in.want(400, "*"); strings.HasPrefix(p.body, "<!DOCTYPE html>") != html {
			t.Errorf("refused, %q: %v", accept, p)
		}
	}
}

// TestErrorPagesHTTP2: a page leaves in frames, as wide as the client's windows are.
func TestErrorPagesHTTP2(t *testing.T) {
	cfg := cleartextConfig()
	cfg.Static = []settings.Static{{Prefix: "/static", Dir: t.TempDir()}}
	r := newRig(t, cfg, func(c *call) { c.t.Result = ResultFailed })
	r.refusals.pages = givenPages()
	r.start()
	f := r.framer()
	f.must(f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20}))
	f.must(f.WriteWindowUpdate(0, 1<<20))
	f.ask(1, true)
	all := f.frames(1)
	if body := strings.Join(all[1:], ""); all[0] != "500" || body != strings.ReplaceAll(large, "{{request_id}}", "") {
		t.Errorf("%s, %d bytes", all[0], len(body))
	}
	ask := func(id uint32, method, path string) {
		b := f.block(":method", method, ":scheme", "http", ":path", path, ":authority", "x")
		f.must(f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: b, EndStream: true, EndHeaders: true}))
	}
	ask(3, "GET", "/static/none")
	if all := f.frames(3); len(all) != 1 || all[0] != "404" {
		t.Errorf("an empty page: %q", all)
	}
	ask(5, "HEAD", "/5")
	if all := f.frames(5); len(all) != 1 || all[0] != "500" {
		t.Errorf("HEAD: %q", all)
	}
}

// TestErrorPagesMemory: what the master has written is what workers read, whoever has read it
// before.
func TestErrorPagesMemory(t *testing.T) {
	given := []protocol.ErrorPage{{Status: 5, Type: "text/html", Body: bytes.Repeat([]byte{0, 255}, 100_000)}}
	f, err := protocol.NewPagesMemory(given)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for range 2 {
		got, err := protocol.ReadPages(int(f.Fd()))
		if err != nil || len(got) != 1 || got[0].Status != 5 || !bytes.Equal(got[0].Body, given[0].Body) {
			t.Fatalf("%v", err)
		}
	}
}

// TestRaisedIsShown: with --debug, who gets the error sees what was raised; in HTML without
// anything of it being markup.
func TestRaisedIsShown(t *testing.T) {
	cfg := testConfig()
	cfg.RequestID = true
	r := newRig(t, cfg, func(c *call) {
		switch c.target {
		case "/sent":
			c.head("200 OK", "Content-Length", "5")
			c.write([]byte("abc"), false)
		case "/whole":
			c.ok("done")
			c.t.Raised([]byte("in close()"))
			return
		case "/quiet":
			c.t.Result = ResultFailed
			return
		}
		c.t.Raised([]byte("Error: <script>&\n"))
		c.t.Result = ResultFailed
	})
	r.refusals.pages = givenPages()
	r.start()
	c := r.dial()
	in := responses(t, c)
	ask := func(target, accept string) {
		send(t, c, "GET "+target+" HTTP/1.1\r\nHost: x\r\nX-Request-ID: id-7\r\nAccept: "+accept+"\r\n\r\n")
	}
	ask("/", "*/*")
	if p := in.want(500, "500 Internal Server Error\nRequest: id-7\n\nError: <script>&\n"); p.fields["x-content-type-options"] != "nosniff" || p.fields["cache-control"] != "no-store" {
		t.Errorf("%v", p.fields)
	}
	ask("/", "text/html")
	p := in.want(500, "*")
	if !strings.Contains(p.body, "<pre>Error: &lt;script&gt;&amp;\n</pre>") || strings.Contains(p.body, "<script>") || !strings.Contains(p.body, "<code>id-7</code>") ||
		p.fields["content-security-policy"] != "default-src 'none'; style-src 'unsafe-inline'" {
		t.Errorf("%v", p)
	}
	ask("/whole", "text/html")
	in.want(200, "done")
	ask("/quiet", "*/*") // of an earlier request nothing is left
	in.want(500, strings.ReplaceAll(large, "{{request_id}}", "id-7"))
	ask("/sent", "text/html")
	if p, err := in.read(false); err == nil || p.body != "abc" {
		t.Errorf("behind a head: %v, %v", p, err)
	}
}
