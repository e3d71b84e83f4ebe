package config

import (
	"cmp"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"runtime"
	"strings"

	"hostler/settings"
)

// Config is what hostler was told to do. Every setting in it is filled from the table
// of settings: from what was given or from the default there.
type Config struct {
	settings.Master

	WorkersAuto bool   // Workers was counted, not given
	Behind      string // the proxy whose presets are the defaults; "": none
	ConfigFile  string // the TOML file that was read; "": none
	TraceSample string // share of the traces that have no parent; "": OTEL_TRACES_SAMPLER says
	Check       bool   // import the application and exit
	PrintConfig bool   // print the settings in force and exit

	// Warnings are remarks for the log, one line each. They are no reason not
	// to start.
	Warnings []string
	// Notes are remarks for the log that nobody need act on, one line each.
	Notes []string

	help, version bool
	appUnknown    bool              // the application may be among what could not be made out
	maxAuto       bool              // MaxWorkers is to be counted
	origins       map[string]origin // by setting; none for defaults
	texts         map[string][]string
}

// Given reports whether a setting, by the name of its flag, was set by a flag,
// a HOSTLER_* variable or the file.
func (c *Config) Given(setting string) bool { return c.origins[setting].explicit }

// origin is the place that a value comes from.
type origin struct {
	place    string
	explicit bool // not a variable such as PORT that only moves the default
}

// where names the place that a setting comes from.
func (c *Config) where(setting string) string {
	if o, ok := c.origins[setting]; ok {
		return o.place
	}
	return "--" + setting
}

// Level returns the log level for slog.
func (c *Config) Level() slog.Level { return settings.Level(c.LogLevel) }

// ParseLevel reads a level as --log-level has it, and returns its name and what
// it is for slog.
func ParseLevel(s string) (string, slog.Level, error) {
	l, err := parseLevel(s)
	return l, settings.Level(l), err
}

// ErrHelp and ErrVersion are returned by Load where the command line asks for
// help or the version; all else is then beside the point.
var (
	ErrHelp    = errors.New("help requested")
	ErrVersion = errors.New("version requested")
)

// Error holds everything that is wrong with the settings.
type Error struct {
	Problems []string // one line each, never empty
}

func (e *Error) Error() string { return strings.Join(e.Problems, "\n") }

// Options are Load's ways to reach the system. The zero value is the real one.
type Options struct {
	ReadFile func(path string) ([]byte, error) // os.ReadFile
	Root     fs.FS                             // "/", for /proc and /sys; os.DirFS("/")
	CPUs     func() int                        // CPUs this process may run on; runtime.NumCPU
	UID      func() int                        // whose this process is; os.Geteuid

	// Evaluate runs a settings file of Gunicorn's, which is a program. Nil: such files
	// are not read, and one that was asked for is an error.
	Evaluate func(Evaluation) (Evaluated, error)
}

func (o Options) orReal() Options {
	if o.ReadFile == nil {
		o.ReadFile = os.ReadFile
	}
	if o.Root == nil {
		o.Root = os.DirFS("/")
	}
	if o.CPUs == nil {
		// On Linux this counts the affinity mask that the process started with.
		o.CPUs = runtime.NumCPU
	}
	if o.UID == nil {
		o.UID = os.Geteuid
	}
	return o
}

// Load reads the settings. Args are the command line without the program's
// name, env is as from os.Environ. The error is [ErrHelp], [ErrVersion] or an
// [*Error].
func Load(args, env []string, opts Options) (*Config, error) {
	opts = opts.orReal()
	l := newLoader()
	l.readFlags(args)
	if err := l.asked(); err != nil {
		return nil, err
	}
	l.readEnv(env)
	l.readFile(opts)
	c := l.resolve()
	c.countWorkers(opts)
	c.completeACME(env, opts)
	l.warnings = append(l.warnings, c.completeOtel(env)...)
	c.appUnknown = l.appUnknown
	c.Warnings = append(l.warnings, c.warnings()...)
	c.Notes = l.notes
	if l.conf != nil {
		c.Conf, c.ConfHooks = l.conf.location, len(l.conf.hooks) > 0
	}
	problems := append(l.problems, c.Validate()...)
	if len(problems) > 0 {
		return nil, &Error{Problems: problems}
	}
	c.App = cmp.Or(c.App, c.Paste)
	c.BindsGiven, c.AdminGiven = c.Given("bind"), c.Given("admin-bind")
	return c, nil
}

// countWorkers fills in the numbers of workers that were not given.
func (c *Config) countWorkers(opts Options) {
	if !c.WorkersAuto && !c.maxAuto {
		return
	}
	n := min(autoWorkers(opts.Root, opts.CPUs()), maxWorkers)
	if c.WorkersAuto {
		c.Workers = n
		if c.MaxWorkers > 0 {
			c.Workers = min(n, c.MaxWorkers)
		}
	}
	if c.maxAuto {
		c.MaxWorkers = max(n, c.Workers)
	}
}
