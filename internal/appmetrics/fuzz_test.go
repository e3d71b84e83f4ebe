package appmetrics

import (
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

// FuzzMemory reads memory whose head, records and cells are anything. Nothing may panic,
// what is kept is bounded, and each line of the output is one.
func FuzzMemory(f *testing.F) {
	good := func(mutate func(*writer)) []byte {
		w := newWriter(make([]byte, memorySize))
		for typ := counter; typ <= summary; typ++ {
			m, s := modeNone, sampleSum
			switch typ {
			case gauge:
				m, s = modeAll, sampleValue
			case counter:
				s = sampleTotal
			}
			w.value(w.family(typ, m, fmt.Sprintf("f%d", typ), "help", "a"), s, 1, "x")
		}
		w.value(2, sampleBucket, 3, "x", "1.0")
		w.record(recordFull, 0, 1, nil)
		mutate(w)
		return w.mem[recordsAt : recordsAt+w.pos]
	}
	records := good(func(*writer) {})
	f.Add(uint64(len(records)), records, []byte{1, 2, 3, 4, 5, 6, 7, 8})
	f.Add(uint64(1<<63), records, []byte{})
	f.Add(uint64(7), records, []byte{})
	for i := range records { // each byte once, as something else
		if i%8 < 5 {
			bad := append([]byte(nil), records...)
			bad[i] ^= 0xff
			f.Add(uint64(len(bad)), bad, []byte{0xff})
		}
	}
	mem := make([]byte, memorySize)
	f.Fuzz(func(t *testing.T, published uint64, records, cells []byte) {
		clear(mem[:64<<10])
		clear(mem[cellsAt : cellsAt+64<<10])
		binary.LittleEndian.PutUint64(mem, magic)
		binary.LittleEndian.PutUint64(mem[publishedAt:], published)
		copy(mem[recordsAt:64<<10], records)
		copy(mem[cellsAt:cellsAt+64<<10], cells)
		r := New(slog.New(slog.NewTextHandler(io.Discard, nil)))
		p := r.Process(1, 1, false)
		p.segment = &segment{mem: mem}
		r.live[p] = true
		check(t, r)
		if p.segment.cells > maxCells || len(p.segment.values) > maxCells || len(p.segment.families) > maxFamilies || r.count > maxSeries {
			t.Errorf("%d cells, %d values, %d families", p.segment.cells, len(p.segment.values), len(p.segment.families))
		}
		r.mu.Lock()
		for _, v := range p.segment.values {
			v.series.fold(p.segment, v, p)
		}
		delete(r.live, p)
		r.mu.Unlock()
		check(t, r)
	})
}

func check(t *testing.T, r *Registry) {
	for line := range strings.Lines(string(r.Text(nil, false, func(int) bool { return true }))) {
		if !strings.HasPrefix(line, "# ") && (strings.LastIndexByte(line, ' ') < 1 || !isName(line[:strings.IndexAny(line, "{ ")], true)) {
			t.Errorf("the line %q", line)
		}
	}
}

// TestWhileItIsWritten reads what somebody writes to.
func TestWhileItIsWritten(t *testing.T) {
	r := newRig(t)
	p, w := r.start(1, 1, false)
	var wg sync.WaitGroup
	wg.Go(func() {
		f := w.family(counter, modeNone, "c", "", "k")
		for i := range 2000 {
			w.value(f, sampleTotal, 1, fmt.Sprint(i))
		}
	})
	for last := 0; last < 2000; {
		n := strings.Count(r.text(), "c_total{")
		if n < last || p.segment.bad != nil {
			t.Fatalf("%d series, after %d, %v", n, last, p.segment.bad)
		}
		last = n
	}
	wg.Wait()
}
