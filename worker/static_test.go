package worker

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"hostler/protocol"
	"hostler/settings"
)

// staticFile is larger than what sockets hold, and than a turn.
var staticFile = bytes.Repeat([]byte("0123456789abcdef"), 1<<20)

// staticConfig serves a small file and a large one at /static.
func staticConfig(t testing.TB, cfg *protocol.WorkerConfig) *protocol.WorkerConfig {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string][]byte{"a.txt": []byte("file"), "a.txt.gz": []byte("packed"), "big.bin": staticFile, "none": nil} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cfg.Static = []settings.Static{{Prefix: "/static", Dir: dir}}
	return cfg
}

// staticOpen counts the descriptors of regular files below dir.
func staticOpen(t testing.TB, dir string) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, fd := range fds {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(to, dir+"/") {
			n++
		}
	}
	return n
}

func TestStatic(t *testing.T) {
	r := serve(t, staticConfig(t, testConfig()), echo)
	c := r.dial()
	in := responses(t, c)
	const request = "GET /static/a.txt HTTP/1.1\r\nHost: x\r\n\r\n"
	send(t, c, request)
	p := in.want(200, "file")
	for name, want := range map[string]string{"content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff", "vary": "Accept-Encoding",
		"content-length": "4", "accept-ranges": "bytes", "server": "hostler", "connection": ""} {
		if p.fields[name] != want {
			t.Errorf("%s: %q, want %q", name, p.fields[name], want)
		}
	}
	if p.fields["date"] == "" || p.fields["last-modified"] == "" {
		t.Errorf("%v", p.fields)
	}
	send(t, c, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
	in.want(200, "GET /a ")
	send(t, c, "GET /static/none HTTP/1.1\r\nHost: x\r\n\r\n")
	in.want(200, "")
	send(t, c, "GET /static/nothing HTTP/1.1\r\nHost: x\r\n\r\n")
	in.want(404, "404 Not Found\n")
	send(t, c, "GET /%73tatic/%2e%2e/x HTTP/1.1\r\nHost: x\r\n\r\n")
	in.want(404, "404 Not Found\n")
	send(t, c, "GET /static/a.txt HTTP/1.1\r\nHost: x\r\nIf-None-Match: \"x\"\r\nIf-None-Match: "+p.fields["etag"]+"\r\n\r\n")
	in.want(304, "")
	send(t, c, "GET /static/a.txt HTTP/1.1\r\nHost: x\r\nif-match: \"x\"\r\n\r\n")
	in.want(412, "412 Precondition Failed\n")
	send(t, c, "GET /static/a.txt HTTP/1.1\r\nHost: x\r\nRange: bytes=1-2\r\nIF-RANGE: "+p.fields["etag"]+"\r\n\r\n")
	if p := in.want(206, "il"); p.fields["content-range"] != "bytes 1-2/4" {
		t.Errorf("%v", p.fields)
	}
	send(t, c, "GET /static/a.txt HTTP/1.1\r\nHost: x\r\nRange: bytes=9-\r\n\r\n")
	if p := in.want(416, "416 Requested Range Not Satisfiable\n"); p.fields["content-range"] != "bytes */4" {
		t.Errorf("%v", p.fields)
	}
	send(t, c, "GET /static/a.txt HTTP/1.1\r\nHost: x\r\nAccept-Encoding: br\r\nAccept-Encoding: gzip\r\n\r\n")
	if p := in.want(200, "packed"); p.fields["content-encoding"] != "gzip" {
		t.Errorf("%v", p.fields)
	}
	send(t, c, "HEAD /static/a.txt HTTP/1.1\r\nHost: x\r\n\r\n")
	if p, err := in.read(true); err != nil || p.status != 200 || p.fields["content-length"] != "4" {
		t.Errorf("%v %v", p, err)
	}
	send(t, c, "HEAD /static/nothing HTTP/1.1\r\nHost: x\r\n\r\n")
	if p, err := in.read(true); err != nil || p.status != 404 || p.fields["content-length"] != "14" {
		t.Errorf("%v %v", p, err)
	}
	for _, body := range []string{"Content-Length: 3\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"Content-Length: 200000\r\n\r\n" + strings.Repeat("x", 200000)} {
		send(t, c, "POST /static/a.txt HTTP/1.1\r\nHost: x\r\n"+body)
		if p := in.want(405, "405 Method Not Allowed\n"); p.fields["allow"] != "GET, HEAD" {
			t.Errorf("%v", p.fields)
		}
	}
	send(t, c, request+get+request)
	in.want(200, "file")
	in.want(200, "GET /a ")
	in.want(200, "file")
	for i := range request { // byte by byte
		send(t, c, request[i:i+1])
		time.Sleep(100 * time.Microsecond)
	}
	in.want(200, "file")
	send(t, c, "GET /static/a.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if p := in.want(200, "file"); p.fields["connection"] != "close" {
		t.Errorf("%v", p.fields)
	}
	in.wantEnd()
	k := &r.slot.Counters
	eventually(t, "the counts", func() bool {
		return k.OfClass(1, 2) == 10 && k.OfClass(1, 4) == 4 && k.OfClass(1, 3) == 1 &&
			k.OfClass(2, 2) == 1 && k.OfClass(2, 4) == 1 && k.OfClass(3, 4) == 3
	})
	if n := r.slot.Gauges.Served.Load(); n != 2 {
		t.Errorf("%d requests count as run by the application", n)
	}
	if n := k.AppViolations.Load() + k.AppExceptions.Load(); n != 0 {
		t.Errorf("%d faults of the application", n)
	}
}

func TestStaticHTTP10(t *testing.T) {
	r := serve(t, staticConfig(t, testConfig()), echo)
	c := r.dial()
	in := responses(t, c)
	send(t, c, "GET /static/a.txt HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
	if p := in.want(200, "file"); p.fields["connection"] != "keep-alive" {
		t.Errorf("%v", p.fields)
	}
	send(t, c, "GET /static/nothing HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
	in.want(404, "*")
	send(t, c, "GET /static/a.txt HTTP/1.0\r\n\r\n")
	in.want(200, "file")
	in.wantEnd()
}

// TestStaticPipelined sends more at once than is served in a row, of files alone and
// mixed.
func TestStaticPipelined(t *testing.T) {
	r := serve(t, staticConfig(t, testConfig()), echo)
	const file = "GET /static/a.txt HTTP/1.1\r\nHost: x\r\n\r\n"
	for _, mixed := range []bool{false, true} {
		c := r.dial()
		in := responses(t, c)
		go func() {
			for i := range 2000 {
				if mixed && i%3 == 0 {
					_, _ = io.WriteString(c, get)
				} else {
					_, _ = io.WriteString(c, file) // an error shows in the answers
				}
			}
		}()
		for i := range 2000 {
			if mixed && i%3 == 0 {
				in.want(200, "GET /a ")
			} else {
				in.want(200, "file")
			}
		}
	}
}

// TestStaticWedged asks for files while no Python thread comes back.
func TestStaticWedged(t *testing.T) {
	for _, threads := range []int{1, 3} {
		cfg := staticConfig(t, cleartextConfig())
		cfg.Threads = threads
		stay, inside := make(chan struct{}), make(chan struct{}, threads)
		r := serve(t, cfg, func(c *call) {
			if c.target == "/stay" {
				inside <- struct{}{}
				<-stay
			}
			c.ok("app")
		})
		var stuck []*reader
		early := r.dial() // at rest when it happens
		in := responses(t, early)
		send(t, early, "GET /static/a.txt HTTP/1.1\r\nHost: x\r\n\r\n")
		in.want(200, "file")
		for range threads {
			c := r.dial()
			send(t, c, "GET /stay HTTP/1.1\r\nHost: x\r\n\r\n")
			stuck = append(stuck, responses(t, c))
			<-inside
		}
		send(t, early, "GET /static/a.txt HTTP/1.1\r\nHost: x\r\n\r\n")
		in.want(200, "file")
		const n = 300
		go func() {
			_, _ = io.WriteString(early, strings.Repeat("GET /static/a.txt HTTP/1.1\r\nHost: x\r\n\r\n", n))
		}()
		for range n {
			in.want(200, "file")
		}
		for range 5 { // each waits for many ticks of the deputy
			c := r.dial()
			in := responses(t, c)
			send(t, c, "GET /static/big.bin HTTP/1.1\r\nHost: x\r\n\r\n")
			in.want(200, string(staticFile))
			send(t, c, "POST /static/a.txt HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na")
			time.Sleep(3 * time.Millisecond) // in pieces
			send(t, c, "bc\r\n0\r\n\r\n")
			in.want(405, "*")
			c.Close()
		}
		if status, body := fetch2(t, r.client2(), "GET", "/static/big.bin", ""); status != 200 || body != string(staticFile) {
			t.Errorf("HTTP/2: %d with %d bytes", status, len(body))
		}
		// One for the application waits, with the file that was asked for behind it.
		send(t, early, "GET /b HTTP/1.1\r\nHost: x\r\n\r\nGET /static/a.txt HTTP/1.1\r\nHost: x\r\n\r\n")
		time.Sleep(10 * time.Millisecond)
		close(stay)
		in.want(200, "app")
		in.want(200, "file")
		for _, s := range stuck {
			s.want(200, "app")
		}
		r.stopNow()
	}
}

// TestStaticSlowClients holds downloads up: the only thread goes on, and what is
// under way is neither cut nor mixed up.
func TestStaticSlowClients(t *testing.T) {
	r := serve(t, staticConfig(t, testConfig()), echo)
	dir := r.cfg.Static[0].Dir
	var slow []net.Conn
	for range 8 {
		c := r.dialTCP()
		send(t, c, "GET /static/big.bin HTTP/1.1\r\nHost: x\r\n\r\n"+get)
		slow = append(slow, c)
	}
	eventually(t, "eight downloads", func() bool { return staticOpen(t, dir) == 8 })
	c := r.dial()
	in := responses(t, c)
	for range 50 {
		send(t, c, get)
		in.want(200, "GET /a ")
		send(t, c, "GET /static/a.txt HTTP/1.1\r\nHost: x\r\n\r\n")
		in.want(200, "file")
	}
	for _, c := range slow[:4] { // these go away
		c.Close()
	}
	var wg sync.WaitGroup
	for _, c := range slow[4:] {
		wg.Go(func() {
			in := responses(t, c)
			for _, want := range []string{string(staticFile), "GET /a "} {
				if p, err := in.read(false); err != nil || p.status != 200 || p.body != want {
					t.Errorf("%d with %d bytes: %v", p.status, len(p.body), err)
				}
			}
		})
	}
	wg.Wait()
	eventually(t, "every file closed", func() bool { return staticOpen(t, dir) == 0 })
}

// TestStaticTurns reads files as fast as they come while another connection asks for
// something else: all of it is answered.
func TestStaticTurns(t *testing.T) {
	r := serve(t, staticConfig(t, testConfig()), echo)
	var wg sync.WaitGroup
	for range 3 {
		c := r.dialTCP()
		wg.Go(func() {
			in := responses(t, c)
			for range 5 {
				if _, err := io.WriteString(c, "GET /static/big.bin HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
					t.Error(err)
				}
				if p, err := in.read(false); err != nil || p.body != string(staticFile) {
					t.Errorf("%d bytes: %v", len(p.body), err)
					return
				}
			}
		})
	}
	c := r.dialTCP()
	in := responses(t, c)
	for range 200 {
		send(t, c, get)
		in.want(200, "GET /a ")
	}
	wg.Wait()
}

func TestStaticShrinks(t *testing.T) {
	r := serve(t, staticConfig(t, testConfig()), echo)
	c := r.dialTCP()
	send(t, c, "GET /static/big.bin HTTP/1.1\r\nHost: x\r\n\r\n")
	dir := r.cfg.Static[0].Dir
	eventually(t, "the download", func() bool { return staticOpen(t, dir) == 1 })
	if err := os.Truncate(filepath.Join(dir, "big.bin"), 1); err != nil {
		t.Fatal(err)
	}
	if p, err := responses(t, c).read(false); err == nil {
		t.Errorf("%d bytes pass for the whole", len(p.body))
	}
	eventually(t, "the file closed", func() bool { return staticOpen(t, dir) == 0 })
}

func TestStaticTLS(t *testing.T) {
	for _, protocols := range [][]string{{"http/1.1"}, {"h2"}} {
		r := serveTLS(t, staticConfig(t, tlsTestConfig()), protocol.TLSMaterial{Protocols: protocols}, echo)
		tr := &http.Transport{DisableCompression: true, Protocols: new(http.Protocols), TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
			Dial: func(string, string) (net.Conn, error) { return r.dial(), nil }}
		tr.Protocols.SetHTTP1(protocols[0] != "h2")
		tr.Protocols.SetHTTP2(protocols[0] == "h2")
		client := &http.Client{Transport: tr, Timeout: 30 * time.Second}
		var wg sync.WaitGroup
		for i := range 12 {
			wg.Go(func() {
				path, want := "/static/big.bin", string(staticFile)
				if i%3 == 0 {
					path, want = "/static/a.txt", "file"
				} else if i%3 == 1 {
					path, want = "/a", "GET /a "
				}
				resp, err := client.Get("https://localhost" + path)
				if err != nil {
					t.Error(err)
					return
				}
				defer resp.Body.Close()
				b, err := io.ReadAll(resp.Body)
				if err != nil || string(b) != want || resp.StatusCode != 200 {
					t.Errorf("%s %s: %d with %d bytes: %v", resp.Proto, path, resp.StatusCode, len(b), err)
				}
				if (resp.ProtoMajor == 2) != (protocols[0] == "h2") {
					t.Errorf("%s", resp.Proto)
				}
			})
		}
		wg.Wait()
		tr.CloseIdleConnections()
		eventually(t, "every file closed", func() bool { return staticOpen(t, r.cfg.Static[0].Dir) == 0 })
		r.stopNow()
	}
}

// TestStaticHTTP2 looks at the answers of a stream each: their fields, and what a
// client does to them.
func TestStaticHTTP2(t *testing.T) {
	r := serve(t, staticConfig(t, cleartextConfig()), echo)
	client := r.client2()
	// A pair of unix sockets has room for few small frames, and this client does not
	// read while it cannot write.
	client.Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) { return r.dialTCP(), nil }
	for _, c := range []struct {
		method, path, rang string
		status, size       int
	}{{"GET", "/static/a.txt", "", 200, 4}, {"GET", "/static/big.bin", "bytes=100-300099", 206, 300000}, {"HEAD", "/static/big.bin", "", 200, 0},
		{"GET", "/static/none", "", 200, 0}, {"GET", "/static/nothing", "", 404, 14}, {"POST", "/static/a.txt", "", 405, 23}} {
		req, err := http.NewRequest(c.method, "http://x"+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.rang != "" {
			req.Header.Set("Range", c.rang)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != c.status || len(b) != c.size || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s %s: %d with %d bytes, %v: %v", c.method, c.path, resp.StatusCode, len(b), resp.Header, err)
		}
	}
	for range 20 { // given up half way
		resp, err := client.Get("http://x/static/big.bin")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, resp.Body, 100000); err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	eventually(t, "every file closed", func() bool { return staticOpen(t, r.cfg.Static[0].Dir) == 0 })
	if status, body := fetch2(t, client, "GET", "/a", ""); status != 200 || body != "GET /a " {
		t.Errorf("%d %q", status, body)
	}
}

// TestStaticDrain drains in the middle of a download, which ends well.
func TestStaticDrain(t *testing.T) {
	r := serve(t, staticConfig(t, testConfig()), echo)
	c := r.dialTCP()
	in := responses(t, c)
	send(t, c, "GET /static/big.bin HTTP/1.1\r\nHost: x\r\n\r\n")
	if _, err := in.br.Peek(1); err != nil {
		t.Fatal(err)
	}
	idle := r.dial()
	other := responses(t, idle)
	send(t, idle, get)
	other.want(200, "*")
	r.Drain(protocol.DrainStop, 20*time.Second)
	send(t, idle, "GET /static/a.txt HTTP/1.1\r\nHost: x\r\n\r\n")
	if p := other.want(200, "file"); p.fields["connection"] != "close" {
		t.Errorf("%v", p.fields)
	}
	in.want(200, string(staticFile))
	select {
	case <-r.Drained():
	case <-time.After(20 * time.Second):
		t.Error("not drained")
	}
}

func TestStaticMissing(t *testing.T) {
	cfg := testConfig()
	cfg.Static = []settings.Static{{Prefix: "/static", Dir: filepath.Join(t.TempDir(), "nothing")}}
	if _, err := New(Config{Settings: cfg, Slot: new(protocol.Slot)}); err == nil || !strings.Contains(fmt.Sprint(err), "cannot serve files at /static") {
		t.Errorf("%v", err)
	}
}

func BenchmarkStatic(b *testing.B) {
	r := serve(b, staticConfig(b, testConfig()), echo)
	c := r.dialTCP()
	_ = c.SetDeadline(time.Time{})
	in := responses(b, c)
	b.ReportAllocs()
	for b.Loop() {
		send(b, c, "GET /static/a.txt HTTP/1.1\r\nHost: x\r\n\r\n")
		in.want(200, "file")
	}
}
