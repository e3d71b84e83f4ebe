package logwriter

import (
	"bytes"
	"time"
)

const (
	// sayAfter is how long lost lines are gathered before they are said to be,
	// sayPause how long nothing more is said after that.
	sayAfter = 100 * time.Millisecond
	sayPause = 10 * time.Second
)

// losses is what is known of lost lines. Writer.mu guards it.
type losses struct {
	total  uint64
	unsaid uint64
	why    error
	timed  bool // say will be called
	said   time.Time
}

// lose counts lines that will not be written.
func (w *Writer) lose(lines []byte, why error) {
	n := uint64(bytes.Count(lines, []byte{'\n'}))
	if w.o.Lost != nil {
		w.o.Lost(n)
	}
	w.note(n, why)
}

// note sees to it that lost lines are said to be.
func (w *Writer) note(lines uint64, why error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.losses.total += lines
	w.losses.unsaid += lines
	w.losses.why = why
	if !w.o.Self {
		w.arm()
	}
}

// succeeded is called when lines have been written.
func (w *Writer) succeeded() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.losses.why != nil {
		w.arm()
	}
}

// arm has say called in time. w.mu is held.
func (w *Writer) arm() {
	l := &w.losses
	if l.timed || w.o.Say == nil {
		return
	}
	l.timed = true
	time.AfterFunc(max(sayAfter, sayPause-time.Since(l.said)), w.say)
}

func (w *Writer) say() {
	w.mu.Lock()
	l := &w.losses
	n, why := l.unsaid, l.why
	l.unsaid, l.why, l.timed, l.said = 0, nil, false, time.Now()
	w.mu.Unlock()
	if why != nil {
		w.o.Say(n, why)
	}
}

// Lost returns how many lines are lost.
func (w *Writer) Lost() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.losses.total
}
