package appmetrics

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestCounters(t *testing.T) {
	r := newRig(t)
	count := func(w *writer, n float64) {
		c := w.family(counter, modeNone, "jobs", "Jobs\nand \\ more", "kind")
		w.value(c, sampleTotal, n, "a\"\\\n")
		h := w.family(histogram, modeNone, "took", "")
		w.value(h, sampleSum, n)
		w.value(h, sampleBucket, n, "1.0")
		w.value(h, sampleBucket, 1, "+Inf")
		w.value(h, sampleBucket, 2, "0.5")
		s := w.family(summary, modeNone, "size", "")
		w.value(s, sampleCount, n)
		w.value(s, sampleSum, -n)
	}
	first, a := r.start(1, 1, false)
	second, b := r.start(2, 1, false)
	count(a, 3)
	count(b, 4)
	all := func(n int, processes int) string {
		return fmt.Sprintf("jobs_total{kind=\"a\\\"\\\\\\n\"} %d\nsize_count %d\nsize_sum -%d\ntook_bucket{le=\"+Inf\"} %d\ntook_bucket{le=\"0.5\"} %d\ntook_bucket{le=\"1.0\"} %d\ntook_count %d\ntook_sum %d",
			n, n, n, n+3*processes, 2*processes, n+2*processes, n+3*processes, n)
	}
	r.want("two", all(7, 2))
	first.End()
	first.End() // nothing more
	r.want("one has ended", all(7, 2))
	_, c := r.start(1, 1, false)
	count(c, 5)
	r.want("its successor", all(12, 3))
	second.End()
	r.want("another has ended", all(12, 3))
	for _, want := range []string{"# HELP jobs_total Jobs\\nand \\\\ more\n# TYPE jobs_total counter\njobs_total{", "# TYPE took histogram\ntook_bucket{le=\"0.5\"}", "# TYPE size summary\n"} {
		if text := r.text(); !strings.Contains(text, want) {
			t.Errorf("there is no %q in\n%s", want, text)
		}
	}
	if s := r.Stats(); s.Processes != 1 || s.Series != 7 || r.log.Len() > 0 {
		t.Errorf("%+v, log: %s", s, r.log)
	}
}

// TestOpenMetrics: the same in that format, where a counter is named without its suffix,
// and says since when there is nobody who has counted it before.
func TestOpenMetrics(t *testing.T) {
	r := newRig(t)
	at := int64(100)
	r.now = func() time.Time { return time.Unix(at, 5e8) }
	first, a := r.start(1, 1, false)
	at = 200
	_, b := r.start(2, 1, false)
	for _, w := range []*writer{b, a} {
		w.value(w.family(counter, modeNone, "jobs", "\"Jobs\"\n", "kind"), sampleTotal, 1, "a")
		h := w.family(histogram, modeNone, "took_seconds", "")
		w.value(h, sampleSum, 3)
		w.value(h, sampleBucket, 2, "+Inf")
		s := w.family(summary, modeNone, "size_bytes", "")
		w.value(s, sampleCount, 1)
		w.value(s, sampleSum, 7)
		w.value(w.family(gauge, modeMax, "g", ""), sampleValue, 5)
	}
	want := `# HELP g 
# TYPE g gauge
g 5
# HELP jobs \"Jobs\"\n
# TYPE jobs counter
jobs_total{kind="a"} 2
jobs_created{kind="a"} 100.5
# HELP size_bytes 
# TYPE size_bytes summary
# UNIT size_bytes bytes
size_bytes_count 2
size_bytes_sum 14
size_bytes_created 100.5
# HELP took_seconds 
# TYPE took_seconds histogram
# UNIT took_seconds seconds
took_seconds_bucket{le="+Inf"} 4
took_seconds_count 4
took_seconds_sum 6
took_seconds_created 100.5
`
	for range 2 { // the first process's end changes nothing
		if got := string(r.Text(nil, true, func(int) bool { return true })); got != want {
			t.Errorf("%s\nwant:\n%s", got, want)
		}
		first.End()
	}
}

// TestModes holds each mode of gauges, of the living and of the dead, against what the
// library documents of it.
func TestModes(t *testing.T) {
	r := newRig(t)
	write := func(w *writer, v, at float64) {
		for m := modeAll; m <= modeRecent; m++ {
			for _, live := range []mode{0, modeLive} {
				f := w.family(gauge, m|live, fmt.Sprintf("g%d", m|live), "")
				w.set(w.value(f, sampleValue, v)+1, at)
			}
		}
	}
	_, a := r.start(1, 1, false)
	dies, b := r.start(2, 1, false)
	write(a, 5, 10)
	write(b, -7, 20)
	r.want("both live", `
g1{worker="1"} 5
g1{worker="2"} -7
g10 -7
g11 5
g12 -2
g13 -7
g2 -7
g3 5
g4 -2
g5 -7
g9{worker="1"} 5
g9{worker="2"} -7`)
	dies.End()
	dead := `
g1{worker="1"} 5
g1{worker="2"} -7
g10 5
g11 5
g12 5
g13 5
g2 -7
g3 5
g4 -2
g5 -7
g9{worker="1"} 5`
	r.want("one is dead", dead)
	next, c := r.start(2, 1, false)
	r.want("the next holder of its number has none yet", dead)
	write(c, 1, 15)
	if got := r.samples(); !strings.Contains(got, `g1{worker="2"} 1`) || !strings.Contains(got, "g5 -7") {
		t.Errorf("the next holder has some:\n%s", got)
	}
	next.End()
	if got := r.samples(2); strings.Contains(got, "g5 -7") || strings.Contains(got, `g1{worker="2"}`) {
		t.Errorf("gauges of a generation that is gone stay:\n%s", got)
	}
}

// TestRemoved: a gauge whose series is removed is not shown, and comes back.
func TestRemoved(t *testing.T) {
	r := newRig(t)
	p, w := r.start(1, 1, false)
	f := w.family(gauge, modeSum, "g", "", "k")
	cell := w.value(f, sampleValue, 3, "x")
	r.want("there", `g{k="x"} 3`)
	w.bits(cell+1, gone)
	r.want("removed", "")
	w.set(cell, 0)
	w.bits(cell+1, 0)
	r.want("back", `g{k="x"} 0`)
	w.bits(cell+1, gone)
	p.End()
	r.want("removed, and its process gone", "")
}

func TestMold(t *testing.T) {
	r := newRig(t)
	p, w := r.start(1, 1, true)
	w.value(w.family(counter, modeNone, "imports", ""), sampleTotal, 1)
	w.value(w.family(gauge, modeAll, "g", ""), sampleValue, 1)
	r.want("living", "imports_total 1")
	p.End()
	r.want("ended", "imports_total 1")
}

func TestWorkerLabel(t *testing.T) {
	r := newRig(t)
	_, w := r.start(3, 1, false)
	w.value(w.family(gauge, modeAll, "g", "", "worker"), sampleValue, 1, "x")
	r.want("a label of that name", `g{worker="x",hostler_worker="3"} 1`)
}

// TestClash: of two metrics that would have one name, that of the newer generation is
// shown, unless nobody has it any more.
func TestClash(t *testing.T) {
	r := newRig(t)
	_, a := r.start(1, 1, false)
	a.value(a.family(counter, modeNone, "x", ""), sampleTotal, 1)
	a.value(a.family(gauge, modeSum, "y", ""), sampleValue, 1)
	a.value(a.family(gauge, modeSum, "z_created", ""), sampleValue, 1)
	r.want("one", "x_total 1\ny 1\nz_created 1")
	p, b := r.start(2, 2, false)
	b.value(b.family(gauge, modeSum, "x_total", ""), sampleValue, 5)
	b.value(b.family(histogram, modeNone, "y", ""), sampleSum, 6)
	b.value(b.family(counter, modeNone, "z", ""), sampleTotal, 7)
	r.want("the newer", "x_total 5\ny_sum 6\nz_total 7")
	r.want("again", "x_total 5\ny_sum 6\nz_total 7")
	p.End()
	r.want("a reload that failed", "x_total 1\ny 1\nz_created 1", 1)
	if s := r.Stats(); s.LeftOut[LeftOutClash] < 2 || strings.Count(r.log.String(), "metric=x ") != 1 {
		t.Errorf("%+v, log:\n%s", s, r.log)
	}
}

// TestHelp: that of the newest generation is shown, and is no other metric.
func TestHelp(t *testing.T) {
	r := newRig(t)
	for g, help := range []string{1: "old", 2: "new", 3: "last"} {
		if help != "" {
			_, w := r.start(1, g, false)
			w.value(w.family(counter, modeNone, "x", help), sampleTotal, 1)
			r.text()
		}
	}
	if text := r.text(); !strings.HasPrefix(text, "# HELP x_total last\n") || !strings.HasSuffix(text, "x_total 3\n") {
		t.Errorf("%s", text)
	}
}

func TestNames(t *testing.T) {
	for _, c := range []struct {
		name   string
		labels []string
		fits   bool
	}{
		{"jobs", []string{"a", "b"}, true}, {"ns:jobs_2", nil, true},
		{"hostler_requests", nil, false}, {"process_cpu_seconds", nil, false}, {"", nil, false}, {"2jobs", nil, false},
		{"größe", nil, false}, {"a b", nil, false}, {"jobs\n# TYPE evil counter", nil, false},
		{"jobs", []string{"a", "a"}, false}, {"jobs", []string{"a:b"}, false}, {"jobs", []string{""}, false}, {"jobs", []string{`a="1",b`}, false},
	} {
		r := newRig(t)
		for range 2 { // said once
			_, w := r.start(1, 1, false)
			f := w.family(gauge, modeMax, c.name, "", c.labels...)
			w.value(f, sampleValue, 1, make([]string, len(c.labels))...)
			w.value(w.family(gauge, modeMax, "other", ""), sampleValue, 1)
			r.text()
		}
		lines := strings.Count(r.samples(), "\n") + 1
		if said := strings.Count(r.log.String(), "left out"); (lines == 2) != c.fits || (said == 1) == c.fits || !strings.Contains(r.samples(), "other 1") {
			t.Errorf("%q %q: %d lines, said %d times: %s", c.name, c.labels, lines, said, r.log)
		}
	}
}

// TestLimit: what is kept is bounded; the dead go first.
func TestLimit(t *testing.T) {
	r := newRig(t)
	fill := func(w *writer, name string, n int) {
		f := w.family(counter, modeNone, name, "", "k")
		for i := range n {
			w.value(f, sampleTotal, 1, strconv.Itoa(i))
		}
	}
	_, kept := r.start(1, 1, false)
	fill(kept, "kept", 100)
	for i := range 4 {
		p, w := r.start(2, 1, false)
		fill(w, fmt.Sprintf("dead%d", i), maxSeries/3)
		p.End()
	}
	if s := r.Stats(); s.Series > maxSeries || s.LeftOut[LeftOutLimit] != 0 || strings.Count(r.log.String(), "forgotten") != 1 {
		t.Errorf("the dead: %+v, log: %s", s, r.log)
	}
	if got := r.samples(); strings.Count(got, "kept_total") != 100 || !strings.Contains(got, "dead3_total") || strings.Contains(got, "dead0_total") {
		t.Error("the dead did not go first")
	}
	_, a := r.start(3, 1, false)
	_, b := r.start(4, 1, false)
	fill(a, "a", maxSeries/2+10)
	fill(b, "b", maxSeries/2)
	fill(b, "new", smallFamily)
	got := r.samples()
	if s := r.Stats(); s.Series > maxSeries || s.LeftOut[LeftOutLimit] == 0 || strings.Count(r.log.String(), "metric=a ")+strings.Count(r.log.String(), "metric=b ") < 1 {
		t.Errorf("the living: %+v, log: %s", s, r.log)
	}
	for name, most := range map[string]int{"a": maxSeries / 2, "b": maxSeries / 2, "new": smallFamily, "kept": 100} {
		if n := strings.Count(got, name+"_total"); n > most || n < maxSeries/3 && n != most {
			t.Errorf("%s has %d series", name, n)
		}
	}
}

// TestTextLimit: so are long labels.
func TestTextLimit(t *testing.T) {
	r := newRig(t)
	long := strings.Repeat("x", maxRecord-100)
	for i := range 8 {
		_, w := r.start(i, 1, false)
		f := w.family(counter, modeNone, "c", "", "k")
		for k := range 850 {
			w.value(f, sampleTotal, 1, fmt.Sprint(i, " ", k, long))
		}
	}
	r.Stats()
	if r.bytes > maxTextBytes || r.leftOut[LeftOutLimit] == 0 {
		t.Errorf("%d bytes are kept, %v", r.bytes, r.leftOut)
	}
}

func TestFull(t *testing.T) {
	r := newRig(t)
	_, w := r.start(1, 1, false)
	f := w.family(counter, modeNone, "users", "", "id")
	w.record(recordFull, 0, f, nil)
	w.mem[unrecordedAt] = 3
	for range 2 {
		r.text()
	}
	if s := r.Stats(); s.Unrecorded != 3 || strings.Count(r.log.String(), "metric=users") != 1 {
		t.Errorf("%+v, log: %s", s, r.log)
	}
}

// TestMemory: only what nobody can take away is mapped, and once.
func TestMemory(t *testing.T) {
	file, err := os.Create(t.TempDir() + "/file")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(memorySize); err != nil {
		t.Fatal(err)
	}
	dup := func(fd int) int {
		n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 10)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	of := func(size int64, seals int) int {
		fd, _ := memory(t, size, seals)
		return fd
	}
	for what, fd := range map[string]int{
		"not sealed":           of(memorySize, 0),
		"may shrink":           of(memorySize, unix.F_SEAL_GROW|unix.F_SEAL_SEAL),
		"seals may be missing": of(memorySize, unix.F_SEAL_GROW|unix.F_SEAL_SHRINK),
		"too small":            of(4096, seals),
		"too large":            of(2*memorySize, seals),
		"a file":               dup(int(file.Fd())),
		"closed":               1 << 20,
	} {
		r := newRig(t)
		r.Process(1, 1, false).Take(fd)
		if s := r.Stats(); s.Processes != 0 || s.LeftOut[LeftOutDamaged] != 1 || r.log.Len() == 0 {
			t.Errorf("%s: %+v", what, s)
		}
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
			t.Errorf("%s: the descriptor is left open", what)
		}
	}
	r := newRig(t)
	p, w := r.start(1, 1, false)
	w.value(w.family(counter, modeNone, "c", ""), sampleTotal, 1)
	fd, _ := memory(t, memorySize, seals)
	p.Take(fd) // another one
	r.want("the first memory holds", "c_total 1")
	p.End()
	fd, _ = memory(t, memorySize, seals)
	p.Take(fd)
	if s := r.Stats(); s.Processes != 0 || s.LeftOut[LeftOutDamaged] != 2 {
		t.Errorf("memory of one that has ended: %+v", s)
	}
	// A hole reads as nothing, and nobody dies of it.
	_, w = r.start(2, 1, false)
	w.value(w.family(counter, modeNone, "c", ""), sampleTotal, 1)
	if err := unix.Madvise(w.mem, unix.MADV_REMOVE); err != nil {
		t.Fatal(err)
	}
	r.want("a hole", "c_total 1")
}

// TestNoFigures: what a counter cannot have counts as nothing.
func TestNoFigures(t *testing.T) {
	r := newRig(t)
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), -5, 2} {
		p, w := r.start(1, 1, false)
		w.value(w.family(counter, modeNone, "c", ""), sampleTotal, v)
		r.text()
		p.End()
	}
	r.want("the sum", "c_total 2")
}

// TestLayout: appmetrics.c has the same figures.
func TestLayout(t *testing.T) {
	text, err := os.ReadFile("../../worker/python/appmetrics.c")
	if err != nil {
		t.Fatal(err)
	}
	source := regexp.MustCompile(`/\*[^*]*\*/`).ReplaceAllString(string(text), "")
	for _, line := range []string{
		"SIZE = 8 << 20,", "RECORDS = 64,", "CELLS = 7 << 20,", "MAX_FAMILIES = 4096,", "MAX_LABELS = 64,", "MAX_RECORD = 8 << 10,",
		"#define MAGIC UINT64_C(0x3173656c62617401)", "#define GONE UINT64_MAX",
		"enum { RECORD_FAMILY = 1, RECORD_VALUE, RECORD_FULL };", "enum { COUNTER = 1, GAUGE, HISTOGRAM, SUMMARY };",
		"enum { SAMPLE_VALUE, SAMPLE_TOTAL, SAMPLE_SUM, SAMPLE_COUNT, SAMPLE_BUCKET };", "enum { KIND_AT = 2, NUMBER_AT = 4, BODY_AT = 8 };",
		`modes[] = {"all", "min", "max", "sum", "mostrecent", NULL};`,
	} {
		if !strings.Contains(source, line) {
			t.Errorf("there is no %s", line)
		}
	}
	if memorySize != 8<<20 || recordsAt != 64 || cellsAt != 7<<20 || maxFamilies != 4096 || maxLabels != 64 || maxRecord != 8<<10 || magic != 0x3173656c62617401 ||
		recordFull != 3 || summary != 4 || sampleBucket != 4 || modeRecent != 5 || bodyAt != 8 {
		t.Error("here they have changed")
	}
}

// TestCollected: what a collector of the application's says is set, whatever its type. The
// newest word counts, and with its process it goes.
func TestCollected(t *testing.T) {
	r := newRig(t)
	recent := modeLive | modeRecent
	p, w := r.start(1, 1, false)
	c := w.family(counter, recent, "jobs", "Jobs.", "queue")
	total := w.value(c, sampleTotal, 7, "a")
	h := w.family(histogram, recent, "age", "Age.")
	first, second := w.value(h, sampleBucket, 2, "1.0"), w.value(h, sampleBucket, 1, "+Inf")
	w.value(h, sampleSum, 3.5)
	s := w.family(summary, recent, "size", "Size.", "quantile")
	w.value(s, sampleValue, 9, "0.5")
	w.value(s, sampleCount, 4, "")
	r.want("one", `
jobs_total{queue="a"} 7
age_bucket{le="1.0"} 2
age_bucket{le="+Inf"} 3
age_count 3
age_sum 3.5
size{quantile="0.5"} 9
size_count{quantile=""} 4`)
	_, other := r.start(2, 1, false)
	n := other.value(other.family(counter, recent, "jobs", "Jobs.", "queue"), sampleTotal, 5, "a")
	other.set(n+1, 1000) // later
	for _, cell := range []int{first, second, total} {
		w.bits(cell+1, gone)
	}
	r.want("another process has looked since", `
jobs_total{queue="a"} 5
age_sum 3.5
size{quantile="0.5"} 9
size_count{quantile=""} 4`)
	p.End()
	r.want("the first has ended", `jobs_total{queue="a"} 5`)
}

// TestCollectedNonsense: what is set may be anything, and makes no line that is none.
func TestCollectedNonsense(t *testing.T) {
	r := newRig(t)
	_, w := r.start(1, 1, false)
	h := w.family(histogram, modeAll, "age", "Age.")
	w.value(h, sampleBucket, math.NaN(), "1.0")
	w.value(h, sampleBucket, -3, "+Inf")
	w.value(w.family(counter, modeAll, "jobs", "Jobs."), sampleTotal, math.Inf(-1))
	r.want("nonsense", `
jobs_total{worker="1"} -Inf
age_bucket{le="1.0"} 0
age_bucket{le="+Inf"} 0
age_count 0`)
}
