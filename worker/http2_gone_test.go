package worker

import (
	"crypto/tls"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"hostler/protocol"
)

// TestHTTP2Gone: nothing is left of a client that goes in the middle of things,
// over TLS or not, whatever way it goes.
func TestHTTP2Gone(t *testing.T) {
	big := pattern(4 << 20)
	app := func(c *call) {
		switch c.target {
		case "/big":
			c.ok(big)
		case "/stream":
			c.head("200 OK")
			for range 40 {
				if c.write([]byte(big[:64<<10]), false) != WriteOK {
					return
				}
				time.Sleep(time.Millisecond)
			}
		default:
			_, rc := c.all()
			if rc != 0 {
				c.t.Result |= ResultFailed
				return
			}
			c.ok("hello")
		}
	}
	for _, secure := range []bool{false, true} {
		var r *rig
		if secure {
			cfg := tlsTestConfig()
			cfg.Threads = 3
			r = serveTLS(t, cfg, protocol.TLSMaterial{}, app)
		} else {
			cfg := cleartextConfig()
			cfg.Threads = 3
			r = serve(t, cfg, app)
		}
		for range 100 {
			raw := r.dialTCP()
			var c net.Conn = raw
			if secure {
				c = tls.Client(raw, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
			}
			_, _ = io.WriteString(c, http2.ClientPreface)
			f := newFramer(t, c)
			_ = f.WriteSettings()
			for i, path := range []string{"/quick", "/big", "/stream", "/read"} {
				id := uint32(2*i + 1)
				head := f.block(":method", "POST", ":scheme", "https", ":path", path, ":authority", "x")
				_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: head, EndHeaders: true, EndStream: path != "/read"})
				if rand.N(2) == 0 {
					_ = f.WriteRSTStream(id, http2.ErrCodeCancel)
				}
			}
			if rand.N(2) == 0 {
				_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond)) // there may be nothing
				_, _ = io.CopyN(io.Discard, c, 20000)
			}
			switch rand.N(3) {
			case 0:
				_ = raw.SetLinger(0)
			case 1:
				_ = raw.CloseWrite()
				time.Sleep(5 * time.Millisecond)
			}
			raw.Close()
		}
		for end := time.Now().Add(10 * time.Second); r.conns.n.Load() > 0; time.Sleep(10 * time.Millisecond) {
			if time.Now().Before(end) {
				continue
			}
			r.conns.each(func(c *conn) {
				if phase(c.phase.Load()) == phaseClosed {
					return
				}
				t.Errorf("secure %v: state %d, phase %d, deadline %v", secure, c.state.Load(), c.phase.Load(), c.deadline.Load()-r.now())
				if h := c.http2.Load(); h != nil {
					h.mu.Lock()
					t.Errorf("closed %v, midway %v, settled %v, %d streams, out pending %v, %d waiting", h.closed, h.midway, h.settled, len(h.streams), c.out.pending.Load(), len(h.out))
					for _, s := range h.streams {
						t.Errorf("stream %d: state %d, phase %d, dead %v, ended %v, endSent %v, deadline %v", s.id, s.state.Load(), s.phase.Load(), s.dead, s.ended, s.endSent, s.deadline.Load())
					}
					h.mu.Unlock()
				}
			})
			t.FailNow()
		}
		// A thread may still be about to learn that nobody waits for its answer.
		r.stopNow()
		r.level()
	}
}
