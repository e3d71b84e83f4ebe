package relay

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func pair(t *testing.T) (ours, theirs int) {
	t.Helper()
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.Close(p[0])
		unix.Close(p[1])
	})
	return p[0], p[1]
}

func read(t *testing.T, fd int, want string) {
	t.Helper()
	var got []byte
	buf := make([]byte, 1<<16)
	for len(got) < len(want) {
		n, err := unix.Read(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			t.Fatalf("%q, %v", got, err)
		}
		got = append(got, buf[:n]...)
	}
	if string(got) != want {
		t.Fatalf("%q, not %q", got, want)
	}
}

// forget ends what there is, as the end of the process does.
func forget(t *testing.T) {
	t.Helper()
	all.Lock()
	defer all.Unlock()
	all.pipes = nil
}

// TestSocket: all who write to one socket have one pipe, which none of them can make another
// of for the others, and what is in it at the end is written.
func TestSocket(t *testing.T) {
	defer forget(t)
	ours, theirs := pair(t)
	another, err := dup(theirs)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(another)
	var fds [2]int
	var inodes [2]uint64
	for i, fd := range []int{theirs, another} {
		if fds[i], err = Open(fd); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fds[i])
		var st unix.Stat_t
		if err := unix.Fstat(fds[i], &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
			t.Fatalf("%v, %v", st, err)
		}
		inodes[i] = st.Ino
	}
	if inodes[0] != inodes[1] {
		t.Error("two pipes")
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		t.Fatal(err)
	}
	if flags, err := unix.FcntlInt(uintptr(fds[1]), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK != 0 {
		t.Errorf("%#o, %v", flags, err)
	}
	for i, text := range []string{"one\n", "two\n"} {
		if _, err := unix.Write(fds[i], []byte(text)); err != nil {
			t.Fatal(err)
		}
		read(t, ours, text)
	}
	if _, err := unix.Write(fds[0], []byte("last\n")); err != nil {
		t.Fatal(err)
	}
	if !Finish(time.Minute) {
		t.Error("it does not end")
	}
	read(t, ours, "last\n")
}

// TestStalled: whoever waits for the end does so no longer than he wants, though nobody reads.
func TestStalled(t *testing.T) {
	defer forget(t)
	_, theirs := pair(t)
	for { // its last byte
		err := unix.Sendto(theirs, make([]byte, 1), unix.MSG_DONTWAIT, nil)
		if err == unix.EAGAIN {
			break
		}
		if err != nil && err != unix.EINTR {
			t.Fatal(err)
		}
	}
	fd, err := Open(theirs)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte("line\n")); err != nil {
		t.Fatal(err)
	}
	if Finish(time.Millisecond) {
		t.Error("all that has been written")
	}
}

// TestNobodyReads: what nobody takes does not hold up who writes.
func TestNobodyReads(t *testing.T) {
	defer forget(t)
	ours, theirs := pair(t)
	if err := unix.Shutdown(ours, unix.SHUT_RDWR); err != nil {
		t.Fatal(err)
	}
	fd, err := Open(theirs)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for range 100 {
		if _, err := unix.Write(fd, make([]byte, pipeSize)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFile: a file is opened once more, and nobody copies.
func TestFile(t *testing.T) {
	defer forget(t)
	f, err := os.CreateTemp(t.TempDir(), "log")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd, err := Open(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if len(all.pipes) != 0 {
		t.Error("there is a pipe")
	}
	if _, err := unix.Write(fd, []byte("a line\n")); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(f.Name()); err != nil || string(b) != "a line\n" {
		t.Errorf("%q, %v", b, err)
	}
}
