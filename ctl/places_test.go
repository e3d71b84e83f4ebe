package ctl

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// places are a file system of its own, and a user who has these variables.
func places(t *testing.T, uid int, env ...string) Places {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"/run/user", "/tmp", "/home"} {
		if err := os.MkdirAll(root+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return Places{UID: uid, Root: root, Env: func(name string) string {
		for _, kv := range env {
			if v, ok := strings.CutPrefix(kv, name+"="); ok {
				return strings.ReplaceAll(v, "ROOT", root)
			}
		}
		return ""
	}}
}

// TestDirectory: the socket is in a directory that nobody else can write to, or nowhere.
func TestDirectory(t *testing.T) {
	me := os.Geteuid()
	mkdir := func(mode os.FileMode) func(string) error {
		return func(path string) error {
			if err := os.Mkdir(path, mode); err != nil {
				return err
			}
			return os.Chmod(path, mode)
		}
	}
	byDefault := "/tmp/hostler-%d"
	if me == 0 {
		byDefault = "/run/hostler"
	}
	link := func(path string) error { return os.Symlink(filepath.Dir(filepath.Dir(path))+"/home", path) }
	for _, c := range []struct {
		name string
		uid  int
		env  []string
		is   map[string]func(path string) error
		want string // "": there is none
	}{
		{name: "nothing is there", uid: me, want: "/tmp/hostler-%d"},
		{name: "a service's", uid: me, env: []string{"RUNTIME_DIRECTORY=ROOT/run/shop:ROOT/run/other"}, is: map[string]func(string) error{"/run/shop": mkdir(0o755)}, want: "/run/shop"},
		{name: "a service's that all may write to", uid: me, env: []string{"RUNTIME_DIRECTORY=ROOT/run/shop"}, is: map[string]func(string) error{"/run/shop": mkdir(0o777)}, want: byDefault},
		{name: "a relative one", uid: me, env: []string{"RUNTIME_DIRECTORY=shop"}, want: "/tmp/hostler-%d"},
		{name: "planted", uid: me, is: map[string]func(string) error{"/tmp/hostler-%d": mkdir(0o777)}},
		{name: "a planted link", uid: me, is: map[string]func(string) error{"/tmp/hostler-%d": link}},
		{name: "a planted file", uid: me, is: map[string]func(string) error{"/tmp/hostler-%d": func(p string) error { return os.WriteFile(p, nil, 0o600) }}},
		{name: "another's", uid: me + 1, is: map[string]func(string) error{"/tmp/hostler-%d": mkdir(0o700)}},
	} {
		p := places(t, c.uid, c.env...)
		if c.uid == 0 && me == 0 && !strings.Contains(c.name, "service") { // root has one of its own
			p.Env = func(string) string { return "" }
			if err := os.RemoveAll(p.Root + "/run"); err != nil {
				t.Fatal(err)
			}
		}
		for path, do := range c.is {
			if strings.Contains(path, "%d") {
				path = fmt.Sprintf(path, c.uid)
			}
			if err := do(p.Root + path); err != nil {
				t.Fatal(err)
			}
		}
		got, err := p.Directory()
		want := c.want
		if strings.Contains(want, "%d") {
			want = fmt.Sprintf(want, c.uid)
		}
		if want != "" {
			want = p.Root + want
		}
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v, want %q", c.name, got, err, want)
		}
		if err == nil {
			if st, err := os.Stat(got); err != nil || st.Mode().Perm()&0o022 != 0 {
				t.Errorf("%s: %v, %v", c.name, st, err)
			}
		}
	}
}

func TestUserDirectory(t *testing.T) {
	if os.Geteuid() == 0 {
		p := places(t, 0, "XDG_RUNTIME_DIR=ROOT/home") // sudo left it
		if got, err := p.Directory(); err != nil || got != p.Root+"/run/hostler" {
			t.Errorf("root: %q, %v", got, err)
		}
	}
	// Who the user is, is the owner of the files that are looked at.
	uid := 12345
	p := places(t, uid, "XDG_RUNTIME_DIR=ROOT/home/x")
	if err := os.MkdirAll(p.Root+"/home/x", 0o700); err != nil {
		t.Fatal(err)
	}
	all := p.all()
	if all[1].dir != p.Root+"/home/x/hostler" || all[2].dir != p.Root+"/run/user/12345/hostler" || all[3].dir != p.Root+"/tmp/hostler-12345" {
		t.Errorf("%+v", all)
	}
	if _, err := p.Directory(); err == nil {
		t.Error("another's XDG_RUNTIME_DIR is taken")
	}
}

// TestWhichServer: hostler ctl takes the only server there is, and names them where there
// are more.
func TestWhichServer(t *testing.T) {
	p := places(t, os.Geteuid())
	dir, err := p.Directory()
	if err != nil {
		t.Fatal(err)
	}
	call := func(args ...string) (int, string, string) {
		var out, problems bytes.Buffer
		c := Command{DefaultSocket: func() (string, error) { return "", nil }, Places: p, Stdout: &out, Stderr: &problems}
		status := c.Run(t.Context(), args)
		return status, out.String(), problems.String()
	}
	if status, _, stderr := call("status"); status != 1 || !strings.HasPrefix(stderr, "hostler ctl: no server of yours runs here") {
		t.Errorf("none: status %d, %q", status, stderr)
	}
	serve := func(name string) *Server {
		s, err := Serve(filepath.Join(dir, name), false, Options{Master: new(fake), Status: testStatus, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		if err := s.Publish(); err != nil {
			t.Fatal(err)
		}
		return s
	}
	stale(t, filepath.Join(dir, "7.sock"))
	if err := os.WriteFile(filepath.Join(dir, "8.sock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	one := serve("42.sock")
	if status, stdout, stderr := call("reload"); status != 0 || stdout != "reloaded: generation 3 serves\n" {
		t.Errorf("one: status %d, %q", status, stderr)
	}
	serve("43.sock")
	if status, _, stderr := call("reload"); status != 2 || !strings.Contains(stderr, "--socket "+dir+"/42.sock  app:app, process 42\n") || !strings.Contains(stderr, "--socket "+dir+"/43.sock ") {
		t.Errorf("two: status %d, %q", status, stderr)
	}
	one.Close()
	if status, _, stderr := call("reload"); status != 0 {
		t.Errorf("one again: status %d, %q", status, stderr)
	}
	// A server that starts clears away what the dead have left, and nothing else.
	path, err := p.Path()
	if err != nil || path != filepath.Join(dir, fmt.Sprintf("%d.sock", os.Getpid())) {
		t.Errorf("%s, %v", path, err)
	}
	entries, _ := os.ReadDir(dir)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if got := strings.Join(names, " "); got != "43.sock 8.sock" {
		t.Errorf("left: %s", got)
	}
}
