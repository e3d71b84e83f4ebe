package e2e

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// framer speaks HTTP/2 frame by frame.
type framer struct {
	*http2.Framer
	t    *testing.T
	conn net.Conn
	enc  *hpack.Encoder
	buf  bytes.Buffer
}

// dialFrames opens a connection of HTTP/2 whose socket takes little ahead of its
// reader; secure: over TLS.
func (s *server) dialFrames(t *testing.T, secure bool, settings ...http2.Setting) *framer {
	t.Helper()
	d := net.Dialer{Timeout: 10 * time.Second, Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
	}}
	c, err := d.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if secure {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	}
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	f := &framer{Framer: http2.NewFramer(c, c), t: t, conn: c}
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	f.enc = hpack.NewEncoder(&f.buf)
	_, err = io.WriteString(c, http2.ClientPreface)
	f.must(err)
	f.must(f.WriteSettings(settings...))
	return f
}

func (f *framer) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *framer) ask(id uint32, path string) {
	f.t.Helper()
	f.buf.Reset()
	for _, kv := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":path", path}, {":authority", "x"}} {
		f.must(f.enc.WriteField(hpack.HeaderField{Name: kv[0], Value: kv[1]}))
	}
	f.must(f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: f.buf.Bytes(), EndStream: true, EndHeaders: true}))
}

// TestHTTP2SlowReader: a client that takes its answer slowly gets all of it, and is told
// of the end, whatever becomes of the server within the graceful time, though it goes on
// sending updates of its windows.
func TestHTTP2SlowReader(t *testing.T) {
	const size = 500_000
	pair := newPair(t, t.TempDir(), "localhost", 1)
	for name, c := range map[string]struct {
		sig    syscall.Signal
		secure bool
		rate   int // bytes a second
	}{
		"idle":         {0, false, 200_000},
		"SIGHUP":       {syscall.SIGHUP, false, 200_000},
		"SIGUSR2":      {syscall.SIGUSR2, false, 200_000},
		"SIGTERM":      {syscall.SIGTERM, false, 100_000}, // longer than a connection lingers that does nothing
		"SIGHUP, TLS":  {syscall.SIGHUP, true, 100_000},
		"SIGTERM, TLS": {syscall.SIGTERM, true, 200_000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pidfile := filepath.Join(t.TempDir(), "pid")
			args := []string{"--http2-cleartext"}
			if c.secure {
				args = pair.args()
			}
			s := start(t, append(args, "-p", pidfile, "--keep-alive", "1", "--graceful-timeout", "30", "http2:app")...)
			s.successor(pidfile)
			f := s.dialFrames(t, c.secure, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
			f.must(f.WriteWindowUpdate(0, 1<<20))
			f.ask(1, "/bytes?500000")
			got, ended, away := 0, false, false
			for begun := time.Now(); ; {
				fr, err := f.ReadFrame()
				if errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatalf("%d bytes, end %v, GOAWAY %v: %v", got, ended, away, err)
				}
				switch fr := fr.(type) {
				case *http2.DataFrame:
					if got == 0 && c.sig != 0 {
						s.signal(c.sig)
					}
					got += len(fr.Data())
					ended = fr.StreamEnded()
					_ = f.WriteWindowUpdate(0, uint32(fr.Length)) // the connection may be at its end
				case *http2.GoAwayFrame:
					away = true
					if fr.ErrCode != http2.ErrCodeNo {
						t.Errorf("%v", fr)
					}
				}
				time.Sleep(time.Until(begun.Add(time.Duration(got) * time.Second / time.Duration(c.rate))))
			}
			if got != size || !ended || !away {
				t.Errorf("%d bytes of %d, end %v, GOAWAY %v", got, size, ended, away)
			}
		})
	}
}

// TestHTTP2DeafStreams: streams of which the client takes nothing keep neither all threads
// from others nor, with the rest of their answers in memory, their own.
func TestHTTP2DeafStreams(t *testing.T) {
	s := start(t, "--http2-cleartext", "--threads", "4", "http2:app")
	f := s.dialFrames(t, false, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	for id := range uint32(4) {
		f.ask(2*id+1, "/pieces?100000000")
	}
	s.eventually("all threads to be away", func() bool { return s.metric("hostler_threads", `state="busy"`) == 4 })
	for range 4 {
		if code, _ := s.get("/bytes?10"); code != 200 {
			t.Errorf("status %d", code)
		}
	}
	if n := s.metric("hostler_connections_evicted_total", `phase="write"`); n == 0 || n > 4 {
		t.Errorf("%v responses were given up", n)
	}
}
