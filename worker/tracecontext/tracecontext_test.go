package tracecontext

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"hostler/settings"
)

const example = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestParse(t *testing.T) {
	for v, flags := range map[string]byte{
		example: 1, strings.TrimSuffix(example, "1") + "0": 0, strings.TrimSuffix(example, "01") + "ff": 0xff,
		"01" + example[2:]: 1, "cc" + example[2:] + "-what-the-future-has": 1, "fe" + example[2:] + "-": 1,
	} {
		c, ok := Parse([]byte(v))
		if !ok || c.Flags != flags || c.Trace[0] != 0x0a || c.Trace[15] != 0x9c || c.Span[0] != 0xb7 || c.Span[7] != 0x31 {
			t.Errorf("%s: %+v, %v", v, c, ok)
		}
		if got := string(c.Append(nil)); got[3:53] != example[3:53] || got[:3] != "00-" {
			t.Errorf("%s becomes %s", v, got)
		}
	}
	bad := []string{"", "00", example[:54], example + "0", example + "-", example + " ", " " + example, "01" + example[2:] + "x", "ff" + example[2:], "FF" + example[2:], "0" + example,
		"00-" + strings.Repeat("0", 32) + example[35:], example[:36] + strings.Repeat("0", 16) + example[52:], strings.ToUpper(example), strings.Replace(example, "a", "A", 1),
		strings.Replace(example, "a", "g", 1), strings.ReplaceAll(example, "-", "_"), example[:53] + "0g", example[:53] + "0A", example[:53] + "-1", "-0" + example[2:]}
	for i := range example {
		bad = append(bad, example[:i]+"\x00"+example[i+1:], example[:i]+example[i+1:])
	}
	for _, v := range bad {
		if c, ok := Parse([]byte(v)); ok {
			t.Errorf("%q is taken for %+v", v, c)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(example))
	f.Add([]byte("cc" + example[2:] + "-more"))
	f.Fuzz(func(t *testing.T, v []byte) {
		c, ok := Parse(v)
		if !ok {
			return
		}
		own := c.Append(nil)
		again, ok := Parse(own)
		if !ok || again != c || !bytes.Equal(own[2:], v[2:Size]) {
			t.Errorf("%q: %+v, %q, %+v", v, c, own, again)
		}
	})
}

func TestSampler(t *testing.T) {
	parent, _ := Parse([]byte(example))
	quiet := parent
	quiet.Flags = Random
	for _, k := range []struct {
		s             settings.Tracing
		alone         float64
		under, hidden bool // with a parent that is recorded, and one that is not
	}{
		{settings.Tracing{Sampler: settings.SamplerOn}, 1, true, true},
		{settings.Tracing{Sampler: settings.SamplerOff}, 0, false, false},
		{settings.Tracing{Sampler: settings.SamplerRatio, Ratio: 1}, 1, true, true},
		{settings.Tracing{Sampler: settings.SamplerRatio, Ratio: 0.25}, 0.25, true, true}, // the example's trace is among them
		{settings.Tracing{Sampler: settings.SamplerRatio, Ratio: 0}, 0, false, false},
		{settings.Tracing{Sampler: settings.SamplerParentOn}, 1, true, false},
		{settings.Tracing{Sampler: settings.SamplerParentOff}, 0, true, false},
		{settings.Tracing{Sampler: settings.SamplerParentRatio, Ratio: 0.25}, 0.25, true, false},
		{settings.Tracing{Sampler: settings.SamplerParentRatio, Ratio: math.NaN()}, 0, true, false},
	} {
		s := NewSampler(&k.s)
		if k.s.Sampler == settings.SamplerRatio && k.s.Ratio == 0.25 {
			k.under, k.hidden = false, false // 0x8448… is beyond a quarter
		}
		for _, at := range []struct {
			parent  Context
			sampled bool
		}{{parent, k.under}, {quiet, k.hidden}} {
			c := s.Begin(at.parent)
			if c.Trace != parent.Trace || c.Span == parent.Span || c.Span == [8]byte{} || c.Flags&Sampled != 0 != at.sampled || c.Flags&Random != at.parent.Flags&Random {
				t.Errorf("%+v below %+v: %+v", k.s, at.parent, c)
			}
		}
		const n = 20000
		sampled, seen := 0, make(map[[16]byte]bool)
		for range n {
			c := s.Begin(Context{})
			sampled += int(c.Flags & Sampled)
			seen[c.Trace] = true
		}
		// Six standard deviations.
		if got := float64(sampled) / n; math.Abs(got-k.alone) > 6*math.Sqrt(k.alone*(1-k.alone)/n) || len(seen) != n {
			t.Errorf("%+v: %v of the traces are recorded, %d of %d differ", k.s, got, len(seen), n)
		}
	}
	s := NewSampler(&settings.Tracing{Sampler: settings.SamplerParentOn})
	b := make([]byte, 0, Size)
	if n := testing.AllocsPerRun(100, func() {
		c, _ := Parse([]byte(example))
		own := s.Begin(c)
		b = own.Append(b[:0])
	}); n != 0 {
		t.Errorf("a request costs %v allocations", n)
	}
}
