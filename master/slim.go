package master

import (
	"bufio"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// slimAfter is how long after the start the master gives memory back.
const slimAfter = 500 * time.Millisecond

// slim gives back what only the start needed: the heap's free pages, and those of
// the executable (which has the worker library in it) that will hardly be looked
// at again. The kernel reads them back from its page cache where they are.
func slim() {
	debug.FreeOSMemory()
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return
	}
	defer maps.Close()
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		// 00400000-0086f000 r-xp 00000000 fe:00 10192571    /usr/bin/hostler
		f := strings.Fields(lines.Text())
		if len(f) < 6 || f[1][1] == 'w' || f[1][3] != 'p' || !strings.HasSuffix(lines.Text(), exe) {
			continue
		}
		from, to, _ := strings.Cut(f[0], "-")
		a, err1 := strconv.ParseUint(from, 16, 64)
		b, err2 := strconv.ParseUint(to, 16, 64)
		if err1 == nil && err2 == nil {
			// A private, clean mapping of a file: nothing can be lost.
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(a), uintptr(b-a), unix.MADV_DONTNEED)
		}
	}
}
