package worker

import (
	"fmt"
	"strings"
	"testing"

	"hostler/protocol"
	"hostler/worker/http1"
)

// heard is what the fields of a request make of it, or why it is refused.
func heard(t *testing.T, believes, fields string) string {
	t.Helper()
	trust, err := parseTrust([]string{"10.0.0.0/8", "fd00::/8"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := parseBelieved(strings.Fields(believes))
	if err != nil {
		t.Fatal(err)
	}
	buf := []byte("GET / HTTP/1.1\r\nHost: inner\r\n" + fields + "\r\n")
	r := http1.Request{Fields: make([]http1.Field, 101)}
	limits := http1.Limits{Line: 8190, Field: 32000, Fields: 100, Head: 64 << 10}
	if whole, reason := http1.Parse(buf, 0, &limits, &r); !whole {
		t.Fatalf("%q: %v", fields, reason)
	}
	h := hearing{trust: &trust, believes: b, buf: buf}
	if reason := h.hear(&r); reason != http1.ReasonNone {
		return reason.String()
	}
	var parts []string
	add := func(format string, v any) { parts = append(parts, fmt.Sprintf(format, v)) }
	s := h.verdict
	if s.addr.IsValid() {
		add("%v", s.addr)
	}
	if s.port != 0 {
		add("port=%v", s.port)
	}
	if s.proto != 0 {
		parts = append(parts, []string{"", "http", "https"}[s.proto])
	}
	if s.host.Len > 0 {
		host := span(buf, s.host)
		add("host=%s", string(host[:nameLen(host)])+"|"+string(host[nameLen(host):]))
	}
	if s.prefix.Len > 0 {
		add("prefix=%s", span(buf, s.prefix))
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
		if got := heard(t, "for", "X-Forwarded-For: "+chain+"\r\n"); got != want {
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
		if got := heard(t, "for proto host forwarded", "Forwarded: "+value+"\r\n"); got != want {
			t.Errorf("%.80q: %q, want %q", value, got, want)
		}
	}
}

func TestForwardedSources(t *testing.T) {
	const all = "for proto host prefix forwarded cf-connecting-ip"
	for _, c := range []struct{ believes, fields, want string }{
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
		if got := heard(t, c.believes, c.fields); got != c.want {
			t.Errorf("%s, %q: %q, want %q", c.believes, c.fields, got, c.want)
		}
	}
	if _, err := parseBelieved([]string{"for", "x"}); err == nil {
		t.Error("an unknown kind of field is believed")
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
		h := hearing{trust: &trustList{}, believes: ^uint32(0), buf: buf}
		if h.hear(&r) != http1.ReasonNone {
			return
		}
		s := h.verdict
		if s.host.Len > 0 && (!http1.ValidHost(span(buf, s.host)) || nameLen(span(buf, s.host)) == 0) {
			t.Errorf("host %q", span(buf, s.host))
		}
		if p := string(span(buf, s.prefix)); p != "" && (p[0] != '/' || strings.ContainsAny(p, "%?#\\ \x00") || strings.Contains(p, "//")) {
			t.Errorf("prefix %q", p)
		}
		if s.addr.IsValid() && (s.addr.Zone() != "" || s.addr.Is4In6()) {
			t.Errorf("address %v", s.addr)
		}
	})
}

// What a proxy says counts only if it is trusted. Of what others say nothing counts,
// and it reaches the application or not.
func TestForwarded(t *testing.T) {
	for _, how := range []string{"trusted", protocol.ForwardedKeep, protocol.ForwardedDrop} {
		cfg := testConfig()
		cfg.ForwardedHeaders = []string{"for", "proto", "host", "prefix", "cf-connecting-ip"}
		cfg.ForwardedUntrusted = how
		if how == "trusted" {
			cfg.ForwardedAllowIPs = []string{"127.0.0.1"}
		}
		type seen struct {
			remote, path string
			forwarded    uint32
			fields       string // but for Host
		}
		got := make(chan seen, 1)
		r := serve(t, cfg, func(c *call) {
			remote := string(c.t.Remote[:c.t.RemoteLen]) + ":" + string(c.t.Port[:c.t.PortLen])
			var names []string
			for _, f := range c.t.Req.Fields[:c.t.Req.NFields] {
				if f.Known != http1.KnownHost {
					names = append(names, string(span(bytesAt(c.t.Buf, int(c.t.Req.HeadLen)), f.Name)))
				}
			}
			got <- seen{remote, string(bytesAt(c.t.Path, int(c.t.PathLen))), c.t.Forwarded, strings.Join(names, " ")}
			c.ok("x")
		})
		c := r.dial()
		rd := responses(t, c)
		told := uint64(0)
		for _, k := range []struct {
			target, fields string
			want           seen
			left           string // with drop
		}{
			{"/", "", seen{"127.0.0.1:4711", "/", 0, ""}, ""},
			{"/", "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 203.0.113.9, 127.0.0.1\r\nX-Forwarded-Proto: HTTPS\r\n",
				seen{"203.0.113.9:", "/", ForwardedHTTPS, "X-Forwarded-For X-Forwarded-For X-Forwarded-Proto"}, ""},
			{"/", "", seen{"127.0.0.1:4711", "/", 0, ""}, ""}, // nothing is left of the request before
			{"/", "Accept: a\r\nX-Forwarded-Ssl: on\r\nX-Forwarded-Proto: https\r\nA: b\r\nX-Real-Ip: 1.1.1.1\r\nX-Forwarded-Port: 1\r\nB: c\r\n",
				seen{"127.0.0.1:4711", "/", ForwardedHTTPS, "Accept X-Forwarded-Ssl X-Forwarded-Proto A X-Real-Ip X-Forwarded-Port B"}, "Accept A B"},
			{"/%61/b", "X-Forwarded-Prefix: /a\r\nX-Forwarded-Host: b\r\nForwarded: x\r\n",
				seen{"127.0.0.1:4711", "/b", ForwardedHost | ForwardedPrefix, "X-Forwarded-Prefix X-Forwarded-Host Forwarded"}, ""},
			{"/ab", "X-Forwarded-Prefix: /a\r\n", seen{"127.0.0.1:4711", "/ab", ForwardedPrefix, "X-Forwarded-Prefix"}, ""},
			{"/a", "X-Forwarded-Prefix: /a\r\n", seen{"127.0.0.1:4711", "", ForwardedPrefix, "X-Forwarded-Prefix"}, ""},
			{"/", "CF-Connecting-IP: 203.0.113.9\r\n", seen{"203.0.113.9:", "/", 0, "CF-Connecting-IP"}, ""},
		} {
			send(t, c, "GET "+k.target+" HTTP/1.1\r\nHost: x\r\n"+k.fields+"\r\n")
			rd.want(200, "x")
			if how != "trusted" {
				if k.want.fields != "" {
					told++
				}
				k.want = seen{"127.0.0.1:4711", strings.Replace(k.target, "%61", "a", 1), 0, k.want.fields}
				if how == protocol.ForwardedDrop {
					k.want.fields = k.left
				}
			}
			if s := <-got; s != k.want {
				t.Errorf("%s, %q: %+v, want %+v", how, k.fields, s, k.want)
			}
		}
		if n := r.slot.Counters.ForwardedUntrusted.Load(); n != told {
			t.Errorf("%s: %d requests are counted, want %d", how, n, told)
		}
		if how != "trusted" {
			continue
		}
		send(t, c, "GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Ssl: on\r\n\r\n")
		rd.want(400, "*")
		rd.wantEnd()
		c = r.dial()
		rd = responses(t, c)
		send(t, c, "POST / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: junk\r\nContent-Length: 3\r\n\r\nabc")
		rd.want(400, "*")
		rd.wantEnd()
		for _, reason := range []http1.Reason{http1.ReasonForwardedMismatch, http1.ReasonBadForwarded} {
			if n := r.slot.Counters.Rejects[reason].Load(); n != 1 {
				t.Errorf("%v is counted %d times", reason, n)
			}
		}
	}
}
