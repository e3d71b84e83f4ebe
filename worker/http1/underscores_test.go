package http1

import "testing"

// Where they are kept, fields with an underscore in their names mean as little as where
// they are left out.
func TestUnderscores(t *testing.T) {
	const text = "GET / HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: 1.2.3.4\r\nTransfer_Encoding: chunked\r\nContent_Length: 7\r\nA: b\r\n\r\n"
	lim := DefaultLimits()
	r := Request{Fields: make([]Field, 16)}
	for kept, want := range map[bool]uint32{false: 2, true: 5} {
		lim.Underscores = kept
		whole, reason := Parse([]byte(text), 0, &lim, &r)
		if !whole || reason != ReasonNone || r.NFields != want || r.ContentLength > 0 || r.Flags&FlagChunked != 0 {
			t.Errorf("kept: %v: %v %v, %d fields, %d, %x", kept, whole, reason, r.NFields, r.ContentLength, r.Flags)
		}
		if dropped := r.Flags&FlagDroppedField != 0; dropped == kept {
			t.Errorf("kept: %v: dropped: %v", kept, dropped)
		}
		for _, f := range r.Fields[1 : r.NFields-1] {
			if f.Known != KnownNone {
				t.Errorf("%q means %d", text[f.Name.Off:][:f.Name.Len], f.Known)
			}
		}
	}
}
