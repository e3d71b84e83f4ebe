package foreign

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ReadArgs reads a command line of Gunicorn's, as GUNICORN_CMD_ARGS has one. Names of
// flags may be cut short, as there; what is no flag does not count, as there.
func ReadArgs(line string) ([]Use, error) {
	words, err := splitWords(line)
	if err != nil {
		return nil, err
	}
	table := gunicorn()
	var uses []Use
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		switch {
		case word == "--":
			return uses, nil
		case strings.HasPrefix(word, "--"):
			name, value, has := strings.Cut(word, "=")
			s, full, err := long(table, name)
			if err != nil {
				return nil, err
			}
			if s.takes == One && !has {
				if len(words) == 0 {
					return nil, fmt.Errorf("%s needs a value", full)
				}
				value, words = words[0], words[1:]
			} else if s.takes == Maybe && !has && len(words) > 0 && !strings.HasPrefix(words[0], "-") {
				value, words = words[0], words[1:] // argparse takes it
			}
			if s.takes == Nothing && has {
				return nil, fmt.Errorf("%s takes no value", full)
			}
			uses = append(uses, Use{s, full, s.argument(value)})
		case len(word) > 1 && word[0] == '-':
			for word = word[1:]; word != ""; {
				s := short(table, word[:1])
				if s == nil {
					return nil, fmt.Errorf("there is no flag -%s", word[:1])
				}
				u := Use{setting: s, as: "-" + word[:1]}
				word = word[1:]
				value := ""
				if s.takes == One {
					if value, word = strings.TrimPrefix(word, "="), ""; value == "" {
						if len(words) == 0 {
							return nil, fmt.Errorf("%s needs a value", u.as)
						}
						value, words = words[0], words[1:]
					}
				}
				u.value = s.argument(value)
				uses = append(uses, u)
			}
		}
	}
	return uses, nil
}

func long(table []*setting, name string) (*setting, string, error) {
	var found []string
	var which *setting
	for _, s := range table {
		for _, f := range s.flags {
			if f == name {
				return s, f, nil
			}
			if strings.HasPrefix(f, name) && !slices.Contains(found, f) {
				found, which = append(found, f), s
			}
		}
	}
	switch len(found) {
	case 1:
		return which, found[0], nil
	case 0:
		return nil, "", fmt.Errorf("there is no flag %s", name)
	}
	return nil, "", fmt.Errorf("%s could be %s", name, strings.Join(found, " or "))
}

func short(table []*setting, letter string) *setting {
	for _, s := range table {
		if slices.Contains(s.flags, "-"+letter) {
			return s
		}
	}
	return nil
}

// Config returns the settings file that uses name; "": none.
func Config(uses []Use) (path string) {
	for _, u := range uses {
		if u.setting.key == "config" {
			path, _ = u.value.(string)
		}
	}
	return path
}

var errQuote = errors.New("a quotation mark has no other")

// splitWords cuts a line into words as a shell does, and Python's shlex.split.
func splitWords(line string) ([]string, error) {
	var words []string
	var word []byte
	in := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; c {
		case ' ', '\t', '\r', '\n':
			if in {
				words, word, in = append(words, string(word)), nil, false
			}
		case '\\':
			if i++; i == len(line) {
				return nil, errors.New("a backslash has nothing after it")
			}
			word, in = append(word, line[i]), true
		case '\'', '"':
			in = true
			end := i + 1
			for ; end < len(line) && line[end] != c; end++ {
				if c == '"' && line[end] == '\\' && end+1 < len(line) && (line[end+1] == '"' || line[end+1] == '\\') {
					end++
				}
				word = append(word, line[end])
			}
			if end == len(line) {
				return nil, errQuote
			}
			i = end
		default:
			word, in = append(word, c), true
		}
	}
	if in {
		words = append(words, string(word))
	}
	return words, nil
}
