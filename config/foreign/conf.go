package foreign

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
)

// Program is run by Python, as -c, with a settings file of Gunicorn's as its first
// argument and Names as its second. It writes what [ReadConf] reads to descriptor 3.
//
//go:embed evaluate.py
var Program string

// MaxAnswer is more than a settings file has to say.
const MaxAnswer = 1 << 20

// DefaultConf is the settings file that Gunicorn finds by itself.
const DefaultConf = "gunicorn.conf.py"

// IsProgram reports whether a settings file is Gunicorn's, a program: FILE.py, or as
// Gunicorn also has it file:FILE and python:MODULE.
func IsProgram(path string) bool {
	return strings.HasPrefix(path, "file:") || strings.HasPrefix(path, "python:") || filepath.Ext(path) == ".py"
}

// Names returns the settings that a file may have, as JSON.
func Names() string {
	var names []string
	for _, s := range gunicorn() {
		if s.key != "" {
			names = append(names, s.key)
		}
	}
	b, _ := json.Marshal(names) // strings
	return string(b)
}

// Conf is what a settings file of Gunicorn's says.
type Conf struct {
	Uses  []Use
	Hooks []string // functions that are to be run
	// Logging says that it has a dictionary for Python's logging.
	Logging bool
}

// answer is what Program writes.
type answer struct {
	Error    string         `json:"error"` // the file cannot be run; the traceback has been written to standard error
	Settings map[string]any `json:"settings"`
	Hooks    map[string]any `json:"hooks"` // by name; true: it does something
	SSL      *struct {
		Minimum string `json:"minimum"` // "1.3"; "": any
		Verify  string `json:"verify"`  // as for cert_reqs
		Error   string `json:"error"`
	} `json:"ssl"`
}

// ReadConf reads what a settings file of Gunicorn's has said, which may be anything.
func ReadConf(data []byte) (*Conf, error) {
	if len(data) == 0 {
		return nil, errors.New("the file's process ended and said nothing")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	var a answer
	if err := d.Decode(&a); err != nil {
		return nil, errors.New("what the file's process said is no answer")
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("what the file's process said is more than an answer")
	}
	if a.Error != "" {
		return nil, errors.New(short1(a.Error))
	}
	c := new(Conf)
	for _, s := range gunicorn() { // in the order of the table, whatever the file's is
		if s.key == "" {
			continue
		}
		if s.hook {
			c.hook(s, a)
			continue
		}
		if v, ok := a.Settings[s.key]; ok {
			c.Uses = append(c.Uses, Use{s, s.key, v})
			c.Logging = c.Logging || s.key == "logconfig_dict" && !s.nothing(v)
		}
	}
	return c, nil
}

// hook takes a function of the file's.
func (c *Conf) hook(s *setting, a answer) {
	does, ok := a.Hooks[s.key]
	if !ok || does != true {
		return // there is none, or it is empty
	}
	if s.key == "ssl_context" {
		c.Uses = append(c.Uses, sslContext(s, a))
		return
	}
	h := *s
	h.here = ""
	c.Uses = append(c.Uses, Use{&h, s.key, true})
	if s.fate != Lost {
		c.Hooks = append(c.Hooks, s.key)
	}
}

// sslContext is what Gunicorn's hook of that name has come to.
func sslContext(s *setting, a answer) Use {
	h := *s
	h.convert = func(any) result {
		r := result{fate: Changed, why: s.why}
		switch {
		case a.SSL == nil:
			return result{fate: Lost, why: "is not run without certfile: TLS is Go's; see --tls-min-version, --ciphers, --ca-certs"}
		case a.SSL.Error != "":
			return result{fate: Lost, why: "cannot be run: " + short1(a.SSL.Error)}
		}
		if a.SSL.Minimum != "" {
			r.gives = append(r.gives, Given{"tls-min-version", []string{a.SSL.Minimum}})
		}
		if v := certReqs(a.SSL.Verify); v.err == nil && a.SSL.Verify != "" {
			r.gives = append(r.gives, v.gives...)
		}
		return r
	}
	return Use{&h, s.key, true}
}

// short1 is a text of a stranger's, as part of a line.
func short1(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 400 {
		s = s[:400] + "…"
	}
	return strings.ToValidUTF8(s, "?")
}

// Summary returns lines for the log: what was taken as it is, in one, and each other
// setting in one of its own. Those of the second kind there is nothing like.
func Summary(lines []Line) (said, missed []string) {
	var taken []string
	for _, l := range lines {
		switch {
		case l.Fate == Lost || l.Fate == Refused:
			missed = append(missed, l.String())
		case l.Text == "":
			if !slices.Contains(taken, l.Name) {
				taken = append(taken, l.Name)
			}
		default:
			said = append(said, l.String())
		}
	}
	if len(taken) > 0 {
		said = append([]string{fmt.Sprintf("taken as they are: %s", strings.Join(taken, ", "))}, said...)
	}
	return said, missed
}
