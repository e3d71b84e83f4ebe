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

	timedOut bool // that is why
}

// versions are the names of HTTP's, by Activity.Minor, which a worker says.
var versions = [4]string{"HTTP/1.0", "HTTP/1.1", "HTTP/2.0", "-"}

// appendAccessLine appends the access-log line of a request that got no answer. Its
// status is 000; what the record of a request does not hold is not in it either.
func appendAccessLine(dst []byte, f *accesslog.Format, now time.Time, r lostRequest) []byte {
	return f.Append(dst, &accesslog.Entry{
		Client: []byte(r.Client), Method: []byte(r.Method), Target: []byte(r.Target), Protocol: versions[r.Minor&3],
		At: now, Duration: r.age, Worker: r.worker, PID: os.Getpid(), Cause: r.cause,
	}, accesslog.NewClock(now))
}
