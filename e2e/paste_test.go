package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const pasteFile = `[app:main]
use = call:pasted:make
greeting = hello

[app:other]
use = call:pasted:make
greeting = other

[loggers]
keys = root

[handlers]
keys = file

[formatters]
keys = plain

[logger_root]
level = INFO
handlers = file

[handler_file]
class = FileHandler
args = ('%(here)s/app.log',)
formatter = plain

[formatter_plain]
format = %(levelname)s %(message)s
`

const pastedApp = `import logging

def make(global_conf, greeting):
    def app(environ, start_response):
        logging.getLogger("pasted").info("asked")
        start_response("200 OK", [])
        return [greeting.encode()]
    return app
`

// TestPaste serves what a PasteDeploy file describes, by plaster.
func TestPaste(t *testing.T) {
	python := appsPython(t)
	for _, mode := range [][]string{nil, {"--preload"}} {
		dir := write(t, t.TempDir(), map[string]string{"production.ini": pasteFile, "pasted.py": pastedApp})
		s := start(t, append([]string{"--python", python, "--chdir", dir, "--paste", "production.ini"}, mode...)...)
		if code, body := s.get("/"); code != 200 || body != "hello" {
			t.Errorf("%v: %d %q", mode, code, body)
		}
		if log, err := os.ReadFile(filepath.Join(dir, "app.log")); err != nil || !strings.Contains(string(log), "INFO asked") {
			t.Errorf("%v: the file's logging: %q, %v", mode, log, err)
		}
		write(t, dir, map[string]string{"production.ini": strings.Replace(pasteFile, "= hello", "= hello again", 1)})
		s.signal(syscall.SIGHUP)
		s.waitLog("msg=reloaded")
		if _, body := s.get("/"); body != "hello again" {
			t.Errorf("%v: after a reload: %q", mode, body)
		}
	}
	dir := write(t, t.TempDir(), map[string]string{"production.ini": pasteFile, "pasted.py": pastedApp})
	s := start(t, "--python", python, "--chdir", dir, "--paste", filepath.Join(dir, "production.ini")+"#other")
	if _, body := s.get("/"); body != "other" {
		t.Errorf("another section: %q", body)
	}
	for _, c := range []struct {
		python, want string
		args         []string
	}{
		{python, "there is no file", []string{"--paste", "nowhere.ini"}},
		{python, "the application is given twice", []string{"--paste", "production.ini", "pasted:make"}},
		{python, "nothing", []string{"--paste", "production.ini#nothing"}},
		{venv, "needs PasteDeploy", []string{"--paste", "production.ini"}},
	} {
		args := append([]string{"--python", c.python, "--chdir", dir, "--admin-bind", "off", "-b", "127.0.0.1:0"}, c.args...)
		if code, out := run(t, t.TempDir(), nil, args...); code <= 0 || !strings.Contains(out, c.want) {
			t.Errorf("%v: %d, want %q in\n%s", c.args, code, c.want, out)
		}
	}
	if code, out := run(t, t.TempDir(), nil, "--check", "--python", python, "--chdir", dir, "--paste", "production.ini"); code != 0 {
		t.Errorf("--check: %d\n%s", code, out)
	}
}
