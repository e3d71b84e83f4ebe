package protocol

import (
	"encoding/json"
	"fmt"
)

// File descriptors of a worker process at exec. Listeners follow from
// FDListeners on, in the order of WorkerConfig.Listeners.
const (
	FDControl    = 3
	FDScoreboard = 4 // closed once it is mapped
	FDLibrary    = 5 // closed once it is loaded
	FDHandOut    = 6 // see NewExchange
	FDHandIn     = 7
	FDSecrets    = 8 // see TLSMaterial; closed once it is read
	FDListeners  = 9
	// Behind the last listener: the Python modules, whose number is an argument of its
	// own; closed once they are compiled.
)

// Listener describes an inherited listening socket. Its position tells its
// file descriptor.
type Listener struct {
	Network string `json:"network"` // "tcp" or "unix"
	Host    string `json:"host"`    // as configured; the path for unix
	Port    string `json:"port"`    // "" for unix
	TLS     bool   `json:"tls,omitempty"`
	// Redirect is the port of the TLS listener that clients are sent to; "": they
	// are served.
	Redirect string `json:"redirect,omitempty"`
}

// What becomes of fields that speak of a client, from somebody who is not trusted.
const (
	ForwardedKeep = "keep" // they stay in environ, and mean nothing to us
	ForwardedDrop = "drop"
)

// WorkerConfig is what the master tells a worker at exec, as one JSON argument.
// Times are nanoseconds (time.Duration). The zero value of a limit means none
// unless said otherwise.
type WorkerConfig struct {
	Slot       int    `json:"slot"` // index into the scoreboard
	Worker     int    `json:"worker"`
	Generation int    `json:"generation"`
	App        string `json:"app"`
	Name       string `json:"name"` // process title: "hostler: worker 3 gen 2 [Name]"
	Version    string `json:"version"`

	Chdir      string   `json:"chdir,omitempty"`
	Umask      string   `json:"umask,omitempty"` // octal
	PythonPath []string `json:"pythonpath,omitempty"`

	Preload bool     `json:"preload,omitempty"` // workers are forked from a mold
	Mold    bool     `json:"mold,omitempty"`    // this process is the mold
	Warmup  []string `json:"warmup,omitempty"`  // request targets that the mold runs first

	Paste     string `json:"paste,omitempty"`      // FILE[#NAME] of PasteDeploy, which then says what the application is
	Hooks     string `json:"hooks,omitempty"`      // module of functions that are run at certain moments
	HooksOnly bool   `json:"hooks_only,omitempty"` // this process runs the master's hooks, and is no worker
	MasterPID int    `json:"master_pid"`           // for hooks

	Workers           int        `json:"workers"` // for wsgi.multiprocess
	Threads           int        `json:"threads"`
	SpareThread       bool       `json:"spare_thread,omitempty"` // keep the last free thread from routes known to be slow
	Pools             []Pool     `json:"pools,omitempty"`
	Static            []Static   `json:"static,omitempty"`
	WorkerConnections int        `json:"worker_connections"`
	Queue             int        `json:"queue"`
	Listeners         []Listener `json:"listeners"`

	MaxRequests int `json:"max_requests"` // jitter already applied; the master watches Gauges.Served

	MinRate        int64    `json:"min_rate"`                  // bytes per second, of bodies and responses; 0: any
	QueueWait      int64    `json:"queue_wait"`                // ns: requests that wait for so long are too many; 0: never
	HealthPaths    []string `json:"health_paths,omitempty"`    // requests for these go ahead of others
	HTTP2Cleartext bool     `json:"http2_cleartext,omitempty"` // HTTP/2 with prior knowledge, where there is no TLS

	Timeout         int64 `json:"timeout"` // the master sees to it and the next; for hostler.deadline
	TotalTimeout    int64 `json:"total_timeout"`
	KeepAlive       int64 `json:"keep_alive"`
	HeaderTimeout   int64 `json:"header_timeout"`
	BodyTimeout     int64 `json:"body_timeout"`
	WriteTimeout    int64 `json:"write_timeout"`
	GracefulTimeout int64 `json:"graceful_timeout"`

	LimitRequestLine      int      `json:"limit_request_line"`
	LimitRequestFields    int      `json:"limit_request_fields"`
	LimitRequestFieldSize int      `json:"limit_request_field_size"`
	LimitRequestBody      int64    `json:"limit_request_body"`
	SpoolDir              string   `json:"spool_dir,omitempty"`      // for bodies beyond what is held in memory; "": one that suits
	SpoolLimit            int64    `json:"spool_limit"`              // of a body; 0: none is spooled
	StreamUploads         []string `json:"stream_uploads,omitempty"` // patterns of paths whose bodies are not gathered
	LimitBuffers          int64    `json:"limit_buffers"`            // bytes that clients have not taken or not sent to the end; 0: any

	ForwardedAllowIPs []string `json:"forwarded_allow_ips,omitempty"` // CIDRs; "*": everyone; "unix": unix-socket peers

	ForwardedHeaders []string `json:"forwarded_headers,omitempty"` // what of theirs is believed: "for", "proto", "host", "prefix", "forwarded", "cf-connecting-ip"
	// ForwardedUntrusted is what becomes of these fields from anybody else:
	// ForwardedKeep or ForwardedDrop.
	ForwardedUntrusted string `json:"forwarded_untrusted,omitempty"`

	ProxyProtocol string   `json:"proxy_protocol,omitempty"`  // "v1", "v2", "auto"; "": off
	ProxyAllowIPs []string `json:"proxy_allow_ips,omitempty"` // as ForwardedAllowIPs; their connections begin with a header of that protocol

	AccessLog     string   `json:"access_log,omitempty"`     // "-": stdout; "": off; else its file comes by KindReopen
	AccessFormat  string   `json:"access_format,omitempty"`  // see internal/accesslog; "": combined
	AccessExclude []string `json:"access_exclude,omitempty"` // patterns of paths that have no line
	LogLevel      string   `json:"log_level"`
	// Development makes the worker report its modules, and show KindPage's text.
	Development bool   `json:"development,omitempty"`
	Page        string `json:"page,omitempty"`  // with Development: the application could not be loaded; every request is answered with this text
	Check       bool   `json:"check,omitempty"` // import the application, say ready, exit

	// InternalEnv names variables that the master has put into the environment
	// for the Go runtime alone; the Python side takes them out of os.environ.
	InternalEnv []string `json:"internal_env,omitempty"`
}

// Encode returns c as the argument for the worker's command line.
func (c *WorkerConfig) Encode() (string, error) {
	b, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("cannot encode the worker's settings: %w", err)
	}
	return string(b), nil
}

// DecodeWorkerConfig is the reverse of Encode.
func DecodeWorkerConfig(s string) (*WorkerConfig, error) {
	c := new(WorkerConfig)
	if err := json.Unmarshal([]byte(s), c); err != nil {
		return nil, fmt.Errorf("cannot read the worker's settings: %w", err)
	}
	return c, nil
}
