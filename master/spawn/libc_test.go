package spawn

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// program returns the head of an ELF program that asks for loader.
func program(t testing.TB, loader string) []byte {
	t.Helper()
	head := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB)},
		Phoff: 64, Phentsize: 56, Phnum: 2,
	}
	var b bytes.Buffer
	for _, part := range []any{head,
		elf.Prog64{Type: uint32(elf.PT_PHDR), Off: 64, Filesz: 2 * 56},
		elf.Prog64{Type: uint32(elf.PT_INTERP), Off: 64 + 2*56, Filesz: uint64(len(loader) + 1)}} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	b.WriteString(loader + "\x00")
	return b.Bytes()
}

func TestLibcOf(t *testing.T) {
	dir := t.TempDir()
	musl := program(t, "/lib/ld-musl-x86_64.so.1")
	files := map[string]struct {
		data []byte
		want Libc
	}{
		"musl":              {musl, Musl},
		"musl in a store":   {program(t, "/nix/store/abc-musl-1.2.5/lib/ld-musl-aarch64.so.1"), Musl},
		"glibc":             {program(t, "/lib64/ld-linux-x86-64.so.2"), Glibc},
		"a folder's name":   {program(t, "/opt/ld-musl-x/ld-linux-x86-64.so.2"), Glibc},
		"cut in the head":   {musl[:40], Glibc},
		"cut in the table":  {musl[:100], Glibc},
		"cut in the name":   {musl[:len(musl)-9], Glibc},
		"empty":             {nil, Glibc},
		"a script":          {[]byte("#!/bin/sh\nexec python3 \"$@\"\n"), Glibc},
		"a table elsewhere": {append(slices.Clone(musl[:32]), append(bytes.Repeat([]byte{0xff}, 8), musl[40:]...)...), Glibc},
	}
	for name, c := range files {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, c.data, 0o755); err != nil {
			t.Fatal(err)
		}
		link := path + " by a link"
		if err := os.Symlink(path, link); err != nil {
			t.Fatal(err)
		}
		for _, p := range []string{path, link} {
			if got := libcOf(p); got != c.want {
				t.Errorf("%s: %s", p, got)
			}
		}
	}
	if got := libcOf(filepath.Join(dir, "gone")); got != Glibc {
		t.Errorf("nothing: %s", got)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o755); err != nil {
		t.Fatal(err)
	}
	done := make(chan Libc, 1)
	go func() { done <- libcOf(fifo) }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Error("it waits for a FIFO")
	}
}

func FuzzLoader(f *testing.F) {
	f.Add(program(f, "/lib/ld-musl-x86_64.so.1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if name := loaderOf(bytes.NewReader(data)); len(name) > len(data) {
			t.Errorf("%d bytes have a name of %d", len(data), len(name))
		}
	})
}

func TestPreloading(t *testing.T) {
	for _, c := range []struct{ env, want []string }{
		{nil, []string{"LD_PRELOAD=/proc/self/fd/5"}},
		{[]string{"A=1", "LD_PRELOAD=", "LD_PRELOADED=x"}, []string{"A=1", "LD_PRELOADED=x", "LD_PRELOAD=/proc/self/fd/5"}},
		{[]string{"LD_PRELOAD=/lib/jemalloc.so:other.so", "A=1"}, []string{"A=1", "LD_PRELOAD=/proc/self/fd/5:/lib/jemalloc.so:other.so"}},
	} {
		before := slices.Clone(c.env)
		if got := preloading(c.env); !slices.Equal(got, c.want) || !slices.Equal(c.env, before) {
			t.Errorf("%q: %q", before, got)
		}
	}
}
