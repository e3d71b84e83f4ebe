package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// children reaps every child of this process, those too that became it when their
// parents had left them behind.
type children struct {
	mu   sync.Mutex
	gone map[int]syscall.WaitStatus
}

// adopt makes this process the parent of all orphans among its descendants.
func adopt() (*children, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("cannot become a subreaper: %w", err)
	}
	c := &children{gone: make(map[int]syscall.WaitStatus)}
	go func() {
		for {
			var ws syscall.WaitStatus
			pid, err := syscall.Wait4(-1, &ws, 0, nil)
			if err != nil { // none there now
				time.Sleep(10 * time.Millisecond)
				continue
			}
			c.mu.Lock()
			c.gone[pid] = ws
			c.mu.Unlock()
		}
	}()
	return c, nil
}

func (c *children) ended(pid int) (syscall.WaitStatus, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ws, ok := c.gone[pid]
	return ws, ok
}

// descendants returns all processes below pid that have not ended.
func descendants(pid int) []int {
	below := make(map[int][]int)
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		b, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		i := bytes.LastIndexByte(b, ')')
		f := strings.Fields(string(b[i+1:]))
		if i < 0 || len(f) < 2 || f[0] == "Z" {
			continue
		}
		parent, _ := strconv.Atoi(f[1])
		child, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		below[parent] = append(below[parent], child)
	}
	var all []int
	for next := below[pid]; len(next) > 0; {
		p := next[0]
		all = append(all, p)
		next = append(next[1:], below[p]...)
	}
	return all
}

func commandLine(pid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	text := strings.TrimSpace(strings.ReplaceAll(string(b), "\x00", " "))
	if len(text) > 200 {
		text = text[:60] + " … " + text[len(text)-130:]
	}
	return text
}

// isMold reports whether a process was started as one. A worker that it has forked
// says so, too, until it has its title.
func isMold(pid int) bool {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return bytes.Contains(b, []byte(`"mold":true`)) || bytes.HasPrefix(b, []byte("hostler: mold "))
}

// descriptors counts a process's open files; -1: it is gone.
func descriptors(pid int) int {
	d, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return -1
	}
	return len(d)
}

// openFiles says what they are.
func openFiles(pid int) string {
	var all []string
	names, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, n := range names {
		to, _ := os.Readlink(n)
		all = append(all, filepath.Base(n)+"="+to)
	}
	return strings.Join(all, " ")
}

// memory is a process's own resident memory in bytes.
func memory(pid int) int64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, _ := strings.Cut(string(b), "\nRssAnon:")
	var kb int64
	_, _ = fmt.Sscanf(rest, "%d kB", &kb) // 0 for one that is gone
	return kb << 10
}

// limit sets a soft limit of a process and returns what sets it back.
func limit(pid, resource int, to uint64) (undo func(pid int), err error) {
	var old unix.Rlimit
	if err := unix.Prlimit(pid, resource, nil, &old); err != nil {
		return nil, err
	}
	if err := unix.Prlimit(pid, resource, &unix.Rlimit{Cur: min(to, old.Max), Max: old.Max}, nil); err != nil {
		return nil, err
	}
	return func(pid int) {
		_ = unix.Prlimit(pid, resource, &old, nil) // gone, or ours
	}, nil
}
