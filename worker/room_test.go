package worker

import (
	"io"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"hostler/settings"
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
	c.t.EndBody()
}

// deafClients ask for a path and take nothing of the answers, as streams of one connection
// or as connections.
var deafClients = map[string]func(r *rig, path string, n int){
	"streams": func(r *rig, path string, n int) {
		f := r.framer()
		f.must(f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}))
		for i := range n {
			b := f.block(":method", "GET", ":scheme", "http", ":path", path, ":authority", "x")
			f.must(f.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*i + 1), BlockFragment: b, EndStream: true, EndHeaders: true}))
		}
		go func() { _, _ = io.Copy(io.Discard, f.conn) }()
	},
	"connections": func(r *rig, path string, n int) {
		for range n {
			send(r.t, r.dial(), "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n")
		}
	},
}

// waitDeaf waits until n threads wait for their clients.
func (r *rig) waitDeaf(n int) {
	r.t.Helper()
	eventually(r.t, "threads to wait for their clients", func() bool {
		busy := 0
		for i := range r.threads {
			if r.slot.ThreadRecs[i].Started() != 0 {
				busy++
			}
		}
		return busy == n && r.mem.outBytes.Load() > int64(n)*outLimit
	})
}

// TestThreadsOfTheDeaf: clients that take nothing of what a generator makes do not keep
// the threads from others, be they streams of one connection or connections.
func TestThreadsOfTheDeaf(t *testing.T) {
	for name, ask := range deafClients {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := cleartextConfig()
			cfg.Threads, cfg.WriteTimeout, cfg.MinRate, cfg.LimitBuffers = 4, time.Hour, 240, 64<<20
			r := serve(t, cfg, generator)
			ask(r, "/endless", 4)
			r.waitDeaf(4)
			for range 3 {
				c := r.dial()
				send(t, c, "GET /quick HTTP/1.1\r\nHost: x\r\n\r\n")
				responses(t, c).want(200, "quick")
			}
		})
	}
}

// TestPermitsOfTheDeaf: nor do they keep a pool from others, while there are threads.
func TestPermitsOfTheDeaf(t *testing.T) {
	for name, ask := range deafClients {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := cleartextConfig()
			cfg.Threads, cfg.WriteTimeout, cfg.MinRate, cfg.LimitBuffers = 8, time.Hour, 240, 64<<20
			cfg.Pools = []settings.Pool{{Name: "slow", Pattern: "/*", Threads: 2}}
			r := serve(t, cfg, generator)
			ask(r, "/endless", 2)
			r.waitDeaf(2)
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
	eventually(t, "the thread to wait", func() bool { return r.mem.outBytes.Load() > outLimit })
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
