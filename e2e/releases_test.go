package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// releases makes the directories of two, and a link to the first.
func releases(t *testing.T) (dir, current string) {
	t.Helper()
	dir = t.TempDir()
	for _, n := range []string{"1", "2"} {
		r := filepath.Join(dir, n)
		app := fmt.Sprintf("import os\n\ndef app(environ, start_response):\n    start_response('200 OK', [])\n"+
			"    return [('release %s in ' + os.getcwd() + ' by ' + os.environ.get('VENV', '')).encode()]\n", n)
		for name, text := range map[string]string{"app.py": app, "static/which.txt": "static " + n} {
			path := filepath.Join(r, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		python := filepath.Join(r, ".venv", "bin", "python")
		if err := os.MkdirAll(filepath.Dir(python), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(python, []byte("#!/bin/sh\nVENV="+n+" exec "+venv+" \"$@\"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	current = filepath.Join(dir, "current")
	lead(t, current, "1")
	return dir, current
}

// lead makes the link lead to a release.
func lead(t *testing.T, current, release string) {
	t.Helper()
	if err := os.Symlink(release, current+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(current+".new", current); err != nil {
		t.Fatal(err)
	}
}

// TestReleases: what the link leads to at a reload is what is served from then on; a
// generation keeps to its own until then.
func TestReleases(t *testing.T) {
	for name, args := range map[string][]string{
		"started there": nil, "preloaded": {"--preload"}, "changed there": {"--chdir"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, current := releases(t)
			in := current
			if name == "changed there" {
				in, args = "", []string{"--chdir", current}
			}
			pid := filepath.Join(dir, "hostler.pid")
			if in != "" {
				args = append(args, "--pid", "hostler.pid", "--static", "/static=static")
			}
			s := launchBareIn(t, in, append(args, "--admin-bind", "off", "app:app")...)
			s.waitLog("msg=serving")
			serves := func(n string) {
				t.Helper()
				want := fmt.Sprintf("release %s in %s by %s", n, filepath.Join(dir, n), n)
				s.eventually(want, func() bool { _, b := s.get("/"); return b == want })
				if in == "" {
					return
				}
				if _, b := s.get("/static/which.txt"); b != "static "+n {
					t.Errorf("release %s: %q", n, b)
				}
				for _, other := range []string{"1", "2"} {
					pid = filepath.Join(dir, other, "hostler.pid")
					want := 0
					if other == n {
						want = s.cmd.Process.Pid
					}
					s.eventually(fmt.Sprintf("release %s: %d in the pid file of %s", n, want, other), func() bool { return readPid(pid) == want })
				}
			}
			serves("1")
			lead(t, current, "2")
			// A worker that is replaced now belongs to the generation that is.
			for _, w := range s.workers() {
				_ = syscall.Kill(w, syscall.SIGKILL)
			}
			s.waitLog(`msg="worker ready"`, 2)
			serves("1")
			s.signal(syscall.SIGHUP)
			serves("2")
			// The next release cannot be had: what there is serves on.
			lead(t, current, "3")
			s.signal(syscall.SIGHUP)
			s.waitLog("the reload failed")
			serves("2")
			if log := s.log.String(); in != "" && !strings.Contains(log, "the directory where hostler was started, "+current+", has been removed") {
				t.Error("it is not said what is missing")
			}
			lead(t, current, "1")
			s.signal(syscall.SIGHUP)
			serves("1")
		})
	}
}

// TestReleaseGone: a release that has been deleted is named when a worker is to be
// started in it.
func TestReleaseGone(t *testing.T) {
	dir, current := releases(t)
	s := launchBareIn(t, current, "--python", venv, "--admin-bind", "off", "app:app")
	s.waitLog("msg=serving")
	lead(t, current, "2")
	if err := os.RemoveAll(filepath.Join(dir, "1")); err != nil {
		t.Fatal(err)
	}
	for _, w := range s.workers() {
		_ = syscall.Kill(w, syscall.SIGKILL)
	}
	s.waitLog("cannot start a worker where its generation was started: stat " + filepath.Join(dir, "1") + ": no such file")
	s.signal(syscall.SIGHUP)
	want := "release 2 in " + filepath.Join(dir, "2") + " by "
	s.eventually(want, func() bool {
		r, err := client.Get("http://" + s.addr + "/")
		if err != nil {
			return false
		}
		defer r.Body.Close()
		b := make([]byte, len(want))
		n, _ := r.Body.Read(b)
		return string(b[:n]) == want
	})
}
