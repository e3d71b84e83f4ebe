package http1

import (
	"encoding/binary"
	"strconv"
	"strings"
)

// A section is the head of a response for HTTP/2, which has no text: the three
// digits of the status, and a record for each field, as CheckHead takes them.

// AppendSection appends the section of a response that CheckHead found to be right:
// what AppendHead appends, but for what is about the connection.
func AppendSection(dst, status, fields []byte, h *Head, o HeadOptions, date []byte) []byte {
	dst = append(dst, status[:3]...)
	dst = appendRecords(dst, fields, h.noLength, h.Dropped)
	if !h.noLength && o.AddLength >= 0 && h.ContentLength < 0 {
		var digits [20]byte
		dst = AppendRecord(dst, "content-length", strconv.AppendInt(digits[:0], o.AddLength, 10))
	}
	if !h.HasDate {
		dst = AppendRecord(dst, "date", date)
	}
	if !h.HasServer {
		dst = AppendRecord(dst, "server", "hostler")
	}
	return dst
}

// AppendOwnSection appends the section of a response of the server's own.
func AppendOwnSection(dst []byte, o *Own, date []byte) []byte {
	dst = strconv.AppendInt(dst, int64(o.Status), 10)
	dst = AppendRecord(dst, "content-type", o.Type)
	var digits [20]byte
	dst = AppendRecord(dst, "content-length", strconv.AppendInt(digits[:0], int64(len(o.Body)), 10))
	for line := range strings.Lines(o.Fields) {
		if name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ": "); ok {
			dst = AppendRecord(dst, name, value)
		}
	}
	dst = AppendRecord(dst, "date", date)
	return AppendRecord(dst, "server", "hostler")
}

// AppendInterimSection appends the section of an interim response, with fields that
// CheckHints found to be right.
func AppendInterimSection(dst []byte, status int, fields []byte) []byte {
	return appendRecords(strconv.AppendInt(dst, int64(status), 10), fields, true, anyHop)
}

// AppendTrailerSection appends the section behind a body, which has no status.
func AppendTrailerSection(dst, fields []byte) []byte { return appendRecords(dst, fields, true, anyHop) }

// AppendTunnelSection appends the section of the response that accepts a tunnel (RFC 8441):
// what AppendSwitch appends for HTTP/1.1.
func AppendTunnelSection(dst []byte, lines string, fields, date []byte) []byte {
	dst = AppendInterimSection(dst, 200, fields)
	for line := range strings.Lines(lines) {
		if name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ": "); ok {
			dst = AppendRecord(dst, name, value)
		}
	}
	has := func(kind fieldKind) bool {
		return AnyName(fields, func(name []byte) bool { return kindOf(name) == kind })
	}
	if !has(fieldDate) {
		dst = AppendRecord(dst, "date", date)
	}
	if !has(fieldServer) {
		dst = AppendRecord(dst, "server", "hostler")
	}
	return dst
}

// appendRecords is appendFields for a section.
func appendRecords(dst, fields []byte, noLength bool, hops uint16) []byte {
	for off := 0; off < len(fields); {
		name, _, next, ok := record(fields, off)
		if !ok {
			break // CheckHead would have said so
		}
		if !leftOut(name, noLength, hops) {
			dst = append(dst, fields[off:next]...)
		}
		off = next
	}
	return dst
}

// AppendRecord appends a field.
func AppendRecord[N, V []byte | string](dst []byte, name N, value V) []byte {
	dst = binary.NativeEndian.AppendUint32(dst, uint32(len(name)))
	dst = binary.NativeEndian.AppendUint32(dst, uint32(len(value)))
	return append(append(dst, name...), value...)
}

// CutRecord returns the first field of records, and the rest. ok is false at their
// end.
func CutRecord(records []byte) (name, value, rest []byte, ok bool) {
	name, value, next, ok := record(records, 0)
	return name, value, records[next:], ok
}
