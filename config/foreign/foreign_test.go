package foreign_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"hostler/config/foreign"
	"hostler/internal/testpeers"
)

// theirs is what scripts/gunicorn-settings prints.
type theirs struct {
	Version  string
	Settings []struct {
		Key   string
		Flags []string
		Takes string
	}
}

// TestEveryGunicornSetting compares the table with Gunicorn's own settings: those of
// the version that testdata has, and those of the newest one where make tools has
// installed it.
func TestEveryGunicornSetting(t *testing.T) {
	compare := func(t *testing.T, data []byte) {
		var g theirs
		if err := json.Unmarshal(data, &g); err != nil {
			t.Fatal(err)
		}
		if len(g.Settings) < 100 {
			t.Fatalf("Gunicorn %s has only %d settings?", g.Version, len(g.Settings))
		}
		ours := make(map[string]foreign.Info)
		for _, i := range foreign.All() {
			if i.Server == foreign.Gunicorn && i.Key != "" {
				ours[i.Key] = i
			}
		}
		takes := map[string]foreign.Takes{"nothing": foreign.Nothing, "one": foreign.One, "maybe": foreign.Maybe}
		for _, s := range g.Settings {
			i, ok := ours[s.Key]
			switch {
			case !ok:
				t.Errorf("Gunicorn %s has a setting %s %v, and nobody has decided what becomes of it", g.Version, s.Key, s.Flags)
				continue
			case len(s.Flags) > 0 && i.Takes != takes[s.Takes]:
				t.Errorf("%s takes %s", s.Key, s.Takes)
			}
			for _, f := range s.Flags {
				if !slices.Contains(i.Flags, f) {
					t.Errorf("%s has the flag %s, too", s.Key, f)
				}
			}
		}
	}
	testpeers.Compare(t, "testdata/gunicorn.json", "../..", "gunicorn", "gunicorn-settings", compare)
}

// Who is told that something is not so is told what to do.
func TestEveryRefusalHasAReason(t *testing.T) {
	for _, i := range foreign.All() {
		if i.Fate != foreign.Same && i.Fate != foreign.Changed && i.Why == "" {
			t.Errorf("%s %v: no reason", i.Key, i.Flags)
		}
		if i.Fate == foreign.Same && i.Here == "" {
			t.Errorf("%s %v: becomes nothing", i.Key, i.Flags)
		}
		if strings.HasSuffix(i.Why, ".") || strings.Contains(i.Why, "\n") {
			t.Errorf("%s %v: %q is not the end of a line", i.Key, i.Flags, i.Why)
		}
	}
}

func TestReadArgs(t *testing.T) {
	given := func(line string) (string, error) {
		uses, err := foreign.ReadArgs(line)
		if err != nil {
			return "", err
		}
		out := foreign.Convert(uses, foreign.Where{})
		var all []string
		for _, a := range out.Assigned {
			all = append(all, a.Setting+"="+strings.Join(a.Texts, "+"))
		}
		return strings.Join(append(all, out.Problems...), " "), nil
	}
	for _, c := range [][2]string{
		{"", ""},
		{"--bind=0.0.0.0:5000 -w 3", "bind=0.0.0.0:5000 workers=3"},
		{"-w3 -b :1 -b 127.0.0.1 some.app:app", "workers=3 bind=:1+127.0.0.1:8000"},
		{`-e 'A=b c' -e "D=\"e\"" --log-file=-`, `env=A=b c+D="e" error-log=-`},
		{"--max-requests 5 --max-requests-j 2", "max-requests=5 max-requests-jitter=2"}, // cut short
		{"--umask 18", "umask=022"},
		{"--umask 027 -R --no-sendfile", "umask=027"},
		{"--bind unix:///run/a.sock --bind tcp://a:1 --bind ::1", "bind=unix:/run/a.sock+a:1+[::1]:8000"},
		{"--bind fd://3", "bind=fd://3"},
		{"--forwarded-allow-ips *", "forwarded-allow-ips=*"},
		{"--proxy-protocol --preload", "proxy-protocol=auto preload=true"},
		{"--proxy-protocol v2", "proxy-protocol=v2"},
		{"--http2-cleartext both", "http2-cleartext=true"},
		{"--ca-certs ca.pem", ""},
		{"--ca-certs ca.pem --cert-reqs 2", "ca-certs=ca.pem client-certs=required"},
		{"--statsd-host localhost:8125 -t 5", "timeout=5"},
		{"-k gthread --threads 400", "threads=256"},
		{"-k gevent", "loop=gevent"},
		{"--worker-class gunicorn.workers.ggevent.GeventWorker --worker-connections 50", "loop=gevent worker-concurrency=50"},
		{"--worker-connections 50 -k sync", "worker-connections=50"},
		{"-k eventlet", "-k: eventlet runs greenlets of eventlet's, whose own authors advise to leave it: take --loop gevent, or --threads (each serves a request at a time, up to 256 a worker; waiting clients need none)"},
		{"-k geventwebsocket.gunicorn.workers.GeventWebSocketWorker", "loop=gevent"},
		{"-c a.py --no-control-socket", "config=a.py ctl-socket=off"},
	} {
		if got, err := given(c[0]); err != nil || got != c[1] {
			t.Errorf("%s: %q, %v, want %q", c[0], got, err, c[1])
		}
	}
	for _, line := range []string{"--bind", "-w", "--frob", "--worker 3", "-x", "'a", `a\`, "--preload=1"} {
		if got, err := given(line); err == nil {
			t.Errorf("%s: %q, and no error", line, got)
		}
	}
}

func FuzzReadArgs(f *testing.F) {
	f.Add(`-b :1 -e 'A=b' --umask=0x10`)
	f.Fuzz(func(t *testing.T, line string) {
		if uses, err := foreign.ReadArgs(line); err == nil {
			foreign.Convert(uses, foreign.Where{})
		}
	})
}

// What the process of a settings file says is anybody's.
func FuzzReadConf(f *testing.F) {
	f.Add([]byte(`{"settings":{"bind":["a",1,null,{"__object__":"x.Y"}],"workers":5,"secure_scheme_headers":{"a":1}},"hooks":{"pre_fork":true,"ssl_context":true},"ssl":{"minimum":"1.3"}}`))
	f.Add([]byte(`{"error":"NameError: x"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := foreign.ReadConf(data)
		if err != nil {
			return
		}
		out := foreign.Convert(c.Uses, foreign.Where{Unprivileged: "www"})
		for _, a := range out.Assigned {
			switch a.Setting {
			case "user", "group", "pid", "ctl-socket", "certfile", "keyfile", "ca-certs", "python", "+host":
				t.Errorf("a stranger has set %s", a.Setting)
			}
		}
		foreign.Summary(out.Lines)
	})
}

func TestReadConf(t *testing.T) {
	read := func(text string, where foreign.Where) (assigned []string, out foreign.Outcome) {
		t.Helper()
		c, err := foreign.ReadConf([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		out = foreign.Convert(c.Uses, where)
		for _, a := range out.Assigned {
			assigned = append(assigned, a.Setting+"="+strings.Join(a.Texts, "+"))
		}
		return assigned, out
	}
	got, out := read(`{"settings":{"workers":9,"bind":"0.0.0.0:80","wsgi_app":"a:b","worker_class":"sync","umask":18,"user":1000,"preload_app":true,
		"daemon":false,"statsd_host":null,"header_map":"drop","raw_env":["A=1","B=2"],"logger_class":{"__object__":"x.Logger"},"sendfile":null,
		"keepalive":0,"loglevel":"debug","tmp_upload_dir":null,"pre_request":{"__object__":"__config__.pre_request"}},
		"hooks":{"pre_request":true,"post_request":false,"worker_int":true}}`, foreign.Where{})
	want := []string{"app=a:b", "log-level=debug", "preload=true", "env=A=1+B=2", "user=1000", "umask=022", "bind=0.0.0.0:80", "workers=9", "keep-alive=0"}
	if !slices.Equal(got, want) || len(out.Problems) != 0 {
		t.Errorf("got %q (%q), want %q", got, out.Problems, want)
	}
	said, missed := foreign.Summary(out.Lines)
	if want := "taken as they are: wsgi_app, loglevel, preload_app, raw_env, user, umask, bind, workers, worker_class, keepalive"; said[0] != want {
		t.Errorf("got %q, want %q", said[0], want)
	}
	if len(missed) != 2 || !strings.HasPrefix(missed[0], "logger_class: ") || !strings.HasPrefix(missed[1], "worker_int: ") {
		t.Errorf("missed: %q", missed)
	}

	got, out = read(`{"settings":{"user":"root","pidfile":"/etc/cron.d/x","accesslog":"/etc/x","errorlog":"-","bind":["unix:/etc/x"],"workers":2}}`, foreign.Where{Unprivileged: "www"})
	if !slices.Equal(got, []string{"error-log=-", "workers=2"}) || len(out.Problems) != 4 {
		t.Errorf("a file that www runs has set %q; problems: %q", got, out.Problems)
	}

	for _, text := range []string{"", "{", "[]", `{"error":"NameError"}`, `{}{}`, `{"settings":[]}`} {
		if _, err := foreign.ReadConf([]byte(text)); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
}

func TestReadINI(t *testing.T) {
	const file = `
[other]
processes = 7
[uwsgi]
base = /srv/shop
project = shop
http-socket = 0.0.0.0:8080
chdir = %(base)
module = %(project).wsgi:application
home = %(base)/venv
master = true
processes = 4
cheaper = 2
harakiri = 20
; a comment
vacuum = true
py-autoreload = 0
env = KEY=$(HOME_OF_IT)
reload-on-rss = 200
socket = /run/shop.sock
frobnicate = 1
`
	uses, unknown, err := foreign.ReadINI("uwsgi.ini", []byte(file), func(string) string { return "x" })
	if err != nil {
		t.Fatal(err)
	}
	out := foreign.Convert(uses, foreign.Where{})
	var got []string
	for _, a := range out.Assigned {
		got = append(got, a.Setting+"="+strings.Join(a.Texts, "+"))
	}
	want := []string{"bind=0.0.0.0:8080", "chdir=/srv/shop", "python=/srv/shop/venv/bin/python", "timeout=20", "env=KEY=x", "max-memory=200m", "app=shop.wsgi:application", "workers=2:4"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if len(out.Problems) != 1 || !strings.HasPrefix(out.Problems[0], "socket: speaks uwsgi") || !slices.Equal(unknown, []string{"frobnicate"}) {
		t.Errorf("problems %q, unknown %q", out.Problems, unknown)
	}
	draft := foreign.Convert(uses, foreign.Where{Draft: true})
	if at := draft.Assigned[0]; len(draft.Problems) != 0 || at.Setting != "bind" || !slices.Equal(at.Texts, []string{"0.0.0.0:8080", "unix:/run/shop.sock"}) {
		t.Errorf("a draft: %q, %q", at, draft.Problems)
	}
	uses, _, err = foreign.ReadINI("uwsgi.ini", []byte("[uwsgi]\nhttp = :80\nmodule = shop\nworkers = %k\ncheaper = 2\n"), os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	all := foreign.Convert(uses, foreign.Where{}).Assigned
	if last := all[len(all)-1]; last.Setting != "workers" || !slices.Equal(last.Texts, []string{"2:auto"}) {
		t.Errorf("as many as CPUs: %v", last)
	}
	if _, _, err := foreign.ReadINI("x", []byte("[app:main]\n"), os.Getenv); err == nil {
		t.Error("a file of somebody else's passes for uWSGI's")
	}
}
