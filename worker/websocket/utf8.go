package websocket

import "unicode/utf8"

// text checks UTF-8 that comes in pieces, of which a character may be in two. It says as
// soon as it can be said that something is none.
type text struct {
	begin [utf8.UTFMax]byte // of a character
	n     uint8
}

// add takes the next piece.
func (t *text) add(p []byte) bool {
	for t.n > 0 && len(p) > 0 {
		t.begin[t.n] = p[0]
		t.n++
		p = p[1:]
		if b := t.begin[:t.n]; utf8.FullRune(b) {
			if r, size := utf8.DecodeRune(b); r == utf8.RuneError && size == 1 {
				return false
			}
			t.n = 0
		}
	}
	end := len(p)
	for i := end - 1; i >= 0 && i > end-utf8.UTFMax; i-- {
		if utf8.RuneStart(p[i]) {
			if !utf8.FullRune(p[i:]) {
				t.n = uint8(copy(t.begin[:], p[i:]))
				p = p[:i]
			}
			break
		}
	}
	return utf8.Valid(p)
}

// whole reports whether no character lacks its end.
func (t *text) whole() bool { return t.n == 0 }
