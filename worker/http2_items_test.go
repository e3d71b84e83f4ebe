package worker

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"hostler/protocol"
	"hostler/worker/http1"
)

// backlog asks for 4 MiB on stream 1 and takes nothing of it, so that all else has to
// wait in the outputs of its streams.
func (f *framer) backlog(r *rig) {
	f.t.Helper()
	f.must(f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1}))
	f.must(f.WriteWindowUpdate(0, 1<<30))
	f.ask(1, true, "x-want", "backlog")
	eventually(f.t, "a backlog", func() bool { return r.mem.outBytes.Load() > http2Backlog })
}

// frames reads until a stream has ended, and tells of what came for it.
func (f *framer) frames(id uint32) (all []string) {
	f.t.Helper()
	f.want("the end of the stream", func(fr http2.Frame) bool {
		if fr.Header().StreamID != id {
			return false
		}
		switch fr := fr.(type) {
		case *http2.MetaHeadersFrame:
			all = append(all, fr.PseudoValue("status"))
			return fr.StreamEnded()
		case *http2.DataFrame:
			if len(fr.Data()) > 0 {
				all = append(all, string(fr.Data()))
			}
			return fr.StreamEnded()
		case *http2.RSTStreamFrame:
			all = append(all, fr.ErrCode.String())
			return true
		}
		return false
	})
	return all
}

// TestHTTP2WaitsAsItIs: what has to wait for a client keeps its kind: interim heads do not
// melt into the final one, nothing of it is dropped, and an end is the end.
func TestHTTP2WaitsAsItIs(t *testing.T) {
	app := func(c *call) {
		switch c.target {
		case "/1":
			c.ok(strings.Repeat("x", 4<<20))
		case "/3":
			c.hints("Link", "</a.css>")
			c.hints("Link", "</b.css>")
			c.ok("hello")
		case "/5":
			c.head("204 No Content")
			c.final(nil)
		case "/7":
			c.head("200 OK")
			c.write([]byte("one, "), false)
			c.write([]byte("two"), false)
			c.t.EndBody()
		case "/9":
			c.head("200 OK", "Content-Length", "10")
			c.final([]byte("short"))
		default:
			body, rc := c.all()
			if rc != 0 {
				c.t.Result |= ResultFailed
				return
			}
			c.ok(string(body))
		}
	}
	cfg := cleartextConfig()
	cfg.Threads = 2
	for id, want := range map[uint32][]string{
		3:  {"103", "103", "200", "hello"},
		5:  {"204"},
		7:  {"200", "one, two"},
		9:  {"200", "short", "INTERNAL_ERROR"},
		11: {"100", "200", "abc"},
		13: {"413", string(plainText(413, nil))},
	} {
		t.Run(fmt.Sprint(id), func(t *testing.T) {
			cfg := *cfg
			cfg.LimitRequestBody = 100
			r := serve(t, &cfg, app)
			f := r.framer()
			f.t = t
			f.backlog(r)
			switch id {
			case 11:
				f.ask(id, false, "expect", "100-continue", "content-length", "3")
				f.must(f.WritePing(false, [8]byte{})) // the answer comes when the request has been read
			case 13:
				f.ask(id, false, "content-length", "1000")
			default:
				f.ask(id, true)
			}
			if id == 11 {
				eventually(t, "the request to be read", func() bool { return r.slot.Counters.ReceivedBytes.Load() > 0 })
				time.Sleep(5 * time.Millisecond) // or later: nothing hangs on it
				f.must(f.WriteData(id, true, []byte("abc")))
			} else {
				eventually(t, "the answer to wait", func() bool {
					return r.slot.Counters.OfClass(1, 2)+r.slot.Counters.OfClass(0, 4) >= 2
				})
			}
			got := f.frames(id)
			if id == 7 && len(got) > 1 {
				got = []string{got[0], strings.Join(got[1:], "")}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%q, not %q", got, want)
			}
		})
	}
}

// TestHTTP2PassesOver: what comes for streams that were opened before the client knew of
// our last word is passed over, and the others go on.
func TestHTTP2PassesOver(t *testing.T) {
	release := make(chan struct{}, 1)
	r := serve(t, cleartextConfig(), func(c *call) { <-release; c.ok("done") })
	defer close(release)
	f := r.framer()
	f.ask(1, true)
	eventually(t, "the request to run", func() bool { return r.slot.Gauges.Served.Load() == 1 })
	go r.Drain(protocol.DrainReplaced, 20*time.Second)
	for range 2 {
		f.wantGoAway(http2.ErrCodeNo)
	}
	f.ask(5, false, "x-new", "one for the table of HPACK")
	f.must(f.WriteData(5, false, []byte("late")))
	f.must(f.WriteWindowUpdate(5, 10))
	f.must(f.WritePriority(5, http2.PriorityParam{}))
	f.must(f.WriteHeaders(http2.HeadersFrameParam{StreamID: 5, BlockFragment: f.block("a", "trailer"), EndStream: true, EndHeaders: true}))
	f.ask(7, false, "x-new", "one for the table of HPACK")
	f.must(f.WriteRSTStream(7, http2.ErrCodeCancel))
	f.must(f.WriteHeaders(http2.HeadersFrameParam{StreamID: 9, BlockFragment: f.block("not", "well-formed"), EndStream: true, EndHeaders: true}))
	f.must(f.WriteHeaders(http2.HeadersFrameParam{StreamID: 11, BlockFragment: f.block("Not", "right"), EndStream: true, EndHeaders: true}))
	f.must(f.WriteData(11, true, nil))
	f.must(f.WritePing(false, [8]byte{1}))
	f.want("the ping's answer", func(fr http2.Frame) bool {
		switch fr := fr.(type) {
		case *http2.PingFrame:
			return true
		case *http2.SettingsFrame:
			return false
		default:
			t.Fatalf("%v", fr)
			return false
		}
	})
	release <- struct{}{}
	f.wantStatus(1, "200")
	// One that the client cannot have opened is an error as ever.
	f2 := serve(t, cleartextConfig(), echo).framer()
	f2.must(f2.WriteData(3, true, nil))
	f2.wantGoAway(http2.ErrCodeProtocol)
}

// TestHTTP2NeverReads: a client that takes nothing goes with its time to take something,
// whatever it goes on to send.
func TestHTTP2NeverReads(t *testing.T) {
	cfg := cleartextConfig()
	cfg.WriteTimeout, cfg.KeepAlive, cfg.MinRate = time.Second, time.Hour, 240
	for name, more := range map[string]func(f *framer) error{
		"silent": func(*framer) error { return nil },
		"pings":  func(f *framer) error { return f.WritePing(false, [8]byte{}) },
		// A frame that is never whole, of a body.
		"midway": func(f *framer) error { _, err := f.conn.Write([]byte{0}); return err },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := serve(t, cfg, func(c *call) {
				if c.target == "/1" {
					c.ok(pattern(4 << 20))
					return
				}
				c.all()
			})
			f := r.framer()
			f.t = t
			f.backlog(r)
			if name == "midway" {
				f.ask(3, false)
				f.must(f.WriteRawFrame(http2.FrameData, 0, 3, make([]byte, 10)))
				_, err := f.conn.Write([]byte{0, 0x40, 0, byte(http2.FrameData), 0, 0, 0, 0, 3})
				f.must(err)
			}
			eventually(t, "the connection to go", func() bool { _ = more(f); return r.conns.n.Load() == 0 })
			if k := &r.slot.Counters; k.Timeouts[protocol.TimeoutWrite].Load()+k.Timeouts[protocol.TimeoutWriteRate].Load() == 0 {
				t.Error("it went for another reason")
			}
		})
	}
}

// TestHTTP2FullQueue: with the ready queue full, an HTTP/2 client hears of it in frames.
func TestHTTP2FullQueue(t *testing.T) {
	cfg := tlsTestConfig()
	cfg.Threads, cfg.Queue = 1, 1
	release := make(chan struct{})
	r := serveTLS(t, cfg, protocol.TLSMaterial{}, func(c *call) { <-release; c.ok("") })
	defer close(release)
	for i := range 2 {
		r.tlsFramer().ask(1, true)
		eventually(t, "a request to run or wait", func() bool {
			return r.slot.Gauges.Served.Load() == 1 && r.slot.Gauges.QueueDepth.Load() >= int64(i)
		})
	}
	f := r.tlsFramer()
	f.ask(1, true)
	f.wantStatus(1, "503")
}

// tlsFramer is framer over TLS.
func (r *rig) tlsFramer() *framer {
	r.t.Helper()
	c := tls.Client(r.dialTCP(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	send(r.t, c, http2.ClientPreface)
	f := newFramer(r.t, c)
	f.must(f.WriteSettings())
	return f
}

// hints sends a 103 response.
func (c *call) hints(name, value string) {
	b := http1.AppendRecord(c.t.resp[:0], name, value)
	if e := c.t.EarlyHints(b); e != 0 {
		c.r.t.Error(e)
	}
}

// TestHTTP2Fields: what is malformed in HTTP/2 alone, what the parser refuses as in
// HTTP/1.1, and what the application is not told because the client has not said it.
func TestHTTP2Fields(t *testing.T) {
	r := serve(t, cleartextConfig(), func(c *call) {
		c.all()
		var names []byte
		for _, f := range c.t.Req.Fields[:c.t.Req.NFields] {
			names = append(append(names, f.Name.In(bytesAt(c.t.Buf, int(c.t.Req.HeadLen)))...), ' ')
		}
		c.ok(string(names))
	})
	for _, value := range []string{" a", "a ", "\ta", "a\t", " "} {
		f := r.framer()
		f.ask(1, true, "a", value)
		f.wantReset(1, http2.ErrCodeProtocol)
	}
	f := r.framer()
	f.ask(1, false, "content-length", "1", "content-length", "1")
	f.wantStatus(1, "400")
	f.ask(3, false, "a", "b") // chunked, to the parser
	f.must(f.WriteData(3, true, []byte("abc")))
	if got := f.frames(3); len(got) != 2 || got[1] != "host a " {
		t.Errorf("fields for the application: %q", got)
	}
}
