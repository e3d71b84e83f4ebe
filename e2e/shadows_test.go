package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// shadows are names of the standard library's that an application's directory may have
// files of.
var shadows = []string{"json", "signal", "socket", "select", "selectors", "array", "traceback", "linecache", "tokenize", "token", "logging",
	"threading", "random", "html", "ctypes", "struct", "string", "weakref", "contextlib", "importlib", "urllib", "gc", "time", "faulthandler"}

// TestShadowedModules starts in a directory with files of such names, which nobody
// but the application means.
func TestShadowedModules(t *testing.T) {
	dir := t.TempDir()
	for _, name := range shadows {
		if err := os.WriteFile(filepath.Join(dir, name+".py"), []byte("raise ImportError('not the standard library')\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	app := `
import calendar  # the application's own stay its own
import sys

assert "json" in sys.modules and calendar.own

def app(environ, start_response):
    if environ["PATH_INFO"] == "/raises":
        raise ValueError("raised here")
    start_response("200 OK", [])
    return [b"served"]

def on_starting(server):
    server.log.warning("the hook has run")

`
	for name, text := range map[string]string{"app": app, "calendar": "own = True\n", "fails": "raise ValueError('at import')\n"} {
		if err := os.WriteFile(filepath.Join(dir, name+".py"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, args := range map[string][]string{
		"chdir": {"--chdir", dir}, "pythonpath": {"--pythonpath", dir}, "environment": {"-e", "PYTHONPATH=" + dir},
		"preload": {"--chdir", dir, "--preload", "--warmup", "/raises"}, "reload": {"--chdir", dir, "--reload"},
		"hooks": {"--chdir", dir, "--hooks", "app"},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, append(args, "app:app")...)
			if code, b := s.get("/"); code != 200 || b != "served" {
				t.Errorf("%d %q", code, b)
			}
			if code, _ := s.get("/raises"); code != 500 {
				t.Errorf("%d", code)
			}
			s.waitLog("ValueError: raised here")
			s.waitLog("in app\n")
			if name == "hooks" {
				s.waitLog("the hook has run")
			}
		})
	}
	s := launch(t, "--chdir", dir, "fails:app")
	<-s.exited
	s.waitLog("ValueError: at import")
}

// TestShadowedEverything starts where a file lies for each module that Python has, as in
// a directory that its user has gone to, in the oldest Python and the newest: not even the
// start of an interpreter finds one of them, nor does an event loop's.
func TestShadowedEverything(t *testing.T) {
	const names = "import sys, importlib.util as u; print(*(n for n in getattr(sys, 'stdlib_module_names', ()) if u.find_spec(n)))"
	out, err := exec.Command(venv, "-c", names).Output()
	if err != nil || len(out) < 1000 {
		t.Fatalf("%q, %v", out, err)
	}
	dir := t.TempDir()
	for _, name := range strings.Fields(string(out)) {
		write(t, dir, map[string]string{name + ".py": "raise ImportError('the one in ' + __file__)\n"})
	}
	write(t, dir, map[string]string{"gunicorn.conf.py": "workers = 2\n", "both.py": `
def app(environ, start_response):
    if environ["PATH_INFO"] == "/raises":
        raise ValueError("raised here")
    start_response("200 OK", [])
    return [b"served"]

async def loop(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    if scope["path"] == "/raises":
        raise ValueError("raised here")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"served"})
`})
	found, versions := pythons(t)
	for _, version := range []string{versions[0], versions[len(versions)-1]} {
		t.Run(strings.Fields(version)[0], func(t *testing.T) {
			for _, args := range [][]string{{"both:app", "--config", "gunicorn.conf.py"}, {"both:loop", "--preload"}} {
				s := launchBareIn(t, dir, append(args, "--admin-bind", "off", "--python", found[version])...)
				s.waitLog("msg=serving")
				if code, b := s.get("/"); code != 200 || b != "served" {
					t.Errorf("%v: %d %q", args, code, b)
				}
				if code, _ := s.get("/raises"); code != 500 {
					t.Errorf("%v: %d", args, code)
				}
				s.waitLog("ValueError: raised here")
				if strings.Contains(s.log.String(), dir+"/") && strings.Contains(s.log.String(), "the one in") {
					t.Errorf("%v: %s", args, s.log)
				}
				s.stop()
			}
		})
	}
}
