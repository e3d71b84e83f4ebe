package origin

import (
	"bytes"

	"hostler/worker/http1"
)

// prefix checks an X-Forwarded-Prefix, and cuts slashes off its end. Applications
// make links of it: "//host" and the like would lead elsewhere. An escape would be
// one too many or too few, as SCRIPT_NAME is not encoded.
func prefix(buf []byte, s http1.Span) (http1.Span, bool) {
	v := s.In(buf)
	for len(v) > 0 && v[len(v)-1] == '/' {
		v = v[:len(v)-1]
	}
	s.Len = uint32(len(v))
	if len(v) == 0 {
		return s, true
	}
	if v[0] != '/' {
		return s, false
	}
	for part := range bytes.SplitSeq(v[1:], []byte("/")) {
		if len(part) == 0 || string(part) == "." || string(part) == ".." {
			return s, false
		}
		for _, c := range part { // pchar of RFC 3986, 3.3
			if !isAlnum(c) && bytes.IndexByte([]byte("-._~!$&'()*+,;=:@"), c) < 0 {
				return s, false
			}
		}
	}
	return s, true
}
