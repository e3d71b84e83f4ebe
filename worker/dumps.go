package worker

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"time"
)

// stackOf is how faulthandler begins the stack of a thread.
var stackOf = regexp.MustCompile(`(?m)^(?:Current thread|Thread) 0x([0-9a-f]+)`)

// headed puts a line before the stack of each thread that says whose it is, and what the
// request is that it runs.
func headed(l *Loop, text []byte) []byte {
	var b bytes.Buffer
	at := 0
	for _, m := range stackOf.FindAllSubmatchIndex(text, -1) {
		b.Write(text[at:m[0]])
		at = m[0]
		ident, err := strconv.ParseUint(string(text[m[2]:m[3]]), 16, 64)
		if err != nil {
			continue // it is no thread's
		}
		fmt.Fprintf(&b, "-- worker %d, pid %d: %s\n", l.cfg.Number, os.Getpid(), whatRuns(l, ident))
	}
	b.Write(text[at:])
	return b.Bytes()
}

// whatRuns says what the Python thread of that ident is at.
func whatRuns(l *Loop, ident uint64) string {
	for i, t := range l.threads {
		if t.ident.Load() != ident {
			continue
		}
		a, busy := l.slot.ThreadRecs[i].Snapshot()
		if n := l.slot.Gauges.Tasks.Load(); !busy && n > 0 {
			return fmt.Sprintf("the event loop, with requests: %d", n)
		}
		if !busy {
			return "no request"
		}
		client := ""
		if a.Client != "" {
			client = " from " + a.Client
		}
		age := time.Duration(l.now() - a.Start).Round(time.Millisecond)
		return fmt.Sprintf("%s %s%s, for %v", visible(a.Method), visible(a.Target), client, age)
	}
	return "a thread of the application's"
}

// visible is text of a client's for a log that may be a terminal.
func visible(s string) string {
	q := strconv.QuoteToASCII(s)
	return q[1 : len(q)-1]
}
