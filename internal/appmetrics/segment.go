package appmetrics

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"unicode/utf8"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The layout, which appmetrics.c has, too.
const (
	memorySize  = 8 << 20
	recordsAt   = 64
	cellsAt     = 7 << 20
	maxCells    = (memorySize - cellsAt) / 8
	maxFamilies = 4096
	maxLabels   = 64
	maxRecord   = 8 << 10
	magic       = 0x3173656c62617401

	publishedAt  = 8
	unrecordedAt = 16
	bodyAt       = 8 // of a record
	gone         = math.MaxUint64
)

const (
	recordFamily = 1 + iota
	recordValue
	recordFull
)

// metricType is the library's type of a metric.
type metricType uint8

const (
	counter metricType = 1 + iota
	gauge
	histogram
	summary
)

var typeNames = [...]string{counter: "counter", gauge: "gauge", histogram: "histogram", summary: "summary"}

// sample is which of a metric's samples a value is.
type sample uint8

const (
	sampleValue sample = iota
	sampleTotal
	sampleSum
	sampleCount
	sampleBucket
)

var suffixes = [...]string{"", "_total", "_sum", "_count", "_bucket"}

// fits has a bit for each sample that a metric of a type can have. Of a summary's the
// value is a quantile.
var fits = [...]uint8{counter: 1 << sampleTotal, gauge: 1 << sampleValue, histogram: 1<<sampleBucket | 1<<sampleSum,
	summary: 1<<sampleValue | 1<<sampleSum | 1<<sampleCount}

// mode is how values that are set are put together: a gauge's, and what a collector says.
// Those of modeNone are added to by each process, and add up.
type mode uint8

const (
	modeNone mode = iota
	modeAll
	modeMin
	modeMax
	modeSum
	modeRecent
	modeLive mode = 8 // with one of these: only those of the living count
)

// ErrMemory says that what a process has sent is not what its metrics can be in.
var ErrMemory = errors.New("not memory for metrics")

// seals are those that memory has to have: then it is the kernel's own, and keeps its size.
const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL

// mapMemory maps what a process has sent, and leaves fd to the caller. Memory of huge
// pages would take too much of them, and a file's could be slow or gone.
func mapMemory(fd int) ([]byte, error) {
	var fs unix.Statfs_t
	var st unix.Stat_t
	have, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	switch {
	case err != nil || have&seals != seals:
		return nil, fmt.Errorf("its size is not sealed: %w", ErrMemory)
	case unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size != memorySize:
		return nil, fmt.Errorf("its size is %d: %w", st.Size, ErrMemory)
	case unix.Fstatfs(fd, &fs) != nil || int64(fs.Type) != unix.TMPFS_MAGIC:
		return nil, fmt.Errorf("it is of another kind: %w", ErrMemory)
	}
	mem, err := unix.Mmap(fd, 0, memorySize, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("cannot map a process's metrics: %w", err)
	}
	return mem, nil
}

// descriptor is a family as a process describes it.
type descriptor struct {
	typ        metricType
	mode       mode
	name, help string
	labels     []string
}

// segment reads the memory of one process. Parsing is stateful: a record is looked at
// once, and a bad one ends it.
type segment struct {
	mem      []byte
	parsed   uint64 // bytes of records
	families []*family
	values   []value
	cells    int
	full     []*family // those that had no room, and are not told yet
	bad      error     // why no more is parsed
}

// value is where a series has a part of its figures.
type value struct {
	series *series
	cell   int
}

// word reads one at once; every address of one is a multiple of 8.
func (s *segment) word(at int) uint64 {
	return atomic.LoadUint64((*uint64)(unsafe.Pointer(&s.mem[at])))
}

// cell returns what is in a cell. There is one for every number that parse has let by.
func (s *segment) cell(i int) float64 { return math.Float64frombits(s.word(cellsAt + 8*i)) }

// removed reports whether the series of a value that is set has been removed.
func (s *segment) removed(v value) bool { return s.word(cellsAt+8*(v.cell+1)) == gone }

func (s *segment) unrecorded() uint64 { return s.word(unrecordedAt) }

// sink knows the series that records speak of.
type sink interface {
	family(descriptor) *family
	series(f *family, s sample, labels []string) *series // nil: there is no room for it
}

// parse takes in what has been published since the last time.
func (s *segment) parse(to sink) {
	if s.bad != nil || s.word(0) != magic {
		return
	}
	published := s.word(publishedAt)
	if published > cellsAt-recordsAt || published < s.parsed || published%8 != 0 {
		s.bad = fmt.Errorf("%d bytes of records, after %d", published, s.parsed)
		return
	}
	var room [maxRecord]byte
	for s.parsed < published {
		at := recordsAt + int(s.parsed)
		copy(room[:8], s.mem[at:]) // a copy does not change while it is looked at
		size := int(binary.LittleEndian.Uint16(room[:]))
		if size < bodyAt || size%8 != 0 || size > maxRecord || uint64(size) > published-s.parsed {
			s.bad = fmt.Errorf("a record of %d bytes", size)
			return
		}
		copy(room[8:size], s.mem[at+8:])
		if s.bad = s.record(room[:size], to); s.bad != nil {
			return
		}
		s.parsed += uint64(size)
	}
}

var errRecord = errors.New("a malformed record")

// record takes in one record.
func (s *segment) record(r []byte, to sink) error {
	what, number := r[3], binary.LittleEndian.Uint32(r[4:])
	body := reader{r[bodyAt:], false}
	switch r[2] {
	case recordFamily:
		return s.familyRecord(metricType(what), number, &body, to)
	case recordValue:
		return s.valueRecord(sample(what), number, &body, to)
	case recordFull:
		if int64(number) >= int64(len(s.families)) || len(s.full) > maxFamilies {
			return errRecord
		}
		s.full = append(s.full, s.families[number])
		return nil
	}
	return errRecord
}

func (s *segment) familyRecord(typ metricType, number uint32, body *reader, to sink) error {
	d := descriptor{typ: typ, mode: mode(body.byte())}
	n := int(body.byte())
	d.name, d.help = body.text(), body.text()
	switch {
	case int(number) != len(s.families) || len(s.families) >= maxFamilies || n > maxLabels,
		typ < counter || typ > summary,
		typ == gauge && d.mode == modeNone || d.mode&^modeLive > modeRecent || d.mode == modeLive:
		return errRecord
	}
	for range n {
		d.labels = append(d.labels, body.text())
	}
	if body.bad || !utf8.ValidString(d.help) {
		return errRecord
	}
	s.families = append(s.families, to.family(d))
	return nil
}

func (s *segment) valueRecord(what sample, number uint32, body *reader, to sink) error {
	n := body.uint32()
	if body.bad || int64(n) >= int64(len(s.families)) || int64(number) != int64(s.cells) || what > sampleBucket {
		return errRecord
	}
	f := s.families[n]
	width, labels := 1, len(f.labels)
	if f.mode != modeNone {
		width = 2
	}
	if what == sampleBucket {
		labels++
	}
	if fits[f.typ]>>what&1 == 0 || s.cells+width > maxCells {
		return errRecord
	}
	values := make([]string, labels)
	for i := range values {
		values[i] = body.text()
		if !utf8.ValidString(values[i]) {
			return errRecord
		}
	}
	if body.bad {
		return errRecord
	}
	if t := to.series(f, what, values); t != nil {
		s.values = append(s.values, value{t, s.cells})
	}
	s.cells += width
	return nil
}

// reader reads a record's parts. It is bad when there was not enough.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) take(n int) []byte {
	if n > len(r.rest) {
		r.bad, r.rest = true, nil
		return make([]byte, min(n, 4))
	}
	var b []byte
	b, r.rest = r.rest[:n], r.rest[n:]
	return b
}

func (r *reader) byte() byte     { return r.take(1)[0] }
func (r *reader) uint32() uint32 { return binary.LittleEndian.Uint32(r.take(4)) }
func (r *reader) text() string {
	return string(r.take(int(binary.LittleEndian.Uint16(r.take(2)))))
}
