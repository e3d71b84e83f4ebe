package config

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"time"

	"hostler/internal/logformat"
)

// Config is what hostler was told to do. Every field is filled from the table
// of settings: from what was given or from the default there.
type Config struct {
	App   string // MODULE[:ATTR | :FACTORY()], in valid syntax; "": Paste says
	Paste string // FILE[#NAME] of PasteDeploy; "": none

	Workers     int
	WorkersAuto bool // Workers was counted, not given
	MaxWorkers  int  // Workers is the least; 0: there are always as many
	Threads     int
	Queue       int
	Pools       []Pool
	SpareThread bool
	Static      []Static

	Binds             []Bind
	Certs             []string // files of certificate chains; none: no TLS
	Keys              []string // files of their keys, in the same order; none: in the same files
	ClientCAs         string   // file; "": clients show no certificate
	ClientCerts       string   // "optional" or "required"
	TLSMinVersion     uint16   // as in crypto/tls
	Ciphers           []uint16 // of TLS 1.2; as in crypto/tls
	HTTPProtocols     []string // "h2", "http/1.1"; for ALPN
	HTTP2Cleartext    bool
	QueueWait         time.Duration // 0: any
	HealthPaths       []string
	Redirects         []Bind
	Backlog           int
	WorkerConnections int
	KeepAlive         time.Duration // 0: every response closes its connection
	Behind            string        // the proxy whose presets are the defaults; "": none
	// ForwardedUntrusted is what becomes of these fields of others: "keep" or "drop".
	ForwardedUntrusted string

	ForwardedAllowIPs []string // CIDRs; "*": everyone; "unix": unix-socket peers
	ForwardedHeaders  []string // "for", "proto", "host", "prefix", "forwarded", "cf-connecting-ip"
	ProxyProtocol     string   // "v1", "v2", "auto" or "": off
	ProxyAllowIPs     []string // as ForwardedAllowIPs

	Python     string // "": to be found
	Chdir      string // "": stay
	PythonPath []string
	Env        []string // KEY=VALUE
	Preload    bool
	Reload     bool     // development: watch the code
	Hooks      string   // a module; "": none
	User       string   // name or number; "": the master's own
	Group      string   // name or number; "": the user's
	Umask      string   // octal; "": as it is
	Warmup     []string // request targets

	ReloadExtra []string // files and directories

	Timeout           time.Duration // 0: none
	TotalTimeout      time.Duration // 0: none
	BootTimeout       time.Duration // 0: none
	GracefulTimeout   time.Duration
	SlowRequest       time.Duration // 0: none is slow
	MaxRequests       int           // 0: no limit
	MaxRequestsJitter int
	MaxAge            time.Duration // 0: no limit
	MaxMemory         int64         // bytes; 0: no limit
	MaxMemoryHard     int64         // bytes; 0: no limit
	RecycleJitter     int           // percent
	MaxUnavailable    int

	HeaderTimeout time.Duration
	BodyTimeout   time.Duration
	WriteTimeout  time.Duration
	MinRate       int64 // bytes per second; 0: any

	LimitRequestLine      int
	LimitRequestFields    int
	LimitRequestFieldSize int
	LimitRequestBody      int64 // 0: no limit
	LimitBuffers          int64 // 0: no limit

	SpoolDir      string   // "": one that suits
	SpoolLimit    int64    // bytes; 0: none is spooled
	StreamUploads []string // patterns of paths

	LogLevel         string // debug, info, warning or error
	AccessLog        string // "": none, "-": standard output
	AccessLogFormat  string // see internal/accesslog
	AccessLogExclude []string
	LogFormat        logformat.Format
	ErrorLog         string // "-": standard error
	Admin            Bind   // zero: no admin server
	// AdminHosts are names for which the admin server answers at a loopback address.
	AdminHosts   []string
	AdminQueries bool   // /status shows query strings
	CtlSocket    string // "": none
	PIDFile      string // "": none
	Name         string // "": the application's

	ConfigFile string // the TOML file that was read; "": none
	Check      bool   // import the application and exit

	// Warnings are remarks for the log, one line each. They are no reason not
	// to start.
	Warnings []string

	help, version bool
	maxAuto       bool              // MaxWorkers is to be counted
	origins       map[string]origin // by setting; none for defaults
}

// Pool keeps requests for certain paths to some of a worker's threads.
type Pool struct {
	Name    string
	Pattern string // "*" stands for anything
	Threads int
}

// Static is a directory whose files are served below a path.
type Static struct {
	Prefix string // "/static"
	Dir    string // absolute
}

// Bind is an address to listen on. The zero value is none.
type Bind struct {
	Network string // "tcp" or "unix"
	Address string // host:port, or the path
}

// String returns b as one would write it for --bind.
func (b Bind) String() string {
	if b.Network == "unix" {
		return "unix:" + b.Address
	}
	return b.Address
}

// AdminGiven reports whether somebody asked for the admin address, so that to
// fail to bind it is an error. The default's being taken is not.
func (c *Config) AdminGiven() bool { return c.Given("admin-bind") }

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
func (c *Config) Level() slog.Level { return slogLevel(c.LogLevel) }

// ParseLevel reads a level as --log-level has it, and returns its name and what
// it is for slog.
func ParseLevel(s string) (string, slog.Level, error) {
	l, err := parseLevel(s)
	return l, slogLevel(l), err
}

func slogLevel(s string) slog.Level {
	switch s {
	case "debug":
		return slog.LevelDebug
	case "warning":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	}
	return slog.LevelInfo
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
	l.readFile(opts.ReadFile)
	c := l.resolve()
	c.countWorkers(opts)
	c.Warnings = append(l.warnings, c.warnings()...)
	problems := append(l.problems, c.Validate()...)
	if len(problems) > 0 {
		return nil, &Error{Problems: problems}
	}
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
