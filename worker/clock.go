package worker

import (
	"math"
	"time"

	"hostler/protocol"
)

// The runtime's monotonic clock is CLOCK_MONOTONIC with another origin; these
// are set once, so that Loop.now can speak of the origin that other processes know.
var (
	monotonicStart = time.Now()
	monotonicBase  = originOf(monotonicStart)
)

// originOf returns what CLOCK_MONOTONIC was at start. Between looking at one clock and
// the other we may have to wait for a processor, many milliseconds on a busy machine: of
// several looks the shortest counts.
func originOf(start time.Time) (origin int64) {
	const enough = 2 * time.Microsecond
	least := time.Duration(math.MaxInt64)
	for range 100 {
		before := time.Since(start)
		at := protocol.Monotonic()
		if took := time.Since(start) - before; took < least {
			least, origin = took, at-int64(before+took/2)
		}
		if least < enough {
			break
		}
	}
	return origin
}
