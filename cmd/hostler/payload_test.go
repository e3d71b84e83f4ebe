package main

import (
	"debug/elf"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// newNames are what a newer glibc gives a name of its own version although an older one has
// the function, too: there scripts/build.py's linker takes the older name.
var newNames = []string{
	"fstat", "pthread_attr_getstack", "pthread_attr_getstacksize", "pthread_create", "pthread_detach",
	"pthread_getattr_np", "pthread_key_create", "pthread_setspecific", "pthread_sigmask",
}

// TestOldGlibc: of glibc the library asks for nothing that the one of 2012 lacks, for which
// the wheels are linked. (Weak symbols may be missing.)
func TestOldGlibc(t *testing.T) {
	data, err := payloadFiles.Open("payload/worker.so")
	if err != nil {
		t.Fatalf("run make: %v", err)
	}
	defer data.Close()
	f, err := elf.NewFile(data.(interface {
		ReadAt([]byte, int64) (int, error)
	}))
	if err != nil {
		t.Fatal(err)
	}
	symbols, err := f.ImportedSymbols()
	if err != nil || len(symbols) < 50 {
		t.Fatalf("%d symbols, %v", len(symbols), err)
	}
	for _, s := range symbols {
		minor, found := strings.CutPrefix(s.Version, "GLIBC_2.")
		n, _ := strconv.Atoi(strings.Split(minor, ".")[0])
		if found && n > 17 && !slices.Contains(newNames, s.Name) {
			t.Errorf("%s needs %s: manylinux2014 has 2.17", s.Name, s.Version)
		}
	}
}
