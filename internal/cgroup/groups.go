// Package cgroup reads what control groups, of either version, allow the process
// that it runs in, and what they have used of it.
package cgroup

import (
	"io/fs"
	"path"
	"strings"
)

// Group is a control group's directory.
type Group struct {
	V1  bool
	Dir string // without the leading slash
}

// Groups returns the process's own group and those around it, as far as they can
// be seen, in each hierarchy that has the controller. Root is "/".
func Groups(root fs.FS, controller string) []Group {
	var all []Group
	for _, m := range mounts(root, controller) {
		dir, inside := m.dir(processGroup(root, controller, m.v1))
		for inside {
			all = append(all, Group{m.v1, dir})
			if dir == m.point || dir == "." {
				break
			}
			dir = path.Dir(dir)
		}
	}
	return all
}

// mount is a mounted hierarchy that has the controller.
type mount struct {
	v1    bool
	root  string // the cgroup that is mounted
	point string // where, without the leading slash
}

// dir returns the directory of a cgroup. In a container the process's cgroup
// may be named as the host sees it, with only its own part mounted: what lies
// outside of the mount stands for the mount's root.
func (m *mount) dir(cgroup string) (string, bool) {
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

// mounts finds the hierarchies in /proc/self/mountinfo, as in
//
//	31 23 0:28 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw
//	32 31 0:29 /docker/4f1c /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct
func mounts(root fs.FS, controller string) []mount {
	data, err := fs.ReadFile(root, "proc/self/mountinfo")
	if err != nil {
		return nil
	}
	var found []mount
	for line := range strings.Lines(string(data)) {
		before, after, ok := strings.Cut(line, " - ")
		where, what := strings.Fields(before), strings.Fields(after)
		if !ok || len(where) < 5 || len(what) < 3 {
			continue
		}
		v1 := what[0] == "cgroup" && hasItem(what[2], controller)
		point := strings.TrimPrefix(path.Clean(where[4]), "/")
		if (v1 || what[0] == "cgroup2") && fs.ValidPath(point) {
			found = append(found, mount{v1: v1, root: where[3], point: point})
		}
	}
	return found
}

// processGroup finds the process's own cgroup in /proc/self/cgroup, as in
//
//	0::/system.slice/hostler.service
//	4:cpu,cpuacct:/docker/4f1c
func processGroup(root fs.FS, controller string, v1 bool) string {
	data, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) < 3 {
			continue
		}
		if v1 && hasItem(f[1], controller) || !v1 && f[0] == "0" && f[1] == "" {
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

func word(root fs.FS, name string) string {
	data, err := fs.ReadFile(root, name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}
