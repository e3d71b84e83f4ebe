package worker

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Who looks for a call that the scheduler is not told of has one file to read.
func TestRawSystemCallsAreInOneFile(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	found := 0
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		n := strings.Count(string(text), "unix.RawSyscall") + strings.Count(string(text), "syscall.RawSyscall")
		switch {
		case name == "syscalls.go":
			found = n
		case n > 0 && !strings.HasSuffix(name, "_test.go"):
			t.Errorf("%s makes %d system calls of its own: they belong into syscalls.go", name, n)
		}
	}
	if found == 0 {
		t.Error("syscalls.go makes none: this test looks for the wrong thing")
	}
}

func TestSystemCalls(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	buf := make([]byte, 64)
	reads := func(want string) {
		t.Helper()
		n, err := readFD(fds[1], buf)
		if err != nil || string(buf[:n]) != want {
			t.Errorf("read %q, %v; want %q", buf[:n], err, want)
		}
	}
	if n, err := readFD(fds[1], buf); n != 0 || err != unix.EAGAIN || hasInput(fds[1]) {
		t.Errorf("nothing is there: %d, %v, unread %v", n, err, hasInput(fds[1]))
	}
	if n, err := sendFD(fds[0], nil, 0); n != 0 || err != nil {
		t.Errorf("nothing is sent: %d, %v", n, err)
	}
	for _, parts := range [][3]string{{"a", "", ""}, {"", "b", ""}, {"", "", "c"}, {"a", "b", ""}, {"a", "", "c"}, {"a", "b", "c"}} {
		all := parts[0] + parts[1] + parts[2]
		if n, err := sendParts(fds[0], []byte(parts[0]), []byte(parts[1]), []byte(parts[2])); n != len(all) || err != nil {
			t.Errorf("%q: %d, %v", parts, n, err)
		}
		if !hasInput(fds[1]) {
			t.Errorf("%q: nothing to read", parts)
		}
		reads(all)
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteString("0123456789"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		off, n int64
		want   string
	}{{0, 4, "0123"}, {4, 100, "456789"}} {
		if n, err := sendFile(fds[0], int(file.Fd()), c.off, c.n); n != len(c.want) || err != nil {
			t.Errorf("from %d: %d, %v", c.off, n, err)
		}
		reads(c.want)
	}
	if n, err := sendFile(fds[0], int(file.Fd()), 10, 1); n != 0 || err != nil {
		t.Errorf("behind the end: %d, %v", n, err)
	}
	unix.Close(fds[1])
	if n, err := sendFD(fds[0], []byte("a"), 0); n != 0 || err != unix.EPIPE {
		t.Errorf("to nobody: %d, %v", n, err)
	}
}
