// Package testtunnel has a client of WebSockets over HTTP/2 (RFC 8441) for tests.
package testtunnel

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Tunnel is a connection of HTTP/2 with one stream on it, which is a WebSocket (RFC 8441).
// One goroutine reads, another one writes: what may be sent the reader hears.
type Tunnel struct {
	net.Conn
	frames *http2.Framer
	data   []byte // the reader's
	end    error

	mu     sync.Mutex // of the frames that are written
	opened *sync.Cond
	window [2]int64 // what may be sent: on the connection, on the stream
	over   bool
}

// ErrLeftOut says that the server leaves, and has not looked at the stream: it may be asked for
// on another connection.
var ErrLeftOut = errors.New("a GOAWAY leaves the stream out")

// Open begins with HTTP/2 on c and asks for a WebSocket. fields are lines.
func Open(c net.Conn, scheme, target, fields string) (*Tunnel, *http.Response, error) {
	t := &Tunnel{Conn: c, frames: http2.NewFramer(c, c), window: [2]int64{65535, 65535}}
	t.opened = sync.NewCond(&t.mu)
	t.frames.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		return nil, nil, err
	}
	if err := t.frames.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20}); err != nil {
		return nil, nil, err
	}
	f, err := t.frames.ReadFrame()
	if err != nil {
		return nil, nil, err
	}
	s, ok := f.(*http2.SettingsFrame)
	if !ok {
		return nil, nil, fmt.Errorf("no settings: %v", f)
	}
	if v, _ := s.Value(http2.SettingEnableConnectProtocol); v != 1 {
		return nil, nil, errors.New("the server takes no WebSockets over HTTP/2")
	}
	t.settings(s)
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	all := fmt.Sprintf(":method: CONNECT\r\n:protocol: websocket\r\n:scheme: %s\r\n:path: %s\r\n:authority: x\r\nsec-websocket-version: 13\r\n%s", scheme, target, fields)
	for line := range strings.Lines(all) {
		name, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ": ")
		enc.WriteField(hpack.HeaderField{Name: strings.ToLower(name), Value: value})
	}
	t.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true})
	for {
		f, err := t.frames.ReadFrame()
		if err != nil {
			return nil, nil, err
		}
		if h, ok := f.(*http2.MetaHeadersFrame); ok {
			return t, t.answer(h), nil
		}
		t.take(f)
		if t.end != nil {
			return nil, nil, t.end
		}
	}
}

// answer is the response, as of HTTP/1.1.
func (t *Tunnel) answer(h *http2.MetaHeadersFrame) *http.Response {
	r := &http.Response{ProtoMajor: 2, Header: make(http.Header), Body: io.NopCloser(t)}
	fmt.Sscan(h.PseudoValue("status"), &r.StatusCode)
	r.Status = fmt.Sprintf("%d %s", r.StatusCode, http.StatusText(r.StatusCode))
	for _, f := range h.RegularFields() {
		r.Header.Add(f.Name, f.Value)
	}
	if h.StreamEnded() {
		t.end = io.EOF
	}
	return r
}

func (t *Tunnel) settings(s *http2.SettingsFrame) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if v, ok := s.Value(http2.SettingInitialWindowSize); ok {
		t.window[1] = int64(v)
	}
	t.frames.WriteSettingsAck()
}

func (t *Tunnel) take(f http2.Frame) {
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			t.settings(f)
		}
	case *http2.WindowUpdateFrame:
		t.mu.Lock()
		t.window[min(f.StreamID, 1)] += int64(f.Increment)
		t.opened.Broadcast()
		t.mu.Unlock()
	case *http2.DataFrame:
		t.data = append(t.data, f.Data()...)
		if n := uint32(len(f.Data())); n > 0 {
			t.mu.Lock()
			t.frames.WriteWindowUpdate(0, n)
			t.frames.WriteWindowUpdate(1, n)
			t.mu.Unlock()
		}
		if f.StreamEnded() {
			t.finish(io.EOF)
		}
	case *http2.RSTStreamFrame:
		t.finish(fmt.Errorf("reset: %v", f.ErrCode))
	case *http2.GoAwayFrame:
		if f.LastStreamID == 0 {
			t.finish(ErrLeftOut)
		}
	}
}

func (t *Tunnel) finish(err error) {
	if t.end == nil {
		t.end = err
	}
	t.mu.Lock()
	t.over = true
	t.opened.Broadcast()
	t.mu.Unlock()
}

// Close implements io.Closer. Who writes is let go.
func (t *Tunnel) Close() error {
	t.mu.Lock()
	t.over = true
	t.opened.Broadcast()
	t.mu.Unlock()
	return t.Conn.Close()
}

// Read implements io.Reader.
func (t *Tunnel) Read(b []byte) (int, error) {
	for len(t.data) == 0 && t.end == nil {
		f, err := t.frames.ReadFrame()
		if err != nil {
			t.finish(err)
			break
		}
		t.take(f)
	}
	n := copy(b, t.data)
	t.data = t.data[n:]
	if n == 0 {
		return 0, t.end
	}
	return n, nil
}

// Write implements io.Writer.
func (t *Tunnel) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for left := b; len(left) > 0; {
		n := min(int64(len(left)), t.window[0], t.window[1], 16<<10)
		switch {
		case t.over:
			return 0, io.ErrClosedPipe
		case n <= 0:
			t.opened.Wait()
			continue
		}
		t.window[0] -= n
		t.window[1] -= n
		if err := t.frames.WriteData(1, false, left[:n]); err != nil {
			return 0, err
		}
		left = left[n:]
	}
	return len(b), nil
}
