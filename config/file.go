package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"

	"hostler/internal/nearest"
)

func keys[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }

// readTOML takes what a file says.
func (l *loader) readTOML(path string, data []byte) {
	var top map[string]toml.Primitive
	meta, err := toml.Decode(string(data), &top)
	if err != nil {
		l.badTOML(path, err)
		return
	}
	l.readTable(path, &meta, top, nil)
}

// readProject takes the table [tool.hostler] of a pyproject.toml. It returns false if
// there is none.
func (l *loader) readProject(path string, data []byte) bool {
	var project struct {
		Tool struct {
			Hostler map[string]toml.Primitive
		}
	}
	meta, err := toml.Decode(string(data), &project)
	if err != nil {
		l.badTOML(path, err)
		return true
	}
	if !meta.IsDefined("tool", "hostler") {
		return false
	}
	l.readTable(path, &meta, project.Tool.Hostler, toml.Key{"tool", "hostler"})
	return true
}

func (l *loader) badTOML(path string, err error) {
	l.appUnknown = true
	var syntax toml.ParseError
	if errors.As(err, &syntax) {
		l.problemf("%s:%d: %s", path, syntax.Position.Line, strings.TrimPrefix(syntax.Message, "toml: "))
	} else {
		l.problemf("%s: %v", path, err)
	}
}

// readTable takes the settings in a table of a file, whose own key is under.
func (l *loader) readTable(path string, meta *toml.MetaData, table map[string]toml.Primitive, under toml.Key) {
	byKey := make(map[string]*setting)
	for _, s := range l.settings {
		if s.inFile() {
			byKey[s.key()] = s
			for _, a := range s.aliases {
				byKey[strings.ReplaceAll(a, "-", "_")] = s
			}
		}
	}
	seen := make(map[*setting]string)
	for _, key := range topKeys(meta, under) {
		value, line := examine(meta, table[key])
		origin := fmt.Sprintf("%s:%d: %s", path, line, key)
		s := byKey[strings.ReplaceAll(key, "-", "_")]
		switch {
		case s == nil && key == "tool":
			l.problemf("%s:%d: unknown key tool: [tool.hostler] is for %s; here settings stand at the top", path, line, projectFile)
			continue
		case s == nil:
			l.problemf("%s:%d: unknown key %s%s", path, line, key, nearest.Hint(strings.ReplaceAll(key, "-", "_"), keys(byKey)))
			continue
		case seen[s] != "":
			l.problemf("%s: is the same setting as %s", origin, seen[s])
			continue
		}
		seen[s] = key
		texts, err := tomlTexts(s, value)
		if err != nil {
			l.problemf("%s: %v", origin, err)
			continue
		}
		l.offer(s, candidate{texts: texts, origin: origin})
	}
}

// topKeys returns the keys in the table under, in the order of the file. A key may only be
// there as the first part of others: a.b = 1 has a table a that nobody wrote.
func topKeys(meta *toml.MetaData, under toml.Key) (found []string) {
	for _, k := range meta.Keys() {
		if len(k) > len(under) && slices.Equal(k[:len(under)], under) && !slices.Contains(found, k[len(under)]) {
			found = append(found, k[len(under)])
		}
	}
	return found
}

// probe takes a TOML value as it is. It refuses it too, since the position of a
// key is something that the library tells in errors only.
type probe struct{ value any }

var errProbe = errors.New("probe")

func (p *probe) UnmarshalTOML(v any) error { p.value = v; return errProbe }

func examine(meta *toml.MetaData, primitive toml.Primitive) (value any, line int) {
	var p probe
	var positioned toml.ParseError
	if errors.As(meta.PrimitiveDecode(primitive, &p), &positioned) {
		line = positioned.Position.Line
	}
	if line == 0 { // a table that stands in the keys of its values only
		var inner map[string]toml.Primitive
		_ = meta.PrimitiveDecode(primitive, &inner)
		for _, v := range inner {
			if _, n := examine(meta, v); n > 0 && (line == 0 || n < line) {
				line = n
			}
		}
	}
	return p.value, line
}

// tomlTexts writes a TOML value as it would stand on the command line.
func tomlTexts(s *setting, v any) ([]string, error) {
	switch v := v.(type) {
	case []any:
		if !s.value.list {
			return nil, errors.New("is an array; give one value")
		}
		texts := make([]string, 0, len(v))
		for _, e := range v {
			t, ok := tomlText(e)
			if !ok {
				return nil, errors.New("has something else than text in its array")
			}
			texts = append(texts, t)
		}
		return texts, nil
	case map[string]any:
		if !s.value.keyed {
			return nil, errors.New("is a table; give one value")
		}
		texts := make([]string, 0, len(v))
		for _, k := range keys(v) {
			t, ok := tomlText(v[k])
			if !ok {
				return nil, fmt.Errorf("has something else than text under %s", k)
			}
			texts = append(texts, k+"="+t)
		}
		return texts, nil
	}
	t, ok := tomlText(v)
	if !ok {
		return nil, errors.New("is neither text nor a number")
	}
	return []string{t}, nil
}

func tomlText(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case int64:
		return strconv.FormatInt(v, 10), true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}
