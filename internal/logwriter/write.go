package logwriter

import (
	"bytes"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// pipeBuf is how much a pipe takes without mixing it with what others write.
	pipeBuf = 4096
	// patience is how long Reopen and Close wait for lines that nobody takes.
	patience = time.Second
	// tornRetry is how often it is tried to complete a line.
	tornRetry = time.Second
	// keep is how much of a buffer stays resident once it has been written.
	keep = 256 << 10
)

// run is the goroutine. What it takes is its own until it gives it back.
func (w *Writer) run() {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	for {
		fill, ends, marks, ok := w.take()
		if !ok {
			if w.ended() {
				return
			}
			if w.await(timer) {
				w.gather(timer)
			}
			continue
		}
		from := 0
		for _, m := range marks {
			w.put(fill[:m.at], ends, from)
			from = m.at
			m.do()
		}
		w.put(fill, ends, from)
		w.giveBack(fill, ends)
		w.gather(timer)
	}
}

// await waits for something to do. False: what there is is the rest of a line that has
// been written in part.
func (w *Writer) await(timer *time.Timer) bool {
	if len(w.torn) == 0 {
		<-w.wake
		return true
	}
	timer.Reset(tornRetry)
	select {
	case <-w.wake:
		timer.Stop()
		return true
	case <-timer.C:
		_ = w.mend(true) // or later
		return false
	}
}

// gather waits for more to write at a time.
func (w *Writer) gather(timer *time.Timer) {
	if w.o.Gather <= 0 {
		return
	}
	timer.Reset(w.o.Gather)
	select {
	case <-timer.C:
	case <-w.soon:
		timer.Stop()
	}
}

// take takes what there is to do. Not ok: there is nothing, and whoever has
// something next will say so.
func (w *Writer) take() (fill []byte, ends []int, marks []mark, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fd < 0 || len(w.fill) == 0 && len(w.marks) == 0 {
		w.awake = false
		return nil, nil, nil, false
	}
	fill, ends, marks = w.fill, w.ends, w.marks
	w.fill, w.next, w.ends, w.marks = w.next, nil, nil, nil
	return fill, ends, marks, true
}

func (w *Writer) giveBack(fill []byte, ends []int) {
	if fill == nil { // there was none, and may be by now
		return
	}
	if len(fill) > keep {
		_ = unix.Madvise(fill[keep:], unix.MADV_DONTNEED) // the memory is there, or not
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next = fill[:0]
	if w.ends == nil {
		w.ends = ends[:0]
	}
}

// ended ends a Writer that has been closed, and has nothing left to do.
func (w *Writer) ended() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		return false
	}
	if w.fd > 2 {
		unix.Close(w.fd)
	}
	w.fd = -1
	if w.mem != nil {
		_ = unix.Munmap(w.mem) // cannot fail
		w.mem, w.fill, w.next = nil, nil, nil
	}
	return true
}

// replace puts another file behind the descriptor.
func (w *Writer) replace(fd int) {
	flags := unix.O_CLOEXEC
	if w.fd <= 2 {
		flags = 0
	}
	if err := unix.Dup3(fd, w.fd, flags); err != nil {
		w.note(0, err)
	}
	if w.o.Twin > 0 {
		_ = unix.Dup3(fd, w.o.Twin, 0) // as the other one went
	}
	unix.Close(fd)
	if len(w.torn) > 0 { // it began in the other file
		w.lose(w.torn, ErrFull)
		w.torn = w.torn[:0]
	}
	w.mu.Lock()
	w.pressed = time.Time{}
	w.mu.Unlock()
}

// put writes fill from an offset on.
func (w *Writer) put(fill []byte, ends []int, from int) {
	if from == len(fill) {
		return
	}
	var st unix.Stat_t
	file := unix.Fstat(w.fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG
	if err := w.mend(file); err != nil {
		w.lose(fill[from:], err)
		return
	}
	at, err := w.write(fill, ends, from, file)
	if err == nil {
		w.succeeded()
		return
	}
	if at > from && fill[at-1] != '\n' { // where a disk is full
		end := bytes.IndexByte(fill[at:], '\n') + 1
		w.torn = append(w.torn[:0], fill[at:at+end]...)
		at += end
	}
	w.lose(fill[at:], err)
}

// mend writes the rest of a line that has been written in part.
func (w *Writer) mend(file bool) error {
	n, err := w.write(w.torn, nil, 0, file)
	w.torn = append(w.torn[:0], w.torn[n:]...)
	return err
}

// write writes b from an offset on, and returns up to where it has. Files take all
// at once, and keep it in one piece.
func (w *Writer) write(b []byte, ends []int, at int, file bool) (int, error) {
	for at < len(b) {
		to := len(b)
		if !file {
			to = cut(b, ends, at)
			if err := w.wait(); err != nil {
				return at, err
			}
		}
		n, err := unix.Write(w.fd, b[at:to])
		switch err {
		case nil:
			at += n
		case unix.EINTR:
		case unix.EAGAIN: // others have made it non-blocking, and were quicker
			time.Sleep(time.Millisecond)
		default:
			return at, err
		}
	}
	return at, nil
}

// cut returns up to where b may be written from at on, so that what others write
// to the same pipe does not get in between: some whole records, or else lines.
func cut(b []byte, ends []int, at int) int {
	if len(b)-at <= pipeBuf {
		return len(b)
	}
	to := 0
	for _, end := range ends {
		if end > at+pipeBuf {
			break
		}
		to = end
	}
	if to > at {
		return to
	}
	if i := bytes.LastIndexByte(b[at:at+pipeBuf], '\n'); i >= 0 {
		return at + i + 1
	}
	return at + bytes.IndexByte(b[at:], '\n') + 1 // a line ends somewhere
}

// wait waits until a pipe, or whatever it is, takes something. It gives up where
// nobody reads and the Writer is to go on elsewhere.
func (w *Writer) wait() error {
	w.poll[0] = unix.PollFd{Fd: int32(w.fd), Events: unix.POLLOUT}
	for {
		n, err := unix.Poll(w.poll[:], 250)
		if n > 0 || err != nil && err != unix.EINTR {
			return nil // whatever is wrong, write says it
		}
		if w.impatient() {
			return ErrFull
		}
	}
}

func (w *Writer) impatient() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.pressed.IsZero() && time.Since(w.pressed) > patience
}
