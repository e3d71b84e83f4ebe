package worker

import (
	"bytes"
	"slices"

	"hostler/worker/http1"
)

// asked is what is known of a request that the application does not get. All of it may be
// nothing.
type asked struct {
	method, target []byte
	minor          uint32
	head           []byte // as far as it has come
	isHead         bool   // it is for a head alone, which is answered with no more (RFC 9110, 9.3.2), whatever else is wrong with it
}

// parsed is that of a request that has been parsed.
func parsed(r *http1.Request, head []byte) asked {
	return asked{r.Method.In(head), r.Target.In(head), r.Minor, head, r.MethodID == http1.MethodHead}
}

var crlf = []byte("\r\n")

// heardLine bounds the request lines that are looked at.
const heardLine = 8 << 10

// heard is that of b, the begin of a request that is wrong or not whole: as far as it has
// the form of a request line, and no more is asked of what stands there.
func heard(b []byte) asked {
	b = bytes.TrimPrefix(b, crlf)
	a := asked{head: b, isHead: bytes.HasPrefix(b, []byte("HEAD "))}
	line, _, whole := bytes.Cut(b[:min(len(b), heardLine)], crlf)
	words := bytes.SplitN(line, []byte(" "), 4)
	if !whole || len(words) != 3 || len(words[0]) == 0 || len(words[1]) == 0 {
		return a
	}
	if minor := slices.Index(protocols[:2], string(words[2])); minor >= 0 {
		a.method, a.target, a.minor = words[0], words[1], uint32(minor)
	}
	return a
}

// clone is a copy that lasts.
func (a asked) clone() asked {
	a.method, a.target, a.head = bytes.Clone(a.method), bytes.Clone(a.target), bytes.Clone(a.head[:min(len(a.head), heardLine)])
	return a
}

// protocols are the names of HTTP's versions, by Request.Minor.
var protocols = [...]string{"HTTP/1.0", "HTTP/1.1", "HTTP/2.0"}
