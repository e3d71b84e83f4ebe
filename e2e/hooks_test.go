package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

const hooksApp = `
import os
state = "imported"
def app(environ, start_response):
    start_response("200 OK", [("Content-Length", str(len(state)))])
    return [state.encode()]
`

// Each hook writes a line of its name and of what it was told.
const hooksModule = `
import os, sys
seen = []
def note(text):
    seen.append(text)
    with open(os.environ["HOOK_LOG"], "a") as f:
        f.write(text + "\n")
def on_starting(server):
    note("on_starting %d" % server.pid)
def on_reload(server):
    note("on_reload %d" % server.pid)
def on_exit(server):
    note("on_exit after %d calls in this process" % len(seen))
def child_exit(server, worker):
    note("child_exit %d %s %s" % (worker.pid, worker.cause, worker.status))
    if os.environ.get("HOOK_RAISES"):
        raise ValueError("child_exit on purpose")
def post_fork(server, worker):
    note("post_fork %d %d %d %s" % (worker.pid, os.getpid(), server.pid, "hookapp" in sys.modules))
    if os.environ.get("HOOK_RAISES"):
        raise ValueError("post_fork on purpose")
def post_worker_init(worker):
    import hookapp
    hookapp.state = "initialised"
    note("post_worker_init %d %s" % (worker.pid, worker.wsgi is hookapp.app))
    worker.log.info("initialised as %s", worker.pid)
def worker_exit(server, worker):
    note("worker_exit %d %d" % (worker.pid, os.getpid()))
def unheard_of(server):
    note("unheard_of")
`

func hooksDir(t *testing.T, module string) (dir string, lines func() []string) {
	t.Helper()
	dir = write(t, t.TempDir(), map[string]string{"hookapp.py": hooksApp, "myhooks.py": module})
	log := filepath.Join(t.TempDir(), "hooks.log")
	t.Setenv("HOOK_LOG", log)
	return dir, func() []string {
		b, _ := os.ReadFile(log)
		return strings.Split(strings.TrimSpace(string(b)), "\n")
	}
}

func matching(lines []string, begin string) (found []string) {
	for _, l := range lines {
		if strings.HasPrefix(l, begin) {
			found = append(found, l)
		}
	}
	return found
}

// TestHooks goes through all hooks in a server's life, with and without preload.
func TestHooks(t *testing.T) {
	for _, preload := range []bool{false, true} {
		dir, lines := hooksDir(t, hooksModule)
		args := []string{"-w", "2", "--chdir", dir, "--hooks", "myhooks", "hookapp:app"}
		imported, molds := "False", 0
		if preload {
			args, imported, molds = append(args, "--preload"), "True", 1
		}
		s := start(t, args...)
		if code, body := s.get("/"); code != 200 || body != "initialised" {
			t.Errorf("%d %q", code, body)
		}
		s.waitLog(`level=INFO msg="hooks: initialised as `, 2)
		got := lines()
		if got[0] != "on_starting "+strconv.Itoa(s.cmd.Process.Pid) {
			t.Errorf("the first is %q", got[0])
		}
		forks := matching(got, "post_fork")
		if len(forks) != 2 || len(matching(got, "post_worker_init")) != 2 {
			t.Fatalf("%q", got)
		}
		pid := strings.Fields(forks[0])[1]
		if forks[0] != strings.Join([]string{"post_fork", pid, pid, strconv.Itoa(s.cmd.Process.Pid), imported}, " ") {
			t.Errorf("%q, preload %v", forks[0], preload)
		}
		if l := matching(got, "post_worker_init "+pid); len(l) != 1 || !strings.HasSuffix(l[0], "True") {
			t.Errorf("%q", l)
		}
		s.signal(syscall.SIGHUP)
		s.eventually("the old workers' end", func() bool { return len(matching(lines(), "child_exit")) == 2+molds })
		got = lines()
		if len(matching(got, "on_reload")) != 1 || len(matching(got, "worker_exit "+pid+" "+pid)) != 1 ||
			len(matching(got, "child_exit "+pid+" reload exit:0")) != 1 || len(matching(got, "post_fork")) != 4 {
			t.Errorf("%q", got)
		}
		s.stop()
		got = lines()
		if n := len(matching(got, "child_exit")); n != 4+2*molds {
			t.Errorf("%d workers and molds have exited", n)
		}
		// on_reload and the end of four workers, and of two molds: all in the process of the reload.
		if last := got[len(got)-1]; last != fmt.Sprintf("on_exit after %d calls in this process", 5+2*molds) {
			t.Errorf("the last is %q", last)
		}
		if len(matching(got, "unheard_of"))+len(matching(got, "on_starting")) != 1 {
			t.Errorf("%q", got)
		}
	}
}

// TestHooksRaise: what fails is said, and the server serves.
func TestHooksRaise(t *testing.T) {
	dir, lines := hooksDir(t, hooksModule)
	t.Setenv("HOOK_RAISES", "1")
	s := start(t, "-w", "2", "--chdir", dir, "--hooks", "myhooks", "hookapp:app")
	if code, _ := s.get("/"); code != 200 {
		t.Error(code)
	}
	s.waitLog(`level=ERROR msg="the hook post_fork failed:" worker=`, 2)
	s.waitLog("ValueError: post_fork on purpose", 2)
	worker := strings.Fields(matching(lines(), "post_fork")[0])[1]
	if pid, err := strconv.Atoi(worker); err != nil || syscall.Kill(pid, syscall.SIGKILL) != nil {
		t.Fatalf("cannot kill worker %s: %v", worker, err)
	}
	s.waitLog("ValueError: child_exit on purpose")
	s.eventually("a failure in the metrics", func() bool { return s.metric("hostler_hook_failures_total", "") == 1 })
	if code, _ := s.get("/"); code != 200 {
		t.Error(code)
	}
}

// TestHooksThatMatter: where the application's start depends on them.
func TestHooksThatMatter(t *testing.T) {
	for name, c := range map[string]struct{ module, log string }{
		"on_starting":      {"def on_starting(server):\n    raise KeyError('no licence')\n", "cannot start hookapp:app: the hook on_starting failed: KeyError: 'no licence'"},
		"post_worker_init": {"def post_worker_init(worker):\n    raise KeyError('no cache')\n", "cannot start hookapp:app: KeyError: 'no cache'"},
		"broken":           {"import no_such_module\n", "cannot start hookapp:app: ModuleNotFoundError: No module named 'no_such_module'"},
		"no function":      {"post_fork = 3\n", "cannot start hookapp:app: the hook post_fork in myhooks is not callable, but int"},
	} {
		dir, _ := hooksDir(t, c.module)
		s := launch(t, "--chdir", dir, "--hooks", "myhooks", "hookapp:app")
		<-s.exited
		if s.cmd.ProcessState.ExitCode() != 1 || !strings.Contains(s.log.String(), c.log) {
			t.Errorf("%s: exit status %d, no %q in\n%s", name, s.cmd.ProcessState.ExitCode(), c.log, s.log)
		}
	}
	// In a reload they are what the reload fails of.
	dir, _ := hooksDir(t, hooksModule)
	s := startCtl(t, "--chdir", dir, "--hooks", "myhooks", "hookapp:app")
	write(t, dir, map[string]string{"myhooks.py": "import no_such_module\n"})
	if status, _, stderr := s.ctl("reload"); status != 1 || !strings.Contains(stderr, "no_such_module") {
		t.Errorf("the reload's status is %d: %s", status, stderr)
	}
	if code, body := s.get("/"); code != 200 || body != "initialised" {
		t.Errorf("%d %q", code, body)
	}
}
