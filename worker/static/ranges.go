package static

import (
	"math"
	"net/http"
	"strconv"
	"strings"
)

// withRange returns q's fields with a Range that http.ServeContent understands as
// RFC 9110, 14 does, or without one where it is to be ignored: for other methods than
// GET, of another unit than bytes, malformed. Several ranges are ignored, too: their
// parts are a way to make much of little, for which the whole will do.
func withRange(q *Request, size int64) http.Header {
	h := q.Header.Clone()
	lines := h["Range"]
	delete(h, "Range")
	if q.Method != http.MethodGet || len(lines) > 1 || size == 0 {
		return h
	}
	r, ok := parseRange(lines[0])
	if !ok {
		return h
	}
	if r.first < 0 { // the last bytes, at most all of them
		r.first = max(size-r.last, 0)
		r.last = size - 1
	}
	if r.first >= size {
		h.Set("Range", "bytes="+strconv.FormatInt(size, 10)+"-") // 416
	} else {
		h.Set("Range", "bytes="+strconv.FormatInt(r.first, 10)+"-"+strconv.FormatInt(min(r.last, size-1), 10))
	}
	return h
}

// byteRange is from the first byte to the last, or the last bytes where first is
// below 0.
type byteRange struct{ first, last int64 }

// parseRange returns the range of a Range field. It is not ok if that has to be
// ignored.
func parseRange(field string) (r byteRange, ok bool) {
	unit, set, found := strings.Cut(field, "=")
	if !found || !strings.EqualFold(unit, "bytes") {
		return r, false
	}
	only := ""
	for spec := range strings.SplitSeq(set, ",") { // RFC 9110, 5.6.1: there may be empty members
		if spec = strings.Trim(spec, " \t"); spec == "" {
			continue
		}
		if only != "" {
			return r, false
		}
		only = spec
	}
	first, last, found := strings.Cut(only, "-")
	if !found {
		return r, false
	}
	r = byteRange{first: -1, last: math.MaxInt64}
	if first != "" {
		if r.first, ok = position(first); !ok {
			return r, false
		}
	}
	if last != "" {
		if r.last, ok = position(last); !ok {
			return r, false
		}
	}
	return r, (first != "" || last != "") && (first == "" || r.first <= r.last)
}

// position reads digits. One that is beyond all files is as good as the largest number.
func position(s string) (n int64, ok bool) {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		n = math.MaxInt64
	}
	return n, true
}
