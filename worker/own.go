package worker

import (
	"sync"

	"golang.org/x/sys/unix"
)

// own knows the descriptors that the master left to this process by their files. The
// application runs in the same process and may close what is not its own (a loop over
// all numbers, or twice the same one); the number then comes to be another file's,
// which we must not use.
type own struct {
	owner  func(fd int)                  // see SetOwner; may be nil
	onLost func(what string, fatal bool) // see SetLost; may be nil

	mu    sync.Mutex
	files map[int]file
}

type file struct{ dev, ino uint64 }

func fileAt(fd int) (file, bool) {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	return file{uint64(st.Dev), st.Ino}, err == nil
}

// take says that what has the number now is ours.
func (o *own) take(fd int) {
	f, ok := fileAt(fd)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.files == nil {
		o.files = make(map[int]file)
	}
	if ok {
		o.files[fd] = f
	}
}

// has reports whether the number is still ours.
func (o *own) has(fd int) bool {
	f, ok := fileAt(fd)
	o.mu.Lock()
	defer o.mu.Unlock()
	known, listed := o.files[fd]
	return !listed || ok && f == known
}

// release closes a descriptor, if it is still ours, and forgets it: it had no number that
// stays.
func (o *own) release(fd int) {
	o.close(fd)
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.files, fd)
}

// close closes a descriptor, if it is still ours.
func (o *own) close(fd int) {
	if o.has(fd) {
		unix.Close(fd)
	}
}
