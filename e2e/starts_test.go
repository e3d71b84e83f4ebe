package e2e

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// run executes hostler to its end, for starts that fail.
func run(t *testing.T, dir string, env []string, args ...string) (int, string) {
	t.Helper()
	cmd := exec.Command(binary, args...)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1"), env...)
	timer := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	out, _ := cmd.CombinedOutput()
	return cmd.ProcessState.ExitCode(), string(out)
}

func write(t *testing.T, dir string, files map[string]string) string {
	t.Helper()
	for name, code := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(code), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const minimal = "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'%s']\n"

// TestFailedStarts wants one clear message, once, and an exit status.
func TestFailedStarts(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{
		"raises.py": "def deep():\n    raise RuntimeError('the cause is here')\ndeep()\n",
		"syntax.py": "def app(:\n",
		"exits.py":  "import sys\nsys.exit(4)\n",
		"hard.py":   "import os\nos._exit(5)\n",
		"fine.py":   fmt.Sprintf(minimal, "fine"),
		"number.py": "app = 3\n",
		"needs.py":  "import no_flask\n",
		"asgi.py": "async def app(scope, receive, send):\n    pass\nclass Two:\n    def __init__(self, scope):\n        pass\n" +
			"def create_app(config=None):\n    return app\nasync def later():\n    return app\n" +
			"async def raises():\n    raise KeyError('LATER')\nasync def odd():\n    return 7\n" +
			"async def fails(scope, receive, send):\n    await receive()\n    await send({'type': 'lifespan.startup.failed', 'message': 'no database'})\n" +
			"async def breaks(scope, receive, send):\n    await receive()\n    raise RuntimeError('no cache')\n",
		"factory.py": "def make():\n    raise KeyError('SECRET_KEY')\n" +
			"def odd():\n    return 7\n",
	})
	old := write(t, t.TempDir(), map[string]string{"sitecustomize.py": "import sys\nsys.version_info = (3, 7, 17, 'final', 0)\n"})
	taken, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", freePort(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	free := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	for _, c := range []struct {
		name, want string
		env, args  []string
		itsFault   bool // the application's own traceback is wanted
	}{
		{"raises on import", "the cause is here", nil, []string{"raises:app"}, true},
		{"syntax error", "syntax.py\", line 1", nil, []string{"syntax:app"}, false},
		{"sys.exit on import", "exits", nil, []string{"exits:app"}, true},
		{"os._exit on import", "exit:5", nil, []string{"hard:app"}, false},
		{"no Python", "ended (exit:0) before it was ready: is /bin/true a Python?", nil, []string{"--python", "/bin/true", "fine:app"}, false},
		{"arguments that are no literals", "cannot call the factory as make(x): ", nil, []string{"factory:make(x)"}, false},
		{"arguments too many", "takes 0 positional arguments but 1 was given", nil, []string{"factory:odd(1)"}, false},
		{"no directory for the pid file", "cannot write the pid file: stat " + dir + "/none: no such file or directory", nil, []string{"--pid", dir + "/none/pid", "fine:app"}, false},
		{"no such module", "No module named 'nowhere' (Python: ", nil, []string{"nowhere:app"}, false},
		{"no such module, and where", "looked in " + dir, nil, []string{"nowhere:app"}, false},
		{"no such module in the application", "No module named 'no_flask' (Python: ", nil, []string{"needs:app"}, true},
		{"an attribute of another file", dir + "/fine.py", nil, []string{"fine:other"}, false},
		{"ASGI without a word of its startup", "lifespan on: the application returned", nil, []string{"--lifespan=on", "asgi:app"}, false},
		{"a factory that is not called", "if it makes the application, say asgi:create_app()", nil, []string{"asgi:create_app"}, false},
		{"an asynchronous factory that is not called", "if it makes the application, say asgi:later()", nil, []string{"asgi:later"}, false},
		{"an asynchronous factory that raises", "LATER", nil, []string{"asgi:raises()"}, true},
		{"an asynchronous factory of something else", "is not callable, but int", nil, []string{"asgi:odd()"}, false},
		{"an application that does not want to start", "the application's startup failed: no database", nil, []string{"asgi:fails"}, false},
		{"an application that raises in its startup", "no cache", nil, []string{"asgi:breaks"}, true},
		{"a loop that is not there", "No module named 'no_loop'", nil, []string{"--loop=no_loop:new", "asgi:app"}, false},
		{"a loop that is none", "gives no event loop", nil, []string{"--loop=builtins:dict", "asgi:app"}, false},
		{"no such attribute", "'other'", nil, []string{"fine:other"}, false},
		{"not callable", "not callable", nil, []string{"number:app"}, false},
		{"a factory that raises", "SECRET_KEY", nil, []string{"factory:make()"}, true},
		{"a factory of no application", "not callable", nil, []string{"factory:odd()"}, false},
		{"Python too old", "Python 3.7 is too old", []string{"PYTHONPATH=" + old}, []string{"fine:app"}, false},
		{"no directory", "nothing_here", nil, []string{"--chdir", dir + "/nothing_here", "fine:app"}, false},
		{"the admin address in use", "admin", nil, []string{"--admin-bind", taken.Addr().String(), "fine:app"}, false},
		{"an address of another machine", "192.0.2.1", nil, []string{"-b", "192.0.2.1:8123", "fine:app"}, false},
		{"a bad address", "99999", nil, []string{"-b", "127.0.0.1:99999", "fine:app"}, false},
		{"a bad number", "--workers", nil, []string{"-w", "many", "fine:app"}, false},
		{"a bad variable", "HOSTLER_THREADS", []string{"HOSTLER_THREADS=none"}, []string{"fine:app"}, false},
		{"a settings file that is not there", "missing.toml", nil, []string{"-c", "missing.toml", "fine:app"}, false},
		{"an access log that cannot be", "no/such/dir", nil, []string{"--access-log", "/no/such/dir/log", "fine:app"}, false},
		{"no shape of an application", "a b", nil, []string{"a b:c"}, false},
	} {
		for _, workers := range []string{"1", "4"} {
			args := append([]string{"--python", venv, "--admin-bind", "off", "-b", free, "--chdir", dir, "-w", workers}, c.args...)
			code, out := run(t, t.TempDir(), c.env, args...)
			if code <= 0 || !strings.Contains(out, c.want) || strings.Contains(out, "goroutine ") {
				t.Errorf("%s, %s workers: exit status %d, want %q in\n%s", c.name, workers, code, c.want, out)
			}
			tracebacks := 0
			if c.itsFault {
				tracebacks = 1
			}
			if n := strings.Count(out, "Traceback (most recent call last)"); n != tracebacks {
				t.Errorf("%s, %s workers: %d tracebacks instead of %d\n%s", c.name, workers, n, tracebacks, out)
			}
			if strings.Contains(out, "importlib") || strings.Contains(out, "<hostler/") || strings.Contains(out, "<string>") {
				t.Errorf("%s, %s workers: frames that are not the application's\n%s", c.name, workers, out)
			}
			if strings.Contains(out, "msg=serving") {
				t.Errorf("%s, %s workers: it says that it serves\n%s", c.name, workers, out)
			}
		}
	}
	if c, err := net.Dial("tcp", free); err == nil {
		c.Close()
		t.Error("a failed start left somebody behind who listens")
	}
}

// TestNewerPython: one that nobody could test is tried, with a warning.
func TestNewerPython(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"fine.py": fmt.Sprintf(minimal, "fine")})
	newer := write(t, t.TempDir(), map[string]string{"sitecustomize.py": "import sys\nsys.version_info = (3, 16, 0, 'final', 0)\n"})
	s := start(t, "--chdir", dir, "-e", "PYTHONPATH="+newer, "-w", "2", "fine:app")
	if code, body := s.get("/"); code != 200 || body != "fine" {
		t.Errorf("%d %q", code, body)
	}
	if n := strings.Count(s.log.String(), "Python 3.16 is newer than this hostler"); n != 1 {
		t.Errorf("the warning is in the log %d times", n)
	}
}

func TestCheckAndVersion(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"fine.py": fmt.Sprintf(minimal, "fine"), "bad.py": "raise RuntimeError('bad on purpose')\n"})
	if code, out := run(t, dir, nil, "--python", venv, "--check", "fine:app"); code != 0 {
		t.Errorf("--check: %d\n%s", code, out)
	}
	for _, wrong := range [][]string{{"--certfile", "none.pem"}, {"--error-log", "logs/e.log"}, {"--pid", "run/pid"}, {"--ctl-socket", "run/ctl"},
		{"-b", "unix:run/web"}, {"-b", "192.0.2.1:80"}} {
		args := append([]string{"--python", venv, "--check", "fine:app"}, wrong...)
		if code, out := run(t, dir, nil, args...); code != 1 || !strings.HasPrefix(out, "hostler: ") || !strings.Contains(out, "cannot ") || strings.Count(out, "\n") != 1 {
			t.Errorf("%q: status %d, %s", wrong, code, out)
		}
	}
	if code, out := run(t, dir, nil, "--python", venv, "--check", "bad:app"); code == 0 || strings.Count(out, "bad on purpose") == 0 {
		t.Errorf("--check of a broken application: %d\n%s", code, out)
	}
	version, err := os.ReadFile("../VERSION")
	if err != nil {
		t.Fatal(err)
	}
	if code, out := run(t, dir, nil, "--version"); code != 0 || !strings.Contains(out, strings.TrimSpace(string(version))) {
		t.Errorf("--version: %d %q", code, out)
	}
	if code, out := run(t, dir, nil, "--help"); code != 0 || !strings.Contains(out, "--graceful-timeout") {
		t.Errorf("--help: %d %q", code, out)
	}
}

// TestAppNames serves what can be named in every way.
func TestAppNames(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{
		"one.py": strings.ReplaceAll(fmt.Sprintf(minimal, "application"), "def app", "def application") + fmt.Sprintf(minimal, "app"),
		"two.py": fmt.Sprintf(minimal, "app only"),
		"three.py": "class Deep:\n    @staticmethod\n" + "    def app(e, s):\n        s('200 OK', [])\n        return [b'attribute']\n" +
			"def make():\n    return Deep.app\n" +
			"def given(text, **named):\n    def app(e, s):\n        s('200 OK', [])\n        return [('%s %r' % (text, named)).encode()]\n    return app\n",
	})
	if err := os.Mkdir(dir+"/package", 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/package", map[string]string{"__init__.py": "", "wsgi.py": fmt.Sprintf(minimal, "package")})
	elsewhere := write(t, t.TempDir(), map[string]string{"four.py": fmt.Sprintf(minimal, "elsewhere")})
	for name, want := range map[string]string{
		"one": "application", "one:app": "app", "two": "app only", "three:Deep.app": "attribute", "three:make()": "attribute",
		"three:given('a:b', debug=True)": "a:b {'debug': True}",
		"package.wsgi:app":               "package", "four:app": "elsewhere",
	} {
		s := start(t, "--chdir", dir, "--pythonpath", elsewhere, name)
		if code, b := s.get("/"); code != 200 || b != want {
			t.Errorf("%s: %d %q", name, code, b)
		}
		s.stop()
	}
}

// TestSurroundings looks at what the rest of the system sees of a server.
func TestSurroundings(t *testing.T) {
	pidfile := filepath.Join(t.TempDir(), "pid")
	t.Setenv("WEB_CONCURRENCY", "3")
	s := start(t, "-p", pidfile, "-n", "shop", "faults:factory()")
	if n := len(s.workers()); n != 3 {
		t.Errorf("WEB_CONCURRENCY=3: %d workers", n)
	}
	if pid := readPid(pidfile); pid != s.cmd.Process.Pid {
		t.Errorf("the pid file says %d", pid)
	}
	title := func(pid int) string {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		return strings.Trim(string(b), "\x00 ")
	}
	s.eventually("the master's title", func() bool { return title(s.cmd.Process.Pid) == "hostler: master [shop]" })
	titles := map[string]bool{}
	for _, pid := range s.workers() {
		titles[title(pid)] = true
	}
	for i := 1; i <= 3; i++ {
		if want := fmt.Sprintf("hostler: worker %d gen 1 [shop]", i); !titles[want] {
			t.Errorf("no %q among %v", want, titles)
		}
	}
	s.stop()
	if _, err := os.Stat(pidfile); err == nil {
		t.Error("the pid file is still there")
	}
}

// TestAdminDefaultTaken wants a second server on the machine to go on without
// metrics, where it was only the default that is taken.
func TestAdminDefaultTaken(t *testing.T) {
	if l, err := net.Listen("tcp", "127.0.0.1:9191"); err == nil { // else somebody else has it: as good
		defer l.Close()
	}
	s := launchBare(t, "--python", venv, "--chdir", apps, "faults:app")
	s.waitLog("going on without metrics")
	s.waitLog("msg=serving")
	if code, _ := s.get("/"); code != 200 {
		t.Errorf("%d", code)
	}
}

// TestIdentity runs workers as somebody else: with root's help, or not at all.
func TestIdentity(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"who.py": `
import os
def app(environ, start_response):
    mask = os.umask(0)
    os.umask(mask)
    body = ("%d %d %s %o" % (os.geteuid(), os.getegid(), sorted(os.getgroups()), mask)).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
`})
	if os.Geteuid() != 0 {
		code, out := run(t, dir, nil, "--python", venv, "--admin-bind", "off", "-u", "1", "who:app")
		if code != 1 || !strings.Contains(out, "the master is not root") {
			t.Errorf("%d %s", code, out)
		}
		return
	}
	for ; dir != os.TempDir(); dir = filepath.Dir(dir) { // for the others to read
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob(os.TempDir() + "/TestIdentity*/*/who.py")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	file := files[len(files)-1]
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, preload := range []string{"--preload=false", "--preload"} {
		s := launchBare(t, preload, "--python", "/usr/bin/python3", "--admin-bind", "off", "--chdir", filepath.Dir(file), "-u", "4242", "-g", "4343", "-m", "027", "who:app")
		s.waitLog("msg=serving")
		if code, b := s.get("/"); code != 200 || b != "4242 4343 [] 27" {
			t.Errorf("%s: %d %q", preload, code, b)
		}
		s.stop()
	}
	for _, args := range [][]string{{"-u", "no-such-user"}, {"-g", "no-such-group"}} {
		if code, out := run(t, "/", nil, append(args, "--python", venv, "--admin-bind", "off", "who:app")...); code != 1 || !strings.Contains(out, "there is no ") {
			t.Errorf("%v: %d %s", args, code, out)
		}
	}
}

// TestCommands: the commands do what the flags do, and a module that is called as one of
// them can be served.
func TestCommands(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"check.py": fmt.Sprintf(minimal, "check")})
	for _, args := range [][]string{{"check"}, {"serve", "--check"}, {"--check"}} {
		code, out := run(t, dir, nil, append(args, "--admin-bind", "off", "--python", venv, "check:app")...)
		if code != 0 {
			t.Errorf("%q: %d %q", args, code, out)
		}
	}
	for _, args := range [][]string{{"check:app"}, {"serve", "check"}, {"--threads", "1", "check"}} {
		addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
		s := launchIn(t, dir, append(args, "--admin-bind", "off", "--python", venv, "-b", addr)...)
		s.addr = addr
		s.waitLog("msg=serving")
		if status, body := s.get("/"); status != 200 || body != "check" {
			t.Errorf("%q: %d %q", args, status, body)
		}
		s.stop()
	}
}
