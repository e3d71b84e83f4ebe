package config

import (
	"strings"
	"testing"
	"testing/fstest"
)

// tree makes a file system of lines "path: text", with \n in the text written
// as "; ".
func tree(lines ...string) fstest.MapFS {
	m := make(fstest.MapFS)
	for _, l := range lines {
		name, text, _ := strings.Cut(l, ": ")
		m[name] = &fstest.MapFile{Data: []byte(strings.ReplaceAll(text, "; ", "\n") + "\n")}
	}
	return m
}

func TestAutoWorkers(t *testing.T) {
	const (
		v2mount = "proc/self/mountinfo: 1 1 0:1 / / rw - ext4 /dev/sda rw; 31 23 0:28 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw"
		v1mount = "proc/self/mountinfo: 32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct; 33 31 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset"
		v2unit  = "proc/self/cgroup: 0::/web.slice/shop.service"
		v1unit  = "proc/self/cgroup: 5:cpuset:/other; 4:cpu,cpuacct:/web/shop; 0::/"
		unit    = "sys/fs/cgroup/web.slice/shop.service/cpu.max: "
		unit1   = "sys/fs/cgroup/cpu,cpuacct/web/shop/cpu.cfs_"
	)
	for _, c := range []struct {
		name string
		fs   fstest.MapFS
		cpus int
		want int
	}{
		{"no /proc", tree(), 8, 8},
		{"no CPU at all", tree(), 0, 1},
		{"v2, whole", tree(v2mount, v2unit, unit+"200000 100000"), 8, 2},
		{"v2, part is rounded up", tree(v2mount, v2unit, unit+"150000 100000"), 8, 2},
		{"v2, less than one", tree(v2mount, v2unit, unit+"10000 100000"), 8, 1},
		{"v2, more than the cores", tree(v2mount, v2unit, unit+"1600000 100000"), 8, 8},
		{"v2, max", tree(v2mount, v2unit, unit+"max 100000"), 8, 8},
		{"v2, garbage", tree(v2mount, v2unit, unit+"lots"), 8, 8},
		{"v2, zero period", tree(v2mount, v2unit, unit+"100000 0"), 8, 8},
		{"v2, parent is stricter", tree(v2mount, v2unit, unit+"400000 100000", "sys/fs/cgroup/web.slice/cpu.max: 300000 100000"), 8, 3},
		{"v2, only the parent", tree(v2mount, v2unit, "sys/fs/cgroup/web.slice/cpu.max: 300000 100000"), 8, 3},
		{"v2, container with its own namespace", tree(v2mount, "proc/self/cgroup: 0::/", "sys/fs/cgroup/cpu.max: 250000 50000"), 8, 5},
		{"v2, outside of the namespace", tree(v2mount, "proc/self/cgroup: 0::/../../x", "sys/fs/cgroup/cpu.max: 200000 100000"), 8, 2},
		{"v2, container without a namespace", tree("proc/self/mountinfo: 31 23 0:28 /docker/4f /sys/fs/cgroup ro - cgroup2 cgroup2 rw", "proc/self/cgroup: 0::/docker/4f/sub",
			"sys/fs/cgroup/cpu.max: 300000 100000", "sys/fs/cgroup/sub/cpu.max: 200000 100000"), 8, 2},
		{"v1", tree(v1mount, v1unit, unit1+"quota_us: 300000", unit1+"period_us: 100000"), 8, 3},
		{"v1, no quota", tree(v1mount, v1unit, unit1+"quota_us: -1", unit1+"period_us: 100000"), 8, 8},
		{"v1, no period", tree(v1mount, v1unit, unit1+"quota_us: 300000"), 8, 8},
		{"v1, the root", tree(v1mount, v1unit, "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us: 50000", "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us: 25000"), 8, 2},
		{"v1, container named as the host sees it", tree("proc/self/mountinfo: 32 31 0:29 /docker/4f /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu", "proc/self/cgroup: 4:cpu:/docker/4f",
			"sys/fs/cgroup/cpu/cpu.cfs_quota_us: 400000", "sys/fs/cgroup/cpu/cpu.cfs_period_us: 100000"), 8, 4},
		{"v1, a cgroup beside the one mounted", tree("proc/self/mountinfo: 32 31 0:29 /docker/4f /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu", "proc/self/cgroup: 4:cpu:/docker/4f00",
			"sys/fs/cgroup/cpu/cpu.cfs_quota_us: 400000", "sys/fs/cgroup/cpu/cpu.cfs_period_us: 100000"), 8, 4},
		{"hybrid", tree("proc/self/mountinfo: 32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu; 41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw",
			"proc/self/cgroup: 4:cpu:/shop; 0::/", "sys/fs/cgroup/cpu/shop/cpu.cfs_quota_us: 200000", "sys/fs/cgroup/cpu/shop/cpu.cfs_period_us: 100000"), 8, 2},
		{"broken /proc files", tree("proc/self/mountinfo: - cgroup2; x - y; a b c /../x /../../etc - cgroup2 c rw", "proc/self/cgroup: 0; :; 0::"), 8, 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := autoWorkers(c.fs, c.cpus); got != c.want {
				t.Errorf("got %d workers, want %d", got, c.want)
			}
		})
	}
}
