package logfile

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var nobody = &syscall.Credential{Uid: 65534, Gid: 65534, Groups: []uint32{65534, 12345}}

// place is a directory that nobody but root can write to, with one for each kind of
// directory in it.
func place(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root has workers that are somebody else")
	}
	dir := t.TempDir()
	for name, how := range map[string]struct {
		mode     os.FileMode
		uid, gid int
	}{
		"root":   {0o755, 0, 0},
		"group":  {0o775, 0, 12345},
		"other":  {0o775, 0, 54321}, // workers are not in it
		"theirs": {0o755, 65534, 0},
		"tmp":    {0o777 | os.ModeSticky, 0, 0},
		"open":   {0o777, 0, 0},
		"deploy": {0o755, 1234, 1234},
	} {
		path := filepath.Join(dir, name)
		for _, err := range []error{os.Mkdir(path, 0o700), os.Chown(path, how.uid, how.gid), os.Chmod(path, how.mode)} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

func owner(t *testing.T, path string) int {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return int(st.Uid)
}

// Where workers could have made the file, it is theirs; elsewhere root's. Either
// way there is one, and it can be written to and opened again.
func TestMakes(t *testing.T) {
	dir := place(t)
	for name, uid := range map[string]int{"root": 0, "group": 65534, "other": 0, "theirs": 65534, "tmp": 65534, "open": 65534, "deploy": 0} {
		path := filepath.Join(dir, name, "log")
		for range 2 {
			fd, err := Open(path, nobody)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if _, err := unix.Write(fd, []byte("x\n")); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			unix.Close(fd)
		}
		if b, _ := os.ReadFile(path); string(b) != "x\nx\n" || owner(t, path) != uid {
			t.Errorf("%s: holds %q, of user %d", name, b, owner(t, path))
		}
	}
}

// Our own rights are what they were, on every thread.
func TestOwnRightsStay(t *testing.T) {
	dir := place(t)
	for i := range 50 {
		if _, err := Open(filepath.Join(dir, "theirs", fmt.Sprint(i)), nobody); err != nil {
			t.Fatal(err)
		}
	}
	tasks, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range tasks {
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
			b, err := os.ReadFile(file)
			if err != nil || strings.Contains(string(b), "\nUid:\t0\t0\t0\t0\n") {
				break // the thread has ended, as those do that had other rights
			}
			if time.Now().After(end) {
				t.Fatalf("%s goes on with\n%s", file, b)
			}
		}
	}
	if b, err := os.ReadFile("/proc/self/status"); err != nil || !strings.Contains(string(b), "\nUid:\t0\t0\t0\t0\n") {
		t.Errorf("the process has\n%s", b)
	}
}

// What workers put in place of a log opens nothing that they could not open, and
// holds nobody up.
func TestSwapped(t *testing.T) {
	dir := place(t)
	secret := filepath.Join(dir, "root", "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		put  func(path string) error
		want string
	}{
		"link":          {func(p string) error { return os.Symlink(secret, p) }, "it is a link"},
		"relative link": {func(p string) error { return os.Symlink("../root/secret", p) }, "it is a link"},
		"dangling link": {func(p string) error { return os.Symlink(filepath.Join(dir, "root", "new"), p) }, "it is a link"},
		"hard link":     {func(p string) error { return os.Link(secret, p) }, "permission denied for user 65534"},
		"FIFO":          {func(p string) error { return unix.Mkfifo(p, 0o666) }, "FIFO"},
		"directory":     {func(p string) error { return os.Mkdir(p, 0o777) }, "is a directory"},
		"device":        {func(p string) error { return unix.Mknod(p, unix.S_IFCHR|0o666, 1<<8|3) }, "it is no regular file"},
		"root's file":   {func(p string) error { return os.WriteFile(p, nil, 0o644) }, "permission denied for user 65534"},
		"link to /proc": {func(p string) error { return os.Symlink("/proc/self/fd/2", p) }, "it is a link"},
	} {
		for _, where := range []string{"group", "theirs", "tmp", "open"} {
			path := filepath.Join(dir, where, "log")
			if err := c.put(path); err != nil {
				t.Fatal(err)
			}
			_ = os.Chmod(path, 0o666)
			if strings.Contains(name, "root's") || name == "hard link" {
				_ = os.Chmod(path, 0o644)
			}
			fd, err := Open(path, nobody)
			if err == nil || !strings.HasPrefix(err.Error(), path+": ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s in %s: %d, %v", name, where, fd, err)
			}
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	// A FIFO with a reader makes no difference.
	fifo := filepath.Join(dir, "theirs", "fifo")
	if err := unix.Mkfifo(fifo, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(fifo, 0o666); err != nil {
		t.Fatal(err)
	}
	r, err := unix.Open(fifo, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(r)
	if _, err := Open(fifo, nobody); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("a FIFO of theirs that is read: %v", err)
	}
	if b, _ := os.ReadFile(secret); string(b) != "secret" {
		t.Errorf("the secret is %q", b)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "root")); len(left) != 1 {
		t.Errorf("made: %v", left)
	}
}

// A directory on the way may be theirs, too.
func TestSwappedDirectory(t *testing.T) {
	dir := place(t)
	below := filepath.Join(dir, "theirs", "logs")
	if err := os.Symlink(filepath.Join(dir, "root"), below); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(filepath.Join(below, "log"), nobody); err == nil || !strings.Contains(err.Error(), "it is a link") {
		t.Errorf("through their link: %v", err)
	}
	if err := os.Remove(below); err != nil {
		t.Fatal(err)
	}
	// Root's directory in theirs can be taken away, and another put there.
	if err := os.Mkdir(below, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(filepath.Join(below, "log"), nobody); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("below a directory of theirs: %v", err)
	}
	// In a directory with the sticky bit it cannot.
	safe := filepath.Join(dir, "tmp", "logs")
	if err := os.Mkdir(safe, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(filepath.Join(safe, "log"), nobody); err != nil || owner(t, filepath.Join(safe, "log")) != 0 {
		t.Errorf("root's directory in one with the sticky bit: %v", err)
	}
	// Their own in such a one they may have put there.
	if err := os.Chown(safe, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(filepath.Join(safe, "other"), nobody); err != nil || owner(t, filepath.Join(safe, "other")) != 65534 {
		t.Errorf("their directory in one with the sticky bit: %v", err)
	}
}

// What an administrator has set up works as it always did.
func TestOnPurpose(t *testing.T) {
	dir := place(t)
	root := filepath.Join(dir, "root")
	// /var/log is a link to a disk, and current a link to a release.
	for link, to := range map[string]string{
		filepath.Join(root, "abs"): filepath.Join(dir, "deploy"), filepath.Join(root, "rel"): "../deploy/../root",
		filepath.Join(root, "file"): "target", filepath.Join(dir, "deploy", "current"): "../theirs",
	} {
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Lchown(filepath.Join(dir, "deploy", "current"), 1234, 1234); err != nil {
		t.Fatal(err)
	}
	for path, real := range map[string]string{
		"root/abs/log": "deploy/log", "root/rel/log": "root/log", "root/file": "root/target", "deploy/current/log": "theirs/log",
	} {
		fd, err := Open(filepath.Join(dir, path), nobody)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		unix.Close(fd)
		if _, err := os.Lstat(filepath.Join(dir, real)); err != nil {
			t.Error(err)
		}
	}
	t.Chdir(root)
	if fd, err := Open("relative", nobody); err != nil {
		t.Error(err)
	} else {
		unix.Close(fd)
	}
	if err := os.Symlink("loop", filepath.Join(root, "loop")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"loop": "too many levels", "no/log": "no such file", "target/log": "not a directory", ".": "is a directory", "/": "is a directory"} {
		if _, err := Open(path, nobody); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if fd, err := Open("/dev/null", nobody); err != nil {
		t.Error(err)
	} else {
		unix.Close(fd)
	}
}

// A FIFO that is meant to be one works if somebody reads from it, and says so if
// nobody does. Writing to it blocks, as the application expects of its stderr.
func TestFIFO(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, who := range []*syscall.Credential{nil, nobody} {
		if who != nil && os.Geteuid() != 0 {
			continue
		}
		if _, err := Open(path, who); err == nil || err.Error() != path+": it is a FIFO that nobody reads from, or a socket" {
			t.Errorf("without a reader: %v", err)
		}
		r, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		fd, err := Open(path, who)
		if err != nil {
			t.Fatal(err)
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&(unix.O_NONBLOCK|unix.O_APPEND) != unix.O_APPEND {
			t.Errorf("flags %o, %v", flags, err)
		}
		unix.Close(fd)
		unix.Close(r)
	}
}

// The same user's own links are its own affair.
func TestSameUser(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("there", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, who := range []*syscall.Credential{nil, {Uid: 0}} {
		fd, err := Open(filepath.Join(dir, "link"), who)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
	}
	if _, err := os.Stat(filepath.Join(dir, "there")); err != nil {
		t.Error(err)
	}
	for path, want := range map[string]string{"": "no such file", dir: "is a directory", dir + "/no/log": "no such file"} {
		if _, err := Open(path, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", path, err)
		}
	}
}

func TestStandard(t *testing.T) {
	for path, want := range map[string]int{"/dev/stdout": 1, "/proc/self/fd/2": 2, "/dev/fd/1": 1, "/dev/null": -1, "/dev/fd/3": -1} {
		if fd, ok := Standard(path); fd != want || ok != (want > 0) {
			t.Errorf("%s: %d, %v", path, fd, ok)
		}
	}
}
