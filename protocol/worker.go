package protocol

import (
	"encoding/json"
	"fmt"

	"hostler/settings"
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
	FDPages      = 9 // see ErrorPage; closed once it is read
	FDListeners  = 10
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

// WorkerConfig is what the master tells a worker at exec, as one JSON argument: the
// settings, and what is this worker's own.
type WorkerConfig struct {
	Slot       int    `json:"slot"`   // index into the scoreboard
	Number     int    `json:"worker"` // for people: from 1 on
	Generation int    `json:"generation"`
	Name       string `json:"name"` // process title: "hostler: worker 3 gen 2 [Name]"
	Version    string `json:"version"`

	Argv []string `json:"argv"` // the command line, which the application finds as its own

	settings.Worker

	Canary    bool `json:"canary,omitempty"`     // it takes connections from nobody but who gives them to it: see KindCanary
	Mold      bool `json:"mold,omitempty"`       // this process is the mold
	HooksOnly bool `json:"hooks_only,omitempty"` // this process runs the master's hooks, and is no worker
	MasterPID int  `json:"master_pid"`           // for hooks

	Workers     int        `json:"workers"` // for wsgi.multiprocess
	Listeners   []Listener `json:"listeners"`
	MaxRequests int        `json:"max_requests"` // jitter already applied; the master watches Gauges.Served

	Page  string `json:"page,omitempty"`  // with Development: the application could not be loaded; every request is answered with this text
	Check bool   `json:"check,omitempty"` // import the application, say ready, exit

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
