package master

import (
	"fmt"
	"strings"
	"time"

	"hostler/protocol"
)

// lostRequest is a request that died with its worker.
type lostRequest struct {
	protocol.Activity
	worker int
	cause  string
	age    time.Duration
}

// appendAccessLine appends the access-log line of a request that got no answer.
// It has the fields of the workers' lines; status 000 and the cause tell it
// apart.
func appendAccessLine(dst []byte, now time.Time, r lostRequest) []byte {
	client := r.Client
	if client == "" {
		client = "-"
	}
	return fmt.Appendf(dst, "%s - - [%s] \"%s %s HTTP/1.1\" 000 0 \"-\" \"-\" %d worker=%d cause=%s\n",
		escapeField(client), now.Format("02/Jan/2006:15:04:05 -0700"),
		escapeField(r.Method), escapeField(r.Target), r.age.Microseconds(), r.worker, r.cause)
}

// escapeField keeps a client from forging lines or fields: what is not
// printable, quotes and backslashes are written as \xHH.
func escapeField(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			fmt.Fprintf(&b, `\x%02x`, c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
