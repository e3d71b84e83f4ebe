package config

import (
	"io/fs"
	"math"

	"hostler/internal/cgroup"
)

// autoWorkers is the number of workers for "auto": the CPUs that the process
// may use, or the quota of its cgroup where that is less. A part of a CPU counts
// as a whole one, or it would go to waste.
func autoWorkers(root fs.FS, cpus int) int {
	n := float64(cpus)
	if c, ok := cgroup.ReadCPU(root); ok {
		n = min(n, math.Ceil(c.Quota))
	}
	return max(1, int(n))
}
