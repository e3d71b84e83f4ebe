package websocket

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"slices"

	"hostler/worker/http1"
)

// Asked reports whether a request offers to go on as a WebSocket. What else offers an upgrade
// is an ordinary request: whoever does not do that protocol ignores it (RFC 9110, 7.8).
func Asked(buf []byte, r *http1.Request) bool {
	if r.Flags&http1.FlagUpgrade == 0 || r.MethodID != http1.MethodGet {
		return false
	}
	for _, f := range r.Fields[:r.NFields] {
		if f.Known != http1.KnownUpgrade {
			continue
		}
		l := list{f.Value.In(buf)}
		for {
			t, ok := l.token()
			if !ok {
				break
			}
			if bytes.EqualFold(t, []byte("websocket")) {
				return true
			}
			if l.skip('/') { // another protocol's version
				l.word()
			}
		}
	}
	return false
}

// Refusal is the answer to a handshake that is none.
type Refusal struct {
	Status int
	Field  string // a line that belongs to it
	Why    string
}

var (
	refuseVersion  = &Refusal{426, "Sec-WebSocket-Version: 13\r\n", "Sec-WebSocket-Version is not 13"}
	refuseVersion2 = &Refusal{400, refuseVersion.Field, refuseVersion.Why} // a 426 needs a field that HTTP/2 has not
	refuseKey      = &Refusal{400, "", "there is no Sec-WebSocket-Key, or it is malformed"}
	refuseBody     = &Refusal{400, "", "a handshake has a body"}
	refuseProtocol = &Refusal{400, "", "Sec-WebSocket-Protocol is malformed"}
	refuseExtend   = &Refusal{400, "", "Sec-WebSocket-Extensions is malformed"}
)

// Handshake is what a client asks for.
type Handshake struct {
	Deflate Deflate // as agreed; the caller may switch it off
	accept  [28]byte
}

const (
	keySize = 24 // 16 bytes in base64
	magic   = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
)

// Check reads the handshake of a request for which Asked is true.
func Check(buf []byte, r *http1.Request) (h Handshake, _ *Refusal) { return check(buf, r, true) }

// CheckTunnel is Check for the request of a tunnel over HTTP/2 (RFC 8441), which has no key.
func CheckTunnel(buf []byte, r *http1.Request) (h Handshake, _ *Refusal) {
	return check(buf, r, false)
}

func check(buf []byte, r *http1.Request, keyed bool) (h Handshake, _ *Refusal) {
	var key []byte
	keys, versions, version13 := 0, 0, false
	for _, f := range r.Fields[:r.NFields] {
		v := f.Value.In(buf)
		switch what := fieldOf(f.Name.In(buf)); what {
		case fieldKey:
			key = v
			keys++
		case fieldVersion:
			version13 = string(v) == "13"
			versions++
		case fieldExtensions:
			if !h.Deflate.negotiate(v) {
				return h, refuseExtend
			}
		case fieldProtocol:
			l := list{v}
			if eachToken(&l, func([]byte) {}); !l.empty() {
				return h, refuseProtocol
			}
		}
	}
	switch {
	case versions != 1 || !version13:
		if !keyed {
			return h, refuseVersion2
		}
		return h, refuseVersion
	case keyed && (keys != 1 || !h.take(key)):
		return h, refuseKey
	case r.ContentLength > 0 || r.Flags&http1.FlagChunked != 0:
		return h, refuseBody
	}
	return h, nil
}

// take computes the answer to a key.
func (h *Handshake) take(key []byte) bool {
	var raw [18]byte
	if len(key) != keySize {
		return false
	}
	if n, err := base64.StdEncoding.Strict().Decode(raw[:], key); err != nil || n != 16 {
		return false
	}
	var b [keySize + len(magic)]byte
	copy(b[copy(b[:], key):], magic)
	sum := sha1.Sum(b[:])
	base64.StdEncoding.Encode(h.accept[:], sum[:])
	return true
}

// Protocols calls f with each subprotocol that is offered, in order.
func Protocols(buf []byte, r *http1.Request, f func(name []byte)) {
	for _, field := range r.Fields[:r.NFields] {
		if fieldOf(field.Name.In(buf)) == fieldProtocol {
			l := list{field.Value.In(buf)}
			eachToken(&l, f)
		}
	}
}

func eachToken(l *list, f func([]byte)) {
	for {
		t, ok := l.token()
		if !ok {
			return
		}
		f(t)
		if !l.skip(',') {
			return
		}
	}
}

// ValidProtocol reports whether a subprotocol of the application's can be sent.
func ValidProtocol(name []byte) bool {
	return len(name) > 0 && !slices.ContainsFunc(name, func(c byte) bool { return !isToken(c) })
}

// AppendAnswer appends the fields of the 101 that are the WebSocket's, without an empty
// line. There need not be a protocol.
func (h *Handshake) AppendAnswer(b []byte, protocol string) []byte {
	b = append(b, "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	b = append(append(b, h.accept[:]...), "\r\n"...)
	return h.AppendAgreed(b, protocol)
}

// AppendAgreed appends those that HTTP/2 has, too.
func (h *Handshake) AppendAgreed(b []byte, protocol string) []byte {
	if protocol != "" {
		b = append(append(append(b, "Sec-WebSocket-Protocol: "...), protocol...), "\r\n"...)
	}
	if h.Deflate.On {
		b = append(h.Deflate.appendAnswer(append(b, "Sec-WebSocket-Extensions: "...)), "\r\n"...)
	}
	return b
}

// handshakeField is one of the fields of a handshake.
type handshakeField uint8

const (
	fieldOther handshakeField = iota
	fieldKey
	fieldVersion
	fieldExtensions
	fieldProtocol
)

const fieldPrefix = "sec-websocket-"

// Owns reports whether a name is that of a field which the handshake itself sends: the
// application cannot.
func Owns(name []byte) bool {
	return len(name) >= len(fieldPrefix) && bytes.EqualFold(name[:len(fieldPrefix)], []byte(fieldPrefix))
}

func fieldOf(name []byte) handshakeField {
	if !Owns(name) {
		return fieldOther
	}
	rest := name[len(fieldPrefix):]
	for i, n := range [...]string{fieldKey: "key", fieldVersion: "version", fieldExtensions: "extensions", fieldProtocol: "protocol"} {
		if n != "" && bytes.EqualFold(rest, []byte(n)) {
			return handshakeField(i)
		}
	}
	return fieldOther
}
