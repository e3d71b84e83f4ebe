package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// shape is what a gunicorn.conf.py may look like: ADDR is where it is to listen.
type shape struct {
	name, file string
	migrated   []string // what hostler migrate prints, among other things
	said       string   // what the log of the start says
	refused    string   // why it is not served; "": it is
}

// shapes are such as are found in public repositories: the facts, written anew.
var shapes = []shape{
	{name: "nothing but an address", file: `bind = "ADDR"`, migrated: []string{`bind = ["ADDR"]`}},
	{name: "from the number of processors", file: "import multiprocessing\nbind = ['ADDR']\nworkers = min(multiprocessing.cpu_count() * 2 + 1, 2)", migrated: []string{"workers = 2\n"}},
	{name: "its own function", file: "from multiprocessing import cpu_count\ndef how_many():\n    return min(3, cpu_count() + 1)\nbind = 'ADDR'\nworkers = how_many()", migrated: []string{"workers = "}},
	{name: "from the environment", file: "import os\nbind = os.getenv('NO_SUCH_BIND', 'ADDR')\nworkers = int(os.environ.get('NO_SUCH_NUMBER', '1'))\nthreads = int(os.environ.get('NO_SUCH_THREADS', 8))", migrated: []string{"threads = 8\n"}},
	{name: "an f-string with the port", file: "port = 'ADDR'.rsplit(':')[-1]\nbind = f'127.0.0.1:{port}'", migrated: []string{`bind = ["ADDR"]`}},
	{name: "every variable with a prefix", file: "import os, sys\nbind = 'ADDR'\nfor k, v in os.environ.items():\n    if k.startswith('NO_SUCH_GUNICORN_'):\n        locals()[k[17:].lower()] = v", migrated: []string{"bind"}},
	{name: "threads", file: "bind = 'ADDR'\nworker_class = 'gthread'\nthreads = 4", migrated: []string{"threads = 4\n"}},
	{name: "sync, and a number for other workers", file: "bind = 'ADDR'\nworker_class = 'sync'\nworker_connections = 1000", migrated: []string{"worker_connections = 1000"}},
	{name: "eventlet, named by its class", file: "bind = 'ADDR'\nworker_class = 'gunicorn.workers.geventlet.EventletWorker'", refused: "worker_class"},
	{name: "a daemon", file: "bind = 'ADDR'\ndaemon = True", refused: "daemon"},
	{name: "no daemon", file: "bind = 'ADDR'\ndaemon = False\nreload = False\npreload_app = False", migrated: []string{"bind"}},
	{name: "logs to the terminal", file: "bind = 'ADDR'\naccesslog = '-'\nerrorlog = '-'\nloglevel = 'info'\ncapture_output = True", migrated: []string{`access_log = "-"`}},
	{name: "a format of one's own", file: `bind = 'ADDR'
accesslog = '-'
access_log_format = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s" %(D)s'`, migrated: []string{"access_log_format = "}},
	{name: "a format of JSON", file: `import json
bind = 'ADDR'
accesslog = '-'
access_log_format = json.dumps({"ip": "%(h)s", "status": "%(s)s", "path": "%(U)s", "took": "%(M)s"})`, migrated: []string{"access_log_format = "}},
	{name: "log files beside it", file: "import os\nhere = os.path.dirname(os.path.abspath(__file__))\nbind = 'ADDR'\naccesslog = os.path.join(here, 'a.log')\nerrorlog = os.path.join(here, 'e.log')\npidfile = os.path.join(here, 'pid')", migrated: []string{"error_log = ", "pid = "}, said: "-"},
	{name: "pathlib", file: "from pathlib import Path\nbind = 'ADDR'\nchdir = str(Path(__file__).resolve().parent)", migrated: []string{"chdir = "}},
	{name: "logconfig_dict", file: "bind = 'ADDR'\nlogconfig_dict = {'version': 1, 'disable_existing_loggers': False, 'root': {'level': 'INFO', 'handlers': []}}", migrated: []string{"# What needs no setting:\n#   logconfig_dict: is applied"}},
	{name: "a logger of its own", file: "import logging\nbind = 'ADDR'\nclass Quiet(logging.Filter):\n    def filter(self, record):\n        return '/health' not in record.getMessage()\ndef on_starting(server):\n    logging.getLogger('gunicorn.access').addFilter(Quiet())\nlogger_class = 'shop.logs.Quiet'", migrated: []string{"logger_class"}, said: "logger_class"},
	{name: "statsd", file: "bind = 'ADDR'\nstatsd_host = 'localhost:8125'\nstatsd_prefix = 'shop'", migrated: []string{"# There is nothing like it:\n#   statsd_host"}, said: "statsd_host"},
	{name: "recycling", file: "bind = 'ADDR'\nmax_requests = 1000\nmax_requests_jitter = 50\ntimeout = 120\ngraceful_timeout = 10\nkeepalive = 5", migrated: []string{"max_requests = 1000\n", "timeout = 120\n", "keep_alive = 5\n"}},
	{name: "a worker's directory in memory", file: "bind = 'ADDR'\nworker_tmp_dir = '/dev/shm'", migrated: []string{"# Not needed here:\n#   worker_tmp_dir"}},
	{name: "behind a proxy", file: "bind = 'ADDR'\nforwarded_allow_ips = '*'\nproxy_allow_ips = '*'\nsecure_scheme_headers = {'X-FORWARDED-PROTO': 'https'}", migrated: []string{`forwarded_allow_ips = ["*"]`}},
	{name: "variables for the application", file: "bind = 'ADDR'\nraw_env = ['DJANGO_SETTINGS_MODULE=shop.settings', 'X=1']\npythonpath = '.'", migrated: []string{`env = ["DJANGO_SETTINGS_MODULE=shop.settings", "X=1"]`}},
	{name: "prometheus_client", file: "import os, shutil\nbind = 'ADDR'\ndef on_starting(server):\n    d = os.environ.get('NO_SUCH_DIR')\n    if d:\n        shutil.rmtree(d, ignore_errors=True)\ndef child_exit(server, worker):\n    assert worker.pid", migrated: []string{"hooks = "}},
	{name: "every hook of the example", file: "bind = 'ADDR'\ndef pre_fork(server, worker):\n    pass\ndef pre_exec(server):\n    server.log.info('re-executing')\ndef worker_int(worker):\n    worker.log.info('INT')\n    import threading, sys, traceback\ndef post_fork(server, worker):\n    server.log.info('spawned %s', worker.pid)", migrated: []string{"hooks = "}, said: "worker_int: is not run"},
	{name: "when it is ready", file: "bind = 'ADDR'\ndef when_ready(server):\n    server.log.info('ready to serve')", said: "ready to serve"},
	{name: "an application in the file", file: "bind = 'ADDR'\nwsgi_app = 'shapeapp:app'\nproc_name = 'shop'", migrated: []string{`app = "shapeapp:app"`, `name = "shop"`}},
	{name: "asks to print the settings", file: "bind = 'ADDR'\nprint_config = False\nspew = False\ncheck_config = False", migrated: []string{"bind"}},
	{name: "an import and a print", file: "import sys\nprint('settings are read', file=sys.stderr)\nbind = 'ADDR'\nreuse_port = True\nlimit_request_line = 8190", migrated: []string{"limit_request_line = 8190"}},
	{name: "a class for names", file: "class Config:\n    bind = 'ADDR'\n    workers = 1\nbind, workers = Config.bind, Config.workers\n_private = object()\nunknown_setting = 3", migrated: []string{"workers = 1\n"}},
	{name: "None where nothing is meant", file: "bind = 'ADDR'\nuser = None\ngroup = None\npidfile = None\ncertfile = None\nworker_tmp_dir = None\numask = 0", migrated: []string{"bind"}},
	{name: "an error", file: "bind = undefined_name", refused: "undefined_name"},
}

const shapeApp = "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'shape']\n"

// TestGunicornShapes: hostler migrate and a start do with each what is to be done with it.
func TestGunicornShapes(t *testing.T) {
	if len(shapes) < 30 {
		t.Errorf("only %d", len(shapes))
	}
	for _, c := range shapes {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
			at := func(text string) string { return strings.ReplaceAll(text, "ADDR", addr) }
			dir := write(t, t.TempDir(), map[string]string{"shapeapp.py": shapeApp, "gunicorn.conf.py": at(c.file)})
			cmd := exec.Command(binary, "migrate", "--python", venv)
			cmd.Dir = dir
			out, err := cmd.CombinedOutput()
			if (err != nil) != strings.Contains(c.file, "undefined_name") {
				t.Errorf("migrate: %v, %s", err, out)
			}
			for _, want := range append(c.migrated, c.refused) {
				if !strings.Contains(string(out), at(want)) {
					t.Errorf("migrate does not say %q: %s", at(want), out)
				}
			}
			args := []string{"--python", venv, "--admin-bind", "off", "--ctl-socket", "off", "shapeapp:app"}
			if c.refused != "" {
				if status, out := run(t, dir, nil, args...); status != 2 || !strings.Contains(out, c.refused) {
					t.Errorf("status %d, %s", status, out)
				}
				return
			}
			s := launchIn(t, dir, args...)
			s.eventually("an answer", func() bool {
				r, err := client.Get("http://" + addr + "/")
				if err != nil {
					return false
				}
				defer r.Body.Close()
				return r.StatusCode == 200
			})
			if c.said != "" && c.said != "-" {
				s.waitLog(c.said)
			}
		})
	}
}
