package inode

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

// TestReadPiped: a pipe is read to its end, however late its writer comes, and one that
// nobody writes to is waited for only so long.
func TestReadPiped(t *testing.T) {
	dir := t.TempDir()
	plain, fifo := filepath.Join(dir, "plain"), filepath.Join(dir, "fifo")
	if err := errors.Join(os.WriteFile(plain, []byte("plain"), 0o600), unix.Mkfifo(fifo, 0o600)); err != nil {
		t.Fatal(err)
	}
	if b, err := ReadPiped(plain, 0); err != nil || string(b) != "plain" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := ReadPiped(fifo, 50*time.Millisecond); !errors.Is(err, ErrNoWriter) {
		t.Errorf("without a writer: %v", err)
	}
	long := strings.Repeat("x", 200_000)
	wrote := make(chan error, 1)
	go func() { wrote <- os.WriteFile(fifo, []byte(long), 0) }()
	if b, err := ReadPiped(fifo, time.Minute); err != nil || string(b) != long {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if err := <-wrote; err != nil {
		t.Error(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := w.WriteString("of the shell"); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if b, err := ReadPiped(fmt.Sprintf("/dev/fd/%d", r.Fd()), time.Minute); err != nil || string(b) != "of the shell" {
		t.Errorf("%q, %v", b, err)
	}
}
