package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"hostler/config/foreign"
	"hostler/internal/nearest"
)

// candidate is what one source says of a setting.
type candidate struct {
	texts  []string
	origin string // as problems name it; "" for the table's default
}

// loader gathers what the sources say. They are read from the strongest to the
// weakest, so the first to name a setting wins.
type loader struct {
	settings  []*setting
	given     map[*setting]candidate
	fallbacks map[*setting]candidate
	problems  []string
	warnings  []string
	notes     []string
	conf      *conf // the settings file of Gunicorn's that was read; nil: none
	// appUnknown says that the application may be among what could not be made out.
	appUnknown bool
}

func newLoader() *loader {
	return &loader{settings: table(), given: make(map[*setting]candidate), fallbacks: make(map[*setting]candidate)}
}

func (l *loader) offer(s *setting, c candidate) {
	if _, ok := l.given[s]; !ok {
		l.given[s] = c
	}
}

func (l *loader) problemf(format string, args ...any) {
	l.problems = append(l.problems, oneLine(fmt.Sprintf(format, args...)))
}

func (l *loader) warnf(format string, args ...any) {
	l.warnings = append(l.warnings, oneLine(fmt.Sprintf(format, args...)))
}

func (l *loader) notef(format string, args ...any) {
	l.notes = append(l.notes, oneLine(fmt.Sprintf(format, args...)))
}

// oneLine keeps a message with foreign text in it on one line and free of what
// a terminal would obey.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || 0x7f <= r && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}

func (l *loader) find(name string) *setting {
	for _, s := range l.settings {
		if s.name == name {
			return s
		}
	}
	return nil
}

// asked returns ErrHelp or ErrVersion if the command line, read so far, asks
// for one of them.
func (l *loader) asked() error {
	switch {
	case l.asks("help"):
		return ErrHelp
	case l.asks("version"):
		return ErrVersion
	}
	return nil
}

func (l *loader) asks(name string) bool {
	c, ok := l.given[l.find(name)]
	return ok && c.texts[len(c.texts)-1] == "true"
}

// readEnv takes HOSTLER_* variables, and those that stand in for defaults. An
// empty one counts as not set, as container tools tend to leave them.
func (l *loader) readEnv(env []string) {
	values := make(map[string]string)
	var names []string
	for _, kv := range env {
		name, v, ok := strings.Cut(kv, "=")
		if !ok || name == "" || v == "" {
			continue
		}
		if _, dup := values[name]; !dup {
			names = append(names, name)
		}
		values[name] = v
	}
	byVariable := make(map[string]*setting)
	for _, s := range l.settings {
		if v := s.variable(); v != "" {
			byVariable[v] = s
		}
		for _, f := range s.defaults {
			if v, ok := values[f.variable]; ok {
				l.fallbacks[s] = candidate{texts: []string{f.prefix + v}, origin: f.variable}
			}
		}
	}
	for _, name := range names {
		if s, ok := byVariable[name]; ok {
			l.offer(s, candidate{texts: []string{values[name]}, origin: name})
		} else if strings.HasPrefix(name, "HOSTLER_") {
			l.warnf("environment variable %s is no setting%s", name, nearest.Hint(name, keys(byVariable)))
		}
	}
	l.readCmdArgs(values[cmdArgs])
	l.mentionOthers(names, values)
}

// mentionOthers warns of variables by which uvicorn and granian would take their flags.
func (l *loader) mentionOthers(names []string, values map[string]string) {
	for _, name := range names {
		server, rest, _ := strings.Cut(name, "_")
		if server != "UVICORN" && server != "GRANIAN" || strings.Contains(values[name], "://") { // Kubernetes' of a service
			continue
		}
		flag := "--" + dashes(strings.ToLower(rest))
		if l.byFlag(flag) != nil || foreign.Flag(flag) != nil {
			l.warnf("environment variable %s is not read: give %s, which is known here, or see hostler --help for its like", name, flag)
		}
	}
}

// projectFile may have settings, too, in its table [tool.hostler].
const projectFile = "pyproject.toml"

// readFile takes the settings file: the one asked for, or else hostler.toml if that
// exists, or else the project's if that has settings, or else Gunicorn's if there is one.
func (l *loader) readFile(opts Options) {
	s := l.find("config")
	c, asked := l.given[s]
	path := s.def
	if asked {
		path = c.texts[len(c.texts)-1]
	}
	delete(l.given, s)
	if path == "" {
		return
	}
	if foreign.IsProgram(path) {
		l.given[s] = candidate{texts: []string{path}, origin: c.origin}
		l.readProgram(path, opts)
		return
	}
	data, err := opts.ReadFile(path)
	switch {
	case err == nil:
		l.given[s] = candidate{texts: []string{path}, origin: c.origin}
		if filepath.Base(path) != projectFile {
			l.readTOML(path, data)
		} else if !l.readProject(path, data) {
			l.problemf("%s: %s has no table [tool.hostler]", c.origin, path)
		}
	case !asked && errors.Is(err, fs.ErrNotExist):
		l.findProject(s, opts.ReadFile)
	default:
		l.appUnknown = true
		origin := ""
		if asked {
			origin = c.origin + ": "
		}
		l.problemf("%scannot read %s: %v", origin, path, pathCause(err))
	}
	if !asked {
		l.findProgram(s, opts)
	}
}

// findProject takes the settings of the project in the working directory. A file that
// does not speak of hostler is others', whatever may be wrong with it.
func (l *loader) findProject(config *setting, read func(string) ([]byte, error)) {
	data, err := read(projectFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		l.problemf("cannot read %s: %v", projectFile, pathCause(err))
	case bytes.Contains(data, []byte("hostler")) && l.readProject(projectFile, data):
		l.given[config] = candidate{texts: []string{projectFile}, origin: projectFile}
	}
}

// findProgram takes Gunicorn's settings file in the working directory, unless there is
// one of ours.
func (l *loader) findProgram(config *setting, opts Options) {
	if opts.Evaluate == nil {
		return
	}
	if _, err := opts.ReadFile(foreign.DefaultConf); errors.Is(err, fs.ErrNotExist) {
		return
	}
	if ours, ok := l.given[config]; ok {
		l.notef("%s is here, too, and is not read: %s is", foreign.DefaultConf, ours.texts[0])
		return
	}
	l.given[config] = candidate{texts: []string{foreign.DefaultConf}, origin: foreign.DefaultConf}
	l.readProgram(foreign.DefaultConf, opts)
}

// pathCause returns err less the path in it.
func pathCause(err error) error {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		return pathError.Err
	}
	return err
}

// resolve fills a Config: the defaults first, so that a value that is refused
// leaves a sound one in place for the checks that follow.
func (l *loader) resolve() *Config {
	c := &Config{origins: make(map[string]origin), texts: make(map[string][]string)}
	preset := l.preset()
	for _, s := range l.settings {
		def := s.def
		if d, ok := s.behind[preset]; ok {
			def = d
		}
		if def != "" && s.name != "config" {
			if errs := s.value.set(c, []string{def}); errs != nil {
				panic(fmt.Sprintf("config: default of %s: %v", s.name, errs))
			}
			c.texts[s.name] = []string{def}
		}
		given, explicit := l.given[s]
		if !explicit {
			var ok bool
			if given, ok = l.fallbacks[s]; !ok {
				continue
			}
		}
		c.origins[s.name], c.texts[s.name] = origin{place: given.origin, explicit: explicit}, given.texts
		for _, err := range s.value.set(c, given.texts) {
			l.problemf("%s: %v", given.origin, err)
		}
	}
	return c
}

// preset is the kind of proxy that --behind names; one that it cannot name is
// reported with the other problems.
func (l *loader) preset() string {
	given, ok := l.given[l.find("behind")]
	if !ok {
		return ""
	}
	name, err := parsePreset(given.texts[len(given.texts)-1])
	if err != nil {
		return ""
	}
	return name
}
