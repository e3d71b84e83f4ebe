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
		{"check = true", []string{"1: unknown key check"}},
		{"max_requests = 1\nmax-requests = 2", []string{"2: max-requests: is the same setting as max_requests"}},
		{"keep_alive = 1\nkeepalive = 2", []string{"2: keepalive: is the same setting as keep_alive"}},
		{"workers = [1]", []string{"1: workers: is an array; give one value"}},
		{"bind = [':1', ['x']]", []string{"1: bind: has something else than text in its array"}},
		{"env = { A = [] }", []string{"1: env: has something else than text under A"}},
		{"workers = 2026-01-01", []string{"1: workers: is neither text nor a number"}},
		{"[[bind]]\na = 1", []string{"1: bind: is neither text nor a number"}},
		{"workers = true", []string{`1: workers: "true" is not a whole number from 1 to 128, or "auto"`}},
		{"timeout = inf", []string{`1: timeout: "+Inf" is not a time: give seconds (30, 0.5) or a number with ms, s, m or h (2m)`}},
		{"bind = [\n ':1',\n '2',\n]\n\nthreads = 0", []string{
			`6: threads: "0" is not a whole number from 1 to 256`,
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
