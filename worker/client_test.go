package worker

import (
	"strings"
	"testing"

	"hostler/settings"
	"hostler/worker/http1"
)

// What a proxy says counts only if it is trusted. Of what others say nothing counts,
// and it reaches the application or not.
func TestForwarded(t *testing.T) {
	for _, how := range []string{"trusted", settings.ForwardedKeep, settings.ForwardedDrop} {
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
					names = append(names, string(f.Name.In(bytesAt(c.t.Buf, int(c.t.Req.HeadLen)))))
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
				if how == settings.ForwardedDrop {
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
			if n := r.slot.Counters.Rejected[reason].Load(); n != 1 {
				t.Errorf("%v is counted %d times", reason, n)
			}
		}
	}
}
