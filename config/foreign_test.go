package config_test

import (
	"slices"
	"strings"
	"testing"

	"hostler/config"
	"hostler/config/foreign"
)

// TestForeignFlags gives every flag that another server has: it is taken, or refused
// in one line that names it; none is unknown.
func TestForeignFlags(t *testing.T) {
	for _, i := range foreign.All() {
		for _, flag := range i.Flags {
			for _, f := range []string{flag, "--" + strings.ReplaceAll(strings.TrimLeft(flag, "-"), "-", "_")} {
				if len(f) < 3 && f != flag || len(flag) == 2 && f != flag {
					continue
				}
				args := []string{f, "shop:app"}
				if i.Takes == foreign.One {
					args = []string{f, "5", "shop:app"}
				}
				if i.Key == "http2_cleartext" { // a switch here
					args[1] = "off"
				}
				_, err := load(nil, nil, args...)
				if err == nil || err == config.ErrVersion {
					continue
				}
				for line := range strings.SplitSeq(err.Error(), "\n") {
					if strings.Contains(line, "unknown flag") || !strings.HasPrefix(line, "-") {
						t.Errorf("%v (%s): %s", args, i.Server, line)
					}
				}
			}
		}
	}
}

// Every setting that others become is there.
func TestForeignTargets(t *testing.T) {
	keys := make(map[string]bool)
	for _, s := range mustLoad(t, nil, nil, "shop").InForce() {
		keys[strings.ReplaceAll(s.Key, "_", "-")] = true
	}
	parts := []string{"", "host", "port", "factory", "file", "module", "callable", "most", "least", "check", "print-config", "version", "config"}
	for _, i := range foreign.All() {
		if !keys[i.Here] && !slices.Contains(parts, i.Here) {
			t.Errorf("%s %v becomes %s, which is no setting", i.Key, i.Flags, i.Here)
		}
	}
}

func TestForeignTranslated(t *testing.T) {
	for _, c := range []struct {
		args string
		want string
	}{
		{"--host 0.0.0.0 --port 5000 shop:app", "--bind 0.0.0.0:5000 shop:app"},
		{"--port 5000 shop:app", "--bind 127.0.0.1:5000 shop:app"},
		{"--host ::1 shop:app", "--bind [::1]:8000 shop:app"},
		{"--uds /run/x shop:app", "--bind unix:/run/x shop:app"},
		{"--factory shop:create", "shop:create()"},
		{"--interface wsgi --blocking-threads 4 shop:app", "--interface wsgi --threads 4 shop:app"},
		{"--http :8080 --wsgi-file dir/shop.py --callable app --processes 4 --harakiri 20 --master", "--bind :8080 --pythonpath dir --workers 4 --timeout 20 shop:app"},
		{"--http 8080 --module shop --callable app --cheaper 2 --processes=4", "--bind :8080 --workers 2:4 shop:app"},
		{"-k gthread --threads 4 shop:app", "--threads 4 shop:app"},
		{"-k uvicorn.workers.UvicornWorker -w 2 shop:app", "--interface asgi --workers 2 shop:app"},
		{"--worker-class=uvicorn_worker.UvicornH11Worker shop:app", "--interface asgi shop:app"},
		{"-k asgi --asgi-loop uvloop --websocket-max-message-size 5 shop:app", "--interface asgi --loop uvloop --ws-max-size 5 shop:app"},
		{"-k uvloop --verify-mode CERT_OPTIONAL --ca-certs ca.pem --certfile c.pem shop:app", "--interface asgi --loop uvloop --client-certs optional --ca-certs ca.pem --certfile c.pem shop:app"},
		{"-e A=b --root-path /x/ shop:app", "-e A=b -e SCRIPT_NAME=/x shop:app"},
		{"--root-path / shop:app", "shop:app"},
		{"--access-log shop:app", "--access-log - shop:app"},
		{"--access-log --port 5000 shop:app", "--access-log - --bind 127.0.0.1:5000 shop:app"},
		{"shop:app --access-log", "--access-log - shop:app"},
		{"--access-log a.log shop:app", "--access-log=a.log shop:app"},
		{"--ws --interface asgi shop:app", "--interface asgi shop:app"},
		{"-b :1 --host a --port 2 --app-dir x --pythonpath y shop:app", "-b :1 -b a:2 --pythonpath y --pythonpath x shop:app"},
		{"--worker_class sync --max_requests 5 shop:app", "--max-requests 5 shop:app"},
		{"--proxy-allow-from 10.0.0.1 --proxy-protocol shop:app", "--proxy-allow-ips 10.0.0.1 --proxy-protocol auto shop:app"},
		{"--http2-cleartext prior-knowledge shop:app", "--http2-cleartext shop:app"},
		{"--http2_cleartext=off shop:app", "--http2-cleartext=false shop:app"},
		{"--check-config shop:app", "--check shop:app"},
		{"--control-socket /run/c --umask 0o27 shop:app", "--ctl-socket /run/c --umask 0o27 shop:app"},
		{"--workers-max-rss 100 --workers-lifetime 1h --ssl-protocol-min tls1.3 shop:app", "--max-memory 100m --max-age 1h --tls-min-version 1.3 shop:app"},
	} {
		got, want := mustLoad(t, nil, nil, strings.Fields(c.args)...), mustLoad(t, nil, nil, strings.Fields(c.want)...)
		g, w := got.InForce(), want.InForce()
		for i := range g {
			if !slices.Equal(g[i].Values, w[i].Values) {
				t.Errorf("%s: %s is %q, want %q", c.args, g[i].Key, g[i].Values, w[i].Values)
			}
		}
		if got.Check != want.Check {
			t.Errorf("%s: check is %v", c.args, got.Check)
		}
	}
}

func TestGunicornCmdArgs(t *testing.T) {
	file := files{"hostler.toml": "workers = 3\ntimeout = 3\nthreads = 3\nbacklog = 3\n"}
	c := mustLoad(t, file, []string{"GUNICORN_CMD_ARGS=--workers 2 -t 2 --threads=2 --no-sendfile --statsd-host a:1", "HOSTLER_TIMEOUT=1"}, "shop", "--workers=1")
	if c.Workers != 1 || c.Timeout.Seconds() != 1 || c.Threads != 2 || c.Backlog != 3 {
		t.Errorf("%d %v %d %d: want 1 (the flag), 1s (ours), 2 (Gunicorn's variable), 3 (the file)", c.Workers, c.Timeout, c.Threads, c.Backlog)
	}
	if want := []string{"GUNICORN_CMD_ARGS: statsd_host: hostler speaks Prometheus: scrape /metrics at --admin-bind"}; len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "Prometheus") {
		t.Errorf("got %q, want %q", c.Warnings, want)
	}
	want := []string{`GUNICORN_CMD_ARGS: --workers: "x" is not a whole number from 1 to 512, or "auto", or two of these with a colon between them`}
	if got := problems(t, nil, []string{"GUNICORN_CMD_ARGS=--workers x"}, "shop"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	want = []string{"GUNICORN_CMD_ARGS: there is no flag --frob"}
	if got := problems(t, nil, []string{"GUNICORN_CMD_ARGS=--frob 1"}, "shop"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Variables of uvicorn's and granian's do nothing, and that is said.
func TestOthersVariables(t *testing.T) {
	env := []string{"UVICORN_PORT=5000", "GRANIAN_BLOCKING_THREADS=4", "UVICORN_SERVICE_HOST=10.0.0.1", "UVICORN_HOST=tcp://10.0.0.1:1", "UVICORNS=1", "GRANIAN_HOST="}
	c := mustLoad(t, nil, env, "shop")
	if len(c.Warnings) != 2 || !strings.Contains(c.Warnings[0], "UVICORN_PORT is not read: give --port") || !strings.Contains(c.Warnings[1], "GRANIAN_BLOCKING_THREADS is not read") {
		t.Errorf("%q", c.Warnings)
	}
}

func TestPrint(t *testing.T) {
	c := mustLoad(t, files{"hostler.toml": "threads = 3\n"}, []string{"WEB_CONCURRENCY=4"}, "shop:app", "--env", `A="\`, "--max-memory", "10m")
	printed := c.Print()
	for _, line := range []string{
		`app = "shop:app"  # application`, `workers = 4  # WEB_CONCURRENCY`, `threads = 3  # hostler.toml:1: threads`,
		`env = ["A=\"\\"]  # --env`, `max_memory = "10m"  # --max-memory`, `# backlog = 2048`, `# preload = ""`,
	} {
		if !strings.Contains("\n"+printed, "\n"+line+"\n") {
			t.Errorf("no line %q in\n%s", line, printed)
		}
	}
	// What is printed is a settings file that says the same.
	again := mustLoad(t, files{"hostler.toml": printed}, nil)
	if again.Threads != 3 || again.Workers != 4 || again.App != "shop:app" || again.Env[0] != `A="\` || again.MaxMemory != 10<<20 {
		t.Errorf("read again: %+v", again)
	}
}
