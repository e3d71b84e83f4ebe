package worker

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"hostler/protocol"
)

// dumpEnds is how long a traceback may pause.
const dumpEnds = 50 * time.Millisecond

// dumps is a pipe for the tracebacks of all Python threads, which faulthandler writes in
// a signal handler, a few bytes at a time.
type dumps struct {
	fd    int      // to write to; standard error, if there can be no pipe
	r     *os.File // nil: there is none
	asked atomic.Bool
}

func (l *logs) openDumps(d *dumps) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		l.Warn("tracebacks may wait for whoever reads this log", "error", err)
		d.fd = 2
		return
	}
	_, _ = unix.FcntlInt(uintptr(p[1]), unix.F_SETPIPE_SZ, protocol.MaxDump) // less will do, too
	d.fd, d.r = p[1], os.NewFile(uintptr(p[0]), "tracebacks")
}

// gatherDumps makes a record of the error log of what comes by the pipe, when no more
// does, and tells the master if that has asked for it.
func (w *Worker) gatherDumps() {
	d := &w.log.dumps
	var text []byte
	buf := make([]byte, 4096)
	for {
		n, err := d.r.Read(buf)
		text = append(text, buf[:n]...)
		if err == nil && len(text) < protocol.MaxDump {
			_ = d.r.SetReadDeadline(time.Now().Add(dumpEnds))
			continue
		}
		if len(text) == 0 {
			return // the pipe cannot be read
		}
		text = w.headed(text)
		_, _ = w.log.texts.Write(text) // never fails
		if d.asked.Swap(false) {
			w.tellAll(protocol.KindDumped, string(text))
		}
		text = nil
		_ = d.r.SetReadDeadline(time.Time{})
	}
}

// dump has all Python threads' tracebacks written. It needs no GIL.
func (w *Worker) dump(tell bool) {
	d := &w.log.dumps
	if tell && d.r == nil {
		w.tellAll(protocol.KindDumped, "the tracebacks are in the error log: there was no pipe for them\n")
		tell = false
	}
	if tell {
		d.asked.Store(true)
	}
	dumpTracebacks()
}

// stackOf is how faulthandler begins the stack of a thread.
var stackOf = regexp.MustCompile(`(?m)^(?:Current thread|Thread) 0x([0-9a-f]+)`)

// headed puts a line before the stack of each thread that says whose it is, and what the
// request is that it runs.
func (w *Worker) headed(text []byte) []byte {
	var b bytes.Buffer
	at := 0
	for _, m := range stackOf.FindAllSubmatchIndex(text, -1) {
		b.Write(text[at:m[0]])
		at = m[0]
		ident, err := strconv.ParseUint(string(text[m[2]:m[3]]), 16, 64)
		if err != nil {
			continue // it is no thread's
		}
		fmt.Fprintf(&b, "-- worker %d, pid %d: %s\n", w.cfg.Number, os.Getpid(), w.Loop.whatRuns(ident))
	}
	b.Write(text[at:])
	return b.Bytes()
}

// whatRuns says what the Python thread of that ident is at.
func (l *Loop) whatRuns(ident uint64) string {
	for i, t := range l.threads {
		if t.ident.Load() != ident {
			continue
		}
		a, busy := l.slot.ThreadRecs[i].Snapshot()
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

// Identify says which Python thread t is, as Python knows it.
func (t *Thread) Identify(ident uint64) { t.ident.Store(ident) }
