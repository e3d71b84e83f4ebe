package metrics

import (
	"maps"
	"reflect"
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
		if maps.Equal(r.workers(), before) {
			t.Errorf("no metric shows Counters.%s", name)
		}
	}
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
