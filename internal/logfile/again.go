package logfile

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Again opens what fd is open on once more, to append to. Flags, position and owner belong
// to an open file and not to a descriptor, so whoever is given a copy of one sets them for
// us, and reads from a terminal what was typed for us. A socket is opened only once.
func Again(fd int) (int, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return -1, err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		// Or what is written here overwrites what is appended there.
		if err := setFlags(fd, unix.O_APPEND, 0); err != nil {
			return -1, err
		}
	case unix.S_IFIFO, unix.S_IFCHR:
	default:
		return -1, errors.New("it is no file, FIFO or character device")
	}
	const flags = unix.O_WRONLY | unix.O_APPEND | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
	again, err := openat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), flags)
	if err != nil {
		return -1, err
	}
	if err := unix.SetNonblock(again, false); err != nil {
		unix.Close(again)
		return -1, err
	}
	return again, nil
}

// Straighten sets an open log that others have, too, to append and to block, as it was.
func Straighten(fd int) error { return setFlags(fd, unix.O_APPEND, unix.O_NONBLOCK) }

// setFlags sets flags of an open file, and takes others away.
func setFlags(fd, with, without int) error {
	is, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil || is&(with|without) == with {
		return err
	}
	_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFL, is&^without|with)
	return err
}
