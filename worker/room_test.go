package worker

import (
	"io"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// generator is an application that makes pieces: without end, or 8 MiB.
func generator(c *call) {
	piece := []byte(pattern(64 << 10))
	n := 128
	switch c.target {
	case "/quick":
		c.ok("quick")
		return
	case "/endless":
		n = 1 << 30
	}
	c.head("200 OK")
	for range n {
		if c.write(piece, false) != WriteOK {
			return
		}
	}
	c.r.EndBody(c.t)
}

// TestThreadsOfTheDeaf: clients that take nothing of what a generator makes do not keep
// the threads from others, be they streams of one connection or connections.
func TestThreadsOfTheDeaf(t *testing.T) {
	for name, deaf := range map[string]func(r *rig){
		"streams": func(r *rig) {
			f := r.framer()
			f.must(f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}))
			for id := range uint32(4) {
				b := f.block(":method", "GET", ":scheme", "http", ":path", "/endless", ":authority", "x")
				f.must(f.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*id + 1, BlockFragment: b, EndStream: true, EndHeaders: true}))
			}
			go func() { _, _ = io.Copy(io.Discard, f.conn) }()
		},
		"connections": func(r *rig) {
			for range 4 {
				send(r.t, r.dial(), "GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := cleartextConfig()
			cfg.Threads, cfg.WriteTimeout, cfg.MinRate, cfg.LimitBuffers = 4, time.Hour, 240, 64<<20
			r := serve(t, cfg, generator)
			deaf(r)
			eventually(t, "all threads to wait", func() bool {
				n := 0
				for i := range r.threads {
					if r.slot.ThreadRecs[i].Started() != 0 {
						n++
					}
				}
				return n == 4 && r.outBytes.Load() > 4*outLimit
			})
			for range 3 {
				c := r.dial()
				send(t, c, "GET /quick HTTP/1.1\r\nHost: x\r\n\r\n")
				responses(t, c).want(200, "quick")
			}
		})
	}
}

// TestBuffersOnForOthers: a response that waits for its client gives its thread to others
// where memory holds the rest of it, and arrives whole.
func TestBuffersOnForOthers(t *testing.T) {
	cfg := cleartextConfig()
	cfg.WriteTimeout, cfg.LimitBuffers = time.Hour, 64<<20
	r := serve(t, cfg, generator)
	f := r.framer()
	f.must(f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}))
	f.ask(1, true)
	eventually(t, "the thread to wait", func() bool { return r.outBytes.Load() > outLimit })
	c := r.dial()
	send(t, c, "GET /quick HTTP/1.1\r\nHost: x\r\n\r\n")
	responses(t, c).want(200, "quick")
	f.must(f.WriteWindowUpdate(0, 1<<30))
	f.must(f.WriteWindowUpdate(1, 1<<30))
	got := 0
	f.want("all of it", func(fr http2.Frame) bool {
		d, ok := fr.(*http2.DataFrame)
		if ok {
			got += len(d.Data())
		}
		return ok && d.StreamEnded()
	})
	if got != 8<<20 {
		t.Errorf("%d bytes", got)
	}
	if n := r.slot.Counters.Evicted[3].Load(); n != 0 {
		t.Errorf("%d responses were given up", n)
	}
}
