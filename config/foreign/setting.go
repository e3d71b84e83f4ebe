package foreign

import (
	"fmt"
	"strconv"
	"strings"
)

// Server is the server that a setting is of.
type Server string

// The servers.
const (
	Gunicorn  Server = "Gunicorn"
	Uvicorn   Server = "uvicorn"
	Granian   Server = "granian"
	Hypercorn Server = "hypercorn"
	UWSGI     Server = "uWSGI"
)

// Fate is what becomes of a setting.
type Fate int

// The fates of settings.
const (
	Same    Fate = iota // it is one of ours, by this name or another, and means the same
	Changed             // it becomes something else, or means something else
	Idle                // there is nothing to set: it is so anyway, or does not arise
	Lost                // there is nothing like it; the server can serve without
	Refused             // a server without it would not be what is wanted
)

// Takes reports whether a flag has a value.
type Takes int

// What flags take.
const (
	Nothing Takes = iota
	One
	Maybe // only with =
)

// setting is an entry of a table.
type setting struct {
	server Server
	key    string   // in a settings file; "": it has none
	flags  []string // on the command line; none: it has none
	takes  Takes

	fate Fate
	here string // the setting of ours that it becomes; "": none
	why  string // what people are told, after "KEY: "; "" where there is nothing to say

	// convert returns what v becomes. Nil: the entry says all.
	convert func(v any) result
	// draft is convert where somebody reads what comes of it before it is used (see
	// Where.Draft). Nil: as elsewhere.
	draft func(v any) result
	// harmless are values, besides nothing, false and empty, that need no word: the
	// server's own defaults.
	harmless []string
	// empty says that an empty text is a value, too.
	empty bool
	// hook marks the functions of a settings file.
	hook bool
}

// result is what one value becomes.
type result struct {
	fate  Fate
	gives []Given
	why   string
	err   error
}

// Given is a setting of ours and its texts, as on the command line.
type Given struct {
	Setting string
	Texts   []string
}

// of returns what v becomes.
func (s *setting) of(v any) result {
	if s.nothing(v) {
		return result{fate: Same}
	}
	if s.convert != nil {
		return s.convert(v)
	}
	r := result{fate: s.fate, why: s.why}
	if s.here != "" {
		t, err := texts(v)
		if err != nil {
			return result{err: err}
		}
		r.gives = []Given{{s.here, t}}
	}
	return r
}

// nothing reports whether v is as if the setting were not there.
func (s *setting) nothing(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v && s.convert == nil
	case string:
		if v == "" {
			return !s.empty
		}
	case []any:
		return len(v) == 0 && !s.empty
	case map[string]any:
		return len(v) == 0
	}
	for _, h := range s.harmless {
		if t, err := text(v); err == nil && strings.EqualFold(t, h) {
			return true
		}
	}
	return false
}

// text writes a value as it would stand on the command line.
func text(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return strings.TrimSpace(v), nil
	case bool:
		return strconv.FormatBool(v), nil
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), nil
	}
	return "", fmt.Errorf("is %s", kind(v))
}

func texts(v any) ([]string, error) {
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	all := make([]string, 0, len(list))
	for _, e := range list {
		t, err := text(e)
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, nil
}

func kind(v any) string {
	switch v := v.(type) {
	case []any:
		return "a list"
	case map[string]any:
		if o, ok := v[objectKey].(string); ok {
			return "an object (" + o + ")"
		}
		return "a dictionary"
	case nil:
		return "None"
	}
	return fmt.Sprintf("a %T", v)
}

// objectKey is how evaluate.py marks what JSON cannot say.
const objectKey = "__object__"

// object returns the name of a class or function.
func object(v any) (string, bool) {
	m, ok := v.(map[string]any)
	if !ok {
		return "", false
	}
	name, ok := m[objectKey].(string)
	return name, ok
}

// bases returns the names of the classes that one is made of.
func bases(v any) (names []string) {
	m, _ := v.(map[string]any)
	list, _ := m["__bases__"].([]any)
	for _, b := range list {
		if name, ok := b.(string); ok {
			names = append(names, name)
		}
	}
	return names
}

// --- entries ---------------------------------------------------------------

type entry = func(*setting)

// flags are how the setting is spelt on the command line.
func flags(takes Takes, names ...string) entry {
	return func(s *setting) { s.takes, s.flags = takes, names }
}

func same(here string) entry {
	return func(s *setting) { s.fate, s.here = Same, here }
}

func changed(here, why string) entry {
	return func(s *setting) { s.fate, s.here, s.why = Changed, here, why }
}

func idle(why string) entry    { return func(s *setting) { s.fate, s.why = Idle, why } }
func lost(why string) entry    { return func(s *setting) { s.fate, s.why = Lost, why } }
func refused(why string) entry { return func(s *setting) { s.fate, s.why = Refused, why } }

func harmless(values ...string) entry { return func(s *setting) { s.harmless = values } }
func mayBeEmpty(s *setting)           { s.empty = true }
func isHook(s *setting)               { s.hook = true }

// by has a value converted. It goes last: what it says holds, and the fate before it
// is what the documentation says.
func by(convert func(v any) result) entry { return func(s *setting) { s.convert = convert } }

// inDraft has it converted in a draft that is refused elsewhere, with a word about why.
func inDraft(why string, convert func(v any) result) entry {
	return func(s *setting) {
		s.draft = func(v any) result {
			r := convert(v)
			r.why = why
			return r
		}
	}
}

// fixed is a switch that becomes this.
func fixed(here, value string) entry {
	return func(s *setting) {
		s.here = here
		s.convert = func(v any) result {
			if v == false {
				return result{fate: Same}
			}
			return result{fate: s.fate, why: s.why, gives: []Given{{here, []string{value}}}}
		}
	}
}

func newSetting(server Server, key string, entries ...entry) *setting {
	s := &setting{server: server, key: key}
	for _, e := range entries {
		e(s)
	}
	return s
}
