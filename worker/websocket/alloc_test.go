//go:build !race

package websocket

import (
	"bytes"
	"strings"
	"testing"
)

// (The race detector drops some of what a sync.Pool has.)
func TestNoAllocation(t *testing.T) {
	in := []byte(frame(fText, "a small message"))
	packed := []byte(frame(fText|bitRSV1, deflated(strings.Repeat("a small message ", 40))))
	out := bytes.Repeat([]byte("a small message "), 40)
	b := make([]byte, 4096)
	r := Reader{Max: 1 << 20, Deflate: true}
	var s Scratch
	next := func(in []byte) {
		n := copy(b, in)
		if _, m, err := r.Next(b[:n], &s); err != nil || m.Kind != IsText {
			t.Fatal(m, err)
		}
	}
	for name, f := range map[string]func(){
		"plain":      func() { next(in) },
		"compressed": func() { next(packed) },
		"compress":   func() { Deflate{On: true, Window: 15}.Compress(out, &s) },
	} {
		f()
		if n := testing.AllocsPerRun(200, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
