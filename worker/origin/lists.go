package origin

import (
	"bytes"

	"hostler/worker/http1"
)

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
}

func isTchar(c byte) bool {
	return isAlnum(c) || c != 0 && bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) >= 0
}

func skipBlanks(v []byte, i int) int {
	for i < len(v) && (v[i] == ' ' || v[i] == '\t') {
		i++
	}
	return i
}

func trimBlanks(v []byte) []byte { return bytes.Trim(v, " \t") }

// lastMember returns the last member of a list that is not empty.
func lastMember(buf []byte, list http1.Span) http1.Span {
	v := list.In(buf)
	for len(v) > 0 {
		i := bytes.LastIndexByte(v, ',') + 1
		start := skipBlanks(v, i)
		if m := trimBlanks(v[i:]); len(m) > 0 {
			return http1.Span{Off: list.Off + uint32(start), Len: uint32(len(m))}
		}
		v = v[:max(i-1, 0)]
	}
	return http1.Span{}
}
