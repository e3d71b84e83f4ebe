package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// lookApp shows what an application sees of the server around it, at its import and in a
// request.
const lookApp = `
import json, logging, os, pickle, sys
import __main__

logger = logging.getLogger("shop")
logger.handlers = logging.getLogger("gunicorn.error").handlers
logger.setLevel(logging.getLogger("gunicorn.error").level)
logger.info("said at import")

argv = list(sys.argv)

def application(environ, start_response):
    logger.info("said in a request")
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({
        "argv": argv,
        "software": os.environ.get("SERVER_SOFTWARE"),
        "main": sorted(n for n in vars(__main__) if not n.startswith("__")),
        "modules": sorted(n for n in sys.modules if n.startswith("_hostler.")),
        "files": sorted(n for n, m in list(sys.modules.items()) if n.startswith("_hostler") and getattr(m, "__file__", None)),
        "finders": [type(f).__module__ for f in sys.meta_path if type(f).__name__ == "Finder"],
        "wrapper": environ["wsgi.file_wrapper"].__module__,
        "pickled": pickle.loads(pickle.dumps(environ["wsgi.file_wrapper"])) is environ["wsgi.file_wrapper"],
    }).encode()]
`

// TestPythonSide: an application finds its command line and what Gunicorn's applications
// look for, nothing of ours in __main__, no files of ours that are none, and, of our
// modules, those that its kind of process needs, whatever is called like them beside it.
func TestPythonSide(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"look.py": lookApp, "myhooks.py": ""})
	if err := os.Mkdir(filepath.Join(dir, "_hostler"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "_hostler"), map[string]string{"__init__.py": "raise ImportError('not ours')", "start.py": "", "wsgi.py": ""})
	worker := "app appmetrics bridge descriptors frames imports interface interpreter library log objects profile collect protocol reasons signals sockets start stdlib threads worker wsgi"
	for name, c := range map[string]struct {
		args []string
		more string
	}{
		"plain":   {nil, ""},
		"preload": {[]string{"--preload"}, "audit mold ready title"},
		"reload":  {[]string{"--reload"}, "reload"},
		"routes":  {[]string{"--metrics-routes"}, "routes"},
		"hooks":   {[]string{"--hooks", "myhooks"}, "conf hooks title"},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, append(c.args, "--chdir", dir, "look")...)
			code, body := s.get("/")
			var got struct {
				Argv                          []string
				Software, Wrapper             string
				Main, Modules, Files, Finders []string
				Pickled                       bool
			}
			if err := json.Unmarshal([]byte(body), &got); code != 200 || err != nil {
				t.Fatalf("%d %q %v", code, body, err)
			}
			if n := len(got.Argv); n < 4 || filepath.Base(got.Argv[0]) != "hostler" || got.Argv[n-1] != "look" || got.Argv[n-2] != dir {
				t.Errorf("sys.argv is %q", got.Argv)
			}
			if !strings.HasPrefix(got.Software, "hostler/") {
				t.Errorf("SERVER_SOFTWARE is %q", got.Software)
			}
			if len(got.Main)+len(got.Files)+len(got.Finders) > 0 {
				t.Errorf("left behind: in __main__ %q, files %q, finders %q", got.Main, got.Files, got.Finders)
			}
			if got.Wrapper != "_hostler.wsgi" || !got.Pickled {
				t.Errorf("the file wrapper is of %s, pickled: %v", got.Wrapper, got.Pickled)
			}
			loaded := map[string]bool{}
			for _, m := range got.Modules {
				loaded[strings.TrimPrefix(m, "_hostler.")] = true
			}
			for _, m := range strings.Fields(worker + " " + c.more) {
				if !loaded[m] {
					t.Errorf("%s is not loaded", m)
				}
				delete(loaded, m)
			}
			if len(loaded) > 0 {
				t.Errorf("loaded without need: %v", loaded)
			}
			s.waitLog(`level=INFO msg="said at import"`)
			s.waitLog(`level=INFO msg="said in a request" worker=1`)
		})
	}
}

// compiledApp is an application of either kind that tells which modules of ours were compiled
// in its process since it was imported.
const compiledApp = `
import builtins

compiled, theirs = [], compile

def recording(source, filename, *args, **more):
    if str(filename).startswith("<hostler/"):
        compiled.append(str(filename))
    return theirs(source, filename, *args, **more)

builtins.compile = recording

def text():
    return "compiled: {}".format(compiled).encode()

def wsgi(environ, start_response):
    start_response("200 OK", [])
    return [text()]

async def asgi(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": text()})
`

// TestCompiledElsewhere: each kind of process names what it needs (start.py), so that no module
// of ours is compiled in it, which takes memory.
func TestCompiledElsewhere(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"told.py": compiledApp, "myhooks.py": "def pre_request(*args):\n    pass\n"})
	hooks := []string{"--hooks", "myhooks"}
	for _, args := range [][]string{
		nil, {"--preload"}, {"--ready-path", "/"}, hooks, {"--reload"}, {"--metrics-routes", "--capture-output", "--app-metrics=false"},
	} {
		for app, begin := range map[string]func(*testing.T, ...string) *server{"wsgi": start, "asgi": startASGI, "green": startGreen} {
			t.Run(strings.Join(append(args, app), " "), func(t *testing.T) {
				t.Parallel()
				of := "told:" + strings.Replace(app, "green", "wsgi", 1)
				s := begin(t, append(slices.Clone(args), "--chdir", dir, of)...)
				if code, body := s.get("/"); code != 200 || body != "compiled: []" {
					t.Errorf("%d %s", code, body)
				}
			})
		}
	}
}

// TestOwnServerSoftware: who sets it, to have an application believe something, has it.
func TestOwnServerSoftware(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"look.py": lookApp})
	s := start(t, "--chdir", dir, "-e", "SERVER_SOFTWARE=gunicorn/23.0.0", "look")
	if _, body := s.get("/"); !strings.Contains(body, `"software": "gunicorn/23.0.0"`) {
		t.Error(body)
	}
}
