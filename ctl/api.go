package ctl

import (
	"hostler/admin"
	"hostler/protocol"
)

// Status is admin.Status with what the kernel counts for each worker.
type Status struct {
	admin.Status
	Workers []WorkerStatus `json:"workers"`
}

// WorkerStatus is one worker process.
type WorkerStatus struct {
	admin.WorkerStatus
	Memory float64 `json:"resident_memory_bytes"` // shared pages included; 0: not known
	CPU    float64 `json:"cpu_seconds"`
}

// Events is the journal, oldest first.
type Events struct {
	Events []protocol.Event `json:"events"`
}

// Slow is the worst requests by route, the worst first.
type Slow struct {
	Routes []protocol.SlowRoute `json:"routes"`
}

// Config are the settings in force.
type Config struct {
	Settings []Setting `json:"settings"`
}

// Setting is one of them.
type Setting struct {
	Key    string   `json:"key"` // as in a settings file
	Values []string `json:"values"`
	Origin string   `json:"origin,omitempty"` // where it is from; "": it is the default
}

// ScaleRequest has one of its fields set.
type ScaleRequest struct {
	To   *int `json:"to,omitempty"`
	By   *int `json:"by,omitempty"`
	Auto bool `json:"auto,omitempty"` // by need again, as --workers MIN:MAX says
}

// Scaled says how many workers there were to be, and are to be now.
type Scaled struct {
	From int `json:"from"`
	To   int `json:"to"`
}

// WorkerRequest names a worker; 0 means all.
type WorkerRequest struct {
	Worker int `json:"worker,omitempty"`
}

// Dumped has the tracebacks of workers.
type Dumped struct {
	Dumps []protocol.Dump `json:"dumps"`
}

// ProfileRequest asks for a profile of a worker, or of all for 0.
type ProfileRequest struct {
	Worker  int     `json:"worker,omitempty"`
	Seconds float64 `json:"seconds"`
	Rate    int     `json:"rate,omitempty"` // samples a second; 0: 100
}

// LevelRequest asks for a log level: debug, info, warning or error.
type LevelRequest struct {
	Level string `json:"level"`
}

// Level is the log level of master and workers, until the settings are read
// again.
type Level struct {
	Level string `json:"level"`
}

// Done answers what has nothing more to say. It is the state at the end.
type Done struct {
	PID        int `json:"pid"` // of the master that answers
	Generation int `json:"generation"`
}

// Failure says why something was not done.
type Failure struct {
	Message string `json:"error"`            // one line
	Detail  string `json:"detail,omitempty"` // the application's traceback

	status int // the answer's
}

func (f *Failure) Error() string { return f.Message }
