package appmetrics

import (
	"log/slog"
	"math"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxSeries and maxTextBytes bound what is kept of all processes together, and
	// maxKept the number of families.
	maxSeries    = 1 << 16
	maxTextBytes = 32 << 20
	maxKept      = 2 * maxFamilies
	smallFamily  = 64 // series
	// seriesBytes is what a series takes beside its labels, roughly.
	seriesBytes = 256
	// mostTold bounds how much is said of metrics that are left out.
	mostTold = 100
)

// Why something is left out.
const (
	LeftOutLimit   = "limit"   // series: there are too many
	LeftOutName    = "name"    // families: their name, or a label's, cannot be exported
	LeftOutClash   = "clash"   // families: another one has the name
	LeftOutDamaged = "damaged" // processes: what they share is not what they should share
)

// LeftOutReasons are all of them.
var LeftOutReasons = [...]string{LeftOutLimit, LeftOutName, LeftOutClash, LeftOutDamaged}

// Registry is the metrics of all processes of an application, living and dead. Its
// methods may be called from any goroutine.
type Registry struct {
	log *slog.Logger
	now func() time.Time

	mu       sync.Mutex
	live     map[*Process]bool
	families map[string]*family
	count    int // of series
	bytes    int // of texts
	unheld   int // series that no living process has
	leftOut  map[string]uint64
	told     map[string]bool
	says     []func() // what is to be logged, without the lock
}

// New returns a Registry without any process.
func New(log *slog.Logger) *Registry {
	return &Registry{log: log, now: time.Now, live: make(map[*Process]bool), families: make(map[string]*family),
		leftOut: make(map[string]uint64), told: make(map[string]bool)}
}

// Process is one that may share metrics.
type Process struct {
	r          *Registry
	worker     int // its number
	generation int
	mold       bool
	began      time.Time // when it shared some
	segment    *segment  // nil: it has shared none; guarded by the registry's lock
	ended      bool
}

// Process returns a new process. It waits for nothing.
func (r *Registry) Process(worker, generation int, mold bool) *Process {
	return &Process{r: r, worker: worker, generation: generation, mold: mold}
}

// Take gets the memory that the process shares, and closes fd.
func (p *Process) Take(fd int) {
	mem, err := mapMemory(fd)
	unix.Close(fd)
	p.r.mu.Lock()
	defer p.r.unlock()
	switch {
	case err != nil:
		p.r.damaged(p, err)
	case p.segment != nil || p.ended:
		_ = unix.Munmap(mem) // it has shared some before
		p.r.damaged(p, ErrMemory)
	default:
		p.segment, p.began = &segment{mem: mem}, p.r.now()
		p.r.live[p] = true
	}
}

// End adds what the process has counted to that of the dead.
func (p *Process) End() {
	p.r.mu.Lock()
	defer p.r.unlock()
	if p.ended = true; p.segment == nil || !p.r.live[p] {
		return
	}
	p.r.parse(p)
	for _, v := range p.segment.values {
		v.series.fold(p.segment, v, p)
		if v.series.refs == 0 {
			p.r.unheld++
		}
	}
	for _, f := range p.segment.families {
		f.refs--
	}
	delete(p.r.live, p)
	_ = unix.Munmap(p.segment.mem) // cannot fail
	p.segment = nil
}

// unlock unlocks, and says what there is to say.
func (r *Registry) unlock() {
	says := r.says
	r.says = nil
	r.mu.Unlock()
	for _, say := range says {
		say()
	}
}

// tell logs something once for each key.
func (r *Registry) tell(key, message string, args ...any) {
	if r.told[key] || len(r.told) >= mostTold {
		return
	}
	r.told[key] = true
	r.says = append(r.says, func() { r.log.Warn(message, args...) })
}

func (r *Registry) damaged(p *Process, err error) {
	r.leftOut[LeftOutDamaged]++
	r.tell("damaged", "a process shares metrics that are not in order; from there on they are not read", "worker", p.worker, "mold", p.mold, "error", err)
}

// parse takes in what a process has published.
func (r *Registry) parse(p *Process) {
	s := p.segment
	if s.bad != nil {
		return
	}
	s.parse(&intern{r, p.generation, p.began})
	for _, f := range s.full {
		r.tell("full "+f.name, "the application has more series than there is room for in a worker; further ones of this metric are left out: has it a label with ever new values?",
			"metric", cut(f.name), "worker", p.worker)
	}
	s.full = nil
	if s.bad != nil {
		r.damaged(p, s.bad)
	}
}

// intern finds the series that a process's records speak of, or makes them.
type intern struct {
	r          *Registry
	generation int
	began      time.Time
}

// family implements sink.
func (in *intern) family(d descriptor) *family {
	r, key := in.r, familyKey(&d)
	f := r.families[key]
	if f == nil {
		f = &family{descriptor: d, key: key, index: make(map[string]*series)}
		size := 2*len(key) + len(d.help)
		switch why := unfit(&d); {
		case why != "":
			f.refused = true
			r.leftOut[LeftOutName]++
			r.tell("name "+d.name, "a metric of the application's is left out", "metric", cut(d.name), "reason", why)
			return f
		case !r.room(f, 0, size):
			f.refused = true
			return f
		}
		r.bytes += size
		r.families[key] = f
	}
	if in.generation > f.generation {
		r.bytes += len(d.help) - len(f.help)
		f.generation, f.help = in.generation, d.help
	}
	f.refs++
	return f
}

// series implements sink.
func (in *intern) series(f *family, what sample, labels []string) *series {
	r := in.r
	if f.refused {
		return nil
	}
	key := string(rune('0'+what)) + joined(labels)
	t := f.index[key]
	if t == nil {
		size := 2*len(key) + seriesBytes
		if !r.room(f, 1, size) {
			return nil
		}
		f.bytes += size
		t = &series{family: f, sample: what, key: key, labels: labels, created: in.began}
		if what == sampleBucket {
			t.le = bound(labels[len(labels)-1])
		}
		f.index[key], f.order = t, nil
		r.count++
		r.bytes += size
	} else if t.refs == 0 {
		r.unheld--
	}
	t.refs++
	if in.began.Before(t.created) {
		t.created = in.began
	}
	t.generation = max(t.generation, in.generation)
	return t
}

// room reports whether there is room for something more of a family's. What only the dead
// have had goes first, that of the oldest generation before all. No family has more than
// half of the room, and the last eighth is for small ones: one whose labels never end
// does not shut out the others.
func (r *Registry) room(f *family, series, bytes int) bool {
	fits := func() bool {
		most, mostBytes := maxSeries, maxTextBytes
		if len(f.index) >= smallFamily {
			if len(f.index) >= maxSeries/2 || f.bytes+bytes > maxTextBytes/2 {
				return false
			}
			most, mostBytes = maxSeries/8*7, maxTextBytes/8*7
		}
		return r.count+series <= most && r.bytes+bytes <= mostBytes && len(r.families) < maxKept
	}
	for !fits() && r.evict() {
	}
	if fits() {
		return true
	}
	r.leftOut[LeftOutLimit]++
	r.tell("limit "+f.name, "the application has more series than hostler adds up; further ones of this metric are left out: has it a label with ever new values?",
		"metric", cut(f.name), "series", len(f.index), "of all", r.count, "limit", maxSeries)
	return false
}

// evict forgets the series of the oldest generation that only the dead have had, and the
// families that nobody has. It looks at all series only where it frees some.
func (r *Registry) evict() bool {
	freed := 0
	if r.unheld > 0 {
		freed = r.evictSeries()
	}
	before := len(r.families)
	for _, f := range r.families {
		if len(f.index) == 0 && f.refs == 0 {
			delete(r.families, f.key)
			r.bytes -= 2*len(f.key) + len(f.help)
		}
	}
	return freed > 0 || len(r.families) < before
}

func (r *Registry) evictSeries() (freed int) {
	oldest := math.MaxInt
	for _, f := range r.families {
		for _, t := range f.index {
			if t.refs == 0 {
				oldest = min(oldest, t.generation)
			}
		}
	}
	for _, f := range r.families {
		for key, t := range f.index {
			if t.refs == 0 && t.generation == oldest {
				delete(f.index, key)
				f.order = nil
				freed++
				f.bytes -= 2*len(key) + seriesBytes
				r.bytes -= 2*len(key) + seriesBytes
			}
		}
	}
	r.count -= freed
	r.unheld -= freed
	r.tell("evicted", "the application has more series than hostler adds up; those that only workers have had which are gone are forgotten", "limit", maxSeries)
	return freed
}

// familyKey is what tells families apart: all but the help.
func familyKey(d *descriptor) string {
	return string(rune('0'+d.typ)) + string(rune('0'+d.mode)) + joined(append([]string{d.name}, d.labels...))
}

// joined makes one text of several, and different ones of different ones.
func joined(all []string) string {
	var b strings.Builder
	for _, s := range all {
		for _, c := range []byte(s) {
			if c <= 1 { // 0 ends a text
				b.WriteByte(1)
			}
			b.WriteByte(c)
		}
		b.WriteByte(0)
	}
	return b.String()
}

// cut is a name as it may be in a log.
func cut(name string) string {
	if len(name) > 100 {
		return strings.ToValidUTF8(name[:100], "") + "…"
	}
	return name
}

// Stats are figures about the metrics themselves.
type Stats struct {
	Processes  int    // that share metrics
	Series     int    // that are kept, of the living and the dead
	Unrecorded uint64 // values of the living that had no room
	LeftOut    map[string]uint64
}

// Stats returns them as of now.
func (r *Registry) Stats() Stats {
	r.mu.Lock()
	defer r.unlock()
	for p := range r.live {
		r.parse(p)
	}
	s := Stats{Processes: len(r.live), Series: r.count, LeftOut: make(map[string]uint64)}
	for p := range r.live {
		s.Unrecorded += p.segment.unrecorded()
	}
	for _, reason := range LeftOutReasons {
		s.LeftOut[reason] = r.leftOut[reason]
	}
	return s
}
