package master

import (
	"os"
	"time"

	"hostler/internal/accesslog"
	"hostler/protocol"
)

// lostRequest is a request that died with its worker.
type lostRequest struct {
	protocol.Activity
	worker int
	cause  string
	age    time.Duration
}

// appendAccessLine appends the access-log line of a request that got no answer. Its
// status is 000; what the record of a request does not hold is not in it either.
func appendAccessLine(dst []byte, f *accesslog.Format, now time.Time, r lostRequest) []byte {
	return f.Append(dst, &accesslog.Entry{
		Client: []byte(r.Client), Method: []byte(r.Method), Target: []byte(r.Target), Protocol: "HTTP/1.1",
		At: now, Duration: r.age, Worker: r.worker, PID: os.Getpid(), Cause: r.cause,
	}, accesslog.NewClock(now))
}
