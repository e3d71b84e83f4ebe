package websocket

import (
	"bytes"
	"strings"
	"testing"

	"hostler/worker/http1"
)

// FuzzReader feeds the same bytes whole and in pieces: what is found must be the same, and
// no more may be held than a message may have.
func FuzzReader(f *testing.F) {
	for _, s := range []string{
		frame(fText, "Hello"), frame(1, "a") + frame(fPing, "p") + frame(fCont, "b"), frame(fClose, "\x03\xe8bye"),
		frame(fText|bitRSV1, "\xf2\x48\xcd\xc9\xc9\x07\x00"), frame(1, "\xe2\x82") + frame(fCont, "\xac"),
		frame(fBinary, strings.Repeat("x", 300)), "\x81\x05Hello", frame(fBinary|bitRSV1, deflated(strings.Repeat("y", 3000))),
	} {
		f.Add([]byte(s), uint8(1))
		f.Add([]byte(s), uint8(3))
	}
	f.Fuzz(func(t *testing.T, b []byte, step uint8) {
		const most = 2000
		one, other := Reader{Max: most, Deflate: true}, Reader{Max: most, Deflate: true}
		want := conversation(&one, string(b), whole)
		got := conversation(&other, string(b), func() int { return int(step) })
		if got != want {
			t.Fatalf("%s whole, %s in pieces of %d", want, got, step)
		}
		if n := max(one.Held(), other.Held()); n > most+most>>8+64+2*maxControl {
			t.Fatalf("%d bytes are held", n)
		}
	})
}

// FuzzCheck parses requests, whose answers must be well-formed.
func FuzzCheck(f *testing.F) {
	f.Add("permessage-deflate; client_max_window_bits", "chat, soap", "13", "dGhlIHNhbXBsZSBub25jZQ==")
	f.Add("a, permessage-deflate; server_max_window_bits=\"9\"", "", "13", "dGhlIHNhbXBsZSBub25jZQ==")
	f.Fuzz(func(t *testing.T, ext, proto, version, key string) {
		lim := http1.DefaultLimits()
		r := &http1.Request{Fields: make([]http1.Field, lim.Fields+1)}
		b := []byte(strings.ReplaceAll(begin, "\n", "\r\n") + "Sec-WebSocket-Extensions: " + ext + "\r\nSec-WebSocket-Protocol: " + proto +
			"\r\nSec-WebSocket-Version: " + version + "\r\nSec-WebSocket-Key: " + key + "\r\n\r\n")
		if ok, reason := http1.Parse(b, 0, &lim, r); !ok || reason != http1.ReasonNone || !Asked(b, r) {
			return
		}
		h, refusal := Check(b, r)
		if refusal != nil {
			return
		}
		Protocols(b, r, func(p []byte) {
			if !ValidProtocol(p) {
				t.Fatalf("%q is offered", p)
			}
		})
		if h.Deflate.On && (h.Deflate.Window < minWindow || h.Deflate.Window > maxWindow) {
			t.Fatal(h.Deflate.Window)
		}
		a := append([]byte("HTTP/1.1 101 x\r\n"), h.AppendAnswer(nil, "")...)
		if bytes.Count(a, []byte("\r\n")) != 4+bytes.Count(a, []byte("Extensions")) {
			t.Fatalf("%q", a)
		}
	})
}
