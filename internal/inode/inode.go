// Package inode tells files from what has their names. Where others may write to a
// directory, another file may have a name of ours at any moment.
package inode

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// File is a file of the file system, of any kind. While it is open its inode is not
// given to another one.
type File struct {
	fd int // O_PATH
	id id
	st unix.Stat_t
}

type id struct{ dev, ino uint64 }

func idOf(st *unix.Stat_t) id { return id{uint64(st.Dev), st.Ino} }

// Open returns the file that path names; links are not followed. Nothing is opened
// for reading: that would wait for a FIFO's writer, and start some devices.
func Open(path string) (*File, error) { return open(path, unix.O_NOFOLLOW) }

func open(path string, flags int) (*File, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC|flags, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return New(fd)
}

// New returns the file behind a descriptor, which it owns.
func New(fd int) (*File, error) {
	f := &File{fd: fd}
	if err := unix.Fstat(fd, &f.st); err != nil {
		unix.Close(fd)
		return nil, err
	}
	f.id = idOf(&f.st)
	return f, nil
}

// FD returns the descriptor, which stays the file's.
func (f *File) FD() int { return f.fd }

// Close forgets the file. It does not remove it.
func (f *File) Close() { unix.Close(f.fd) }

// Is reports whether the file is of a kind: unix.S_IFREG and the like.
func (f *File) Is(kind uint32) bool { return f.st.Mode&unix.S_IFMT == kind }

// Owner returns whose the file was when it was opened.
func (f *File) Owner() int { return int(f.st.Uid) }

// Has reports whether path names this file.
func (f *File) Has(path string) bool {
	var st unix.Stat_t
	return unix.Lstat(path, &st) == nil && idOf(&st) == f.id
}

// Remove removes the name path if it is this file's.
func (f *File) Remove(path string) error {
	// The directory is looked up once: another one that is put in its place
	// meanwhile loses nothing.
	dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return &fs.PathError{Op: "open", Path: filepath.Dir(path), Err: err}
	}
	defer unix.Close(dir)
	var st unix.Stat_t
	if err = unix.Fstatat(dir, filepath.Base(path), &st, unix.AT_SYMLINK_NOFOLLOW); err == nil && idOf(&st) == f.id {
		err = unix.Unlinkat(dir, filepath.Base(path), 0)
	}
	if err != nil && err != unix.ENOENT {
		return &fs.PathError{Op: "unlink", Path: path, Err: err}
	}
	return nil
}

// ErrNotRegular says that something else has a file's name.
var ErrNotRegular = errors.New("it is no regular file")

// ReadRegular reads the file that path, or a link of that name, leads to, which has to
// be a regular one of at most max bytes.
func ReadRegular(path string, max int64) ([]byte, error) {
	f, err := open(path, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.read(path, max)
}

// ErrNoWriter says that a FIFO has nothing to read, nor somebody who will write to it.
var ErrNoWriter = errors.New("it is a FIFO that nobody writes to")

// ReadPiped reads a file that may be a pipe, as the shell makes one of <(a command). Of a
// FIFO it waits so long for a writer.
func ReadPiped(path string, wait time.Duration) ([]byte, error) {
	if st, err := os.Stat(path); err != nil || st.Mode()&fs.ModeNamedPipe == 0 {
		return os.ReadFile(path)
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for end := time.Now().Add(wait); ; {
		n, err := unix.Poll(p, int(time.Until(end).Milliseconds())+1)
		switch {
		case n > 0:
			return io.ReadAll(f)
		case err == nil || time.Now().After(end):
			return nil, &fs.PathError{Op: "read", Path: path, Err: ErrNoWriter}
		}
	}
}

// OpenRegular opens the file that path, or a link of that name, leads to for reading; it
// has to be a regular one.
func OpenRegular(path string) (*os.File, error) {
	f, err := open(path, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.reader(path)
}

func (f *File) read(path string, max int64) ([]byte, error) {
	if f.Is(unix.S_IFREG) && f.st.Size > max {
		return nil, &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("it has more than %d bytes", max)}
	}
	r, err := f.reader(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(io.LimitReader(r, max))
}

func (f *File) reader(path string) (*os.File, error) {
	if !f.Is(unix.S_IFREG) {
		return nil, &fs.PathError{Op: "read", Path: path, Err: ErrNotRegular}
	}
	// This very file, and no other of that name.
	r, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.fd), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: errors.Unwrap(err)}
	}
	return r, nil
}
