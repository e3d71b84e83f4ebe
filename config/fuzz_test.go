package config_test

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"hostler/config"
)

// FuzzLoad feeds a command line (arguments on lines of their own), an
// environment (likewise) and a settings file to Load.
func FuzzLoad(f *testing.F) {
	f.Add("shop", "", "")
	f.Fuzz(func(t *testing.T, args, env, file string) {
		opts := config.Options{
			ReadFile: func(string) ([]byte, error) { return []byte(file), nil },
			Root:     fstest.MapFS{"proc/self/mountinfo": {Data: []byte(file)}, "proc/self/cgroup": {Data: []byte(env)}},
			CPUs:     func() int { return 4 },
		}
		argv, vars := split(args), split(env)
		c, err := config.Load(slices.Clone(argv), vars, opts)
		if err != nil {
			checkError(t, err)
			return
		}
		checkConfig(t, c)
		again, err := config.Load(slices.Clone(argv), vars, opts)
		if err != nil || !reflect.DeepEqual(c, again) {
			t.Errorf("the second time it is %+v, %v; the first time it was %+v", again, err, c)
		}
	})
}

func split(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, "\n")
}

func checkError(t *testing.T, err error) {
	if errors.Is(err, config.ErrHelp) || errors.Is(err, config.ErrVersion) {
		return
	}
	var wrong *config.Error
	if !errors.As(err, &wrong) || len(wrong.Problems) == 0 {
		t.Fatalf("error is %#v", err)
	}
	for _, p := range wrong.Problems {
		if p == "" || strings.ContainsAny(p, "\n\r\x1b\x00") {
			t.Errorf("problem %q is not one clean line", p)
		}
	}
}

// checkConfig checks what the rest of hostler relies on.
func checkConfig(t *testing.T, c *config.Config) {
	within := func(name string, n, lo, hi int) {
		if n < lo || n > hi {
			t.Errorf("%s is %d", name, n)
		}
	}
	within("workers", c.Workers, 1, 512)
	within("workers", c.MaxWorkers, 0, 128)
	within("threads", c.Threads, 1, 256)
	within("queue", c.Queue, 1, 1<<16)
	within("fields", c.LimitRequestFields, 0, 1<<15)
	for name, n := range map[string]int{"line": c.LimitRequestLine, "field": c.LimitRequestFieldSize} {
		if n != 0 {
			within(name, n, 128, 1<<20)
		}
	}
	if c.MaxRequests < 0 || c.MaxRequests+c.MaxRequestsJitter < 0 || c.LimitRequestBody < 0 {
		t.Errorf("a limit is negative: %+v", c)
	}
	for _, d := range []time.Duration{c.Timeout, c.TotalTimeout, c.BootTimeout, c.GracefulTimeout, c.KeepAlive, c.HeaderTimeout, c.BodyTimeout, c.WriteTimeout} {
		if d < 0 || d > 366*24*time.Hour {
			t.Errorf("a time is %v", d)
		}
	}
	if c.App == "" || len(c.Binds) == 0 {
		t.Errorf("app %q, binds %v", c.App, c.Binds)
	}
	for _, b := range c.Binds {
		again := mustLoad(t, nil, nil, "shop", "-b", b.String())
		// A comma in a socket's path cannot come out of a list.
		if len(again.Binds) != 1 || again.Binds[0] != b {
			t.Errorf("%#v is not what it says: %v", b, again.Binds)
		}
	}
	for _, w := range c.Warnings {
		if w == "" || strings.ContainsAny(w, "\n\r\x1b\x00") {
			t.Errorf("warning %q is not one clean line", w)
		}
	}
}
