package config

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"hostler/settings"
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

// samples hold a value for every kind of setting, other than none.
var samples = []string{"1", "2:4", "auto", "auto:auto", "true", "x", "/x", "x=/x:1", "/x=.", ":1", "unix:/x", "v1", "nginx", "x@x.example", "https://x.example/x", "grpc", "503=x.html", "5%:2s"}

// byLoad are the fields that are no setting's: Load fills them.
var byLoad = map[string]string{
	"BindsGiven": "whether there was a value",
	"AdminGiven": "likewise",
	"Warnings":   "of Load's own",
	"origins":    "likewise",
	"Conf":       "a settings file of Gunicorn's, where there is one",
	"ConfHooks":  "likewise",
	"Tracing":    "of --otel and its variables",
	"Notes":      "of Load's own",
	"appUnknown": "likewise",
	"texts":      "likewise",
}

// TestRowsAndFields: every row fills a field, and every field has one row.
func TestRowsAndFields(t *testing.T) {
	rowOf := make(map[string]string)
	for _, s := range table() {
		filled := 0
		for _, text := range append([]string{s.def}, samples...) {
			c := new(Config)
			if s.value.set(c, []string{text}) != nil {
				continue
			}
			for _, field := range set(reflect.ValueOf(*c), "") {
				if other, taken := rowOf[field]; taken && other != s.name {
					t.Errorf("%s is filled by --%s and --%s", field, other, s.name)
				}
				rowOf[field] = s.name
				filled++
			}
		}
		if filled == 0 {
			t.Errorf("--%s fills no field, or a sample is missing", s.name)
		}
	}
	for _, field := range leaves(reflect.TypeFor[Config](), "") {
		if rowOf[field] == "" && byLoad[field] == "" {
			t.Errorf("%s has no row in the table", field)
		}
		if rowOf[field] != "" && byLoad[field] != "" {
			t.Errorf("%s is filled by --%s", field, rowOf[field])
		}
	}
}

// leaves are the names of the fields of t, those of structs in it included.
func leaves(t reflect.Type, prefix string) (names []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		switch {
		case f.Anonymous:
			names = append(names, leaves(f.Type, prefix)...)
		case f.Type == reflect.TypeFor[settings.TLS](), f.Type == reflect.TypeFor[settings.ACME]():
			names = append(names, leaves(f.Type, prefix+f.Name+".")...)
		default:
			names = append(names, prefix+f.Name)
		}
	}
	return names
}

// set are the names of the fields of v, as leaves has them, that are not zero.
func set(v reflect.Value, prefix string) (names []string) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		switch {
		case f.Anonymous:
			names = append(names, set(v.Field(i), prefix)...)
		case f.Type == reflect.TypeFor[settings.TLS](), f.Type == reflect.TypeFor[settings.ACME]():
			names = append(names, set(v.Field(i), prefix+f.Name+".")...)
		case !v.Field(i).IsZero():
			names = append(names, prefix+f.Name)
		}
	}
	return names
}
