package appmetrics

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"
)

// ReservedPrefixes are those of the server's own metrics.
var ReservedPrefixes = [...]string{"hostler_", "process_"}

// unfit says why a family cannot be exported; "": it can.
func unfit(d *descriptor) string {
	for _, prefix := range ReservedPrefixes {
		if strings.HasPrefix(d.name, prefix) {
			return "names that begin with " + prefix + " are the server's"
		}
	}
	if !isName(d.name, true) {
		return "its name is none that Prometheus' text format has"
	}
	for i, l := range d.labels {
		if !isName(l, false) || slices.Contains(d.labels[:i], l) || (l == "le" && d.typ == histogram) {
			return "it has a label that it cannot have"
		}
	}
	return ""
}

func isName(s string, colons bool) bool {
	for i, c := range []byte(s) {
		if !('a' <= c|0x20 && c|0x20 <= 'z' || c == '_' || c == ':' && colons || '0' <= c && c <= '9' && i > 0) {
			return false
		}
	}
	return s != ""
}

// Text appends all metrics in Prometheus' text format, or in that of OpenMetrics, but for
// what ends that. keep says which generations have workers, or are to have some: of the
// dead of others gauges are dropped.
func (r *Registry) Text(b []byte, open bool, keep func(generation int) bool) []byte {
	r.mu.Lock()
	defer r.unlock()
	for p := range r.live {
		r.parse(p)
	}
	for _, f := range r.families {
		for _, t := range f.index {
			t.retire(keep)
			t.begin()
		}
	}
	for p := range r.live {
		for _, v := range p.segment.values {
			if !p.mold || v.series.family.mode == modeNone {
				v.series.take(p.segment, v, p.worker)
			}
		}
	}
	for _, f := range r.shown() {
		b = f.text(b, open)
	}
	return b
}

// shown returns the families that there is something of, by name. Of two that would have
// the same name in the output one that a living process has is shown, and the newer one.
func (r *Registry) shown() []*family {
	var all []*family
	for _, f := range r.families {
		for _, t := range f.index {
			if t.now.some {
				all = append(all, f)
				break
			}
		}
	}
	slices.SortFunc(all, func(a, b *family) int {
		return cmp.Or(cmp.Compare(min(b.refs, 1), min(a.refs, 1)), cmp.Compare(b.generation, a.generation), strings.Compare(a.key, b.key))
	})
	taken := make(map[string]bool)
	all = slices.DeleteFunc(all, func(f *family) bool {
		names := f.names()
		if slices.ContainsFunc(names, func(n string) bool { return taken[n] }) {
			if !f.clashes {
				f.clashes = true
				r.leftOut[LeftOutClash]++
				r.tell("clash "+f.name, "a metric of the application's is left out", "metric", cut(f.name), "reason", "there is another one of the same name, of another type or with other labels")
			}
			return true
		}
		for _, n := range names {
			taken[n] = true
		}
		return false
	})
	slices.SortFunc(all, func(a, b *family) int { return strings.Compare(a.name, b.name) })
	return all
}

// names are those that the family takes in the output, of whatever format. They are those
// that it has in the library's own registry.
func (f *family) names() []string {
	names := []string{f.name}
	for _, suffix := range taken[f.typ] {
		names = append(names, f.name+suffix)
	}
	return names
}

var taken = [...][]string{counter: {"_total", createdSuffix}, gauge: nil, histogram: {"_bucket", "_sum", "_count", createdSuffix}, summary: {"_sum", "_count", createdSuffix}}

const createdSuffix = "_created"

// units are those that Prometheus' rules for names end them with.
var units = [...]string{"seconds", "bytes", "ratio", "celsius", "meters", "volts", "amperes", "joules", "grams"}

// Unit returns the unit of a metric, which its name ends with, or "".
func Unit(name string) string {
	for _, unit := range units {
		if strings.HasSuffix(name, "_"+unit) {
			return unit
		}
	}
	return ""
}

var (
	escapeHelp  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	escapeLabel = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
)

// about appends what is said of the family before its samples.
func (f *family) about(b []byte, open bool) []byte {
	name, help := f.name, escapeHelp
	if open {
		help = escapeLabel
	} else if f.typ == counter {
		name += "_total"
	}
	say := func(what, text string) {
		b = append(append(append(b, "# "...), what...), ' ')
		b = append(append(append(append(b, name...), ' '), text...), '\n')
	}
	say("HELP", help.Replace(f.help))
	say("TYPE", typeNames[f.typ])
	if unit := Unit(name); open && unit != "" {
		say("UNIT", unit)
	}
	return b
}

func (f *family) text(b []byte, open bool) []byte {
	b = f.about(b, open)
	workerLabel := "worker"
	if slices.Contains(f.labels, workerLabel) {
		workerLabel = "hostler_worker"
	}
	all := f.sorted()
	buckets, some := 0.0, false
	for i, t := range all {
		switch {
		case t.sample == sampleBucket:
			if t.now.some {
				buckets += countable(sampleBucket, t.now.v)
				some = true
				b = line(b, f.name+"_bucket", f.labels, t.own(), "le", t.labels[len(t.labels)-1], buckets)
			}
			if i+1 == len(all) || all[i+1].sample != sampleBucket || !slices.Equal(t.own(), all[i+1].own()) {
				if some {
					b = line(b, f.name+"_count", f.labels, t.own(), "", "", buckets)
				}
				buckets, some = 0, false
			}
		case !t.now.some:
		case f.mode&^modeLive == modeAll:
			for _, w := range t.now.by {
				b = line(b, f.name+suffixes[t.sample], f.labels, t.labels, workerLabel, strconv.Itoa(w.worker), w.v)
			}
		default:
			b = line(b, f.name+suffixes[t.sample], f.labels, t.labels, "", "", t.now.v)
		}
		// What is looked up (collect.py) may be as old as it likes.
		if last := i+1 == len(all) || !slices.Equal(t.own(), all[i+1].own()); last && open && f.mode == modeNone && t.now.some {
			b = line(b, f.name+createdSuffix, f.labels, t.own(), "", "", float64(t.created.UnixMilli())/1000)
		}
	}
	return b
}

// line appends a sample. more is a label besides, if it has a name.
func line(b []byte, name string, labels, values []string, more, moreValue string, v float64) []byte {
	b = append(b, name...)
	sep := byte('{')
	label := func(name, value string) {
		b = append(append(append(b, sep), name...), `="`...)
		b = append(append(b, escapeLabel.Replace(value)...), '"')
		sep = ','
	}
	for i, l := range labels {
		label(l, values[i])
	}
	if more != "" {
		label(more, moreValue)
	}
	if sep == ',' {
		b = append(b, '}')
	}
	return append(append(append(b, ' '), number(v)...), '\n')
}

func number(v float64) string {
	switch {
	case math.IsInf(v, 1):
		return "+Inf"
	case math.IsInf(v, -1):
		return "-Inf"
	case math.IsNaN(v):
		return "NaN"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}
