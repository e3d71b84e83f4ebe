package static

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hostler/worker/http1"
)

// modified is when all files of the tests were.
var modified = time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)

const digits = "0123456789"

// tree makes files by their names in a directory beside a file that is out of reach.
func tree(t *testing.T, files map[string]string) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "files")
	put := func(name, text string) {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, modified, modified); err != nil {
			t.Fatal(err)
		}
	}
	put(filepath.Join(dir, "..", "secret.txt"), "secret")
	for name, text := range files {
		put(filepath.Join(dir, name), text)
	}
	return dir
}

func open(t *testing.T, dirs ...Dir) Roots {
	t.Helper()
	all, err := Open(dirs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(all.Close)
	return all
}

// ask answers for a target as it stands in a request. The body is what would be sent.
func ask(t *testing.T, all Roots, method, target string, fields ...string) (Answer, string) {
	t.Helper()
	raw, query, _ := strings.Cut(target, "?")
	path := make([]byte, len(raw))
	path = path[:http1.Unescape(path, []byte(raw))]
	root := all.Find(path)
	if root == nil {
		t.Fatalf("%s is nobody's", target)
	}
	h := make(http.Header)
	for i := 0; i < len(fields); i += 2 {
		h.Add(fields[i], fields[i+1])
	}
	a := root.Answer(&Request{Method: method, Target: []byte(raw), Path: path, Query: []byte(query), Header: h})
	if a.File < 0 {
		return a, string(a.Body)
	}
	f := os.NewFile(uintptr(a.File), target)
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, a.Off, a.Size))
	if err != nil {
		t.Fatal(err)
	}
	return a, string(b)
}

func TestFind(t *testing.T) {
	dir := tree(t, nil)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	all := open(t, Dir{"/static", dir}, Dir{"/static/more", dir})
	for path, want := range map[string]string{
		"/static": "/static", "/static/": "/static", "/static/a": "/static", "/static/more": "/static/more",
		"/static/more/a": "/static/more", "/static/moreover": "/static", "/staticky": "", "/": "", "": "",
		"//static/a": "", "/x/../static/a": "", "/Static/a": "",
	} {
		got := ""
		if r := all.Find([]byte(path)); r != nil {
			got = r.prefix
		}
		if got != want {
			t.Errorf("%q belongs to %q, want %q", path, got, want)
		}
	}
	if _, err := Open([]Dir{{"/a", dir}, {"/b", dir + "/nothing"}}); err == nil || !strings.Contains(err.Error(), "cannot serve files at /b: ") {
		t.Errorf("a directory that is not there: %v", err)
	}
}

func TestPaths(t *testing.T) {
	dir := tree(t, map[string]string{
		"a.txt": "a", "sub/b.html": "b", "sub/index.html": "index", "empty/.keep": "", ".env": "hidden", ".git/config": "hidden",
		".well-known/acme": "known", "with space.txt": "space", "100%.txt": "percent", "UP.PNG": "picture", "none": "", "café.txt": "coffee",
		"a\\b.txt": "backslash", "noread.txt": "x",
	})
	for link, to := range map[string]string{
		"inside.txt": "sub/b.html", "out.txt": "../secret.txt", "absolute.txt": filepath.Join(filepath.Dir(dir), "secret.txt"),
		"outdir": "..", "rooted": "/", "loop": "loop", "absolute-inside.txt": filepath.Join(dir, "a.txt"), "up-and-down.txt": "../files/a.txt",
		"sub/up.txt": "../a.txt", "dangling": "nowhere",
	} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		if err := os.Chmod(filepath.Join(dir, "noread.txt"), 0); err != nil {
			t.Fatal(err)
		}
	} else if err := os.Remove(filepath.Join(dir, "noread.txt")); err != nil {
		t.Fatal(err)
	}
	all := open(t, Dir{"/s", dir})
	for _, c := range []struct {
		target, body string
		status       int
	}{
		{"/s/a.txt", "a", 200}, {"/s/a.txt?v=1", "a", 200}, {"/s/%61.txt", "a", 200}, {"/%73/a.txt", "a", 200},
		{"/s/sub/b.html", "b", 200}, {"/s/with%20space.txt", "space", 200}, {"/s/100%25.txt", "percent", 200}, {"/s/100%.txt", "percent", 200},
		{"/s/none", "", 200}, {"/s/caf%C3%A9.txt", "coffee", 200}, {"/s/a%5Cb.txt", "backslash", 200}, {"/s/UP.PNG", "picture", 200},
		{"/s/.well-known/acme", "known", 200}, {"/s/inside.txt", "b", 200}, {"/s/sub/up.txt", "a", 200},
		{"/s/sub/", "index", 200}, {"/s/sub", "", 301}, {"/s/sub?x=1", "", 301},
		// Nothing there, or nothing to be served.
		{"/s", "", 404}, {"/s/", "", 404}, {"/s/empty", "", 404}, {"/s/empty/", "", 404}, {"/s/nothing", "", 404}, {"/s/a.txt/", "", 404},
		{"/s/a.txt/b", "", 404}, {"/s/fifo", "", 404}, {"/s/dangling", "", 404}, {"/s/loop", "", 404}, {"/s/noread.txt", "", 404},
		// Hidden.
		{"/s/.env", "", 404}, {"/s/.git/config", "", 404}, {"/s/%2eenv", "", 404}, {"/s/empty/.keep", "", 404},
		// Ways out.
		{"/s/../secret.txt", "", 404}, {"/s/sub/../../secret.txt", "", 404}, {"/s/%2e%2e/secret.txt", "", 404}, {"/s/.%2e/secret.txt", "", 404},
		{"/s/..%2fsecret.txt", "", 404}, {"/s/%2e%2e%2fsecret.txt", "", 404}, {"/s/%2E%2E%2Fsecret.txt", "", 404}, {"/s%2f..%2fsecret.txt", "", 404},
		{"/s/..%5csecret.txt", "", 404}, {"/s/..;/secret.txt", "", 404}, {"/s/%252e%252e/secret.txt", "", 404}, {"/s/..", "", 404}, {"/s/../", "", 404},
		{"/s/out.txt", "", 404}, {"/s/absolute.txt", "", 404}, {"/s/outdir/secret.txt", "", 404}, {"/s/rooted/etc/passwd", "", 404},
		{"/s/absolute-inside.txt", "", 404}, {"/s/up-and-down.txt", "", 404}, {"/s//etc/passwd", "", 404}, {"/s/%2fetc/passwd", "", 404},
		// Other names for what is there.
		{"/s/sub%2fb.html", "", 404}, {"/s%2fa.txt", "", 404}, {"/s//a.txt", "", 404}, {"/s/./a.txt", "", 404}, {"/s/sub/../a.txt", "", 404},
		{"/s/sub//b.html", "", 404}, {"/s/sub//", "", 404}, {"/s/a.txt%00", "", 404}, {"/s/%00", "", 404}, {"/s/a.txt%00.png", "", 404},
		{"/s/" + strings.Repeat("x", 5000), "", 404}, {"/s/" + strings.Repeat("x/", 3000), "", 404},
	} {
		a, body := ask(t, all, "GET", c.target)
		if a.Status != c.status || c.status == 200 && body != c.body {
			t.Errorf("%.60s: %d %q, want %d %q", c.target, a.Status, body, c.status, c.body)
		}
		if strings.Contains(body, "secret") || strings.Contains(body, "root:") {
			t.Errorf("%s leads out", c.target)
		}
		if c.status != 301 && a.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s may be sniffed at: %v", c.target, a.Header)
		}
	}
	for target, want := range map[string]string{"/s/sub": "./sub/", "/s/sub?x=1": "./sub/?x=1", "/s/%73ub": "./%73ub/"} {
		if a, _ := ask(t, all, "GET", target); a.Header.Get("Location") != want {
			t.Errorf("%s goes on to %q, want %q", target, a.Header.Get("Location"), want)
		}
	}
}

func TestRootIndex(t *testing.T) {
	all := open(t, Dir{"/s", tree(t, map[string]string{"index.html": "hello"})})
	if a, body := ask(t, all, "GET", "/s/"); a.Status != 200 || body != "hello" || a.Header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("%d %q %v", a.Status, body, a.Header)
	}
	if a, _ := ask(t, all, "GET", "/s"); a.Status != 301 || a.Header.Get("Location") != "./s/" {
		t.Errorf("%d %v", a.Status, a.Header)
	}
}

func TestMethods(t *testing.T) {
	all := open(t, Dir{"/s", tree(t, map[string]string{"a.txt": digits})})
	for _, m := range []string{"POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PROPFIND"} {
		for _, target := range []string{"/s/a.txt", "/s/nothing"} {
			if a, _ := ask(t, all, m, target); a.Status != 405 || a.Header.Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: %d %v", m, target, a.Status, a.Header)
			}
		}
	}
	a, _ := ask(t, all, "HEAD", "/s/a.txt", "Range", "bytes=0-1")
	if a.Status != 200 || a.File >= 0 || a.Header.Get("Content-Length") != "10" {
		t.Errorf("HEAD: %d, file %d, %v", a.Status, a.File, a.Header)
	}
	if a, _ := ask(t, all, "HEAD", "/s/nothing"); a.Status != 404 {
		t.Errorf("HEAD of nothing: %d", a.Status)
	}
}

func TestConditionsAndRanges(t *testing.T) {
	all := open(t, Dir{"/s", tree(t, map[string]string{"a.txt": digits})})
	first, _ := ask(t, all, "GET", "/s/a.txt")
	tag := first.Header.Get("Etag")
	const then, before, after = "Mon, 06 May 2024 07:08:09 GMT", "Mon, 06 May 2024 07:08:08 GMT", "Mon, 06 May 2024 07:08:10 GMT"
	if first.Header.Get("Last-Modified") != then || !strings.HasPrefix(tag, `"`) || first.Header.Get("Accept-Ranges") != "bytes" {
		t.Fatalf("%v", first.Header)
	}
	for _, c := range []struct {
		fields string // name: value; name: value
		status int
		body   string
		rang   string // Content-Range
	}{
		{"", 200, digits, ""},
		{"If-None-Match: " + tag, 304, "", ""},
		{"If-None-Match: W/" + tag, 304, "", ""},
		{`If-None-Match: "x", ` + tag, 304, "", ""},
		{"If-None-Match: *", 304, "", ""},
		{`If-None-Match: "x"`, 200, digits, ""},
		{`If-None-Match: "x"; If-Modified-Since: ` + after, 200, digits, ""}, // the tag counts
		{"If-Modified-Since: " + then, 304, "", ""},
		{"If-Modified-Since: " + after, 304, "", ""},
		{"If-Modified-Since: " + before, 200, digits, ""},
		{"If-Modified-Since: yesterday", 200, digits, ""},
		{"If-Match: " + tag, 200, digits, ""},
		{"If-Match: W/" + tag, 412, "", ""},
		{`If-Match: "x"`, 412, "", ""},
		{"If-Match: *", 200, digits, ""},
		{"If-Unmodified-Since: " + then, 200, digits, ""},
		{"If-Unmodified-Since: " + before, 412, "", ""},
		{"Range: bytes=2-4", 206, "234", "bytes 2-4/10"},
		{"Range: bytes=7-", 206, "789", "bytes 7-9/10"},
		{"Range: bytes=-3", 206, "789", "bytes 7-9/10"},
		{"Range: bytes=0-0", 206, "0", "bytes 0-0/10"},
		{"Range: bytes=5-500", 206, "56789", "bytes 5-9/10"},
		{"Range: bytes=-500", 206, digits, "bytes 0-9/10"},
		{"Range: bytes=10-", 416, "", "bytes */10"},
		{"Range: bytes=99-100", 416, "", "bytes */10"},
		{"Range: bytes=0-1,4-5", 200, digits, ""}, // the whole will do
		{"Range: bytes=0-1; Range: bytes=4-5", 200, digits, ""},
		{"Range: bytes=" + strings.Repeat("0-0,", 5000) + "1-1", 200, digits, ""},
		{"Range: bytes=99-,98-", 200, digits, ""},
		{"Range: bytes= , 2-4\t,,", 206, "234", "bytes 2-4/10"},
		{"Range: BYTES=2-4", 206, "234", "bytes 2-4/10"},
		{"Range: bytes=0-9", 206, digits, "bytes 0-9/10"},
		{"Range: bytes=000000000000000000000000002-4", 206, "234", "bytes 2-4/10"},
		{"Range: bytes=-0", 416, "", "bytes */10"},
		{"Range: bytes=-000", 416, "", "bytes */10"},
		{"Range: bytes=-1", 206, "9", "bytes 9-9/10"},
		{"Range: bytes=999999999999999999999999-", 416, "", "bytes */10"},
		{"Range: bytes=999999999999999999999998-999999999999999999999999", 416, "", "bytes */10"},
		{"Range: bytes=8-999999999999999999999999", 206, "89", "bytes 8-9/10"},
		{"Range: bytes=-999999999999999999999999", 206, digits, "bytes 0-9/10"},
		// What is malformed, or of a unit that we do not know, is ignored.
		{"Range: bytes=4-2", 200, digits, ""},
		{"Range: bytes=999999999999999999999999-2", 200, digits, ""},
		{"Range: bytes=", 200, digits, ""},
		{"Range: bytes=-", 200, digits, ""},
		{"Range: bytes", 200, digits, ""},
		{"Range: bytes=2", 200, digits, ""},
		{"Range: bytes=+2-4", 200, digits, ""},
		{"Range: bytes=2-+4", 200, digits, ""},
		{"Range: bytes=--2", 200, digits, ""},
		{"Range: bytes=2-4-6", 200, digits, ""},
		{"Range: bytes=0x2-4", 200, digits, ""},
		{"Range: bytes=a-b", 200, digits, ""},
		{"Range: bytes 2-4", 200, digits, ""},
		{"Range: items=2-4", 200, digits, ""},
		{"Range: lines=1-2,bytes=2-4", 200, digits, ""},
		{"Range: ", 200, digits, ""},
		{`Range: bytes=-0; If-Range: "x"`, 200, digits, ""},
		{`Range: bytes=99-; If-Range: "x"`, 200, digits, ""},
		{"Range: bytes=2-4; If-Range: W/" + tag, 200, digits, ""},
		{"Range: bytes=2-4; If-Range: " + tag, 206, "234", "bytes 2-4/10"},
		{`Range: bytes=2-4; If-Range: "x"`, 200, digits, ""},
		{"Range: bytes=2-4; If-Range: " + then, 206, "234", "bytes 2-4/10"},
		{"Range: bytes=2-4; If-Range: " + before, 200, digits, ""},
		{"Range: bytes=2-4; If-None-Match: " + tag, 304, "", ""},
	} {
		var fields []string
		for f := range strings.SplitSeq(c.fields, "; ") {
			if name, value, ok := strings.Cut(f, ": "); ok {
				fields = append(fields, name, value)
			}
		}
		a, body := ask(t, all, "GET", "/s/a.txt", fields...)
		if a.Status >= 400 {
			body = ""
		}
		if a.Status != c.status || body != c.body || a.Header.Get("Content-Range") != c.rang {
			t.Errorf("%s: %d %q %q, want %d %q %q", c.fields, a.Status, body, a.Header.Get("Content-Range"), c.status, c.body, c.rang)
		}
		if a.Status == 304 && (a.Header.Get("Etag") != tag || a.Header.Get("Vary") == "" || a.Header.Get("Content-Length") != "") {
			t.Errorf("%s: %v", c.fields, a.Header)
		}
	}
}

func TestNewFileNewTag(t *testing.T) {
	dir := tree(t, map[string]string{"a.txt": "one"})
	all := open(t, Dir{"/s", dir})
	a, _ := ask(t, all, "GET", "/s/a.txt")
	if err := os.WriteFile(filepath.Join(dir, "a.txt"), []byte("two"), 0o644); err != nil {
		t.Fatal(err)
	}
	b, body := ask(t, all, "GET", "/s/a.txt", "If-None-Match", a.Header.Get("Etag"))
	if b.Status != 200 || body != "two" || a.Header.Get("Etag") == b.Header.Get("Etag") {
		t.Errorf("%d %q %v", b.Status, body, b.Header)
	}
}

func TestEncodings(t *testing.T) {
	dir := tree(t, map[string]string{
		"a.js": "plain", "a.js.br": "b", "a.js.zst": "zz", "a.js.gz": "ggg", "only.css": "plain", "only.css.gz": "ggg",
		"lone.txt.gz": "ggg", "p.png": "plain", "p.png.gz": "ggg", "dir.txt": "plain", "dir.txt.gz/x": "", "out.txt": "plain",
		"sub/index.html": "plain", "sub/index.html.br": "b",
	})
	if err := os.Symlink("../secret.txt", filepath.Join(dir, "out.txt.gz")); err != nil {
		t.Fatal(err)
	}
	all := open(t, Dir{"/s", dir})
	for _, c := range []struct{ target, accept, coding, body string }{
		{"/s/a.js", "", "", "plain"},
		{"/s/a.js", "gzip, deflate, br, zstd", "br", "b"},
		{"/s/a.js", "gzip, deflate, zstd", "zstd", "zz"},
		{"/s/a.js", "gzip, deflate", "gzip", "ggg"},
		{"/s/a.js", "X-GZIP", "gzip", "ggg"},
		{"/s/a.js", "deflate", "", "plain"},
		{"/s/a.js", "*", "br", "b"},
		{"/s/a.js", "br;q=0, *", "zstd", "zz"},
		{"/s/a.js", "*;q=0", "", "plain"},
		{"/s/a.js", "br;q=0", "", "plain"},
		{"/s/a.js", "br;q=0.000, gzip;q=0.001", "gzip", "ggg"},
		{"/s/a.js", "br;q=0.5, gzip;q=0.9", "gzip", "ggg"},
		{"/s/a.js", "gzip;q=0.5, identity", "", "plain"},
		{"/s/a.js", "gzip;q=1.0, identity;q=0.5, *;q=0", "gzip", "ggg"},
		{"/s/a.js", "gzip;q=x", "", "plain"},
		{"/s/a.js", " ,, gzip ;q=1", "gzip", "ggg"},
		{"/s/only.css", "br, gzip", "gzip", "ggg"},
		{"/s/only.css", "br", "", "plain"},
		{"/s/p.png", "gzip", "", "plain"},
		{"/s/dir.txt", "gzip", "", "plain"},
		{"/s/out.txt", "gzip", "", "plain"},
		{"/s/sub/", "br", "br", "b"},
	} {
		a, body := ask(t, all, "GET", c.target, "Accept-Encoding", c.accept)
		if a.Status != 200 || a.Header.Get("Content-Encoding") != c.coding || body != c.body {
			t.Errorf("%s for %q: %d %q %q, want %q", c.target, c.accept, a.Status, a.Header.Get("Content-Encoding"), body, c.coding)
		}
		if a.Header.Get("Content-Length") != string(byte('0'+len(c.body))) {
			t.Errorf("%s for %q has the length %s", c.target, c.accept, a.Header.Get("Content-Length"))
		}
		if vary := a.Header.Get("Vary"); (vary == "Accept-Encoding") != (c.target != "/s/p.png") {
			t.Errorf("%s: Vary %q", c.target, vary)
		}
	}
	// The type is that of what is encoded, the tag is its own, ranges are of what is sent.
	plain, _ := ask(t, all, "GET", "/s/a.js")
	packed, body := ask(t, all, "GET", "/s/a.js", "Accept-Encoding", "gzip", "Range", "bytes=1-")
	if packed.Status != 206 || body != "gg" || packed.Header.Get("Content-Encoding") != "gzip" ||
		packed.Header.Get("Content-Type") != "text/javascript; charset=utf-8" || packed.Header.Get("Etag") == plain.Header.Get("Etag") {
		t.Errorf("%d %q %v", packed.Status, body, packed.Header)
	}
	if a, _ := ask(t, all, "GET", "/s/a.js", "Accept-Encoding", "gzip", "If-None-Match", packed.Header.Get("Etag")); a.Status != 304 || a.Header.Get("Content-Encoding") != "" {
		t.Errorf("%d %v", a.Status, a.Header)
	}
	if a, _ := ask(t, all, "GET", "/s/lone.txt", "Accept-Encoding", "gzip"); a.Status != 404 {
		t.Errorf("a packed file alone: %d", a.Status)
	}
	if a, body := ask(t, all, "GET", "/s/lone.txt.gz", "Accept-Encoding", "gzip"); body != "ggg" || a.Header.Get("Content-Type") != "application/gzip" || a.Header.Get("Content-Encoding") != "" {
		t.Errorf("%q %v", body, a.Header)
	}
}

// TestNoLeaks counts descriptors before and after all kinds of answers.
func TestNoLeaks(t *testing.T) {
	all := open(t, Dir{"/s", tree(t, map[string]string{"a.js": digits, "a.js.gz": "g", "sub/index.html": "x"})})
	count := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(fds)
	}
	ask(t, all, "GET", "/s/a.js") // the runtime opens its poller once
	before := count()
	for range 20 {
		for _, target := range []string{"/s/a.js", "/s/sub", "/s/sub/", "/s/nothing", "/s/", "/s/../x"} {
			for _, m := range []string{"GET", "HEAD", "POST"} {
				for _, r := range []string{"", "bytes=1-2", "bytes=99-"} {
					ask(t, all, m, target, "Accept-Encoding", "gzip", "Range", r)
				}
			}
			ask(t, all, "GET", target, "If-None-Match", "*")
			ask(t, all, "GET", target, "If-Match", `"x"`)
		}
	}
	if after := count(); after != before {
		t.Errorf("%d descriptors, then %d", before, after)
	}
}
