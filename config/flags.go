package config

import (
	"cmp"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"hostler/config/foreign"
	"hostler/internal/nearest"
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
	name  string // as written, less the dashes
	short string // its one byte, where that is what was written
	takes foreign.Takes
	known *foreign.Known // another server's flag; nil: nobody's
	// guess says that nothing tells whether the next argument is its value.
	guess bool
	given *recorder
}

// written is the flag with its dashes.
func (u *stranger) written() string {
	if u.short != "" {
		return "-" + u.short
	}
	return "--" + u.name
}

// readFlags takes the command line. pflag stops at an unknown flag, so that is
// made known and the line parsed again, until there is none; what it is to another
// server, or was probably meant for, reports whether the next argument belongs to it.
func (l *loader) readFlags(args []string) {
	args = othersArgs(args)
	var strangers []*stranger
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

// othersArgs writes flags that others have, too, as they are here: Gunicorn's
// --http2-cleartext takes words there and is a switch here, its --proxy-protocol may be
// without its value there; --access-log is a switch of uvicorn's and granian's, and --ws
// one of granian's.
func othersArgs(args []string) []string {
	args = slices.Clone(args)
	cleartext := map[string]string{"off": "false", "prior-knowledge": "true", "both": "true"}
	for i := 0; i < len(args) && args[i] != "--"; i++ {
		name, value, has := strings.Cut(strings.ReplaceAll(args[i], "_", "-"), "=")
		next := ""
		if i+1 < len(args) {
			next = args[i+1]
		}
		switch {
		case name == "--http2-cleartext" && has && cleartext[value] != "":
			args[i] = name + "=" + cleartext[value]
		case name == "--http2-cleartext" && !has && (cleartext[next] != "" || next == "upgrade"):
			args[i] = name + "=" + cmp.Or(cleartext[next], next)
			args = slices.Delete(args, i+1, i+2)
		case name == "--proxy-protocol" && !has && (next == "" || next[0] == '-' || strings.ContainsAny(next, ".:")):
			args[i] = name + "=auto"
		case name == "--ws" && !has && (next == "" || next[0] == '-' || isApp(next)):
			args[i] = name + "=auto"
		case name == "--access-log" && !has && (next == "" || next[0] == '-' && next != "-" || isApp(next)):
			args[i] = name + "=-"
		}
	}
	return args
}

func (l *loader) flagSet(strangers []*stranger) (*pflag.FlagSet, map[*setting]*recorder) {
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
		if len(name) > 1 { // a letter's stand-in, see below
			name = dashes(name)
		}
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
		u.given = &recorder{kind: "string"}
		f := flags.VarPF(u.given, name, u.short, "")
		if u.takes != foreign.One {
			f.NoOptDefVal = "true"
		}
	}
	return flags, records
}

// dashes is how a flag is spelt that was written with underscores.
func dashes(name string) string {
	return strings.ReplaceAll(name, "_", "-")
}

// stranger describes an unknown flag, and reports it unless another server has it.
func (l *loader) stranger(unknown *pflag.NotExistError) *stranger {
	u := &stranger{name: dashes(unknown.GetSpecifiedName())}
	letters := unknown.GetSpecifiedShortnames()
	if letters != "" {
		u.name, u.short = letters, letters[:1]
	}
	if u.known = foreign.Flag(u.written()); u.known != nil {
		u.takes = u.known.Takes()
		return u
	}
	hint := ""
	switch {
	case u.short == "":
		near := nearest.Of("--"+u.name, l.longFlags())
		if s := l.byFlag(near); s != nil {
			hint = nearest.Meant("--" + s.name)
			if !s.value.boolean {
				u.takes = foreign.One
			}
		}
	case len(letters) > 1:
		hint = nearest.Hint("--"+letters, l.longFlags())
	}
	u.guess = hint == ""
	l.problemf("unknown flag %s%s", u.written(), hint)
	return u
}

func (l *loader) takeFlags(flags *pflag.FlagSet, records map[*setting]*recorder, err error, strangers []*stranger) {
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
			break
		}
		written := strings.Replace("--"+missing.GetFlag().Name, "---", "-", 1)
		if slices.ContainsFunc(strangers, func(u *stranger) bool { return u.known != nil && u.written() == written }) {
			l.problemf("%s needs a value", written)
		}
	default:
		l.problemf("%v", err)
	}
	l.takeApp(flags.Args(), slices.ContainsFunc(strangers, func(u *stranger) bool { return u.known == nil }),
		slices.ContainsFunc(strangers, func(u *stranger) bool { return u.guess }))
	l.takeForeign(strangers)
}

// takeApp takes the application. Beside an unknown flag an argument may be that
// flag's value, or where that is a guess the application be taken for it: of that no
// more is said.
func (l *loader) takeApp(args []string, unknown, guess bool) {
	app := l.settings[0]
	if guess {
		if i := slices.IndexFunc(args, isApp); i >= 0 {
			args = args[i : i+1]
		} else if n := len(args); n > 0 {
			args = args[n-1:]
		}
		if len(args) == 0 {
			l.appUnknown = true
		} else if _, err := parseApp(args[0]); err != nil {
			l.appUnknown, args = true, nil
		}
	}
	if len(args) > 0 {
		l.offer(app, candidate{texts: args[:1], origin: "application"})
	}
	if len(args) > 1 && !unknown && slices.Contains(servers, args[0]) {
		l.problemf("%s: hostler is what stands in its place: leave that word out", args[0])
	} else if len(args) > 1 && !unknown {
		l.problemf("too many arguments: there is one application, %q, and then %q", args[0], strings.Join(args[1:], " "))
	}
}

// servers are commands that people who have just come may leave before their arguments.
var servers = []string{"gunicorn", "uvicorn", "granian", "hypercorn", "uwsgi", "hostler", "python", "python3"}

// isApp reports whether an argument can be nothing but an application.
func isApp(arg string) bool {
	_, err := parseApp(arg)
	return err == nil && strings.Contains(arg, ":")
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
