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
	"path"
	"strings"
)

// Launch is what python runs as -c.
//
//go:embed launch.py
var Launch string

//go:embed _hostler/*.py
var files embed.FS

// Modules returns the modules' texts, each behind a line with its name and size.
func Modules() []byte {
	var b bytes.Buffer
	entries, err := files.ReadDir("_hostler")
	if err != nil {
		panic(err) // it is compiled in
	}
	for _, e := range entries {
		text, err := files.ReadFile(path.Join("_hostler", e.Name()))
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(&b, "%s %d\n%s", moduleName(e.Name()), len(text), text)
	}
	return b.Bytes()
}

// moduleName returns what the module in a file is imported as.
func moduleName(file string) string {
	if file == "__init__.py" {
		return "_hostler"
	}
	return "_hostler." + strings.TrimSuffix(file, ".py")
}
