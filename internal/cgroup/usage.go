package cgroup

import (
	"io/fs"
	"math"
	"strconv"
	"strings"
)

// CPU is what the strictest of the groups allows.
type CPU struct {
	Quota float64 // CPUs
	// Periods and Throttled count the spans over which the quota is dealt out, and
	// those in which it did not last.
	Periods, Throttled uint64
}

// ReadCPU returns false where there is no quota.
func ReadCPU(root fs.FS) (CPU, bool) {
	c := CPU{Quota: math.Inf(1)}
	for _, g := range Groups(root, "cpu") {
		if q, ok := g.quota(root); ok && q < c.Quota {
			c = CPU{Quota: q, Periods: g.entry(root, "cpu.stat", "nr_periods"), Throttled: g.entry(root, "cpu.stat", "nr_throttled")}
		}
	}
	return c, !math.IsInf(c.Quota, 1)
}

// FreeMemory returns how many bytes more the processes of the strictest of the
// groups may use, and false where there is no limit. The page cache that is not
// in use does not count as used: it makes room.
func FreeMemory(root fs.FS) (free int64, ok bool) {
	free = math.MaxInt64
	for _, g := range Groups(root, "memory") {
		limit, used, idle := "memory.max", "memory.current", "inactive_file"
		if g.V1 {
			limit, used, idle = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
		}
		// No limit is "max" in version 2, and in version 1 close to the largest
		// number there is.
		most, err1 := strconv.ParseInt(word(root, g.Dir+"/"+limit), 10, 64)
		now, err2 := strconv.ParseInt(word(root, g.Dir+"/"+used), 10, 64)
		if err1 != nil || err2 != nil || most >= 1<<60 {
			continue
		}
		free, ok = min(free, max(0, most-now+int64(g.entry(root, "memory.stat", idle)))), true
	}
	return free, ok
}

// Pressure returns for how much of the last ten seconds, from 0 to 1, some
// process waited for a CPU, and false where the kernel does not say.
func Pressure(root fs.FS) (float64, bool) {
	files := make([]string, 0, 4)
	for _, g := range Groups(root, "cpu") {
		if !g.V1 {
			files = append(files, g.Dir+"/cpu.pressure")
		}
	}
	for _, f := range append(files, "proc/pressure/cpu") {
		// some avg10=38.44 avg60=42.14 avg300=31.66 total=3444984682
		if _, rest, ok := strings.Cut(word(root, f), "some avg10="); ok {
			percent, _, _ := strings.Cut(rest, " ")
			if p, err := strconv.ParseFloat(percent, 64); err == nil {
				return p / 100, true
			}
		}
	}
	return 0, false
}

// entry reads one of the lines "name number" of a file.
func (g Group) entry(root fs.FS, file, name string) uint64 {
	for line := range strings.Lines(word(root, g.Dir+"/"+file)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == name {
			n, _ := strconv.ParseUint(f[1], 10, 64) // a kernel that writes no number has none
			return n
		}
	}
	return 0
}

// quota reads the CPU quota of a group; most have none.
func (g Group) quota(root fs.FS) (float64, bool) {
	var text string
	if g.V1 {
		text = word(root, g.Dir+"/cpu.cfs_quota_us") + " " + word(root, g.Dir+"/cpu.cfs_period_us")
	} else {
		text = word(root, g.Dir+"/cpu.max")
	}
	f := strings.Fields(text)
	if len(f) != 2 {
		return 0, false
	}
	// No quota is "max" in version 2 and -1 in version 1.
	quota, err1 := strconv.ParseInt(f[0], 10, 64)
	period, err2 := strconv.ParseInt(f[1], 10, 64)
	if err1 != nil || err2 != nil || quota <= 0 || period <= 0 {
		return 0, false
	}
	return float64(quota) / float64(period), true
}
