package master

import (
	"bufio"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"
)

// oomWindow is how long after the kernel's out-of-memory killer struck a worker
// found killed is thought its victim.
const oomWindow = 10 * time.Second

// oomWatch tells whether the out-of-memory killer has struck in the master's
// control group. The kernel counts its victims, without names.
type oomWatch struct {
	root fs.FS  // the file system's root
	file string // the file with the counter; "" where there is none

	base, prev uint64    // the count before the window, and as last read
	readAt     time.Time // when prev was read
}

func newOOMWatch(root fs.FS, now time.Time) *oomWatch {
	w := &oomWatch{root: root, file: oomFile(root), readAt: now}
	w.prev = w.read()
	w.base = w.prev
	return w
}

// oomFile finds the counter of the control group that this process is in.
func oomFile(root fs.FS) string {
	self, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return ""
	}
	var unified, memory string
	for line := range strings.Lines(string(self)) {
		part := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(part) != 3 {
			continue
		}
		switch {
		case part[0] == "0" && part[1] == "":
			unified = part[2]
		case strings.Contains(","+part[1]+",", ",memory,"):
			memory = part[2]
		}
	}
	var candidates []string
	add := func(mount, group, file string) {
		candidates = append(candidates, path.Join(mount, group, file))
		// In a container without a group namespace the path is the host's, and
		// the mount shows our group as its root.
		candidates = append(candidates, path.Join(mount, file))
	}
	if memory != "" {
		add("sys/fs/cgroup/memory", memory, "memory.oom_control")
	}
	add("sys/fs/cgroup", unified, "memory.events")
	for _, c := range candidates {
		if _, ok := oomCount(root, c); ok {
			return c
		}
	}
	return ""
}

// oomCount reads the line "oom_kill N", which cgroup v1 and v2 share.
func oomCount(root fs.FS, file string) (uint64, bool) {
	f, err := root.Open(file)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if v, ok := strings.CutPrefix(sc.Text(), "oom_kill "); ok {
			n, err := strconv.ParseUint(v, 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

func (w *oomWatch) read() uint64 {
	if w.file == "" {
		return 0
	}
	n, _ := oomCount(w.root, w.file)
	return n
}

// tick forgets what happened before the window.
func (w *oomWatch) tick(now time.Time) {
	if w.file != "" && now.Sub(w.readAt) >= oomWindow {
		w.base, w.prev, w.readAt = w.prev, w.read(), now
	}
}

// claim reports whether the killer struck lately, once per victim.
func (w *oomWatch) claim() bool {
	if w.file == "" || w.read() <= w.base {
		return false
	}
	w.base++
	w.prev = max(w.prev, w.base)
	return true
}
