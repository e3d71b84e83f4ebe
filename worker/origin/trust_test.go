package origin

import (
	"net/netip"
	"strings"
	"testing"
)

func TestTrust(t *testing.T) {
	for _, c := range []struct {
		list    string
		trusted string
		not     string
	}{
		{"", "", "127.0.0.1 ::1 unix"},
		{"*", "127.0.0.1 ::1 unix 203.0.113.9", ""},
		{"unix", "unix", "127.0.0.1"},
		{"127.0.0.1", "127.0.0.1 ::ffff:127.0.0.1", "127.0.0.2 ::1 unix"},
		{"::1", "::1", "127.0.0.1 ::2"},
		{"fe80::/10", "fe80::1%eth0", "fd00::1"},
		{"10.1.2.3/8 192.168.0.0/16", "10.255.0.1 192.168.9.9", "11.0.0.1 192.169.0.1"},
		{"::ffff:10.0.0.1", "10.0.0.1", "10.0.0.2"},
	} {
		l, err := ParseTrust(strings.Fields(c.list))
		if err != nil {
			t.Errorf("%q: %v", c.list, err)
			continue
		}
		for want, peers := range map[bool]string{true: c.trusted, false: c.not} {
			for _, p := range strings.Fields(peers) {
				var a netip.AddrPort
				if p != "unix" {
					a = netip.AddrPortFrom(netip.MustParseAddr(p), 1)
				}
				if l.Peer(a) != want {
					t.Errorf("%q: peer %s trusted: %v", c.list, p, !want)
				}
			}
		}
	}
	for _, s := range []string{"", "localhost", "10.0.0.0/33", "1.2.3", "10.0.0.1:80"} {
		if _, err := ParseTrust([]string{s}); err == nil || !strings.HasPrefix(err.Error(), "cannot trust") {
			t.Errorf("%q: %v", s, err)
		}
	}
}
