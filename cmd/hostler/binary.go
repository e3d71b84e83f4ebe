package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"

	"hostler/master"
)

// findBinary returns where this binary is. It was called by name, as a shell does: by a
// path, or by what it found on the PATH. Whoever calls it may say anything, and what is
// there now need not be what runs: then only the kernel is believed.
func findBinary(name string) (b master.Binary) {
	b.Resolved, _ = os.Executable() // without /proc there is none
	called, err := exec.LookPath(name)
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return b
	}
	if called, err = filepath.Abs(called); err != nil {
		return b
	}
	if b.Resolved == "" || sameFile(called, "/proc/self/exe") {
		b.Called = called
	}
	return b
}

func sameFile(a, b string) bool {
	x, err1 := os.Stat(a)
	y, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}
