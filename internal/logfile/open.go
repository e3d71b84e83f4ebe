package logfile

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// mode is that of files that are made.
const mode = 0o644

// Standard returns the descriptor that a path is just another name of, standard
// output or standard error. To open it by that name would fail where it is a
// socket, and without need begin a file anew.
func Standard(path string) (fd int, ok bool) {
	switch path {
	case "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1":
		return 1, true
	case "/dev/stderr", "/dev/fd/2", "/proc/self/fd/2":
		return 2, true
	}
	return -1, false
}

// Open opens a log to append to, and makes it if it is not there. Who may change
// files without having the rights of this process is workers; nil: nobody. It does
// not wait for the reader of a FIFO. The descriptor is a blocking one.
func Open(path string, workers *syscall.Credential) (int, error) {
	fd, err := open(path, workers)
	if err != nil {
		return -1, fmt.Errorf("%s: %w", path, err)
	}
	return fd, nil
}

func open(path string, workers *syscall.Credential) (int, error) {
	if workers == nil || workers.Uid == 0 || path == "" {
		return appendTo(unix.AT_FDCWD, path, 0, false)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return -1, err
	}
	w := walk{workers: workers, dir: -1}
	defer w.close()
	name, err := w.to(path)
	if err != nil {
		return -1, err
	}
	if !w.theirs && !w.sticky {
		return appendTo(w.dir, name, unix.O_NOFOLLOW, false)
	}
	fd := -1
	if asErr := as(workers, func() { fd, err = appendTo(w.dir, name, unix.O_NOFOLLOW, true) }); asErr != nil {
		return -1, asErr
	}
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		err = fmt.Errorf("%w for user %d (the workers can write to its directory, so it takes their rights)", err, workers.Uid)
	}
	return fd, err
}

// appendTo opens name in a directory.
func appendTo(dir int, name string, flags int, regular bool) (int, error) {
	flags |= unix.O_WRONLY | unix.O_APPEND | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
	create := unix.O_CREAT
	if flags&unix.O_NOFOLLOW != 0 {
		create |= unix.O_EXCL // else a link to nothing is one to be followed
	}
	var fd int
	var err error
	for range 10 { // until nobody makes or removes it in between
		fd, err = openat(dir, name, flags)
		if err != unix.ENOENT {
			break
		}
		if fd, err = openat(dir, name, flags|create); err != unix.EEXIST {
			break
		}
	}
	switch err {
	case nil:
	case unix.ENXIO:
		return -1, errors.New("it is a FIFO that nobody reads from, or a socket")
	default:
		if err == unix.ELOOP && flags&unix.O_NOFOLLOW != 0 {
			err = errLink
		}
		return -1, err
	}
	if err := suits(fd, regular); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func openat(dir int, name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flags, mode)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// suits says what is wrong with a file as a log.
func suits(fd int, regular bool) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	switch kind := st.Mode & unix.S_IFMT; {
	case kind == unix.S_IFREG:
	case regular:
		return errors.New("it is no regular file, in a directory that the workers can write to")
	case kind != unix.S_IFIFO && kind != unix.S_IFCHR:
		return errors.New("it is no file, FIFO or character device")
	}
	return unix.SetNonblock(fd, false)
}

var errLink = errors.New("it is a link that the workers may have put there")

// walk is on its way to a file.
type walk struct {
	workers *syscall.Credential
	dir     int  // where it is; -1: nowhere yet
	theirs  bool // the workers may have changed the way
	sticky  bool // they can put something here, but not take away what others have
	links   int
}

func (w *walk) close() {
	if w.dir >= 0 {
		unix.Close(w.dir)
		w.dir = -1
	}
}

// to goes to the directory of the file at an absolute path, and returns the file's
// name there. The name is no link, unless somebody changes it now.
func (w *walk) to(path string) (string, error) {
	if err := w.enter(unix.AT_FDCWD, "/"); err != nil {
		return "", err
	}
	for todo := split(path); len(todo) > 0; {
		name := todo[0]
		todo = todo[1:]
		target, err := w.link(name)
		switch {
		case err == unix.ENOENT && len(todo) == 0:
			return name, nil
		case err != nil:
			return "", err
		case target != "":
			if w.links++; w.links > 40 {
				return "", unix.ELOOP
			}
			todo = append(split(target), todo...)
			if target[0] == '/' {
				err = w.enter(unix.AT_FDCWD, "/")
			}
		case len(todo) == 0:
			return name, nil
		default:
			err = w.enter(w.dir, name)
		}
		if err != nil {
			return "", err
		}
	}
	return "", unix.EISDIR
}

func split(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}

// link returns where name leads, if it is a link that may be followed, "" if it is
// none.
func (w *walk) link(name string) (string, error) {
	fd, err := openat(w.dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return "", err
	}
	if w.theirs || w.sticky || st.Uid == w.workers.Uid {
		return "", errLink
	}
	var b [unix.PathMax]byte
	n, err := unix.Readlinkat(fd, "", b[:])
	if err == nil && n == 0 {
		err = unix.ENOENT
	}
	return string(b[:max(n, 0)]), err
}

// enter goes to a directory.
func (w *walk) enter(from int, name string) error {
	fd, err := openat(from, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC)
	if err != nil {
		return err
	}
	w.close()
	w.dir = fd
	if w.theirs {
		return nil // and will be, whoever owns what is below
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	writable, err := w.writable(&st)
	w.sticky = writable && st.Mode&unix.S_ISVTX != 0 && st.Uid != w.workers.Uid
	w.theirs = writable && !w.sticky
	return err
}

// writable reports whether the workers can put something into the directory that
// the walk is at. (Where a list of rights goes beyond the mode, only the kernel
// knows.)
func (w *walk) writable(st *unix.Stat_t) (bool, error) {
	if st.Uid == w.workers.Uid || st.Mode&0o002 != 0 {
		return true, nil
	}
	const atEmptyPath, wok, xok = unix.AT_EMPTY_PATH, 2, 1
	var errno syscall.Errno
	err := as(w.workers, func() { errno = faccessat2(w.dir, wok|xok, unix.AT_EACCESS|atEmptyPath) })
	if err != nil {
		return false, err
	}
	switch errno {
	case 0:
		return true, nil
	case unix.ENOSYS, unix.EPERM, unix.EINVAL: // Linux before 5.8, or a filter that does not know it
		return st.Mode&0o020 != 0, nil
	}
	return false, nil
}
