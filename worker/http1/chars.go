package http1

import (
	"encoding/binary"
	"math/bits"
)

// Classes of bytes.
const (
	isToken      = 1 << iota // tchar of RFC 9110
	isMethod                 // a tchar that a method may hold
	isPath                   // may stand in the path of a target; '%' and '?' want a closer look
	isTarget                 // may stand in a target
	isHost                   // may stand in a registered name or an IPv4 address
	isHex                    // a hexadecimal digit
	isUnderscore             // '_'
	isText                   // may stand in a field value
)

var class = func() (t [256]uint8) {
	for c := range 256 {
		b := byte(c)
		upper, lower, digit := b >= 'A' && b <= 'Z', b >= 'a' && b <= 'z', b >= '0' && b <= '9'
		if upper || lower || digit || in(b, "!#$%&'*+-.^_`|~") {
			t[c] |= isToken
			if !lower && b != '#' {
				t[c] |= isMethod
			}
		}
		if b > ' ' && b < 0x7f && b != '#' {
			t[c] |= isTarget
			if b != '%' && b != '?' {
				t[c] |= isPath
			}
		}
		if upper || lower || digit || in(b, "-._~!$&'()*+;=%") {
			t[c] |= isHost
		}
		if digit || b >= 'a' && b <= 'f' || b >= 'A' && b <= 'F' {
			t[c] |= isHex
		}
		if b == '_' {
			t[c] |= isUnderscore
		}
		if b >= ' ' && b != 0x7f || b == '\t' {
			t[c] |= isText
		}
	}
	return t
}()

func in(b byte, set string) bool {
	for i := range len(set) {
		if set[i] == b {
			return true
		}
	}
	return false
}

// unhex returns the value of a hexadecimal digit.
func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c&7 + 9
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// control returns the index of the first byte of b, at i or beyond, that may not
// stand in a field value, or len(b).
func control(b []byte, i int) int {
	for i+8 <= len(b) {
		x := binary.LittleEndian.Uint64(b[i:])
		// Bytes below 0x20, and 0x7f. Borrows make false hits only above
		// (that is, behind) a true one, and only the first hit counts.
		low := (x - ones*0x20) &^ x
		y := x ^ ones*0x7f
		del := (y - ones) &^ y
		hit := (low | del) & highs
		if hit == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(hit) >> 3
		if b[i] != '\t' {
			return i
		}
		i++
	}
	for i < len(b) && class[b[i]]&isText != 0 {
		i++
	}
	return i
}

// equalFold compares b, ignoring case, with s, which is lower-case letters,
// digits and hyphens. Lengths are equal. b is printable ASCII: so only a letter's
// other case turns into a byte of s when bit 5 is set.
func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	n := len(b)
	if n < 8 {
		for i := range n {
			if b[i]|0x20 != s[i] {
				return false
			}
		}
		return true
	}
	i := 0
	for ; i+8 <= n; i += 8 {
		if binary.LittleEndian.Uint64(b[i:])|ones*0x20 != word(s, i) {
			return false
		}
	}
	return binary.LittleEndian.Uint64(b[n-8:])|ones*0x20 == word(s, n-8)
}

// word loads eight bytes of s; the compiler makes it one instruction.
func word(s string, i int) uint64 {
	s = s[i : i+8]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// isFold is equalFold for bytes that may be anything.
func isFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != s[i] {
			return false
		}
	}
	return true
}

// trim cuts blanks and tabs off both ends.
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}
