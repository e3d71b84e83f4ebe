// Package bootstrap is the Python side of workers, molds and the hooks' process: the
// modules of the package _hostler, and the program that makes them known to an
// interpreter. The master gives a process
//
//	python -c Launch SETTINGS FD
//
// where FD is a descriptor of memory with what Modules returns. An argument of that size
// would not be free: Python keeps its command line several times, four bytes a character,
// and the kernel takes none beyond 128 KiB.
package bootstrap

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
)

// Launch is what python runs as -c.
//
//go:embed launch.py
var Launch string

//go:embed _hostler/*.py _hostler/asgi/*.py
var files embed.FS

// first are the modules that every process imports, in that order: they are compiled while it
// does (see launch.py). What else it needs it tells by its settings (start.py).
var first = strings.Fields(`_hostler _hostler.stdlib _hostler.start _hostler.interpreter _hostler.protocol _hostler.log
	_hostler.frames _hostler.app _hostler.interface _hostler.reasons _hostler.descriptors _hostler.signals _hostler.threads`)

// Modules returns a line with the names of the first, and the modules' texts, each behind a
// line with its name and size.
func Modules() []byte {
	found := make(map[string][]byte)
	err := fs.WalkDir(files, "_hostler", func(file string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := files.ReadFile(file)
		found[moduleName(file)] = text
		return err
	})
	if err != nil {
		panic(err) // it is compiled in
	}
	var b bytes.Buffer
	fmt.Fprintln(&b, strings.Join(first, " "))
	for _, name := range slices.Sorted(maps.Keys(found)) {
		fmt.Fprintf(&b, "%s %d\n%s", name, len(found[name]), found[name])
	}
	return b.Bytes()
}

// moduleName returns what the module in a file is imported as.
func moduleName(file string) string {
	name := strings.TrimSuffix(strings.TrimSuffix(file, ".py"), "/__init__")
	return strings.ReplaceAll(name, "/", ".")
}
