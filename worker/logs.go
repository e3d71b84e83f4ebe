package worker

import (
	"cmp"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"hostler/internal/logformat"
	"hostler/internal/logwriter"
	"hostler/protocol"
	"hostler/settings"
)

const (
	// accessGather is for how long lines of the access log are gathered: a process
	// that is killed loses those of this time.
	accessGather = 10 * time.Millisecond
	// lastLines is how long a worker that leaves waits for its logs to be written.
	lastLines = 500 * time.Millisecond
	// spanBuffer is how many bytes of spans may wait: a thousand of them.
	spanBuffer = 256 << 10
)

// logs are the two logs of a worker. Both are written by goroutines: neither a
// request nor the housekeeping waits for a disk or a pipe.
type logs struct {
	*slog.Logger
	texts  *logformat.Output // what is no record
	level  *slog.LevelVar
	errors *logwriter.Writer // standard error
	access *logwriter.Writer // nil: there is none
	spans  *logwriter.Writer // of requests, for the master; nil: there are none
	dumps  dumps
}

func openLogs(cfg *protocol.WorkerConfig, k *protocol.Counters) *logs {
	l := &logs{level: new(slog.LevelVar)}
	l.level.Set(settings.Level(cfg.LogLevel))
	twin := 0
	if cfg.CaptureOutput && cfg.AccessLog != "-" {
		twin = 1
	}
	l.errors = logwriter.New(logwriter.Options{FD: 2, Twin: twin, Records: true, Self: true,
		Lost: func(n uint64) { k.ErrorLogErrors.Add(n) },
		Say:  func(n uint64, why error) { l.Warn("lines of this log are lost", "lines", n, "error", why) }})
	l.texts = logformat.NewOutput(l.errors, cmp.Or(cfg.LogFormat, logformat.Logfmt), l.level,
		slog.Int("worker", cfg.Number), slog.Int("pid", os.Getpid()))
	l.Logger = l.texts.Logger()
	l.openDumps(&l.dumps)
	if cfg.Tracing != nil {
		l.spans = logwriter.New(logwriter.Options{FD: -1, Size: spanBuffer, Gather: accessGather,
			Lost: func(n uint64) { k.SpansLost.Add(n) },
			Say:  func(n uint64, why error) { l.Warn("spans are lost", "spans", n, "error", why) }})
	}
	if cfg.AccessLog == "" {
		return l
	}
	fd := -1 // the master sends it: lines wait for it
	if cfg.AccessLog == "-" {
		fd = 1
	}
	l.access = logwriter.New(logwriter.Options{FD: fd, Gather: accessGather,
		Lost: func(n uint64) { k.AccessLogErrors.Add(n) },
		Say:  func(n uint64, why error) { l.Warn("lines of the access log are lost", "lines", n, "error", why) }})
	return l
}

// reopen has a log go to the file behind fd from now on.
func (l *logs) reopen(which string, fd int) {
	switch {
	case fd < 0:
		l.Error("a log goes on where it was: there is no descriptor left", "log", which)
	case which == protocol.LogAccess && l.access != nil:
		l.access.Reopen(fd)
	case which == protocol.LogSpans && l.spans != nil:
		l.spans.Reopen(fd)
	case which == protocol.LogErrors:
		l.errors.Reopen(fd)
	default:
		unix.Close(fd)
	}
}

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

// flush gives what is still to be written a moment.
func (l *logs) flush() {
	if l.access != nil {
		l.access.Flush(lastLines)
	}
	if l.spans != nil {
		l.spans.Flush(lastLines)
	}
	l.errors.Flush(lastLines)
}

// abandonUnread has what the application prints go nowhere, if it went through a pipe that
// nobody reads any more: the master copied it, and has been killed. What the worker has still
// to do must not fail for that. The kernel closes what a process had in no certain order.
func abandonUnread() {
	null, err := unix.Open(os.DevNull, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(null)
	for range 100 {
		for fd := 1; fd <= 2; fd++ {
			if unread(fd) {
				_ = unix.Dup3(null, fd, 0)
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// unread reports whether a descriptor is the end of a pipe that nobody has the other end of.
func unread(fd int) bool {
	var st unix.Stat_t
	p := []unix.PollFd{{Fd: int32(fd)}}
	_, _ = unix.Poll(p, 0)
	return p[0].Revents&unix.POLLERR != 0 && unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO
}
