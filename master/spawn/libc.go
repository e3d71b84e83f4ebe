package spawn

import (
	"debug/elf"
	"encoding/binary"
	"io"
	"path/filepath"
	"strings"

	"hostler/internal/inode"
	"hostler/protocol"
)

// Libc is the C library of an interpreter. A worker library is built for one.
type Libc string

const (
	Glibc Libc = "glibc"
	Musl  Libc = "musl"
)

// preloadedLibrary is what a worker knows the library by.
const preloadedLibrary = "/proc/self/fd/5"

var _ = [1]struct{}{}[protocol.FDLibrary-5]

// libcOf returns the C library of the program at path. What it is not known of, such as
// a script, is taken for one of glibc's: the worker says what is wrong with that.
func libcOf(path string) Libc {
	f, err := inode.OpenRegular(path)
	if err != nil {
		return Glibc
	}
	defer f.Close()
	if strings.HasPrefix(filepath.Base(loaderOf(f)), "ld-musl-") {
		return Musl
	}
	return Glibc
}

// loaderOf returns the dynamic linker that an ELF program asks for, or "". The file may
// be anybody's, so nothing in it is believed that costs more than a few bytes (debug/elf
// does not promise that).
func loaderOf(f io.ReaderAt) string {
	const (
		mostHeaders = 128
		mostName    = 4096
	)
	var head elf.Header64
	if binary.Read(io.NewSectionReader(f, 0, int64(binary.Size(head))), binary.LittleEndian, &head) != nil ||
		string(head.Ident[:4]) != elf.ELFMAG || elf.Class(head.Ident[elf.EI_CLASS]) != elf.ELFCLASS64 || elf.Data(head.Ident[elf.EI_DATA]) != elf.ELFDATA2LSB {
		return ""
	}
	var part elf.Prog64
	if int(head.Phentsize) != binary.Size(part) || head.Phnum > mostHeaders {
		return ""
	}
	for i := range int64(head.Phnum) {
		at := int64(head.Phoff) + i*int64(head.Phentsize)
		if binary.Read(io.NewSectionReader(f, at, int64(head.Phentsize)), binary.LittleEndian, &part) != nil {
			return ""
		}
		if elf.ProgType(part.Type) != elf.PT_INTERP {
			continue
		}
		name := make([]byte, min(part.Filesz, mostName))
		if _, err := f.ReadAt(name, int64(part.Off)); err != nil {
			return ""
		}
		return strings.TrimRight(string(name), "\x00")
	}
	return ""
}

// preloading returns env with the library in it that is to be loaded at exec. A Go
// library has thread-local variables of a kind that musl only has room for then
// (golang/go#54805), while its runtime starts when the worker says so, as ever. launch.py
// takes this out again.
func preloading(env []string) []string {
	const name = "LD_PRELOAD="
	out := make([]string, 0, len(env)+1)
	value := name + preloadedLibrary
	for _, kv := range env {
		if theirs, ok := strings.CutPrefix(kv, name); !ok {
			out = append(out, kv)
		} else if theirs != "" {
			value += ":" + theirs
		}
	}
	return append(out, value)
}
