// Package pauses keeps for how long a process did not get to run: its machine was suspended or
// moved, its container paused, or others had the processors. What cannot be done meanwhile is
// not to be held against anybody whose time is limited. CLOCK_MONOTONIC goes on in most of
// these cases.
package pauses

import (
	"slices"
	"sync"
	"time"
)

const (
	// Floor is what is a pause. Below it processes wait for each other as they always do.
	Floor = time.Second
	// kept bounds the pauses that are remembered: the latest.
	kept = 16
)

// Log is the pauses of this process. Its methods may be called by anybody.
type Log struct {
	mu  sync.Mutex
	all []pause // in order
}

// pause is from when something was due to when it was done; CLOCK_MONOTONIC nanoseconds.
type pause struct{ from, to int64 }

// Late is told that at now was done what had been due before; both are CLOCK_MONOTONIC
// nanoseconds. It returns how long the pause was, and 0 if it was none.
func (l *Log) Late(due, now int64) time.Duration {
	d := time.Duration(now - due)
	if d < Floor {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.all) == kept {
		l.all = slices.Delete(l.all, 0, 1)
	}
	l.all = append(l.all, pause{due, now})
	return d
}

// Since returns how much of the time from then on was pauses.
func (l *Log) Since(then int64) (sum time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.all {
		sum += time.Duration(max(p.to-max(p.from, then), 0))
	}
	return sum
}
