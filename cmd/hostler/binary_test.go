package main

import (
	"os"
	"path/filepath"
	"testing"
)

// A link is what tools such as pipx put on the PATH; a copy of another hostler that has
// our name is not us.
func TestFindBinary(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	link := filepath.Join(dir, "bin", "hostler")
	other := filepath.Join(dir, "other", "hostler")
	for _, path := range []string{link, other} {
		if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(self, link); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(other, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for _, c := range []struct{ name, path, want string }{
		{link, "", link},
		{"bin/hostler", "", link},
		{"./bin/hostler", "", link},
		{"hostler", filepath.Dir(link), link},
		{"hostler", "bin", link},
		{"hostler", filepath.Dir(other) + ":" + filepath.Dir(link), ""},
		{"hostler", "", ""},
		{"a name of its own", filepath.Dir(link), ""},
		{"", filepath.Dir(link), ""},
	} {
		t.Setenv("PATH", c.path)
		if b := findBinary(c.name); b.Called != c.want || b.Resolved != self {
			t.Errorf("called as %q with the PATH %q: %+v", c.name, c.path, b)
		}
	}
}
