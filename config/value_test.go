package config_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"hostler/config"
	"hostler/settings"
)

func TestGoodValues(t *testing.T) {
	tcp := func(a string) settings.Bind { return settings.Bind{Network: "tcp", Address: a} }
	for _, c := range []struct {
		args  []string
		field string
		want  any
	}{
		{[]string{"--preload=yes"}, "Preload", true},
		{[]string{"--preload", "--preload=OFF"}, "Preload", false},
		{[]string{"-w", "512"}, "Workers", 512},
		{[]string{"-w4"}, "Workers", 4},
		{[]string{"-w", "2", "-w", "3"}, "Workers", 3},
		{[]string{"--threads=256"}, "Threads", 256},
		{[]string{"--threads=auto"}, "Threads", 32},
		{[]string{"--threads=auto"}, "ThreadsAuto", true},
		{[]string{"--threads=auto", "--threads=2"}, "ThreadsAuto", false},
		{[]string{"-b", "[::1]:80", "-b", "localhost:8000"}, "Binds", []settings.Bind{tcp("[::1]:80"), tcp("localhost:8000")}},
		{[]string{"-b", ":80, 0.0.0.0:81,,"}, "Binds", []settings.Bind{tcp(":80"), tcp("0.0.0.0:81")}},
		{[]string{"-b", "[::]:80"}, "Binds", []settings.Bind{tcp("[::]:80")}},
		{[]string{"-b", "[fe80::1%eth0]:80"}, "Binds", []settings.Bind{tcp("[fe80::1%eth0]:80")}},
		{[]string{"-b", "unix:run/shop.sock"}, "Binds", []settings.Bind{{Network: "unix", Address: "run/shop.sock"}}},
		{[]string{"-b", "unix:///run/shop.sock"}, "Binds", []settings.Bind{{Network: "unix", Address: "/run/shop.sock"}}},
		{[]string{"-b", "unix:@shop"}, "Binds", []settings.Bind{{Network: "unix", Address: "@shop"}}},
		{[]string{"--admin-bind", "off"}, "Admin", settings.Bind{}},
		{[]string{"--admin-bind", "none"}, "Admin", settings.Bind{}},
		{[]string{"--admin-bind", ""}, "Admin", settings.Bind{}},
		{[]string{"--admin-bind", "unix:/run/admin"}, "Admin", settings.Bind{Network: "unix", Address: "/run/admin"}},
		{[]string{"--pythonpath", "a:b,c"}, "PythonPath", []string{"a", "b", "c"}},
		{[]string{"-e", "A=1,2", "--env=B="}, "Env", []string{"A=1,2", "B="}},
		{[]string{"--spool-dir", "/a/../b"}, "SpoolDir", "/b"},
		{[]string{"--spool-dir", ""}, "SpoolDir", ""},
		{[]string{"--spool-limit", "0"}, "SpoolLimit", int64(0)},
		{[]string{"--stream-uploads", "/a/*,*.bin", "--stream-uploads", "/b"}, "StreamUploads", []string{"/a/*", "*.bin", "/b"}},
		{[]string{"-t", "0"}, "Timeout", time.Duration(0)},
		{[]string{"-t", "30"}, "Timeout", 30 * time.Second},
		{[]string{"-t", "0.5"}, "Timeout", 500 * time.Millisecond},
		{[]string{"-t", "30s"}, "Timeout", 30 * time.Second},
		{[]string{"-t", "2m"}, "Timeout", 2 * time.Minute},
		{[]string{"-t", "1m30"}, "Timeout", 90 * time.Second},
		{[]string{"-t", "250ms"}, "Timeout", 250 * time.Millisecond},
		{[]string{"--keepalive", "75"}, "KeepAlive", 75 * time.Second},
		{[]string{"--access-logfile", "-"}, "AccessLog", "-"},
		{[]string{"--access-log", "off"}, "AccessLog", ""},
		{[]string{"--log-file", "e.log"}, "ErrorLog", "e.log"},
		{[]string{"--error-logfile", "e.log"}, "ErrorLog", "e.log"},
		{[]string{"--forwarded-allow-ips", "*"}, "ForwardedAllowIPs", []string{"*"}},
		{[]string{"--forwarded-allow-ips", ""}, "ForwardedAllowIPs", []string(nil)},
		{[]string{"--forwarded-allow-ips", "10.1.2.3/8, unix,::ffff:10.0.0.1,fe80::/10"}, "ForwardedAllowIPs", []string{"10.0.0.0/8", "unix", "10.0.0.1/32", "fe80::/10"}},
		{[]string{"--limit-request-line", "16k"}, "LimitRequestLine", 16384},
		{[]string{"--limit-request-line", "0"}, "LimitRequestLine", 0},
		{[]string{"--limit-request-field_size", "0"}, "LimitRequestFieldSize", 0},
		{[]string{"--limit-request-field_size=1m"}, "LimitRequestFieldSize", 1 << 20},
		{[]string{"--limit-request-fields", "32768"}, "LimitRequestFields", 32768},
		{[]string{"--limit-request-fields=0"}, "LimitRequestFields", 0},
		{[]string{"--forwarded-untrusted", "Drop"}, "ForwardedUntrusted", "drop"},
		{[]string{"--limit-request-body", "1G"}, "LimitRequestBody", int64(1 << 30)},
		{[]string{"--limit-request-body", "1000"}, "LimitRequestBody", int64(1000)},
		{[]string{"--limit-request-body", "10MB"}, "LimitRequestBody", int64(10 << 20)},
		{[]string{"--limit-request-body", "10MiB"}, "LimitRequestBody", int64(10 << 20)},
		{[]string{"--limit-request-body", "1.5g"}, "LimitRequestBody", int64(3 << 29)},
		{[]string{"--limit-request-body", "0.5kB"}, "LimitRequestBody", int64(512)},
		{[]string{"--limit-request-body", "100B"}, "LimitRequestBody", int64(100)},
		{[]string{"--limit-request-line", "4KiB"}, "LimitRequestLine", 4096},
		{[]string{"--max-memory", "1.25T"}, "MaxMemory", int64(5 << 38)},
		{[]string{"--max-age", "7d"}, "MaxAge", 7 * 24 * time.Hour},
		{[]string{"--max-age", "0.5d"}, "MaxAge", 12 * time.Hour},
		{[]string{"--max-age", "1d12h30m"}, "MaxAge", 36*time.Hour + 30*time.Minute},
		{[]string{"--check"}, "Check", true},
		{[]string{"-p", "/run/x.pid"}, "PIDFile", "/run/x.pid"},
		{[]string{"-n", "the shop"}, "Name", "the shop"},
		{[]string{"--chdir", "/srv", "--chdir", ""}, "Chdir", ""},
	} {
		got := mustLoad(t, nil, nil, append(slices.Clone(c.args), "shop")...)
		if g := reflect.ValueOf(*got).FieldByName(c.field).Interface(); !reflect.DeepEqual(g, c.want) {
			t.Errorf("%q: %s = %#v, want %#v", c.args, c.field, g, c.want)
		}
	}
}

func TestBadValues(t *testing.T) {
	const (
		time = " is not a time: give seconds (30, 0.5) or a number with ms, s, m, h or d (2m)"
		form = " is not MODULE, MODULE:ATTR or MODULE:FACTORY()"
	)
	long := "unix:/" + strings.Repeat("x", 107)
	for _, c := range []struct {
		flag, value, want string
	}{
		{"workers", "-3", `"-3" is not a whole number from 1 to 512, or "auto", or two of these with a colon between them`},
		{"workers", "0", `"0" is not a whole number from 1 to 512, or "auto", or two of these with a colon between them`},
		{"workers", "513", `"513" is not a whole number from 1 to 512, or "auto", or two of these with a colon between them`},
		{"workers", "1:2:3", `"1:2:3" is not a whole number from 1 to 512, or "auto", or two of these with a colon between them`},
		{"workers", "2:", `"2:" is not a whole number from 1 to 512, or "auto", or two of these with a colon between them`},
		{"workers", "1:513", `"1:513" is not a whole number from 1 to 512, or "auto", or two of these with a colon between them`},
		{"workers", "4:2", `"4:2" allows more workers at least than at most`},
		{"workers", "", `"" is not a whole number from 1 to 512, or "auto", or two of these with a colon between them`},
		{"threads", "257", `"257" is not a whole number from 1 to 256, or "auto"`},
		{"threads", "1.5", `"1.5" is not a whole number from 1 to 256, or "auto"`},
		{"queue", "0", `"0" is not a whole number from 1 to 65536`},
		{"worker-connections", "0", `"0" is not a whole number from 1 to 1048576`},
		{"bind", "", `has no address in it`},
		{"bind", "fd://2", `"fd://2" is no descriptor of a socket: write fd://3`},
		{"bind", "fd://x", `"fd://x" is no descriptor of a socket: write fd://3`},
		{"admin-bind", "fd://3", `"fd://3" has no port from 0 to 65535`},
		{"bind", ",", `has no address in it`},
		{"bind", "8000", `"8000" is only a port: for all addresses write :8000, for this machine alone 127.0.0.1:8000`},
		{"bind", "http://x:80", `"http://x:80" is a URL: write HOST:PORT, [IPV6]:PORT or unix:PATH`},
		{"bind", "/run/s", `"/run/s" is a path: write unix:/run/s`},
		{"bind", "::1", `"::1" has no port: write [::1]:8000`},
		{"bind", "0.0.0.0", `"0.0.0.0" has no port: write 0.0.0.0:8000`},
		{"bind", "a b:80", `"a b:80" is not HOST:PORT, :PORT, [IPV6]:PORT or unix:PATH`},
		{"bind", "[]:80", `"[]:80" is not HOST:PORT, :PORT, [IPV6]:PORT or unix:PATH`},
		{"bind", "x:http", `"x:http" has no port from 0 to 65535`},
		{"bind", "x:65536", `"x:65536" has no port from 0 to 65535`},
		{"bind", "x:", `"x:" has no port from 0 to 65535`},
		{"bind", "x:080", `"x:080" has no port from 0 to 65535`},
		{"bind", "unix:", `"unix:" has no path`},
		{"bind", long, `"` + long + `" is too long: the path of a socket has at most 107 bytes`},
		{"bind", "unix:/a\nb", `"/a\nb" has a control character in it`},
		{"admin-bind", "no", `"no" has no port: write no:8000`},
		{"forwarded-allow-ips", "proxy", `"proxy" is not an IP address, a network such as 10.0.0.0/8, "unix" or "*"`},
		{"forwarded-allow-ips", "10.0.0.0/33", `"10.0.0.0/33" is not an IP address, a network such as 10.0.0.0/8, "unix" or "*"`},
		{"forwarded-allow-ips", "fe80::1%eth0", `"fe80::1%eth0" is not an IP address, a network such as 10.0.0.0/8, "unix" or "*"`},
		{"env", "A", `"A" is not KEY=VALUE`},
		{"env", "=A", `"=A" is not KEY=VALUE`},
		{"env", "A=\x00", `"A=\x00" has a zero byte in it`},
		{"chdir", "a\tb", `"a\tb" has a control character in it`},
		{"chdir", "a\xffb", `"a\xffb" is not valid UTF-8`},
		{"pythonpath", "a\tb", `"a\tb" has a control character in it`},
		{"error-log", "", `is empty`},
		{"timeout", "", `""` + time},
		{"timeout", "x", `"x"` + time},
		{"timeout", "1e3", `"1e3"` + time},
		{"timeout", "d", `"d"` + time},
		{"timeout", "1d5", `"1d5"` + time},
		{"timeout", "1d-5h", `"1d-5h"` + time},
		{"timeout", "1e1d", `"1e1d"` + time},
		{"timeout", "366d", `"366d" is more than a year`},
		{"timeout", "NaN", `"NaN"` + time},
		{"timeout", "-1", `"-1" is less than nothing`},
		{"timeout", "8761h", `"8761h" is more than a year`},
		{"max-requests", "-1", `"-1" is not a whole number, at least 0`},
		{"limit-request-line", "2m", `"2m" is not a number of bytes from 128 to 1048576, or 0; k, m and g count in 1024s`},
		{"limit-request-line", "1", `"1" is not a number of bytes from 128 to 1048576, or 0; k, m and g count in 1024s`},
		{"limit-request-fields", "-1", `"-1" is not a whole number from 0 to 32768`},
		{"forwarded-untrusted", "trust", `"trust" is neither keep nor drop`},
		{"limit-request-fields", "32769", `"32769" is not a whole number from 0 to 32768`},
		{"limit-request-body", "-1", `"-1" is not a number of bytes; k, m and g count in 1024s`},
		{"limit-request-body", "9999999999g", `"9999999999g" is not a number of bytes; k, m and g count in 1024s`},
		{"limit-request-body", "1.5", `"1.5" is not a number of bytes; k, m and g count in 1024s`},
		{"limit-request-body", "-0.5g", `"-0.5g" is not a number of bytes; k, m and g count in 1024s`},
		{"limit-request-body", "1.-5g", `"1.-5g" is not a number of bytes; k, m and g count in 1024s`},
		{"limit-request-body", "10Mbit", `"10Mbit" is not a number of bytes; k, m and g count in 1024s`},
		{"limit-request-body", "1 m", `"1 m" is not a number of bytes; k, m and g count in 1024s`},
		{"limit-request-body", "k", `"k" is not a number of bytes; k, m and g count in 1024s`},
		{"interface", "rsgi", `"rsgi" is not one of auto, wsgi, asgi, asgi2`},
		{"loop", "trio", `"trio" is neither auto, asyncio, uvloop or gevent, nor MODULE:FACTORY`},
		{"loop", "mod:", `"mod:" is neither auto, asyncio, uvloop or gevent, nor MODULE:FACTORY`},
		{"lifespan", "true", `"true" is not one of auto, on, off`},
		{"log-level", "loud", `"loud" is not one of debug, info, warning, error`},
		{"check", "maybe", `"maybe" is neither true nor false`},
		{"app", "", `is empty: give MODULE, MODULE:ATTR or MODULE:FACTORY()`},
		{"app", "shop.py", `"shop.py" is a file's name: give the module as Python imports it, shop`},
		{"app", "shop.py:app", `"shop.py:app" is a file's name: give the module as Python imports it, shop`},
		{"app", "a/b:app", `"a/b:app" is a path: give the module as Python imports it (package.module), and its directory with --chdir`},
		{"app", "shop-1:app", `"shop-1:app"` + form + `: "shop-1" is no module's name`},
		{"hooks", "a/hooks", `"a/hooks" is neither a module as Python imports it (package.module) nor FILE.py`},
		{"hooks", "gunicorn-conf", `"gunicorn-conf" is no module's name`},
		{"app", ":app", `":app"` + form + `: "" is no module's name`},
		{"app", "shop..x", `"shop..x"` + form + `: "shop..x" is no module's name`},
		{"app", "1shop", `"1shop"` + form + `: "1shop" is no module's name`},
		{"app", "shop:", `"shop:"` + form + `: "" is no attribute's name`},
		{"app", "shop:a:b", `"shop:a:b"` + form + `: "a:b" is no attribute's name`},
		{"app", "shop:make(", `"shop:make("` + form},
		{"app", "shop:a-b('x')", `"shop:a-b('x')"` + form + `: "a-b" is no attribute's name`},
		{"app", "shop:make)", `"shop:make)"` + form},
		{"app", "shop:()", `"shop:()"` + form + `: "" is no attribute's name`},
	} {
		args, origin := []string{"--" + c.flag + "=" + c.value, "shop"}, "--"+c.flag
		if c.flag == "app" {
			args, origin = []string{c.value}, "application"
		}
		if got := problems(t, nil, nil, args...); !slices.Equal(got, []string{origin + ": " + c.want}) {
			t.Errorf("--%s %q: got\n%s\nwant\n%s", c.flag, c.value, strings.Join(got, "\n"), c.want)
		}
	}
}

func TestGoodApplications(t *testing.T) {
	for _, app := range []string{"shop", "shop.wsgi", "shop.wsgi:application", "shop:a.b", "shop:make()", "shop:a.make()", `shop:make("x:y", b={"c": (1, None)})`, "_x9:_", "größe:app"} {
		if got := mustLoad(t, nil, nil, app); got.App != app {
			t.Errorf("%s became %s", app, got.App)
		}
	}
}

func TestAuto(t *testing.T) {
	for _, env := range [][]string{{"HOSTLER_WORKERS=auto"}, {"WEB_CONCURRENCY=auto"}} {
		if got := mustLoad(t, nil, env, "shop"); got.Workers != 6 || !got.WorkersAuto {
			t.Errorf("%q: %d workers (auto: %v), want 6", env, got.Workers, got.WorkersAuto)
		}
	}
	if got := mustLoad(t, nil, []string{"HOSTLER_WORKERS=auto"}, "shop", "-w2"); got.Workers != 2 || got.WorkersAuto {
		t.Errorf("got %d workers (auto: %v), want 2", got.Workers, got.WorkersAuto)
	}
	for text, want := range map[string][2]int{"2:8": {2, 8}, "3:3": {3, 3}, "auto:8": {6, 8}, "auto:4": {4, 4}, "2:auto": {2, 6}, "8:auto": {8, 8}, "auto:auto": {6, 6}, "5": {5, 0}} {
		if got := mustLoad(t, nil, nil, "shop", "-w", text); got.Workers != want[0] || got.MaxWorkers != want[1] {
			t.Errorf("%s: %d to %d workers, want %v", text, got.Workers, got.MaxWorkers, want)
		}
	}
	c, err := config.Load([]string{"shop", "-w", "auto"}, nil, config.Options{ReadFile: files{}.read, CPUs: func() int { return 1000 }})
	if err != nil || c.Workers < 1 || c.Workers > 512 {
		t.Errorf("on this machine: %v, %v", c, err)
	}
}
