package config

import (
	"errors"
	"io"
	"strings"

	"github.com/spf13/pflag"
)

// recorder is a flag's value that takes down what is given and judges nothing:
// pflag would stop at the first error.
type recorder struct {
	texts []string
	kind  string
}

func (r *recorder) String() string     { return "" }
func (r *recorder) Type() string       { return r.kind }
func (r *recorder) Set(s string) error { r.texts = append(r.texts, s); return nil }

var _ pflag.Value = (*recorder)(nil)

// stranger is a flag that is not in the table.
type stranger struct {
	name      string // as written, less the dashes
	short     string // its one byte, where that is what was written
	takesNext bool   // the next argument is probably its value
}

// readFlags takes the command line. pflag stops at an unknown flag, so that is
// made known and the line parsed again, until there is none; what it probably
// was meant for says whether the next argument belongs to it.
func (l *loader) readFlags(args []string) {
	var strangers []stranger
	for {
		flags, records := l.flagSet(strangers)
		err := flags.Parse(args)
		var unknown *pflag.NotExistError
		if errors.As(err, &unknown) {
			strangers = append(strangers, l.stranger(unknown))
			continue
		}
		l.takeFlags(flags, records, err, strangers)
		return
	}
}

func (l *loader) flagSet(strangers []stranger) (*pflag.FlagSet, map[*setting]*recorder) {
	aliases := make(map[string]string)
	for _, s := range l.settings {
		for _, a := range s.aliases {
			aliases[a] = s.name
		}
	}
	flags := pflag.NewFlagSet("hostler", pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	flags.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if known, ok := aliases[name]; ok {
			name = known
		}
		return pflag.NormalizedName(name)
	})
	records := make(map[*setting]*recorder)
	for _, s := range l.settings {
		if s.positional() {
			continue
		}
		r := &recorder{kind: "string"}
		f := flags.VarPF(r, s.name, s.short, s.help)
		if s.value.boolean {
			f.NoOptDefVal = "true"
		}
		records[s] = r
	}
	for _, u := range strangers {
		name := u.name
		if u.short != "" {
			name = "-" + u.short // no long flag can begin so
		}
		f := flags.VarPF(&recorder{kind: "string"}, name, u.short, "")
		if !u.takesNext {
			f.NoOptDefVal = "true"
		}
	}
	return flags, records
}

// stranger describes an unknown flag and reports it.
func (l *loader) stranger(unknown *pflag.NotExistError) stranger {
	if letters := unknown.GetSpecifiedShortnames(); letters != "" {
		u := stranger{name: letters, short: letters[:1]}
		hint, takes := gunicornHint("-" + u.short)
		if hint == "" && len(letters) > 1 {
			hint = suggest("--"+letters, l.longFlags())
		}
		u.takesNext = takes
		l.problemf("unknown flag -%s%s", u.short, hint)
		return u
	}
	u := stranger{name: unknown.GetSpecifiedName()}
	hint, takes := gunicornHint("--" + u.name)
	if hint == "" {
		near := nearest("--"+u.name, l.longFlags())
		if s := l.byFlag(near); s != nil {
			hint, takes = suggestion("--"+s.name), !s.value.boolean
		}
	}
	u.takesNext = takes
	l.problemf("unknown flag --%s%s", u.name, hint)
	return u
}

func (l *loader) takeFlags(flags *pflag.FlagSet, records map[*setting]*recorder, err error, strangers []stranger) {
	for _, s := range l.settings {
		if r := records[s]; r != nil && len(r.texts) > 0 {
			l.offer(s, candidate{texts: r.texts, origin: "--" + s.name})
		}
	}
	var missing *pflag.ValueRequiredError
	switch {
	case err == nil:
	case errors.As(err, &missing):
		// It was the last argument, so everything else has been read.
		if s := l.find(missing.GetFlag().Name); s != nil {
			l.problemf("--%s needs a value: %s", s.name, s.arg)
		}
	default:
		l.problemf("%v", err)
	}
	app := l.settings[0]
	args := flags.Args()
	if len(args) > 0 {
		l.offer(app, candidate{texts: args[:1], origin: "application"})
	}
	// Beside an unknown flag, one too many is more likely that flag's value.
	if len(args) > 1 && len(strangers) == 0 {
		l.problemf("too many arguments: there is one application, %q, and then %q", args[0], strings.Join(args[1:], " "))
	}
}

func (l *loader) longFlags() []string {
	var names []string
	for _, s := range l.settings {
		if !s.positional() {
			names = append(names, "--"+s.name)
			for _, a := range s.aliases {
				names = append(names, "--"+a)
			}
		}
	}
	return names
}

func (l *loader) byFlag(flag string) *setting {
	name := strings.TrimPrefix(flag, "--")
	for _, s := range l.settings {
		if s.name == name {
			return s
		}
		for _, a := range s.aliases {
			if a == name {
				return s
			}
		}
	}
	return nil
}
