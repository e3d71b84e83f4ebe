package worker

import "time"

const (
	// restEnough is for how long, in nanoseconds, a connection has done nothing
	// before it may have to go. A client that thinks for a moment stays.
	restEnough = int64(time.Second)
	// crawlEnough is the same for one that moves bytes, but fewer than crawl times
	// the minimum rate.
	crawlEnough = 5 * int64(time.Second)
	crawl       = 16
)

// perSecond is the rate of n bytes in so many nanoseconds.
func perSecond(n, ns int64) int64 {
	return int64(float64(n) * float64(time.Second) / float64(max(ns, int64(time.Millisecond))))
}

// granted is how many nanoseconds n bytes may take at so many a second. What it multiplies
// is less than a second's, so that 10 GB do not overflow.
func granted(n, rate int64) int64 {
	return n/rate*int64(time.Second) + n%rate*int64(time.Second)/rate
}

// slowest is the time limit for the next byte of n so far, since began, that a
// connection moves: patience after the last one, and never later than the minimum
// rate allows, of which patience is granted once.
func (c *conn) slowest(l *Loop, began, n int64, patience time.Duration) int64 {
	return c.slowestAfter(l, l.now(), began, n, patience)
}

// slowestAfter is slowest where the last byte has moved at some time before.
func (c *conn) slowestAfter(l *Loop, moved, began, n int64, patience time.Duration) int64 {
	if patience <= 0 {
		return 0
	}
	limit := moved + int64(patience)
	if l.cfg.MinRate <= 0 {
		return limit
	}
	bound := began + int64(patience) + granted(n, l.cfg.MinRate)
	c.tooSlow.Store(bound < limit)
	return min(limit, bound)
}

func (l *Loop) deadline(limit time.Duration) int64 {
	if limit <= 0 {
		return 0
	}
	return l.now() + int64(limit)
}

// firstDeadline is the time limit for the first byte of a connection.
func (l *Loop) firstDeadline(now int64) int64 {
	if l.cfg.HeaderTimeout <= 0 {
		return 0
	}
	return now + int64(l.cfg.HeaderTimeout)
}

func (l *Loop) idleDeadline(now int64) int64 {
	return now + int64(l.cfg.KeepAlive)
}
