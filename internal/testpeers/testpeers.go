// Package testpeers holds what is known of other servers against what the newest of them
// say of themselves.
package testpeers

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Compare calls compare with what testdata has ("known"), and with what a script prints that
// is run by the Python of the environment build/NAME ("newest"); make tools installs the
// newest there. root is the repository's.
func Compare(t *testing.T, testdata, root, name, script string, compare func(t *testing.T, data []byte)) {
	t.Run("known", func(t *testing.T) {
		data, err := os.ReadFile(testdata)
		if err != nil {
			t.Fatal(err)
		}
		compare(t, data)
	})
	t.Run("newest", func(t *testing.T) {
		python := filepath.Join(root, "build", name, "bin/python")
		if _, err := os.Stat(python); err != nil {
			t.Fatalf("there is none: run make build/%s/.done (%v)", name, err)
		}
		data, err := exec.Command(python, filepath.Join(root, "scripts", script)).Output()
		if err != nil {
			t.Fatal(err)
		}
		compare(t, data)
	})
}
