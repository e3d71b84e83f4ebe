package worker

import "golang.org/x/sys/unix"

// SendFile sends an open file from offset off on as the rest of the body, without
// keeping the Python thread. It takes over fd, but for the result false: then the file
// has to be read and written instead.
func (t *Thread) SendFile(fd int, off int64) bool {
	return t.SendPart(fd, off, -1, false) == WriteOK
}

// SendPart sends n bytes of an open file from offset off on as a part of the body: the
// rest of it, if not more. n below 0: as far as the file goes. It takes over fd where it
// says WriteOK, or, of a part that others follow, WriteWait.
func (t *Thread) SendPart(fd int, off, n int64, more bool) int {
	size, known := storedSize(fd)
	if !known {
		return FileCopy
	}
	size = max(size-off, 0)
	if n >= 0 {
		size = min(size, n)
	}
	return t.sendStored(fd, off, size, more)
}

// storedSize is the size of a file, where that is the one of its bytes: in /proc it is 0,
// and 4096 in /sys. A file that is all hole has no blocks, either.
func storedSize(fd int) (size int64, known bool) {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size <= 0 {
		return 0, false
	}
	if st.Blocks == 0 {
		var last [1]byte
		if n, err := unix.Pread(fd, last[:], st.Size-1); n != 1 || err != nil {
			return 0, false
		}
	}
	return st.Size, true
}
