package http1

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

type chunkCase struct {
	name, body string
	payload    string
	reason     Reason
}

var chunkCases = []chunkCase{
	{"two chunks", "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world", ReasonNone},
	{"empty", "0\r\n\r\n", "", ReasonNone},
	{"upper and lower case", "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789", ReasonNone},
	{"zeros ahead", "0000000000000005\r\nhello\r\n0000\r\n\r\n", "hello", ReasonNone},
	{"CRLF in the payload", "4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n", ReasonNone},
	{"extensions", "5;a;b=c; d = \"e;\\\"\r\n", "", ReasonBadChunkExt},
	{"all kinds of extensions", "5;a;b=c; d = \"e;\\\" =\" ;f\r\nhello\r\n0;x=\"\"\r\n\r\n", "hello", ReasonNone},
	{"trailers", "0\r\nVary: *\r\nX-Y:\t\x80\r\nZ:\r\n\r\n", "", ReasonNone},
	{"trailer whose name starts like a forbidden one", "0\r\nContent-Length-Of-Arms: 2\r\nHosts: 1\r\nproxy-authorizations: 2\r\nproxy-authorization-x: 2\r\n\r\n", "", ReasonNone},

	{"no size", "\r\nhello\r\n0\r\n\r\n", "", ReasonBadChunkSize},
	{"extension without a size", ";a\r\nhello\r\n0\r\n\r\n", "", ReasonBadChunkSize},
	{"1_0", "1_0\r\n0123456789abcdef\r\n0\r\n\r\n", "", ReasonBadChunkSize},
	{"+10", "+10\r\n0123456789abcdef\r\n0\r\n\r\n", "", ReasonBadChunkSize},
	{"-0", "-0\r\n\r\n", "", ReasonBadChunkSize},
	{"-1", "-1\r\n\r\n", "", ReasonBadChunkSize},
	{"0x2", "0x2\r\nab\r\n0\r\n\r\n", "", ReasonBadChunkSize},
	{"blank ahead", " 5\r\nhello\r\n0\r\n\r\n", "", ReasonBadChunkSize},
	{"blank behind", "5 \r\nhello\r\n0\r\n\r\n", "", ReasonBadChunkExt},
	{"blank behind the last", "5\r\nhello\r\n0 \r\n\r\n", "hello", ReasonBadChunkExt},
	{"blank before the extension", "5 ;a\r\nhello\r\n0\r\n\r\n", "hello", ReasonNone},
	{"blanks wherever they may be", "5 \t;\ta \t= \tb\t ; c=\t\"d\" ;e\r\nhello\r\n0\t;\tx\r\n\r\n", "hello", ReasonNone},
	{"blank and a digit", "5 1\r\nhello\r\n0\r\n\r\n", "", ReasonBadChunkExt},
	{"blank and a word", "5 a\r\nhello\r\n0\r\n\r\n", "", ReasonBadChunkExt},
	{"blank and LF", "5 \nhello\r\n0\r\n\r\n", "", ReasonBareLF},
	{"blanks for ever", "5" + strings.Repeat(" ", maxChunkExt+2), "", ReasonChunkExtTooLarge},
	{"tab behind", "5\t\r\nhello\r\n0\r\n\r\n", "", ReasonBadChunkExt},
	{"NBSP behind", "5\xa0\r\nhello\r\n0\r\n\r\n", "", ReasonBadChunkSize},
	{"NUL", "5\x00\r\nhello\r\n0\r\n\r\n", "", ReasonBadChunkSize},
	{"g", "g\r\nhello\r\n0\r\n\r\n", "", ReasonBadChunkSize},
	{"full-width digit", "\uff15\r\nhello\r\n0\r\n\r\n", "", ReasonBadChunkSize},
	{"17 digits", "00000000000000005\r\nhello\r\n0\r\n\r\n", "", ReasonBadChunkSize},
	{"too large", "8000000000000000\r\nhello\r\n0\r\n\r\n", "", ReasonBadChunkSize},
	{"overflow", "10000000000000005\r\nhello\r\n0\r\n\r\n", "", ReasonBadChunkSize},
	{"quoted", "\"5\"\r\nhello\r\n0\r\n\r\n", "", ReasonBadChunkSize},

	{"bare LF after the size", "5\nhello\r\n0\r\n\r\n", "", ReasonBareLF},
	{"bare LF at the start", "\n5\r\nhello\r\n0\r\n\r\n", "", ReasonBareLF},
	{"bare CR after the size", "5\rhello\r\n0\r\n\r\n", "", ReasonBareCR},
	{"CR CR LF", "5\r\r\nhello\r\n0\r\n\r\n", "", ReasonBareCR},
	{"bare LF after the payload", "5\r\nhello\n0\r\n\r\n", "hello", ReasonBadChunkEnd},
	{"bare CR after the payload", "5\r\nhello\r0\r\n\r\n", "hello", ReasonBadChunkEnd},
	{"nothing after the payload", "5\r\nhello0\r\n\r\n", "hello", ReasonBadChunkEnd},
	{"payload too long", "5\r\nhello!\r\n0\r\n\r\n", "hello", ReasonBadChunkEnd},
	{"payload too short", "6\r\nhello\r\n0\r\n\r\n", "hello\r", ReasonBadChunkEnd},
	{"bare LF at the end", "0\r\n\n", "", ReasonBareLF},
	{"bare LF after the last size", "0\n\r\n", "", ReasonBareLF},
	{"bare CR at the end", "0\r\n\rX", "", ReasonBareCR},

	{"LF in an extension", "5;a\nX\r\nhello\r\n0\r\n\r\n", "", ReasonBareLF},
	{"CR in an extension", "5;ext=val\rue\r\nhello\r\n0\r\n\r\n", "", ReasonBareCR},
	{"LF in a quoted extension", "5;a=\"\n\"\r\nhello\r\n0\r\n\r\n", "", ReasonBareLF},
	{"CR in a quoted extension", "5;a=\"\r\"\r\nhello\r\n0\r\n\r\n", "", ReasonBadChunkExt},
	{"escaped CR in an extension", "5;a=\"\\\r\"\r\nhello\r\n0\r\n\r\n", "", ReasonBadChunkExt},
	{"NUL in an extension", "5;a\x00\r\nhello\r\n0\r\n\r\n", "", ReasonBadChunkExt},
	{"extension without a name", "5;\r\nhello\r\n0\r\n\r\n", "", ReasonBadChunkExt},
	{"extension with a value only", "5;=a\r\nhello\r\n0\r\n\r\n", "", ReasonBadChunkExt},
	{"extension without a value", "5;a=\r\nhello\r\n0\r\n\r\n", "", ReasonBadChunkExt},
	{"extension of two words", "5;a b\r\nhello\r\n0\r\n\r\n", "", ReasonBadChunkExt},
	{"two values", "5;a=b=c\r\nhello\r\n0\r\n\r\n", "", ReasonBadChunkExt},
	{"word after a quoted value", "5;a=\"b\"c\r\nhello\r\n0\r\n\r\n", "", ReasonBadChunkExt},
	{"blank behind an extension", "5;a \r\nhello\r\n0\r\n\r\n", "", ReasonBadChunkExt},
	{"tab behind an extension's value", "5;a=b\t\r\nhello\r\n0\r\n\r\n", "", ReasonBadChunkExt},
	{"blank behind a quoted value", "5;a=\"b\" \r\nhello\r\n0\r\n\r\n", "", ReasonBadChunkExt},
	{"colon in an extension", "5;a:b\r\nhello\r\n0\r\n\r\n", "", ReasonBadChunkExt},
	{"extension too long", "5;" + strings.Repeat("a", maxChunkExt+1), "", ReasonChunkExtTooLarge},
	{"flood of extensions", strings.Repeat("1;"+strings.Repeat("a", 100)+"\r\nx\r\n", 200), strings.Repeat("x", 163), ReasonChunkExtTooLarge},
	{"flood of small chunks", strings.Repeat("1\r\nx\r\n", 5000) + "0\r\n\r\n", strings.Repeat("x", 5000), ReasonNone},
	{"signed chunks", strings.Repeat("64;"+strings.Repeat("a", 90)+"\r\n"+strings.Repeat("x", 100)+"\r\n", 400) + "0\r\n\r\n", strings.Repeat("x", 40000), ReasonNone},

	{"Host as trailer", "0\r\nHost: a\r\n\r\n", "", ReasonBadTrailer},
	{"Content-Length as trailer", "0\r\nX: 1\r\ncontent-LENGTH: 1\r\n\r\n", "", ReasonBadTrailer},
	{"Transfer-Encoding as trailer", "0\r\nTransfer-Encoding: chunked\r\n\r\n", "", ReasonBadTrailer},
	{"Proxy-Authorization as trailer", "0\r\nProxy-Authorization: x\r\n\r\n", "", ReasonBadTrailer},
	{"trailer without a colon", "0\r\nX\r\n\r\n", "", ReasonBadTrailer},
	{"trailer without a name", "0\r\n: a\r\n\r\n", "", ReasonBadTrailer},
	{"folded trailer", "0\r\nX: a\r\n b\r\n\r\n", "", ReasonBadTrailer},
	{"blank before the colon of a trailer", "0\r\nX : a\r\n\r\n", "", ReasonBadTrailer},
	{"NUL in a trailer", "0\r\nX: a\x00\r\n\r\n", "", ReasonBadTrailer},
	{"bare LF after a trailer", "0\r\nX: a\nY: b\r\n\r\n", "", ReasonBareLF},
	{"bare LF in a trailer's name", "0\r\nX\nY: b\r\n\r\n", "", ReasonBareLF},
	{"bare CR in a trailer", "0\r\nX: a\rY: b\r\n\r\n", "", ReasonBareCR},
	{"trailers too long", "0\r\n" + strings.Repeat("X: "+strings.Repeat("x", 95)+"\r\n", 100), "", ReasonTrailerTooLarge},
	{"a request where the trailers should end", "0\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "", ReasonBadTrailer},
}

// decode runs body through a decoder, in place, in pieces of up to size bytes and
// with room for up to room bytes of payload at a time. It returns the payload and
// how much of body was taken.
func decode(body string, size, room int) (payload []byte, taken int, done bool, reason Reason) {
	var d Chunked
	src := []byte(body)
	for {
		piece := bytes.Clone(src[taken:min(len(src), taken+size)])
		dst := piece[:min(room, len(piece))]
		n, m, end, r := d.Decode(dst, piece)
		if n > m || n > len(dst) || m > len(piece) {
			return nil, 0, false, 255
		}
		payload = append(payload, piece[:n]...)
		taken += m
		if end || r != ReasonNone || taken == len(src) {
			return payload, taken, end, r
		}
		if m == 0 {
			return nil, 0, false, 255
		}
	}
}

func TestChunked(t *testing.T) {
	for _, c := range chunkCases {
		t.Run(c.name, func(t *testing.T) {
			const rest = "GET"
			check := func(size, room int) {
				payload, taken, done, reason := decode(c.body+rest, size, room)
				if reason != c.reason || done != (reason == ReasonNone) || string(payload) != c.payload || done && taken != len(c.body) {
					t.Fatalf("in pieces of %d, room for %d: %q, %d taken of %d, %v %v, want %v", size, room, payload, taken, len(c.body), done, reason, c.reason)
				}
			}
			check(len(c.body)+len(rest), 1<<30)
			check(len(c.body)+len(rest), 1)
			for size := 1; size < min(100, len(c.body)); size++ {
				check(size, 1<<30)
				check(size, 3)
			}
		})
	}
}

// Every proper prefix of a body is one that has not ended.
func TestChunkedTruncated(t *testing.T) {
	for _, c := range chunkCases {
		if c.reason != ReasonNone || len(c.body) > 1000 {
			continue
		}
		for i := range len(c.body) {
			if _, taken, done, reason := decode(c.body[:i], i+1, i+1); done || reason != ReasonNone || taken != i {
				t.Errorf("%q: taken %d, %v %v", c.body[:i], taken, done, reason)
			}
		}
	}
}

// Payload waits for room, framing does not.
func TestChunkedNoRoom(t *testing.T) {
	var d Chunked
	src := []byte("5\r\nhello\r\n0\r\n\r\n")
	n, m, done, reason := d.Decode(nil, src)
	if n != 0 || m != 3 || done || reason != ReasonNone {
		t.Fatal(n, m, done, reason)
	}
	dst := make([]byte, 5)
	n, m, done, reason = d.Decode(dst, src[3:])
	if n != 5 || m != len(src)-3 || !done || reason != ReasonNone || string(dst) != "hello" {
		t.Fatal(n, m, done, reason)
	}
	if n, m, done, reason = d.Decode(dst, src); n != 0 || m != 0 || reason != ReasonNone {
		t.Error("goes on after the end:", n, m, done, reason)
	}
}

// The payload may be moved to a place ahead of the framing in the same buffer.
func TestChunkedAhead(t *testing.T) {
	buf := []byte("head" + "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")
	var d Chunked
	n, _, done, _ := d.Decode(buf[2:], buf[4:])
	if got := string(buf[2 : 2+n]); !done || got != "hello world" {
		t.Errorf("%q %v", got, done)
	}
}

func TestAppendChunk(t *testing.T) {
	var b []byte
	want := ""
	for _, n := range []int{1, 15, 16, 255, 70000} {
		p := strings.Repeat("x", n)
		b = append(append(append(AppendChunkHeader(b, n), p...), "\r\n"...), LastChunk...)
		payload, taken, done, reason := decode(string(b), len(b), len(b))
		if !done || string(payload) != p || taken != len(b) {
			t.Errorf("%d: %v", n, reason)
		}
		want += fmt.Sprintf("%x\r\n", n)
		b = b[:0]
	}
	for _, n := range []int{1, 15, 16, 255, 70000} {
		b = AppendChunkHeader(b, n)
	}
	if string(b) != want {
		t.Errorf("%q", b)
	}
}
