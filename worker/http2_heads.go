package worker

import (
	"bytes"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"hostler/worker/http1"
	"hostler/worker/websocket"
)

// sections are heads of HTTP/2, before they are compressed: how that is done depends on
// all that have gone before on the connection.
type sections struct{}

func (sections) protocol(uint32) string { return protocols[minorHTTP2] }

func (sections) head(b []byte, t *Thread, o http1.HeadOptions, date []byte) message {
	status, fields := t.respHead()
	return message{kind: itemHead, head: http1.AppendSection(b, status, fields, &t.reply.head, o, date)}
}

func (sections) interim(b []byte, status int, fields []byte) message {
	return message{kind: itemInterim, head: http1.AppendInterimSection(b, status, fields)}
}

func (sections) trailers(b []byte, fields []byte) message {
	return message{kind: itemTrailers, head: http1.AppendTrailerSection(b, fields), end: true}
}

func (sections) own(b []byte, o *http1.Own, date []byte) message {
	m := message{kind: itemHead, head: http1.AppendOwnSection(b, o, date), end: true}
	if !o.Head {
		m.data = o.Body
	}
	return m
}

func (sections) accepted(b []byte, h *websocket.Handshake, protocol string, fields, date []byte) message {
	var lines [512]byte
	return message{kind: itemHead, head: http1.AppendTunnelSection(b, string(h.AppendAgreed(lines[:0], protocol)), fields, date)}
}

// writeHead compresses a section into HEADERS. h.mu is held.
func (h *http2Conn) writeHead(s *stream, kind itemKind, section []byte, end bool) {
	if h.block.Reset(); h.block.Cap() > largeHead {
		h.block = bytes.Buffer{} // the last one's
	}
	rest := section
	if kind != itemTrailers {
		h.field(":status", statusText(section[:3]))
		rest = section[3:]
	}
	for {
		name, value, next, ok := http1.CutRecord(rest)
		if !ok {
			break
		}
		rest = next
		h.field(h.lower(name), string(value))
	}
	s.headSent = kind != itemInterim
	s.endSent = end
	if end {
		h.earn()
	}
	b := h.block.Bytes()
	first := b[:min(len(b), h.maxFrame)]
	b = b[len(first):]
	_ = h.writer.WriteHeaders(http2.HeadersFrameParam{StreamID: s.id, BlockFragment: first, EndStream: end, EndHeaders: len(b) == 0})
	for len(b) > 0 {
		part := b[:min(len(b), h.maxFrame)]
		b = b[len(part):]
		_ = h.writer.WriteContinuation(s.id, len(b) == 0, part)
	}
}

func (h *http2Conn) field(name, value string) {
	_ = h.enc.WriteField(hpack.HeaderField{Name: name, Value: value}) // to memory: cannot fail
}

// lower returns a field's name in lower case, as HTTP/2 has it.
func (h *http2Conn) lower(name []byte) string {
	if s, ok := h.names[string(name)]; ok {
		return s
	}
	s := strings.ToLower(string(name))
	if len(h.names) < 64 { // an application that makes names up must not fill our memory
		h.names[string(name)] = s
	}
	return s
}

// statusText returns a status code of three digits as a string, the common ones
// without a new one.
func statusText(b []byte) string {
	switch string(b) {
	case "200":
		return "200"
	case "304":
		return "304"
	case "404":
		return "404"
	}
	return string(b)
}
