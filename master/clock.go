package master

import (
	"time"

	"hostler/protocol"
)

// clock is the time as the state goroutine sees it.
type clock struct {
	now  func() time.Time
	mono func() int64 // the scoreboard's clock
}

func systemClock() clock { return clock{now: time.Now, mono: protocol.Monotonic} }
