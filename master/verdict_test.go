package master

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"hostler/protocol"
)

// tallied is what counts that many requests: failed ones, and others that took so long.
func tallied(failed int, took ...time.Duration) *tally {
	t := &tally{answered: uint64(failed), failed: uint64(failed)}
	for _, d := range took {
		var h protocol.Histogram
		h.Observe(int64(d))
		for i := range h.Counts {
			t.took[i] += h.Counts[i].Load()
		}
		t.answered++
	}
	return t
}

func many(n int, d time.Duration) []time.Duration { return slices.Repeat([]time.Duration{d}, n) }

func TestWorse(t *testing.T) {
	const quick, slow = 3 * time.Millisecond, 200 * time.Millisecond
	mixed := func(n, late int) []time.Duration { return append(many(n-late, quick), many(late, slow)...) }
	running := func(t *tally, d ...time.Duration) *tally {
		t.running = d
		return t
	}
	for name, c := range map[string]struct {
		canary, serving *tally
		last            bool
		want            string
	}{
		"nothing at all":                 {tallied(0), tallied(0), true, ""},
		"no canary":                      {tallied(0), tallied(0, many(1000, quick)...), true, ""},
		"nobody else":                    {tallied(9), tallied(0), true, ""},
		"as good":                        {tallied(0, many(50, quick)...), tallied(0, many(950, quick)...), true, ""},
		"one of three":                   {tallied(1, many(2, quick)...), tallied(0, many(60, quick)...), true, ""},
		"three of three":                 {tallied(3), tallied(0, many(60, quick)...), true, ""},
		"four of four":                   {tallied(4), tallied(0, many(1e6, quick)...), true, ""},
		"five of five":                   {tallied(5), tallied(0, many(100, quick)...), false, "5 of its 5 requests were answered 5xx, 100.0 %; of the others' 0 of 100, 0.0 %"},
		"five of five, hardly any other": {tallied(5), tallied(0, many(5, quick)...), true, ""},
		"both broken":                    {tallied(50), tallied(950), true, ""},
		"one in ten":                     {tallied(10, many(90, quick)...), tallied(19, many(1881, quick)...), false, "10 of its 100"},
		"a little more":                  {tallied(60, many(940, quick)...), tallied(800, many(18200, quick)...), true, ""},
		"twice next to nothing":          {tallied(80, many(9920, quick)...), tallied(40, many(99960, quick)...), true, ""},
		"slow":                           {tallied(0, many(20, slow)...), tallied(0, many(300, quick)...), false, "20 of its 20 requests took longer than 25ms, of the others' 0 of 300; of these 50 % are done within 3.8ms"},
		"four slow ones":                 {tallied(0, many(4, slow)...), tallied(0, many(300, quick)...), true, ""},
		"slow, as the others":            {tallied(0, many(50, slow)...), tallied(0, many(950, slow)...), true, ""},
		"slower, and nobody minds":       {tallied(0, many(100, 8*time.Millisecond)...), tallied(0, many(900, time.Millisecond)...), true, ""},
		"one in five slow":               {tallied(0, mixed(100, 20)...), tallied(0, mixed(1000, 10)...), false, "20 of its 100 requests took longer than 100ms, of the others' 10 of 1000; of these 95 %"},
		"one in fifty slow":              {tallied(0, mixed(100, 2)...), tallied(0, mixed(1000, 0)...), true, ""},
		"nobody knows how long":          {tallied(0, many(20, slow)...), tallied(0, many(19, quick)...), true, ""},
		"quick failures are not quick":   {tallied(900, many(40, slow)...), tallied(9000, many(300, quick)...), false, "40 of its 40 requests took"},
		"five hang":                      {running(tallied(0), slow, slow, slow, slow, slow), tallied(0, many(1000, quick)...), false, "5 of its 5 requests took"},
		"one hangs":                      {running(tallied(0), time.Second), tallied(0, many(1000, quick)...), false, ""},
		"one hangs to the end":           {running(tallied(0), time.Second), tallied(0, many(1000, quick)...), true, "none of its requests was answered, of which one has run for 1s"},
		"one has just begun at the end":  {running(tallied(0), quick), tallied(0, many(1000, quick)...), true, ""},
		"all hang":                       {running(tallied(0), slow, slow, slow, slow, slow), running(tallied(0, many(30, quick)...), many(95, slow)...), true, ""},
	} {
		got := worse(c.canary, c.serving, c.last)
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// TestChance: the sum is that of the exact test.
func TestChance(t *testing.T) {
	for _, c := range []struct {
		bad, all, theirBad, theirAll uint64
		want                         float64
	}{
		{3, 3, 0, 57, 1.0 / 34220},
		{8, 10, 1, 14, 960.0 / 1961256},
		{5, 40, 0, 760, 658008.0 / 2696682400160.0},
		{0, 10, 5, 100, 1},
		{0, 0, 0, 0, 1},
		{1, 1, 1, 1, 1},
	} {
		if p := chance(c.bad, c.all, c.theirBad, c.theirAll); math.Abs(p-c.want) > 1e-3*c.want {
			t.Errorf("%v: %v", c, p)
		}
	}
}

// TestVerdictByChance: looked at as often as it is, a canary that is no worse than the others
// does not go back, and one that clearly is does.
func TestVerdictByChance(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	took := func(scale float64) time.Duration {
		return time.Duration(scale * math.Exp(rnd.NormFloat64()) * 20 * float64(time.Millisecond))
	}
	run := func(failing, worseFailing, scale float64) bool {
		canary, serving := tallied(0), tallied(0)
		one := func(t *tally, failing, scale float64) {
			if rnd.Float64() < failing {
				t.add(tallied(1), new(tally))
			} else {
				t.add(tallied(0, took(scale)), new(tally))
			}
		}
		for look := range 120 {
			one(canary, worseFailing, scale)
			for range 19 {
				one(serving, failing, 1)
			}
			if worse(canary, serving, look == 119) != "" {
				return true
			}
		}
		return false
	}
	for range 200 {
		if run(0.02, 0.02, 1) {
			t.Fatal("one that is no worse went back")
		}
	}
	for range 50 {
		if !run(0.02, 0.4, 1) {
			t.Fatal("one that fails two in five was carried on")
		}
		if !run(0.02, 0.02, 8) {
			t.Fatal("one that takes eight times as long was carried on")
		}
	}
}

// FuzzWorse: workers may have counted anything.
func FuzzWorse(f *testing.F) {
	f.Add(uint64(1), uint64(1)<<63, uint64(5), uint64(0), int64(-1), uint8(3))
	f.Add(^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), int64(1)<<62, uint8(17))
	f.Fuzz(func(t *testing.T, a, b, c, d uint64, age int64, at uint8) {
		i := int(at) % (len(protocol.Bounds) + 1)
		var sums [2]tally
		for k, from := range []tally{{answered: a, failed: b}, {answered: c, failed: d}} {
			from.took[i], from.took[(i+k)%len(from.took)] = a, d
			from.running = []time.Duration{time.Duration(age)}
			before := tally{answered: d, failed: c}
			before.took[i] = b
			sums[k].add(&from, &before)
			sums[k].add(&from, new(tally))
			sums[k].add(&from, new(tally))
		}
		for _, last := range []bool{false, true} {
			if text := worse(&sums[0], &sums[1], last); strings.Contains(text, "NaN") || strings.Contains(text, "Inf") {
				t.Error(text)
			}
		}
		if text := sums[0].String(); strings.Contains(text, "NaN") {
			t.Error(text)
		}
		if p := chance(a, b, c, d); !(p >= 0 && p <= 1.001) {
			t.Errorf("%d of %d, %d of %d: %v", a, b, c, d, p)
		}
	})
}
