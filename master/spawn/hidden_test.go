package spawn

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSocketsThatRemain: a listening socket is there until the last descriptor of it is gone,
// wherever that is; and what we have ourselves is somebody else's to end.
func TestSocketsThatRemain(t *testing.T) {
	for _, at := range [][2]string{{"tcp4", "127.0.0.1:0"}, {"tcp6", "[::1]:0"}, {"unix", "@hostler-test-" + strconv.Itoa(os.Getpid())}} {
		l, err := net.Listen(at[0], at[1])
		if err != nil {
			t.Logf("%v: %v", at, err) // no IPv6 here
			continue
		}
		raw, err := l.(interface{ File() (*os.File, error) }).File()
		if err != nil {
			t.Fatal(err)
		}
		var st unix.Stat_t
		if err := unix.Fstat(RawFD(raw), &st); err != nil {
			t.Fatal(err)
		}
		s := &Spawner{sockets: map[string]bool{socketName(st.Ino): true}}
		if _, known := s.remain(); known {
			t.Error("other binaries are not thought of")
		}
		s.Last()
		if yes, known := s.remain(); yes || !known {
			t.Errorf("%v that we have: %v, %v", at, yes, known)
		}
		// On its way through another socket it is nobody's, as far as /proc tells.
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Sendmsg(pair[0], []byte("x"), unix.UnixRights(RawFD(raw)), nil, 0); err != nil {
			t.Fatal(err)
		}
		raw.Close()
		l.Close()
		if yes, known := s.remain(); !yes || !known {
			t.Errorf("%v that is hidden: %v, %v", at, yes, known)
		}
		s.kids = map[int]*child{1: nil}
		if _, known := s.remain(); known {
			t.Errorf("%v is hidden, while a worker is left", at)
		}
		s.kids = nil
		unix.Close(pair[0])
		unix.Close(pair[1])
		if yes, known := s.remain(); yes || !known {
			t.Errorf("%v that is gone: %v, %v", at, yes, known)
		}
	}
}

// TestStrays: only who descends from us by processes of the other principal, of which none
// is known, is ours to kill.
func TestStrays(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", "sleep 1000 & echo $!; wait")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	far, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Kill(far, unix.SIGKILL) }()
	near, uid := cmd.Process.Pid, uint32(os.Getuid())
	for _, c := range []struct {
		what string
		s    *Spawner
		pid  int
		want bool
	}{
		{"a child", &Spawner{theirs: map[uint32]bool{uid: true}}, near, true},
		{"its child", &Spawner{theirs: map[uint32]bool{uid: true}}, far, true},
		{"a worker", &Spawner{theirs: map[uint32]bool{uid: true}, kids: map[int]*child{near: {}}}, near, false},
		{"a worker's child", &Spawner{theirs: map[uint32]bool{uid: true}, kids: map[int]*child{near: {}}}, far, false},
		{"another user's", &Spawner{theirs: map[uint32]bool{uid + 1: true}}, near, false},
		{"our parent", &Spawner{theirs: map[uint32]bool{uid: true, 0: true}}, os.Getppid(), false},
		{"this process", &Spawner{theirs: map[uint32]bool{uid: true, 0: true}}, os.Getpid(), false},
	} {
		if got := c.s.isStray(c.pid); got != c.want {
			t.Errorf("%s is a stray: %v", c.what, got)
		}
	}
	s := &Spawner{theirs: map[uint32]bool{uid: true}}
	if !s.endStray(near) {
		t.Error("a stray was not killed")
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("%v", err)
	}
	if s.endStray(near) {
		t.Error("who has ended was killed")
	}
}
