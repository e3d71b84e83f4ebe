package e2e

import (
	"bufio"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	mappingLine = regexp.MustCompile(`^[0-9a-f]+-[0-9a-f]+ (\S+) .* /memfd:hostler-worker\.so`)
	anyMapping  = regexp.MustCompile(`^[0-9a-f]+-[0-9a-f]+ `)
)

// relocated returns how much of the worker library a process has that is not as in
// the file and will not change any more, in kB, and how much of that is shared.
func relocated(t *testing.T, pid int) (all, shared int) {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	library, mine := false, map[string]int{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if m := mappingLine.FindStringSubmatch(lines.Text()); m != nil {
			library = m[1] == "r--p"
			continue
		} else if anyMapping.MatchString(lines.Text()) {
			library = false
		}
		name, rest, _ := strings.Cut(lines.Text(), ":")
		if name == "Pss" {
			mine = map[string]int{}
		}
		mine[name], _ = strconv.Atoi(strings.Fields(rest + " 0")[0])
		// Behind the figures that are needed, for each mapping.
		if name == "Anonymous" && library && mine[name] > 100 {
			all += mine[name]
			shared += max(0, mine[name]-mine["Private_Dirty"]-mine["Private_Clean"])
		}
	}
	return all, shared
}

// TestPreloadSharesLibrary: what the dynamic linker makes of the library is made in
// the mold, once, and each worker has a runtime of its own all the same.
func TestPreloadSharesLibrary(t *testing.T) {
	s := start(t, "--preload", "-w", "3", "faults:app")
	mold := s.mold()
	for _, pid := range s.workers() {
		all, shared := relocated(t, pid)
		if all < 200 || shared < all*9/10 {
			t.Errorf("process %d (the mold is %d) shares %d of the library's %d relocated kB", pid, mold, shared, all)
		}
	}
}
