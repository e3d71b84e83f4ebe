package procstat

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
)

var errSmaps = errors.New("malformed memory figures")

// PSS reads a process's proportional share of memory from PID/smaps_rollup in proc, in
// bytes: what it shares with n processes counts for one n-th. The kernel walks all pages
// of the process for it, and needs the right to trace it.
func PSS(proc fs.FS, pid int) (float64, error) {
	b, err := fs.ReadFile(proc, strconv.Itoa(pid)+"/smaps_rollup")
	if err != nil {
		return 0, fmt.Errorf("cannot read the memory of process %d: %w", pid, err)
	}
	_, rest, found := bytes.Cut(b, []byte("\nPss:"))
	f := bytes.Fields(rest[:max(bytes.IndexByte(rest, '\n'), 0)])
	if !found || len(f) != 2 || string(f[1]) != "kB" {
		return 0, fmt.Errorf("cannot read the memory of process %d: %w", pid, errSmaps)
	}
	kB, err := strconv.ParseUint(string(f[0]), 10, 53)
	if err != nil {
		return 0, fmt.Errorf("cannot read the memory of process %d: %w", pid, errSmaps)
	}
	return float64(kB) * 1024, nil
}
