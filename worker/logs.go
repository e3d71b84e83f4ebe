package worker

import (
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"

	"hostler/internal/logwriter"
	"hostler/protocol"
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
	level  *slog.LevelVar
	errors *logwriter.Writer // standard error
	access *logwriter.Writer // nil: there is none
}

func openLogs(cfg *protocol.WorkerConfig, k *protocol.Counters) (*logs, error) {
	l := &logs{level: new(slog.LevelVar)}
	l.level.Set(logLevel(cfg.LogLevel))
	l.errors = logwriter.New(logwriter.Options{FD: 2, Records: true, Self: true,
		Lost: func(n uint64) { k.ErrorLogErrs.Add(n) },
		Say:  func(n uint64, why error) { l.Warn("lines of this log are lost", "lines", n, "error", why) }})
	l.Logger = slog.New(slog.NewTextHandler(l.errors, &slog.HandlerOptions{Level: l.level})).With("worker", cfg.Worker)
	fd, err := openAccessLog(cfg.AccessLog)
	if err != nil || fd < 0 {
		return l, err
	}
	l.access = logwriter.New(logwriter.Options{FD: fd, Gather: accessGather,
		Lost: func(n uint64) { k.AccessLogErrs.Add(n) },
		Say:  func(n uint64, why error) { l.Warn("lines of the access log are lost", "lines", n, "error", why) }})
	return l, nil
}

func openAccessLog(name string) (int, error) {
	switch name {
	case "":
		return -1, nil
	case "-":
		return 1, nil
	}
	fd, err := unix.Open(name, unix.O_WRONLY|unix.O_CREAT|unix.O_APPEND|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return -1, fmt.Errorf("cannot open the access log %s: %w", name, err)
	}
	return fd, nil
}

func (l *logs) reopen(cfg *protocol.WorkerConfig) {
	if l.access != nil && cfg.AccessLog != "-" {
		if fd, err := openAccessLog(cfg.AccessLog); err != nil {
			l.Error("access log not reopened", "error", err)
		} else {
			l.access.Reopen(fd)
		}
	}
	if name := cfg.ErrorLog; name != "" && name != "-" {
		fd, err := unix.Open(name, unix.O_WRONLY|unix.O_CREAT|unix.O_APPEND|unix.O_CLOEXEC, 0o644)
		if err != nil {
			l.Error("error log not reopened", "error", err)
			return
		}
		l.errors.Reopen(fd)
	}
}

// flush gives what is still to be written a moment.
func (l *logs) flush() {
	if l.access != nil {
		l.access.Flush(lastLines)
	}
	l.errors.Flush(lastLines)
}

// logLevel reads a level as the settings have it.
func logLevel(s string) slog.Level {
	switch s {
	case "debug":
		return slog.LevelDebug
	case "warning":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	}
	return slog.LevelInfo
}
