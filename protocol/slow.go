package protocol

import (
	"bytes"
	"strings"
	"time"
)

const (
	// SlowFloor is how long a request has to take, in nanoseconds, to be worth
	// remembering.
	SlowFloor = int64(10 * time.Millisecond)
	// SlowPerRoute is how many of a route's worst requests are remembered.
	SlowPerRoute = 3
	// SlowTarget and SlowStack bound what is remembered of a request, in bytes.
	SlowTarget = 256
	SlowStack  = 8 << 10
	maxRoute   = 96
)

// SlowRequest is one of the worst requests of its route. Workers report them; the
// master adds what it knows.
type SlowRequest struct {
	Time       time.Time     `json:"time"` // when it was reported
	Worker     int           `json:"worker"`
	PID        int           `json:"pid"`
	Generation int           `json:"generation"`
	Method     string        `json:"method"`
	Target     string        `json:"target"`
	Client     string        `json:"client,omitempty"`
	Status     int           `json:"status,omitempty"` // 0: it has not ended, as far as is known
	Duration   time.Duration `json:"duration"`         // from its arrival, so far or to its end; nanoseconds
	Waited     time.Duration `json:"waited"`           // of that, until the application was called
	ForClient  time.Duration `json:"for_client"`       // … and then waited for its client, with a body or a response
	Stack      string        `json:"stack,omitempty"`  // of its thread, when --slow-request was over

	Thread int   `json:"thread"`
	Start  int64 `json:"start"` // with Thread and PID, tells requests apart
}

// Own is the duration without what the client took of it: what requests are told
// apart by.
func (q *SlowRequest) Own() time.Duration { return q.Duration - q.ForClient }

// SlowRoute is the worst requests of a route, the worst first.
type SlowRoute struct {
	Route string        `json:"route"`
	Worst []SlowRequest `json:"worst"`
}

// Route is what requests are grouped by: the method, and the path with numbers and
// the like replaced by a star.
func Route(method, target string) string {
	path, _, _ := strings.Cut(target, "?")
	if len(path) > maxRoute {
		path = path[:maxRoute]
	}
	parts := strings.Split(path, "/")
	for i, p := range parts {
		if isKey(p) {
			parts[i] = "*"
		}
	}
	return method + " " + strings.Join(parts, "/")
}

// RouteHash is a hash of what Route makes of a method and a path without a query. It
// does not allocate.
func RouteHash(method, path []byte) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211 // FNV-1a
	h := uint64(offset)
	add := func(b []byte) {
		for _, c := range b {
			h = (h ^ uint64(c)) * prime
		}
	}
	add(method)
	path = path[:min(len(path), maxRoute)]
	for more := true; more; {
		var part []byte
		part, path, more = bytes.Cut(path, []byte("/"))
		if isKey(part) {
			part = []byte("*")
		}
		add([]byte("/"))
		add(part)
	}
	return h
}

// isKey reports whether a segment of a path looks like the key of a record: a number,
// or a longer one in hexadecimal, a UUID for one.
func isKey[T string | []byte](s T) bool {
	digits, letters := 0, 0
	for _, c := range []byte(s) {
		switch {
		case '0' <= c && c <= '9':
			digits++
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			letters++
		case c != '-':
			return false
		}
	}
	return digits > 0 && (letters == 0 || len(s) >= 8)
}
