package master

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"hostler/internal/accesslog"
	"hostler/master/spawn"
	"hostler/protocol"
	"hostler/settings"
)

func TestFindPython(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"bin/python3", "bin2/python", "venv/bin/python", "app/.venv/bin/python", "usr/python3", "usr/python3.12", "own/bin/python3"} {
		if err := os.MkdirAll(filepath.Dir(at(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at(name), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(at("bare/bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"plain", "own/pyvenv.cfg", "bare/pyvenv.cfg"} {
		if err := os.WriteFile(at(name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	link := at("linkvenv/bin/python")
	if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(at("usr/python3"), link); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		search pythonSearch
		want   string
		errors []string
	}{
		{"configured path", pythonSearch{configured: at("usr/python3.12"), binary: Binary{at("linkvenv/bin/hostler"), ""}}, "usr/python3.12", nil},
		{"configured name", pythonSearch{configured: "python3.12", path: at("nowhere") + ":" + at("usr")}, "usr/python3.12", nil},
		{"configured, missing", pythonSearch{configured: at("gone"), path: at("usr")}, "", []string{at("gone"), "no such file"}},
		{"configured name, missing", pythonSearch{configured: "python9", path: at("usr")}, "", []string{`"python9"`}},
		{"configured, not executable", pythonSearch{configured: at("plain")}, "", []string{"permission denied"}},
		{"configured, directory", pythonSearch{configured: at("usr") + "/"}, "", []string{"directory"}},
		{"the binary's own environment", pythonSearch{binary: Binary{at("own/bin/hostler"), at("cache/hostler")}, virtualEnv: at("venv"), dir: at("app"), path: at("usr")}, "own/bin/python3", nil},
		{"its environment has no python", pythonSearch{binary: Binary{at("bare/bin/hostler"), at("bare/bin/hostler")}, virtualEnv: at("venv")}, "venv/bin/python", nil},
		{"a package's binary, virtualenv", pythonSearch{binary: Binary{at("bin/hostler"), at("bin/hostler")}, virtualEnv: at("venv"), dir: at("app"), path: at("usr")}, "venv/bin/python", nil},
		{"a package's binary, .venv", pythonSearch{binary: Binary{at("bin/hostler"), at("bin/hostler")}, dir: at("app"), path: at("usr")}, "app/.venv/bin/python", nil},
		{"a package's binary", pythonSearch{binary: Binary{at("bin/hostler"), at("bin/hostler")}, path: at("usr")}, "bin/python3", nil},
		{"a package's binary, plain name", pythonSearch{binary: Binary{at("bin2/hostler"), at("bin2/hostler")}, path: at("usr")}, "bin2/python", nil},
		{"a tool's link, virtualenv", pythonSearch{binary: Binary{at("links/hostler"), at("own/bin/hostler")}, virtualEnv: at("venv"), path: at("usr")}, "venv/bin/python", nil},
		{"a tool's link, .venv", pythonSearch{binary: Binary{at("links/hostler"), at("own/bin/hostler")}, dir: at("app"), path: at("usr")}, "app/.venv/bin/python", nil},
		{"a tool's link", pythonSearch{binary: Binary{at("links/hostler"), at("own/bin/hostler")}, path: at("usr")}, "own/bin/python3", nil},
		{"called by no path", pythonSearch{binary: Binary{"", at("bin/hostler")}, path: at("usr")}, "bin/python3", nil},
		{"virtualenv", pythonSearch{binary: Binary{at("none/hostler"), at("none/hostler")}, virtualEnv: at("venv"), dir: at("app"), path: at("usr")}, "venv/bin/python", nil},
		{"a link stays one", pythonSearch{virtualEnv: at("linkvenv"), path: at("usr")}, "linkvenv/bin/python", nil},
		{".venv", pythonSearch{virtualEnv: at("none"), dir: at("app"), path: at("usr")}, "app/.venv/bin/python", nil},
		{"path", pythonSearch{dir: at("usr"), path: at("nowhere") + ":" + at("usr")}, "usr/python3", nil},
		{"nowhere", pythonSearch{binary: Binary{at("w/hostler"), at("x/hostler")}, virtualEnv: at("y"), dir: at("z"), path: at("bin2")}, "",
			[]string{at("w/python3"), at("w/python"), at("x/python3"), at("x/python"), at("y/bin/python"), at("z/.venv/bin/python"), "python3 on PATH", "--python"}},
	} {
		got, err := c.search.find()
		if c.want != "" {
			if err != nil || got != at(c.want) {
				t.Errorf("%s: %q, %v", c.name, got, err)
			}
			continue
		}
		if err == nil {
			t.Errorf("%s: found %q", c.name, got)
			continue
		}
		for _, s := range c.errors {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%s: error %q lacks %q", c.name, err, s)
			}
		}
	}
	t.Chdir(at("app"))
	if got, err := (pythonSearch{}).find(); err != nil || !filepath.IsAbs(got) {
		t.Errorf("relative to the current directory: %q, %v", got, err)
	}
}

func TestOOMWatch(t *testing.T) {
	for _, c := range []struct {
		name, cgroup, file, count string
	}{
		{"v2", "0::/system.slice/app.service\n", "sys/fs/cgroup/system.slice/app.service/memory.events", "low 0\noom 1\noom_kill %\noom_group_kill 0\n"},
		{"v2 in a container", "0::/\n", "sys/fs/cgroup/memory.events", "oom_kill %\n"},
		{"v2, no namespace", "0::/docker/abc\n", "sys/fs/cgroup/memory.events", "oom_kill %\n"},
		{"v1", "4:memory:/a/b\n0::/\n", "sys/fs/cgroup/memory/a/b/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill %\n"},
		{"v1, many controllers", "4:cpu,memory:/a\n", "sys/fs/cgroup/memory/a/memory.oom_control", "oom_kill %\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := fstest.MapFS{"proc/self/cgroup": {Data: []byte(c.cgroup)}}
			set := func(n string) { root[c.file] = &fstest.MapFile{Data: []byte(strings.ReplaceAll(c.count, "%", n))} }
			now := time.Unix(1000, 0)
			set("4")
			w := newOOMWatch(root, now)
			if w.file != c.file {
				t.Fatalf("reads %q", w.file)
			}
			if w.claim() {
				t.Error("what happened before us was claimed")
			}
			set("6")
			if first, second, third := w.claim(), w.claim(), w.claim(); !first || !second || third {
				t.Error("two victims were not claimed twice")
			}
			set("7")
			w.tick(now.Add(oomWindow))     // seen now
			w.tick(now.Add(2 * oomWindow)) // and forgotten
			if w.claim() {
				t.Error("an old victim was claimed")
			}
			set("8")
			w.tick(now.Add(2*oomWindow + time.Second))
			if !w.claim() {
				t.Error("a young victim was not claimed")
			}
		})
	}
	for name, root := range map[string]fstest.MapFS{
		"nothing":    {},
		"no counter": {"proc/self/cgroup": {Data: []byte("0::/\n")}, "sys/fs/cgroup/memory.events": {Data: []byte("oom 1\n")}},
		"garbage":    {"proc/self/cgroup": {Data: []byte("x\n\n::\n0::/\n")}, "sys/fs/cgroup/memory.events": {Data: []byte("oom_kill x\n")}},
	} {
		w := newOOMWatch(root, time.Unix(0, 0))
		w.tick(time.Unix(100, 0))
		if w.file != "" || w.claim() {
			t.Errorf("%s: reads %q", name, w.file)
		}
	}
}

func TestStatusText(t *testing.T) {
	for ws, want := range map[syscall.WaitStatus]string{
		exited(0): "exit:0", exited(255): "exit:255", killed(syscall.SIGKILL): "signal:SIGKILL",
		killed(syscall.SIGSEGV) | 0x80: "signal:SIGSEGV", killed(syscall.Signal(64)): "signal:64",
	} {
		if got := spawn.StatusText(ws); got != want {
			t.Errorf("%#x: %s, want %s", uint32(ws), got, want)
		}
	}
}

func TestWorkerEnv(t *testing.T) {
	env, internal := workerEnv(
		[]string{"PATH=/bin", "HOME=/a", "TABLEFLIP_HAS_PARENT_7DIU3=yes", "NOTIFY_SOCKET=/s", "GOMAXPROCS=3", "odd", "EMPTY="},
		[]string{"HOME=/b", "X=1=2"})
	if want := []string{"PATH=/bin", "HOME=/b", "GOMAXPROCS=3", "EMPTY=", "X=1=2", "GOGC=50"}; !slices.Equal(env, want) {
		t.Errorf("environment %q, want %q", env, want)
	}
	if !slices.Equal(internal, []string{"GOGC"}) {
		t.Errorf("internal %q", internal)
	}
}

func TestAccessLog(t *testing.T) {
	now := time.Date(2024, 3, 1, 12, 30, 0, 0, time.FixedZone("", 3600))
	format, _ := accesslog.Parse("%(h)s %(t)s \"%(r)s\" %(s)s %(D)s worker=%(worker)s cause=%(cause)s")
	for minor, want := range []string{"HTTP/1.0", "HTTP/1.1", "HTTP/2.0", "-"} {
		var rec protocol.Thread
		rec.BeginOver(1, uint32(minor), []byte("GET"), []byte("/"), nil)
		a, _ := rec.Snapshot()
		if line := appendAccessLine(nil, format, now, lostRequest{Activity: a}); !strings.Contains(string(line), `"GET / `+want+`"`) {
			t.Errorf("over %s: %s", want, line)
		}
	}
	line := appendAccessLine(nil, format, now, lostRequest{
		Activity: protocol.Activity{Method: "GET", Target: "/a b\n\"\\é", Client: "", Minor: 1}, worker: 3, cause: "oom", age: 1500 * time.Microsecond})
	want := `- [01/Mar/2024:12:30:00 +0100] "GET /a b\n\"\\\xc3\xa9 HTTP/1.1" 000 1500 worker=3 cause=oom` + "\n"
	if string(line) != want {
		t.Errorf("got  %swant %s", line, want)
	}
	path := filepath.Join(t.TempDir(), "log")
	var out bytes.Buffer
	s := &supervisor{stdout: &out, files: new(clerk)}
	for _, dest := range []string{path, "-", ""} {
		set := &Settings{Master: settings.Master{Worker: settings.Worker{AccessLog: dest}}}
		g := &generation{set: set, logs: newLogFiles(set)}
		if err := g.logs.open(nil); err != nil {
			t.Fatal(err)
		}
		s.logs = append(s.logs, g.logs)
		s.logAccess(g, line)
		s.logAccess(g, line)
		s.logAccess(g, nil)
	}
	s.flushLogs()
	if b, _ := os.ReadFile(path); string(b) != want+want {
		t.Errorf("file holds %q", b)
	}
	if out.String() != want+want {
		t.Errorf("standard output has %q", out.String())
	}
	s.closeLogs()
	if len(s.logs) != 0 {
		t.Error("files that nobody needs stay open")
	}
}

func TestGoNetwork(t *testing.T) {
	for b, want := range map[settings.Bind]string{
		{Network: "tcp", Address: "0.0.0.0:80"}:       "tcp4",
		{Network: "tcp", Address: "127.0.0.1:80"}:     "tcp4",
		{Network: "tcp", Address: "[::]:80"}:          "tcp",
		{Network: "tcp", Address: "[::1]:80"}:         "tcp6",
		{Network: "tcp", Address: "localhost:80"}:     "tcp",
		{Network: "tcp", Address: ":80"}:              "tcp",
		{Network: "unix", Address: "/run/some:thing"}: "unix",
	} {
		if got := goNetwork(b); got != want {
			t.Errorf("%v: %s, want %s", b, got, want)
		}
	}
}

func TestBackoffGrows(t *testing.T) {
	var b backoff
	now := time.Unix(0, 0)
	for _, want := range []time.Duration{100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000} {
		b.fail(now, backoffMost)
		b.fail(now, backoffMost) // with the first
		if got := b.next.Sub(now); got != want*time.Millisecond {
			t.Errorf("after %d failures %v, want %v ms", b.failures, got, int(want))
		}
		now = b.next
	}
	b.reset()
	if b.wait(now) || b.failures != 0 {
		t.Error("reset")
	}
}

func TestBootReason(t *testing.T) {
	for text, want := range map[string]string{
		"": "no reason given", "one": "one", "a\nb\n\n": "b", "Traceback\n  File\nX: y \n": "X: y",
	} {
		if got := bootReason(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	var be *BootError
	if err := error(&BootError{App: "a:b", Reason: "c"}); !errors.As(err, &be) || err.Error() != "cannot start a:b: c" {
		t.Errorf("%v", err)
	}
}
