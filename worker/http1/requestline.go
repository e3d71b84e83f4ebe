package http1

import "encoding/binary"

// maxMethod is the length of the longest method that is let through.
const maxMethod = 32

// requestLine parses the line at i of b into r and returns the index of what
// follows it, or -1 when b ends before the line does.
func requestLine(b []byte, i int, r *Request) (int, Reason) {
	start := i
	for i < len(b) && class[b[i]]&isMethod != 0 {
		i++
	}
	if i-start > maxMethod {
		return 0, ReasonBadMethod
	}
	if i >= len(b) {
		return -1, ReasonNone
	}
	if b[i] != ' ' || i == start {
		return badMethod(b, i, start)
	}
	r.Method = Span{uint32(start), uint32(i - start)}
	r.MethodID = methodID(b[start:i])

	i++
	start = i
	r.Path = Span{uint32(i), 0}
	for i < len(b) {
		c := b[i]
		if class[c]&isPath != 0 {
			i++
			continue
		}
		if c != '%' {
			break
		}
		r.Flags |= FlagPathEscaped
		i++
	}
	path := i
	r.Query = Span{uint32(i), 0}
	if i < len(b) && b[i] == '?' {
		i++
		for i < len(b) && class[b[i]]&isTarget != 0 {
			i++
		}
		r.Query = Span{uint32(path + 1), uint32(i - path - 1)}
	}
	if i >= len(b) {
		return -1, ReasonNone
	}
	if b[i] != ' ' || i == start {
		switch {
		case b[i] == '\n':
			return 0, ReasonBareLF
		case b[i] == '\r' && i > start: // no version: HTTP/0.9
			return 0, ReasonBadRequestLine
		}
		return 0, ReasonBadTarget
	}
	r.Target = Span{uint32(start), uint32(i - start)}
	if b[start] == '/' && r.MethodID != MethodConnect {
		r.Path.Len = uint32(path - start)
	} else if !otherForm(b, start, path, i, r) {
		return 0, ReasonBadTarget
	}
	return version(b, i+1, r)
}

// badMethod names the offence at i of a line that begins at start.
func badMethod(b []byte, i, start int) (int, Reason) {
	switch {
	case b[i] == '\n':
		return 0, ReasonBareLF
	case b[i] == '\r' && i > start:
		return 0, ReasonBadRequestLine
	case b[i] == '\r' && i+1 >= len(b): // may become the empty line ahead
		return -1, ReasonNone
	case b[i] == '\r' && b[i+1] != '\n':
		return 0, ReasonBareCR
	case b[i] == '\r': // a second empty line
		return 0, ReasonBadRequestLine
	}
	return 0, ReasonBadMethod
}

func methodID(m []byte) uint32 {
	switch string(m) {
	case "GET":
		return MethodGet
	case "HEAD":
		return MethodHead
	case "POST":
		return MethodPost
	case "PUT":
		return MethodPut
	case "DELETE":
		return MethodDelete
	case "PATCH":
		return MethodPatch
	case "OPTIONS":
		return MethodOptions
	case "TRACE":
		return MethodTrace
	case "CONNECT":
		return MethodConnect
	}
	return MethodOther
}

// otherForm takes the target b[start:end], which is not in origin-form. Its query
// begins at path, if it has one.
func otherForm(b []byte, start, path, end int, r *Request) bool {
	t := b[start:end]
	if r.MethodID == MethodConnect {
		r.Flags = r.Flags&^FlagPathEscaped | FlagAuthority
		r.Query = r.Path
		return validHost(t, true)
	}
	if len(t) == 1 && t[0] == '*' {
		r.Flags |= FlagAsterisk
		return r.MethodID == MethodOptions
	}
	t = b[start:path]
	scheme := 0
	for _, s := range [...]string{"http://", "https://"} {
		if len(t) > len(s) && isFold(t[:len(s)], s) {
			scheme = len(s)
		}
	}
	if scheme == 0 {
		return false
	}
	a := scheme
	for a < len(t) && t[a] != '/' {
		a++
	}
	r.Flags |= FlagAbsolute
	r.Path = Span{uint32(start + a), uint32(len(t) - a)}
	return validHost(t[scheme:a], false)
}

// authority returns the authority in r's target, an absolute URI.
func authority(buf []byte, r *Request) Span {
	i := r.Target.Off
	for buf[i] != '/' {
		i++
	}
	i += 2
	return Span{i, r.Path.Off - i}
}

// version parses what follows the second blank.
func version(b []byte, i int, r *Request) (int, Reason) {
	const http11, http10 = "HTTP/1.1", "HTTP/1.0"
	if i+10 <= len(b) {
		v := binary.LittleEndian.Uint64(b[i:])
		if (v == word(http11, 0) || v == word(http10, 0)) && b[i+8] == '\r' && b[i+9] == '\n' {
			r.Minor = uint32(b[i+7] - '0')
			return i + 10, ReasonNone
		}
	}
	for k := range len(http11) {
		if i+k >= len(b) {
			return -1, ReasonNone
		}
		c := b[i+k]
		switch {
		case c == '\n':
			return 0, ReasonBareLF
		case k == 5 || k == 7:
			if c < '0' || c > '9' {
				return 0, ReasonBadVersion
			}
		case c != http11[k]:
			return 0, ReasonBadVersion
		}
	}
	switch {
	case i+8 >= len(b):
		return -1, ReasonNone
	case b[i+8] == '\n':
		return 0, ReasonBareLF
	case b[i+8] != '\r':
		return 0, ReasonBadVersion
	case i+9 >= len(b):
		return -1, ReasonNone
	case b[i+9] != '\n':
		return 0, ReasonBareCR
	case b[i+5] != '1' || b[i+7] > '1':
		return 0, ReasonUnsupportedVersion
	}
	r.Minor = uint32(b[i+7] - '0')
	return i + 10, ReasonNone
}
