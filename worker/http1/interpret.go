package http1

import "math"

// interpreted has a bit for each known field that interpret wants to see.
const interpreted = 1<<KnownHost | 1<<KnownContentLength | 1<<KnownTransferEncoding | 1<<KnownConnection |
	1<<KnownExpect | 1<<KnownContentType | 1<<KnownUpgrade | forwarding

// forwarding has those that only mean something to whoever trusts the peer. A
// flag tells of them, so that requests without them need no second look.
const forwarding = 1<<KnownXForwardedFor | 1<<KnownXForwardedProto | 1<<KnownXForwardedHost |
	1<<KnownXForwardedPrefix | 1<<KnownXForwardedPort | 1<<KnownXForwardedSSL | 1<<KnownXRealIP |
	1<<KnownForwarded | 1<<KnownCFConnectingIP | 1<<KnownScriptName

// interpret draws the consequences of a field of the head.
func interpret(known uint32, value []byte, r *Request) Reason {
	switch known {
	case KnownHost:
		if r.Flags&sawHost != 0 {
			return ReasonDuplicateHost
		}
		r.Flags |= sawHost
		if len(value) > 0 && !validHost(value, false) { // empty: the target has no authority (RFC 9112, 3.2)
			return ReasonBadHost
		}
	case KnownContentLength:
		n := ParseLength(value)
		switch {
		case r.ContentLength >= 0:
			return ReasonDuplicateContentLength
		case n < 0:
			return ReasonBadContentLength
		case r.Flags&sawTransferEncoding != 0:
			return ReasonLengthAndChunked
		}
		r.ContentLength = n
	case KnownTransferEncoding:
		return transferEncoding(value, r)
	case KnownConnection:
		for rest := value; len(rest) > 0; {
			var option []byte
			option, rest = cutComma(rest)
			switch {
			case isFold(option, "close"):
				r.Flags |= tokenClose
			case isFold(option, "keep-alive"):
				r.Flags |= tokenKeepAlive
			case isFold(option, "upgrade"):
				r.Flags |= tokenUpgrade
			}
		}
	case KnownExpect:
		for rest := value; len(rest) > 0; {
			var expectation []byte
			expectation, rest = cutComma(rest)
			switch {
			case isFold(expectation, "100-continue"):
				r.Flags |= sawExpect
			case len(expectation) > 0:
				return ReasonBadExpect
			}
		}
	case KnownContentType:
		if r.Flags&sawContentType != 0 {
			return ReasonDuplicateContentType
		}
		r.Flags |= sawContentType
	case KnownUpgrade:
		r.Flags |= sawUpgrade
	default: // forwarding
		r.Flags |= FlagForwarded
	}
	return ReasonNone
}

func transferEncoding(value []byte, r *Request) Reason {
	switch {
	case r.Flags&sawTransferEncoding != 0:
		return ReasonDuplicateTransferEncoding
	case r.Minor == 0:
		// Whoever forwarded this may have seen no body.
		return ReasonChunkedInHTTP10
	case r.ContentLength >= 0:
		return ReasonLengthAndChunked
	}
	r.Flags |= sawTransferEncoding
	if isFold(value, "chunked") {
		r.Flags |= FlagChunked
		return ReasonNone
	}
	// Codings that exist, and then chunked, are fine but not for us.
	// Everything else leaves the length of the body open.
	for rest := value; ; {
		var coding []byte
		coding, rest = cutComma(rest)
		switch {
		case rest == nil && isFold(coding, "chunked"):
			return ReasonUnsupportedTransferEncoding
		case rest == nil || !existingCoding(coding):
			return ReasonBadTransferEncoding
		}
	}
}

func existingCoding(c []byte) bool {
	for _, s := range [...]string{"gzip", "x-gzip", "deflate", "compress", "x-compress"} {
		if isFold(c, s) {
			return true
		}
	}
	return false
}

// cutComma returns the first member of a list, without blanks around it, and the
// rest of the list, nil after the last member.
func cutComma(list []byte) (first, rest []byte) {
	for i, c := range list {
		if c == ',' {
			return trim(list[:i]), list[i+1:]
		}
	}
	return trim(list), nil
}

// conclude checks what can only be said about the head as a whole.
func conclude(buf []byte, r *Request) Reason {
	f := r.Flags
	if r.Minor == 1 && f&sawHost == 0 {
		return ReasonMissingHost
	}
	if f&FlagAbsolute != 0 && !setHost(r, authority(buf, r)) {
		return ReasonTooManyFields
	}
	if f&tokenClose == 0 && (r.Minor == 1 || f&tokenKeepAlive != 0) {
		f |= FlagKeepAlive
	}
	if f&sawUpgrade != 0 && f&tokenUpgrade != 0 && r.Minor == 1 {
		f |= FlagUpgrade
	}
	// HTTP/1.0 knows no interim responses, and without a body there is nothing
	// to wait for.
	if f&sawExpect != 0 && r.Minor == 1 && (f&FlagChunked != 0 || r.ContentLength > 0) {
		f |= FlagExpect
	}
	r.Flags = f &^ flagsInternal
	return ReasonNone
}

// setHost makes host the value of the Host field, whatever that says: of an absolute
// target only its authority counts (RFC 9112, 3.2.2). It returns false if there is
// no room for the field.
func setHost(r *Request, host Span) bool {
	fields := r.Fields[:r.NFields]
	for i := range fields {
		if fields[i].Known == KnownHost {
			fields[i].Value = host
			return true
		}
	}
	if len(fields) == len(r.Fields) {
		return false
	}
	r.Fields[r.NFields] = Field{Value: host, Known: KnownHost}
	r.NFields++
	return true
}

func sameFold(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		c |= 0x20
	}
	return c
}

// ParseLength returns the value of a Content-Length, or -1 if it is not a number
// of decimal digits in the range of int64.
func ParseLength(b []byte) int64 {
	if len(b) == 0 {
		return -1
	}
	n := int64(0)
	for _, c := range b {
		d := int64(c) - '0'
		if d < 0 || d > 9 || n > (math.MaxInt64-d)/10 {
			return -1
		}
		n = n*10 + d
	}
	return n
}
