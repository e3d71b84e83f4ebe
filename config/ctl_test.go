package config_test

import (
	"io/fs"
	"strings"
	"testing"

	"hostler/config"
	"hostler/settings"
)

func TestCtlSocket(t *testing.T) {
	if c := mustLoad(t, nil, nil, "shop", "--ctl-socket", "unix:/run/shop/ctl.sock"); c.CtlSocket != "/run/shop/ctl.sock" {
		t.Errorf("socket %q", c.CtlSocket)
	}
	for _, args := range [][]string{{"--ctl-socket", "off"}, {"--ctl-socket", "none"}, {"--control-socket", "none"}, {"--no-control-socket"}} {
		if c := mustLoad(t, nil, nil, append(args, "shop")...); c.CtlSocket != "" {
			t.Errorf("%q: socket %q", args, c.CtlSocket)
		}
	}
	if c := mustLoad(t, nil, nil, "shop"); c.CtlSocket != settings.CtlAuto {
		t.Errorf("by default: socket %q", c.CtlSocket)
	}
	for path, want := range map[string]string{
		"/" + strings.Repeat("x", 95): "is too long: the path of the control socket has at most 95 bytes",
		"@shop":                       "is no file",
		"unix:":                       "has no path",
		"/tmp/a\nb":                   "control character",
	} {
		if p := problems(t, nil, nil, "shop", "--ctl-socket", path); len(p) != 1 || !strings.Contains(p[0], want) {
			t.Errorf("%q: %q", path, p)
		}
	}
	for _, other := range []string{"--bind", "--admin-bind"} {
		if p := problems(t, nil, nil, "shop", "--ctl-socket", "/run/a", other, "unix:/run/a"); len(p) != 1 || !strings.HasPrefix(p[0], "--ctl-socket: /run/a is also") {
			t.Errorf("%s: %q", other, p)
		}
	}
}

// TestFindCtlSocket is what the client does, which has no application to name.
func TestFindCtlSocket(t *testing.T) {
	for _, c := range []struct {
		name, file string
		env        []string
		want       string
		fails      bool
	}{
		{name: "nothing"},
		{name: "variable", env: []string{"HOSTLER_CTL_SOCKET=/a"}, want: "/a"},
		{name: "file", file: "ctl_socket = '/b'", want: "/b"},
		{name: "variable first", file: "ctl_socket = '/b'", env: []string{"HOSTLER_CTL_SOCKET=/a"}, want: "/a"},
		{name: "other settings are wrong", file: "workers = 'x'\nctl_socket = '/b'", want: "/b"},
		{name: "no TOML", file: "=", fails: true},
	} {
		read := func(string) ([]byte, error) {
			if c.file == "" {
				return nil, fs.ErrNotExist
			}
			return []byte(c.file), nil
		}
		got, err := config.CtlSocket(c.env, config.Options{ReadFile: read})
		if got != c.want || (err != nil) != c.fails {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
}
