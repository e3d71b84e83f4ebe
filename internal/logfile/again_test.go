package logfile

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// TestAgain: what is done to the flags and the position of the second open file is nothing
// to the first, and both append.
func TestAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f, err := os.Create(path) // as by > in a shell
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd := int(f.Fd())
	again, err := Again(fd)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(again)
	write := func(fd int, text string) {
		t.Helper()
		if _, err := unix.Write(fd, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	write(fd, "one\n")
	write(again, "two\n")
	if _, err := unix.FcntlInt(uintptr(again), unix.F_SETFL, unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Seek(again, 1<<32, 0); err != nil {
		t.Fatal(err)
	}
	write(fd, "three\n")
	if err := Straighten(again); err != nil {
		t.Fatal(err)
	}
	write(again, "four\n")
	if b, err := os.ReadFile(path); err != nil || string(b) != "one\ntwo\nthree\nfour\n" {
		t.Errorf("%q, %v", b, err)
	}
	for which, fd := range map[string]int{"the first": fd, "the second": again} {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if err != nil || flags&(unix.O_NONBLOCK|unix.O_APPEND) != unix.O_APPEND {
			t.Errorf("%s: flags %#o, %v", which, flags, err)
		}
	}
}

// TestAgainElsewhere: it cannot be read from a terminal, and pipes are opened once more, too.
func TestAgainElsewhere(t *testing.T) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	terminal, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(terminal)
	if err := unix.IoctlSetPointerInt(terminal, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	seat := openPeer(t, terminal)
	defer unix.Close(seat)
	for what, fd := range map[string]int{"a pipe": pipe[1], "a terminal": seat} {
		again, err := Again(fd)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		defer unix.Close(again)
		if err := unix.SetNonblock(again, true); err != nil {
			t.Fatal(err)
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK != 0 {
			t.Errorf("%s: flags %#o, %v", what, flags, err)
		}
		var b [1]byte
		if _, err := unix.Read(again, b[:]); err != unix.EBADF {
			t.Errorf("read from %s: %v", what, err)
		}
		if _, err := unix.Write(again, []byte("x")); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	if again, err := Again(pair[0]); err == nil {
		unix.Close(again)
		t.Error("a socket was opened once more")
	}
}

// openPeer opens the other side of a terminal by its name.
func openPeer(t *testing.T, terminal int) int {
	t.Helper()
	n, err := unix.IoctlGetInt(terminal, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open("/dev/pts/"+strconv.Itoa(n), unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}
