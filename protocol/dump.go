package protocol

import "syscall"

// DumpTell is the Text of a KindDump whose tracebacks the master wants to have, too.
const DumpTell = "tell"

// MaxDump is how many bytes the tracebacks of a worker may have; what is beyond is lost.
const MaxDump = 256 << 10

// Dump is what the Python threads of a worker are at.
type Dump struct {
	Worker  int    `json:"worker"`
	PID     int    `json:"pid"`
	Text    string `json:"text,omitempty"`
	Missing string `json:"missing,omitempty"` // why there is none
}

// DumpSignal has a worker write all tracebacks. It is what the Python side has registered with
// faulthandler, whose handler needs neither the GIL nor a sane interpreter, nor that anybody reads
// the control socket. It is a number, since the first one that is free is 34 to glibc and 35 to
// musl.
const DumpSignal = syscall.Signal(35)
