package inode

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestReadRegular: what is no regular file is not even opened: a FIFO would make us
// wait, a device might do anything.
func TestReadRegular(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		os.WriteFile(at("file"), []byte("text"), 0o600), os.Symlink(at("file"), at("link")), os.Symlink(at("fifo"), at("tofifo")),
		os.Symlink("/dev/zero", at("tozero")), unix.Mkfifo(at("fifo"), 0o600), os.Mkdir(at("dir"), 0o700), os.Symlink(at("nowhere"), at("dangling")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]error{"file": nil, "link": nil, "fifo": ErrNotRegular, "tofifo": ErrNotRegular, "tozero": ErrNotRegular,
		"dir": ErrNotRegular, "nowhere": fs.ErrNotExist, "dangling": fs.ErrNotExist} {
		b, err := ReadRegular(at(name), 4)
		if !errors.Is(err, want) || err == nil && string(b) != "text" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	if b, err := ReadRegular(at("file"), 3); err == nil {
		t.Errorf("too much: %q", b)
	}
}
