package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// readScope takes the JSON that /scope answered out of a whole response.
func readScope(t *testing.T, response string) map[string]any {
	t.Helper()
	begin, end := strings.Index(response, "{"), strings.LastIndex(response, "}")
	if begin < 0 {
		t.Fatalf("no scope: %q", response)
	}
	var scope map[string]any
	if err := json.Unmarshal([]byte(response[begin:end+1]), &scope); err != nil {
		t.Fatalf("%v: %q", err, response)
	}
	return scope
}

// wantScope compares what a scope holds of these keys; all others are not looked at.
func wantScope(t *testing.T, name string, scope map[string]any, want map[string]any) {
	t.Helper()
	for key, value := range want {
		b, _ := json.Marshal(value)
		var plain any
		_ = json.Unmarshal(b, &plain)
		if !reflect.DeepEqual(scope[key], plain) {
			t.Errorf("%s: %s: %#v, want %#v", name, key, scope[key], plain)
		}
	}
}

type list = []any

// field is a header field in a scope.
func field(name, value string) list { return list{"bytes:" + name, "bytes:" + value} }

// TestASGIScope wants each of a scope's values, by bytes and by type, of requests whose
// bytes are known.
func TestASGIScope(t *testing.T) {
	p := startProbe(t)
	host, port, _ := net.SplitHostPort(p.addr)
	number := 0
	fmt.Sscan(port, &number)
	common := map[string]any{"type": "http", "scheme": "http", "root_path": "", "server": list{host, number}, "method": "GET", "query_string": "bytes:"}
	for name, c := range map[string]struct {
		request string
		want    map[string]any
	}{
		"plain": {"GET /scope?a=b%20c&d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", map[string]any{"http_version": "1.1", "path": "/scope",
			"raw_path": "bytes:/scope", "query_string": "bytes:a=b%20c&d", "headers": list{field("host", "a"), field("connection", "close")}}},
		"HTTP/1.0": {"GET /scope HTTP/1.0\r\n\r\n", map[string]any{"http_version": "1.0", "headers": list{}}},
		"escaped": {"GET /scope/a%2Fb%C3%A9%20+?%C3%A9 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", map[string]any{"path": "/scope/a/bé +",
			"raw_path": "bytes:/scope/a%2Fb%C3%A9%20+", "query_string": "bytes:%C3%A9"}},
		"fields": {"PUT /scope HTTP/1.1\r\nHOST: a\r\nX-Twice: 1\r\nX-Twice:  2 \r\nX-Bytes: \xff\xe9\r\nCookie: a=1\r\nCookie: b=2\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
			map[string]any{"method": "PUT", "headers": list{field("host", "a"), field("x-twice", "1"), field("x-twice", "2"),
				field("x-bytes", "ÿé"), field("cookie", "a=1"), field("cookie", "b=2"), field("connection", "close"), field("content-length", "0")}}},
		"own method":  {"PURGE /scope HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", map[string]any{"method": "PURGE"}},
		"empty query": {"GET /scope? HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", map[string]any{"query_string": "bytes:", "raw_path": "bytes:/scope"}},
	} {
		scope := readScope(t, p.raw(c.request))
		want := maps.Clone(common)
		maps.Copy(want, c.want)
		wantScope(t, name, scope, want)
		who, _ := scope["client"].([]any)
		if len(who) != 2 || who[0] != host {
			t.Errorf("%s: client: %v", name, scope["client"])
		} else if n, ok := who[1].(float64); !ok || n < 1 {
			t.Errorf("%s: the client's port: %#v", name, who[1])
		}
		if asgi, _ := scope["asgi"].(map[string]any); asgi["version"] != "3.0" {
			t.Errorf("%s: asgi: %v", name, scope["asgi"])
		} else if v := asgi["spec_version"]; v != "2.5" && asgiPeer == "" {
			t.Errorf("%s: spec_version: %v", name, v)
		}
	}
	if out := p.raw("GET /scope/%FF%FE HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); strings.HasPrefix(out, "HTTP/1.1 200") {
		wantScope(t, "not UTF-8", readScope(t, out), map[string]any{"raw_path": "bytes:/scope/%FF%FE"})
	} else if !strings.HasPrefix(out, "HTTP/1.1 400") {
		t.Errorf("a path that is not UTF-8: %q", out)
	}
}

// TestASGIScopeListeners looks at what a scope says of the connection: IPv6, a unix
// socket, TLS, HTTP/2.
func TestASGIScopeListeners(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "hostler.sock")
	six := fmt.Sprintf("[::1]:%d", freePort(t))
	cert := newPair(t, dir, "localhost", 1)
	startProbe(t, "-b", "unix:"+socket, "-b", six)
	secure := startProbe(t, cert.args()...)
	get := func(c *caller) map[string]any {
		t.Helper()
		_, _, b := c.ask(t, "GET", "/scope", "", nil, "X-A", "b")
		return readScope(t, b)
	}
	h1, h2 := protocols(false), protocols(true)

	scope := get(newCaller(t, "unix", "http://shop.example", h1, "unix", socket))
	wantScope(t, "unix", scope, map[string]any{"client": nil, "scheme": "http", "server": list{socket, nil}})

	_, port, _ := net.SplitHostPort(six)
	number := 0
	fmt.Sscan(port, &number)
	scope = get(newCaller(t, "IPv6", "http://"+six, h1, "tcp", six))
	wantScope(t, "IPv6", scope, map[string]any{"server": list{"::1", number}})
	if who, _ := scope["client"].([]any); len(who) != 2 || who[0] != "::1" {
		t.Errorf("IPv6: client: %v", scope["client"])
	}

	scope = get(newCaller(t, "TLS", "https://"+secure.addr, h1, "tcp", secure.addr))
	wantScope(t, "TLS", scope, map[string]any{"scheme": "https", "http_version": "1.1"})
	wantTLS(t, scope)
	scope = get(newCaller(t, "HTTP/2", "https://"+secure.addr, h2, "tcp", secure.addr))
	wantScope(t, "HTTP/2", scope, map[string]any{"scheme": "https", "http_version": "2", "method": "GET", "path": "/scope"})
	wantTLS(t, scope)
	fields, _ := json.Marshal(scope["headers"])
	if !strings.Contains(string(fields), `["bytes:host","bytes:`+secure.addr+`"]`) || strings.Contains(string(fields), `"bytes::`) {
		t.Errorf("HTTP/2: headers: %s", fields)
	}
}

func wantTLS(t *testing.T, scope map[string]any) {
	t.Helper()
	extensions, _ := scope["extensions"].(map[string]any)
	got, ok := extensions["tls"].(map[string]any)
	if !ok {
		t.Errorf("no tls extension: %v", scope["extensions"])
		return
	}
	if v, _ := got["tls_version"].(float64); v < 0x303 {
		t.Errorf("tls_version: %v", got["tls_version"])
	}
	for _, key := range []string{"server_cert", "client_cert_chain", "client_cert_name", "client_cert_error", "cipher_suite"} {
		if _, ok := got[key]; !ok {
			t.Errorf("the tls extension has no %s: %v", key, got)
		}
	}
}

// TestASGIScopeForwarded believes a proxy that is to be believed, and nobody else.
func TestASGIScopeForwarded(t *testing.T) {
	fields := []string{"X-Forwarded-Proto", "https", "X-Forwarded-For", "203.0.113.9, 127.0.0.1"}
	for _, trusted := range []bool{true, false} {
		allow := "127.0.0.1"
		if !trusted {
			allow = "192.0.2.1"
		}
		p := startProbe(t, "--forwarded-allow-ips", allow)
		c := newCaller(t, "TCP", "http://"+p.addr, protocols(false), "tcp", p.addr)
		_, _, b := c.ask(t, "GET", "/scope", "", nil, fields...)
		scope := readScope(t, b)
		who, _ := scope["client"].([]any)
		if len(who) != 2 {
			t.Fatalf("client: %v", scope["client"])
		}
		if trusted && (scope["scheme"] != "https" || who[0] != "203.0.113.9") || !trusted && (scope["scheme"] != "http" || who[0] != "127.0.0.1") {
			t.Errorf("trusted %v: scheme %v, client %v", trusted, scope["scheme"], who)
		}
	}
}

const forwardedApp = `
async def app(scope, receive, send):
    if scope['type'] == 'lifespan':
        raise RuntimeError
    said = '%s://%s' % (scope['scheme'], scope['client'][0])
    if scope['client'][0] != '127.0.0.1':  # whose port is any
        said += ':%d' % scope['client'][1]
    if scope['type'] == 'websocket':
        await send({'type': 'websocket.accept'})
        await send({'type': 'websocket.send', 'text': said})
        return
    await send({'type': 'http.response.start', 'status': 200, 'headers': []})
    await send({'type': 'http.response.body', 'body': said.encode()})
`

// TestASGIForwarded: whom X-Forwarded-For and -Proto name, by whom they are believed of. uvicorn's
// answers are the same where they have one of their own here; that of 400 is ours.
func TestASGIForwarded(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"forwarded.py": forwardedApp})
	type ask struct{ who, proto, want string }
	const three, ports = "1.2.3.4, 10.0.2.1, 192.168.0.2", "1.2.3.4:1234, [2001:db8::1]:8080, 192.168.0.2:9000"
	for trusted, asks := range map[string][]ask{
		"127.0.0.1":                           {{"1.2.3.4", "https", "https://1.2.3.4:0"}, {"", "https", "https://127.0.0.1"}, {"", "", "http://127.0.0.1"}},
		"127.0.0.1, 10.0.0.1":                 {{"1.2.3.4", "https", "https://1.2.3.4:0"}},
		"127.0.0.0/24, 10.0.0.1":              {{"1.2.3.4", "https", "https://1.2.3.4:0"}},
		"192.168.0.1":                         {{"1.2.3.4", "https", "http://127.0.0.1"}, {"[2001:db8::1", "asdf", "http://127.0.0.1"}},
		"192.168.0.0/16":                      {{"1.2.3.4", "https", "http://127.0.0.1"}},
		"127.0.0.1,1.2.3.4":                   {{"1.2.3.4", "https", "https://1.2.3.4:0"}}, // the proxy's machine itself
		"127.0.0.1,10.0.2.1,192.168.0.2":      {{three, "https", "https://1.2.3.4:0"}},
		"10.0.2.1,192.168.0.2,127.0.0.1":      {{three, "https", "https://1.2.3.4:0"}},
		"192.168.0.2,127.0.0.1":               {{three, "https", "https://10.0.2.1:0"}, {ports, "https", "https://2001:db8::1:8080"}},
		"127.0.0.1,10.0.0.0/8,192.168.0.2":    {{three, "https", "https://1.2.3.4:0"}},
		"127.0.0.1,2001:db8::1,192.168.0.2":   {{ports, "https", "https://1.2.3.4:1234"}},
		"127.0.0.1,2001:db8::/32,192.168.0.2": {{ports, "https", "https://1.2.3.4:1234"}},
		// Members that are empty are none, as in every list of HTTP's; uvicorn stops at them.
		"127.0.0.1, 10.0.0.0/8": {{" , ", "https", "https://127.0.0.1"}, {", , ", "https", "https://127.0.0.1"}, {", , 9.9.9.9", "https", "https://9.9.9.9:0"},
			{", , 9.9.9.9, , ", "https", "https://9.9.9.9:0"}, {"9.9.9.9 , , , 10.0.0.1", "https", "https://9.9.9.9:0"}, {" , 10.0.0.1", "https", "https://10.0.0.1:0"},
			{"", "asdf", "400"}},
		"*": {{"1.2.3.4", "https", "https://1.2.3.4:0"}, {three, "https", "https://1.2.3.4:0"}, {ports, "https", "https://1.2.3.4:1234"}, {"", "https", "https://127.0.0.1"},
			{"1.2.3.4:1234", "https", "https://1.2.3.4:1234"}, {"[2001:db8::1]:443", "https", "https://2001:db8::1:443"}, {"[2001:db8::1]", "https", "https://2001:db8::1:0"},
			{"2001:db8::1", "https", "https://2001:db8::1:0"},
			// What is malformed could be read differently on the way.
			{"1.2.3.4:notaport", "https", "400"}, {"[2001:db8::1]:notaport", "https", "400"}, {"[2001:db8::1]extra", "https", "400"}, {"[2001:db8::1", "https", "400"},
			{"1.2.3.4, \xf0\xfd\xfd\xfd, unix:, ::1", "https", "400"},
			// Several fields are one list; schemes that disagree are refused.
			{"203.0.113.66, 198.51.100.23\r\nX-Forwarded-For: 127.0.0.1", "https\r\nX-Forwarded-Proto: https", "https://203.0.113.66:0"},
			{"1.2.3.4", "https\r\nX-Forwarded-Proto: http", "400"}, {"1.2.3.4", "http\r\nX-Forwarded-Proto: https", "400"}},
		"127.0.0.1,::1": {{"203.0.113.66, 198.51.100.23\r\nX-Forwarded-For: 127.0.0.1", "https", "https://198.51.100.23:0"}},
	} {
		s := start(t, append(asgiArgs(t), "--chdir", dir, "--forwarded-allow-ips", trusted, "forwarded:app")...)
		for _, a := range asks {
			fields := "X-Forwarded-For: " + a.who
			if a.proto != "" {
				fields += "\r\nX-Forwarded-Proto: " + a.proto
			}
			out := s.raw("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + fields + "\r\n\r\n")
			head, got, _ := strings.Cut(out, "\r\n\r\n")
			if strings.HasPrefix(head, "HTTP/1.1 400 ") {
				got = "400"
			}
			if got != a.want {
				t.Errorf("trusted are %s, %q: %q, want %q", trusted, fields, got, a.want)
			}
		}
		if trusted != "*" {
			continue
		}
		for proto, want := range map[string]string{"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"} {
			w := s.openSocket(t, "/", false, "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: "+proto)
			w.want(frameText, want+"://1.2.3.4:0")
			w.want(frameClose, "\x03\xe8")
		}
	}
}

// TestASGIRootPath mounts the application below a prefix, which is part of path.
func TestASGIRootPath(t *testing.T) {
	p := startProbe(t, "-e", "SCRIPT_NAME=/mounted")
	scope := readScope(t, p.raw("GET /mounted/scope HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))
	wantScope(t, "below the prefix", scope, map[string]any{"root_path": "/mounted", "path": "/mounted/scope", "raw_path": "bytes:/mounted/scope"})
}

// TestASGIState gives each request a copy of what lifespan made.
func TestASGIState(t *testing.T) {
	p := startProbe(t)
	for i := range 3 {
		if _, b := p.get("/state"); b != fmt.Sprintf(`[["shared"], %d]`, i+1) {
			t.Errorf("state: %s", b)
		}
	}
}

// TestASGIResponses sends what it is given, byte by byte.
func TestASGIResponses(t *testing.T) {
	p := startProbe(t)
	out := p.raw("GET /headers HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	for _, want := range []string{"HTTP/1.1 201 Created\r\n", "x-twice: a\r\n", "x-twice: b\r\n", "kept \xe9\r\n", "set-cookie: a=1\r\n", "set-cookie: b=2\r\n", "made"} {
		if !strings.Contains(strings.ReplaceAll(out, "X-Case", "x-case"), want) {
			t.Errorf("%q is not in %q", want, out)
		}
	}
	if out := p.raw("HEAD /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(out, "HTTP/1.1 200") || strings.Contains(out, "hello") {
		t.Errorf("HEAD: %q", out)
	}
	c := newCaller(t, "TCP", "http://"+p.addr, protocols(false), "tcp", p.addr)
	for range 20 { // on one connection
		c.want(t, "hello", "GET", "/hello", "", nil)
		c.want(t, "3", "POST", "/upload", "text/plain", strings.NewReader("abc"))
	}
}

// TestASGIWrong has applications do what they must not: they are told, by an
// exception, and no client gets a response that looks whole and is not.
func TestASGIWrong(t *testing.T) {
	p := startProbe(t)
	for what, want := range map[string]string{"body first": "500", "text": "cut", "unknown": "500", "no status": "500", "injection": "500", "nothing": "500", "start alone": "cut",
		"start twice": "cut", "cut": "cut", "too long": "any", "after": "200"} {
		r, err := client.Get("http://" + p.addr + "/wrong?" + strings.ReplaceAll(what, " ", "%20"))
		got := ""
		if err != nil {
			got = "cut"
		} else {
			b, err := io.ReadAll(r.Body)
			r.Body.Close()
			switch got = fmt.Sprint(r.StatusCode); {
			case err != nil:
				got = "cut"
			case r.StatusCode == 200 && what == "after" && string(b) != "ok":
				t.Errorf("%s: %q", what, b)
			}
			if r.Header.Get("X-C") != "" {
				t.Errorf("%s: a field was smuggled in", what)
			}
		}
		if got != want && want != "any" && !(want == "cut" && got == "500") {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	for _, n := range p.noted("wrong") {
		if n.string("error") == "none" && n.string("what") != "too long" && n.string("what") != "after" {
			t.Errorf("%s was no error", n.string("what"))
		}
	}
}

// TestASGIRaises answers 500 for an exception, with its traceback in the log, and cuts
// what has begun.
func TestASGIRaises(t *testing.T) {
	p := startProbe(t)
	if status, b := p.get("/raises"); status != 500 || strings.Contains(b, "meant") {
		t.Errorf("%d %q", status, b)
	}
	p.waitLog("ValueError: meant")
	r, err := http.Get("http://" + p.addr + "/raises?later")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if b, err := io.ReadAll(r.Body); err == nil {
		t.Errorf("a response that was not finished looks whole: %q", b)
	}
	p.waitLog("ValueError: meant", 2)
	if _, b := p.get("/"); b != "hello" {
		t.Errorf("after that: %q", b)
	}
}
