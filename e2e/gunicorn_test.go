package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// What a settings file of Gunicorn's does besides settings, too: a variable, logging,
// functions. Each function writes a line.
const gunicornConf = `
import logging, os
os.environ["FROM_THE_FILE"] = "the file"
wsgi_app = "confapp:application"
bind = ["%s"]
workers = int(os.environ.get("HOW_MANY", 2))
threads = 2
raw_env = ["RAW=raw"]
worker_class = "gthread"
proc_name = "confname"
statsd_host = "localhost:8125"
logconfig_dict = {"version": 1, "loggers": {"shop": {"level": "INFO", "handlers": ["mine"]}},
    "handlers": {"mine": {"class": "logging.StreamHandler", "formatter": "mine"}}, "formatters": {"mine": {"format": "MINE %%(message)s"}},
    "root": {"level": "INFO", "handlers": []}}
def note(text):
    with open(os.environ["HOOK_LOG"], "a") as f:
        f.write(text + "\n")
def on_starting(server):
    note("on_starting %%s %%s" %% (server.cfg.proc_name, server.cfg.graceful_timeout))
def when_ready(server):
    note("when_ready")
def on_reload(server):
    "does nothing"
def pre_fork(server, worker):
    note("pre_fork %%d" %% worker.age)
def post_fork(server, worker):
    note("post_fork %%s" %% server.num_workers)
def pre_request(worker, req):
    if req.path == "/bad":
        raise ValueError("pre_request on purpose")
    note("pre_request %%s %%s %%s" %% (req.method, req.uri, dict(req.headers).get("X-A")))
def post_request(worker, req, environ, resp):
    note("post_request %%s %%s %%d %%s" %% (req.path, resp.status_code, resp.sent, environ["QUERY_STRING"]))
def nworkers_changed(server, new_value, old_value):
    note("nworkers_changed %%d %%d" %% (new_value, old_value))
def worker_int(worker):
    note("worker_int")
def worker_abort(worker):
    note("worker_abort")
def on_exit(server):
    note("on_exit")
`

const confApp = `
import logging, os, time
logging.getLogger("shop").info("imported")
logging.getLogger("gunicorn.error").warning("heard")
def stream(n):
    for _ in range(n):
        yield b"0123456789"
def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/hang":
        while True:
            try:
                time.sleep(0.01)
            except BaseException:
                pass
    body = ("%s %s %s" % (os.environ.get("FROM_THE_FILE"), os.environ.get("RAW"), environ["wsgi.multithread"])).encode()
    start_response("200 OK", [("Content-Type", "text/plain")])
    if path == "/stream":
        return stream(3)
    if path == "/file":
        return environ["wsgi.file_wrapper"](open(__file__, "rb"))
    return [body]
`

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-A", "b")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// TestGunicornConf serves by nothing but a file that Gunicorn would find, with and
// without preload, and has it read again.
func TestGunicornConf(t *testing.T) {
	for _, preload := range []bool{false, true} {
		addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
		dir := write(t, t.TempDir(), map[string]string{"confapp.py": confApp, "gunicorn.conf.py": fmt.Sprintf(gunicornConf, addr)})
		log := filepath.Join(t.TempDir(), "hooks.log")
		t.Setenv("HOOK_LOG", log)
		lines := func() []string {
			b, _ := os.ReadFile(log)
			return strings.Split(strings.TrimSpace(string(b)), "\n")
		}
		args := []string{"--python", venv, "--admin-bind", "off"}
		if preload {
			args = append(args, "--preload")
		}
		s := launchIn(t, dir, args...)
		s.waitLog("msg=serving")
		s.waitLog("MINE imported")
		s.waitLog("heard")
		for _, want := range []string{"gunicorn.conf.py: taken as they are: wsgi_app, ", "gunicorn.conf.py: statsd_host: hostler speaks Prometheus", "gunicorn.conf.py: worker_int: is not run"} {
			s.waitLog(want)
		}
		if n, body := get(t, "http://"+addr+"/x?q=1"); n != 200 || body != "the file raw True" {
			t.Errorf("%d %q", n, body)
		}
		if n, body := get(t, "http://"+addr+"/stream"); n != 200 || len(body) != 30 {
			t.Errorf("%d %q", n, body)
		}
		if n, body := get(t, "http://"+addr+"/file"); n != 200 || body != confApp {
			t.Errorf("%d, %d bytes", n, len(body))
		}
		if n, _ := get(t, "http://"+addr+"/bad"); n != 500 {
			t.Errorf("%d where pre_request raises", n)
		}
		for _, want := range []string{"on_starting confname 30", "when_ready", "pre_fork 2", "post_fork 2", "pre_request GET /x?q=1 b",
			"post_request /x 200 17 q=1", "post_request /stream 200 30", "post_request /file 200 0", "post_request /bad 0 0"} {
			s.eventually(want, func() bool { return len(matching(lines(), want)) > 0 })
		}
		s.signal(syscall.SIGTTIN)
		s.eventually("nworkers_changed", func() bool { return len(matching(lines(), "nworkers_changed 3 2")) == 1 })

		// SIGHUP reads it again; what is wrong then changes nothing.
		write(t, dir, map[string]string{"gunicorn.conf.py": "workers = undefined\n"})
		s.signal(syscall.SIGHUP)
		s.waitLog("gunicorn.conf.py: NameError: name 'undefined' is not defined")
		if n, _ := get(t, "http://"+addr+"/x"); n != 200 {
			t.Errorf("%d after a reload that failed", n)
		}
		write(t, dir, map[string]string{"gunicorn.conf.py": strings.Replace(fmt.Sprintf(gunicornConf, addr), "RAW=raw", "RAW=other", 1)})
		s.signal(syscall.SIGHUP)
		s.waitLog("msg=reloaded")
		s.eventually("the other variable", func() bool {
			_, body := get(t, "http://"+addr+"/x")
			return body == "the file other True"
		})
		s.stop()
		if l := lines(); l[len(l)-1] != "on_exit" || len(matching(l, "when_ready")) != 1 {
			t.Errorf("hooks: %q", l)
		}
	}
}

// TestWorkerAbort: the hook runs in a worker that does not end a request, and its end is
// still told as what it is.
func TestWorkerAbort(t *testing.T) {
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	dir := write(t, t.TempDir(), map[string]string{"confapp.py": confApp, "gunicorn.conf.py": fmt.Sprintf(gunicornConf, addr)})
	log := filepath.Join(t.TempDir(), "hooks.log")
	t.Setenv("HOOK_LOG", log)
	s := launchIn(t, dir, "--python", venv, "--admin-bind", "off", "-w", "1", "-t", "0.5")
	s.waitLog("msg=serving")
	go func() { _, _ = http.Get("http://" + addr + "/hang") }()
	s.eventually("worker_abort", func() bool {
		b, _ := os.ReadFile(log)
		return strings.Contains(string(b), "worker_abort")
	})
	s.waitLog("SIGABRT")
}

// TestGunicornConfRefused: what cannot be served so does not start, and says why in one line.
func TestGunicornConfRefused(t *testing.T) {
	for _, c := range []struct{ file, want string }{
		{"worker_class = 'tornado'", "hostler: gunicorn.conf.py: worker_class: tornado runs Tornado's loop, which hostler does not have"},
		{"worker_class = 'eventlet'", "hostler: gunicorn.conf.py: worker_class: eventlet runs greenlets of eventlet's"},
		{"workers = 'many'", `hostler: gunicorn.conf.py: workers: "many" is not a whole number`},
		{"import nothing_of_that_name", "hostler: gunicorn.conf.py: ModuleNotFoundError: No module named 'nothing_of_that_name'"},
		{"raise SystemExit(3)", "hostler: gunicorn.conf.py: SystemExit: 3"},
		{"import os; os._exit(3)", "hostler: gunicorn.conf.py: "},
		{"import os\nwhile True: os.write(3, b'x' * 4096)", "hostler: gunicorn.conf.py: it says too much"},
		{"x = (", "hostler: gunicorn.conf.py: SyntaxError: "},
	} {
		dir := write(t, t.TempDir(), map[string]string{"confapp.py": confApp, "gunicorn.conf.py": c.file + "\n"})
		cmd := exec.Command(binary, "--python", venv, "--admin-bind", "off", "confapp")
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 2 || !strings.Contains("\n"+string(out), "\n"+c.want) {
			t.Errorf("%s: %v\n%s", c.file, err, out)
		}
	}
}

// TestGunicornConfCheck: --check and migrate look at the file, too.
func TestGunicornConfCheck(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"confapp.py": confApp, "gunicorn.conf.py": fmt.Sprintf(gunicornConf, "127.0.0.1")})
	t.Setenv("HOOK_LOG", filepath.Join(dir, "hooks.log"))
	in := func(args ...string) (string, int) {
		cmd := exec.Command(binary, args...)
		cmd.Dir = dir
		out, _ := cmd.CombinedOutput()
		return string(out), cmd.ProcessState.ExitCode()
	}
	if out, status := in("--python", venv, "--check"); status != 0 {
		t.Errorf("status %d\n%s", status, out)
	}
	out, status := in("migrate", "--python", venv)
	for _, want := range []string{`app = "confapp:application"`, `bind = ["127.0.0.1:8000"]`, "workers = 2", `env = ["RAW=raw"]`, `hooks = "gunicorn.conf.py"`, "#   statsd_host: hostler speaks Prometheus: scrape /metrics at --admin-bind"} {
		if status != 0 || !strings.Contains(out, "\n"+want+"\n") {
			t.Errorf("status %d, no %q in\n%s", status, want, out)
		}
	}
	// What it prints is a file that serves.
	write(t, dir, map[string]string{"hostler.toml": out})
	if out, status := in("--python", venv, "--check"); status != 0 || strings.Contains(out, "is no setting") {
		t.Errorf("status %d\n%s", status, out)
	}
	if out, _ := in("--python", venv, "--print-config"); !strings.Contains(out, "workers = 2  # hostler.toml:") {
		t.Errorf("%s", out)
	}
	write(t, dir, map[string]string{"hostler.toml": "", "gunicorn.conf.py": "wsgi_app = 'nothing:app'\n"})
	if err := os.Remove(filepath.Join(dir, "hostler.toml")); err != nil {
		t.Fatal(err)
	}
	if out, status := in("--python", venv, "--check"); status != 1 || !strings.Contains(out, "No module named 'nothing'") {
		t.Errorf("status %d\n%s", status, out)
	}
}
