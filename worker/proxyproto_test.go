package worker

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
	"time"

	"hostler/protocol"
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

func proxyConfig(version string) *protocol.WorkerConfig {
	cfg := testConfig()
	cfg.ProxyProtocol, cfg.ProxyAllowIPs = version, []string{"127.0.0.1"}
	return cfg
}

// peer answers with the client's address, and whether what the request says of it
// was not believed.
func peer(c *call) {
	b := string(c.t.Remote[:c.t.RemoteLen]) + " " + string(c.t.Port[:c.t.PortLen])
	if c.t.Req.Flags&http1.FlagForwarded != 0 && c.t.RemoteLen > 0 && !c.t.conn.trusted {
		b += " distrusted"
	}
	c.head("200 OK")
	c.write([]byte(b+" "+c.method+" "+string(c.body)), true)
}

func TestProxyHeader(t *testing.T) {
	cfg := proxyConfig("auto")
	cfg.ForwardedAllowIPs, cfg.ForwardedHeaders = []string{"127.0.0.1", "10.0.0.7"}, []string{"for"}
	r := serve(t, cfg, peer)
	const forwarded = "GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 8.8.8.8\r\n\r\n"
	for _, c := range []struct{ header, remote string }{
		{v1IPv4, "203.0.113.9 4711 distrusted"},
		{"PROXY TCP6 2001:db8::1 ::1 65535 0\r\n", "2001:db8::1 65535 distrusted"},
		{"PROXY TCP6 ::ffff:203.0.113.9 ::ffff:10.0.0.1 1 2\r\n", "203.0.113.9 1 distrusted"},
		{"PROXY TCP4 10.0.0.7 10.0.0.1 1 2\r\n", "8.8.8.8 "},
		{"PROXY UNKNOWN\r\n", "127.0.0.1 4711 distrusted"},
		{"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "127.0.0.1 4711 distrusted"},
		{v2IPv4, "203.0.113.9 4711 distrusted"},
		{v2IPv6, "2001:db8::1 4711 distrusted"},
		{v2Long, "203.0.113.9 4711 distrusted"},
		{v2(0, 0, ""), "8.8.8.8 "},
		{v2(0, 0x11, "junk"), "8.8.8.8 "},
		{v2(0, 0x13, ""), "8.8.8.8 "},
		{v2(0, 0x77, strings.Repeat("x", 300)), "8.8.8.8 "},
		{v2(0, 0xff, "junk"), "8.8.8.8 "},
		{v2(0, 0x12, strings.Repeat("x", 12)), "8.8.8.8 "},
		{v2(1, 0x00, ""), "127.0.0.1 4711 distrusted"},
		{v2(1, 0x00, strings.Repeat("x", 40)), "127.0.0.1 4711 distrusted"},
		{v2(1, 0x31, strings.Repeat("/run/x.sock"+strings.Repeat("\x00", 97), 2)), "127.0.0.1 4711 distrusted"},
	} {
		all := c.header + forwarded + "POST / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 8.8.8.8\r\nContent-Length: 3\r\n\r\nabc"
		whole := []string{all}
		header := []string{c.header, all[len(c.header):]}
		cut := []string{c.header[:3], c.header[3:9], c.header[9 : len(c.header)-1], all[len(c.header)-1:]}
		for _, parts := range [][]string{whole, header, cut, strings.SplitAfter(all[:min(len(all), 400)], "")} {
			if len(strings.Join(parts, "")) != len(all) {
				parts = append(parts, all[len(strings.Join(parts, "")):])
			}
			conn := r.dial()
			rd := responses(t, conn)
			for i, p := range parts {
				send(t, conn, p)
				if len(parts) < 10 && i+1 < len(parts) {
					time.Sleep(2 * time.Millisecond)
				}
			}
			rd.want(200, c.remote+" GET ")
			rd.want(200, c.remote+" POST abc")
		}
	}
}

func TestBadProxyHeader(t *testing.T) {
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
		r := serve(t, proxyConfig(c.version), peer)
		for _, parts := range [][]string{{c.sent}, strings.SplitAfter(c.sent[:len(c.sent)-1], "")} {
			conn := r.dial()
			if len(parts) == 1 {
				send(t, conn, c.sent)
			} else {
				for _, p := range parts {
					if _, err := conn.Write([]byte(p)); err != nil {
						break // it knew already
					}
				}
				_, _ = conn.Write([]byte(c.sent[len(c.sent)-1:]))
			}
			responses(t, conn).wantEnd()
		}
		if n := r.slot.Counters.Rejected[c.reason].Load(); n != 2 {
			t.Errorf("%q with %s: %v is counted %d times", c.sent, c.version, c.reason, n)
		}
		r.stopNow()
	}
}

func TestProxyHeaderOnlyFirst(t *testing.T) {
	cfg := proxyConfig("auto")
	r := serve(t, cfg, peer)
	for _, second := range []string{v1IPv4, v2IPv4} {
		conn := r.dial()
		rd := responses(t, conn)
		send(t, conn, v1IPv4+get)
		rd.want(200, "203.0.113.9 4711 GET ")
		send(t, conn, second+get)
		rd.want(400, "*")
		rd.wantEnd()
		conn = r.dial() // at once behind the first
		rd = responses(t, conn)
		send(t, conn, v1IPv4+second+get)
		rd.want(400, "*")
		rd.wantEnd()
	}
	// A peer that is not one of the proxies speaks HTTP, and nothing else.
	c, fd := r.pair()
	r.addConn(fd, 0, netip.MustParseAddrPort("10.9.9.9:1"))
	rd := responses(t, c)
	send(t, c, get)
	rd.want(200, "10.9.9.9 1 GET ")
	send(t, c, v1IPv4+get)
	rd.want(400, "*")
	rd.wantEnd()
}

// A connection that waits for the rest of its header keeps no thread, and is
// closed without a word when the time is up or the peer leaves.
func TestSlowProxyHeader(t *testing.T) {
	cfg := proxyConfig("auto")
	cfg.HeaderTimeout = 700 * time.Millisecond
	r := serve(t, cfg, peer)
	slow, silent := r.dial(), r.dial()
	send(t, slow, v2IPv4[:20])
	gone := r.dial()
	send(t, gone, v1IPv4[:20])
	eventually(t, "two wait for the rest", func() bool { return r.phases()[phaseHead] == 2 })
	for range 20 {
		conn := r.dial()
		send(t, conn, v1IPv4+get)
		responses(t, conn).want(200, "203.0.113.9 4711 GET ")
		conn.Close()
	}
	gone.Close()
	eventually(t, "it is noticed", func() bool { return r.slot.Counters.Rejected[http1.ReasonBadProxyHeader].Load() == 1 })
	responses(t, slow).wantEnd()
	responses(t, silent).wantEnd()
	if n := r.slot.Counters.Timeouts[protocol.TimeoutHead].Load(); n != 2 {
		t.Errorf("%d timeouts", n)
	}
	eventually(t, "all are closed", func() bool { return r.conns.n.Load() == 0 })
}

// What has been learnt from the header, or is still to be, moves with the
// connection.
func TestProxiedConnectionsMove(t *testing.T) {
	cfg := proxyConfig("auto")
	cfg.ForwardedAllowIPs, cfg.ForwardedHeaders = []string{"127.0.0.1"}, []string{"for"}
	all := family(t, cfg, peer, peer)
	old, next := all[0], all[1]
	next.accepts(false) // or old passes on what it has no thread for
	const forwarded = "GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 8.8.8.8\r\n\r\n"
	fresh, part, rest := old.dial(), old.dial(), old.dial()
	known, unknown := old.dial(), old.dial()
	send(t, part, v1IPv4[:10])
	send(t, rest, v1IPv4+"GET / HT")
	kr, ur := responses(t, known), responses(t, unknown)
	send(t, known, v2IPv4+get)
	kr.want(200, "203.0.113.9 4711 GET ")
	send(t, unknown, "PROXY UNKNOWN\r\n"+get)
	ur.want(200, "127.0.0.1 4711 GET ")
	eventually(t, "partial heads are kept", func() bool { p := old.phases(); return p[phaseHead] == 2 && p[phaseIdle] == 3 })
	next.accepts(true)
	old.Drain(protocol.DrainReplaced, 0)
	eventually(t, "all have moved", func() bool { return old.conns.n.Load() == 0 })

	send(t, known, forwarded)
	kr.want(200, "203.0.113.9 4711 distrusted GET ")
	send(t, unknown, forwarded)
	ur.want(200, "127.0.0.1 4711 distrusted GET ")
	send(t, fresh, v1IPv4+get)
	responses(t, fresh).want(200, "203.0.113.9 4711 GET ")
	send(t, part, v1IPv4[10:]+get)
	responses(t, part).want(200, "203.0.113.9 4711 GET ")
	send(t, rest, "TP/1.1\r\nHost: x\r\n\r\n")
	responses(t, rest).want(200, "203.0.113.9 4711 GET ")
}

// The deputy reads headers, too, while every thread is away.
func TestDeputyReadsProxyHeader(t *testing.T) {
	wait, open := gate(t)
	r := serve(t, proxyConfig("auto"), func(c *call) {
		if c.target == "/wait" {
			<-wait
		}
		peer(c)
	})
	t.Cleanup(open)
	stuck := r.dial()
	send(t, stuck, v1IPv4+"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
	r.waitStuck()
	whole, cut, bad := r.dial(), r.dial(), r.dial()
	send(t, whole, v2IPv6+get)
	send(t, cut, v1IPv4[:20])
	send(t, bad, get)
	responses(t, bad).wantEnd()
	send(t, cut, v1IPv4[20:]+get)
	eventually(t, "both are queued", func() bool { return r.slot.Gauges.QueueDepth.Load() == 2 })
	open()
	responses(t, whole).want(200, "2001:db8::1 4711 GET ")
	responses(t, cut).want(200, "203.0.113.9 4711 GET ")
	responses(t, stuck).want(200, "203.0.113.9 4711 GET ")
}
