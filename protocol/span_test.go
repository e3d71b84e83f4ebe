package protocol

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

// wholeSpan has a value in every field.
func wholeSpan() Span {
	return Span{
		Trace: [16]byte{0: 0x4b, 15: 0x36}, ID: [8]byte{7: 1}, Parent: [8]byte{0: 0xb7}, Flags: 1,
		End: 1700000000123456789, Duration: 1500, Queue: 20, Status: 200, Minor: 2, Port: 4711,
		Method: []byte("GET"), Path: []byte("/a%20b-\xff\n é"), Scheme: []byte("https"), Host: []byte("[::1]:8000"), Client: []byte("10.0.0.1"),
		Peer: []byte("-"), Agent: []byte("curl/8.1 (x)\t"), State: []byte("a=1,b=2"), Error: []byte("500"), Route: []byte("/a/<int:b>"),
	}
}

func TestSpan(t *testing.T) {
	whole := wholeSpan()
	v := reflect.ValueOf(whole)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Errorf("this test has no value for %s", v.Type().Field(i).Name)
		}
	}
	for _, s := range []Span{whole, {Trace: whole.Trace, ID: whole.ID, End: 1, Queue: -1}} {
		line := s.Append(nil)
		if bytes.IndexByte(line, '\n') != len(line)-1 {
			t.Errorf("%q is not one line", line)
		}
		if got, err := ParseSpan(line[:len(line)-1]); err != nil || !reflect.DeepEqual(got, s) {
			t.Errorf("%q\ngot  %+v, %v\nwant %+v", line, got, err, s)
		}
	}
	long := whole
	for _, at := range long.texts() {
		*at = bytes.Repeat([]byte{0}, 1<<16)
	}
	line := long.Append(nil)
	if len(line) > MaxSpan {
		t.Errorf("a line may have %d bytes", len(line))
	}
	got, err := ParseSpan(line[:len(line)-1])
	for i, at := range got.texts() {
		if len(*at) != mostText[i] {
			t.Errorf("text %d has %d bytes, %v", i, len(*at), err)
		}
	}
	b := make([]byte, 0, MaxSpan)
	if n := testing.AllocsPerRun(100, func() { b = whole.Append(b[:0]) }); n != 0 {
		t.Errorf("a line costs %v allocations", n)
	}
}

func TestParseSpanRefuses(t *testing.T) {
	whole := wholeSpan()
	good := strings.TrimSuffix(string(whole.Append(nil)), "\n")
	words := strings.Split(good, " ")
	change := func(i int, with string) string {
		c := append([]string(nil), words...)
		c[i] = with
		return strings.Join(c, " ")
	}
	bad := []string{"", " ", strings.Join(words[1:], " "), strings.Join(words[:len(words)-1], " "), good + " ", good + " x", good + "%",
		change(0, strings.Repeat("0", 32)), change(0, strings.Repeat("g", 32)), change(1, strings.Repeat("0", 16)), change(1, "01"), change(3, "1"),
		change(4, "0"), change(4, "-1"), change(4, "99999999999999999999"), change(4, ""), change(5, "-1"), change(5, "1700000000123456790"), change(6, "-2"), change(6, "1501"),
		change(7, "99"), change(7, "1000"), change(8, "3"), change(8, "-1"), change(9, "65536"),
		change(10, ""), change(10, "%"), change(10, "%4"), change(10, "%4g"), change(10, strings.Repeat("x", 33))}
	for _, line := range bad {
		if s, err := ParseSpan([]byte(line)); err == nil {
			t.Errorf("%q is taken for %+v", line, s)
		}
	}
}

func FuzzParseSpan(f *testing.F) {
	whole := wholeSpan()
	line := whole.Append(nil)
	f.Add(line[:len(line)-1])
	f.Fuzz(func(t *testing.T, line []byte) {
		s, err := ParseSpan(bytes.Clone(line))
		if err != nil {
			return
		}
		again := s.Append(nil)
		got, err := ParseSpan(again[:len(again)-1])
		if err != nil || !reflect.DeepEqual(got, s) || len(again) > MaxSpan {
			t.Errorf("%q: %+v, and then %+v, %v", line, s, got, err)
		}
	})
}
