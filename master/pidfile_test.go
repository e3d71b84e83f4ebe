package master

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hostler/internal/inode"
)

func TestPIDFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pid")
	p, err := writePIDFile(path, os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(path); string(b) != fmt.Sprintln(os.Getpid()) {
		t.Errorf("holds %q", b)
	}
	// Another server's, of the same name, which has taken its place.
	if err := os.WriteFile(path+"2", []byte("41\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+"2", path); err != nil {
		t.Fatal(err)
	}
	if err := p.remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error("another server's pid file was removed")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if p, err = writePIDFile(path, os.Getpid()); err != nil {
		t.Fatal(err)
	}
	if err := p.remove(); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if p, err = writePIDFile(path, os.Getpid()); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := p.remove(); err != nil {
		t.Errorf("one that is not there: %v", err)
	}
	if _, err := writePIDFile(filepath.Join(path, "x"), 1); err == nil {
		t.Error("no error for a directory that is not there")
	}
}

// TestPIDFileOfAnother: one that names a process which lives is not taken, unless that
// process cannot be the one that was meant.
func TestPIDFileOfAnother(t *testing.T) {
	other := exec.Command("sleep", "1000")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = other.Process.Kill()
		_ = other.Wait()
	}()
	ended := exec.Command("true")
	if err := ended.Start(); err != nil {
		t.Fatal(err)
	}
	// It is dead, and nobody has asked how: the pid is taken still.
	for state := byte(0); state != 'Z'; time.Sleep(time.Millisecond) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", ended.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		state = b[strings.LastIndexByte(string(b), ')')+2]
	}
	defer func() { _ = ended.Wait() }()
	for _, c := range []struct {
		name, text string
		old        bool
		of         []int
		ok         bool
	}{
		{"another that lives", fmt.Sprintln(other.Process.Pid), false, nil, false},
		{"whom we replace", fmt.Sprintln(other.Process.Pid), false, []int{other.Process.Pid}, true},
		{"a file from before that process", fmt.Sprintln(other.Process.Pid), true, nil, true},
		{"a zombie", fmt.Sprintln(ended.Process.Pid), false, nil, true},
		{"ourselves", fmt.Sprintln(os.Getpid()), false, nil, true},
		{"no process", "1234567890\n", false, nil, true},
		{"no number", "hello\n", false, nil, true},
		{"negative", fmt.Sprintln(-other.Process.Pid), false, nil, true},
		{"nothing", "", false, nil, true},
	} {
		path := filepath.Join(t.TempDir(), "pid")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if c.old {
			day := time.Now().Add(-24 * time.Hour)
			if err := os.Chtimes(path, day, day); err != nil {
				t.Fatal(err)
			}
		}
		p, err := writePIDFile(path, os.Getpid(), c.of...)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
		if b, _ := os.ReadFile(path); err != nil && string(b) != c.text {
			t.Errorf("%s: the file holds %q", c.name, b)
		}
		if err == nil {
			_ = p.remove()
		} else if !strings.Contains(err.Error(), fmt.Sprintf("process %d, which it names, lives (\"sleep\")", other.Process.Pid)) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	fifo := filepath.Join(t.TempDir(), "pid")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := checkPIDFile(fifo); !errors.Is(err, inode.ErrNotRegular) { // must not wait either
		t.Errorf("a FIFO: %v", err)
	}
}
