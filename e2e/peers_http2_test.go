package e2e

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// framed is a client that speaks HTTP/2, and may say what no client should.
type framed struct {
	*wire
	*http2.Framer
	block bytes.Buffer
	enc   *hpack.Encoder
	next  uint32
}

func (s *server) framed() *framed {
	s.t.Helper()
	c := newFramed(s.dial())
	c.send(http2.ClientPreface)
	if err := c.WriteSettings(); err != nil {
		s.t.Fatal(err)
	}
	return c
}

func newFramed(w *wire) *framed {
	c := &framed{wire: w, Framer: http2.NewFramer(w.Conn, w.r), next: 1}
	c.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.AllowIllegalWrites = true
	c.enc = hpack.NewEncoder(&c.block)
	return c
}

// open sends a request's head, of names and values, and returns its stream.
func (c *framed) open(end bool, fields ...string) uint32 {
	c.block.Reset()
	for i := 0; i < len(fields); i += 2 {
		_ = c.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	id := c.next
	c.next += 2
	// An error shows when an answer is read.
	_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.block.Bytes(), EndStream: end, EndHeaders: true})
	return id
}

// answerOf reads to the end of a stream, or of the connection. Its status is that
// of the answer, or "reset", or "gone" with the code of a GOAWAY.
func (c *framed) answerOf(id uint32) (status, body string) {
	c.t.Helper()
	for {
		f, err := c.ReadFrame()
		if err != nil {
			if status == "" {
				status = "gone"
			}
			return status, body
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = c.WriteSettingsAck()
			}
		case *http2.GoAwayFrame:
			status = "gone " + f.ErrCode.String()
		case *http2.RSTStreamFrame:
			if f.StreamID == id && status == "" {
				return "reset", body
			}
		case *http2.MetaHeadersFrame:
			if f.StreamID == id {
				status = f.PseudoValue("status")
				if f.StreamEnded() {
					return status, body
				}
			}
		case *http2.DataFrame:
			if f.StreamID == id {
				body += string(f.Data())
				if f.StreamEnded() {
					return status, body
				}
			}
		}
	}
}

// TestPeersHTTP2 goes on with TestPeers: what HTTP/1.1 refuses shall not come in by
// HTTP/2 (Gunicorn 3705).
func TestPeersHTTP2(t *testing.T) {
	s := peerWith(t, "--http2-cleartext")
	head := func(more ...string) []string {
		return append([]string{":method", "GET", ":scheme", "http", ":path", "/show", ":authority", "a"}, more...)
	}
	t.Run("HTTP/2 has the same policy for fields", func(t *testing.T) {
		c := s.framed()
		status, body := c.answerOf(c.open(true, append([]string{":method", "GET", ":scheme", "https", ":path", "/show", ":authority", "a"},
			"script_name", "/x", "x_forwarded_for", "1.2.3.4", "content_length", "5", "x-a", "1")...))
		if status != "200" || !strings.Contains(body, `"HTTP_X_A": "1"`) {
			t.Fatalf("%s %q", status, body)
		}
		for _, want := range []string{`"SCRIPT_NAME": ""`, `"wsgi.url_scheme": "http"`, `"REMOTE_ADDR": "127.0.0.1"`} {
			if !strings.Contains(body, want) {
				t.Errorf("no %s in %s", want, body)
			}
		}
		for _, bad := range []string{"1.2.3.4", "CONTENT_LENGTH", "HTTP_SCRIPT_NAME"} {
			if strings.Contains(body, bad) {
				t.Errorf("%s in %s", bad, body)
			}
		}
		s.calls()
	})
	t.Run("HTTP/2 refuses what HTTP/1.1 does", func(t *testing.T) {
		pseudo := func(name, value string) []string {
			h := head()
			for i := range h {
				if h[i] == name {
					h[i+1] = value
				}
			}
			return h
		}
		for _, fields := range [][]string{
			head("x ", "1"), head("x:y", "1"), head("", "1"), head("X-Upper", "1"), head("x\r\ny", "1"), head("transfer-encoding\xa0", "chunked"),
			head("x", "a\r\nY: b"), head("x", "a\nb"), head("x", "a\rb"), head("x", "a\x00b"), head("x", "\x07"), head("x", "\x7f"),
			head("transfer-encoding", "chunked"), head("connection", "close"), head("upgrade", "h2c"), head("keep-alive", "1"), head("te", "gzip"),
			head("content-length", "5"), head("content-length", "+5"), head("content-length", "0, 0"), head("content-length", ""), head("content-length", "0", "content-length", "1"),
			head("host", "b"), head("content-type", "a/b", "content-type", "c/d"), head("expect", "a-miracle"),
			head("x-forwarded-proto", "http", "x-forwarded-proto", "https"),
			pseudo(":path", "a"), pseudo(":path", ""), pseudo(":path", "*"), pseudo(":path", "/#f"), pseudo(":path", "/\xc3\xa9"), pseudo(":path", "/a b"), pseudo(":path", "/ HTTP/1.1"),
			pseudo(":path", "/\r\nX: y"), pseudo(":path", "http://a/"), pseudo(":method", "get"), pseudo(":method", "G T"), pseudo(":method", "GET / HTTP/1.1"), pseudo(":method", ""),
			pseudo(":authority", "a b"), pseudo(":authority", "a/b"), pseudo(":authority", "u@a"), pseudo(":authority", "a, b"),
			head(":path", "/two"), head("x", "1", ":path", "/late"), head(":status", "200"), head(":protocol", "websocket"), head()[2:], {":method", "CONNECT", ":authority", "a:80"},
		} {
			c := s.framed()
			status, body := c.answerOf(c.open(true, fields...))
			if status == "200" || strings.HasPrefix(status, "5") {
				t.Errorf("%q: %s %q", fields, status, body)
			}
		}
		s.wantCalls("")
		// A body that is longer, or shorter, than announced is no body.
		for _, data := range []string{"abc", "abcdefgh"} {
			c := s.framed()
			id := c.open(false, append([]string{":method", "POST", ":scheme", "http", ":path", "/read", ":authority", "a"}, "content-length", "5")...)
			_ = c.WriteData(id, true, []byte(data))
			if status, body := c.answerOf(id); status == "200" {
				t.Errorf("%d bytes for 5: %s %q", len(data), status, body)
			}
		}
		if got := s.calls(); strings.Contains(got, "smuggled") || strings.Count(got, "POST /read") > 2 {
			t.Errorf("the application saw %q", got)
		}
		// And trailers change nothing.
		c := s.framed()
		id := c.open(false, append([]string{":method", "POST", ":scheme", "http", ":path", "/show", ":authority", "a"}, "x-a", "1")...)
		_ = c.WriteData(id, false, []byte("body"))
		c.block.Reset()
		_ = c.enc.WriteField(hpack.HeaderField{Name: "x-b", Value: "evil"})
		_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.block.Bytes(), EndStream: true, EndHeaders: true})
		if status, body := c.answerOf(id); status != "200" || strings.Contains(body, "evil") || !strings.Contains(body, `"body": 4`) {
			t.Errorf("trailers: %s %s", status, body)
		}
		s.calls()
	})
	t.Run("HTTP/2 floods", func(t *testing.T) { // 26.2.1
		for name, one := range map[string]func(c *framed) error{
			"HEADERS and RST_STREAM": func(c *framed) error { return c.WriteRSTStream(c.open(false, head()...), http2.ErrCodeCancel) },
			"PING":                   func(c *framed) error { return c.WritePing(false, [8]byte{}) },
			"SETTINGS":               func(c *framed) error { return c.WriteSettings() },
		} {
			c := s.framed()
			done := make(chan struct{})
			go func() {
				defer close(done)
				for range 20_000 {
					if one(c) != nil {
						return
					}
				}
			}()
			last := ""
			for {
				f, err := c.ReadFrame()
				if err != nil {
					if last != http2.ErrCodeEnhanceYourCalm.String() && err != io.EOF && !strings.Contains(err.Error(), "reset") {
						t.Errorf("%s: %v", name, err)
					}
					break
				}
				if g, ok := f.(*http2.GoAwayFrame); ok {
					last = g.ErrCode.String()
				}
			}
			c.Close()
			<-done
			if last != http2.ErrCodeEnhanceYourCalm.String() {
				t.Errorf("%s: the connection ends with %q", name, last)
			}
		}
		if code, b := s.get("/fine"); code != 200 || b != "fine" {
			t.Errorf("afterwards: %d %s", code, fmt.Sprintf("%.50q", b))
		}
	})
}
