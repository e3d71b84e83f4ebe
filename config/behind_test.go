package config_test

import (
	"strings"
	"testing"
	"time"
)

func TestBehind(t *testing.T) {
	for _, c := range []struct {
		name      string
		file      files
		env       []string
		args      string
		keepAlive time.Duration
		peers     string
		headers   string
		warnings  int
	}{
		{"nginx", nil, nil, "--behind nginx", 75 * time.Second, "127.0.0.1/32 ::1/128 unix", "for proto", 0},
		{"alb", nil, nil, "--behind ALB", 75 * time.Second, "127.0.0.1/32 ::1/128 unix", "for proto", 1},
		{"gcp", nil, nil, "--behind gcp --forwarded-allow-ips 130.211.0.0/22", 650 * time.Second, "130.211.0.0/22", "for proto", 0},
		{"cloudflare", nil, nil, "--behind cloudflare --forwarded-allow-ips 10.0.0.1", 915 * time.Second, "10.0.0.1/32", "cf-connecting-ip proto", 0},
		{"flags win", nil, nil, "--keep-alive 3 --forwarded-allow-ips= --forwarded-headers host --behind nginx", 3 * time.Second, "", "host", 0},
		{"variables win", nil, []string{"HOSTLER_KEEP_ALIVE=4", "HOSTLER_BEHIND=alb", "FORWARDED_ALLOW_IPS=10.0.0.2"}, "", 4 * time.Second, "unix 10.0.0.2/32", "for proto", 0},
		{"the file wins", files{"hostler.toml": "behind = 'gcp'\nkeep_alive = 6\nforwarded_headers = ['for']\nforwarded_allow_ips = '*'"}, nil, "", 6 * time.Second, "*", "for", 0},
		{"taken back", files{"hostler.toml": "behind = 'gcp'"}, nil, "--behind=", 5 * time.Second, "127.0.0.1/32 ::1/128 unix", "for proto forwarded", 0},
		{"Gunicorn's variable", nil, []string{"FORWARDED_ALLOW_IPS=*"}, "", 5 * time.Second, "unix *", "for proto forwarded", 0},
	} {
		got := mustLoad(t, c.file, c.env, append([]string{"shop"}, strings.Fields(c.args)...)...)
		if got.KeepAlive != c.keepAlive || strings.Join(got.ForwardedAllowIPs, " ") != c.peers ||
			strings.Join(got.ForwardedHeaders, " ") != c.headers || len(got.Warnings) != c.warnings {
			t.Errorf("%s: %v, %q, %q, %q", c.name, got.KeepAlive, got.ForwardedAllowIPs, got.ForwardedHeaders, got.Warnings)
		}
	}
}

func TestProxySettings(t *testing.T) {
	c := mustLoad(t, nil, nil, "shop", "--proxy-protocol", "AUTO", "--proxy-allow-ips", "10.0.0.0/8,unix", "--forwarded-headers", "For,Host")
	if c.ProxyProtocol != "auto" || strings.Join(c.ProxyAllowIPs, " ") != "10.0.0.0/8 unix" || strings.Join(c.ForwardedHeaders, " ") != "for host" {
		t.Errorf("got %+v", c)
	}
	for _, args := range []string{"--proxy-allow-ips 10.0.0.1", "--proxy-protocol v1 --proxy-allow-ips="} {
		if c := mustLoad(t, nil, nil, append([]string{"shop"}, strings.Fields(args)...)...); len(c.Warnings) != 1 {
			t.Errorf("%s: warnings %q", args, c.Warnings)
		}
	}
	got := problems(t, nil, nil, "shop", "--behind", "haproxy", "--proxy-protocol", "v3", "--forwarded-headers", "for,x-real-ip", "--proxy-allow-ips", "here")
	if len(got) != 4 {
		t.Errorf("problems: %q", got)
	}
}
