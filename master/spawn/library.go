package spawn

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// Libraries are the payload's, ready for workers: each from when the first interpreter
// that has its C library is started, or foreseen. The spawner's thread has them.
type Libraries struct {
	open  func(Libc) (*os.File, error)
	files map[Libc]func() (*os.File, error)
}

// NewLibraries returns those that read gives, which is asked for each once at most. dir
// is where they are kept if they cannot be in memory; "": in the user's cache.
func NewLibraries(log *slog.Logger, read func(Libc) (*io.SectionReader, error), dir string) *Libraries {
	return &Libraries{files: make(map[Libc]func() (*os.File, error)), open: func(libc Libc) (*os.File, error) {
		lib, err := read(libc)
		if err != nil {
			return nil, err
		}
		return openLibrary(log, lib, dir)
	}}
}

// Foresee begins to make the library for an interpreter ready, which takes as long as all else
// of a master's start. It is called before the spawner is made.
func (l *Libraries) Foresee(python string) { go l.file(libcOf(python))() }

// file returns what makes the library for libc ready, once, and returns it.
func (l *Libraries) file(libc Libc) func() (*os.File, error) {
	if l.files[libc] == nil {
		l.files[libc] = sync.OnceValues(func() (*os.File, error) { return l.open(libc) })
	}
	return l.files[libc]
}

// fd returns the descriptor of the library for libc.
func (l *Libraries) fd(libc Libc) (int, error) {
	f, err := l.file(libc)()
	if err != nil {
		delete(l.files, libc) // there may be memory next time
		return -1, err
	}
	return RawFD(f), nil
}

func (l *Libraries) close() {
	for _, file := range l.files {
		if f, err := file(); err == nil {
			f.Close()
		}
	}
}

// openLibrary puts the worker library where a worker can load it from through a
// file descriptor, and returns that. A sealed memfd needs no writable file
// system, and all workers share its pages. Where the kernel forbids executable
// memfds, a file in the cache directory serves.
func openLibrary(log *slog.Logger, lib *io.SectionReader, cacheDir string) (*os.File, error) {
	f, err := memfdLibrary(lib)
	if err == nil {
		return f, nil
	}
	log.Debug("no memfd for the worker library; using a cache file", "error", err)
	f, err2 := cachedLibrary(lib, cacheDir)
	if err2 != nil {
		return nil, fmt.Errorf("cannot keep the worker library: %w", errors.Join(err, err2))
	}
	return f, nil
}

func memfdLibrary(lib *io.SectionReader) (*os.File, error) {
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	fd, err := unix.MemfdCreate("hostler-worker.so", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3 all memfds are executable
		fd, err = unix.MemfdCreate("hostler-worker.so", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), "hostler-worker.so")
	if err := fill(f, lib); err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot fill the memfd: %w", err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot seal the memfd: %w", err)
	}
	if lib.Size() == 0 {
		return f, nil
	}
	// vm.memfd_noexec and security modules refuse late, when a worker maps the
	// text: try that here, where something can be done about it.
	m, err := unix.Mmap(fd, 0, 1, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("the memfd cannot be executed: %w", err)
	}
	_ = unix.Munmap(m)
	return f, nil
}

// fill writes all of the library to w, piece by piece: a copy of its own would be what the
// master's start costs most.
func fill(w io.Writer, lib *io.SectionReader) error {
	_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{io.NewSectionReader(lib, 0, lib.Size())}, make([]byte, 256<<10))
	return err
}

// cachedLibrary returns the library as a file named after its content, writing
// it if it is not there. The directory must be ours alone: the file is code
// that runs in the application.
func cachedLibrary(lib *io.SectionReader, dir string) (*os.File, error) {
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("no cache directory: %w", err)
		}
		dir = filepath.Join(base, "hostler")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the cache directory: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return nil, fmt.Errorf("cannot use %s: %w", dir, err)
	}
	if int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 {
		return nil, fmt.Errorf("cannot use %s: others may write there", dir)
	}
	hash := sha256.New()
	if err := fill(hash, lib); err != nil {
		return nil, fmt.Errorf("cannot read the library: %w", err)
	}
	sum := [sha256.Size]byte(hash.Sum(nil))
	path := filepath.Join(dir, "worker-"+hex.EncodeToString(sum[:8])+".so")
	if have, err := os.ReadFile(path); err == nil && sha256.Sum256(have) == sum {
		return os.Open(path)
	}
	tmp, err := os.CreateTemp(dir, "worker-*")
	if err != nil {
		return nil, fmt.Errorf("cannot write the library: %w", err)
	}
	defer os.Remove(tmp.Name())
	err = errors.Join(fill(tmp, lib), tmp.Chmod(0o500), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path) // whole or not at all, also for masters that start beside us
	}
	if err != nil {
		return nil, fmt.Errorf("cannot write the library: %w", err)
	}
	return os.Open(path)
}
