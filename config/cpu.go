package config

import (
	"io/fs"
	"math"
	"path"
	"strconv"
	"strings"
)

// autoWorkers is the number of workers for "auto": the CPUs that the process
// may use, or the quota of its cgroup where that is less. A part of a CPU counts
// as a whole one, or it would go to waste.
func autoWorkers(root fs.FS, cpus int) int {
	n := float64(cpus)
	if quota, ok := cpuQuota(root); ok {
		n = min(n, math.Ceil(quota))
	}
	return max(1, int(n))
}

// cpuQuota returns the CPUs that the process's cgroup, or the strictest of
// those around it, allows.
func cpuQuota(root fs.FS) (quota float64, ok bool) {
	quota = math.Inf(1)
	for _, m := range cgroupMounts(root) {
		dir, inside := m.dir(processCgroup(root, m.v1))
		for inside {
			if q, found := quotaIn(root, dir, m.v1); found {
				quota, ok = min(quota, q), true
			}
			if dir == m.point || dir == "." {
				break
			}
			dir = path.Dir(dir)
		}
	}
	return quota, ok
}

// cgroupMount is a mounted cgroup hierarchy that may limit CPU.
type cgroupMount struct {
	v1    bool
	root  string // the cgroup that is mounted
	point string // where, without the leading slash
}

// dir returns the directory of a cgroup. In a container the process's cgroup
// may be named as the host sees it, with only its own part mounted: what lies
// outside of the mount stands for the mount's root.
func (m *cgroupMount) dir(cgroup string) (string, bool) {
	if cgroup == "" {
		return "", false
	}
	rest, ok := strings.CutPrefix(cgroup, m.root)
	if m.root != "/" && (!ok || rest != "" && rest[0] != '/') {
		rest = ""
	}
	// Join also makes an end of the ".." that a cgroup outside of the process's
	// cgroup namespace begins with.
	return path.Join(m.point, path.Join("/", rest)), true
}

// cgroupMounts finds the hierarchies in /proc/self/mountinfo, as in
//
//	31 23 0:28 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw
//	32 31 0:29 /docker/4f1c /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct
func cgroupMounts(root fs.FS) []cgroupMount {
	data, err := fs.ReadFile(root, "proc/self/mountinfo")
	if err != nil {
		return nil
	}
	var mounts []cgroupMount
	for line := range strings.Lines(string(data)) {
		before, after, ok := strings.Cut(line, " - ")
		where, what := strings.Fields(before), strings.Fields(after)
		if !ok || len(where) < 5 || len(what) < 3 {
			continue
		}
		v1 := what[0] == "cgroup" && hasItem(what[2], "cpu")
		point := strings.TrimPrefix(path.Clean(where[4]), "/")
		if (v1 || what[0] == "cgroup2") && fs.ValidPath(point) {
			mounts = append(mounts, cgroupMount{v1: v1, root: where[3], point: point})
		}
	}
	return mounts
}

// processCgroup finds the process's own cgroup in /proc/self/cgroup, as in
//
//	0::/system.slice/hostler.service
//	4:cpu,cpuacct:/docker/4f1c
func processCgroup(root fs.FS, v1 bool) string {
	data, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) < 3 {
			continue
		}
		if v1 && hasItem(f[1], "cpu") || !v1 && f[0] == "0" && f[1] == "" {
			return f[2]
		}
	}
	return ""
}

func hasItem(list, item string) bool {
	for s := range strings.SplitSeq(list, ",") {
		if s == item {
			return true
		}
	}
	return false
}

// quotaIn reads the quota of one cgroup; most have none.
func quotaIn(root fs.FS, dir string, v1 bool) (float64, bool) {
	var text string
	if v1 {
		text = readWord(root, dir+"/cpu.cfs_quota_us") + " " + readWord(root, dir+"/cpu.cfs_period_us")
	} else {
		text = readWord(root, dir+"/cpu.max")
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

func readWord(root fs.FS, name string) string {
	data, err := fs.ReadFile(root, name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}
