//go:build freethreaded

package e2e

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestFreeThreaded: a build without the GIL runs with it, says so, and does not run
// where it may not be switched on. make test-pythons builds one.
func TestFreeThreaded(t *testing.T) {
	python, err := filepath.Abs("../build/python3.13t/bin/python3.13t")
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range [][]string{nil, {"--preload"}} {
		s := start(t, append([]string{"--python", python, "-w", "2", "--threads", "4", "wire:app"}, mode...)...)
		if code, _ := s.get("/"); code != 200 {
			t.Errorf("status %d", code)
		}
		if n := strings.Count(s.log.String(), "runs with the GIL here"); n != 1 {
			t.Errorf("%v: said %d times:\n%s", mode, n, s.log)
		}
		if strings.Contains(s.log.String(), "RuntimeWarning") {
			t.Errorf("%v: Python warns, too:\n%s", mode, s.log)
		}
	}
	s := launch(t, "--python", python, "-e", "PYTHON_GIL=0", "wire:app")
	<-s.exited
	if !strings.Contains(s.log.String(), "take PYTHON_GIL=0 or -X gil=0 away") {
		t.Errorf("without the GIL:\n%s", s.log)
	}
}
