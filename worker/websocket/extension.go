package websocket

import (
	"bytes"
	"strconv"
)

const (
	minWindow = 8
	maxWindow = 15

	deflateName    = "permessage-deflate"
	serverNoTake   = "server_no_context_takeover"
	clientNoTake   = "client_no_context_takeover"
	serverWindow   = "server_max_window_bits"
	clientWindow   = "client_max_window_bits"
	deflateAnswer  = deflateName + "; " + serverNoTake + "; " + clientNoTake
	windowInAnswer = "; " + serverWindow + "="
)

// negotiate looks for an offer that we can take in the value of a
// Sec-WebSocket-Extensions, which may have several. ok is false if it is malformed.
func (d *Deflate) negotiate(v []byte) (ok bool) {
	l := list{v}
	for {
		name, more := l.token()
		if !more {
			return l.empty()
		}
		mine := !d.On && string(name) == deflateName
		window, seen := maxWindow, 0
		for l.skip(';') {
			param, ok := l.token()
			if !ok {
				return false
			}
			var value []byte
			given := l.skip('=')
			if given {
				if value, ok = l.value(); !ok {
					return false
				}
			}
			bit, fine := parameter(param, value, given, &window)
			mine = mine && fine && seen&bit == 0
			seen |= bit
		}
		if mine {
			*d = Deflate{On: true, Window: uint8(window)}
		}
		if !l.skip(',') {
			return l.empty()
		}
	}
}

// parameter reports whether we can do what a parameter of an offer asks for. bit tells it from
// the others.
func parameter(name, value []byte, given bool, window *int) (bit int, ok bool) {
	switch string(name) {
	case serverNoTake:
		return 1, !given
	case clientNoTake:
		return 2, !given
	case serverWindow:
		w, ok := windowBits(value)
		*window = w
		return 4, ok
	case clientWindow: // ours is always large enough
		_, ok := windowBits(value)
		return 8, ok || !given
	}
	return 16, false
}

func windowBits(v []byte) (int, bool) {
	n, err := strconv.Atoi(string(v))
	return n, err == nil && n >= minWindow && n <= maxWindow && v[0] != '0' && v[0] != '+'
}

// appendAnswer appends what we agree to.
func (d Deflate) appendAnswer(b []byte) []byte {
	b = append(b, deflateAnswer...)
	if d.Window < maxWindow {
		b = strconv.AppendUint(append(b, windowInAnswer...), uint64(d.Window), 10)
	}
	return b
}

// list reads a field's value, which is a list of tokens (RFC 9110, 5.6).
type list struct{ rest []byte }

func (l *list) blanks() { l.rest = bytes.TrimLeft(l.rest, " \t") }

func (l *list) empty() bool { l.blanks(); return len(l.rest) == 0 }

// skip takes a separator, with the blanks around it.
func (l *list) skip(c byte) bool {
	l.blanks()
	if len(l.rest) == 0 || l.rest[0] != c {
		return false
	}
	l.rest = l.rest[1:]
	l.blanks()
	return true
}

// token takes a token, after commas that stand alone.
func (l *list) token() ([]byte, bool) {
	for l.skip(',') {
	}
	n := 0
	for n < len(l.rest) && isToken(l.rest[n]) {
		n++
	}
	t := l.rest[:n]
	l.rest = l.rest[n:]
	return t, n > 0
}

// value takes a token, which may be quoted.
func (l *list) value() ([]byte, bool) {
	if len(l.rest) == 0 || l.rest[0] != '"' {
		return l.word()
	}
	l.rest = l.rest[1:]
	t, ok := l.word()
	if !ok || len(l.rest) == 0 || l.rest[0] != '"' {
		return nil, false
	}
	l.rest = l.rest[1:]
	return t, true
}

// word takes a token that begins here.
func (l *list) word() ([]byte, bool) {
	n := 0
	for n < len(l.rest) && isToken(l.rest[n]) {
		n++
	}
	t := l.rest[:n]
	l.rest = l.rest[n:]
	return t, n > 0
}

func isToken(c byte) bool {
	switch {
	case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
		return true
	}
	return bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) >= 0
}
