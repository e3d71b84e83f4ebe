package origin

import (
	"net/netip"
	"strings"
	"testing"

	"hostler/worker/http1"
)

// parsed is a request with head.
func parsed(t testing.TB, head string) ([]byte, *http1.Request) {
	t.Helper()
	buf := []byte("GET / HTTP/1.1\r\nHost: inner\r\n" + head + "\r\n")
	limits := http1.DefaultLimits()
	r := &http1.Request{Fields: make([]http1.Field, limits.Fields+1)}
	if whole, reason := http1.Parse(buf, 0, &limits, r); !whole {
		t.Fatalf("%q: %v", head, reason)
	}
	return buf, r
}

// names are those of r's fields.
func names(buf []byte, r *http1.Request) string {
	var all []string
	for _, f := range r.Fields[:r.NFields] {
		all = append(all, string(f.Name.In(buf)))
	}
	return strings.Join(all, " ")
}

// SCRIPT_NAME is taken out of every request; it counts, and more than
// X-Forwarded-Prefix, where prefixes do.
func TestScriptName(t *testing.T) {
	for _, c := range []struct {
		fields, head, prefix string
		script               bool
		reason               http1.Reason
	}{
		{"prefix", "SCRIPT_NAME: /shop\r\n", "/shop", true, http1.ReasonNone},
		{"prefix", "SCRIPT_NAME: /shop/\r\nSCRIPT_NAME: /other\r\n", "/other", true, http1.ReasonNone},
		{"prefix", "SCRIPT_NAME: /\r\nX-Forwarded-Prefix: /a\r\n", "", true, http1.ReasonNone},
		{"prefix", "X-Forwarded-Prefix: /a\r\nSCRIPT_NAME: /b\r\n", "/b", true, http1.ReasonNone},
		{"prefix", "SCRIPT_NAME: //evil.example\r\n", "", false, http1.ReasonBadForwarded},
		{"prefix", "SCRIPT_NAME: /b\r\nX-Forwarded-Prefix: /../a\r\n", "", false, http1.ReasonBadForwarded},
		{"for", "SCRIPT_NAME: //evil.example\r\n", "", false, http1.ReasonNone},
	} {
		policy, err := NewPolicy(Options{Fields: []string{c.fields}})
		if err != nil {
			t.Fatal(err)
		}
		buf, r := parsed(t, c.head)
		o, reason := policy.Resolve(buf, r)
		if p := string(o.Prefix.In(buf)); p != c.prefix || o.Script != c.script || reason != c.reason {
			t.Errorf("%s, %q: prefix %q, script %v, %v", c.fields, c.head, p, o.Script, reason)
		}
		if strings.Contains(names(buf, r), "SCRIPT_NAME") {
			t.Errorf("%q: SCRIPT_NAME reaches the application", c.head)
		}
	}
}

func TestDistrust(t *testing.T) {
	for _, c := range []struct{ fields, head, names, first, left string }{
		{"for", "A: b\r\n", "Host A", "", "Host A"},
		{"for", "A: b\r\nX-Forwarded-For: c\r\nB: c\r\nForwarded: d\r\nX-Real-Ip: e\r\n", "Host A X-Forwarded-For B Forwarded X-Real-Ip", "x-forwarded-for", "Host A B"},
		{"for", "CF-Connecting-IP: a\r\n", "Host CF-Connecting-IP", "", "Host CF-Connecting-IP"},
		{"cf-connecting-ip", "CF-Connecting-IP: a\r\n", "Host CF-Connecting-IP", "cf-connecting-ip", "Host"},
		{"prefix", "SCRIPT_NAME: /a\r\nX-Forwarded-Port: 1\r\n", "Host X-Forwarded-Port", "x-forwarded-port", "Host"},
		{"prefix", "SCRIPT_NAME: /a\r\n", "Host", "", "Host"},
	} {
		policy, err := NewPolicy(Options{Fields: []string{c.fields}})
		if err != nil {
			t.Fatal(err)
		}
		for drop, want := range map[bool]string{false: c.names, true: c.left} {
			buf, r := parsed(t, c.head)
			field := policy.Distrust(r, drop)
			if first := http1.KnownFields[field]; field != 0 && first != c.first || field == 0 && c.first != "" {
				t.Errorf("%q: the first is %q", c.head, first)
			}
			if got := names(buf, r); got != want {
				t.Errorf("%q, drop %v: left is %q, want %q", c.head, drop, got, want)
			}
		}
	}
}

func TestBelow(t *testing.T) {
	for path, want := range map[string]bool{"/a": true, "/a/": true, "/a/b": true, "/ab": false, "/": false, "": false, "/b/a": false} {
		if Below([]byte(path), []byte("/a")) != want {
			t.Errorf("%q is below /a: %v", path, !want)
		}
	}
}

func TestHostNameLen(t *testing.T) {
	for host, name := range map[string]string{"a": "a", "a:80": "a", "a:": "a", "[::1]": "[::1]", "[::1]:82": "[::1]"} {
		if got := host[:HostNameLen([]byte(host))]; got != name {
			t.Errorf("the name of %q is %q", host, got)
		}
	}
}

func TestNewPolicyRefuses(t *testing.T) {
	for name, o := range map[string]Options{
		"trusted":  {Trusted: []string{"localhost"}},
		"fields":   {Fields: []string{"x-forwarded-for"}},
		"proxies":  {Proxies: []string{"10.0.0.0/33"}},
		"versions": {ProxyProtocol: "v3"},
	} {
		if _, err := NewPolicy(o); err == nil || !strings.HasPrefix(err.Error(), "cannot ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAwaitsProxyHeader(t *testing.T) {
	unix, proxy, other := netip.AddrPort{}, netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("10.0.0.2:1")
	for version, want := range map[string][3]bool{"": {}, "auto": {true, true, false}} {
		policy, err := NewPolicy(Options{Proxies: []string{"unix", "10.0.0.1"}, ProxyProtocol: version})
		if err != nil {
			t.Fatal(err)
		}
		for i, peer := range []netip.AddrPort{unix, proxy, other} {
			if policy.AwaitsProxyHeader(peer) != want[i] {
				t.Errorf("%q, %v: %v", version, peer, !want[i])
			}
		}
	}
}

func TestResolveAllocatesNothing(t *testing.T) {
	policy, err := NewPolicy(Options{Trusted: []string{"127.0.0.1"}, Fields: []string{"for", "proto", "host", "prefix", "forwarded", "cf-connecting-ip"}})
	if err != nil {
		t.Fatal(err)
	}
	buf, r := parsed(t, "X-Forwarded-For: 6.6.6.6, 2001:db8::1, 127.0.0.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: example.com\r\n"+
		"X-Forwarded-Prefix: /a\r\nForwarded: for=\"[2001:db8::1]:4711\";proto=https\r\n")
	n := testing.AllocsPerRun(100, func() {
		if o, reason := policy.Resolve(buf, r); reason != http1.ReasonNone || o.Port != 4711 {
			t.Fatalf("%+v, %v", o, reason)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations a request", n)
	}
}
