package e2e

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// seen sends a request on a connection to an address, and returns what the
// application rebuilt has seen of it.
func seen(t *testing.T, secure bool, network, addr, request string) map[string]string {
	t.Helper()
	var c net.Conn
	c, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	if secure {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(c)
	_, body, _ := strings.Cut(string(b), "\r\n\r\n")
	got := make(map[string]string)
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatalf("%q: %q, %v", request, b, err)
	}
	return got
}

// TestServerName wants a name and a port that stand in a URL, whatever the server
// listens on and whatever the client says.
func TestServerName(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "http.sock")
	p := newPair(t, dir, "localhost", 1)
	any4, any6, v6 := freePort(t), freePort(t), freePort(t)
	bind := func(host string, port int) string { return fmt.Sprintf("%s:%d", host, port) }
	plain := start(t, "-b", "unix:"+socket, "-b", bind("", any6), "-b", bind("0.0.0.0", any4), "-b", bind("[::1]", v6),

		"--forwarded-headers", "proto,host", "--forwarded-allow-ips", "*", "rebuilt:app")
	secured := start(t, append(p.args(), "-b", bind("", freePort(t)), "--forwarded-headers", "proto,host", "rebuilt:app")...)
	own := plain.addr[strings.LastIndex(plain.addr, ":")+1:]
	s6, s4 := fmt.Sprint(any6), fmt.Sprint(any4)
	type is struct{ name, port, url string }
	const get11, get10 = "GET /a%20b?c HTTP/1.1\r\nConnection: close\r\n", "GET /a%20b?c HTTP/1.0\r\n"
	for _, c := range []struct {
		network, addr, request string
		is
	}{
		{"unix", socket, get11 + "Host: shop.example\r\n", is{"shop.example", "80", "http://shop.example/a%20b?c"}},
		{"unix", socket, get11 + "Host: shop.example:8080\r\n", is{"shop.example", "8080", "http://shop.example:8080/a%20b?c"}},
		{"unix", socket, get11 + "Host: 127.0.0.1\r\n", is{"127.0.0.1", "80", "http://127.0.0.1/a%20b?c"}},
		{"unix", socket, get11 + "Host: 12\r\n", is{"12", "80", "http://12/a%20b?c"}},
		{"unix", socket, get11 + "Host: [2001:db8::1]\r\n", is{"[2001:db8::1]", "80", "http://[2001:db8::1]/a%20b?c"}},
		{"unix", socket, get11 + "Host: [2001:db8::1]:81\r\n", is{"[2001:db8::1]", "81", "http://[2001:db8::1]:81/a%20b?c"}},
		{"unix", socket, get11 + "Host: shop.example\r\nX-Forwarded-Proto: https\r\n", is{"shop.example", "443", "https://shop.example/a%20b?c"}},
		{"unix", socket, get11 + "Host: a\r\nX-Forwarded-Host: shop.example:82\r\n", is{"shop.example", "82", "http://shop.example:82/a%20b?c"}},
		{"unix", socket, get10, is{"localhost", "80", "http://localhost/a%20b?c"}},
		{"unix", socket, get10 + "X-Forwarded-Proto: https\r\n", is{"localhost", "443", "https://localhost/a%20b?c"}},
		{"unix", socket, "GET http://shop.example:81/a%20b?c HTTP/1.1\r\nHost: shop.example:81\r\nConnection: close\r\n",
			is{"shop.example", "81", "http://shop.example:81/a%20b?c"}},
		{"tcp4", bind("127.0.0.1", any6), get11 + "Host: shop.example\r\n", is{"shop.example", s6, "http://shop.example/a%20b?c"}},
		{"tcp4", bind("127.0.0.1", any6), get11 + "Host: [::1]:1\r\n", is{"[::1]", s6, "http://[::1]:1/a%20b?c"}},
		{"tcp4", bind("127.0.0.1", any6), get10, is{"localhost", s6, "http://localhost:" + s6 + "/a%20b?c"}},
		{"tcp4", bind("127.0.0.1", any4), get10, is{"localhost", s4, "http://localhost:" + s4 + "/a%20b?c"}},
		{"tcp4", bind("127.0.0.1", any4), get11 + "Host: a\r\nX-Forwarded-Host: shop.example\r\nX-Forwarded-Proto: https\r\n",
			is{"shop.example", "443", "https://shop.example/a%20b?c"}},
		{"tcp6", bind("[::1]", v6), get10, is{"[::1]", fmt.Sprint(v6), fmt.Sprintf("http://[::1]:%d/a%%20b?c", v6)}},
		{"tcp4", plain.addr, get11 + "Host: shop.example:1\r\n", is{"127.0.0.1", own, "http://shop.example:1/a%20b?c"}},
		{"tls", secured.addr, get10, is{"127.0.0.1", secured.addr[strings.LastIndex(secured.addr, ":")+1:], "https://" + secured.addr + "/a%20b?c"}},
		{"tls", secured.addr, get11 + "Host: a\r\nX-Forwarded-Host: shop.example\r\n", is{"shop.example", "443", "https://shop.example/a%20b?c"}},
		{"tls", secured.addr, get11 + "Host: a\r\nX-Forwarded-Host: shop.example\r\nX-Forwarded-Proto: http\r\n", is{"shop.example", "80", "http://shop.example/a%20b?c"}},
	} {
		network := c.network
		if network == "tls" {
			network = "tcp"
		}
		got := seen(t, c.network == "tls", network, c.addr, c.request+"\r\n")
		if now := (is{got["SERVER_NAME"], got["SERVER_PORT"], got["url"]}); now != c.is {
			t.Errorf("%s %q: %v, want %v", c.addr, c.request, now, c.is)
		}
		if u, err := url.Parse(got["own"]); err != nil || u.Hostname() == "" || strings.Contains(u.Host, "/") {
			t.Errorf("%s %q: %q is no URL: %v", c.addr, c.request, got["own"], err)
		}
		if v := got["SERVER_SOFTWARE"]; !strings.HasPrefix(v, "hostler/") || len(v) == len("hostler/") {
			t.Errorf("SERVER_SOFTWARE: %q", v)
		}
	}
}

// TestScriptName: the environment, or a trusted proxy, says where the application is.
func TestScriptName(t *testing.T) {
	type is struct{ script, path string } // path "-": 500
	ask := func(s *server, target, fields string) is {
		t.Helper()
		out := s.ask("GET", target, fields, "")
		got := make(map[string]string)
		if err := json.Unmarshal([]byte(bodyOf(out)), &got); err != nil {
			if strings.HasPrefix(out, "HTTP/1.1 500 ") {
				return is{"", "-"}
			}
			t.Fatalf("%s: %q", target, out)
		}
		return is{got["SCRIPT_NAME"], got["PATH_INFO"]}
	}
	for _, arg := range []string{"/pre", "/pre/", "/pre//"} {
		for _, more := range []string{"--threads=2", "--preload"} {
			s := start(t, "-e", "SCRIPT_NAME="+arg, more, "--forwarded-headers", "prefix", "--warmup", "/pre/warm", "rebuilt:app")
			for target, want := range map[string]is{
				"/pre/a%20b?c": {"/pre", "/a b"}, "/pre": {"/pre", ""}, "/pre/": {"/pre", "/"}, "/%70re/a": {"/pre", "/a"},
				"/prefix": {"", "-"}, "/": {"", "-"}, "/a/pre/b": {"", "-"}, "/PRE/a": {"", "-"},
			} {
				if got := ask(s, target, ""); got != want {
					t.Errorf("%s, %s: %q, want %q", arg, target, got, want)
				}
			}
			s.waitLog("the request's path '/prefix' does not begin with SCRIPT_NAME, '/pre'")
			if arg == "/pre" {
				if got, want := ask(s, "/other/a", "SCRIPT_NAME: /other\r\n"), (is{"/other", "/a"}); got != want {
					t.Errorf("a proxy knows better: %q", got)
				}
			}
		}
	}
	for _, arg := range []string{"", "/"} {
		s := start(t, "-e", "SCRIPT_NAME="+arg, "--forwarded-headers", "prefix", "rebuilt:app")
		for _, c := range []struct {
			target, fields string
			want           is
		}{
			{"/a", "", is{"", "/a"}},
			{"/pre/a", "SCRIPT_NAME: /pre\r\n", is{"/pre", "/a"}},
			{"/pre/a", "Script_Name: /pre/\r\n", is{"/pre", "/a"}},
			{"/pre", "SCRIPT_NAME: /pre\r\n", is{"/pre", ""}},
			{"/a", "SCRIPT_NAME: /pre\r\n", is{"", "-"}},
			{"/prefix", "SCRIPT_NAME: /pre\r\n", is{"", "-"}},
			{"/a", "SCRIPT_NAME:\r\n", is{"", "/a"}},
			{"/a", "X-Forwarded-Prefix: /pre\r\n", is{"/pre", "/a"}},
		} {
			if got := ask(s, c.target, c.fields); got != c.want {
				t.Errorf("%s %q: %q, want %q", c.target, c.fields, got, c.want)
			}
		}
	}
	// Nobody else's word counts, nor a proxy's that is not believed in this.
	for _, args := range [][]string{{"--forwarded-allow-ips", "10.9.8.7", "--forwarded-headers", "prefix"}, nil} {
		s := start(t, append(args, "environ:app")...)
		if out := s.ask("GET", "/pre/a", "SCRIPT_NAME: /pre\r\n", ""); !strings.Contains(out, `"PATH_INFO": "/pre/a"`) || strings.Contains(out, "HTTP_SCRIPT_NAME") || !strings.Contains(out, `"SCRIPT_NAME": ""`) {
			t.Errorf("%v: %q", args, out)
		}
	}
	wrong := launch(t, "-e", "SCRIPT_NAME=pre", "rebuilt:app")
	<-wrong.exited
	wrong.waitLog("SCRIPT_NAME in the environment has to begin with a slash: 'pre'")
}
