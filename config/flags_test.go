package config_test

import (
	"slices"
	"strings"
	"testing"
)

func TestUnknownFlags(t *testing.T) {
	const noApp = "no application given: hostler MODULE:ATTR, e.g. hostler shop.wsgi:application"
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"--wrkers", "3", "shop"}, []string{"unknown flag --wrkers (did you mean --workers?)"}},
		{[]string{"--wrkers=3", "shop"}, []string{"unknown flag --wrkers (did you mean --workers?)"}},
		{[]string{"shop", "--wrkers"}, []string{"unknown flag --wrkers (did you mean --workers?)"}},
		{[]string{"--chek", "shop"}, []string{"unknown flag --chek (did you mean --check?)"}},
		{[]string{"--KeepAlive", "5", "shop"}, []string{"unknown flag --KeepAlive (did you mean --keep-alive?)"}},
		{[]string{"--max-req", "5", "shop"}, []string{"unknown flag --max-req (did you mean --max-requests?)"}},
		{[]string{"--frobnicate", "shop"}, []string{"unknown flag --frobnicate"}},
		{[]string{"--frobnicate", "5", "shop"}, []string{"unknown flag --frobnicate"}},
		{[]string{"--frobnicate", "5", "--color", "red", "shop:app", "extra"}, []string{"unknown flag --frobnicate", "unknown flag --color"}},
		{[]string{"--frobnicate", "5"}, []string{"unknown flag --frobnicate"}},
		{[]string{"--frobnicate"}, []string{"unknown flag --frobnicate"}},
		{[]string{"--thread", "2", "--frob", "--thread", "4", "shop"}, []string{"unknown flag --thread (did you mean --threads?)", "unknown flag --frob"}},
		{[]string{"--worker-class=tornado", "-D", "shop"}, []string{"--worker-class: tornado runs Tornado's loop, which hostler does not have: its WSGI applications run with --threads", "-D: run hostler under systemd or another supervisor"}},
		{[]string{"shop", "--statsd-host"}, []string{"--statsd-host needs a value"}},
		{[]string{"-x", "shop"}, []string{"unknown flag -x"}},
		{[]string{"-xyx", "shop"}, []string{"unknown flag -x", "unknown flag -y"}},
		{[]string{"-\xff", "shop"}, []string{"unknown flag -\uFFFD"}},
		{[]string{"--=", "shop"}, []string{"bad flag syntax: --=", noApp}},
		{[]string{"--name", "--wrkers", "--wrkers", "3", "shop"}, []string{"unknown flag --wrkers (did you mean --workers?)"}},
		{[]string{"--esc\x1b[2J", "shop"}, []string{"unknown flag --esc [2J"}},
		{[]string{"--" + strings.Repeat("x", 100), "shop"}, []string{"unknown flag --" + strings.Repeat("x", 100)}},
	} {
		if got := problems(t, nil, nil, c.args...); !slices.Equal(got, c.want) {
			t.Errorf("%q: got %q, want %q", c.args, got, c.want)
		}
	}
}

func TestMissingValue(t *testing.T) {
	for _, args := range [][]string{{"shop", "--workers"}, {"shop", "-w"}} {
		if got, want := problems(t, nil, nil, args...), []string{"--workers needs a value: N[:MAX]"}; !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", args, got, want)
		}
	}
}

func TestTooManyArguments(t *testing.T) {
	want := []string{`too many arguments: there is one application, "shop", and then "a b"`}
	if got := problems(t, nil, nil, "shop", "a", "b"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	want = []string{"uvicorn: hostler is what stands in its place: leave that word out"}
	if got := problems(t, nil, nil, "uvicorn", "shop:app", "--port", "8001"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
