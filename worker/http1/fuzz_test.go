package http1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func FuzzParse(f *testing.F) {
	for _, c := range headCases {
		if len(c.head) < 2000 {
			f.Add([]byte(c.head), uint16(len(c.head)/2))
		}
	}
	for _, h := range hosts {
		f.Add([]byte("GET / HTTP/1.1\r\nHost: "+h.host+"\r\n\r\n"), uint16(3))
	}
	// Limits that a mutated input reaches.
	lim := Limits{Line: 300, Field: 400, Fields: 30, Head: 3000}
	f.Fuzz(func(t *testing.T, head []byte, cut uint16) {
		r, s := roomy(), roomy()
		want := feed(head, &lim, &r)
		if want.whole && want.reason != ReasonNone {
			t.Fatal("whole, but refused:", want.reason)
		}
		in := head
		if want.reason != ReasonNone {
			in = append(bytes.Clone(head), '\n') // reported no later than here
		}
		for _, cuts := range [][]int{{int(cut) % (len(head) + 1)}, everyByte(min(len(head), 4000))} {
			if got := feed(in, &lim, &s, cuts...); got != want || want.whole && !sameRequest(&r, &s) {
				t.Fatalf("%q: %v %v as a whole, %v %v in pieces", head, want.whole, want.reason, got.whole, got.reason)
			}
		}
		if !want.whole {
			return
		}
		checkSpans(t, head, &r)
		checkFraming(t, head, &r)
		checkAgain(t, head, &r)
		checkNetHTTP(t, head, &r)
	})
}

// checkFraming says with other means than the parser's what no accepted head has.
func checkFraming(t *testing.T, buf []byte, r *Request) {
	head := bytes.TrimPrefix(buf[:r.HeadLen], []byte("\r\n"))
	text := bytes.ReplaceAll(head, []byte("\r\n"), nil)
	if bytes.ContainsAny(text, "\r\n\x00\x7f") {
		t.Fatalf("bare line ends or control bytes in %q", head)
	}
	lines := strings.Split(strings.TrimSuffix(string(head), "\r\n\r\n"), "\r\n")
	count := map[string]int{}
	for _, l := range lines[1:] {
		name, _, _ := strings.Cut(l, ":")
		count[strings.ToLower(name)]++
	}
	if count["content-length"]+count["transfer-encoding"] > 1 || count["host"] > 1 || count["host"] == 0 && r.Minor == 1 {
		t.Fatalf("ambiguous head %q", head)
	}
	if (r.ContentLength >= 0) != (count["content-length"] == 1) || (r.Flags&FlagChunked != 0) != (count["transfer-encoding"] == 1) {
		t.Fatalf("length %d, flags %b for %q", r.ContentLength, r.Flags, head)
	}
	for _, f := range r.Fields[:r.NFields] {
		if bytes.ContainsRune(f.Name.In(buf), '_') {
			t.Fatalf("%q let through", f.Name.In(buf))
		}
	}
}

// checkAgain writes the head anew from the result, which must parse the same.
func checkAgain(t *testing.T, buf []byte, r *Request) {
	var b bytes.Buffer
	b.Write(r.Method.In(buf))
	b.WriteByte(' ')
	b.Write(r.Target.In(buf))
	b.WriteString(" HTTP/1." + string(rune('0'+r.Minor)) + "\r\n")
	for _, f := range r.Fields[:r.NFields] {
		if f.Name.Len == 0 {
			b.WriteString("host")
		}
		b.Write(f.Name.In(buf))
		b.WriteByte(':')
		b.Write(f.Value.In(buf))
		b.WriteString("\r\n")
	}
	b.WriteString("\r\n")
	s := roomy()
	lim := DefaultLimits()
	if got := feed(b.Bytes(), &lim, &s); !got.whole {
		t.Fatalf("%q, written anew as %q: %v", buf, b.Bytes(), got.reason)
	}
	if s.NFields != r.NFields || s.Flags != r.Flags&^FlagDroppedField || s.ContentLength != r.ContentLength || s.MethodID != r.MethodID {
		t.Fatalf("%q, written anew as %q, is another", buf, b.Bytes())
	}
	for i := range s.NFields {
		x, y := r.Fields[i], s.Fields[i]
		if x.Known != y.Known || !bytes.Equal(x.Value.In(buf), y.Value.In(b.Bytes())) {
			t.Fatalf("field %d of %q, written anew as %q, is another", i, buf, b.Bytes())
		}
	}
	if !bytes.Equal(r.Path.In(buf), s.Path.In(b.Bytes())) || !bytes.Equal(r.Query.In(buf), s.Query.In(b.Bytes())) {
		t.Fatalf("target of %q, written anew as %q, is another", buf, b.Bytes())
	}
}

// checkNetHTTP compares an accepted head with what net/http makes of it. It may
// refuse what we accept (broken escapes, say), but must not see another request.
func checkNetHTTP(t *testing.T, buf []byte, r *Request) bool {
	q, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(bytes.TrimPrefix(buf[:r.HeadLen], []byte("\r\n")))))
	if err != nil {
		return false
	}
	if q.Method != string(r.Method.In(buf)) || q.RequestURI != string(r.Target.In(buf)) || q.ProtoMinor != int(r.Minor) {
		t.Fatalf("%q: net/http has %s %s 1.%d", buf, q.Method, q.RequestURI, q.ProtoMinor)
	}
	length := max(r.ContentLength, 0)
	if r.Flags&FlagChunked != 0 {
		length = -1
	}
	if q.ContentLength != length || slices.Contains(q.TransferEncoding, "chunked") != (r.Flags&FlagChunked != 0) {
		t.Fatalf("%q: net/http has length %d, codings %q", buf, q.ContentLength, q.TransferEncoding)
	}
	// In HTTP/1.0 net/http looks for keep-alive before close.
	if q.Close != (r.Flags&FlagKeepAlive == 0) && r.Minor == 1 {
		t.Fatalf("%q: net/http has close %v", buf, q.Close)
	}
	// net/http splits path and query the same way; it decodes the path.
	if r.Flags&(FlagAuthority|FlagAsterisk) == 0 {
		path := bytes.Clone(r.Path.In(buf))
		path = path[:Unescape(path, path)]
		if q.URL.Path != string(path) && !strings.HasPrefix(q.RequestURI, "//") || q.URL.RawQuery != string(r.Query.In(buf)) {
			t.Fatalf("%q: net/http has path %q, query %q", buf, q.URL.Path, q.URL.RawQuery)
		}
	}
	seen := map[string]int{}
	for _, f := range r.Fields[:r.NFields] {
		name := http.CanonicalHeaderKey(string(f.Name.In(buf)))
		switch name {
		case "", "Host", "Transfer-Encoding", "Trailer": // taken out by net/http
			continue
		}
		values := q.Header[name]
		if i := seen[name]; i >= len(values) || values[i] != string(f.Value.In(buf)) {
			t.Fatalf("%q: net/http has %s: %q", buf, name, values)
		}
		seen[name]++
	}
	return true
}

// The fuzz target's comparison holds for the table, and is not empty.
func TestNetHTTP(t *testing.T) {
	lim := DefaultLimits()
	r := roomy()
	compared := 0
	for _, c := range headCases {
		if c.reason == ReasonNone && feed([]byte(c.head), &lim, &r).whole {
			checkFraming(t, []byte(c.head), &r)
			checkAgain(t, []byte(c.head), &r)
			if checkNetHTTP(t, []byte(c.head), &r) {
				compared++
			}
		}
	}
	if compared < 30 {
		t.Errorf("net/http takes only %d heads", compared)
	}
}

func FuzzChunked(f *testing.F) {
	for _, c := range chunkCases {
		if len(c.body) < 2000 {
			f.Add([]byte(c.body), uint8(3), uint8(2))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, size, room uint8) {
		body := string(in)
		payload, taken, done, reason := decode(body, len(body)+1, len(body)+1)
		p, n, d, r := decode(body, int(size)+1, int(room)+1)
		if reason == 255 || r == 255 || n != taken || d != done || r != reason || !bytes.Equal(p, payload) {
			t.Fatalf("%q: %q %d %v %v as a whole, %q %d %v %v in pieces", body, payload, taken, done, reason, p, n, d, r)
		}
		if done && reason != ReasonNone || len(payload) > taken {
			t.Fatalf("%q: %d of %d bytes, %v", body, len(payload), taken, reason)
		}
		if !done {
			return
		}
		// net/http may refuse what we take (it wants no escapes in extensions,
		// and fewer trailers), but must not find another payload in it.
		q, err := http.ReadRequest(bufio.NewReader(strings.NewReader("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body[:taken])))
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := io.ReadAll(q.Body)
		if !bytes.HasPrefix(payload, theirs) || err == nil && len(theirs) < len(payload) {
			t.Fatalf("%q: %q, net/http has %q", body, payload, theirs)
		}
	})
}

func FuzzResponseHead(f *testing.F) {
	f.Add([]byte("200 OK"), records("Content-Type", "text/plain", "Set-Cookie", "a=b", "Set-Cookie", "c=d"), uint8(0))
	f.Add([]byte("204 No Content"), records("Content-Length", "0"), uint8(255))
	f.Add([]byte("200"), records("A", "Hi\r\nX: y"), uint8(1))
	f.Add([]byte("200 OK\r\nA: b"), records("Date", "x", "Server", ""), uint8(2))
	f.Add([]byte("404 "), records("Transfer-Encoding", "chunked"), uint8(3))
	f.Add([]byte("999Odd"), records("Connection", "close", "a", "b", "upgrade", ""), uint8(5))
	f.Add([]byte("500 \xe9"), []byte("\xff\xff\xff\xff\xff\xff\xff\xffab"), uint8(4))
	date := FormatDate(nil, noon)
	f.Fuzz(func(t *testing.T, status, fields []byte, opts uint8) {
		if e, off := CheckHints(fields); e == HeadOK {
			checkWire(t, AppendEarlyHints(nil, fields))
		} else if off < 0 || off >= len(fields) {
			t.Fatalf("%v at %d of %d", e, off, len(fields))
		}
		var h Head
		if e, off := CheckHead(status, fields, &h); e != HeadOK {
			if off >= max(len(fields), 1) || off < -1 {
				t.Fatalf("%v at %d of %d", e, off, len(fields))
			}
			return
		}
		o := HeadOptions{Close: opts&1 != 0, Minor10KeepAlive: opts&2 != 0, Chunked: opts&4 != 0 && h.ContentLength < 0, AddLength: -1}
		if opts&8 != 0 && !o.Chunked {
			o.AddLength = 13
		}
		out := AppendHead([]byte("x"), status, fields, &h, o, date)[1:]
		n := 0
		for off := 0; off < len(fields); {
			var name []byte
			if name, _, off, _ = record(fields, off); hopByHop(name) == hopNone {
				n++
			}
		}
		lines := checkWire(t, out)
		for _, cond := range []bool{o.Close || o.Minor10KeepAlive, !h.HasDate, !h.HasServer,
			!h.noLength && (o.Chunked || o.AddLength >= 0 && h.ContentLength < 0)} {
			if cond {
				n++
			}
		}
		if h.noLength {
			n = min(n, lines) // one was perhaps left out
		}
		if lines != n {
			t.Fatalf("%d lines for %d fields:\n%s", lines, n, out)
		}
		resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(out)), nil)
		if err != nil {
			t.Fatalf("%q: %v", out, err)
		}
		if resp.StatusCode != h.Status || h.ContentLength >= 0 && h.Status != 304 && resp.ContentLength != h.ContentLength {
			t.Fatalf("%q: net/http has status %d, length %d", out, resp.StatusCode, resp.ContentLength)
		}
	})
}

// checkWire returns the number of field lines in a head that is to go out.
func checkWire(t *testing.T, out []byte) int {
	lines, ok := strings.CutSuffix(string(out), "\r\n\r\n")
	parts := strings.Split(lines, "\r\n")
	if !ok || slices.Contains(parts, "") || strings.ContainsAny(strings.Join(parts, ""), "\r\n\x00") {
		t.Fatalf("not a head: %q", out)
	}
	return len(parts) - 1
}
