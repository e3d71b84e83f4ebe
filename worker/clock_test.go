package worker

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hostler/protocol"
)

// TestClocksAgree: what we take for CLOCK_MONOTONIC is what C does, also where the
// processors are busy when a process finds out.
func TestClocksAgree(t *testing.T) {
	var stop atomic.Bool
	var busy sync.WaitGroup
	for range 16 {
		busy.Go(func() {
			for !stop.Load() {
			}
		})
	}
	for range 50 {
		start := time.Now()
		origin := originOf(start)
		// The true one is in between, if it is looked for once more.
		for range 1000 {
			before := time.Since(start)
			at := protocol.Monotonic()
			after := time.Since(start)
			const slack = int64(100 * time.Microsecond)
			if low, high := at-int64(after), at-int64(before); origin < low-slack || origin > high+slack {
				t.Fatalf("%d is not between %d and %d", origin, low, high)
			}
		}
	}
	stop.Store(true)
	busy.Wait()
}
