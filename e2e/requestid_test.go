package e2e

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const idApp = `
def app(environ, start_response):
    path, name = environ['PATH_INFO'], environ.get('HTTP_X_REQUEST_ID', 'none')
    if path == '/raises':
        raise RuntimeError
    fields = [('X-Request-ID', 'mine')] if path == '/own' else [('X-Request-Identity', 'x')]
    start_response('200 OK', fields)
    return [name.encode('latin-1')]
`

const idAsync = `
async def app(scope, receive, send):
    if scope['type'] != 'http':
        raise RuntimeError
    ids = [v for n, v in scope['headers'] if n == b'x-request-id']
    await send({'type': 'http.response.start', 'status': 200, 'headers': []})
    await send({'type': 'http.response.body', 'body': b'|'.join(ids)})
`

// TestRequestIDAsync: an asynchronous application finds it among the headers.
func TestRequestIDAsync(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"ids.py": idAsync})
	for _, secure := range []bool{false, true} {
		args, scheme := []string{"--chdir", dir, "--request-id", "ids:app"}, "http"
		if secure {
			args, scheme = append(newPair(t, dir, "localhost", 1).args(), args...), "https"
		}
		s := start(t, args...)
		c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
		for _, given := range []string{"abc", ""} {
			q, err := http.NewRequest("GET", scheme+"://"+s.addr+"/", nil)
			if err != nil {
				t.Fatal(err)
			}
			q.Header.Set("X-Request-ID", given)
			r, err := c.Do(q)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(r.Body)
			r.Body.Close()
			if id := r.Header.Get("X-Request-ID"); err != nil || id == "" || string(body) != id || given != "" && id != given {
				t.Errorf("%s, %q: %q, %q, %v", scheme, given, id, body, err)
			}
		}
		s.stop()
	}
}

// TestRequestID: each request has an identifier, its own or a new one, which application,
// client and access log see alike; without the flag nothing is touched.
func TestRequestID(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"ids.py": idApp, "file.txt": "static"})
	made := regexp.MustCompile(`^[0-9a-f]{32}$`)
	access := filepath.Join(dir, "access")
	s := launch(t, "--chdir", dir, "--request-id", "--access-log", access, "--access-log-format", "json", "--static", "/files="+dir, "ids:app")
	s.waitLog("msg=serving")
	h2 := launch(t, append(newPair(t, dir, "localhost", 1).args(), "--chdir", dir, "--request-id", "ids:app")...)
	h2.waitLog("msg=serving")
	off := launch(t, "--chdir", dir, "ids:app")
	off.waitLog("msg=serving")
	over2 := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer over2.CloseIdleConnections()
	ask := func(c *http.Client, url string, ids ...string) (status int, id, body string) {
		t.Helper()
		q, err := http.NewRequest("GET", url, nil)
		if err != nil {
			t.Fatal(err)
		}
		q.Header["X-Request-Id"] = ids
		r, err := c.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		if c == over2 && r.ProtoMajor != 2 {
			t.Errorf("%s came by %s", url, r.Proto)
		}
		return r.StatusCode, strings.Join(r.Header.Values("X-Request-ID"), "|"), string(b)
	}
	seen := make(map[string]bool)
	var answered []string
	for _, at := range []struct {
		c   *http.Client
		url string
	}{{client, "http://" + s.addr}, {over2, "https://" + h2.addr}} {
		for _, k := range []struct {
			path string
			ids  []string
			want string // "": one is made
			body string // "": the same
		}{
			{"/", nil, "", ""}, {"/", []string{"abc-123"}, "abc-123", ""}, {"/", []string{`a"b`}, "", ""}, {"/", []string{"a b"}, "", ""},
			{"/", []string{strings.Repeat("x", 129)}, "", ""}, {"/", []string{"one", "two"}, "", ""}, {"/", []string{"same", "same"}, "", ""},
			{"/own", []string{"abc"}, "mine", "abc"}, {"/raises", []string{"abc"}, "abc", "Internal Server Error\n"}, {"/raises", nil, "", "Internal Server Error\n"},
		} {
			_, id, body := ask(at.c, at.url+k.path, k.ids...)
			if k.want != "" && id != k.want || k.want == "" && (!made.MatchString(id) || seen[id]) {
				t.Errorf("%s%s with %q: %q", at.url, k.path, k.ids, id)
			}
			if k.body == "" && body != id || k.body != "" && body != k.body && !strings.HasPrefix(k.body, "Internal") {
				t.Errorf("%s%s with %q: the application has %q, the client %q", at.url, k.path, k.ids, body, id)
			}
			seen[id] = k.want == ""
			if at.c == client {
				if k.path == "/own" {
					id = "abc"
				}
				answered = append(answered, id)
			}
		}
	}
	status, id, body := ask(client, "http://"+s.addr+"/files/file.txt", "for-a-file")
	if status != 200 || id != "for-a-file" || body != "static" {
		t.Errorf("a file: %d, %q, %q", status, id, body)
	}
	answered = append(answered, id)
	for i, line := range s.logged(access, len(answered)) {
		var got map[string]any
		if err := json.Unmarshal([]byte(line), &got); err != nil || got["http.request.header.x-request-id"] != answered[i] {
			t.Errorf("line %d: %v, %s, not %s", i, err, line, answered[i])
		}
	}
	if _, id, body := ask(client, "http://"+off.addr+"/", `a"b`); id != "" || body != `a"b` {
		t.Errorf("without the flag: %q, %q", id, body)
	}
}
