package master

import (
	"syscall"
	"time"

	"hostler/protocol"
)

// process is a worker process as the state goroutine sees it. All methods
// return at once.
type process interface {
	// PID is 0 for a process that is not there yet; when it is, that is reported.
	PID() int
	// Send writes a message to the worker's control socket. A worker that does
	// not read has room for many; one that is gone gives an error.
	Send(protocol.Message) error
	// SendFile is Send with a file descriptor beside the message.
	SendFile(m protocol.Message, fd int) error
	Signal(syscall.Signal) error
	// Close releases what the master holds of the process. It is called once,
	// after the process's exit was reported.
	Close()
}

// processSpec is what a worker process is started from.
type processSpec struct {
	python    string
	dir       string // where it is started; "": where the master is
	config    *protocol.WorkerConfig
	env       []string
	identity  *syscall.Credential // nil: the master's own
	listeners []int               // file descriptors, in the order of config.Listeners
	secrets   int                 // file descriptor of the TLS material, or -1
	errors    int                 // file descriptor of the error log; -1: it is our standard error
}

// starter starts worker processes. What the process says and its end go to
// report, from other goroutines, the end last. No method waits for anything: whether
// a process could be started is reported, too.
type starter interface {
	Start(spec processSpec, report func(report)) (process, error)
	// Retire says that no worker of this generation will be started any more.
	Retire(generation int)
	// ReopenLog gives what workers of this generation are forked from the error log's
	// file, if there is such a process.
	ReopenLog(generation, fd int)
}

// report is a message of a process, or what has become of it.
type report struct {
	message protocol.Message
	begun   bool // it is there, and has a pid, if it had none when it was started
	deaf    bool // it has closed its control socket
	exited  bool // this is its end
	status  syscall.WaitStatus
	cpu     float64 // seconds of CPU time that it used in its life
	err     error   // the end of one that could not be started
}

// clock is the time as the state goroutine sees it.
type clock struct {
	now  func() time.Time
	mono func() int64 // the scoreboard's clock
}

func systemClock() clock { return clock{now: time.Now, mono: protocol.Monotonic} }
