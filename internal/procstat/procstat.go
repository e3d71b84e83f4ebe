// Package procstat reads what the kernel counts for a process.
package procstat

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

// Process is what /proc tells of a process.
type Process struct {
	PID    int
	Born   uint64  // clock ticks since boot: with the pid it names the process
	CPU    float64 // seconds
	Memory float64 // bytes, resident

	Stopped bool // by a signal or a debugger
	Ended   bool // and waits for its parent to hear of it
}

// BornAt is when the process began, in seconds since the Unix epoch as the clock is
// now.
func (p Process) BornAt(proc fs.FS) (float64, error) {
	b, err := fs.ReadFile(proc, "stat")
	if err != nil {
		return 0, err
	}
	_, rest, _ := bytes.Cut(b, []byte("\nbtime "))
	booted, err := strconv.ParseUint(string(bytes.SplitN(rest, []byte("\n"), 2)[0]), 10, 64)
	if err != nil {
		return 0, errStat
	}
	return float64(booted) + float64(p.Born)/userHZ, nil
}

var errStat = errors.New("malformed process status")

// Read reads PID/stat in proc, which is /proc.
func Read(proc fs.FS, pid int) (Process, error) {
	b, err := fs.ReadFile(proc, strconv.Itoa(pid)+"/stat")
	if err != nil {
		return Process{}, fmt.Errorf("cannot read the state of process %d: %w", pid, err)
	}
	p, err := parseStat(b)
	if err != nil {
		return Process{}, fmt.Errorf("cannot read the state of process %d: %w", pid, err)
	}
	p.PID = pid
	return p, nil
}

// parseStat takes /proc/PID/stat apart; proc(5) numbers the fields from 1.
func parseStat(b []byte) (Process, error) {
	// The second field is the name, in brackets; it may hold blanks and brackets.
	end := bytes.LastIndexByte(b, ')')
	if end < 0 {
		return Process{}, errStat
	}
	f := bytes.Fields(b[end+1:])
	const first, utime, stime, starttime, rss = 3, 14, 15, 22, 24
	if len(f) <= rss-first {
		return Process{}, errStat
	}
	state := string(f[0])
	var v [4]uint64
	for i, n := range [...]int{utime, stime, starttime, rss} {
		var err error
		if v[i], err = strconv.ParseUint(string(f[n-first]), 10, 64); err != nil {
			return Process{}, errStat
		}
	}
	return Process{Born: v[2], CPU: (float64(v[0]) + float64(v[1])) / userHZ, Memory: float64(v[3]) * float64(os.Getpagesize()),
		Stopped: state == "T" || state == "t", Ended: state == "Z" || state == "X"}, nil
}
