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
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"hostler/internal/inode"
)

var (
	// ErrNoSocket says that something else has the name.
	ErrNoSocket = errors.New("there is a file that is no socket")
	errSwapped  = errors.New("another file took the socket's place as soon as it was bound; somebody else may write to its directory")
	errTooLong  = fmt.Errorf("the path of a socket has at most %d bytes", maxPath)
)

const maxPath = len(unix.RawSockaddrUnix{}.Path) - 1

// Open returns the socket that path names; links are not followed.
func Open(path string) (*inode.File, error) { return socket(inode.Open(path)) }

// New returns the socket behind an O_PATH descriptor, which it owns.
func New(fd int) (*inode.File, error) { return socket(inode.New(fd)) }

func socket(f *inode.File, err error) (*inode.File, error) {
	if err != nil {
		return nil, err
	}
	if !f.Is(unix.S_IFSOCK) {
		f.Close()
		return nil, ErrNoSocket
	}
	return f, nil
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
	switch err := probe(f); {
	case err == nil, errors.Is(err, unix.EAGAIN): // its queue is full
		return unix.EADDRINUSE
	case errors.Is(err, unix.ECONNREFUSED):
		return f.Remove(path)
	default:
		return err
	}
}

// probe connects to that very socket, whatever has its name by now, without waiting.
func probe(f *inode.File) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Connect(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d", f.FD())})
}

// Listen binds a socket of that name and rights, and listens. A name that begins with
// @ is abstract: it has neither rights nor a file. The caller owns both results.
func Listen(path string, mode os.FileMode) (fd int, file *inode.File, err error) {
	if len(path) > maxPath {
		return -1, nil, errTooLong
	}
	fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, nil, err
	}
	// Nobody is to send descriptors, here or on a connection: one may be slow to close, and
	// whoever reads would wait for that. (Linux before 6.16 does not know it.)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSRIGHTS, 0)
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

func bindFile(fd int, path string, mode os.FileMode) (*inode.File, error) {
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
	if file.Owner() != os.Geteuid() {
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
		if unix.Gettid() == unix.Getpid() {
			// The first thread does not end. While this goroutine has it, another gets another.
			done <- withoutUmask(f)
			runtime.UnlockOSThread()
			return
		}
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
