package foreign

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// ReadINI reads a settings file of uWSGI's: the section [uwsgi], with its
// placeholders (%(name), %d, $(VARIABLE), @(file)) filled in as far as they can be.
// What it does not know it names.
func ReadINI(name string, data []byte, getenv func(string) string) (uses []Use, unknown []string, err error) {
	table := make(map[string]*setting)
	for _, s := range uwsgi() {
		if s.key != "" {
			table[s.key] = s
		}
	}
	ini := iniFile{name: name, getenv: getenv, own: make(map[string]string)}
	in, found := false, false
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
			continue
		case line[0] == '[':
			in = strings.TrimSpace(strings.Trim(line, "[]")) == "uwsgi"
			found = found || in
			continue
		case !in:
			continue
		}
		key, value, has := strings.Cut(line, "=")
		key, value = strings.ReplaceAll(strings.TrimSpace(key), "_", "-"), ini.fill(strings.TrimSpace(value))
		if !has {
			value = "true"
		}
		ini.own[key] = value
		s := table[key]
		if s == nil {
			if !ini.isVariable(key) {
				unknown = append(unknown, key)
			}
			continue
		}
		if u := (Use{s, key, s.fromINI(value)}); u.value != nil {
			uses = append(uses, u)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, nil, fmt.Errorf("cannot read %s: %w", name, err)
	}
	if !found {
		return nil, nil, errors.New("it has no section [uwsgi]")
	}
	// A key that others are made of is a variable of the file's own.
	kept := unknown[:0]
	for _, k := range unknown {
		if !bytes.Contains(data, []byte("%("+k+")")) && !bytes.Contains(data, []byte("%("+strings.ReplaceAll(k, "-", "_")+")")) {
			kept = append(kept, k)
		}
	}
	return uses, kept, nil
}

// fromINI is the value of a key; nil: it is switched off.
func (s *setting) fromINI(value string) any {
	if s.takes != Maybe {
		return value
	}
	switch strings.ToLower(value) {
	case "false", "0", "no", "off":
		return nil
	}
	return true
}

type iniFile struct {
	name   string
	getenv func(string) string
	own    map[string]string
}

// isVariable: these set what the file itself uses.
func (f *iniFile) isVariable(key string) bool {
	switch key {
	case "set", "set-placeholder", "set-ph", "print", "for", "endfor", "if-env", "if-exists", "endif", "show-config", "log-prefix":
		return true
	}
	return false
}

// fill replaces placeholders. Those that cannot be known stay.
func (f *iniFile) fill(value string) string {
	path, err := filepath.Abs(f.name)
	if err != nil {
		path = f.name
	}
	letters := map[byte]string{
		'd': filepath.Dir(path) + "/", 'p': path, 's': filepath.Base(path), 'n': strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)),
		'e': strings.TrimPrefix(filepath.Ext(path), "."), 'c': filepath.Base(filepath.Dir(path)), '%': "%",
	}
	if host, err := os.Hostname(); err == nil {
		letters['h'] = host
	}
	var b strings.Builder
	for i := 0; i < len(value); i++ {
		rest := value[i+1:]
		end := strings.IndexByte(rest, ')')
		switch c := value[i]; {
		case (c == '%' || c == '$') && strings.HasPrefix(rest, "(") && end > 0:
			name := rest[1:end]
			if c == '$' {
				b.WriteString(f.getenv(name))
			} else if v, ok := f.own[strings.ReplaceAll(name, "_", "-")]; ok {
				b.WriteString(v)
			} else {
				b.WriteString(value[i : i+1+end+1])
			}
			i += end + 1
		case c == '%' && rest != "" && letters[rest[0]] != "":
			b.WriteString(letters[rest[0]])
			i++
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
