package cgroup

import (
	"math"
	"os"
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

const (
	v2mount = "proc/self/mountinfo: 31 23 0:28 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw"
	v2unit  = "proc/self/cgroup: 0::/web.slice/shop.service"
	v2      = "sys/fs/cgroup/web.slice/"
	v1mount = "proc/self/mountinfo: 32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu; 33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"
	v1unit  = "proc/self/cgroup: 5:memory:/m; 4:cpu:/c"
	v1      = "sys/fs/cgroup/"
)

func TestCPU(t *testing.T) {
	for _, c := range []struct {
		name string
		fs   fstest.MapFS
		want CPU
		ok   bool
	}{
		{"nothing", tree(), CPU{}, false},
		{"no quota", tree(v2mount, v2unit, v2+"cpu.max: max 100000"), CPU{}, false},
		{"the strictest of two, and its own counters", tree(v2mount, v2unit,
			v2+"cpu.max: 200000 100000", v2+"cpu.stat: usage_usec 5; nr_periods 70; nr_throttled 7",
			v2+"shop.service/cpu.max: 400000 100000", v2+"shop.service/cpu.stat: nr_periods 1; nr_throttled 1"),
			CPU{2, 70, 7}, true},
		{"v1", tree(v1mount, v1unit, v1+"cpu/c/cpu.cfs_quota_us: 50000", v1+"cpu/c/cpu.cfs_period_us: 100000",
			v1+"cpu/c/cpu.stat: nr_periods 9; nr_throttled 3; throttled_time 12"), CPU{0.5, 9, 3}, true},
	} {
		got, ok := ReadCPU(c.fs)
		if ok != c.ok || ok && got != c.want || !ok && !math.IsInf(got.Quota, 1) {
			t.Errorf("%s: %+v, %v", c.name, got, ok)
		}
	}
}

func TestFreeMemory(t *testing.T) {
	for _, c := range []struct {
		name string
		fs   fstest.MapFS
		want int64
		ok   bool
	}{
		{"nothing", tree(), 0, false},
		{"no limit", tree(v2mount, v2unit, v2+"memory.max: max", v2+"memory.current: 10"), 0, false},
		{"v2: the page cache that rests makes room", tree(v2mount, v2unit, v2+"shop.service/memory.max: 1000",
			v2+"shop.service/memory.current: 900", v2+"shop.service/memory.stat: anon 5; inactive_file 300"), 400, true},
		{"v2: the group around it is fuller", tree(v2mount, v2unit, v2+"shop.service/memory.max: 1000",
			v2+"shop.service/memory.current: 100", v2+"memory.max: 2000", v2+"memory.current: 1990"), 10, true},
		{"v2: over its limit", tree(v2mount, v2unit, v2+"memory.max: 1000", v2+"memory.current: 1001"), 0, true},
		{"v1", tree(v1mount, v1unit, v1+"memory/m/memory.limit_in_bytes: 1000", v1+"memory/m/memory.usage_in_bytes: 500",
			v1+"memory/m/memory.stat: inactive_file 1; total_inactive_file 50",
			v1+"memory/memory.limit_in_bytes: 9223372036854771712", v1+"memory/memory.usage_in_bytes: 1"), 550, true},
	} {
		if got, ok := FreeMemory(c.fs); ok != c.ok || ok && got != c.want {
			t.Errorf("%s: %d, %v", c.name, got, ok)
		}
	}
}

func TestPressure(t *testing.T) {
	const line = "some avg10=38.50 avg60=1.00 avg300=2.00 total=3; full avg10=9.00 avg60=0.00 avg300=0.00 total=0"
	for _, c := range []struct {
		name string
		fs   fstest.MapFS
		want float64
		ok   bool
	}{
		{"nothing", tree(), 0, false},
		{"of the machine", tree(v1mount, v1unit, "proc/pressure/cpu: "+line), 0.385, true},
		{"of the group", tree(v2mount, v2unit, "proc/pressure/cpu: "+line, v2+"shop.service/cpu.pressure: some avg10=7.00 avg60=0"), 0.07, true},
	} {
		if got, ok := Pressure(c.fs); ok != c.ok || got != c.want {
			t.Errorf("%s: %v, %v", c.name, got, ok)
		}
	}
}

// TestThisMachine: whatever is mounted here, nothing of it confuses us.
func TestThisMachine(t *testing.T) {
	root := os.DirFS("/")
	if c, ok := ReadCPU(root); ok && (c.Quota <= 0 || c.Throttled > c.Periods) {
		t.Errorf("%+v", c)
	}
	if n, ok := FreeMemory(root); ok && n < 0 {
		t.Errorf("%d bytes free", n)
	}
	if p, ok := Pressure(root); ok && (p < 0 || p > 1) {
		t.Errorf("a pressure of %v", p)
	}
}
