package config

import (
	"path/filepath"
	"slices"
	"strings"

	"hostler/config/foreign"
)

// cmdArgs is the variable that holds flags of Gunicorn's.
const cmdArgs = "GUNICORN_CMD_ARGS"

// Evaluation is a settings file of Gunicorn's, and by whom it is to be run: the
// interpreter and the user that workers will have, as far as that is known without
// the file.
type Evaluation struct {
	File        string // a path, file:PATH or python:MODULE
	Python      string // as for --python
	Chdir       string // as for --chdir
	User, Group string // as for --user and --group
}

// Evaluated is what came of it.
type Evaluated struct {
	Answer []byte // for foreign.ReadConf
	// Unprivileged is the user that has run the file, if that may do less than we.
	Unprivileged string
}

// conf is a settings file of Gunicorn's that was read.
type conf struct {
	location string
	hooks    []string
}

// takeForeign takes flags that only other servers have.
func (l *loader) takeForeign(strangers []*stranger) {
	var uses []foreign.Use
	for _, u := range strangers {
		if u.known == nil {
			continue
		}
		texts := u.given.texts
		if u.takes != foreign.One && len(texts) > 1 {
			texts = texts[len(texts)-1:]
		}
		for _, t := range texts {
			uses = append(uses, u.known.Used(u.written(), t))
		}
	}
	app := ""
	if c, ok := l.given[l.settings[0]]; ok {
		app = c.texts[0]
	}
	out := foreign.Convert(uses, foreign.Where{CommandLine: true, App: app})
	for _, a := range out.Assigned {
		if a.Setting == l.settings[0].name { // made of the argument
			delete(l.given, l.settings[0])
		}
	}
	l.take(out, "")
}

// readCmdArgs takes Gunicorn's flags from its variable.
func (l *loader) readCmdArgs(line string) {
	if line == "" {
		return
	}
	uses, err := foreign.ReadArgs(line)
	if err != nil {
		l.problemf("%s: %v", cmdArgs, err)
		return
	}
	l.take(foreign.Convert(uses, foreign.Where{}), cmdArgs+": ")
}

// readProgram takes a settings file of Gunicorn's.
func (l *loader) readProgram(path string, opts Options) {
	if opts.Evaluate == nil {
		return // not what was asked
	}
	given := func(name string) string {
		if c, ok := l.given[l.find(name)]; ok {
			return c.texts[len(c.texts)-1]
		}
		return ""
	}
	l.appUnknown = true // until the file has told
	got, err := opts.Evaluate(Evaluation{File: path, Python: given("python"), Chdir: given("chdir"), User: given("user"), Group: given("group")})
	if err != nil {
		l.problemf("%s: %v", path, err)
		return
	}
	c, err := foreign.ReadConf(got.Answer)
	if err != nil {
		l.problemf("%s: %v", path, err)
		return
	}
	location := strings.TrimPrefix(path, "file:")
	if !strings.HasPrefix(path, "python:") {
		if location, err = filepath.Abs(location); err != nil {
			l.problemf("%s: %v", path, err)
			return
		}
	}
	l.appUnknown = false
	l.conf = &conf{location: location, hooks: c.Hooks}
	l.take(foreign.Convert(c.Uses, foreign.Where{Unprivileged: got.Unprivileged}), path+": ")
}

// take offers what settings of others have become, and says what has become of them.
// Place is where they were written: "" on the command line.
func (l *loader) take(out foreign.Outcome, place string) {
	for _, a := range out.Assigned {
		s := l.find(a.Setting)
		if s == nil {
			continue
		}
		if given, ok := l.given[s]; ok && place == "" && s.value.list { // both are flags
			l.given[s] = candidate{texts: append(slices.Clip(given.texts), a.Texts...), origin: given.origin + ", " + a.From}
			continue
		}
		l.offer(s, candidate{texts: a.Texts, origin: place + a.From})
	}
	for _, p := range out.Problems {
		l.problemf("%s%s", place, p)
	}
	if place == "" { // who writes flags knows that they are taken
		out.Lines = slices.DeleteFunc(out.Lines, func(l foreign.Line) bool { return l.Text == "" })
	}
	said, missed := foreign.Summary(out.Lines)
	for _, line := range said {
		l.notef("%s%s", place, line)
	}
	for _, line := range missed {
		l.warnf("%s%s", place, line)
	}
}
