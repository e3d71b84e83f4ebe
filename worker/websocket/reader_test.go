package websocket

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/klauspost/compress/flate"
)

// frame is a client's frame. first is its first byte.
func frame(first byte, payload string) string {
	key := []byte{0x37, 0xfa, 0x21, 0x3d}
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, bitMask|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, bitMask|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, bitMask|127), uint64(n))
	}
	b = append(b, key...)
	for i := range len(payload) {
		b = append(b, payload[i]^key[i&3])
	}
	return string(b)
}

const (
	fText   = bitFin | byte(Text)
	fBinary = bitFin | byte(Binary)
	fCont   = bitFin
	fClose  = bitFin | byte(Close)
	fPing   = bitFin | byte(Ping)
	fPong   = bitFin | byte(Pong)
)

// conversation feeds b in pieces of the sizes that cut says, and returns what is found.
func conversation(r *Reader, b string, cut func() int) string {
	var s Scratch
	var got []string
	for len(b) > 0 {
		piece := []byte(b[:min(max(cut(), 1), len(b))])
		b = b[len(piece):]
		for len(piece) > 0 {
			n, m, err := r.Next(piece, &s)
			if n == 0 {
				return "took nothing"
			}
			piece = piece[n:]
			switch {
			case err != nil:
				got = append(got, fmt.Sprintf("error %d", err.Code))
			case m.Kind == IsClose:
				got = append(got, fmt.Sprintf("close %d %q", m.Code, m.Data))
			case m.Kind != Nothing:
				got = append(got, fmt.Sprintf("%d %q", m.Kind, m.Data))
			}
		}
	}
	return strings.Join(got, ", ")
}

func whole() int { return 1 << 30 }
func bytewise() int {
	return 1
}

func deflated(s string) string {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, 9)
	w.Write([]byte(s))
	w.Flush()
	return strings.TrimSuffix(b.String(), tail[:4])
}

func TestReader(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 5000)
	const κ = "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5"
	for _, c := range []struct{ name, in, want string }{
		{"text", frame(fText, "Hello"), `1 "Hello"`},
		{"binary", frame(fBinary, "\x00\xff"), `2 "\x00\xff"`},
		{"empty", frame(fText, "") + frame(fBinary, ""), `1 "", 2 ""`},
		{"126", frame(fBinary, long[:126]), fmt.Sprintf("2 %q", long[:126])},
		{"64k", frame(fText, long), fmt.Sprintf("1 %q", long)},
		{"fragments", frame(1, "Hel") + frame(0, "l") + frame(fCont, "o"), `1 "Hello"`},
		{"fragments that are empty", frame(1, "") + frame(0, "") + frame(fCont, ""), `1 ""`},
		{"a ping between", frame(1, "Hel") + frame(fPing, "p") + frame(fCont, "lo"), `9 "p", 1 "Hello"`},
		{"a character in two fragments", frame(1, κ[:1]) + frame(fPong, "") + frame(fCont, κ[1:]), fmt.Sprintf("10 \"\", 1 %q", κ)},
		{"half a character at the end", frame(1, κ) + frame(fCont, "\xce"), "error 1007"},
		{"half a character alone", frame(fText, "\xce"), "error 1007"},
		{"a wrong byte, before the end", frame(1, "a\xff"), "error 1007"},
		{"a surrogate", frame(1, "\xed") + frame(0, "\xa0"), "error 1007"},
		{"overlong", frame(fText, "\xc0\x80"), "error 1007"},
		{"beyond Unicode, before the end", frame(1, "\xf4\x90"), "error 1007"},
		{"U+FFFD", frame(1, "\xef") + frame(0, "\xbf") + frame(fCont, "\xbd"), `1 "�"`},
		{"binary is not text", frame(2, "\xff") + frame(fCont, "\xfe"), `2 "\xff\xfe"`},
		{"close", frame(fClose, "\x03\xe8bye"), `close 1000 "bye"`},
		{"close without code", frame(fClose, ""), `close 1005 ""`},
		{"close of an application's", frame(fClose, "\x0f\xa0"), `close 4000 ""`},
		{"close with half a code", frame(fClose, "\x03"), "error 1002"},
		{"close 999", frame(fClose, "\x03\xe7"), "error 1002"},
		{"close 1004", frame(fClose, "\x03\xec"), "error 1002"},
		{"close 1005", frame(fClose, "\x03\xed"), "error 1002"},
		{"close 1006", frame(fClose, "\x03\xee"), "error 1002"},
		{"close 1014", frame(fClose, "\x03\xf6"), `close 1014 ""`},
		{"close 1015", frame(fClose, "\x03\xf7"), "error 1002"},
		{"close 2999", frame(fClose, "\x0b\xb7"), "error 1002"},
		{"close 5000", frame(fClose, "\x13\x88"), "error 1002"},
		{"close with a bad reason", frame(fClose, "\x03\xe8\xff"), "error 1007"},
		{"nothing after close", frame(fClose, "") + frame(fText, "x"), `close 1005 ""`},
		{"nothing after an error", frame(bitFin|3, "") + frame(fText, "x"), "error 1002"},
		{"reserved bits", frame(fText|0x20, "x"), "error 1002"},
		{"compressed, unasked", frame(fText|bitRSV1, "x"), "error 1002"},
		{"opcode 3", frame(bitFin|3, ""), "error 1002"},
		{"opcode 11", frame(bitFin|11, ""), "error 1002"},
		{"not masked", "\x81\x05Hello", "error 1002"},
		{"a ping of 126 bytes", frame(fPing, long[:126]), "error 1002"},
		{"a ping in fragments", frame(byte(Ping), ""), "error 1002"},
		{"a continuation of nothing", frame(fCont, "x"), "error 1002"},
		{"a message in a message", frame(1, "x") + frame(fText, "y"), "error 1002"},
		{"16 bits for a short length", "\x81\xfe\x00\x05....", "error 1002"},
		{"64 bits for a short length", "\x81\xff\x00\x00\x00\x00\x00\x00\xff\xff....", "error 1002"},
		{"a negative length", "\x81\xff\x80\x00\x00\x00\x00\x00\x00\x00....", "error 1002"},
		{"too big", frame(fBinary, strings.Repeat("x", 100001)), "error 1009"},
		{"too big, as is announced", "\x82\xff\x00\x00\x00\x00\xff\x00\x00\x00....", "error 1009"},
		{"too big in fragments", frame(2, long) + frame(fCont, long), "error 1009"},
		{"as big as may be", frame(2, long) + frame(fCont, long[:20000]), fmt.Sprintf("2 %q", long+long[:20000])},
	} {
		for how, cut := range map[string]func() int{"whole": whole, "bytewise": bytewise} {
			if got := conversation(&Reader{Max: 100000}, c.in, cut); got != c.want {
				t.Errorf("%s, %s: %.200s; want %.200s", c.name, how, got, c.want)
			}
		}
	}
}

func TestInflate(t *testing.T) {
	long := strings.Repeat("to be or not to be, ", 4000)
	z := deflated(long)
	for _, c := range []struct{ name, in, want string }{
		// RFC 7692, 7.2.3: the examples.
		{"Hello", frame(fText|bitRSV1, "\xf2\x48\xcd\xc9\xc9\x07\x00"), `1 "Hello"`},
		{"stored", frame(fText|bitRSV1, "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"), `1 "Hello"`},
		{"a last block", frame(fText|bitRSV1, "\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), `1 "Hello"`},
		{"two blocks", frame(fText|bitRSV1, "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"), `1 "Hello"`},
		{"fragments", frame(1|bitRSV1, "\xf2\x48\xcd") + frame(fPing, "") + frame(fCont, "\xc9\xc9\x07\x00"), `9 "", 1 "Hello"`},
		{"empty", frame(fText|bitRSV1, "\x00"), `1 ""`},
		{"no bytes at all", frame(fText|bitRSV1, ""), "error 1007"},
		{"not compressed", frame(fText, "Hello"), `1 "Hello"`},
		{"one after the other", frame(fText|bitRSV1, z) + frame(fBinary|bitRSV1, z), fmt.Sprintf("1 %q, 2 %q", long, long)},
		{"a bit in a continuation", frame(1|bitRSV1, z[:9]) + frame(fCont|bitRSV1, z[9:]), "error 1002"},
		{"a compressed ping", frame(fPing|bitRSV1, ""), "error 1002"},
		{"damaged", frame(fText|bitRSV1, "\xff\xff\xff"), "error 1007"},
		{"something behind the last block", frame(fText|bitRSV1, "\xf3\x48\xcd\xc9\xc9\x07\x00\x00xyz"), "error 1007"},
		{"not text", frame(fText|bitRSV1, deflated("\xff")), "error 1007"},
		{"a bomb", frame(fBinary|bitRSV1, deflated(strings.Repeat("\x00", 100001))), "error 1009"},
		{"as big as may be", frame(fText|bitRSV1, deflated(strings.Repeat("x", 100000))), fmt.Sprintf("1 %q", strings.Repeat("x", 100000))},
		{"many empty blocks", frame(fText|bitRSV1, strings.Repeat("\x00\x00\x00\xff\xff", 30000)), "error 1009"},
	} {
		for how, cut := range map[string]func() int{"whole": whole, "bytewise": bytewise} {
			if got := conversation(&Reader{Max: 100000, Deflate: true}, c.in, cut); got != c.want {
				t.Errorf("%s, %s: %.200s; want %.200s", c.name, how, got, c.want)
			}
		}
	}
}

// What is announced is not believed: memory follows what has come.
func TestReaderMemory(t *testing.T) {
	r := Reader{Max: 16 << 20}
	var s Scratch
	head := []byte("\x82\xff\x00\x00\x00\x00\x00\xff\x00\x00....")
	r.Next(head, &s)
	r.Next(make([]byte, 1000), &s)
	if r.Held() > 2048 {
		t.Errorf("%d bytes are held for 1000", r.Held())
	}
	r = Reader{Max: 1000}
	if got := conversation(&r, frame(1, "abc")+frame(fCont, "def")+frame(fPing, "x"), bytewise); r.Held() != 0 {
		t.Errorf("%d bytes are held by an idle WebSocket, after %s", r.Held(), got)
	}
}

func TestAppendHeader(t *testing.T) {
	for _, c := range []struct {
		n        int
		deflated bool
		want     string
	}{
		{0, false, "\x81\x00"}, {125, false, "\x81\x7d"}, {126, true, "\xc1\x7e\x00\x7e"},
		{65535, false, "\x81\x7e\xff\xff"}, {65536, false, "\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"},
	} {
		if got := string(AppendHeader(nil, Text, c.n, c.deflated)); got != c.want {
			t.Errorf("%d: %q, want %q", c.n, got, c.want)
		}
	}
}

func TestAppendClose(t *testing.T) {
	for _, c := range []struct {
		code         int
		reason, want string
	}{
		{1000, "", "\x88\x02\x03\xe8"},
		{4001, "why", "\x88\x05\x0f\xa1why"},
		{NoStatus, "ignored", "\x88\x00"},
		{1000, strings.Repeat("x", 123), "\x88\x7d\x03\xe8" + strings.Repeat("x", 123)},
		{1000, strings.Repeat("x", 122) + "é", "\x88\x7c\x03\xe8" + strings.Repeat("x", 122)},
		{1000, strings.Repeat("日", 42), "\x88\x7d\x03\xe8" + strings.Repeat("日", 41)},
	} {
		if got := string(AppendClose(nil, c.code, c.reason)); got != c.want {
			t.Errorf("%d %s: %q, want %q", c.code, c.reason, got, c.want)
		}
	}
}

func TestUnmask(t *testing.T) {
	for n := range 100 {
		plain := bytes.Repeat([]byte{0xa5}, n)
		for cut := range n + 1 {
			p := []byte(frame(fBinary, string(plain)))
			p = p[len(p)-n:]
			const key = 0x3d21fa37
			rest := unmask(p[:cut], key)
			if unmask(p[cut:], rest); !bytes.Equal(p, plain) {
				t.Fatalf("%d bytes, cut at %d: %x", n, cut, p)
			}
		}
	}
}
