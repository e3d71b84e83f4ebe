package config_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"hostler/config"
	"hostler/internal/logformat"
	"hostler/settings"
)

// files stands in for the file system that settings files are read from.
type files map[string]string

func (f files) read(path string) ([]byte, error) {
	text, ok := f[path]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return []byte(text), nil
}

func load(f files, env []string, args ...string) (*config.Config, error) {
	return config.Load(args, env, config.Options{
		ReadFile: f.read,
		Root:     fstest.MapFS{},
		CPUs:     func() int { return 6 },
	})
}

func mustLoad(t *testing.T, f files, env []string, args ...string) *config.Config {
	t.Helper()
	c, err := load(f, env, args...)
	if err != nil {
		t.Fatalf("cannot load %q: %v", args, err)
	}
	return c
}

// problems returns what Load complains of, and fails the test if it does not.
func problems(t *testing.T, f files, env []string, args ...string) []string {
	t.Helper()
	_, err := load(f, env, args...)
	var wrong *config.Error
	if !errors.As(err, &wrong) {
		t.Fatalf("%q %q: error is %v, not problems", args, env, err)
	}
	return wrong.Problems
}

func TestDefaults(t *testing.T) {
	got := mustLoad(t, nil, nil, "shop")
	if len(got.Warnings) != 0 {
		t.Errorf("warnings: %q", got.Warnings)
	}
	want := map[string]any{
		"App": "shop", "Workers": 1, "WorkersAuto": false, "MaxWorkers": 0, "Hooks": "", "Interface": "auto", "Loop": "auto", "Lifespan": "auto", "RecycleJitter": 10, "Canary": settings.Canary{}, "MaxUnavailable": 1, "Threads": 1, "ThreadsAuto": false, "Queue": 512, "WorkerConcurrency": 0, "Pools": []settings.Pool(nil), "Static": []settings.Static(nil), "ErrorPages": []settings.ErrorPage(nil),
		"Binds": []settings.Bind{{Network: "tcp", Address: "127.0.0.1:8000"}}, "Backlog": 2048, "WorkerConnections": 10000,
		"KeepAlive": 5 * time.Second, "ForwardedAllowIPs": []string{"127.0.0.1/32", "::1/128", "unix"}, "ForwardedUntrusted": "keep",
		"Python": "", "Chdir": "", "PythonPath": []string(nil), "Env": []string(nil), "Preload": false, "Development": false, "ReloadExtra": []string(nil), "User": "", "Group": "", "Umask": "", "Warmup": []string(nil), "ReadyPath": "", "ReadyHost": "localhost", "ReadyTimeout": 10 * time.Second,
		"Behind": "", "ForwardedHeaders": []string{"for", "proto", "forwarded"}, "ProxyProtocol": "", "ProxyAllowIPs": []string{"127.0.0.1/32", "::1/128"},
		"Timeout": 30 * time.Second, "TotalTimeout": time.Duration(0), "BootTimeout": time.Minute, "GracefulTimeout": 30 * time.Second, "DisconnectGrace": 3 * time.Second,
		"MaxRequests": 0, "MaxRequestsJitter": 0, "SlowRequest": time.Duration(0),
		"MaxAge": time.Duration(0), "MaxMemory": int64(0), "MaxMemoryHard": int64(0),
		"HeaderTimeout": 10 * time.Second, "BodyTimeout": 30 * time.Second, "WriteTimeout": time.Minute,
		"LimitRequestLine": 8192, "LimitRequestFields": 100, "LimitRequestFieldSize": 8192, "LimitRequestBody": int64(0), "SpoolDir": "", "SpoolLimit": int64(1 << 30), "StreamUploads": []string(nil),
		"Otel": false, "OTLPEndpoint": "", "OTLPProtocol": "", "TraceSample": "", "Tracing": (*settings.Tracing)(nil),
		"LogLevel": "info", "LogFormat": logformat.Auto, "AccessLog": "", "AccessLogFormat": "combined", "AccessLogExclude": []string(nil), "RequestID": false, "Debug": false, "CaptureOutput": false, "ErrorLog": "-", "Admin": settings.Bind{Network: "tcp", Address: "127.0.0.1:9191"},
		"AdminHosts": []string(nil), "AdminQueries": false, "AdminToken": "",
		"TLS":        settings.TLS{ACME: settings.ACME{Directory: "https://acme-v02.api.letsencrypt.org/directory"}, ClientCerts: "required", MinVersion: tls.VersionTLS12, Protocols: []string{"h2", "http/1.1"}, Ciphers: []uint16{0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8}},
		"BindsGiven": false, "AdminGiven": false,
		"WSPingInterval": 20 * time.Second, "WSPingTimeout": 20 * time.Second, "WSMaxSize": int64(16 << 20), "WSPerMessageDeflate": true,
		"MinRate": int64(240), "QueueWait": time.Second, "SpareThread": true, "AppMetrics": true, "MetricsPath": "", "MetricsRoutes": false, "LimitBuffers": int64(512 << 20), "HealthPaths": []string(nil), "HTTP2Cleartext": false, "Redirects": []settings.Bind(nil),
		"CtlSocket": "auto", "PIDFile": "", "Name": "", "ConfigFile": "", "Check": false, "Paste": "", "Warnings": []string(nil),
		"Notes": []string(nil), "Conf": "", "ConfHooks": false, "PrintConfig": false,
	}
	v := reflect.ValueOf(*got)
	for _, f := range reflect.VisibleFields(v.Type()) {
		if !f.IsExported() || f.Anonymous {
			continue
		}
		w, ok := want[f.Name]
		if !ok {
			t.Errorf("no default is expected for %s", f.Name)
		} else if g := v.FieldByIndex(f.Index).Interface(); !reflect.DeepEqual(g, w) {
			t.Errorf("%s = %#v, want %#v", f.Name, g, w)
		}
	}
	if got.AdminGiven {
		t.Error("the default of the admin address passes for given")
	}
}

func TestPrecedence(t *testing.T) {
	file := files{"hostler.toml": "workers = 3\nbind = ':3'\nforwarded_allow_ips = '10.0.0.3'\n"}
	fallbacks := []string{"WEB_CONCURRENCY=4", "PORT=4", "FORWARDED_ALLOW_IPS=10.0.0.4"}
	vars := append([]string{"HOSTLER_WORKERS=2", "HOSTLER_BIND=:2", "HOSTLER_FORWARDED_ALLOW_IPS=10.0.0.2"}, fallbacks...)
	flags := []string{"shop", "-w", "1", "-b", ":1", "--forwarded-allow-ips", "10.0.0.1"}
	for _, c := range []struct {
		name    string
		file    files
		env     []string
		args    []string
		workers int
		bind    string
		peer    string
	}{
		{"flag", file, vars, flags, 1, ":1", "10.0.0.1/32"},
		{"variable", file, vars, flags[:1], 2, ":2", "10.0.0.2/32"},
		{"file", file, fallbacks, flags[:1], 3, ":3", "10.0.0.3/32"},
		{"fallback", nil, fallbacks, flags[:1], 4, "0.0.0.0:4", "unix 10.0.0.4/32"},
		{"empty variables", nil, []string{"HOSTLER_WORKERS=", "WEB_CONCURRENCY=", "PORT=", "HOSTLER_BIND="}, flags[:1], 1, "127.0.0.1:8000", "127.0.0.1/32 ::1/128 unix"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := mustLoad(t, c.file, c.env, c.args...)
			if got.Workers != c.workers || got.Binds[0].Address != c.bind || len(got.Binds) != 1 || strings.Join(got.ForwardedAllowIPs, " ") != c.peer {
				t.Errorf("got %d workers, %v, %v; want %d, %s, %s", got.Workers, got.Binds, got.ForwardedAllowIPs, c.workers, c.bind, c.peer)
			}
		})
	}
}

// Only the value that holds is judged: a flag is also a way around what a
// machine's environment has wrong.
func TestOverriddenValueIsNotJudged(t *testing.T) {
	if got := mustLoad(t, nil, []string{"WEB_CONCURRENCY=many", "HOSTLER_THREADS=many"}, "-w2", "--threads=3", "shop"); got.Workers != 2 || got.Threads != 3 {
		t.Errorf("got %d workers, %d threads", got.Workers, got.Threads)
	}
}

func TestApplicationFromAnywhere(t *testing.T) {
	f := files{"hostler.toml": `app = "infile"`}
	for _, c := range []struct {
		want string
		env  []string
		args []string
	}{
		{"infile", nil, nil},
		{"invar", []string{"HOSTLER_APP=invar"}, nil},
		{"inarg:app", []string{"HOSTLER_APP=invar"}, []string{"inarg:app"}},
		{"inarg:app", nil, []string{"-w", "2", "inarg:app", "--threads", "2"}},
		{"inarg:app", nil, []string{"--", "inarg:app"}},
	} {
		if got := mustLoad(t, f, c.env, c.args...); got.App != c.want {
			t.Errorf("%q %q: app is %q, want %q", c.env, c.args, got.App, c.want)
		}
	}
}

func TestFileIsReadAnew(t *testing.T) {
	f := files{"/etc/shop.toml": "threads = 2"}
	args := []string{"-c", "/etc/shop.toml", "shop"}
	first := mustLoad(t, f, nil, args...)
	f["/etc/shop.toml"] = "threads = 7"
	second := mustLoad(t, f, nil, args...)
	if first.Threads != 2 || second.Threads != 7 || second.ConfigFile != "/etc/shop.toml" {
		t.Errorf("got %d, then %d from %s", first.Threads, second.Threads, second.ConfigFile)
	}
}

func TestWhichFile(t *testing.T) {
	f := files{"hostler.toml": "threads = 2", "other.toml": "threads = 3"}
	for _, c := range []struct {
		threads int
		path    string
		env     []string
		args    []string
	}{
		{2, "hostler.toml", nil, nil},
		{3, "other.toml", []string{"HOSTLER_CONFIG=other.toml"}, nil},
		{3, "other.toml", nil, []string{"--config=other.toml"}},
		{1, "", nil, []string{"-c", ""}},
	} {
		got := mustLoad(t, f, c.env, append(c.args, "shop")...)
		if got.Threads != c.threads || got.ConfigFile != c.path {
			t.Errorf("%q %q: %d threads from %q, want %d from %q", c.env, c.args, got.Threads, got.ConfigFile, c.threads, c.path)
		}
	}
	for origin, p := range map[string][]string{
		"--config":       problems(t, f, nil, "shop", "-c", "gone.toml"),
		"HOSTLER_CONFIG": problems(t, f, []string{"HOSTLER_CONFIG=gone.toml"}, "shop"),
	} {
		if want := origin + ": cannot read gone.toml: file does not exist"; !slices.Equal(p, []string{want}) {
			t.Errorf("got %q, want %q", p, want)
		}
	}
}

func TestUnreadableDefaultFile(t *testing.T) {
	_, err := config.Load([]string{"shop"}, nil, config.Options{ReadFile: func(path string) ([]byte, error) {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrPermission}
	}})
	if err == nil || err.Error() != "cannot read hostler.toml: permission denied" {
		t.Errorf("error is %v", err)
	}
}

func TestGiven(t *testing.T) {
	for _, c := range []struct {
		want bool
		f    files
		env  []string
		args []string
	}{
		{false, nil, nil, nil},
		{true, nil, nil, []string{"--admin-bind", "127.0.0.1:9191"}},
		{true, nil, []string{"HOSTLER_ADMIN_BIND=:1"}, nil},
		{true, files{"hostler.toml": "admin_bind = 'off'"}, nil, nil},
	} {
		if got := mustLoad(t, c.f, c.env, append(c.args, "shop")...); got.AdminGiven != c.want {
			t.Errorf("%q %q: AdminGiven is %v", c.env, c.args, got.AdminGiven)
		}
	}
	if got := mustLoad(t, nil, []string{"PORT=80"}, "shop"); got.Given("bind") {
		t.Error("PORT, which moves a default only, passes for a bind address given")
	}
}

func TestHelpAndVersionGoFirst(t *testing.T) {
	for _, c := range []struct {
		want error
		args []string
	}{
		{config.ErrHelp, []string{"--help"}},
		{config.ErrHelp, []string{"-h", "--wrkers", "-w", "x"}},
		{config.ErrHelp, []string{"--version", "--help"}},
		{config.ErrVersion, []string{"--version"}},
		{config.ErrVersion, []string{"shop", "-c", "gone.toml", "--version"}},
	} {
		if _, err := load(nil, nil, c.args...); !errors.Is(err, c.want) {
			t.Errorf("%q: error is %v, want %v", c.args, err, c.want)
		}
	}
	if _, err := load(nil, nil, "--help=false", "shop"); err != nil {
		t.Errorf("--help=false: %v", err)
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	got := problems(t, files{"hostler.toml": "\nthreads = 0\nworkrs = 3\n[bind]\nx = 1\n"},
		[]string{"HOSTLER_BACKLOG=-1", "PORT=x"},
		"--timeout=soon", "--wrkers", "3", "-b", "80", "-b", "here", "--keep-alive=-1s", "a/b.py")
	want := []string{
		"unknown flag --wrkers (did you mean --workers?)",
		"hostler.toml:3: unknown key workrs (did you mean workers?)",
		"hostler.toml:4: bind: is a table; give one value",
		`application: "a/b.py" is a path: give the module as Python imports it (package.module), and its directory with --chdir`,
		`hostler.toml:2: threads: "0" is not a whole number from 1 to 256, or "auto"`,
		`--bind: "80" is only a port: for all addresses write :80, for this machine alone 127.0.0.1:80`,
		`--bind: "here" has no port: write here:8000`,
		`HOSTLER_BACKLOG: "-1" is not a whole number from 1 to 1048576`,
		`--keep-alive: "-1s" is less than nothing`,
		`--timeout: "soon" is not a time: give seconds (30, 0.5) or a number with ms, s, m, h or d (2m)`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestApplicationInABadFile: where the file that may name it cannot be read, that is all
// that is wrong.
func TestApplicationInABadFile(t *testing.T) {
	for path, data := range map[string]string{"hostler.toml": "workers = = 2\napp = 'shop'", "pyproject.toml": "[tool.hostler\nx]\napp = 'shop'"} {
		if got := problems(t, files{path: data}, nil); len(got) != 1 || !strings.HasPrefix(got[0], path+":") {
			t.Errorf("%s: %q", path, got)
		}
	}
	if got := problems(t, nil, nil, "-c", "none.toml"); !slices.Equal(got, []string{"--config: cannot read none.toml: file does not exist"}) {
		t.Errorf("no file: %q", got)
	}
}

func TestCrossChecks(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string // "" for none
	}{
		{nil, "no application given: hostler MODULE:ATTR, e.g. hostler shop.wsgi:application"},
		{[]string{"shop", "-b", ":80,:81", "-b", ":80"}, "--bind: :80 is given twice"},
		{[]string{"shop", "-b", ":0,:0"}, ""},
		{[]string{"shop", "-b", ":10,:10"}, "--bind: :10 is given twice"},
		{[]string{"shop", "-b", "unix:/s", "-b", "unix:/s"}, "--bind: unix:/s is given twice"},
		{[]string{"shop", "-b", "127.0.0.1:9191"}, "--admin-bind: 127.0.0.1:9191 is also an address of the application (--bind)"},
		{[]string{"shop", "-b", "127.0.0.1:9191", "--admin-bind", "off"}, ""},
	} {
		if c.want == "" {
			mustLoad(t, nil, nil, c.args...)
		} else if got := problems(t, nil, nil, c.args...); !slices.Equal(got, []string{c.want}) {
			t.Errorf("%q: got %q, want %q", c.args, got, c.want)
		}
	}
}

func TestWarnings(t *testing.T) {
	for _, c := range []struct {
		env  []string
		args []string
		want string
	}{
		{nil, []string{"--max-memory=2m", "--max-memory-hard=2m"}, "--max-memory-hard: kills workers before --max-memory can replace them"},
		{nil, []string{"--slow-request=30"}, "--slow-request: does nothing: --timeout comes first"},
		{nil, []string{"--warmup=/"}, "--warmup: does nothing without --preload"},
		{nil, []string{"--ready-host=x"}, "--ready-host: does nothing without --ready-path"},
		{nil, []string{"--loop=gevent", "--threads=4"}, "--threads: does nothing with --loop gevent, where a worker has one thread, and a greenlet for each request"},
		{nil, []string{"--loop=gevent", "--threads=auto"}, "--threads: does nothing with --loop gevent, where a worker has one thread, and a greenlet for each request"},
		{nil, []string{"--max-requests-jitter=5"}, "--max-requests-jitter: does nothing without --max-requests"},
		{[]string{"HOSTLER_MAX_REQUESTS_JITTER=5"}, nil, "HOSTLER_MAX_REQUESTS_JITTER: does nothing without --max-requests"},
		{nil, []string{"--worker-connections=2", "--threads=4"}, "--worker-connections: 2 connections cannot keep 4 threads busy"},
		{nil, []string{"--queue=20000"}, "--queue: never fills: a worker has no more than 10000 connections"},
		{nil, []string{"--forwarded-allow-ips=*,10.0.0.1"}, `--forwarded-allow-ips: "*" trusts everyone; the rest of the list does nothing`},
		{[]string{"HOSTLER_WRKERS=5"}, nil, "environment variable HOSTLER_WRKERS is no setting (did you mean HOSTLER_WORKERS?)"},
		{[]string{"HOSTLER_ENV=production"}, nil, "environment variable HOSTLER_ENV is no setting"},
		{[]string{"HOSTLER_CHECK=1"}, nil, "environment variable HOSTLER_CHECK is no setting"},
		{[]string{"HOSTLER_EMPTY="}, nil, ""},
	} {
		got := mustLoad(t, nil, c.env, append(c.args, "shop")...).Warnings
		want := []string{c.want}
		if c.want == "" {
			want = nil
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q %q: got %q, want %q", c.env, c.args, got, want)
		}
	}
}

func TestLevel(t *testing.T) {
	for text, want := range map[string]string{"debug": "DEBUG", "info": "INFO", "WARN": "WARN", "warning": "WARN", "error": "ERROR", "critical": "ERROR"} {
		if got := mustLoad(t, nil, nil, "shop", "--log-level", text).Level().String(); got != want {
			t.Errorf("%s: level %s, want %s", text, got, want)
		}
	}
}

func ExampleLoad() {
	cfg, err := config.Load([]string{"-w", "2", "-b", "unix:/run/shop.sock", "shop:app"}, nil, config.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(cfg.App, cfg.Workers, cfg.Binds[0], cfg.Timeout)
	// Output: shop:app 2 unix:/run/shop.sock 30s
}

func TestPreload(t *testing.T) {
	for _, c := range []struct {
		file, env string
		args      []string
		want      bool
	}{
		{"", "", []string{"--preload"}, true}, {"", "HOSTLER_PRELOAD=1", nil, true}, {"preload = true", "", nil, true},
		{"preload = true", "HOSTLER_PRELOAD=false", nil, false}, {"", "HOSTLER_PRELOAD=0", []string{"--preload"}, true},
	} {
		args, fs := c.args, files{}
		if c.file != "" {
			fs["hostler.toml"] = c.file
			args = append(args, "-c", "hostler.toml")
		}
		var env []string
		if c.env != "" {
			env = []string{c.env}
		}
		if got := mustLoad(t, fs, env, append(args, "shop")...); got.Preload != c.want {
			t.Errorf("%+v: %v", c, got.Preload)
		}
	}
	if got := mustLoad(t, nil, nil, "--preload", "--warmup", "/a?b=1,2", "--warmup=/c", "shop").Warmup; !slices.Equal(got, []string{"/a?b=1,2", "/c"}) {
		t.Errorf("warm-up requests: %q", got)
	}
	if got := problems(t, nil, nil, "--preload", "--warmup", "a", "shop"); len(got) != 1 || !strings.Contains(got[0], "does not begin with /") {
		t.Errorf("%q", got)
	}
}
