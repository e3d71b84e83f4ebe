package worker

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/net/http2"

	"hostler/worker/http1"
)

// The frames of RFC 9113, section 6, as a server receives them.

const (
	frameHeader = 9
	// http2Continuations is how many frames a head may go on in: each time that more of
	// them comes, they are counted from the first.
	http2Continuations = 128
)

// feed takes what has been read of an owned connection. An error ends it.
func (h *http2Conn) feed(b []byte) error {
	if len(h.partial) > 0 {
		h.l.mem.streamBytes.Add(int64(len(b)))
		h.partial = append(h.partial, b...)
		b = h.partial
	}
	if !h.greeted {
		n := min(len(b), len(http2.ClientPreface))
		if string(b[:n]) != http2.ClientPreface[:n] {
			return fmt.Errorf("no preface: %w", http2.ConnectionError(http2.ErrCodeProtocol))
		}
		if n < len(http2.ClientPreface) {
			h.keep(b)
			return nil
		}
		h.greeted = true
		b = b[n:]
	}
	for {
		n := unit(b)
		if n < 0 {
			return fmt.Errorf("a head in too many frames: %w", http2.ConnectionError(http2.ErrCodeEnhanceYourCalm))
		} else if n == 0 {
			break
		}
		h.turn -= n + http2FrameCost
		h.src.Reset(b[:n])
		if err := h.frame(h.frames.ReadFrame()); err != nil {
			return err
		}
		b = b[n:]
	}
	if len(b) > h.l.limits.Head+2*http2FrameSize {
		return fmt.Errorf("endless head: %w", http2.ConnectionError(http2.ErrCodeEnhanceYourCalm))
	}
	h.keep(b)
	return nil
}

// keep remembers b, the begin of a frame, which may lie in h.partial itself.
func (h *http2Conn) keep(b []byte) {
	h.l.mem.streamBytes.Add(int64(len(b) - len(h.partial)))
	if len(b) == 0 {
		h.partial = nil // few connections need it, and seldom
		return
	}
	if len(h.partial) == 0 || &h.partial[0] != &b[0] {
		h.began = h.l.now() // of another frame than before
	}
	h.partial = append(h.partial[:0], b...)
}

// unit measures the frame that b begins with, together with the CONTINUATION
// frames that it needs. 0: it is not whole; below 0: it has too many. What else is not
// right about it, the Framer says.
func unit(b []byte) int {
	for n, frames := 0, 0; ; frames++ {
		if frames > http2Continuations {
			return -1
		}
		if len(b)-n < frameHeader {
			return 0
		}
		size := int(b[n])<<16 | int(b[n+1])<<8 | int(b[n+2])
		if size > http2FrameSize {
			return n + frameHeader
		}
		first := n == 0
		kind, flags := http2.FrameType(b[n+3]), http2.Flags(b[n+4])
		if n += frameHeader + size; len(b) < n {
			return 0
		}
		switch {
		case first && kind != http2.FrameHeaders,
			!first && kind != http2.FrameContinuation,
			flags.Has(http2.FlagHeadersEndHeaders):
			return n
		}
	}
}

// frame handles what ReadFrame returned.
func (h *http2Conn) frame(f http2.Frame, err error) error {
	if err == nil {
		err = h.handle(f)
	}
	var se http2.StreamError
	if !errors.As(err, &se) {
		return err
	}
	// Bad for this stream alone.
	if err := h.charge(1); err != nil {
		return err
	}
	if se.Code != http2.ErrCodeRefusedStream {
		h.c.rejectFrames(h.l, http1.ReasonHTTP2Stream, heardFrame(f))
	}
	h.mu.Lock()
	if h.lastWord && se.StreamID > h.last {
		h.ignored = max(h.ignored, se.StreamID)
		h.mu.Unlock()
		return nil
	}
	if se.StreamID > h.last && se.StreamID&1 == 1 {
		h.last = se.StreamID // its head has opened it, malformed as it is
	}
	s := h.streams[se.StreamID]
	h.resetStream(se.StreamID, se.Code)
	if s != nil {
		s.dead = true
		s.signal()
	}
	h.mu.Unlock()
	if s != nil && s.claim(true) {
		s.conn.abort(h.l)
	}
	return nil
}

// handle handles a frame that is right in itself.
func (h *http2Conn) handle(f http2.Frame) error {
	settings, is := f.(*http2.SettingsFrame)
	if !is && !h.settled {
		return fmt.Errorf("no settings: %w", http2.ConnectionError(http2.ErrCodeProtocol))
	}
	switch f := f.(type) {
	case *http2.MetaHeadersFrame:
		return h.onHeaders(f)
	case *http2.DataFrame:
		return h.onData(f)
	case *http2.SettingsFrame:
		return h.onSettings(settings)
	case *http2.WindowUpdateFrame:
		return h.onWindowUpdate(f)
	case *http2.RSTStreamFrame:
		return h.onReset(f)
	case *http2.PingFrame:
		return h.onPing(f)
	case *http2.PriorityFrame:
		if f.StreamDep == f.StreamID {
			return http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeProtocol}
		}
		return h.chargeUnlessEarned()
	case *http2.PushPromiseFrame:
		return http2.ConnectionError(http2.ErrCodeProtocol)
	case *http2.GoAwayFrame:
		return h.charge(1) // the client will open no stream, which needs nothing of us
	}
	return h.chargeUnlessEarned() // of a kind that we do not know, and pass over (5.5)
}

// passOver reports whether a stream is one that the client opened before it knew of our last
// word. What comes for it counts for HPACK and the connection's window, and is nothing to
// us else (6.8). h.mu is held.
func (h *http2Conn) passOver(id uint32) bool {
	return h.lastWord && id > h.last && id <= h.ignored
}

// resetStream sends RST_STREAM, and notes that the client may not know of it for
// a while. h.mu is held.
func (h *http2Conn) resetStream(id uint32, code http2.ErrCode) {
	h.noteEnd(id)
	_ = h.writer.WriteRSTStream(id, code)
}

// endedStream is one that we have ended before its client did.
type endedStream struct {
	id  uint32
	due int64 // how much more of a WebSocket may come that was under way
}

// noteEnd notes that frames for the stream may be under way. h.mu is held.
func (h *http2Conn) noteEnd(id uint32) {
	h.resets++
	*h.lastReset() = endedStream{id: id}
}

// lastReset is the last stream that we have ended. h.mu is held.
func (h *http2Conn) lastReset() *endedStream { return &h.reset[h.resets%len(h.reset)] }

// wasReset returns the stream if frames for it may have been under way when we ended it,
// or nil. h.mu is held.
func (h *http2Conn) wasReset(id uint32) *endedStream {
	for i := range h.reset {
		if h.reset[i].id == id {
			return &h.reset[i]
		}
	}
	return nil
}

// chargeLate is charge for DATA of a stream that has ended. Of a WebSocket as much is free
// as its window allowed: a message is a frame.
func (h *http2Conn) chargeLate(e *endedStream, f *http2.DataFrame) error {
	if size := max(int64(f.Length), 1); e != nil && size <= e.due && (f.Length > 0 || f.StreamEnded()) {
		e.due -= size
		return nil
	}
	return h.charge(1)
}

func (h *http2Conn) onSettings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		first := !h.acked
		h.acked = true
		if first {
			return nil
		}
		return h.charge(1)
	}
	if err := h.charge(1 + f.NumSettings()/4); err != nil {
		return err
	}
	h.settled = true
	h.mu.Lock()
	err := f.ForeachSetting(func(s http2.Setting) error {
		if err := s.Valid(); err != nil {
			return err
		}
		switch s.ID {
		case http2.SettingHeaderTableSize:
			h.enc.SetMaxDynamicTableSize(s.Val) // no more than its limit
		case http2.SettingMaxFrameSize:
			h.maxFrame = min(int(s.Val), http2FrameSize)
		case http2.SettingInitialWindowSize:
			d := int64(s.Val) - h.initial
			h.initial = int64(s.Val)
			for _, st := range h.streams {
				if st.window += d; st.window > 1<<31-1 {
					return http2.ConnectionError(http2.ErrCodeFlowControl)
				}
			}
		}
		return nil
	})
	if err == nil {
		err = h.writer.WriteSettingsAck()
	}
	h.opened = true
	h.mu.Unlock()
	return err
}

func (h *http2Conn) onPing(f *http2.PingFrame) error {
	if err := h.charge(1); err != nil || f.IsAck() { // to a ping that we have not sent
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.writer.WritePing(true, f.Data)
}

// onWindowUpdate opens a window. Who waits for that goes on at the end of the turn:
// there may be many such frames, for one byte each.
func (h *http2Conn) onWindowUpdate(f *http2.WindowUpdateFrame) error {
	if err := h.chargeUnlessEarned(); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch s := h.streams[f.StreamID]; {
	case f.StreamID == 0:
		if h.window += int64(f.Increment); h.window > 1<<31-1 {
			return http2.ConnectionError(http2.ErrCodeFlowControl)
		}
	case s != nil:
		if s.window += int64(f.Increment); s.window > 1<<31-1 {
			return http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeFlowControl}
		}
	case f.StreamID > h.last && !h.passOver(f.StreamID):
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	h.opened = h.opened || len(h.blocked) > 0
	return nil
}

func (h *http2Conn) onReset(f *http2.RSTStreamFrame) error {
	if err := h.charge(1); err != nil {
		return err
	}
	h.mu.Lock()
	if f.StreamID > h.last && !h.passOver(f.StreamID) {
		h.mu.Unlock()
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	s := h.streams[f.StreamID]
	if s != nil {
		// It counts as open until its thread has noticed.
		s.dead = true
		s.signal()
	}
	h.mu.Unlock()
	if s != nil && s.claim(true) {
		s.conn.abort(h.l)
	}
	return nil
}

func (h *http2Conn) onData(f *http2.DataFrame) error {
	size, data := int64(f.Length), f.Data()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.received -= size; h.received < 0 {
		return http2.ConnectionError(http2.ErrCodeFlowControl)
	}
	if h.received < http2ConnWindow/2 {
		_ = h.writer.WriteWindowUpdate(0, uint32(http2ConnWindow-h.received))
		h.received = http2ConnWindow
	}
	s, late := h.streams[f.StreamID], (*endedStream)(nil)
	if s == nil {
		late = h.wasReset(f.StreamID)
	}
	switch {
	case h.passOver(f.StreamID), late != nil, s != nil && s.dead:
		return h.chargeLate(late, f)
	case f.StreamID > h.last:
		return http2.ConnectionError(http2.ErrCodeProtocol)
	case s == nil || s.ended:
		return http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeStreamClosed}
	}
	if s.received -= size; s.received < 0 {
		return http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeFlowControl}
	}
	s.owed += size
	if len(data) == 0 && !f.StreamEnded() {
		return h.charge(1)
	}
	if !s.deliver(data, f.StreamEnded()) {
		return http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeProtocol}
	}
	h.touch(s)
	return nil
}

// touch remembers that something has come for s. h.mu is held.
func (h *http2Conn) touch(s *stream) {
	s.signal()
	if n := len(h.touched); n == 0 || h.touched[n-1] != s {
		h.touched = append(h.touched, s)
	}
}

// heardFrame is what is known of a request whose head is wrong.
func heardFrame(f http2.Frame) asked {
	m, ok := f.(*http2.MetaHeadersFrame)
	if !ok {
		return asked{}
	}
	method, target := m.PseudoValue("method"), m.PseudoValue("path")
	if method == "" || target == "" || strings.Contains(target, " ") || len(target) > heardLine {
		return asked{isHead: method == "HEAD"}
	}
	a := asked{method: []byte(method), target: []byte(target), minor: minorHTTP2, isHead: method == "HEAD"}
	for _, field := range m.RegularFields() {
		a.html = a.html || field.Name == "accept" && namesHTML([]byte(field.Value))
	}
	return a
}

func (h *http2Conn) onHeaders(f *http2.MetaHeadersFrame) error {
	id := f.StreamID
	if f.HasPriority() && f.Priority.StreamDep == id {
		return http2.StreamError{StreamID: id, Code: http2.ErrCodeProtocol}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if s := h.streams[id]; s != nil {
		return h.onTrailers(s, f)
	}
	switch {
	case id&1 == 0:
		return http2.ConnectionError(http2.ErrCodeProtocol)
	case id <= h.last && h.wasReset(id) != nil:
		return h.charge(1) // trailers that were on their way
	case id <= h.last:
		return http2.ConnectionError(http2.ErrCodeStreamClosed)
	case h.lastWord: // it is told so, and may ask somebody else
		h.ignored = max(h.ignored, id)
		return h.charge(1)
	}
	h.last = id
	if len(h.streams) >= http2Streams || !f.StreamEnded() && h.l.mem.fullOfStreams() {
		return http2.StreamError{StreamID: id, Code: http2.ErrCodeRefusedStream}
	}
	s := newStream(h, id, f.StreamEnded())
	if f.Truncated {
		s.refused = http1.ReasonHeadTooLarge
	} else if !s.translate(f) {
		return http2.StreamError{StreamID: id, Code: http2.ErrCodeProtocol}
	}
	if s.refused != http1.ReasonNone {
		s.asked = heardFrame(f)
	}
	if s.in == nil && s.refused == http1.ReasonNone { // no memory
		return http2.StreamError{StreamID: id, Code: http2.ErrCodeRefusedStream}
	}
	h.streams[id] = s
	h.earn()
	h.touch(s)
	return nil
}

// onTrailers takes the fields after a body, which WSGI has no place for. h.mu is
// held.
func (h *http2Conn) onTrailers(s *stream, f *http2.MetaHeadersFrame) error {
	switch {
	case s.dead:
		return h.charge(1)
	case s.ended:
		return http2.StreamError{StreamID: s.id, Code: http2.ErrCodeStreamClosed}
	case s.tunnel: // it has none (RFC 9113, 8.5)
		return http2.StreamError{StreamID: s.id, Code: http2.ErrCodeProtocol}
	case !f.StreamEnded() || len(f.PseudoFields()) > 0 || !wellFormed(f.Fields) || !s.deliver(nil, true):
		return http2.StreamError{StreamID: s.id, Code: http2.ErrCodeProtocol}
	}
	h.touch(s)
	return nil
}

const prefaceSize = len(http2.ClientPreface)

// isPreface reports whether b is, or may become, the begin of an HTTP/2 connection.
func isPreface(b []byte) bool {
	return bytes.HasPrefix([]byte(http2.ClientPreface), b[:min(len(b), len(http2.ClientPreface))])
}
