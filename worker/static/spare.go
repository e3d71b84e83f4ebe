package static

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// spares is how many descriptors are kept for when the process may have no more:
// a name is resolved with up to three at a time, and each file that a client
// takes its time for keeps one.
const spares = 8

// reserve holds descriptors that are good for nothing but to be given up: an
// application that has used up those of its process shall not take the files along.
type reserve struct {
	mu   sync.Mutex
	held []int
}

// fill takes what is missing, as far as there are descriptors to be had.
func (r *reserve) fill(root *os.Root) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.held) == spares {
		return
	}
	dir, err := root.Open(".")
	if err != nil {
		return
	}
	defer dir.Close()
	for len(r.held) < spares {
		fd, err := unix.FcntlInt(dir.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return
		}
		r.held = append(r.held, fd)
	}
}

// drop gives them up. Who asks for one at the same time may get it.
func (r *reserve) drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, fd := range r.held {
		unix.Close(fd)
	}
	r.held = r.held[:0]
}
