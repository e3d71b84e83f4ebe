package master

import (
	"math/rand/v2"
	"strings"
	"time"

	"hostler/internal/upgrade"
	"hostler/protocol"
	"hostler/settings"
)

// Settings is what the master runs on. Each generation has its own.
type Settings struct {
	App  string // MODULE[:ATTR]
	Name string // for people; "" means App

	Python  string // interpreter; "" searches
	Chdir   string // where workers run; "": where they are started
	dir     string // where they are started, as it was when the settings were read; see pin
	Env     []string
	Workers int // the least, where MaxWorkers is not 0
	// MaxWorkers lets the number go by need; 0: it is Workers.
	MaxWorkers int
	Threads    int

	Binds         []Bind
	Redirects     []Bind // addresses that send clients to the first of Binds, by https
	TLS           *TLS   // what Binds speak, but for unix sockets; nil: plain HTTP
	BindsGiven    bool   // by the user; else sockets of the service manager come first
	User, Group   string // who workers are; names or numbers, "": as the master
	Backlog       int
	Admin         Bind // zero: no admin server
	AdminOptional bool // go on with a warning if its address is taken

	WatchCode  bool     // development: reload when the code changes, and show what is wrong with it
	WatchExtra []string // files and directories that count as code

	Hooks     string // a module; "": none
	PIDFile   string
	CtlSocket string // "": none
	ErrorLog  string // "" or "-": standard error
	AccessLog string // "" none, "-" standard output

	Timeout           time.Duration // of a request's clock, see protocol.Thread; 0: none
	TotalTimeout      time.Duration // of a request, whatever it waits for; 0: none
	BootTimeout       time.Duration // 0: none
	GracefulTimeout   time.Duration
	SlowRequest       time.Duration // 0: none is slow
	MaxRequests       int           // 0: no limit
	MaxRequestsJitter int
	MaxAge            time.Duration // 0: no limit
	RecycleJitter     int           // percent that is taken off these limits, at most
	MaxUnavailable    int           // workers that may be replaced at a time; 0 means 1
	MaxMemory         int64         // bytes of anonymous memory; 0: no limit
	MaxMemoryHard     int64         // bytes of anonymous memory; 0: no limit

	// Worker holds the settings that the master passes on without a look. The
	// master fills in what is named above.
	Worker settings.Worker
}

// Bind is an address to listen on.
type Bind struct {
	Network string // "tcp" or "unix"
	Address string // host:port, or the path
}

func (b Bind) String() string {
	if b.Network == "unix" {
		return "unix:" + b.Address
	}
	return b.Address
}

// shortestTimeout is the shorter of the two limits of requests, one of which there is.
func (s *Settings) shortestTimeout() time.Duration {
	if s.Timeout <= 0 || s.TotalTimeout > 0 && s.TotalTimeout < s.Timeout {
		return s.TotalTimeout
	}
	return s.Timeout
}

// mostUnavailable is how many workers may be replaced at a time.
func (s *Settings) mostUnavailable() int { return max(1, s.MaxUnavailable) }

// jittered takes up to RecycleJitter percent off a limit, at random, so that
// workers which started together do not leave together.
func jittered[T int | int64 | time.Duration](s *Settings, limit T) T {
	share := int64(float64(limit) * float64(s.RecycleJitter) / 100)
	if share <= 0 {
		return limit
	}
	return limit - T(rand.Int64N(share+1))
}

// title is what process titles and messages call the application.
func (s *Settings) title() string {
	if s.Name != "" {
		return s.Name
	}
	return s.App
}

// workerConfig returns the settings of the worker in slot, less its listeners. Version
// is hostler's.
func (s *Settings) workerConfig(version string, slot, generation, workers, maxRequests int) *protocol.WorkerConfig {
	c := protocol.WorkerConfig{Worker: s.Worker, Version: version}
	c.Slot, c.Number, c.Generation = slot, slot+1, generation
	c.App, c.Name, c.Chdir = s.App, s.title(), s.Chdir
	c.Workers, c.Threads = workers, s.Threads
	c.MaxRequests, c.Hooks = maxRequests, s.Hooks
	c.GracefulTimeout = s.GracefulTimeout
	c.Timeout, c.TotalTimeout = s.Timeout, s.TotalTimeout
	c.AccessLog = s.AccessLog
	c.Development = s.WatchCode
	return &c
}

// runtimeEnv is what a worker's Go runtime is to find in its environment (it
// reads that before any of our code runs) unless the user has set it. HTTP/1.1 makes
// no garbage, and HTTP/2 a kilobyte a request: of that 2 MB are let lie, where the
// default pace would keep 4 in each worker (and 200 percent kept 8). And for each
// processor that the runtime starts with it would keep some 20 kB
// (0.6 MB a worker on 16, measured), however few the worker then asks for.
var runtimeEnv = [...]string{"GOGC=50", "GOMAXPROCS=1"}

// workerEnv returns the environment for workers and the names of variables in
// it that are for the Go runtime only, not for the application.
func workerEnv(inherited, configured []string) (env, internal []string) {
	at := make(map[string]int)
	set := func(kv string) {
		name, _, ok := strings.Cut(kv, "=")
		if !ok {
			return
		}
		if i, dup := at[name]; dup {
			env[i] = kv
			return
		}
		at[name] = len(env)
		env = append(env, kv)
	}
	for _, kv := range inherited {
		// This variable would make a hostler that the application starts believe that
		// it is an upgrade.
		if !strings.HasPrefix(kv, upgrade.Variable+"=") && !forManager(kv) {
			set(kv)
		}
	}
	for _, kv := range configured {
		set(kv)
	}
	for _, kv := range runtimeEnv {
		name, _, _ := strings.Cut(kv, "=")
		if _, ok := at[name]; !ok {
			set(kv)
			internal = append(internal, name)
		}
	}
	return env, internal
}
