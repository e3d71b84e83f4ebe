// Package unixsocket binds Unix sockets in directories that may be somebody else's.
//
// Who may write to a directory may put another file in a socket's place at any
// moment. So nothing is done to a file by its name that was found out about another:
// its rights are there when it appears, and it is removed only if it is the one that
// we made.
package unixsocket

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

var (
	// ErrNoSocket says that something else has the name.
	ErrNoSocket = errors.New("there is a file that is no socket")
	errSwapped  = errors.New("another file took the socket's place as soon as it was bound; somebody else may write to its directory")
	errTooLong  = fmt.Errorf("the path of a socket has at most %d bytes", maxPath)
)

const maxPath = len(unix.RawSockaddrUnix{}.Path) - 1

// File is a socket in the file system. While it is open its inode is not given to
// another file, so that it can be told from what has its name.
type File struct {
	fd int // O_PATH
	id id
}

type id struct{ dev, ino uint64 }

func idOf(st *unix.Stat_t) id { return id{st.Dev, st.Ino} } //nolint:unconvert // Dev has other types elsewhere

// Open returns the socket that path names; links are not followed.
func Open(path string) (*File, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return New(fd)
}

// New returns the socket behind an O_PATH descriptor, which it owns.
func New(fd int) (*File, error) {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		err = ErrNoSocket
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &File{fd, idOf(&st)}, nil
}

// FD returns the O_PATH descriptor, which stays the file's.
func (f *File) FD() int { return f.fd }

// Close forgets the file. It does not remove it.
func (f *File) Close() { unix.Close(f.fd) }

// Has says whether path names this file.
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

// Clear makes room for a socket at path. The file that a dead server left is removed;
// one that somebody listens on is not (EADDRINUSE), and neither is what is no socket.
func Clear(path string) error {
	f, err := Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	switch err := probe(path); {
	case err == nil, errors.Is(err, unix.EAGAIN): // its queue is full
		return unix.EADDRINUSE
	case errors.Is(err, unix.ECONNREFUSED):
		return f.Remove(path)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	default:
		return err
	}
}

// probe connects to path, without waiting.
func probe(path string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Connect(fd, &unix.SockaddrUnix{Name: path})
}

// Listen binds a socket of that name and rights, and listens. A name that begins with
// @ is abstract: it has neither rights nor a file. The caller owns both results.
func Listen(path string, mode os.FileMode) (fd int, file *File, err error) {
	if len(path) > maxPath {
		return -1, nil, errTooLong
	}
	fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, nil, err
	}
	if path[0] == '@' {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	} else {
		file, err = bindFile(fd, path, mode)
	}
	if err == nil {
		err = unix.Listen(fd, unix.SOMAXCONN)
	}
	if err != nil {
		if file != nil {
			err = errors.Join(err, file.Remove(path))
			file.Close()
		}
		unix.Close(fd)
		return -1, nil, err
	}
	return fd, file, nil
}

func bindFile(fd int, path string, mode os.FileMode) (*File, error) {
	// Linux gives the file the rights of the socket that is bound, less the umask.
	if err := unix.Fchmod(fd, uint32(mode.Perm())); err != nil {
		return nil, err
	}
	if err := withoutUmask(func() error { return unix.Bind(fd, &unix.SockaddrUnix{Name: path}) }); err != nil {
		return nil, err
	}
	file, err := Open(path)
	if err != nil {
		return nil, errSwapped
	}
	var st unix.Stat_t
	if err := unix.Fstat(file.fd, &st); err != nil || int(st.Uid) != os.Geteuid() {
		file.Close()
		return nil, errSwapped
	}
	return file, nil
}

// withoutUmask runs f with a umask of its own, which is 0. The umask belongs to the
// process, and files that other threads make at this moment must not have it: f has a
// thread of its own, which ends with it.
func withoutUmask(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good
		if unix.Unshare(unix.CLONE_FS) == nil {
			unix.Umask(0)
			done <- f()
			return
		}
		done <- withProcessUmask(f)
	}()
	return <-done
}

// withProcessUmask is for where a thread may have none of its own: seccomp filters of
// containers forbid that. At least no process is started meanwhile, and what the master
// itself makes has narrow rights anyway.
func withProcessUmask(f func() error) error {
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	defer unix.Umask(unix.Umask(0))
	return f()
}
