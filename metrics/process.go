package metrics

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
)

// userHZ is the unit of CPU time in /proc: sysconf(_SC_CLK_TCK), which is 100
// on every architecture that Go runs on, whatever the kernel ticks at.
const userHZ = 100

// process is what /proc tells of a process.
type process struct {
	pid    int
	born   uint64  // clock ticks since boot: with the pid it names the process
	cpu    float64 // seconds
	memory float64 // bytes
}

var errStat = errors.New("malformed process status")

// readProcess reads /proc/PID/stat.
func readProcess(proc fs.FS, pid int) (process, error) {
	b, err := fs.ReadFile(proc, strconv.Itoa(pid)+"/stat")
	if err != nil {
		return process{}, fmt.Errorf("cannot read the state of process %d: %w", pid, err)
	}
	p, err := parseStat(b)
	if err != nil {
		return process{}, fmt.Errorf("cannot read the state of process %d: %w", pid, err)
	}
	p.pid = pid
	return p, nil
}

// parseStat takes /proc/PID/stat apart; proc(5) numbers the fields from 1.
func parseStat(b []byte) (process, error) {
	// The second field is the name, in brackets; it may hold blanks and brackets.
	end := bytes.LastIndexByte(b, ')')
	if end < 0 {
		return process{}, errStat
	}
	f := bytes.Fields(b[end+1:])
	const first, utime, stime, starttime, rss = 3, 14, 15, 22, 24
	if len(f) <= rss-first {
		return process{}, errStat
	}
	var v [4]uint64
	for i, n := range [...]int{utime, stime, starttime, rss} {
		var err error
		if v[i], err = strconv.ParseUint(string(f[n-first]), 10, 64); err != nil {
			return process{}, errStat
		}
	}
	return process{born: v[2], cpu: (float64(v[0]) + float64(v[1])) / userHZ, memory: float64(v[3]) * float64(os.Getpagesize())}, nil
}

// cpuAccount adds up the CPU time of the processes that hold a slot one after
// the other.
type cpuAccount struct {
	pid  int
	born uint64
	last float64 // of the process above, when it was last seen
	gone float64 // of all before it
}

// see takes in that p holds the slot.
func (a *cpuAccount) see(p process) {
	if a.pid != p.pid || a.born != p.born {
		a.gone += a.last
		a.pid, a.born, a.last = p.pid, p.born, 0
	}
	a.last = max(a.last, p.cpu)
}

func (a *cpuAccount) total() float64 { return a.gone + a.last }
