package worker

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

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
