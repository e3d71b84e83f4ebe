package config_test

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestFileForms(t *testing.T) {
	got := mustLoad(t, files{"hostler.toml": `
app = "shop:app"
workers = "auto"
threads = 4
max-requests = 10_000         # dashes will do
timeout = 2.5
graceful_timeout = "2m"
keepalive = 75                # Gunicorn's spelling
bind = [":80", "unix:/run/s"]
pythonpath = "a,b"
limit_request_body = "10m"
forwarded_allow_ips = []

[env]
B = 2
A = "x y"
C = true
`}, nil)
	if got.App != "shop:app" || got.Workers != 6 || got.Threads != 4 || got.MaxRequests != 10000 || got.Timeout != 2500*time.Millisecond ||
		got.GracefulTimeout != 2*time.Minute || got.KeepAlive != 75*time.Second || len(got.Binds) != 2 || got.Binds[1].String() != "unix:/run/s" ||
		!slices.Equal(got.PythonPath, []string{"a", "b"}) || got.LimitRequestBody != 10<<20 || got.ForwardedAllowIPs != nil ||
		!slices.Equal(got.Env, []string{"A=x y", "B=2", "C=true"}) || got.ConfigFile != "hostler.toml" {
		t.Errorf("got %+v", got)
	}
}

func TestFileProblems(t *testing.T) {
	for _, c := range []struct {
		text string
		want []string
	}{
		{"workers = ", []string{"1: unexpected EOF; expected value"}},
		{"a = 1\nworkers == 2", []string{"2: "}},
		{"workers = 1\nworkers = 2", []string{"2: "}},
		{"\x00", []string{"1: "}},
		{"# hi\n\nwrkers = 1", []string{"3: unknown key wrkers (did you mean workers?)"}},
		{"max-request = 1", []string{"1: unknown key max-request (did you mean max_requests?)"}},
		{"frobnicate = 1", []string{"1: unknown key frobnicate"}},
		{"[server]\nworkers = 1", []string{"1: unknown key server"}},
		{"config = 'x'", []string{"1: unknown key config"}},
		{"threads = 2\nworkers.min = 2", []string{"2: workers: is a table; give one value"}},
		{"\nlimits.request_line = 5\nlimits.x = 1", []string{"2: unknown key limits"}},
		{"[env.prod]\nA = 1", []string{"1: env: has something else than text under prod"}},
		{"[server.http]\nworkers = 1", []string{"1: unknown key server"}},
		{"[[server.http]]\nworkers = 1", []string{"1: unknown key server"}},
		{"[tool.hostler]\nworkers = 1", []string{"1: unknown key tool: [tool.hostler] is for pyproject.toml; here settings stand at the top"}},
		{"check = true", []string{"1: unknown key check"}},
		{"max_requests = 1\nmax-requests = 2", []string{"2: max-requests: is the same setting as max_requests"}},
		{"keep_alive = 1\nkeepalive = 2", []string{"2: keepalive: is the same setting as keep_alive"}},
		{"workers = [1]", []string{"1: workers: is an array; give one value"}},
		{"bind = [':1', ['x']]", []string{"1: bind: has something else than text in its array"}},
		{"env = { A = [] }", []string{"1: env: has something else than text under A"}},
		{"workers = 2026-01-01", []string{"1: workers: is neither text nor a number"}},
		{"[[bind]]\na = 1", []string{"1: bind: is neither text nor a number"}},
		{"workers = true", []string{`1: workers: "true" is not a whole number from 1 to 512, or "auto"`}},
		{"timeout = inf", []string{`1: timeout: "+Inf" is not a time: give seconds (30, 0.5) or a number with ms, s, m, h or d (2m)`}},
		{"bind = [\n ':1',\n '2',\n]\n\nthreads = 0", []string{
			`6: threads: "0" is not a whole number from 1 to 256, or "auto"`,
			`1: bind: "2" is only a port: for all addresses write :2, for this machine alone 127.0.0.1:2`,
		}},
		{"name = '''a\nb'''\nchdir = \"a\\u0001\"", []string{
			`3: chdir: "a\x01" has a control character in it`,
			`2: name: "a\nb" has a control character in it`,
		}},
	} {
		got := problems(t, files{"hostler.toml": c.text}, nil, "shop")
		same := len(got) == len(c.want)
		for i := range min(len(got), len(c.want)) {
			same = same && strings.HasPrefix(got[i], "hostler.toml:"+c.want[i])
		}
		if !same {
			t.Errorf("%q: got %q, want %q", c.text, got, c.want)
		}
	}
}

// Keys with a dot are the entries of a table that nobody wrote out.
func TestDottedKeys(t *testing.T) {
	got := mustLoad(t, files{"hostler.toml": "env.A = 'x'\nthreads = 2\nenv.B = 2\n"}, nil, "shop")
	if !slices.Equal(got.Env, []string{"A=x", "B=2"}) || got.Threads != 2 {
		t.Errorf("got %q, %d threads", got.Env, got.Threads)
	}
}

// A project's own file is read where it is named, or found and there is no other.
func TestProjectFile(t *testing.T) {
	const project = "[project]\nname = 'shop'\n[tool.ruff]\nline-length = 100\n[tool.hostler]\nworkers = 3\n[tool.hostler.env]\nA = 'x'\n"
	for _, c := range []struct {
		name    string
		files   files
		args    []string
		workers int
		from    string
	}{
		{"found", files{"pyproject.toml": project}, nil, 3, "pyproject.toml"},
		{"beside our own", files{"pyproject.toml": project, "hostler.toml": "workers = 2"}, nil, 2, "hostler.toml"},
		{"named", files{"/srv/pyproject.toml": project}, []string{"-c", "/srv/pyproject.toml"}, 3, "/srv/pyproject.toml"},
		{"not wanted", files{"pyproject.toml": project}, []string{"-c", ""}, 1, ""},
		{"of somebody else", files{"pyproject.toml": "[tool.ruff]\n"}, nil, 1, ""},
		{"that has a fault, of somebody else", files{"pyproject.toml": "[tool.ruff"}, nil, 1, ""},
		{"that speaks of us otherwise", files{"pyproject.toml": "[project]\ndependencies = ['hostler']\n"}, nil, 1, ""},
	} {
		got := mustLoad(t, c.files, nil, append([]string{"shop"}, c.args...)...)
		if got.Workers != c.workers || got.ConfigFile != c.from || c.workers == 3 && !slices.Equal(got.Env, []string{"A=x"}) {
			t.Errorf("%s: %d workers, env %q, from %q", c.name, got.Workers, got.Env, got.ConfigFile)
		}
	}
	for text, want := range map[string]string{
		"[tool.hostler]\nwrkers = 1":      "pyproject.toml:2: unknown key wrkers (did you mean workers?)",
		"[tool]\nhostler.workers.min = 1": "pyproject.toml:2: workers: is a table; give one value",
		"[tool.hostler]\nthreads = 0":     `pyproject.toml:2: threads: "0" is not a whole number from 1 to 256, or "auto"`,
		"[tool.hostler]\nthreads":         "pyproject.toml:2: ",
	} {
		if got := problems(t, files{"pyproject.toml": text}, nil, "shop"); len(got) != 1 || !strings.HasPrefix(got[0], want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if got := problems(t, files{"pyproject.toml": "[tool.ruff]"}, nil, "shop", "-c", "pyproject.toml"); len(got) != 1 || got[0] != "--config: pyproject.toml has no table [tool.hostler]" {
		t.Errorf("named without a table: %q", got)
	}
}
