package protocol

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Memory that master and workers share is a memfd of a fixed size. Who maps memory
// that another process may make smaller dies of SIGBUS at the other's wish, and with
// --user workers are not the master's equals. The seals hold for every descriptor of
// the memory, whoever has it, and nobody can take them off.
const (
	sealSize    = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	sealContent = sealSize | unix.F_SEAL_WRITE
)

// newMemory makes memory of that name and size, which the caller seals and closes.
func newMemory(name string, size int) (*os.File, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate(name, flags|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = unix.MemfdCreate(name, flags)
	}
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if err := f.Truncate(int64(size)); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// NewMemory makes sealed memory with that content. The caller closes it.
func NewMemory(name string, content []byte) (*os.File, error) {
	f, err := newMemory(name, len(content))
	if err != nil {
		return nil, err
	}
	if _, err = f.WriteAt(content, 0); err == nil {
		err = seal(f, sealContent)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// seal keeps everybody, from here on, from what the seals say.
func seal(f *os.File, seals int) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var sealErr error
	err = raw.Control(func(fd uintptr) { _, sealErr = unix.FcntlInt(fd, unix.F_ADD_SEALS, seals) })
	if err = errors.Join(err, sealErr); err != nil {
		return fmt.Errorf("cannot seal the memory: %w", err)
	}
	return nil
}

// readMemory returns what NewMemory has written. The offset, which all processes share, is
// left alone.
func readMemory(fd int) ([]byte, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	b := make([]byte, st.Size)
	for n := 0; n < len(b); {
		m, err := unix.Pread(fd, b[n:], int64(n))
		if err != nil {
			return nil, err
		}
		if m == 0 {
			return nil, io.ErrUnexpectedEOF
		}
		n += m
	}
	return b, nil
}
