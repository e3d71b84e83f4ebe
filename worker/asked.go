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
	html           bool   // it says that it wants HTML
	isHead         bool   // it is for a head alone, which is answered with no more (RFC 9110, 9.3.2), whatever else is wrong with it
}

// parsed is that of a request that has been parsed.
func parsed(r *http1.Request, head []byte) asked {
	return asked{method: r.Method.In(head), target: r.Target.In(head), minor: r.Minor, head: head,
		html: wantsHTML(r, head), isHead: r.MethodID == http1.MethodHead}
}

var crlf = []byte("\r\n")

// heardLine bounds the request lines that are looked at.
const heardLine = 8 << 10

// heard is that of b, the begin of a request that is wrong or not whole: as far as it has
// the form of a request line, and no more is asked of what stands there.
func heard(b []byte) asked {
	b = bytes.TrimPrefix(b, crlf)
	a := asked{head: b, isHead: bytes.HasPrefix(b, []byte("HEAD "))}
	line, rest, whole := bytes.Cut(b[:min(len(b), heardLine)], crlf)
	words := bytes.SplitN(line, []byte(" "), 4)
	if !whole || len(words) != 3 || len(words[0]) == 0 || len(words[1]) == 0 {
		return a
	}
	if minor := slices.Index(protocols[:2], string(words[2])); minor >= 0 {
		a.method, a.target, a.minor = words[0], words[1], uint32(minor)
		a.html = hearsHTML(rest)
	}
	return a
}

// wantsHTML reports whether a request asks for HTML by its name, as browsers do: who takes
// anything wants something that can be read without one.
func wantsHTML(r *http1.Request, head []byte) bool {
	for i := range r.NFields {
		if f := &r.Fields[i]; f.Known == http1.KnownAccept && namesHTML(f.Value.In(head)) {
			return true
		}
	}
	return false
}

// hearsHTML is wantsHTML for the fields of a head that has not been parsed, or is not whole.
func hearsHTML(fields []byte) bool {
	for len(fields) > 0 {
		var line []byte
		if line, fields, _ = bytes.Cut(fields, crlf); len(line) == 0 {
			break // what follows is a body
		}
		if name, value, ok := bytes.Cut(line, []byte(":")); ok && bytes.EqualFold(name, []byte("accept")) && namesHTML(value) {
			return true
		}
	}
	return false
}

// namesHTML reports whether there is text/html among the types of an Accept field, with a
// weight above 0.
func namesHTML(accept []byte) bool {
	for kind := range bytes.SplitSeq(accept, []byte(",")) {
		name, params, _ := bytes.Cut(kind, []byte(";"))
		if !bytes.EqualFold(bytes.TrimSpace(name), []byte("text/html")) {
			continue
		}
		_, weight, _ := bytes.Cut(bytes.ToLower(params), []byte("q="))
		weight, _, _ = bytes.Cut(weight, []byte(";"))
		if weight = bytes.TrimSpace(weight); len(weight) == 0 || len(bytes.Trim(weight, "0.")) > 0 {
			return true
		}
	}
	return false
}

// clone is a copy that lasts.
func (a asked) clone() asked {
	a.method, a.target, a.head = bytes.Clone(a.method), bytes.Clone(a.target), bytes.Clone(a.head[:min(len(a.head), heardLine)])
	return a
}

// protocols are the names of HTTP's versions, by Request.Minor.
var protocols = [...]string{"HTTP/1.0", "HTTP/1.1", "HTTP/2.0"}
