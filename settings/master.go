package settings

import "time"

// Master is what a server runs on.
type Master struct {
	Worker // what the workers are told, too

	Name string // for people; "": the application's

	Workers    int // the least, where MaxWorkers is not 0
	MaxWorkers int // lets the number go by need; 0: it is Workers

	ConfHooks   bool     // Conf has functions for the master to run, too
	Python      string   // interpreter; "": to be found
	Env         []string // KEY=VALUE, of workers
	User, Group string   // who workers are; names or numbers. "": as the master, and the user's
	ReloadExtra []string // files and directories that count as code, with Development

	Binds      []Bind
	BindsGiven bool // by the user; else sockets of the service manager come first
	ErrorPages []ErrorPage
	Redirects  []Bind // addresses that send clients to the first of Binds, by https
	TLS        TLS    // what Binds speak, but for unix sockets
	Backlog    int

	Admin        Bind     // zero: no admin server
	AdminGiven   bool     // by the user; else the server goes on without it if it is taken
	AdminHosts   []string // names for which the admin server answers at a loopback address
	AdminQueries bool     // /status shows query strings
	AdminToken   string   // a file with what who asks the admin server has to know; "": nothing
	Otel         bool     // spans and metrics are sent to a collector of OpenTelemetry's
	OTLPEndpoint string   // its URL; "": as OTEL_EXPORTER_OTLP_ENDPOINT says
	OTLPProtocol string   // OTLPHTTP or OTLPGRPC; "": as OTEL_EXPORTER_OTLP_PROTOCOL says
	CtlSocket    string   // CtlAuto: by default, if there can be one; "": none
	PIDFile      string   // "": none
	ErrorLog     string   // "" or "-": standard error

	Canary            Canary        // how a reload tries what it brings; zero: it does not
	BootTimeout       time.Duration // 0: none
	MaxRequests       int           // 0: no limit
	MaxRequestsJitter int
	MaxAge            time.Duration // 0: no limit
	MaxMemory         int64         // bytes of anonymous memory; 0: no limit
	MaxMemoryHard     int64         // bytes of anonymous memory; 0: no limit
	RecycleJitter     int           // percent that is taken off these limits, at most
	MaxUnavailable    int           // workers that may be replaced at a time; 0 means 1
}

// Canary is how a new generation is tried before it takes the place of the old one.
type Canary struct {
	Share float64 // of the requests, that it has meanwhile: more than 0, half of them at most
	Time  time.Duration
}

// Bind is an address to listen on. The zero value is none.
type Bind struct {
	Network string // "tcp", "unix", or "fd": a socket that whoever starts the server gives to it
	Address string // host:port, the path, or the descriptor's number
}

// String returns b as one would write it for --bind.
func (b Bind) String() string {
	switch b.Network {
	case "unix":
		return "unix:" + b.Address
	case "fd":
		return "fd://" + b.Address
	}
	return b.Address
}

// Fixed reports whether no two sockets can have b: it is neither none nor a port that
// the kernel is to choose.
func (b Bind) Fixed() bool {
	return b.Network == "unix" || b.Network == "fd" || b.Network == "tcp" && b.Address[len(b.Address)-2:] != ":0"
}

// Values of OTLPProtocol.
const (
	OTLPHTTP = "http/protobuf"
	OTLPGRPC = "grpc"
)

// CtlAuto is a CtlSocket in a directory that is the user's alone.
const CtlAuto = "auto"
