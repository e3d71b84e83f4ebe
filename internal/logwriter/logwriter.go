package logwriter

import (
	"errors"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ErrFull is why lines are lost that came faster than they could be written.
var ErrFull = errors.New("whoever reads it is too slow, or stalled")

// DefaultSize is how many bytes of lines may wait.
const DefaultSize = 1 << 20

// Options are what a Writer is made from. All but FD may be left out.
type Options struct {
	// FD is where lines go. It stays this number across Reopen. -1: lines wait for
	// the first Reopen.
	FD int
	// Size is how many bytes of lines may wait; 0 means DefaultSize.
	Size int
	// Gather is how long lines are gathered for one write. 0: they are written as
	// they come.
	Gather time.Duration
	// Records says that what is appended at a time is one record of maybe many
	// lines, which stays together where it can.
	Records bool
	// Lost is told at once of lines that are lost, to count them. It must not wait.
	Lost func(lines uint64)
	// Say is told of them every ten seconds at most, to log it.
	Say func(lines uint64, why error)
	// Twin is another number for FD's file, which Reopen has follow; 0: there is none.
	Twin int
	// Self says that Say logs to this very Writer: it is called once lines can be
	// written again.
	Self bool
}

// Writer is a log that is written behind the backs of those who log.
type Writer struct {
	o    Options
	wake chan struct{} // to the goroutine where it waits for work
	soon chan struct{} // … or for more of it

	mu      sync.Mutex // held for a few instructions at a time
	fd      int
	fill    []byte // lines that wait
	ends    []int  // of the records in it
	next    []byte // is filled next
	mem     []byte // both are in it
	marks   []mark
	awake   bool // the goroutine will look here before it waits
	closed  bool
	pressed time.Time // since when a Reopen, or Close, waits for its turn
	losses  losses

	// The goroutine's.
	torn []byte // rest of a line that has been written in part
	poll [1]unix.PollFd
}

// mark is something to be done when all before it has been written.
type mark struct {
	at int // in fill
	do func()
}

// New returns a Writer. Its goroutine ends with Close.
func New(o Options) *Writer {
	if o.Size == 0 {
		o.Size = DefaultSize
	}
	w := &Writer{o: o, fd: o.FD, wake: make(chan struct{}, 1), soon: make(chan struct{}, 1)}
	go w.run()
	return w
}

// Append adds lines, each ended by a newline. It never waits for a write, and
// allocates nothing once it has been used.
func (w *Writer) Append(lines []byte) {
	w.mu.Lock()
	had := len(w.fill)
	if !w.room(len(lines)) {
		w.mu.Unlock()
		w.lose(lines, ErrFull)
		return
	}
	w.fill = append(w.fill, lines...)
	if w.o.Records {
		w.ends = append(w.ends, len(w.fill))
	}
	half := w.o.Size / 2
	wake, hurry := w.rouse(), had < half && len(w.fill) >= half
	w.mu.Unlock()
	w.call(wake, hurry)
}

// Write is Append as an io.Writer. It never fails.
func (w *Writer) Write(p []byte) (int, error) {
	w.Append(p)
	return len(p), nil
}

// room reports whether n bytes have room in fill. w.mu is held.
func (w *Writer) room(n int) bool {
	if w.closed {
		return false
	}
	if w.fill == nil {
		// Outside of Go's heap, where pages that are not touched cost nothing.
		mem, err := unix.Mmap(-1, 0, 2*w.o.Size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			return false
		}
		w.mem = mem
		w.fill, w.next = mem[:0:w.o.Size], mem[w.o.Size:w.o.Size:2*w.o.Size]
	}
	return len(w.fill)+n <= cap(w.fill)
}

// rouse reports whether the goroutine has to be woken for what there is to do now.
// w.mu is held.
func (w *Writer) rouse() bool {
	if w.awake || w.fd < 0 {
		return false
	}
	w.awake = true
	return true
}

func (w *Writer) call(wake, hurry bool) {
	if wake {
		post(w.wake)
	}
	if hurry {
		post(w.soon)
	}
}

func post(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it has been told
	}
}

// Reopen has lines from now on go to fd, which it takes over. Lines before it go
// where they would have gone, unless nobody takes them for a second.
func (w *Writer) Reopen(fd int) {
	w.mu.Lock()
	if w.fd < 0 {
		w.fd = fd
	} else {
		w.press()
		w.marks = append(w.marks, mark{len(w.fill), func() { w.replace(fd) }})
	}
	wake := w.rouse()
	w.mu.Unlock()
	w.call(wake, true)
}

// press bounds how long the goroutine waits for a reader. w.mu is held.
func (w *Writer) press() {
	if w.pressed.IsZero() {
		w.pressed = time.Now()
	}
}

// Flush waits until what there is now has been written or lost, but no longer than
// d. It reports whether it has been.
func (w *Writer) Flush(d time.Duration) bool {
	done := make(chan struct{})
	w.mu.Lock()
	if w.fd < 0 || w.closed {
		w.mu.Unlock()
		return false
	}
	w.marks = append(w.marks, mark{len(w.fill), func() { close(done) }})
	wake := w.rouse()
	w.mu.Unlock()
	w.call(wake, true)
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// Close has the goroutine write what there is, close the descriptor, unless it is a
// standard one, and end. It does not wait for that.
func (w *Writer) Close() {
	w.mu.Lock()
	w.closed = true
	w.press()
	wake := w.rouse() || w.fd < 0
	w.mu.Unlock()
	w.call(wake, true)
}
