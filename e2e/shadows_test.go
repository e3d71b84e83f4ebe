package e2e

import (
	"os"
	"path/filepath"
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
