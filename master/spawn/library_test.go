package spawn

import (
	"bytes"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func section(text string) *io.SectionReader {
	return io.NewSectionReader(strings.NewReader(text), 0, int64(len(text)))
}

func TestLibrary(t *testing.T) {
	lib := []byte("\x7fELF and so on")
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	f, err := openLibrary(log, section(string(lib)), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := make([]byte, len(lib))
	if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, lib) {
		t.Errorf("holds %q, %v", got, err)
	}
	if seals, err := unix.FcntlInt(uintptr(RawFD(f)), unix.F_GET_SEALS, 0); err == nil && seals&unix.F_SEAL_WRITE == 0 {
		t.Errorf("seals %#x", seals)
	}

	dir := filepath.Join(t.TempDir(), "cache")
	for range 2 { // the second finds it
		c, err := cachedLibrary(section(string(lib)), dir)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(c); err != nil || !bytes.Equal(b, lib) {
			t.Errorf("cache holds %q, %v", b, err)
		}
		c.Close()
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 1 {
		t.Errorf("cache: %v", entries)
	}
	// What was tampered with is replaced.
	if err := os.Remove(filepath.Join(dir, entries[0].Name())); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, entries[0].Name()), []byte("evil"), 0o500); err != nil {
		t.Fatal(err)
	}
	c, err := cachedLibrary(section(string(lib)), dir)
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := io.ReadAll(c); !bytes.Equal(b, lib) {
		t.Errorf("cache holds %q", b)
	}
	c.Close()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := cachedLibrary(section(string(lib)), dir); err == nil {
		t.Error("a directory that others may write was used")
	}
}
