package master

import (
	"cmp"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"hostler/internal/upgrade"
	"hostler/protocol"
	"hostler/settings"
)

// Settings is what a generation runs on.
type Settings struct {
	settings.Master
	// Source is what whoever made these settings wants to know of them later.
	Source any
	dir    string // where workers are started, as it was when the settings were read; see pin
}

// shortestTimeout is the shorter of the two limits of requests, one of which there is.
func (s *Settings) shortestTimeout() time.Duration {
	if s.Timeout <= 0 || s.TotalTimeout > 0 && s.TotalTimeout < s.Timeout {
		return s.TotalTimeout
	}
	return s.Timeout
}

// threadsSaid is the number of a worker's Python threads, for people.
func (s *Settings) threadsSaid() any {
	if s.ThreadsAuto {
		return "auto"
	}
	return s.Threads
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
func (s *Settings) title() string { return cmp.Or(s.Name, s.App) }

// mostArgv bounds what the command line may take of the one argument in which a worker
// gets its settings.
const mostArgv = 16 << 10

// commandLine returns what applications find in sys.argv. A command line that is too long
// for a worker's settings they do not learn.
func commandLine() []string {
	size := 0
	for _, arg := range os.Args {
		size += len(arg)
	}
	if size > mostArgv {
		return os.Args[:1]
	}
	return os.Args
}

// workerConfig returns what the worker in slot is told, but for its listeners. Version
// is hostler's.
func (s *Settings) workerConfig(version string, slot, generation, workers, maxRequests int) *protocol.WorkerConfig {
	return &protocol.WorkerConfig{
		Slot: slot, Number: slot + 1, Generation: generation, Name: s.title(), Version: version, Argv: commandLine(),
		Worker: s.Worker, Workers: workers, MaxRequests: maxRequests,
	}
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
