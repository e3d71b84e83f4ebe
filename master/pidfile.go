package master

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"hostler/internal/inode"
	"hostler/internal/procstat"
	"hostler/master/spawn"
)

// maxPIDFile is more than a number takes, and what else people may have put there.
const maxPIDFile = 4096

// pidFile is a pid file that we have written.
type pidFile struct {
	path string
	file *inode.File
}

// writePIDFile writes pid to path, whole or not at all. It does not take the file of
// another process that lives, unless that is one of those.
func writePIDFile(path string, pid int, of ...int) (*pidFile, error) {
	if err := checkPIDFile(path, append(slices.Clip(of), pid)...); err != nil {
		return nil, err
	}
	// The directory is looked up once, so that all of it happens in the same.
	dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot write the pid file: %w", &fs.PathError{Op: "open", Path: filepath.Dir(path), Err: err})
	}
	defer unix.Close(dir)
	at := fmt.Sprintf("/proc/self/fd/%d/", dir)
	tmp, err := os.CreateTemp(at, "."+filepath.Base(path)+"-*")
	if err != nil {
		return nil, fmt.Errorf("cannot write the pid file %s: %w", path, errors.Unwrap(err))
	}
	defer os.Remove(tmp.Name())
	_, err = fmt.Fprintln(tmp, pid)
	var file *inode.File
	if err = errors.Join(err, tmp.Chmod(0o644)); err == nil {
		var fd int
		if fd, err = unix.FcntlInt(uintptr(spawn.RawFD(tmp)), unix.F_DUPFD_CLOEXEC, 10); err == nil {
			file, err = inode.New(fd)
		}
	}
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), at+filepath.Base(path))
	}
	if err != nil {
		if file != nil {
			file.Close()
		}
		return nil, fmt.Errorf("cannot write the pid file: %w", err)
	}
	return &pidFile{path, file}, nil
}

// remove removes the file if it is still the one that was written.
func (p *pidFile) remove() error {
	err := p.file.Remove(p.path)
	p.file.Close()
	if err != nil {
		return fmt.Errorf("cannot remove the pid file: %w", err)
	}
	return nil
}

// checkPIDFile returns an error if path names another process that lives, and none of
// those. Two servers with one pid file are a mistake, and whoever signals the second by
// it would find the first one's gone, or the other way round.
func checkPIDFile(path string, of ...int) error {
	b, err := inode.ReadRegular(path, maxPIDFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot use the pid file: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid <= 0 || slices.Contains(of, pid) || !lives(pid) {
		return nil
	}
	written, err := os.Stat(path)
	if err != nil || reused(pid, written.ModTime()) {
		return nil
	}
	return fmt.Errorf("cannot use the pid file %s: process %d, which it names, lives (%q); if that is no server, remove the file", path, pid, commandOf(pid))
}

// lives reports whether there is such a process.
func lives(pid int) bool {
	if err := syscall.Kill(pid, 0); err != nil && err != syscall.EPERM {
		return false
	}
	p, err := procstat.Read(os.DirFS("/proc"), pid)
	return err != nil || !p.Ended
}

// reused reports whether pid is another process than the one that was called so at that
// time, and no server of ours.
func reused(pid int, at time.Time) bool {
	proc := os.DirFS("/proc")
	p, err := procstat.Read(proc, pid)
	if err != nil {
		return false // we may not look at it
	}
	born, err := p.BornAt(proc)
	const slack = 10 // seconds; clocks are set
	return err == nil && born > float64(at.Unix())+slack && !strings.Contains(commandOf(pid), "hostler")
}

// commandOf is the name of a process's program, for people. The whole command line is
// in the memory of that process, which could make us wait for it.
func commandOf(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(b))
}
