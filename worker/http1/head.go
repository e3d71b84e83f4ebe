package http1

import (
	"encoding/binary"
	"strconv"
	"time"
)

// Head is what CheckHead found in the head of a response.
type Head struct {
	Status        int
	ContentLength int64 // -1: the application gave none
	HasDate       bool
	HasServer     bool
	NoBody        bool // a response with this status has no body, whatever the request
	Close         bool // the application wants the connection to end (Connection: close)
	// Dropped has a bit for each of HopByHop that the application gave, and
	// AppendHead leaves out.
	Dropped uint16
	// noLength: the status forbids a Content-Length; AppendHead leaves it out.
	noLength bool
}

// KeepTrailer has a field Trailer sent, which says what follows the body.
func (h *Head) KeepTrailer() { h.Dropped &^= 1 << hopTrailer }

// HeadError says what is wrong with the head that an application gave. Zero is
// no error. It is for the log and the application's exception.
type HeadError uint8

// The errors of CheckHead.
const (
	HeadOK HeadError = iota
	HeadBadStatus
	HeadInformational
	HeadBadReason
	HeadBadRecord
	HeadBadName
	HeadBadValue
	HeadBadLength
	HeadDuplicateLength
	HeadAccepts // for the caller
	numHeadErrors
)

var headErrors = [numHeadErrors]string{
	HeadOK:              "",
	HeadBadStatus:       "status is not three digits from 200 to 999, a blank and a reason",
	HeadInformational:   "a status of 1xx cannot be that of a response",
	HeadBadReason:       "control character in the reason phrase",
	HeadBadRecord:       "malformed field record",
	HeadBadName:         "invalid header name",
	HeadBadValue:        "control character in a header value",
	HeadBadLength:       "invalid Content-Length",
	HeadDuplicateLength: "more than one Content-Length",
	HeadAccepts:         "over HTTP/2 a status of 2xx accepts a WebSocket: it cannot be that of a denial",
}

// Error returns a sentence on what is wrong.
func (e HeadError) Error() string {
	if e >= numHeadErrors {
		return "invalid response head"
	}
	return headErrors[e]
}

// String is the same as Error.
func (e HeadError) String() string { return e.Error() }

// recordLen is the length of the two numbers ahead of a field's name and value.
const recordLen = 8

// record returns the field at off of fields, and the offset of the next. ok is
// false when the record does not fit.
func record(fields []byte, off int) (name, value []byte, next int, ok bool) {
	if len(fields)-off < recordLen {
		return nil, nil, 0, false
	}
	nl := uint64(binary.NativeEndian.Uint32(fields[off:]))
	vl := uint64(binary.NativeEndian.Uint32(fields[off+4:]))
	rest := fields[off+recordLen:]
	if nl+vl > uint64(len(rest)) {
		return nil, nil, 0, false
	}
	return rest[:nl:nl], rest[nl : nl+vl : nl+vl], off + recordLen + int(nl+vl), true
}

// CheckHead validates the head of a response and fills h. status is as WSGI has
// it, "200 OK". fields holds records: the lengths of name and value as uint32 in
// native byte order, the name, the value. An error about a field comes with the
// offset of its record, one about the status with -1.
func CheckHead(status, fields []byte, h *Head) (HeadError, int) {
	*h = Head{ContentLength: -1}
	if e := checkStatus(status, h); e != HeadOK {
		return e, -1
	}
	for off := 0; off < len(fields); {
		name, value, next, ok := record(fields, off)
		if !ok {
			return HeadBadRecord, off
		}
		kind, e := checkField(name, value)
		if e != HeadOK {
			return e, off
		}
		switch kind {
		case fieldHopByHop:
			hop := hopByHop(name)
			h.Dropped |= 1 << hop
			h.Close = h.Close || hop == hopConnection && hasOption(value, "close")
		case fieldLength:
			if h.ContentLength >= 0 {
				return HeadDuplicateLength, off
			}
			if h.ContentLength = ParseLength(trim(value)); h.ContentLength < 0 {
				return HeadBadLength, off
			}
		case fieldDate:
			h.HasDate = true
		case fieldServer:
			h.HasServer = true
		}
		off = next
	}
	h.NoBody = h.Status == 204 || h.Status == 304
	if h.Status == 204 {
		// RFC 9110 8.6: a server must not send it. Frameworks set it to 0.
		h.noLength, h.ContentLength = true, -1
	}
	return HeadOK, 0
}

// CheckHints validates the fields of an early hint, or those behind a body, records as in
// CheckHead.
func CheckHints(fields []byte) (HeadError, int) {
	for off := 0; off < len(fields); {
		name, value, next, ok := record(fields, off)
		if !ok {
			return HeadBadRecord, off
		}
		kind, e := checkField(name, value)
		if e == HeadOK && kind == fieldLength {
			e = HeadBadLength // there is no body to have one
		}
		if e != HeadOK {
			return e, off
		}
		off = next
	}
	return HeadOK, 0
}

// checkStatus takes what other servers take: three digits, and as the reason
// whatever follows them and is no digit.
func checkStatus(s []byte, h *Head) HeadError {
	if len(s) < 3 || len(s) > 3 && digit(s[3]) {
		return HeadBadStatus
	}
	for _, c := range s[:3] {
		if !digit(c) {
			return HeadBadStatus
		}
	}
	h.Status = int(s[0]-'0')*100 + int(s[1]-'0')*10 + int(s[2]-'0')
	switch {
	case h.Status >= 100 && h.Status < 200:
		return HeadInformational // its client would go on waiting
	case h.Status < 100:
		return HeadBadStatus
	case control(s, 3) != len(s):
		return HeadBadReason
	}
	return HeadOK
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// hasOption reports whether a list has a member, in any case of letters.
func hasOption(list []byte, option string) bool {
	for rest := list; len(rest) > 0; {
		var member []byte
		if member, rest = cutComma(rest); isFold(member, option) {
			return true
		}
	}
	return false
}

// fieldKind tells the response fields that mean something to the server.
type fieldKind uint8

const (
	fieldOther fieldKind = iota
	fieldLength
	fieldDate
	fieldServer
	fieldHopByHop
)

func checkField(name, value []byte) (fieldKind, HeadError) {
	if len(name) == 0 {
		return fieldOther, HeadBadName
	}
	for _, c := range name {
		if class[c]&isToken == 0 {
			return fieldOther, HeadBadName
		}
	}
	if control(value, 0) != len(value) {
		return fieldOther, HeadBadValue
	}
	if hopByHop(name) != hopNone {
		return fieldHopByHop, HeadOK
	}
	return kindOf(name), HeadOK
}

func kindOf(name []byte) fieldKind {
	switch {
	case len(name) == len("content-length") && equalFold(name, "content-length"):
		return fieldLength
	case len(name) == len("date") && equalFold(name, "date"):
		return fieldDate
	case len(name) == len("server") && equalFold(name, "server"):
		return fieldServer
	}
	return fieldOther
}

// HopByHop has the fields that concern one connection and are the server's to set
// there, by their bit in Head.Dropped: those of wsgiref.util.is_hop_by_hop, the one
// of RFC 9110 that it misspells, and one that only ever was a mistake.
var HopByHop = [...]string{
	hopNone: "", hopConnection: "connection", hopKeepAlive: "keep-alive", hopProxyConnection: "proxy-connection",
	hopTransferEncoding: "transfer-encoding", hopUpgrade: "upgrade", hopTE: "te", hopTrailer: "trailer", hopTrailers: "trailers",
	hopProxyAuthenticate: "proxy-authenticate", hopProxyAuthorization: "proxy-authorization",
}

const (
	hopNone = iota
	hopConnection
	hopKeepAlive
	hopProxyConnection
	hopTransferEncoding
	hopUpgrade
	hopTE
	hopTrailer
	hopTrailers
	hopProxyAuthenticate
	hopProxyAuthorization
)

// anyHop has all of them.
const anyHop = ^uint16(1 << hopNone)

// hopByHop returns the index of name in HopByHop.
func hopByHop(name []byte) int {
	is := func(i int) int {
		if equalFold(name, HopByHop[i]) {
			return i
		}
		return hopNone
	}
	switch len(name) {
	case 2:
		return is(hopTE)
	case 7:
		return max(is(hopUpgrade), is(hopTrailer))
	case 8:
		return is(hopTrailers)
	case 10:
		return max(is(hopConnection), is(hopKeepAlive))
	case 16:
		return is(hopProxyConnection)
	case 17:
		return is(hopTransferEncoding)
	case 18:
		return is(hopProxyAuthenticate)
	case 19:
		return is(hopProxyAuthorization)
	}
	return hopNone
}

// HeadOptions says what AppendHead adds to the application's fields.
type HeadOptions struct {
	Minor10KeepAlive bool  // Connection: keep-alive, for a client of HTTP/1.0
	Close            bool  // Connection: close
	Chunked          bool  // Transfer-Encoding: chunked
	AddLength        int64 // Content-Length, if not below 0 and the application gave none
}

// AppendHead appends the head of a response that CheckHead found to be right, and
// the empty line. date is as FormatDate makes it.
func AppendHead(dst []byte, status, fields []byte, h *Head, o HeadOptions, date []byte) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = append(dst, status[:3]...)
	dst = append(dst, ' ')
	dst = append(dst, trim(status[3:])...)
	dst = append(dst, "\r\n"...)
	dst = appendFields(dst, fields, h.noLength, h.Dropped)
	switch {
	case h.noLength:
	case o.Chunked:
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	case o.AddLength >= 0 && h.ContentLength < 0:
		dst = append(dst, "Content-Length: "...)
		dst = strconv.AppendInt(dst, o.AddLength, 10)
		dst = append(dst, "\r\n"...)
	}
	switch {
	case o.Close:
		dst = append(dst, "Connection: close\r\n"...)
	case o.Minor10KeepAlive:
		dst = append(dst, "Connection: keep-alive\r\n"...)
	}
	if !h.HasDate {
		dst = append(dst, "Date: "...)
		dst = append(dst, date...)
		dst = append(dst, "\r\n"...)
	}
	if !h.HasServer {
		dst = append(dst, "Server: hostler\r\n"...)
	}
	return append(dst, "\r\n"...)
}

func appendFields(dst, fields []byte, noLength bool, hops uint16) []byte {
	for off := 0; off < len(fields); {
		name, value, next, ok := record(fields, off)
		if !ok {
			break // CheckHead would have said so
		}
		off = next
		if leftOut(name, noLength, hops) {
			continue
		}
		dst = append(dst, name...)
		dst = append(dst, ": "...)
		dst = append(dst, value...)
		dst = append(dst, "\r\n"...)
	}
	return dst
}

// leftOut reports whether a field of the application's is not sent. hops are those of
// HopByHop that are not, as in Head.Dropped.
func leftOut(name []byte, noLength bool, hops uint16) bool {
	return noLength && kindOf(name) == fieldLength || hops != 0 && hops>>hopByHop(name)&1 != 0
}

// AppendEarlyHints appends a 103 response with fields that CheckHints found to be
// right.
func AppendEarlyHints(dst, fields []byte) []byte {
	dst = append(dst, "HTTP/1.1 103 Early Hints\r\n"...)
	dst = appendFields(dst, fields, true, anyHop)
	return append(dst, "\r\n"...)
}

// AppendSwitch appends a 101 response: lines, the protocol's own, then fields that
// CheckHints found to be right. date is as FormatDate makes it.
func AppendSwitch(dst, lines, fields, date []byte) []byte {
	dst = append(dst, "HTTP/1.1 101 Switching Protocols\r\n"...)
	dst = append(dst, lines...)
	dst = appendFields(dst, fields, true, anyHop)
	hasDate, hasServer := false, false
	for off := 0; off < len(fields); {
		name, _, next, ok := record(fields, off)
		if !ok {
			break
		}
		hasDate, hasServer = hasDate || kindOf(name) == fieldDate, hasServer || kindOf(name) == fieldServer
		off = next
	}
	if !hasDate {
		dst = append(append(append(dst, "Date: "...), date...), "\r\n"...)
	}
	if !hasServer {
		dst = append(dst, "Server: hostler\r\n"...)
	}
	return append(dst, "\r\n"...)
}

// AnyName reports whether is holds for the name of any of the fields, which are records.
func AnyName(fields []byte, is func(name []byte) bool) bool {
	for off := 0; off < len(fields); {
		name, _, next, ok := record(fields, off)
		if !ok || is(name) {
			return ok
		}
		off = next
	}
	return false
}

// Continue is the response that lets a client send the body it announced with
// Expect: 100-continue.
const Continue = "HTTP/1.1 100 Continue\r\n\r\n"

// LastChunk ends a chunked body.
const LastChunk = "0\r\n\r\n"

// AppendTrailers ends a chunked body with fields that CheckHints found to be right.
func AppendTrailers(dst, fields []byte) []byte {
	dst = append(dst, "0\r\n"...)
	dst = appendFields(dst, fields, true, anyHop)
	return append(dst, "\r\n"...)
}

// AppendChunkHeader appends what goes ahead of a chunk of n bytes; n is above 0,
// and CRLF goes after the chunk.
func AppendChunkHeader[N int | int64](dst []byte, n N) []byte {
	dst = strconv.AppendInt(dst, int64(n), 16)
	return append(dst, "\r\n"...)
}

// Own is a response of the server's own.
type Own struct {
	Status int
	Fields string // whole field lines
	Type   string // of the body
	Body   []byte
	Close  bool // the connection ends with it
	Head   bool // it answers a HEAD request: the same without the body
}

// AppendOwn appends the head of a response of the server's own.
func AppendOwn(dst []byte, o *Own, date []byte) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(o.Status), 10)
	dst = append(dst, ' ')
	dst = append(dst, StatusText(o.Status)...)
	dst = append(dst, "\r\nContent-Type: "...)
	dst = append(dst, o.Type...)
	dst = append(dst, "\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(o.Body)), 10)
	dst = append(dst, "\r\n"...)
	dst = append(dst, o.Fields...)
	if o.Close {
		dst = append(dst, "Connection: close\r\n"...)
	}
	dst = append(dst, "Date: "...)
	dst = append(dst, date...)
	return append(dst, "\r\nServer: hostler\r\n\r\n"...)
}

// Size is how much of its body is sent.
func (o *Own) Size() int64 {
	if o.Head {
		return 0
	}
	return int64(len(o.Body))
}

// FormatDate appends t as a Date field has it: 29 bytes.
func FormatDate(dst []byte, t time.Time) []byte {
	return t.UTC().AppendFormat(dst, "Mon, 02 Jan 2006 15:04:05 GMT")
}
