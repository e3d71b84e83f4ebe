package spawn

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"hostler/protocol"
)

// Process is a worker process as the state goroutine sees it. All methods
// return at once.
type Process interface {
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

// Spec is what a worker process is started from.
type Spec struct {
	Python    string
	Dir       string // where it is started; "": where the master is
	Config    *protocol.WorkerConfig
	Env       []string
	Identity  *syscall.Credential // nil: the master's own
	Listeners []int               // file descriptors, in the order of config.Listeners
	Secrets   int                 // file descriptor of the TLS material, or -1
	Pages     int                 // that of the error pages, or -1
	Errors    int                 // file descriptor of the error log; -1: it is our standard error
}

// Starter starts worker processes. What the process says and its end go to
// report, from other goroutines, the end last. No method waits for anything: whether
// a process could be started is reported, too.
type Starter interface {
	Start(spec Spec, report func(Report)) (Process, error)
	// Retire says that no worker of this generation will be started any more.
	Retire(generation int)
	// ReopenLog gives what workers of this generation are forked from the error log's
	// file, if there is such a process.
	ReopenLog(generation, fd int)
}

// Report is a message of a process, or what has become of it.
type Report struct {
	Message protocol.Message
	Begun   bool // it is there, and has a pid, if it had none when it was started
	Deaf    bool // it has closed its control socket
	Exited  bool // this is its end
	Status  syscall.WaitStatus
	CPU     float64 // seconds of CPU time that it used in its life
	Err     error   // the end of one that could not be started
}

// AppMetrics takes what a process shares of the application's own metrics. Its methods are
// called from the goroutine that hears the process.
type AppMetrics interface {
	// Take gets the memory, which is its to close.
	Take(fd int)
	// End is called when the process has ended, and its end was reported.
	End()
}

// StatusText describes an exit status: "exit:3", "signal:SIGSEGV".
func StatusText(ws syscall.WaitStatus) string {
	if ws.Signaled() {
		name := unix.SignalName(ws.Signal())
		if name == "" {
			name = fmt.Sprint(int(ws.Signal()))
		}
		return "signal:" + name
	}
	return fmt.Sprintf("exit:%d", ws.ExitStatus())
}

// EndedEarly describes the end of a process of python's that has not said that it is
// ready, nor why it is not.
func EndedEarly(ws syscall.WaitStatus, python string) string {
	text := "ended (" + StatusText(ws) + ") before it was ready"
	if ws.Signaled() {
		return text
	}
	return text + ": is " + python + " a Python? Does the application end the process when it is imported?"
}

// RawFD returns f's descriptor without switching it to blocking.
func RawFD(f *os.File) int {
	n := -1
	if raw, err := f.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { n = int(fd) })
	}
	return n
}
