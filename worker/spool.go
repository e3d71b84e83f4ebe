package worker

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"hostler/protocol"
)

// spoolFile is what a spool needs of a file.
type spoolFile interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	Name() string
}

// spoolDisk is where these files are.
type spoolDisk interface {
	// create makes a file without a name.
	create() (spoolFile, error)
	// room says how many more bytes such a file may be given.
	room(f spoolFile) (int64, error)
}

var errSpoolFull = errors.New("the disk is full, but for what is kept for others")

// spools are the spooled bodies of a worker.
type spools struct {
	disk   spoolDisk
	limit  int64 // of a body; 0: none is spooled
	most   int   // files at a time
	stream []pathPattern
	slot   *protocol.Slot

	mu     sync.Mutex
	all    map[*spool]struct{}
	said   int64 // when a failure was last logged
	unsaid int
}

func newSpools(cfg *protocol.WorkerConfig, slot *protocol.Slot) *spools {
	s := &spools{disk: spoolDir(cfg.SpoolDir), limit: cfg.SpoolLimit, most: maxSpools, slot: slot, all: make(map[*spool]struct{})}
	for _, p := range cfg.StreamUploads {
		s.stream = append(s.stream, newPathPattern(p))
	}
	return s
}

// spool is a body on its way to a file, or there.
type spool struct {
	of    *spools
	file  spoolFile // nil: not made yet
	size  int64     // what has been written; the owner's of the connection
	whole bool      // that is all

	asked asked // the request

	mu    sync.Mutex
	since int64 // when the disk was asked for something that it has not answered; 0: it was not
	conn  *conn
	lost  bool // the connection was taken away meanwhile
}

// spoolDir is a directory for spooled bodies; "" is one that suits.
type spoolDir string

var _ spoolDisk = spoolDir("")

// spoolReserve is the most that is left of a file system to others, and one in
// spoolShare of it the least.
const (
	spoolReserve = 1 << 30
	spoolShare   = 20
)

// dirs are the directories to try. A file system in memory is no place for what would
// be too much to hold there, unless somebody wants it so.
func (d spoolDir) dirs() ([]string, error) {
	if d != "" {
		return []string{string(d)}, nil
	}
	var good []string
	for _, dir := range []string{os.TempDir(), "/var/tmp"} {
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) == nil && st.Type != unix.TMPFS_MAGIC && st.Type != unix.RAMFS_MAGIC {
			good = append(good, dir)
		}
	}
	if good == nil {
		return nil, fmt.Errorf("neither %s nor /var/tmp is on a disk; --spool-dir names a directory", os.TempDir())
	}
	return good, nil
}

func (d spoolDir) create() (spoolFile, error) {
	dirs, err := d.dirs()
	if err != nil {
		return nil, err
	}
	var failed error
	for _, dir := range dirs {
		f, err := nameless(dir)
		if err == nil {
			return f, nil
		}
		failed = errors.Join(failed, err)
	}
	return nil, failed
}

// nameless makes a file that nobody else can open, and that is gone when it is closed.
func nameless(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	switch err {
	case nil:
		return os.NewFile(uintptr(fd), dir), nil
	case unix.EOPNOTSUPP, unix.EISDIR, unix.EINVAL: // NFS, overlayfs of old
	default:
		return nil, fmt.Errorf("cannot make a file in %s: %w", dir, err)
	}
	f, err := os.CreateTemp(dir, "hostler-body-*")
	if err != nil {
		return nil, fmt.Errorf("cannot make a file in %s: %w", dir, err)
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot hide a file: %w", err)
	}
	return f, nil
}

func (d spoolDir) room(f spoolFile) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.(*os.File).Fd()), &st); err != nil {
		return 0, fmt.Errorf("cannot see how full the disk is: %w", err)
	}
	size := int64(st.Bsize)
	return int64(st.Bavail)*size - min(int64(st.Blocks)*size/spoolShare, spoolReserve), nil
}

// maxSpools bounds the files that a worker has: each takes a descriptor, and when
// the disk stands still each holds a thread of the runtime's.
const maxSpools = 128

// write appends to the file, which it makes if there is none.
func (s *spool) write(b []byte) (int, error) {
	if s.file == nil {
		f, err := s.of.disk.create()
		if err != nil {
			return 0, err
		}
		s.file = f
	}
	room, err := s.of.disk.room(s.file)
	if err != nil {
		return 0, err
	}
	if room < int64(len(b)) {
		return 0, fmt.Errorf("%s: %w", s.file.Name(), errSpoolFull)
	}
	return s.file.WriteAt(b, s.size)
}

// ask notes that the disk is about to be asked for something; answered, that it is
// done. They return false if the connection has been taken away.
func (s *spool) ask(now int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since = now
	return !s.lost
}

func (s *spool) answered() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since = 0
	return !s.lost
}

// takeAway reports whether the body has waited for the disk since before the time given;
// the connection is the caller's then.
func (s *spool) takeAway(before int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since == 0 || s.since > before || s.lost {
		return false
	}
	s.lost = true
	return true
}

// free gives the file up. Nobody waits for that: it may take its time.
func (s *spool) free() {
	go func() {
		if s.file != nil {
			// What was in it is of no use to anybody; and if the application has
			// forked, closing it is not enough.
			_ = s.file.Truncate(0)
			s.file.Close()
		}
		s.of.slot.Gauges.SpoolBytes.Add(-s.size)
		s.of.slot.Gauges.SpoolFiles.Add(-1)
		s.of.mu.Lock()
		delete(s.of.all, s)
		s.of.mu.Unlock()
	}()
}
