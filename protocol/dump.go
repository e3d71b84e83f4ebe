package protocol

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
