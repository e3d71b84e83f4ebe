package http1

import (
	"bytes"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

// outcome is what Parse made of an input.
type outcome struct {
	whole  bool
	reason Reason
}

// feed parses head as it comes to lie in the buffer up to each of the cuts, and
// then as a whole; it stops at the first answer.
func feed(head []byte, lim *Limits, r *Request, cuts ...int) outcome {
	from := 0
	for _, n := range append(cuts, len(head)) {
		// A buffer of its own, so that the race detector and bounds checks
		// would see a look beyond what is there.
		part := bytes.Clone(head[:n])
		if whole, reason := Parse(part, from, lim, r); whole || reason != ReasonNone {
			return outcome{whole, reason}
		}
		from = n
	}
	return outcome{}
}

func everyByte(n int) []int {
	cuts := make([]int, n)
	for i := range cuts {
		cuts[i] = i
	}
	return cuts
}

// sameRequest reports whether a and b are equal in all that Parse promises.
func sameRequest(a, b *Request) bool {
	x, y := *a, *b
	x.Fields, y.Fields = x.Fields[:x.NFields], y.Fields[:y.NFields]
	return reflect.DeepEqual(x, y)
}

// roomy is a Request that the default limits fit into.
func roomy() Request { return Request{Fields: make([]Field, DefaultLimits().Fields+1)} }

func TestParse(t *testing.T) {
	lim := DefaultLimits()
	for _, c := range headCases {
		t.Run(c.name, func(t *testing.T) {
			r, s := roomy(), roomy()
			head := []byte(c.head)
			want := outcome{c.reason == ReasonNone, c.reason}
			if got := feed(head, &lim, &r); got != want {
				t.Fatalf("whole: got %v %v, want %v %v", got.whole, got.reason, want.whole, want.reason)
			}
			if want.whole {
				checkSpans(t, head, &r)
			}
			// What is wrong is known when its line has ended.
			if !want.whole && !strings.HasSuffix(c.head, "\n") {
				head = append(head, '\n')
			}
			cuts := everyByte(len(head))
			if len(head) > 3000 { // each piece is a copy of all before it
				cuts = slices.DeleteFunc(cuts, func(i int) bool { return i%29 != 0 && i < len(head)-3 })
			}
			if got := feed(head, &lim, &s, cuts...); got != want || want.whole && !sameRequest(&r, &s) {
				t.Errorf("by byte: got %v %v, want %v %v", got.whole, got.reason, want.whole, want.reason)
			}
			step := 1 + len(head)/800
			for i := 1; i < len(head); i += step {
				if got := feed(head, &lim, &s, i); got != want || want.whole && !sameRequest(&r, &s) {
					t.Fatalf("cut at %d: got %v %v, want %v %v", i, got.whole, got.reason, want.whole, want.reason)
				}
			}
		})
	}
}

// No proper prefix of a head is a whole head, nor refused if the head is not.
func TestParsePrefixes(t *testing.T) {
	lim := DefaultLimits()
	r := roomy()
	for _, head := range []string{wrkHead, chromiumHead, "\r\nPOST http://a/b HTTP/1.1\r\nHOST: a\r\nTransfer-Encoding: chunked\r\n\r\n"} {
		for i := range len(head) {
			if got := feed([]byte(head[:i]), &lim, &r); got != (outcome{}) {
				t.Errorf("%q: got %v %v", head[:i], got.whole, got.reason)
			}
		}
	}
}

func checkSpans(t *testing.T, buf []byte, r *Request) {
	t.Helper()
	inside := func(s Span, lo, hi uint32) {
		if s.Off < lo || s.Off > hi || s.Len > hi-s.Off {
			t.Fatalf("%v is not within [%d, %d)", s, lo, hi)
		}
	}
	if int(r.HeadLen) > len(buf) || int(r.NFields) > len(r.Fields) || !bytes.HasSuffix(buf[:r.HeadLen], []byte("\r\n\r\n")) {
		t.Fatalf("head of %d bytes with %d fields in %q", r.HeadLen, r.NFields, buf)
	}
	inside(r.Method, 0, r.HeadLen)
	inside(r.Target, 0, r.HeadLen)
	inside(r.Path, r.Target.Off, r.Target.Off+r.Target.Len)
	inside(r.Query, r.Target.Off, r.Target.Off+r.Target.Len)
	at := r.Target.Off + r.Target.Len
	for i, f := range r.Fields[:r.NFields] {
		if f.Known == KnownHost && r.Flags&FlagAbsolute != 0 {
			inside(f.Value, r.Target.Off, r.Path.Off)
			if f.Name.Len == 0 && i != int(r.NFields)-1 {
				t.Errorf("the authority has no name, and is not the last")
			}
			continue
		}
		inside(f.Name, at, r.HeadLen)
		inside(f.Value, f.Name.Off+f.Name.Len+1, r.HeadLen)
		at = f.Value.Off + f.Value.Len
		if f.Known != uint32(slowLookup(f.Name.In(buf))) {
			t.Errorf("%q is taken for %q", f.Name.In(buf), KnownFields[f.Known])
		}
	}
	if r.Flags&flagsInternal != 0 || r.Minor > 1 || r.MethodID >= NumMethods || r.Flags&FlagChunked != 0 && r.ContentLength >= 0 {
		t.Errorf("flags %b minor %d method %d length %d", r.Flags, r.Minor, r.MethodID, r.ContentLength)
	}
}

func slowLookup(name []byte) int {
	for i, s := range KnownFields {
		if i > 0 && strings.EqualFold(s, string(name)) && strings.ToLower(string(name)) == s {
			return i
		}
	}
	return KnownNone
}

func TestParseResult(t *testing.T) {
	lim := DefaultLimits()
	const none = -1
	for _, c := range []struct {
		head                        string
		method, target, path, query string
		id, minor, flags            uint32
		length                      int64
		fields                      string
	}{
		{get(""), "GET", "/", "/", "", MethodGet, 1, FlagKeepAlive, none, "host=a"},
		{"\r\n" + get(""), "GET", "/", "/", "", MethodGet, 1, FlagKeepAlive, none, "host=a"},
		{"PUT /a%20b/?c=%20?d HTTP/1.1\r\nHost:\t a:1 \t\r\nX-Y: \r\nx-y:z  z\r\n\r\n", "PUT", "/a%20b/?c=%20?d", "/a%20b/", "c=%20?d", MethodPut, 1,
			FlagKeepAlive | FlagPathEscaped, none, "host=a:1,X-Y=,x-y=z  z"},
		{"GET /?%41 HTTP/1.0\r\n\r\n", "GET", "/?%41", "/", "%41", MethodGet, 0, 0, none, ""},
		{"GET /? HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "GET", "/?", "/", "", MethodGet, 0, FlagKeepAlive, none, "connection=Keep-Alive"},
		{"GET / HTTP/1.0\r\nConnection: Keep-Alive, close\r\n\r\n", "GET", "/", "/", "", MethodGet, 0, 0, none, "connection=Keep-Alive, close"},
		{get("Connection: x , CLOSE\r\n"), "GET", "/", "/", "", MethodGet, 1, 0, none, "host=a,connection=x , CLOSE"},
		{get("Connection: keep-alive\r\nConnection: close\r\n"), "GET", "/", "/", "", MethodGet, 1, 0, none, "host=a,connection=keep-alive,connection=close"},
		{get("Connection: closed, xclose\r\n"), "GET", "/", "/", "", MethodGet, 1, FlagKeepAlive, none, "host=a,connection=closed, xclose"},
		{get("Connection: Upgrade\r\nUpgrade: websocket\r\n"), "GET", "/", "/", "", MethodGet, 1, FlagKeepAlive | FlagUpgrade, none, "host=a,connection=Upgrade,upgrade=websocket"},
		{get("Upgrade: websocket\r\n"), "GET", "/", "/", "", MethodGet, 1, FlagKeepAlive, none, "host=a,upgrade=websocket"},
		{get("Content_Length: 5\r\nX: 1\r\nTransfer_Encoding: chunked\r\nConnection_: close\r\n"), "GET", "/", "/", "", MethodGet, 1, FlagKeepAlive | FlagDroppedField, none, "host=a,X=1"},
		{get("Content-Length: 0012\r\nExpect: 100-continue\r\n"), "GET", "/", "/", "", MethodGet, 1, FlagKeepAlive | FlagExpect, 12, "host=a,content-length=0012,expect=100-continue"},
		{get("Content-Length: 0\r\nExpect: 100-continue\r\n"), "GET", "/", "/", "", MethodGet, 1, FlagKeepAlive, 0, "host=a,content-length=0,expect=100-continue"},
		{"POST / HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n", "POST", "/", "/", "", MethodPost, 0, 0, 1, "content-length=1,expect=100-continue"},
		{get("Expect: 100-continue\r\nTransfer-Encoding: Chunked\r\n"), "GET", "/", "/", "", MethodGet, 1, FlagKeepAlive | FlagExpect | FlagChunked, none, "host=a,expect=100-continue,transfer-encoding=Chunked"},
		{line("OPTIONS * HTTP/1.1"), "OPTIONS", "*", "", "", MethodOptions, 1, FlagKeepAlive | FlagAsterisk, none, "host=a"},
		{line("CONNECT a%41:443 HTTP/1.1"), "CONNECT", "a%41:443", "", "", MethodConnect, 1, FlagKeepAlive | FlagAuthority, none, "host=a"},
		{line("BREW http://a/%41/?b HTTP/1.1"), "BREW", "http://a/%41/?b", "/%41/", "b", MethodOther, 1, FlagKeepAlive | FlagAbsolute | FlagPathEscaped, none, "host=a"},
		{line("TRACE https://a HTTP/1.1"), "TRACE", "https://a", "", "", MethodTrace, 1, FlagKeepAlive | FlagAbsolute, none, "host=a"},
		{line("GET http://B.c:80/ HTTP/1.1"), "GET", "http://B.c:80/", "/", "", MethodGet, 1, FlagKeepAlive | FlagAbsolute, none, "host=B.c:80"},
		{"GET http://a/ HTTP/1.1\r\nX: 1\r\nHost: b\r\nY: 2\r\n\r\n", "GET", "http://a/", "/", "", MethodGet, 1, FlagKeepAlive | FlagAbsolute, none, "X=1,host=a,Y=2"},
		{"GET http://[::1]:?x HTTP/1.0\r\nX: 1\r\n\r\n", "GET", "http://[::1]:?x", "", "x", MethodGet, 0, FlagAbsolute, none, "X=1,host=[::1]:"},
		{get("Expect:\r\nContent-Length: 1\r\n"), "GET", "/", "/", "", MethodGet, 1, FlagKeepAlive, 1, "host=a,expect=,content-length=1"},
		{get("Expect:\r\nExpect: ,100-CONTINUE\r\nContent-Length: 1\r\n"), "GET", "/", "/", "", MethodGet, 1, FlagKeepAlive | FlagExpect, 1, "host=a,expect=,expect=,100-CONTINUE,content-length=1"},
		{line("HEAD http://a?b/c HTTP/1.1"), "HEAD", "http://a?b/c", "", "b/c", MethodHead, 1, FlagKeepAlive | FlagAbsolute, none, "host=a"},
		{line("DELETE //x HTTP/1.1"), "DELETE", "//x", "//x", "", MethodDelete, 1, FlagKeepAlive, none, "host=a"},
		{line("PATCH /?http://b/ HTTP/1.1"), "PATCH", "/?http://b/", "/", "http://b/", MethodPatch, 1, FlagKeepAlive, none, "host=a"},
	} {
		buf := []byte(c.head + "rest")
		r := roomy()
		r.Flags, r.ContentLength = 1<<32-1, 99 // from an earlier request
		if whole, reason := Parse(buf, 0, &lim, &r); !whole {
			t.Errorf("%q: %v", c.head, reason)
			continue
		}
		checkSpans(t, buf, &r)
		var fields []string
		for _, f := range r.Fields[:r.NFields] {
			name := string(f.Name.In(buf))
			if f.Known > 0 {
				name = KnownFields[f.Known]
			}
			fields = append(fields, name+"="+string(f.Value.In(buf)))
		}
		got := fmt.Sprintf("%s|%s|%s|%s|%d|%d|%b|%d|%s|%d", r.Method.In(buf), r.Target.In(buf), r.Path.In(buf), r.Query.In(buf),
			r.MethodID, r.Minor, r.Flags, r.ContentLength, strings.Join(fields, ","), r.HeadLen)
		want := fmt.Sprintf("%s|%s|%s|%s|%d|%d|%b|%d|%s|%d", c.method, c.target, c.path, c.query,
			c.id, c.minor, c.flags, c.length, c.fields, len(c.head))
		if got != want {
			t.Errorf("%q:\n got %s\nwant %s", c.head, got, want)
		}
	}
}

func TestHost(t *testing.T) {
	lim := DefaultLimits()
	r := roomy()
	for _, c := range hosts {
		want := outcome{c.ok, ReasonNone}
		if !c.ok {
			want.reason = ReasonBadHost
		}
		if got := feed([]byte("GET / HTTP/1.1\r\nHost: "+c.host+"\r\n\r\n"), &lim, &r); got != want {
			t.Errorf("%q: got %v %v", c.host, got.whole, got.reason)
		}
		if v6, ok := strings.CutPrefix(c.host, "["); ok && strings.HasSuffix(v6, "]") {
			v6 = v6[:len(v6)-1]
			a, err := netip.ParseAddr(v6)
			if want := err == nil && a.Is6() && a.Zone() == ""; want != validIPv6([]byte(v6)) {
				t.Errorf("%q: netip says %v", v6, want)
			}
		}
	}
}

func TestSameHost(t *testing.T) {
	for _, c := range []struct {
		a, b, port string
		want       bool
	}{
		{"a", "A", "80", true}, {"a", "a:80", "80", true}, {"a:", "A:80", "80", true}, {"a:443", "a", "443", true}, {"[::1]:80", "[::1]", "80", true},
		{"a", "a:443", "80", false}, {"a", "a:8080", "80", false}, {"a:8080", "a:80", "80", false}, {"a", "b", "80", false},
		{"[::80]", "[:", "80", false}, {"80", "", "80", false}, {"", "", "80", true}, {":80", "", "80", true},
	} {
		if got := SameHost([]byte(c.a), []byte(c.b), c.port); got != c.want {
			t.Errorf("%q and %q at %s: %v", c.a, c.b, c.port, got)
		}
	}
}

// Limits hold at the very byte, and for input that is not whole yet.
func TestLimits(t *testing.T) {
	r := roomy()
	head := []byte("GET /abc HTTP/1.1\r\nHost: abc\r\nA_: 1\r\nB: 2\r\n\r\n")
	for _, c := range []struct {
		lim  Limits
		want Reason
	}{
		{Limits{}, ReasonNone},
		{Limits{Line: 17, Field: 9, Fields: 3, Head: len(head)}, ReasonNone},
		{Limits{Line: 16}, ReasonLineTooLong},
		{Limits{Field: 8}, ReasonFieldTooLong},
		{Limits{Fields: 2}, ReasonTooManyFields},
		{Limits{Head: len(head) - 1}, ReasonHeadTooLarge},
		{Limits{Head: 5}, ReasonHeadTooLarge},
		{Limits{Head: 1}, ReasonHeadTooLarge},
		{Limits{Line: 1}, ReasonLineTooLong},
		{Limits{Line: 1 << 62, Field: 1 << 62, Fields: 1 << 62, Head: 1 << 62}, ReasonNone},
	} {
		want := outcome{c.want == ReasonNone, c.want}
		for _, cuts := range [][]int{nil, everyByte(len(head))} {
			if got := feed(head, &c.lim, &r, cuts...); got != want {
				t.Errorf("%+v, %d cuts: got %v %v", c.lim, len(cuts), got.whole, got.reason)
			}
		}
	}
	// An input that never ends a line is refused as soon as it is too long.
	lim := Limits{Line: 100, Field: 50, Head: 1000}
	for _, c := range []struct {
		start string
		at    int
		want  Reason
	}{
		{"GET /", 102, ReasonLineTooLong},
		{"\r\nGET /", 104, ReasonLineTooLong},
		{"GET / HTTP/1.1\r\n", 16 + 52, ReasonFieldTooLong},
		{"GET / HTTP/1.1\r\nX:", 16 + 52, ReasonFieldTooLong},
		{"GET / HTTP/1.1\r\n" + strings.Repeat("X: "+strings.Repeat("x", 45)+"\r\n", 19), 1000, ReasonHeadTooLarge},
	} {
		head := []byte(c.start)
		var got outcome
		for n := 0; got == (outcome{}) && len(head) < 2000; n = len(head) - 1 {
			if got = feed(head, &lim, &r, n); got == (outcome{}) {
				head = append(head, 'x')
			}
		}
		if got.reason != c.want || len(head) != c.at {
			t.Errorf("%q: %v at %d, want %v at %d", c.start, got.reason, len(head), c.want, c.at)
		}
	}
	// The most there may be, and the most that a Request has room for.
	for room, most := range map[int]int{MaxFields + 1: MaxFields, 100: 100, 0: 0} {
		lim := Limits{Fields: MaxFields + 7, Head: 1 << 20}
		r := Request{Fields: make([]Field, room)}
		for n, want := range map[int]bool{most: true, most + 1: false} {
			head := "GET / HTTP/1.0\r\n" + strings.Repeat("X: 1\r\n", n) + "\r\n"
			if got := feed([]byte(head), &lim, &r); got.whole != want || !want && got.reason != ReasonTooManyFields {
				t.Errorf("%d fields, room for %d: got %v %v", n, room, got.whole, got.reason)
			}
		}
	}
	// The Host that an absolute target implies is one of those.
	lim = Limits{Fields: 2}
	for room, want := range map[int]Reason{3: ReasonNone, 2: ReasonTooManyFields} {
		r := Request{Fields: make([]Field, room)}
		if got := feed([]byte("GET http://a/ HTTP/1.0\r\nA: 1\r\nB: 2\r\n\r\n"), &lim, &r); got.reason != want {
			t.Errorf("room for %d: got %v", room, got.reason)
		}
	}
}

// C declares the same structs by hand.
func TestLayout(t *testing.T) {
	var r Request
	var f Field
	for name, c := range map[string][2]uintptr{
		"Field":                 {unsafe.Sizeof(f), 20},
		"Field.Known":           {unsafe.Offsetof(f.Known), 16},
		"Request.Query":         {unsafe.Offsetof(r.Query), 24},
		"Request.HeadLen":       {unsafe.Offsetof(r.HeadLen), 32},
		"Request.Flags":         {unsafe.Offsetof(r.Flags), 48},
		"Request.ContentLength": {unsafe.Offsetof(r.ContentLength), 56},
		"Request.Fields":        {unsafe.Offsetof(r.Fields), 64},
		"Request":               {unsafe.Sizeof(r), 64 + 24},
	} {
		if c[0] != c[1] {
			t.Errorf("%s: %d, want %d", name, c[0], c[1])
		}
	}
}

func TestKnownFields(t *testing.T) {
	seen := map[uint8]string{}
	for i, s := range KnownFields {
		if i == KnownNone {
			continue
		}
		if s == "" || s != strings.ToLower(s) {
			t.Errorf("%d: %q", i, s)
			continue
		}
		if other, ok := seen[knownHash([]byte(s))]; ok {
			t.Errorf("%q and %q have the same hash: find other factors", s, other)
		}
		seen[knownHash([]byte(s))] = s
		for _, name := range []string{s, strings.ToUpper(s), strings.ToUpper(s[:1]) + s[1:]} {
			if got := lookup([]byte(name)); got != uint32(i) {
				t.Errorf("%q: %d, want %d", name, got, i)
			}
		}
		for _, name := range []string{s + "x", s[1:], "x" + s[1:], s[:len(s)-1] + "~", strings.ReplaceAll(s, "-", "."), s[:len(s)/2] + "!" + s[len(s)/2+1:]} {
			if got, want := lookup([]byte(name)), slowLookup([]byte(name)); got != uint32(want) {
				t.Errorf("%q: %d, want %d", name, got, want)
			}
		}
	}
	if interpreted>>(KnownScriptName+1) != 0 || KnownScriptName >= 64 {
		t.Error("interpreted has no bit for every field")
	}
}

func TestReasons(t *testing.T) {
	seen := map[string]bool{}
	for i := range NumReasons {
		r := Reason(i)
		label, status := r.String(), r.Status()
		if label == "" || seen[label] || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz_012") != "" {
			t.Errorf("%d: label %q", i, label)
		}
		seen[label] = true
		if r != ReasonNone && (status < 400 || StatusText(status) == "Status") {
			t.Errorf("%v: status %d", r, status)
		}
	}
	for r, want := range map[Reason]int{ReasonLineTooLong: 414, ReasonHeadTooLarge: 431, ReasonBadExpect: 417,
		ReasonUnsupportedTransferEncoding: 501, ReasonUnsupportedVersion: 505, ReasonBareLF: 400, 255: 400} {
		if got := r.Status(); got != want {
			t.Errorf("%v: %d", r, got)
		}
	}
	if Reason(255).String() != "unknown" {
		t.Error(Reason(255).String())
	}
}

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "/a": "/a", "%41": "A", "%e9%E9": "\xe9\xe9", "%00": "\x00", "a%2Fb": "a/b", "%25%34%31": "%41", "%2541": "%41",
		"%": "%", "%4": "%4", "%zz": "%zz", "%%41": "%A", "%4%41": "%4A", "+": "+", "%4g": "%4g", "%aF": "\xaf", "a%": "a%",
	} {
		buf := []byte(in)
		if n := Unescape(buf, buf); string(buf[:n]) != want {
			t.Errorf("%q: got %q, want %q", in, buf[:n], want)
		}
	}
}
