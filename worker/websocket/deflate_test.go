package websocket

import (
	"bytes"
	stdflate "compress/flate"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/flate"
)

// roundTrip compresses and inflates.
func roundTrip(t *testing.T, p []byte, window uint8) {
	t.Helper()
	var s Scratch
	z, ok := Deflate{On: true, Window: window}.Compress(p, &s)
	if !ok {
		return
	}
	out, _, err := s.inflate(bytes.Clone(z), len(p))
	if err != nil || !bytes.Equal(out, p) {
		t.Fatalf("%d bits, %d bytes: %v", window, len(p), err)
	}
}

func TestCompress(t *testing.T) {
	text := []byte(strings.Repeat("It is a truth universally acknowledged, that a single man in possession of a good fortune. ", 2000))
	for w := uint8(minWindow); w <= maxWindow; w++ {
		for _, n := range []int{256, 257, 4096, 32767, 32768, 32769, 100000, len(text)} {
			roundTrip(t, text[:n], w)
		}
	}
	var s Scratch
	if z, ok := (Deflate{On: true, Window: 15}).Compress(text, &s); !ok || len(z) > len(text)/10 {
		t.Errorf("%d bytes of %d, %v", len(z), len(text), ok)
	}
	noise := make([]byte, 10000)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	if _, ok := (Deflate{On: true, Window: 15}).Compress(noise, &s); ok {
		t.Error("noise has become shorter")
	}
	if _, ok := (Deflate{}).Compress(text, &s); ok {
		t.Error("compressed, though that is not agreed")
	}
}

// A client that keeps a small window must not be sent what refers to more.
func TestCompressWindow(t *testing.T) {
	unit := make([]byte, 700)
	for i := range unit {
		unit[i] = "0123456789abcdef"[rand.IntN(16)]
	}
	p := bytes.Repeat(unit, 20) // each byte is found 700 before it, and nowhere nearer
	var s Scratch
	for w := uint8(minWindow); w <= maxWindow; w++ {
		z, ok := Deflate{On: true, Window: w}.Compress(p, &s)
		if !ok {
			z = p
		}
		const entropy = 700 * 20 / 2 // without a reference, 4 bits of each byte remain
		if small := len(z) < entropy*9/10; small && w <= 9 {
			t.Errorf("%d bits: %d bytes are too few to be without a reference over 700 bytes", w, len(z))
		} else if !small && w >= 12 {
			t.Errorf("%d bits: %d bytes", w, len(z))
		}
	}
}

func TestScratchKeepsLittle(t *testing.T) {
	big := bytes.Repeat([]byte("x"), 1<<20)
	var s Scratch
	z, _ := Deflate{On: true, Window: 15}.Compress(big, &s)
	out, own, err := s.inflate(bytes.Clone(z), len(big))
	if err != nil || len(out) != len(big) || !own {
		t.Fatal(len(out), own, err)
	}
	if n := cap(s.in) + cap(s.out) + cap(s.packed.b); n > 3*keepScratch {
		t.Errorf("%d bytes are kept", n)
	}
}

func BenchmarkNext(b *testing.B) {
	for _, n := range []string{"32", "4096", "60000"} {
		size := map[string]int{"32": 32, "4096": 4096, "60000": 60000}[n]
		b.Run(n, func(b *testing.B) {
			in := []byte(frame(fText, strings.Repeat("x", size)))
			buf := make([]byte, len(in))
			r := Reader{Max: 1 << 20}
			var s Scratch
			b.SetBytes(int64(size))
			for b.Loop() {
				copy(buf, in)
				r.Next(buf, &s)
			}
		})
	}
}

// BenchmarkDeflate compares what could compress: time, and memory for one of each.
func BenchmarkDeflate(b *testing.B) {
	p := []byte(strings.Repeat(`{"id": 12345, "name": "a name", "tags": ["x", "y"], "at": "2026-01-01T00:00:00Z"}, `, 50))
	heap := func(b *testing.B, f func() any) {
		var m, n runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		v := f()
		runtime.ReadMemStats(&n)
		b.ReportMetric(float64(n.TotalAlloc-m.TotalAlloc), "B/writer")
		runtime.KeepAlive(v)
	}
	type writer interface {
		io.Writer
		Reset(io.Writer)
		Flush() error
	}
	for _, c := range []struct {
		name string
		f    func() writer
	}{
		{"std1", func() writer { w, _ := stdflate.NewWriter(io.Discard, 1); return w }},
		{"std6", func() writer { w, _ := stdflate.NewWriter(io.Discard, 6); return w }},
		{"klauspost1", func() writer { w, _ := flate.NewWriter(io.Discard, 1); return w }},
		{"klauspost6", func() writer { w, _ := flate.NewWriter(io.Discard, 6); return w }},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := c.f()
			var out bytes.Buffer
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				out.Reset()
				w.Reset(&out)
				w.Write(p)
				w.Flush()
			}
			b.ReportMetric(float64(out.Len()), "size")
			heap(b, func() any { w := c.f(); w.Write(p); return w })
		})
	}
	b.Run("stateless", func(b *testing.B) {
		var s Scratch
		var z []byte
		b.SetBytes(int64(len(p)))
		for b.Loop() {
			z, _ = Deflate{On: true, Window: 15}.Compress(p, &s)
		}
		b.ReportMetric(float64(len(z)), "size")
	})
}

// BenchmarkInflate compares the two that inflate.
func BenchmarkInflate(b *testing.B) {
	p := strings.Repeat(`{"id": 12345, "name": "a name", "tags": ["x", "y"], "at": "2026-01-01T00:00:00Z"}, `, 50)
	z := []byte(deflated(p) + tail)
	out := make([]byte, len(p)+1)
	for name, r := range map[string]io.Reader{"std": stdflate.NewReader(nil), "klauspost": flate.NewReader(nil)} {
		b.Run(name, func(b *testing.B) {
			var src bytes.Reader
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				src.Reset(z)
				r.(stdflate.Resetter).Reset(&src, nil)
				io.ReadFull(r, out)
			}
		})
	}
}
