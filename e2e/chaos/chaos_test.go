package main

import (
	"errors"
	"io"
	"slices"
	"testing"
	"time"
)

func TestSamePlan(t *testing.T) {
	kinds := []kind{"a", "b", "c"}
	one, two, other := newPlan(7, kinds), newPlan(7, kinds), newPlan(8, kinds)
	same := true
	for range 4 {
		var seen []kind
		for range kinds {
			s := one.next()
			if s != two.next() {
				t.Fatal("one seed made two plans")
			}
			same = same && s == other.next()
			seen = append(seen, s.kind)
		}
		slices.Sort(seen)
		if !slices.Equal(seen, kinds) {
			t.Errorf("dealt %v", seen)
		}
	}
	if same {
		t.Error("two seeds made one plan")
	}
}

func TestBlame(t *testing.T) {
	at := time.Now()
	deaths := []death{{1, at, "killed"}}
	f := func(id uint64, phase string, alive, failed time.Duration, err error) failure {
		return failure{id: id, phase: phase, alive: at.Add(alive), at: at.Add(failed), err: err}
	}
	for _, c := range []struct {
		name   string
		f      failure
		guilty bool
	}{
		{"died with it", f(1, "head", -time.Second, time.Millisecond, io.EOF), false},
		{"named", f(9, "head", -time.Hour, -time.Hour, io.EOF), false},
		{"long after", f(1, "head", time.Second, 2*time.Second, io.EOF), true},
		{"long before", f(1, "head", -time.Minute, -time.Minute, io.EOF), true},
		{"refused", f(1, "dial", -time.Second, time.Millisecond, io.EOF), true},
		{"wrong answer", f(1, "answer", -time.Second, time.Millisecond, errors.New("status 503")), true},
	} {
		guilty, _, _ := blame([]failure{c.f}, deaths, map[uint64]int{9: 2})
		if (len(guilty) == 1) != c.guilty {
			t.Errorf("%s: guilty %v", c.name, guilty)
		}
	}
}

func TestReadLog(t *testing.T) {
	deaths, lost := readLog(`time=2026-01-02T03:04:05.678Z level=ERROR msg="request lost" worker=1 pid=7 cause=exit:0 method=GET target="/sleep?id=42&n=0.1"
time=2026-01-02T03:04:05.678Z level=ERROR msg="worker died" worker=1 pid=7 generation=4 cause=exit status=exit:0
time=2026-01-02T03:04:05.678Z level=INFO msg="worker left" worker=1 pid=8 generation=4
`)
	if len(deaths) != 1 || deaths[0].pid != 7 || len(lost) != 1 || lost[42] != 7 {
		t.Errorf("deaths %v, lost %v", deaths, lost)
	}
}

func TestCountersGoBack(t *testing.T) {
	text := func(run, n string) string {
		return "# TYPE hostler_x_total counter\nhostler_x_total{a=\"b c\"} " + n + "\nprocess_start_time_seconds " + run + "\n"
	}
	s := &scraper{past: make(map[string]bool)}
	for _, c := range []struct {
		run, n string
		wrong  int
	}{{"1", "5", 0}, {"1", "6", 0}, {"2", "1", 0}, {"2", "0", 1}, {"1", "6", 2}} {
		s.take(text(c.run, c.n), time.Now())
		if len(s.wrong) != c.wrong {
			t.Errorf("after run %s, %s: %q", c.run, c.n, s.wrong)
		}
	}
}
