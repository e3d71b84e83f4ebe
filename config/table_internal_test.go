package config

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestTableIsSound(t *testing.T) {
	word := regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z]+)*$`)
	taken := make(map[string]bool)
	claim := func(name string) {
		if taken[name] {
			t.Errorf("%s is there twice", name)
		}
		taken[name] = true
	}
	done := make(map[string]bool)
	last := ""
	headings := make(map[string]bool)
	for _, s := range table() {
		headings[strings.ToLower(s.group)] = true
	}
	for i, s := range table() {
		if s.positional() != (i == 0) {
			t.Errorf("%s: the positional argument, and it alone, comes first", s.name)
		}
		if s.group != last && done[s.group] {
			t.Errorf("%s: group %q is torn apart", s.name, s.group)
		}
		last, done[s.group] = s.group, true
		for _, n := range append([]string{s.name}, s.aliases...) {
			claim(n)
			if !word.MatchString(n) && n != "limit-request-field_size" { // which is how Gunicorn writes it
				t.Errorf("%s is no name for a flag", n)
			}
		}
		if headings[s.name] {
			t.Errorf("%s is a group too: the reference page would have two places of that name", s.name)
		}
		if s.short != "" {
			claim(s.short)
		}
		if s.help == "" || s.value.set == nil {
			t.Errorf("%s has no help or no value", s.name)
		}
		if s.value.boolean != (s.arg == "") {
			t.Errorf("%s: a switch has no argument, all else has", s.name)
		}
		if !s.value.boolean && s.value.accepts == "" {
			t.Errorf("%s does not say what it accepts", s.name)
		}
		for _, f := range s.defaults {
			claim(f.variable)
		}
		for p, text := range s.behind {
			if !slices.Contains(presets, p) || s.value.set(new(Config), []string{text}) != nil {
				t.Errorf("%s: the default %q behind %s", s.name, text, p)
			}
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"wrkers", "workers", 1}, {"wokrers", "workers", 1},
		{"bnid", "bind", 1}, {"abc", "abd", 1}, {"kitten", "sitting", 3},
	} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
