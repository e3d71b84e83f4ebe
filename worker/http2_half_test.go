package worker

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"hostler/protocol"
)

// halfClient begins a connection of HTTP/2 whose windows let it take 4 MiB of each
// stream. end ends its side of it.
func halfClient(t *testing.T, r *rig, secure bool) (f *framer, end func()) {
	t.Helper()
	raw := r.dialTCP()
	end = func() { _ = raw.CloseWrite() }
	var c net.Conn = raw
	if secure {
		s := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		c, end = s, func() { _ = s.CloseWrite(); _ = raw.CloseWrite() }
	}
	send(t, c, http2.ClientPreface)
	f = newFramer(t, c)
	f.must(f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 4 << 20}))
	f.must(f.WriteWindowUpdate(0, 32<<20))
	return f, end
}

func (f *framer) wantEOF() {
	f.t.Helper()
	_ = f.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	for {
		if _, err := f.ReadFrame(); err == io.EOF {
			return
		} else if err != nil {
			f.t.Fatalf("instead of the end: %v", err)
		}
	}
}

// TestHTTP2HalfClosed: a client that has asked for something, and ends its side of the
// connection, gets all of it, and then the end.
func TestHTTP2HalfClosed(t *testing.T) {
	big := pattern(3 << 20)
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS %v", secure), func(t *testing.T) {
			opened, open := gate(t)
			app := func(c *call) {
				switch c.target {
				case "/1": // it is still at work
					<-opened
					c.ok("late")
				case "/3": // … most of it waits for the client
					c.ok(big)
				case "/5": // … or its thread does
					c.head("200 OK")
					for b := []byte(big); len(b) > 0; b = b[64<<10:] {
						if rc := c.write(b[:64<<10], len(b) == 64<<10); rc != WriteOK {
							return
						}
					}
				default: // a body that will not be whole
					b, rc := c.all()
					c.ok(fmt.Sprint(len(b), rc))
				}
			}
			cfg := cleartextConfig()
			cfg.Threads = 3
			var r *rig
			if secure {
				cfg.Listeners[0].TLS = true
				r = serveTLS(t, cfg, protocol.TLSMaterial{}, app)
			} else {
				r = serve(t, cfg, app)
			}
			t.Cleanup(open)
			f, end := halfClient(t, r, secure)
			for _, id := range []uint32{1, 3, 5, 7} {
				f.ask(id, id != 7)
			}
			f.must(f.WriteData(7, false, []byte("some")))
			eventually(t, "all to be begun", func() bool { return r.slot.Gauges.Served.Load() == 3 })
			end()
			eventually(t, "the end to be seen", func() bool {
				half := false
				r.conns.each(func(c *conn) {
					if h := c.http2.Load(); h != nil && phase(c.phase.Load()) == phaseStreams {
						h.mu.Lock()
						half = h.silent != 0
						h.mu.Unlock()
					}
				})
				return half
			})
			open()
			got, ended, status := make(map[uint32]string), 0, make(map[uint32]string)
			f.want("all answers", func(fr http2.Frame) bool {
				switch fr := fr.(type) {
				case *http2.MetaHeadersFrame:
					status[fr.StreamID] = fr.PseudoValue("status")
				case *http2.DataFrame:
					got[fr.StreamID] += string(fr.Data())
					if fr.StreamEnded() {
						ended++
					}
				case *http2.RSTStreamFrame:
					if fr.StreamID != 7 || fr.ErrCode != http2.ErrCodeNo {
						t.Errorf("%v", fr)
					}
				}
				return ended == 4
			})
			if got[1] != "late" || got[3] != big || got[5] != big {
				t.Errorf("%q, %d and %d bytes", got[1], len(got[3]), len(got[5]))
			}
			if status[7] != "400" {
				t.Errorf("a body that is not whole: %s", status[7])
			}
			f.wantEOF()
			eventually(t, "the connection to be gone", func() bool { return r.conns.n.Load() == 0 })
			r.stopNow()
			r.level()
		})
	}
}

// TestHTTP2HalfClosedEnds: what cannot come to an end by itself, once the client says no
// more, is ended.
func TestHTTP2HalfClosedEnds(t *testing.T) {
	cfg := cleartextConfig()
	cfg.Threads, cfg.WriteTimeout, cfg.KeepAlive = 2, time.Hour, time.Hour
	r := serve(t, cfg, generator)
	raw := r.dialTCP()
	send(t, raw, http2.ClientPreface)
	f := newFramer(t, raw)
	f.must(f.WriteSettings())
	f.must(f.WriteWindowUpdate(0, 1<<20))
	b := f.block(":method", "GET", ":scheme", "http", ":path", "/endless", ":authority", "x")
	f.must(f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: b, EndStream: true, EndHeaders: true}))
	n := 0
	f.want("the window to be full", func(fr http2.Frame) bool {
		if d, ok := fr.(*http2.DataFrame); ok {
			n += len(d.Data())
		}
		return n == 65535
	})
	_ = raw.CloseWrite()
	f.wantReset(1, http2.ErrCodeInternal) // nobody can open it
	f.wantEOF()

	// One that rests, one in the middle of a frame, one that has not said what it wants.
	for _, text := range []string{"", "\x00\x00\x08\x06", "\x00\x00\x00\x04\x00\x00\x00\x00\x00"} {
		raw := r.dialTCP()
		send(t, raw, http2.ClientPreface+text)
		_ = raw.CloseWrite()
		newFramer(t, raw).wantEOF()
	}
	// One that is gone altogether while its answer waits.
	gone, _ := halfClient(t, r, false)
	b = gone.block(":method", "GET", ":scheme", "http", ":path", "/endless", ":authority", "x")
	gone.must(gone.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: b, EndStream: true, EndHeaders: true}))
	gone.wantStatus(1, "200")
	_ = gone.conn.(*net.TCPConn).CloseWrite()
	time.Sleep(10 * time.Millisecond)
	gone.conn.Close()
	eventually(t, "all to be gone", func() bool { return r.conns.n.Load() == 0 })
	r.stopNow()
	r.level()
}

// TestHTTP2LateEnd: a client may say that its body has ended when the answer to it waits
// for a window already, and together with another request.
func TestHTTP2LateEnd(t *testing.T) {
	big := pattern(200_000)
	cfg := cleartextConfig()
	cfg.Threads = 1
	r := serve(t, cfg, func(c *call) {
		b, _ := c.all()
		if c.target == "/1" {
			b = append(b, big...)
		}
		c.ok(string(b))
	})
	f := r.framer()
	f.ask(1, false, "content-length", "4")
	f.must(f.WriteData(1, false, []byte("body")))
	got := ""
	take := func(want int) {
		f.want(fmt.Sprint(want, " bytes"), func(fr http2.Frame) bool {
			switch fr := fr.(type) {
			case *http2.DataFrame:
				if fr.StreamID == 1 {
					got += string(fr.Data())
				}
			case *http2.RSTStreamFrame:
				if fr.ErrCode != http2.ErrCodeNo {
					t.Fatalf("%v", fr)
				}
			}
			return len(got) == want
		})
	}
	take(65535)
	eventually(t, "the rest to wait", func() bool {
		waits := false
		r.conns.each(func(c *conn) {
			if h := c.http2.Load(); h != nil {
				for _, s := range h.open() {
					waits = waits || s.state.Load() == 0 && phase(s.phase.Load()) == phaseWriting
				}
			}
		})
		return waits
	})
	// In one read, and the other request first.
	var all bytes.Buffer
	w := http2.NewFramer(&all, nil)
	block := f.block(":method", "GET", ":scheme", "http", ":path", "/3", ":authority", "x")
	f.must(w.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: block, EndStream: true, EndHeaders: true}))
	f.must(w.WriteData(1, true, nil))
	send(t, f.conn, all.String())
	for _, id := range []uint32{3, 5} { // after it, 1 has been looked at
		if id == 5 {
			f.ask(5, true)
		}
		f.want("the answer to another", func(fr http2.Frame) bool {
			if rst, ok := fr.(*http2.RSTStreamFrame); ok {
				t.Fatalf("%v", rst)
			}
			return fr.Header().StreamID == id && fr.Header().Flags.Has(http2.FlagDataEndStream)
		})
	}
	f.must(f.WriteWindowUpdate(0, 1<<20))
	f.must(f.WriteWindowUpdate(1, 1<<20))
	take(4 + len(big))
	if got != "body"+big {
		t.Error("the answer is another")
	}
}
