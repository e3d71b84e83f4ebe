package worker

import (
	"cmp"
	"log/slog"
	"os"
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
)

// logs are the two logs of a worker. Both are written by goroutines: neither a
// request nor the housekeeping waits for a disk or a pipe.
type logs struct {
	*slog.Logger
	texts  *logformat.Output // what is no record
	level  *slog.LevelVar
	errors *logwriter.Writer // standard error
	access *logwriter.Writer // nil: there is none
	dumps  int               // a pipe for tracebacks
}

func openLogs(cfg *protocol.WorkerConfig, k *protocol.Counters) *logs {
	l := &logs{level: new(slog.LevelVar)}
	l.level.Set(settings.Level(cfg.LogLevel))
	l.errors = logwriter.New(logwriter.Options{FD: 2, Records: true, Self: true,
		Lost: func(n uint64) { k.ErrorLogErrors.Add(n) },
		Say:  func(n uint64, why error) { l.Warn("lines of this log are lost", "lines", n, "error", why) }})
	l.texts = logformat.NewOutput(l.errors, cmp.Or(cfg.LogFormat, logformat.Logfmt), l.level,
		slog.Int("worker", cfg.Number), slog.Int("pid", os.Getpid()))
	l.Logger = l.texts.Logger()
	l.dumps = l.takeDumps()
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
	case which == protocol.LogErrors:
		l.errors.Reopen(fd)
	default:
		unix.Close(fd)
	}
}

// dumpEnds is how long a traceback may pause, dumpMost how long it may be.
const (
	dumpEnds = 50 * time.Millisecond
	dumpMost = 256 << 10
)

// takeDumps returns a pipe whose text becomes one record of the error log, when no
// more comes; standard error, if there can be none.
func (l *logs) takeDumps() int {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		l.Warn("tracebacks may wait for whoever reads this log", "error", err)
		return 2
	}
	_, _ = unix.FcntlInt(uintptr(p[1]), unix.F_SETPIPE_SZ, dumpMost) // less will do, too
	r := os.NewFile(uintptr(p[0]), "tracebacks")
	go func() {
		var text []byte
		buf := make([]byte, 4096)
		for {
			n, err := r.Read(buf)
			text = append(text, buf[:n]...)
			if err == nil && len(text) < dumpMost {
				_ = r.SetReadDeadline(time.Now().Add(dumpEnds))
				continue
			}
			if len(text) == 0 {
				return // the pipe cannot be read
			}
			_, _ = l.texts.Write(text) // never fails
			text = nil
			_ = r.SetReadDeadline(time.Time{})
		}
	}()
	return p[1]
}

// flush gives what is still to be written a moment.
func (l *logs) flush() {
	if l.access != nil {
		l.access.Flush(lastLines)
	}
	l.errors.Flush(lastLines)
}
