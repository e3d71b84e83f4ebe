package main

import (
	"io"
	"log/slog"
	"os"
	"time"

	"hostler/config"
	"hostler/internal/logformat"
	"hostler/internal/logwriter"
)

// lastLines is how long the last lines of the log may take.
const lastLines = 500 * time.Millisecond

// errorLog is the master's, which is standard error until a file takes its place.
type errorLog struct {
	*logformat.Output
	to     io.Writer
	writer *logwriter.Writer // to is this one, for nothing in a server waits for a log; nil: it is no server's
	level  *slog.LevelVar
}

func openLog(cfg *config.Config, stderr io.Writer) *errorLog {
	l := &errorLog{to: stderr, level: new(slog.LevelVar)}
	if stderr == os.Stderr && !cfg.Check {
		l.writer = logwriter.New(logwriter.Options{FD: 2, Records: true, Self: true, Say: func(lines uint64, why error) {
			l.Logger().Warn("lines of this log are lost", "lines", lines, "error", why)
		}})
		l.to = l.writer
	}
	l.Output = logformat.NewOutput(l.to, logFormat(cfg), l.level)
	l.follow(cfg)
	return l
}

// follow has the log look as the settings say now.
func (l *errorLog) follow(cfg *config.Config) {
	l.level.Set(cfg.Level())
	l.Set(logFormat(cfg))
}

func (l *errorLog) flush() {
	if l.writer != nil {
		l.writer.Flush(lastLines)
	}
}

// logFormat returns the format of the error log, which may be a file.
func logFormat(cfg *config.Config) logformat.Format {
	if f := cfg.LogFormat; f != logformat.Auto || cfg.ErrorLog == "-" {
		return f.Resolve(2, os.Getenv)
	}
	return logformat.Logfmt
}
