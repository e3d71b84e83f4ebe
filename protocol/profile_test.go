package protocol

import (
	"errors"
	"testing"
)

func TestParseProfile(t *testing.T) {
	p, err := ParseProfile(`{"id":3,"samples":5,"seconds":1.5,"cost_seconds":0.01,"cut_seconds":0}` + "\na;b c 17\nd 2\n")
	if want := (WorkerProfile{ID: 3, Samples: 5, Seconds: 1.5, Cost: 0.01, Stacks: "a;b c 17\nd 2\n"}); err != nil || p != want {
		t.Errorf("%+v, %v", p, err)
	}
	for _, bad := range []string{"", "{}", "x\n", "[]\n", `{"id":"a"}` + "\n"} {
		if _, err := ParseProfile(bad); !errors.Is(err, ErrProfile) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestFoldedStack(t *testing.T) {
	for _, c := range []struct {
		line, stack string
		n           int64
		ok          bool
	}{
		{"a;b c 17\n", "a;b c", 17, true},
		{"a 0", "a", 0, true},
		{" 1", "", 0, false},
		{"a", "", 0, false},
		{"a -1", "a", -1, false},
		{"a 1.5", "a", 0, false},
	} {
		if stack, n, ok := FoldedStack(c.line); ok != c.ok || ok && (stack != c.stack || n != c.n) {
			t.Errorf("%q: %q %d %v", c.line, stack, n, ok)
		}
	}
}
