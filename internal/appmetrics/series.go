package appmetrics

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"time"
)

// family is a metric of the application's, from all processes that describe it alike.
type family struct {
	descriptor        // its help is that of the newest generation
	key        string // what tells it apart
	generation int    // the newest that has it
	refs       int    // living processes that have it
	bytes      int    // of its series
	refused    bool   // none of its series is kept
	clashes    bool   // another family of the same name is exported in its place
	index      map[string]*series
	order      []*series // of index; nil: to be made
}

// series is one of a family's, put together from all processes.
type series struct {
	family     *family
	sample     sample
	key        string
	labels     []string
	le         float64   // of a bucket
	generation int       // the newest that has it
	created    time.Time // nobody has counted before
	refs       int       // cells of the living
	total      float64   // of the dead; not of what is set
	counted    bool      // the dead have had it
	dead       []deadGauge
	now        point // at this scrape
}

// deadGauge is what the dead of a generation have left of a value that is set.
type deadGauge struct {
	generation int
	point
}

// point is a value put together from several.
type point struct {
	v, at float64 // at is the time of a mostrecent gauge's
	some  bool    // there was one
	by    []ofWorker
}

// ofWorker is a worker's own value, of the modes all and liveall.
type ofWorker struct {
	worker int
	v      float64
}

// add takes in a process's value, or what another point has.
func (p *point) add(m mode, worker int, v, at float64) {
	switch m &^ modeLive {
	case modeMin:
		if !p.some || v < p.v {
			p.v = v
		}
	case modeMax:
		if !p.some || v > p.v {
			p.v = v
		}
	case modeRecent:
		if !p.some || at > p.at {
			p.v, p.at = v, at
		}
	case modeAll:
		i, found := slices.BinarySearchFunc(p.by, worker, func(o ofWorker, w int) int { return cmp.Compare(o.worker, w) })
		if found {
			p.by[i].v = v // of the number's next holder
		} else {
			p.by = slices.Insert(p.by, i, ofWorker{worker, v})
		}
	default:
		p.v += v
	}
	p.some = true
}

// merge adds what another point has.
func (p *point) merge(m mode, o *point) {
	if !o.some {
		return
	}
	if m&^modeLive != modeAll {
		p.add(m, 0, o.v, o.at)
		return
	}
	for _, w := range o.by {
		p.add(m, w.worker, w.v, 0)
	}
}

// begin sets now to what the dead have left.
func (t *series) begin() {
	t.now = point{by: t.now.by[:0]}
	if t.family.mode == modeNone {
		t.now.v, t.now.some = t.total, t.counted
		return
	}
	for i := range t.dead {
		t.now.merge(t.family.mode, &t.dead[i].point)
	}
}

// take adds what a cell of a living process has.
func (t *series) take(s *segment, v value, worker int) {
	if t.family.mode == modeNone {
		t.now.v += countable(t.sample, s.cell(v.cell))
		t.now.some = true
	} else if !s.removed(v) {
		t.now.add(t.family.mode, worker, s.cell(v.cell), s.cell(v.cell+1))
	}
}

// fold adds what a cell of a process has that has ended. Of a mold only what it counted
// stays: its gauges are its workers'.
func (t *series) fold(s *segment, v value, p *Process) {
	switch m := t.family.mode; {
	case t.family.mode == modeNone:
		t.total += countable(t.sample, s.cell(v.cell))
		t.counted = true
	case p.mold || m&modeLive != 0 || s.removed(v):
	default:
		i := slices.IndexFunc(t.dead, func(d deadGauge) bool { return d.generation == p.generation })
		if i < 0 {
			i = len(t.dead)
			t.dead = append(t.dead, deadGauge{generation: p.generation})
		}
		t.dead[i].add(m, p.worker, s.cell(v.cell), s.cell(v.cell+1))
	}
	t.refs--
}

// retire drops what the dead of other generations than those have left of a gauge.
func (t *series) retire(keep func(int) bool) {
	if len(t.dead) > 0 {
		t.dead = slices.DeleteFunc(t.dead, func(d deadGauge) bool { return !keep(d.generation) })
	}
}

// countable is what a cell that only grows can have. A sum may also shrink.
func countable(s sample, v float64) float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) || v < 0 && s != sampleSum {
		return 0
	}
	return v
}

// own are the labels without the le of a bucket.
func (t *series) own() []string {
	if t.sample == sampleBucket {
		return t.labels[:len(t.labels)-1]
	}
	return t.labels
}

// bound is a bucket's upper bound as a number; one that is none comes last.
func bound(le string) float64 {
	v, err := strconv.ParseFloat(le, 64)
	if err != nil || math.IsNaN(v) {
		return math.Inf(1)
	}
	return v
}

// inOrder compares series of a family: those of the same labels lie together, buckets
// first, by their bounds.
func inOrder(a, b *series) int {
	rank := func(t *series) int { return int(sampleBucket - t.sample) }
	return cmp.Or(slices.Compare(a.own(), b.own()), cmp.Compare(rank(a), rank(b)), cmp.Compare(a.le, b.le), cmp.Compare(a.key, b.key))
}

// sorted are the family's series in order.
func (f *family) sorted() []*series {
	if f.order == nil {
		f.order = make([]*series, 0, len(f.index))
		for _, t := range f.index {
			f.order = append(f.order, t)
		}
		slices.SortFunc(f.order, inOrder)
	}
	return f.order
}
