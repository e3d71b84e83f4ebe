// Package apart closes sockets that others can send descriptors into. With such a socket
// end the descriptors that are still in it, and one of them may be slow to close: a
// connection that lingers keeps whoever is the last to close it for as long as its owner
// likes. So that is done by a goroutine that has nothing else to do.
package apart

import "golang.org/x/sys/unix"

// Close closes a descriptor.
func Close(fd int) { go unix.Close(fd) }

// Replace puts fd in the place of another descriptor, whose file goes on under the number
// that it returns. It leaves fd to the caller.
func Replace(fd, number int) (old int, err error) {
	old, err = unix.FcntlInt(uintptr(number), unix.F_DUPFD_CLOEXEC, 10)
	if err != nil {
		return -1, err
	}
	if err = unix.Dup3(fd, number, unix.O_CLOEXEC); err != nil {
		unix.Close(old) // number is another of it
		return -1, err
	}
	return old, nil
}
