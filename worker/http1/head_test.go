package http1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 3, 1, 13, 0, 0, 0, time.FixedZone("CET", 3600))

const noonText = "Sun, 01 Mar 2026 12:00:00 GMT"

func TestCheckHead(t *testing.T) {
	second := len(records("A", "b"))
	for _, c := range []struct {
		name, status string
		fields       []byte
		want         HeadError
		off          int
	}{
		{"plain", "200 OK", records("Content-Type", "text/plain"), HeadOK, 0},
		{"no fields", "200 OK", nil, HeadOK, 0},
		{"no reason", "200 ", nil, HeadOK, 0},
		{"no blank", "200", nil, HeadOK, 0},
		{"Latin-1 reason", "200 D'accord \xe9", nil, HeadOK, 0},
		{"largest status", "999 x", nil, HeadOK, 0},
		{"600", "600 x", nil, HeadOK, 0},
		{"no blank before the reason", "200OK", nil, HeadOK, 0},
		{"tab", "200\tOK", nil, HeadOK, 0},
		{"empty status", "", nil, HeadBadStatus, -1},
		{"two digits", "20 OK", nil, HeadBadStatus, -1},
		{"four digits", "2000 OK", nil, HeadBadStatus, -1},
		{"no digits", "abc OK", nil, HeadBadStatus, -1},
		{"blank ahead", " 200 OK", nil, HeadBadStatus, -1},
		{"099", "099 x", nil, HeadBadStatus, -1},
		{"000", "000 x", nil, HeadBadStatus, -1},
		{"100", "100 Continue", nil, HeadInformational, -1},
		{"101", "101 Switching Protocols", nil, HeadInformational, -1},
		{"split by the status", "200 OK\r\nA: b", nil, HeadBadReason, -1},
		{"LF in the reason", "200 OK\n", nil, HeadBadReason, -1},
		{"NUL in the reason", "200 \x00", nil, HeadBadReason, -1},

		{"tab and Latin-1 in a value", "200 OK", records("A", "b\t\xe9\xff"), HeadOK, 0},
		{"empty value", "200 OK", records("A", ""), HeadOK, 0},
		{"underscore", "200 OK", records("A_B", "c"), HeadOK, 0},
		{"empty name", "200 OK", records("A", "b", "", "c"), HeadBadName, second},
		{"CRLF in a name", "200 OK", records("A", "b", "X\r\nY", "c"), HeadBadName, second},
		{"colon in a name", "200 OK", records("A:", "b"), HeadBadName, 0},
		{"blank in a name", "200 OK", records("A ", "b"), HeadBadName, 0},
		{"Latin-1 in a name", "200 OK", records("\xe9", "b"), HeadBadName, 0},
		{"split by a value", "200 OK", records("A", "b", "X", "Hi\r\nX: y"), HeadBadValue, second},
		{"LF in a value", "200 OK", records("X", "a\nb"), HeadBadValue, 0},
		{"CR in a value", "200 OK", records("X", "a\rb"), HeadBadValue, 0},
		{"NUL in a value", "200 OK", records("X", "a\x00"), HeadBadValue, 0},
		{"DEL in a value", "200 OK", records("X", "a\x7f"), HeadBadValue, 0},
		{"CR far into a value", "200 OK", records("X", strings.Repeat("x", 100)+"\r"), HeadBadValue, 0},

		{"Content-Length", "200 OK", records("Content-Length", "12"), HeadOK, 0},
		{"bad Content-Length", "200 OK", records("A", "b", "content-length", "12x"), HeadBadLength, second},
		{"blanks around Content-Length", "200 OK", records("content-length", " 12\t"), HeadOK, 0},
		{"signed Content-Length", "200 OK", records("content-length", "-1"), HeadBadLength, 0},
		{"empty Content-Length", "200 OK", records("content-length", ""), HeadBadLength, 0},
		{"two Content-Lengths", "200 OK", records("CONTENT-LENGTH", "1", "Content-Length", "1"), HeadDuplicateLength, len(records("CONTENT-LENGTH", "1"))},

		{"hop by hop, and split", "200 OK", records("Connection", "close\r\nX: y"), HeadBadValue, 0},
		{"none of them", "200 OK", records("Upgrades", "x", "Conn", "x", "TEX", "x", "transfer-encodings", "x", "proxy-authenticatx", "x"), HeadOK, 0},

		{"lengths missing", "200 OK", []byte{1, 0, 0}, HeadBadRecord, 0},
		{"record cut", "200 OK", append(records("A", "b"), records("C", "d")[:9]...), HeadBadRecord, second},
		{"lengths that overflow", "200 OK", []byte("\xff\xff\xff\xff\xff\xff\xff\xffab"), HeadBadRecord, 0},
	} {
		var h Head
		if e, off := CheckHead([]byte(c.status), c.fields, &h); e != c.want || off != c.off {
			t.Errorf("%s: got %q at %d, want %q at %d", c.name, e, off, c.want, c.off)
		}
	}
	for e := range numHeadErrors + 1 {
		if (e.Error() == "") != (e == HeadOK) || e.String() != e.Error() {
			t.Errorf("%d: %q", e, e)
		}
	}
}

// TestHopByHop: the fields of one connection are left out, and close is obeyed.
func TestHopByHop(t *testing.T) {
	dropped := func(fields ...string) (names []string, h Head) {
		t.Helper()
		b := records(fields...)
		if e, _ := CheckHead([]byte("200 OK"), b, &h); e != HeadOK {
			t.Fatalf("%q: %v", fields, e)
		}
		for i, name := range HopByHop {
			if h.Dropped&(1<<i) != 0 {
				names = append(names, name)
			}
		}
		out := string(AppendHead(nil, []byte("200 OK"), b, &h, HeadOptions{AddLength: -1}, nil))
		for rest := AppendSection(nil, []byte("200 OK"), b, &h, HeadOptions{AddLength: -1}, nil)[3:]; ; {
			name, _, more, ok := CutRecord(rest)
			if !ok {
				break
			}
			if rest = more; slices.Contains(names, strings.ToLower(string(name))) {
				t.Errorf("%s is in the section", name)
			}
		}
		for i := 0; i < len(fields); i += 2 {
			gone := slices.Contains(names, strings.ToLower(fields[i]))
			if strings.Contains(out, "\r\n"+fields[i]+": ") == gone {
				t.Errorf("%s, dropped %v: %q", fields[i], names, out)
			}
		}
		return names, h
	}
	for _, name := range []string{"Connection", "Keep-Alive", "PROXY-connection", "Transfer-Encoding", "upgrade", "TE", "Trailer", "Trailers",
		"Proxy-Authenticate", "Proxy-Authorization"} {
		if names, h := dropped("A", "b", name, "x", "C", "d"); len(names) != 1 || names[0] != strings.ToLower(name) || h.Close {
			t.Errorf("%s: %v, close %v", name, names, h.Close)
		}
	}
	if names, _ := dropped("Upgrades", "x", "Conn", "x", "TEX", "x", "transfer-encodings", "x", "proxy-authenticatx", "x", "proxy-connectiox", "x"); names != nil {
		t.Error(names)
	}
	for value, want := range map[string]bool{
		"close": true, "Close": true, "keep-alive, CLOSE": true, "close,": true, "keep-alive": false, "": false, "closed": false, "upgrade": false,
	} {
		if _, h := dropped("Connection", value); h.Close != want {
			t.Errorf("Connection: %s: close %v", value, h.Close)
		}
	}
	if _, h := dropped("Connection", "close", "Connection", "keep-alive"); !h.Close {
		t.Error("the second Connection takes back the first")
	}
	if _, h := dropped("X-Connection", "close"); h.Close {
		t.Error("any field closes")
	}
}

func TestCheckHints(t *testing.T) {
	for _, c := range []struct {
		fields []byte
		want   HeadError
	}{
		{records("Link", "</a.css>; rel=preload; as=style", "Link", "</b.js>; rel=preload"), HeadOK},
		{nil, HeadOK},
		{records("Link", "a\r\nX: y"), HeadBadValue},
		{records("Li nk", "a"), HeadBadName},
		{records("Connection", "close"), HeadOK},
		{records("Content-Length", "5"), HeadBadLength},
		{[]byte("x"), HeadBadRecord},
	} {
		if e, _ := CheckHints(c.fields); e != c.want {
			t.Errorf("%q: %q, want %q", c.fields, e, c.want)
		}
	}
	got := string(AppendEarlyHints([]byte("x"), records("Upgrade", "x", "Link", "</a>")))
	if got != "xHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" {
		t.Errorf("%q", got)
	}
}

func TestAppendHead(t *testing.T) {
	const tail = "Date: " + noonText + "\r\nServer: hostler\r\n\r\n"
	for _, c := range []struct {
		status string
		fields []byte
		o      HeadOptions
		want   string
		noBody bool
	}{
		{"200 OK", nil, HeadOptions{AddLength: -1}, "200 OK\r\n" + tail, false},
		{"200", nil, HeadOptions{AddLength: 0}, "200 \r\nContent-Length: 0\r\n" + tail, false},
		{"404 ", records("B", "1", "a", "", "B", "2"), HeadOptions{AddLength: 13, Close: true},
			"404 \r\nB: 1\r\na: \r\nB: 2\r\nContent-Length: 13\r\nConnection: close\r\n" + tail, false},
		{"200 OK", records("content-length", "5"), HeadOptions{AddLength: 13, Minor10KeepAlive: true},
			"200 OK\r\ncontent-length: 5\r\nConnection: keep-alive\r\n" + tail, false},
		{"200 OK", nil, HeadOptions{AddLength: -1, Chunked: true}, "200 OK\r\nTransfer-Encoding: chunked\r\n" + tail, false},
		{"200 OK", records("DATE", "never", "sErver", "mine"), HeadOptions{AddLength: -1}, "200 OK\r\nDATE: never\r\nsErver: mine\r\n\r\n", false},
		{"204 No Content", records("Content-Length", "0", "A", "b"), HeadOptions{AddLength: 0, Chunked: true}, "204 No Content\r\nA: b\r\n" + tail, true},
		{"200OK", records("Connection", "Keep-Alive", "A", "b", "TE", "x"), HeadOptions{AddLength: -1}, "200 OK\r\nA: b\r\n" + tail, false},
		{"999 \t Odd", nil, HeadOptions{AddLength: -1}, "999 Odd\r\n" + tail, false},
		{"304 Not Modified", records("Content-Length", "99"), HeadOptions{AddLength: -1}, "304 Not Modified\r\nContent-Length: 99\r\n" + tail, true},
	} {
		var h Head
		if e, _ := CheckHead([]byte(c.status), c.fields, &h); e != HeadOK {
			t.Fatalf("%s: %v", c.status, e)
		}
		got := string(AppendHead(nil, []byte(c.status), c.fields, &h, c.o, FormatDate(nil, noon)))
		if got != "HTTP/1.1 "+c.want || h.NoBody != c.noBody {
			t.Errorf("got %q, no body %v; want %q", got, h.NoBody, c.want)
		}
	}
}

func TestAppendOwn(t *testing.T) {
	for _, status := range []int{400, 404, 414, 431, 500, 503, 599} {
		for _, head := range []bool{false, true} {
			o := Own{Status: status, Fields: "Retry-After: 1\r\n", Type: "text/x", Body: []byte("sorry"), Close: !head, Head: head}
			b := AppendOwn(nil, &o, FormatDate(nil, noon))
			if !head {
				b = append(b, o.Body...)
			}
			method := "GET"
			if head {
				method = "HEAD"
			}
			in := bufio.NewReader(bytes.NewReader(b))
			resp, err := http.ReadResponse(in, &http.Request{Method: method})
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			rest, _ := io.ReadAll(in)
			if err != nil || len(rest) > 0 || resp.StatusCode != status || resp.Close != !head || resp.Header.Get("Retry-After") != "1" ||
				resp.Header.Get("Date") != noonText || resp.Header.Get("Server") != "hostler" || resp.ContentLength != 5 || resp.Header.Get("Content-Type") != "text/x" || o.Size() != int64(len(body)) {
				t.Errorf("%d: %v, left %q of\n%s", status, err, rest, b)
			}
			if string(body) != "sorry" && !head || head && len(body) > 0 {
				t.Errorf("%d: body %q", status, body)
			}
		}
	}
}

func TestStatusText(t *testing.T) {
	for i := range 700 {
		want := http.StatusText(i)
		if want == "" {
			want = "Status"
		}
		if got := StatusText(i); got != want {
			t.Errorf("%d: %q, want %q", i, got, want)
		}
	}
}

func TestFormatDate(t *testing.T) {
	if got := string(FormatDate([]byte("x"), noon)); got != "x"+noonText {
		t.Error(got)
	}
}

// Nothing on the way of a request and its response allocates.
func TestNoAllocs(t *testing.T) {
	lim, r := DefaultLimits(), new(Request)
	head, bad := []byte(chromiumHead), []byte(get("X: a\nb\r\n"))
	body := []byte("5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n")
	dst, out := make([]byte, 64), make([]byte, 0, 4096)
	status, fields := []byte("200 OK"), records("Content-Type", "text/plain", "Date", "x")
	date := make([]byte, 0, 32)
	var h Head
	for name, f := range map[string]func(){
		"parse and respond": func() {
			Parse(head, 0, &lim, r)
			Unescape(dst, r.Path.In(head))
			CheckHead(status, fields, &h)
			out = AppendHead(out[:0], status, fields, &h, HeadOptions{AddLength: 13}, date)
		},
		"parse in pieces": func() {
			Parse(head[:99], 0, &lim, r)
			Parse(head[:300], 99, &lim, r)
			Parse(head, 300, &lim, r)
		},
		"refuse": func() {
			_, reason := Parse(bad, 0, &lim, r)
			out = AppendOwn(out[:0], &Own{Status: reason.Status(), Close: true}, date)
		},
		"chunked": func() {
			var d Chunked
			d.Decode(dst, body)
			out = append(AppendChunkHeader(out[:0], 1000), LastChunk...)
		},
		"date":  func() { date = FormatDate(date[:0], noon) },
		"hints": func() { CheckHints(fields); out = AppendEarlyHints(out[:0], fields) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
