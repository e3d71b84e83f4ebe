package origin

import (
	"fmt"
	"strings"
	"testing"

	"hostler/worker/http1"
)

// resolved is what a request with head says of its client, to whom fields count, or why it is refused.
func resolved(t *testing.T, fields, head string) string {
	t.Helper()
	policy, err := NewPolicy(Options{Trusted: []string{"10.0.0.0/8", "fd00::/8"}, Fields: strings.Fields(fields)})
	if err != nil {
		t.Fatal(err)
	}
	buf := []byte("GET / HTTP/1.1\r\nHost: inner\r\n" + head + "\r\n")
	r := http1.Request{Fields: make([]http1.Field, 101)}
	limits := http1.Limits{Line: 8190, Field: 32000, Fields: 100, Head: 64 << 10}
	if whole, reason := http1.Parse(buf, 0, &limits, &r); !whole {
		t.Fatalf("%q: %v", head, reason)
	}
	s, reason := policy.Resolve(buf, &r)
	if reason != http1.ReasonNone {
		return reason.String()
	}
	var parts []string
	add := func(format string, v any) { parts = append(parts, fmt.Sprintf(format, v)) }
	if s.Addr.IsValid() {
		add("%v", s.Addr)
	}
	if s.Port != 0 {
		add("port=%v", s.Port)
	}
	if s.Proto != 0 {
		parts = append(parts, []string{"", "http", "https"}[s.Proto])
	}
	if s.Host.Len > 0 {
		host := s.Host.In(buf)
		add("host=%s", string(host[:HostNameLen(host)])+"|"+string(host[HostNameLen(host):]))
	}
	if s.Prefix.Len > 0 {
		add("prefix=%s", s.Prefix.In(buf))
	}
	return strings.Join(parts, " ")
}

func TestForwardedAddresses(t *testing.T) {
	for chain, want := range map[string]string{
		"203.0.113.9":                          "203.0.113.9",
		"1.1.1.1, 203.0.113.9":                 "203.0.113.9",
		"1.1.1.1, 203.0.113.9, 10.0.0.1":       "203.0.113.9",
		"203.0.113.9,10.0.0.1,\t10.0.0.2 ":     "203.0.113.9",
		"10.0.0.3, 10.0.0.1":                   "10.0.0.3",
		"2001:db8::1, fd00::1":                 "2001:db8::1",
		"[2001:db8::1]:443, 10.0.0.1:80":       "2001:db8::1 port=443",
		"[2001:db8::1]":                        "2001:db8::1",
		"::ffff:203.0.113.9":                   "203.0.113.9",
		"fe80::1%eth0":                         "fe80::1",
		"203.0.113.9:4711":                     "203.0.113.9 port=4711",
		"unknown, 10.0.0.1":                    "10.0.0.1",
		"_secret-1, 10.0.0.1":                  "10.0.0.1",
		"Unknown":                              "",
		"":                                     "",
		", ,":                                  "",
		"1.1.1.1,":                             "1.1.1.1",
		", 1.1.1.1":                            "1.1.1.1",
		strings.Repeat("9", 9000) + ",8.8.8.8": "8.8.8.8",
		"<script>, 8.8.8.8":                    "8.8.8.8",
		"evil, 10.0.0.1":                       "bad_forwarded",
		"1.1.1.1, <script>":                    "bad_forwarded",
		"_, 10.0.0.1":                          "bad_forwarded",
		"8.8.8.8:":                             "bad_forwarded",
		"8.8.8.8:65536":                        "bad_forwarded",
		"8.8.8.8:+1":                           "bad_forwarded",
		"[8.8.8.8]:80":                         "bad_forwarded",
		"[::1":                                 "bad_forwarded",
		"[]":                                   "bad_forwarded",
		":80":                                  "bad_forwarded",
		"08.8.8.8":                             "bad_forwarded",
		strings.Repeat("9", 9000):              "bad_forwarded",
	} {
		if got := resolved(t, "for", "X-Forwarded-For: "+chain+"\r\n"); got != want {
			t.Errorf("%.60q: %q, want %q", chain, got, want)
		}
	}
}

func TestForwardedField(t *testing.T) {
	for value, want := range map[string]string{
		`for=203.0.113.9`: "203.0.113.9",
		`For=203.0.113.9;Proto=HTTPS;by=10.0.0.1;Host=example.org`:          "203.0.113.9 https host=example.org|",
		`for=203.0.113.9; proto=http ; host="example.org:8080"`:             "203.0.113.9 http host=example.org|:8080",
		`for=1.1.1.1;proto=https, for=203.0.113.9;proto=http, for=10.0.0.2`: "203.0.113.9 http",
		`for=203.0.113.9;proto=https, for=10.0.0.2;proto=http;host=inner`:   "203.0.113.9 https",
		`for="[2001:db8::1]:4711"`:                                          "2001:db8::1 port=4711",
		`for="[2001:db8::1]"`:                                               "2001:db8::1",
		`for="203.0.113.9:_port"`:                                           "203.0.113.9",
		`for="203.0.113.9:80"`:                                              "203.0.113.9 port=80",
		`for=unknown;proto=https, for=10.0.0.1`:                             "10.0.0.1 https",
		`for="_hidden:_p";proto=https`:                                      "https",
		`for=1.1.1.1, proto=https`:                                          "https",
		`for=9.9.9.9;secret="a\",b;for=8.8.8.8"`:                            "9.9.9.9",
		`;;for=9.9.9.9;, ,`:                                                 "9.9.9.9",
		`for=junk, for=9.9.9.9`:                                             "9.9.9.9",
		`for=junk`:                                                          "bad_forwarded",
		`for=`:                                                              "bad_forwarded",
		`for`:                                                               "bad_forwarded",
		`for =1.1.1.1`:                                                      "bad_forwarded",
		`for= 1.1.1.1`:                                                      "bad_forwarded",
		`for=[2001:db8::1]`:                                                 "bad_forwarded",
		`for="2001:db8::1"`:                                                 "bad_forwarded",
		`for="[fe80::1%eth0]"`:                                              "bad_forwarded",
		`for=1.1.1.1:80`:                                                    "bad_forwarded",
		`for=":_p"`:                                                         "bad_forwarded",
		`for="1.1.1.1:unknown"`:                                             "bad_forwarded",
		`for="1.1.1\.1"`:                                                    "bad_forwarded",
		`for="1.1.1.1`:                                                      "bad_forwarded",
		`for="" `:                                                           "bad_forwarded",
		`for="evil, for=203.0.113.9`:                                        "bad_forwarded",
		`for=1.1.1.1 for=2.2.2.2`:                                           "bad_forwarded",
		`for=1.1.1.1;for=1.1.1.1`:                                           "bad_forwarded",
		`for=1.1.1.1;proto=gopher`:                                          "bad_forwarded",
		`for=1.1.1.1;host="a b"`:                                            "bad_forwarded",
		"for=10.0.0.1" + strings.Repeat(", for=10.0.0.1", 40):               "bad_forwarded",
		"for=10.0.0.1" + strings.Repeat(", for=10.0.0.1", 20):               "10.0.0.1",
		`for=2.2.2.2` + "\r\nForwarded: for=10.0.0.9\r\nForwarded: for=10.0.0.1;by=_proxy": "2.2.2.2",
	} {
		if got := resolved(t, "for proto host forwarded", "Forwarded: "+value+"\r\n"); got != want {
			t.Errorf("%.80q: %q, want %q", value, got, want)
		}
	}
}

func TestForwardedSources(t *testing.T) {
	const all = "for proto host prefix forwarded cf-connecting-ip"
	for _, c := range []struct{ fields, head, want string }{
		{all, "X-Forwarded-Proto: https\r\n", "https"},
		{all, "X-Forwarded-Proto: WSS\r\n", "https"},
		{all, "X-Forwarded-Proto: https, https\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Ssl: On\r\n", "https"},
		{all, "X-Forwarded-Proto: \r\n", ""},
		{all, "X-Forwarded-Proto: gopher\r\n", "bad_forwarded"},
		{all, "X-Forwarded-Ssl: 1\r\n", "bad_forwarded"},
		{all, "X-Forwarded-Proto: https, http\r\n", "forwarded_mismatch"},
		{all, "X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n", "forwarded_mismatch"},
		{all, "X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: off\r\n", "forwarded_mismatch"},
		{all, "X-Forwarded-Proto: https\r\nForwarded: proto=http\r\n", "forwarded_mismatch"},
		{all, "X-Forwarded-Proto: https\r\nForwarded: for=1.1.1.1\r\n", "1.1.1.1 https"},
		{all, "X-Forwarded-For: 1.1.1.1\r\nForwarded: for=1.1.1.1\r\n", "1.1.1.1"},
		{all, "X-Forwarded-For: 1.1.1.1\r\nForwarded: for=\"1.1.1.1:99\"\r\n", "1.1.1.1 port=99"},
		{all, "X-Forwarded-For: 1.1.1.1\r\nForwarded: for=2.2.2.2\r\n", "forwarded_mismatch"},
		{all, "X-Forwarded-For: 1.1.1.1\r\nForwarded: for=unknown\r\n", "1.1.1.1"},
		{all, "X-Forwarded-Host: a, b:81\r\n", "host=b|:81"},
		{all, "X-Forwarded-Host: a:\r\n", "host=a|:"},
		{all, "X-Forwarded-Host: a\r\nForwarded: host=\"A:80\"\r\n", "host=a|"},
		{all, "X-Forwarded-Host: a\r\nForwarded: proto=https;host=\"a:443\"\r\n", "https host=a|"},
		{all, "X-Forwarded-Host: a\r\nForwarded: proto=https;host=\"a:80\"\r\n", "forwarded_mismatch"},
		{all, "X-Forwarded-Host: [::1]\r\n", "host=[::1]|"},
		{all, "X-Forwarded-Host: [::1]:82\r\n", "host=[::1]|:82"},
		{all, "X-Forwarded-Host: a\r\nX-Forwarded-Host: b\r\n", "host=b|"},
		{all, "X-Forwarded-Host: a/b\r\n", "bad_forwarded"},
		{all, "X-Forwarded-Host: a:99999\r\n", "bad_forwarded"},
		{all, "X-Forwarded-Host: a\r\nForwarded: host=A\r\n", "host=a|"},
		{all, "X-Forwarded-Host: a\r\nForwarded: host=b\r\n", "forwarded_mismatch"},
		{all, "X-Forwarded-Prefix: /shop/\r\n", "prefix=/shop"},
		{all, "X-Forwarded-Prefix: /a, /b/c\r\n", "prefix=/b/c"},
		{all, "X-Forwarded-Prefix: /\r\n", ""},
		{all, "X-Forwarded-Prefix: //evil.example\r\n", "bad_forwarded"},
		{all, "X-Forwarded-Prefix: /a//b\r\n", "bad_forwarded"},
		{all, "X-Forwarded-Prefix: /a/../b\r\n", "bad_forwarded"},
		{all, "X-Forwarded-Prefix: shop\r\n", "bad_forwarded"},
		{all, "X-Forwarded-Prefix: /a%2f\r\n", "bad_forwarded"},
		{all, "X-Forwarded-Prefix: /a b\r\n", "bad_forwarded"},
		{all, "X-Forwarded-Prefix: /a\\b\r\n", "bad_forwarded"},
		{all, "CF-Connecting-IP: 1.1.1.1\r\n", "1.1.1.1"},
		{all, "CF-Connecting-IP: 1.1.1.1\r\nX-Forwarded-For: 1.1.1.1, 10.0.0.1\r\n", "1.1.1.1"},
		{all, "CF-Connecting-IP: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\n", "forwarded_mismatch"},
		{all, "CF-Connecting-IP: 1.1.1.1\r\nCF-Connecting-IP: 1.1.1.1\r\n", "bad_forwarded"},
		{all, "CF-Connecting-IP: 1.1.1.1, 2.2.2.2\r\n", "bad_forwarded"},
		{"for", "X-Forwarded-Proto: gopher\r\nForwarded: junk\r\nX-Forwarded-Host: /\r\nX-Forwarded-Prefix: a\r\nCF-Connecting-IP: x\r\nX-Forwarded-Ssl: x\r\n", ""},
		{"proto forwarded", "Forwarded: for=1.1.1.1;proto=https;host=a\r\nX-Forwarded-For: 2.2.2.2\r\n", "https"},
		{"host forwarded", "Forwarded: for=1.1.1.1;proto=https;host=a\r\n", "host=a|"},
	} {
		if got := resolved(t, c.fields, c.head); got != c.want {
			t.Errorf("%s, %q: %q, want %q", c.fields, c.head, got, c.want)
		}
	}
	if _, err := ParseFields([]string{"for", "x"}); err == nil {
		t.Error("an unknown kind of field counts")
	}
}

// FuzzForwarded wants no panic, and no verdict that is not well-formed.
func FuzzForwarded(f *testing.F) {
	for _, s := range []string{
		"for=1.1.1.1;proto=https;host=a", `for="[::1]:80", for="_a:_b";by="\"x"`, "10.0.0.1, 1.1.1.1:80", "/a/b", "on", "[::1]:80",
	} {
		for k := range byte(7) {
			f.Add(k, s)
		}
	}
	names := []string{"X-Forwarded-For", "Forwarded", "X-Forwarded-Proto", "X-Forwarded-Ssl", "X-Forwarded-Host", "X-Forwarded-Prefix", "CF-Connecting-IP"}
	f.Fuzz(func(t *testing.T, kind byte, value string) {
		buf := []byte("GET / HTTP/1.1\r\nHost: inner\r\n" + names[int(kind)%len(names)] + ": " + value + "\r\n\r\n")
		r := http1.Request{Fields: make([]http1.Field, 101)}
		limits := http1.DefaultLimits()
		if whole, _ := http1.Parse(buf, 0, &limits, &r); !whole {
			return
		}
		policy := Policy{Fields: ^Fields(0)}
		s, reason := policy.Resolve(buf, &r)
		if reason != http1.ReasonNone {
			return
		}
		if s.Host.Len > 0 && (!http1.ValidHost(s.Host.In(buf)) || HostNameLen(s.Host.In(buf)) == 0) {
			t.Errorf("host %q", s.Host.In(buf))
		}
		if p := string(s.Prefix.In(buf)); p != "" && (p[0] != '/' || strings.ContainsAny(p, "%?#\\ \x00") || strings.Contains(p, "//")) {
			t.Errorf("prefix %q", p)
		}
		if s.Addr.IsValid() && (s.Addr.Zone() != "" || s.Addr.Is4In6()) {
			t.Errorf("address %v", s.Addr)
		}
	})
}
