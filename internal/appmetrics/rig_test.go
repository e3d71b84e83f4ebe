package appmetrics

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"math"
	"sort"
	"strings"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// writer writes memory as appmetrics.c does.
type writer struct {
	mem      []byte
	pos      int
	families int
	cells    int
	wide     map[int]bool // families whose values are set
}

func newWriter(mem []byte) *writer {
	w := &writer{mem: mem, wide: make(map[int]bool)}
	binary.LittleEndian.PutUint64(mem, magic)
	return w
}

func (w *writer) record(kind, what byte, number int, body []byte) {
	size := (bodyAt + len(body) + 7) &^ 7
	r := make([]byte, size)
	binary.LittleEndian.PutUint16(r, uint16(size))
	r[2], r[3] = kind, what
	binary.LittleEndian.PutUint32(r[4:], uint32(number))
	copy(r[bodyAt:], body)
	copy(w.mem[recordsAt+w.pos:], r)
	w.pos += size
	atomic.StoreUint64((*uint64)(unsafe.Pointer(&w.mem[publishedAt])), uint64(w.pos))
}

func texts(b []byte, all ...string) []byte {
	for _, s := range all {
		b = append(binary.LittleEndian.AppendUint16(b, uint16(len(s))), s...)
	}
	return b
}

func (w *writer) family(typ metricType, m mode, name, help string, labels ...string) int {
	w.record(recordFamily, byte(typ), w.families, texts([]byte{byte(m), byte(len(labels))}, append([]string{name, help}, labels...)...))
	w.wide[w.families] = m != modeNone
	w.families++
	return w.families - 1
}

// value returns the number of the value's cell.
func (w *writer) value(family int, s sample, v float64, labels ...string) int {
	cell := w.cells
	w.record(recordValue, byte(s), cell, texts(binary.LittleEndian.AppendUint32(nil, uint32(family)), labels...))
	if w.cells++; w.wide[family] {
		w.cells++
	}
	w.set(cell, v)
	return cell
}

func (w *writer) bits(cell int, v uint64) {
	atomic.StoreUint64((*uint64)(unsafe.Pointer(&w.mem[cellsAt+8*cell])), v)
}

func (w *writer) set(cell int, v float64) { w.bits(cell, math.Float64bits(v)) }

// rig is a registry, and what it has logged.
type rig struct {
	*Registry
	t   testing.TB
	log *bytes.Buffer
}

func newRig(t testing.TB) *rig {
	log := new(bytes.Buffer)
	return &rig{New(slog.New(slog.NewTextHandler(log, nil))), t, log}
}

// memory returns the descriptor of sealed memory, and a mapping of it to write to.
func memory(t testing.TB, size int64, seals int) (fd int, mem []byte) {
	t.Helper()
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Ftruncate(fd, size); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		t.Fatal(err)
	}
	mem, err = unix.Mmap(fd, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(mem) })
	return fd, mem
}

// start is a process that has shared memory.
func (r *rig) start(worker, generation int, mold bool) (*Process, *writer) {
	r.t.Helper()
	fd, mem := memory(r.t, memorySize, seals)
	p := r.Process(worker, generation, mold)
	p.Take(fd)
	return p, newWriter(mem)
}

// samples are the lines of the output, without comments, sorted.
func (r *rig) samples(generations ...int) string {
	var lines []string
	for _, line := range strings.Split(r.text(generations...), "\n") {
		if line != "" && line[0] != '#' {
			lines = append(lines, line)
		}
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

func (r *rig) text(generations ...int) string {
	return string(r.Text(nil, false, func(g int) bool {
		for _, keep := range generations {
			if g == keep {
				return true
			}
		}
		return len(generations) == 0
	}))
}

func (r *rig) want(what, want string, generations ...int) {
	r.t.Helper()
	lines := strings.Split(strings.TrimSpace(want), "\n")
	sort.Strings(lines)
	want = strings.Join(lines, "\n")
	if got := r.samples(generations...); got != want {
		r.t.Errorf("%s:\n%s\nwant:\n%s", what, got, want)
	}
}
