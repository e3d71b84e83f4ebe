package e2e

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestAuthority wants HTTP_HOST to be whom the client asked for, by whatever way it
// says so.
func TestAuthority(t *testing.T) {
	s := start(t, "--http2-cleartext", "proxied:app")
	host := func(body string) string {
		t.Helper()
		env := map[string]string{}
		if err := json.Unmarshal([]byte(body), &env); err != nil {
			t.Fatalf("%v in %q", err, body)
		}
		if h, ok := env["HTTP_HOST"]; ok {
			return "Host " + h
		}
		return "no Host"
	}
	for request, want := range map[string]string{
		"GET / HTTP/1.1\r\nHost:\r\n":                           "Host ",
		"GET / HTTP/1.1\r\nHost: localhost:\r\n":                "Host localhost:",
		"GET / HTTP/1.0\r\n":                                    "no Host",
		"GET http://b.example:81/ HTTP/1.1\r\nHost: a\r\n":      "Host b.example:81",
		"GET http://b.example/ HTTP/1.1\r\nHost: a:80\r\n":      "Host b.example",
		"GET http://b.example?x HTTP/1.1\r\nHost:\r\n":          "Host b.example",
		"GET https://[::1]:8443/ HTTP/1.1\r\nHost: c\r\n":       "Host [::1]:8443",
		"GET http://b.example/ HTTP/1.0\r\n":                    "Host b.example",
		"GET http://b.example/ HTTP/1.0\r\nA: b\r\nHost: a\r\n": "Host b.example",
	} {
		out := s.raw(request + "Connection: close\r\n\r\n")
		if head, body, _ := strings.Cut(out, "\r\n\r\n"); !strings.HasPrefix(head, "HTTP/1.1 200 ") {
			t.Errorf("%q: %q", request, head)
		} else if got := host(body); got != want {
			t.Errorf("%q: %q, want %q", request, got, want)
		}
	}
	c := s.framed()
	for _, r := range []struct {
		want   string
		fields []string
	}{
		{"Host b", []string{":authority", "b"}},
		{"Host b:", []string{":authority", "b:"}},
		{"Host b", []string{":authority", "b", "host", "B:80"}},
		{"Host b:80", []string{":authority", "b:80", "host", "b:"}},
		{"Host ", []string{"host", ""}},
		{"Host b", []string{":authority", "b", "host", ""}},
		{"reset", []string{":authority", "b", "host", "b:443"}},
		{"reset", []string{":authority", "b", "host", "a"}},
	} {
		fields := []string{":method", "GET", ":scheme", "http", ":path", "/"}
		status, body := c.answerOf(c.open(true, append(fields, r.fields...)...))
		got := status
		if status == "200" {
			got = host(body)
		}
		if got != r.want {
			t.Errorf("HTTP/2, %q: %q, want %q", r.fields, got, r.want)
		}
	}
}
