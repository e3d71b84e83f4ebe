package accesslog

import (
	"time"
)

// Entry is what a line is about. What is nil or zero is not known; everything in it
// belongs to the caller.
type Entry struct {
	Client   []byte // address; nil: a unix socket's peer, who has none
	Method   []byte // nil: no request could be made out
	Target   []byte // as it was sent
	Route    []byte // that the application's framework has found
	Protocol string // "HTTP/1.1"
	Status   int    // 0: there was no answer
	Bytes    int64  // of the body, without framing

	At       time.Time     // when it ended; only if Format.Precise
	Duration time.Duration // from the first byte of the request
	Queue    time.Duration // of which it waited for a thread
	Fields   Fields        // nil: there are none

	Worker int
	PID    int
	Cause  string // why there was no answer
}

// Fields are the header fields of a request and its response.
type Fields interface {
	// RequestField returns the value of the Format's n-th request field, nil if there
	// is none; what it returns is valid until the next call.
	RequestField(n int) []byte
	// ResponseField does so for a response.
	ResponseField(name string) []byte
}

// Clock keeps the time as lines have it, which changes once a second: to format it for
// each line would be a third of what a line costs. A Clock does not change; take a new
// one when a second is over.
type Clock struct {
	second  int64
	clf     []byte // [02/Jan/2006:15:04:05 -0700]
	rfc3339 []byte // 2006-01-02T15:04:05
	zone    []byte
}

// NewClock returns a Clock for the second of now.
func NewClock(now time.Time) *Clock {
	return &Clock{
		second:  now.Unix(),
		clf:     now.AppendFormat(nil, "[02/Jan/2006:15:04:05 -0700]"),
		rfc3339: now.AppendFormat(nil, "2006-01-02T15:04:05"),
		zone:    now.AppendFormat(nil, "Z07:00"),
	}
}

// Shows reports whether the Clock is right for now.
func (c *Clock) Shows(now time.Time) bool { return c.second == now.Unix() }
