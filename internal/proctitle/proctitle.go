// Package proctitle sets the title that ps, top and /proc/PID/cmdline show for
// the running process.
//
// The kernel reads a command line from the memory in which it laid the
// arguments at exec, so a title is set by writing over that memory. The
// environment lies right behind the arguments; it is never touched, because the
// Go runtime's and libc's environment strings point into it. A title longer
// than the room that the arguments left is cut.
//
// Go's os.Args strings point into the same memory. Importing this package
// copies them before main runs, so nothing derived from os.Args changes when a
// title is set.
package proctitle

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// init runs before main and thus before anything can have kept a substring of
// an argument (flag values are substrings).
func init() {
	args := make([]string, len(os.Args))
	for i, a := range os.Args {
		args[i] = strings.Clone(a)
	}
	os.Args = args
}

// errNoRoom reports a process whose argument memory cannot be found.
var errNoRoom = errors.New("the kernel does not say where the arguments are")

// Set makes title the title of the process.
func Set(title string) error {
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return fmt.Errorf("cannot set the process title: %w", err)
	}
	start, end, err := argumentSpan(stat)
	if err != nil {
		return fmt.Errorf("cannot set the process title: %w", err)
	}
	overwrite(start, end, title)
	return nil
}

// argumentSpan returns the addresses arg_start and arg_end, fields 48 and 49 of
// /proc/PID/stat. They read 0 for a process whose memory the reader may not
// trace.
func argumentSpan(stat []byte) (start, end uintptr, err error) {
	// The second field is the command's name in parentheses and may hold
	// anything, parentheses and blanks too; counting begins behind it.
	i := bytes.LastIndexByte(stat, ')')
	if i < 0 {
		return 0, 0, errNoRoom
	}
	fields := strings.Fields(string(stat[i+1:])) // [0] is field 3
	if len(fields) < 47 {
		return 0, 0, errNoRoom
	}
	s, err1 := strconv.ParseUint(fields[48-3], 10, 64)
	e, err2 := strconv.ParseUint(fields[49-3], 10, 64)
	if err1 != nil || err2 != nil || s == 0 || e <= s || e-s > 16<<20 {
		return 0, 0, errNoRoom
	}
	return uintptr(s), uintptr(e), nil
}

// overwrite writes title and zeros over the memory between start and end.
func overwrite(start, end uintptr, title string) {
	// The memory belongs to the process's first stack: it is mapped for as long
	// as the process lives and the garbage collector does not know it.
	mem := unsafe.Slice((*byte)(pointer(start)), end-start)
	n := copy(mem[:len(mem)-1], title)
	// A last byte that is not zero would make the kernel read on into the
	// environment (the old setproctitle convention).
	clear(mem[n:])
}

// pointer converts an address outside of Go's heap. The indirection is for
// go vet, which cannot know that the address is not a Go object's.
func pointer(addr uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&addr)) }

// SetThread names the calling thread (15 bytes at most).
func SetThread(name string) error {
	if err := unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&append([]byte(name), 0)[0])), 0, 0, 0); err != nil {
		return fmt.Errorf("cannot name the thread: %w", err)
	}
	return nil
}
