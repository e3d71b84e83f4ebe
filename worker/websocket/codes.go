package websocket

import (
	"encoding/binary"
	"unicode/utf8"
)

// Close codes (RFC 6455, 7.4.1, and the registry of IANA's).
const (
	Normal         = 1000
	GoingAway      = 1001
	ProtocolError  = 1002
	NoStatus       = 1005 // never sent: the close frame had no code
	Abnormal       = 1006 // never sent: there was no close frame
	InvalidPayload = 1007
	TooBig         = 1009
	InternalError  = 1011
	ServiceRestart = 1012
)

// Sendable reports whether a close frame may have this code.
func Sendable(code int) bool {
	switch {
	case code < 1000 || code > 4999, code >= 1015 && code < 3000:
		return false
	default:
		return code != 1004 && code != NoStatus && code != Abnormal
	}
}

// maxReason is what a control frame has room for beside the code.
const maxReason = maxControl - 2

// AppendClose appends a close frame. With NoStatus it has no code. A reason that is too
// long is cut, at the end of a character; its bytes are to be UTF-8.
func AppendClose(b []byte, code int, reason string) []byte {
	if code == NoStatus {
		return AppendHeader(b, Close, 0, false)
	}
	n := len(reason)
	if n > maxReason {
		for n = maxReason; n > 0 && !utf8.RuneStart(reason[n]); n-- {
		}
	}
	b = AppendHeader(b, Close, 2+n, false)
	b = binary.BigEndian.AppendUint16(b, uint16(code))
	return append(b, reason[:n]...)
}

// parseClose reads the payload of a close frame.
func parseClose(p []byte) (code int, reason []byte, err *Error) {
	switch {
	case len(p) == 0:
		return NoStatus, nil, nil
	case len(p) == 1:
		return 0, nil, errBadClose
	}
	if code = int(binary.BigEndian.Uint16(p)); !Sendable(code) {
		return 0, nil, errBadClose
	}
	if !utf8.Valid(p[2:]) {
		return 0, nil, errBadText
	}
	return code, p[2:], nil
}

// Error says why a WebSocket cannot go on: what its close frame tells the peer.
type Error struct {
	Code   int
	Reason string
}

func (e *Error) Error() string { return e.Reason }

var (
	errReserved   = &Error{ProtocolError, "a reserved bit is set"}
	errOpcode     = &Error{ProtocolError, "unknown opcode"}
	errMask       = &Error{ProtocolError, "a frame is not masked"}
	errLength     = &Error{ProtocolError, "a length is not in its shortest form"}
	errControl    = &Error{ProtocolError, "a control frame is fragmented or too long"}
	errFragment   = &Error{ProtocolError, "a fragment is out of order"}
	errBadClose   = &Error{ProtocolError, "malformed close frame"}
	errBadText    = &Error{InvalidPayload, "text is not UTF-8"}
	errBadDeflate = &Error{InvalidPayload, "compressed data is damaged"}
	errTooBig     = &Error{TooBig, "message too big"}
)
