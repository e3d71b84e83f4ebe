package e2e

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// environment makes a virtual environment with hostler in it, as an installer does, but
// for a python that says whose it is.
func environment(t *testing.T, name string) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), name)
	install(t, filepath.Join(dir, "bin", "hostler"))
	for file, text := range map[string]string{
		"pyvenv.cfg":  "",
		"bin/python3": "#!/bin/sh\nVENV=" + name + " exec " + venv + " \"$@\"\n",
		"bin/python":  "#!/bin/sh\nVENV=" + name + " exec " + venv + " \"$@\"\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// install puts a copy of hostler in the place of what is at path, which goes.
func install(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(t.TempDir(), "old")
	if err := os.Rename(path, old); err == nil {
		err = os.Remove(old)
		if err != nil {
			t.Fatal(err)
		}
	}
	from, err := os.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(to, from)
	if err2 := to.Close(); err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
}

// by is who serves in a directory of releases().
func (s *server) by() string {
	_, body := s.get("/")
	_, by, _ := strings.Cut(body, " by ")
	return by
}

// TestPackageUpgrade: pip puts a new binary in the place of the one that runs. A reload
// still finds the environment's interpreter.
func TestPackageUpgrade(t *testing.T) {
	project, _ := releases(t)
	env := environment(t, "own")
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	cmd := exec.Command(filepath.Join(env, "bin", "hostler"), "-b", addr, "--admin-bind", "off", "app:app")
	s := launchBy(t, cmd, filepath.Join(project, "1"))
	s.addr = addr
	s.waitLog("msg=serving")
	if by := s.by(); by != "own" {
		t.Fatalf("served by %q", by)
	}
	install(t, filepath.Join(env, "bin", "hostler"))
	s.signal(syscall.SIGHUP)
	s.waitLog("msg=reloaded")
	if by := s.by(); by != "own" {
		t.Errorf("after the reload it is served by %q", by)
	}
}

// TestToolsLink: what pipx, or a distribution, puts on the PATH serves the environment
// that is in use.
func TestToolsLink(t *testing.T) {
	project, _ := releases(t)
	tool, active := environment(t, "tool"), environment(t, "active")
	link := filepath.Join(t.TempDir(), "bin", "hostler")
	if err := os.Mkdir(filepath.Dir(link), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(tool, "bin", "hostler"), link); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ virtualEnv, dir, want string }{
		"one that is active":        {active, filepath.Join(project, "1"), "active"},
		"the project's own":         {"", filepath.Join(project, "1"), "1"},
		"none: the tool's, at last": {"", filepath.Join(project, "bare"), "tool"},
	} {
		t.Run(name, func(t *testing.T) {
			app, err := os.ReadFile(filepath.Join(project, "1", "app.py"))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(c.dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(c.dir, "app.py"), app, 0o644); err != nil {
				t.Fatal(err)
			}
			addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
			// By its name alone, as people do.
			cmd := exec.Command("/usr/bin/env", "PATH="+filepath.Dir(link)+":"+os.Getenv("PATH"), "VIRTUAL_ENV="+c.virtualEnv,
				"hostler", "-b", addr, "--admin-bind", "off", "app:app")
			s := launchBy(t, cmd, c.dir)
			s.addr = addr
			s.waitLog("msg=serving")
			if by := s.by(); by != c.want {
				t.Errorf("served by %q, not %q", by, c.want)
			}
		})
	}
}
