package procstat

import (
	"bytes"
	"io/fs"
	"strconv"
)

// Files returns how many descriptors a process has, and how many it may have; -1 stands
// for what cannot be found out: another user's process may not be looked into.
func Files(proc fs.FS, pid int) (open int, limit float64) {
	dir := strconv.Itoa(pid)
	open = -1
	// Since Linux 6.2 the size of the folder is the number of its entries; it costs
	// nothing where thousands would have to be listed.
	if info, err := fs.Stat(proc, dir+"/fd"); err == nil && info.Size() > 0 {
		open = int(info.Size())
	} else if list, err := fs.ReadDir(proc, dir+"/fd"); err == nil {
		open = len(list)
	}
	b, err := fs.ReadFile(proc, dir+"/limits")
	if err != nil {
		return open, -1
	}
	return open, parseLimit(b)
}

// parseLimit returns the soft limit of open files in /proc/PID/limits.
func parseLimit(b []byte) float64 {
	for line := range bytes.Lines(b) {
		rest, found := bytes.CutPrefix(line, []byte("Max open files"))
		if f := bytes.Fields(rest); found && len(f) > 0 {
			if n, err := strconv.ParseFloat(string(f[0]), 64); err == nil {
				return n
			}
		}
	}
	return -1
}
