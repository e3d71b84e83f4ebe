package procstat

import (
	"bytes"
	"io/fs"
	"strconv"
)

// ListenOverflows returns how often the kernel has turned a connection away since the
// queue of a listening TCP socket was full, in this process's network namespace; -1 if
// that cannot be found out.
func ListenOverflows(proc fs.FS) float64 {
	b, err := fs.ReadFile(proc, "self/net/netstat")
	if err != nil {
		return -1
	}
	return netstat(b, "TcpExt:", "ListenOverflows")
}

// netstat returns a value of /proc/net/netstat, where a line of names is followed by one
// of values.
func netstat(b []byte, group, name string) float64 {
	var names [][]byte
	for line := range bytes.Lines(b) {
		f := bytes.Fields(line)
		if len(f) == 0 || string(f[0]) != group {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		for i, n := range names {
			if string(n) == name && i < len(f) {
				if v, err := strconv.ParseUint(string(f[i]), 10, 64); err == nil {
					return float64(v)
				}
			}
		}
		return -1
	}
	return -1
}
