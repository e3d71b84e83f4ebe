package protocol

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSharedMemoryIsSealed: whoever has the descriptor of shared memory cannot take
// the memory away from those that use it, nor change what only the master writes.
func TestSharedMemoryIsSealed(t *testing.T) {
	board, boardFile, err := CreateScoreboard()
	if err != nil {
		t.Fatal(err)
	}
	defer board.Close()
	defer boardFile.Close()
	keys, err := NewTLSMemory(&TLSMaterial{MinVersion: 0x0303})
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	for _, f := range []*os.File{boardFile, keys} {
		fd := int(f.Fd())
		refused := func(what string, err error) {
			t.Helper()
			if !errors.Is(err, unix.EPERM) {
				t.Errorf("%s of %s: %v", what, f.Name(), err)
			}
		}
		refused("cutting", unix.Ftruncate(fd, 0))
		refused("growing", unix.Ftruncate(fd, 1<<30))
		_, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE)
		refused("sealing", err)
		if f != keys {
			continue
		}
		_, err = unix.Pwrite(fd, []byte("{}"), 0)
		refused("writing", err)
		refused("punching a hole", unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 4096))
		_, err = unix.Mmap(fd, 0, 10, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		refused("mapping", err)
	}
	m, err := ReadTLSMaterial(int(keys.Fd()))
	if err != nil || m.MinVersion != 0x0303 {
		t.Errorf("read %+v, %v", m, err)
	}
}
