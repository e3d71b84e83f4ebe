//go:build musl

package e2e

import (
	"strings"
	"testing"
)

// TestMusl: what differs there. make test-musl runs it, and the core of the other tests,
// with a CPython and a hostler that are built for musl.
func TestMusl(t *testing.T) {
	for _, mode := range [][]string{nil, {"--preload"}} {
		s := startCtl(t, append([]string{"-w", "2", "--threads", "2", "-e", "LD_PRELOAD=libc.so", "preloaded:app"}, mode...)...)
		// The application, and what it runs, have what the user has put there.
		for _, path := range []string{"/", "/child"} {
			if _, body := s.get(path); body != "LD_PRELOAD is 'libc.so'" {
				t.Errorf("%v: %s: %s", mode, path, body)
			}
		}
		// The dump's signal has another place among musl's own.
		s.must("dump")
		s.waitLog("most recent call first", 4)
		if strings.Contains(s.log.String(), "RuntimeWarning") || strings.Contains(s.log.String(), "signal:") {
			t.Errorf("%v:\n%s", mode, s.log)
		}
	}
	glibc := launch(t, "--python", "/usr/bin/python3", "wire:app")
	<-glibc.exited
	if !strings.Contains(glibc.log.String(), "it is built for glibc, and this hostler has no worker library for that") {
		t.Errorf("a Python of the other kind:\n%s", glibc.log)
	}
}
