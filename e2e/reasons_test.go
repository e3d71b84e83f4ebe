package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestPIDFileTaken: a second server with the pid file of one that lives does not start,
// and takes nothing from it.
func TestPIDFileTaken(t *testing.T) {
	pidfile := filepath.Join(t.TempDir(), "pid")
	first := start(t, "-p", pidfile, "faults:app")
	second := launch(t, "-p", pidfile, "faults:app")
	select {
	case <-second.exited:
	case <-time.After(20 * time.Second):
		t.Fatal("it starts")
	}
	if code := second.cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(second.log.String(), fmt.Sprintf("process %d, which it names, lives", first.cmd.Process.Pid)) {
		t.Errorf("status %d", code)
	}
	if pid := readPid(pidfile); pid != first.cmd.Process.Pid {
		t.Errorf("the pid file says %d", pid)
	}
	// Killed, it leaves the file, and the next takes it.
	if err := first.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-first.exited
	third := start(t, "-p", pidfile, "faults:app")
	if pid := readPid(pidfile); pid != third.cmd.Process.Pid {
		t.Errorf("the pid file says %d", pid)
	}
	if err := os.WriteFile(pidfile+"2", []byte("1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(pidfile+"2", pidfile); err != nil {
		t.Fatal(err)
	}
	third.stop()
	if pid := readPid(pidfile); pid != 1 {
		t.Errorf("another's pid file says %d", pid)
	}
}

// TestPermissionDeniedNamesTheUser: root could read all of it; the workers could not.
func TestPermissionDeniedNamesTheUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root has workers of another user")
	}
	dir, err := os.MkdirTemp("", "hostler-denied") // not t.TempDir, which nobody else may enter
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Mkdir(dir+"/closed", 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, dir, map[string]string{
		"fine.py":  "def app(e, s):\n    s('200 OK', [])\n    return []\n",
		"opens.py": "open('/etc/shadow')\n",
	})
	python := filepath.Join(dir, "python")
	if err := os.WriteFile(python, []byte("#!/usr/bin/python3\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{dir: 0o755, dir + "/fine.py": 0o644, dir + "/opens.py": 0o644} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name, want string
		args       []string
	}{
		{"a file", "'/etc/shadow' (as user nobody)", []string{"opens:app"}},
		{"the module's directory", "; permission denied: " + dir + "/closed) (as user nobody, group daemon)",
			[]string{"-g", "daemon", "--pythonpath", dir + "/closed", "inside:app"}},
		{"the directory to run in", "cannot change to the directory " + dir + "/closed: Permission denied (as user nobody)", []string{"--chdir", dir + "/closed", "fine:app"}},
		{"Python", "python: permission denied (as user nobody)", []string{"--python", python, "fine:app"}},
	} {
		for _, more := range [][]string{nil, {"--preload"}, {"--check"}} {
			args := append([]string{"--python", "/usr/bin/python3", "--chdir", dir, "--admin-bind", "off", "-b", fmt.Sprintf("127.0.0.1:%d", freePort(t)), "-u", "nobody"}, more...)
			code, out := run(t, "/", nil, append(args, c.args...)...)
			if code != 1 || !strings.Contains(out, c.want) {
				t.Errorf("%s %v: %d %s", c.name, more, code, out)
			}
		}
	}
}

// TestWorkingDirectoryRemoved: whoever deletes the directory under a server is told so,
// at the reload and at the start.
func TestWorkingDirectoryRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "release")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	want := dir + ", has been removed"
	s := launchIn(t, dir, "--python", venv, "--admin-bind", "off", "-b", addr, "--pythonpath", apps, "faults:app")
	s.addr = addr
	s.waitLog("msg=serving")
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	s.signal(syscall.SIGHUP)
	s.waitLog("the reload failed")
	if !strings.Contains(s.log.String(), want) || strings.Contains(s.log.String(), "Traceback") {
		t.Error("the reason is not said, or not well")
	}
	if code, _ := s.get("/"); code != 200 {
		t.Errorf("%d", code)
	}
	for _, more := range []string{"--preload", "--check", "--workers=1"} {
		cmd := exec.Command("/bin/sh", "-c", `mkdir "$1" && cd "$1" && rmdir "$1" && shift && exec "$@"`, "sh", dir, binary, "--python", venv, "--admin-bind", "off",
			"-b", fmt.Sprintf("127.0.0.1:%d", freePort(t)), "--pythonpath", apps, more, "faults:app")
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) || strings.Contains(string(out), "Traceback") {
			t.Errorf("start with %s: %v, %s", more, err, out)
		}
	}
}

// TestStartInRemovedDirectory: with another directory named, that the one where it was
// started has been removed is nothing to the server, nor to its reloads and upgrades.
func TestStartInRemovedDirectory(t *testing.T) {
	dir, pidfile := filepath.Join(t.TempDir(), "release"), filepath.Join(t.TempDir(), "pid")
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	args := []string{"-c", `mkdir "$1" && cd "$1" && rmdir "$1" && shift && exec "$@"`, "sh", dir, binary, "--python", venv, "--admin-bind", "off",
		"-b", addr, "--chdir", apps, "-p", pidfile, "faults:app"}
	s := launchBy(t, exec.Command("/bin/sh", args...), "")
	s.addr = addr
	s.successor(pidfile)
	s.waitLog("msg=serving")
	if code, body := s.get("/"); code != 200 {
		t.Errorf("%d %s", code, body)
	}
	s.signal(syscall.SIGHUP)
	s.waitLog("msg=reloaded")
	s.signal(syscall.SIGUSR2)
	s.waitLog("the new binary serves")
	if code, body := s.get("/"); code != 200 {
		t.Errorf("after an upgrade: %d %s", code, body)
	}
}
