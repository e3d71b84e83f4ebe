package static

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// reserved is how many descriptors are kept for when the process may have no more:
// a name is resolved with up to three at a time, and each file that a client
// takes its time for keeps one.
const reserved = 8

// reserve holds descriptors that are good for nothing but to be given up: an
// application that has used up those of its process shall not take the files along.
type reserve struct {
	mu  sync.Mutex
	fds []int
}

// fill takes what is missing, as far as there are descriptors to be had. While
// another thread is spending them it does nothing.
func (r *reserve) fill(root *os.Root) {
	if !r.mu.TryLock() {
		return
	}
	defer r.mu.Unlock()
	r.take(root)
}

// take is fill; r.mu is held.
func (r *reserve) take(root *os.Root) {
	if len(r.fds) == reserved {
		return
	}
	dir, err := root.Open(".")
	if err != nil {
		return
	}
	defer dir.Close()
	for len(r.fds) < reserved {
		fd, err := unix.FcntlInt(dir.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return
		}
		r.fds = append(r.fds, fd)
	}
}

// spend calls do while they are given up. Others who ask for a descriptor meanwhile
// may get it.
func (r *reserve) spend(root *os.Root, do func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop()
	do()
	r.take(root)
}

// drop gives them up. r.mu is held.
func (r *reserve) drop() {
	for _, fd := range r.fds {
		unix.Close(fd)
	}
	r.fds = r.fds[:0]
}
