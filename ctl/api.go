package ctl

import (
	"hostler/admin"
	"hostler/protocol"
)

// Status is the server and its workers.
type Status = admin.Detailed

// WorkerStatus is one worker process.
type WorkerStatus = admin.DetailedWorker

// Samples are the last minutes, a sample a second, oldest first.
type Samples struct {
	Samples []admin.Sample `json:"samples"`
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
type Setting = admin.Setting

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
