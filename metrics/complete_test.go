package metrics

import (
	"maps"
	"reflect"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"hostler/protocol"
)

// TestEveryCounterIsExported counts in one field of the scoreboard after the
// other: each time a scrape must show it.
func TestEveryCounterIsExported(t *testing.T) {
	r := newRig(t)
	slot := r.start(0, 100)
	if !maps.Equal(r.workers(), r.workers()) {
		t.Fatal("the samples change by themselves")
	}
	counters := reflect.ValueOf(&slot.Counters).Elem()
	for i := range counters.NumField() {
		name := counters.Type().Field(i).Name
		before := r.workers()
		count(t, name, counters.Field(i))
		changed := ""
		for series, v := range r.workers() {
			if v != before[series] {
				changed += series + " "
			}
		}
		if changed == "" {
			t.Errorf("no metric shows Counters.%s", name)
		}
		// One name for a thing: who reads of it on a dashboard finds it in the source.
		for _, word := range words(name) {
			if !strings.Contains(changed, word) {
				t.Errorf("Counters.%s is shown by %s: no name there has %q", name, changed, word)
			}
		}
	}
}

// TestEveryGaugeIsExported does the same with what describes the worker now. A few are
// for the master's eyes only.
func TestEveryGaugeIsExported(t *testing.T) {
	r := newRig(t)
	slot := r.start(0, 100)
	r.c.mono = func() int64 { return 100e9 }
	own := map[string]string{"Heartbeat": "worker_up says what comes of it", "GILWanted": "worker_exits_total does", "Served": "--max-requests is held against it", "LoopSince": "loop_lag_seconds says what comes of it", "Unseen": "tasks and websockets say how many there are"}
	gauges := reflect.ValueOf(&slot.Gauges).Elem()
	for i := range gauges.NumField() {
		name := gauges.Type().Field(i).Name
		before := r.workers()
		count(t, name, gauges.Field(i))
		if shown, why := !maps.Equal(r.workers(), before), own[name]; shown == (why != "") {
			t.Errorf("Gauges.%s is shown by a metric: %t; it is not to be, since %q", name, shown, why)
		}
	}
}

// words are those of a field's name, as a metric's name has them.
func words(field string) (all []string) {
	for _, w := range regexp.MustCompile(`[A-Z]+(?:[a-z]+)?`).FindAllString(strings.ReplaceAll(field, "GILWait", "GilWait"), -1) {
		all = append(all, strings.TrimSuffix(strings.ToLower(w), "s"))
	}
	return all
}

// workers are the samples that come from the scoreboard. The others, of the
// process that is scraped, change by themselves.
func (r *rig) workers() map[string]float64 {
	s := r.samples()
	maps.DeleteFunc(s, func(name string, _ float64) bool { return !strings.HasPrefix(name, namespace+"_") })
	return s
}

// count adds to all that v holds.
func count(t *testing.T, name string, v reflect.Value) {
	t.Helper()
	switch v := v.Addr().Interface().(type) {
	case *atomic.Uint64:
		v.Add(7)
		return
	case *atomic.Int64:
		v.Add(7e9)
		return
	case *protocol.Histogram:
		v.Observe(7e6)
		return
	}
	if v.Kind() != reflect.Array {
		t.Fatalf("Counters.%s is of a kind that is new to this test: %s", name, v.Type())
	}
	for i := range v.Len() {
		count(t, name, v.Index(i))
	}
}
