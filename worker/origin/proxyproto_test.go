package origin

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"hostler/worker/http1"
)

// v2 is a header of version 2.
func v2(command, family byte, payload string) string {
	b := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x20|command, family)
	return string(binary.BigEndian.AppendUint16(b, uint16(len(payload)))) + payload
}

var (
	v2IPv4 = v2(1, 0x11, "\xcb\x00\x71\x09\x0a\x00\x00\x01\x12\x67\x00\x50")
	v2IPv6 = v2(1, 0x21, "\x20\x01\x0d\xb8"+strings.Repeat("\x00", 11)+"\x01"+strings.Repeat("\x00", 15)+"\x01"+"\x12\x67\x00\x50"+"\x04\x00\x03xyz")
	// as long as the library takes them
	v2Long = v2(1, 0x11, "\xcb\x00\x71\x09\x0a\x00\x00\x01\x12\x67\x00\x50\x04\x0f\xe1"+strings.Repeat("z", 4096-15))
)

const v1IPv4 = "PROXY TCP4 203.0.113.9 10.0.0.1 4711 80\r\n"

// What a header says does not depend on what follows it; of a part of it nothing is
// said.
func TestProxyHeader(t *testing.T) {
	for _, c := range []struct {
		header string
		want   ProxyClient
	}{
		{v1IPv4, ProxyClient{Addr: netip.MustParseAddrPort("203.0.113.9:4711")}},
		{"PROXY TCP6 2001:db8::1 ::1 65535 0\r\n", ProxyClient{Addr: netip.MustParseAddrPort("[2001:db8::1]:65535")}},
		{"PROXY TCP6 ::ffff:203.0.113.9 ::ffff:10.0.0.1 1 2\r\n", ProxyClient{Addr: netip.MustParseAddrPort("203.0.113.9:1")}},
		{"PROXY TCP4 10.0.0.7 10.0.0.1 1 2\r\n", ProxyClient{Addr: netip.MustParseAddrPort("10.0.0.7:1")}},
		{"PROXY UNKNOWN\r\n", ProxyClient{}},
		{"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", ProxyClient{}},
		{v2IPv4, ProxyClient{Addr: netip.MustParseAddrPort("203.0.113.9:4711")}},
		{v2IPv6, ProxyClient{Addr: netip.MustParseAddrPort("[2001:db8::1]:4711")}},
		{v2Long, ProxyClient{Addr: netip.MustParseAddrPort("203.0.113.9:4711")}},
		{v2(0, 0, ""), ProxyClient{Own: true}},
		{v2(0, 0x11, "junk"), ProxyClient{Own: true}},
		{v2(0, 0x13, ""), ProxyClient{Own: true}},
		{v2(0, 0x77, strings.Repeat("x", 300)), ProxyClient{Own: true}},
		{v2(0, 0xff, "junk"), ProxyClient{Own: true}},
		{v2(0, 0x12, strings.Repeat("x", 12)), ProxyClient{Own: true}},
		{v2(1, 0x00, ""), ProxyClient{}},
		{v2(1, 0x00, strings.Repeat("x", 40)), ProxyClient{}},
		{v2(1, 0x31, strings.Repeat("/run/x.sock"+strings.Repeat("\x00", 97), 2)), ProxyClient{}},
	} {
		for i := range c.header {
			if client, n, reason := (ProxyV1 | ProxyV2).Read([]byte(c.header[:i])); n != 0 || reason != http1.ReasonNone || client != (ProxyClient{}) {
				t.Fatalf("%.60q: after %d bytes %+v, %d, %v", c.header, i, client, n, reason)
			}
		}
		for _, rest := range []string{"", "GET / HTTP/1.1\r\n", c.header} {
			client, n, reason := (ProxyV1 | ProxyV2).Read([]byte(c.header + rest))
			client.Addr = netip.AddrPortFrom(client.Addr.Addr().Unmap(), client.Addr.Port())
			if client != c.want || n != len(c.header) || reason != http1.ReasonNone {
				t.Errorf("%.60q: %+v, %d of %d bytes, %v", c.header, client, n, len(c.header), reason)
			}
		}
	}
}

func TestBadProxyHeader(t *testing.T) {
	const get = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	const missing, bad = http1.ReasonMissingProxyHeader, http1.ReasonBadProxyHeader
	for _, c := range []struct {
		version, sent string
		reason        http1.Reason
	}{
		{"auto", get, missing},
		{"auto", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", missing},
		{"auto", "\r\n" + get, missing},
		{"auto", "proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n", missing},
		{"v1", v2IPv4, missing},
		{"v2", v1IPv4, missing},
		{"auto", "PROXYTCP4 1.2.3.4 5.6.7.8 1 2\r\n", bad},
		{"auto", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n", bad},
		{"auto", "PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n", bad},
		{"auto", "PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n", bad},
		{"auto", "PROXY TCP4 ::1 ::1 1 2\r\n", bad},
		{"auto", "PROXY TCP5 ::1 ::1 1 2\r\n", bad},
		{"auto", "PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n", bad},
		{"auto", "PROXY UNKNOWN" + strings.Repeat("x", 100) + "\r\n", bad},
		{"auto", "PROXY " + strings.Repeat("x", 200), bad},
		{"auto", v2(2, 0x11, strings.Repeat("x", 12)), bad},
		{"auto", v2(1, 0x11, "short"), bad},
		{"auto", v2(1, 0x13, strings.Repeat("x", 12)), bad},
		{"auto", v2(1, 0x77, strings.Repeat("x", 300)), bad},
		{"auto", v2(0, 0x00, strings.Repeat("x", 4097)), bad},
		{"v1", v2(0, 0x00, ""), missing},
		{"auto", v2(1, 0x12, strings.Repeat("x", 12)), bad},
		{"auto", v2(1, 0x32, strings.Repeat("x", 216)), bad},
		{"auto", v2(1, 0x11, strings.Repeat("x", 4097)), bad},
		{"auto", strings.Replace(v2IPv4, "QUIT\n!", "QUIT\n1", 1), bad},
	} {
		versions, err := ParseProxyVersions(c.version)
		if err != nil {
			t.Fatal(err)
		}
		if client, n, reason := versions.Read([]byte(c.sent)); reason != c.reason || n != 0 || client != (ProxyClient{}) {
			t.Errorf("%.60q with %s: %+v, %d, %v", c.sent, c.version, client, n, reason)
		}
	}
	for _, s := range []string{"v3", "V1", "v1 ", "off"} {
		if _, err := ParseProxyVersions(s); err == nil {
			t.Errorf("version %q is spoken", s)
		}
	}
}

func FuzzProxyHeader(f *testing.F) {
	for _, s := range []string{v1IPv4, v2IPv4, v2IPv6, v2(0, 0, ""), "PROXY UNKNOWN\r\n", "PROXY TCP6 ::1 ::1 1 2\r\n", v2(1, 0x31, strings.Repeat("x", 216))} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n, reason := (ProxyV1 | ProxyV2).measure(b)
		if n > len(b) || n > 0 && reason != http1.ReasonNone {
			t.Fatalf("%d of %d bytes, %v", n, len(b), reason)
		}
		// What is said of a beginning must not change as more arrives.
		for i := range b[:min(len(b), 300)] {
			m, r := (ProxyV1 | ProxyV2).measure(b[:i])
			if m != 0 && (m != n || reason != http1.ReasonNone) || r != http1.ReasonNone && r != reason {
				t.Fatalf("after %d bytes: %d, %v; then %d, %v", i, m, r, n, reason)
			}
		}
		if n == 0 {
			return
		}
		client, m, reason := (ProxyV1 | ProxyV2).Read(b)
		if bad := reason != http1.ReasonNone; bad != (m == 0) || !bad && m != n || client.Own && client.Addr.IsValid() || bad && client != (ProxyClient{}) {
			t.Fatalf("%+v, %d of %d bytes, %v", client, m, n, reason)
		}
	})
}
