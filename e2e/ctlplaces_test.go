package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestCtlByDefault: a server has a control socket that its user alone can use, unless it
// is switched off, and hostler ctl finds it; two servers are told apart.
func TestCtlByDefault(t *testing.T) {
	dir := t.TempDir() // the service manager's
	env := "RUNTIME_DIRECTORY=" + dir
	t.Setenv("RUNTIME_DIRECTORY", dir)
	t.Setenv("HOSTLER_CTL_SOCKET", "")
	one := start(t, "faults:app")
	socket := filepath.Join(dir, fmt.Sprintf("%d.sock", one.cmd.Process.Pid))
	if st, err := os.Lstat(socket); err != nil || st.Mode().Perm() != 0o600 || st.Mode().Type() != os.ModeSocket {
		t.Fatalf("%v, %v", st, err)
	}
	find := func(args ...string) (int, string, string) { return runCtl(t, []string{env}, args...) }
	if status, stdout, stderr := find("status"); status != 0 || !strings.Contains(stdout, fmt.Sprintf("master %d", one.cmd.Process.Pid)) {
		t.Errorf("status %d, %s%s", status, stdout, stderr)
	}
	two := start(t, "faults:app", "--name", "second")
	off := start(t, "--ctl-socket", "none", "faults:app")
	status, _, stderr := find("reload")
	if status != 2 || !strings.Contains(stderr, socket+"  faults:app, process ") || !strings.Contains(stderr, fmt.Sprintf("%d.sock  faults:app, process", two.cmd.Process.Pid)) ||
		strings.Contains(stderr, fmt.Sprintf("%d.sock", off.cmd.Process.Pid)) {
		t.Errorf("of two: status %d, %s", status, stderr)
	}
	one.signal(syscall.SIGKILL)
	<-one.exited
	if status, _, stderr := find("reload"); status != 0 {
		t.Errorf("one is dead: status %d, %s", status, stderr)
	}
	if _, err := os.Lstat(socket); err != nil {
		t.Errorf("who was killed has left nothing: %v", err)
	}
	three := start(t, "faults:app")
	if _, err := os.Lstat(socket); err == nil {
		t.Error("the next one does not clear away what the dead has left")
	}
	three.signal(syscall.SIGHUP)
	three.waitLog("msg=reloaded")
	for _, s := range []*server{two, three, off} {
		s.stop()
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if status, _, stderr := find("status"); status != 1 || !strings.Contains(stderr, "no server of yours runs here") {
		t.Errorf("none is left: status %d, %s", status, stderr)
	}
}

// TestCtlUpgradeByDefault: each binary has its own name, and hostler ctl finds the one
// that serves.
func TestCtlUpgradeByDefault(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("RUNTIME_DIRECTORY", dir)
	t.Setenv("HOSTLER_CTL_SOCKET", "")
	s := start(t, "faults:app")
	if status, stdout, stderr := runCtl(t, nil, "upgrade"); status != 0 || !strings.HasPrefix(stdout, "upgraded: ") {
		t.Fatalf("status %d, %s%s", status, stdout, stderr)
	}
	<-s.exited
	status, stdout, stderr := runCtl(t, nil, "status", "--json")
	if status != 0 || strings.Contains(stdout, fmt.Sprintf(`"pid":%d,`, s.cmd.Process.Pid)) {
		t.Errorf("status %d, %s%s", status, stdout, stderr)
	}
	if status, _, stderr := runCtl(t, nil, "drain"); status != 0 {
		t.Errorf("drain: status %d, %s", status, stderr)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
