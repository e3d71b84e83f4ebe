package logformat

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"time"
	"unicode"
)

// plain writes the message of a record as it is, and its attributes behind it as
// slog.TextHandler does, which quotes what may be a client's.
type plain struct {
	f     Format
	attrs slog.Handler // writes to *line
	*line
}

// line is where a record is put together.
type line struct {
	mu sync.Mutex
	w  io.Writer
	bytes.Buffer
}

func newPlain(w io.Writer, f Format, o *slog.HandlerOptions) slog.Handler {
	o.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
			return slog.Attr{} // they are before it
		}
		return a
	}
	l := &line{w: w}
	return &plain{f, slog.NewTextHandler(&l.Buffer, o), l}
}

func (p *plain) Enabled(ctx context.Context, level slog.Level) bool {
	return p.attrs.Enabled(ctx, level)
}

func (p *plain) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &plain{p.f, p.attrs.WithAttrs(attrs), p.line}
}

func (p *plain) WithGroup(name string) slog.Handler {
	return &plain{p.f, p.attrs.WithGroup(name), p.line}
}

func (p *plain) Handle(ctx context.Context, r slog.Record) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Reset()
	if p.f == Journal {
		p.WriteString(priority(r.Level))
	} else {
		p.WriteString(r.Time.Format(time.DateTime))
		p.WriteString(p.level(r.Level))
	}
	if message := r.Message; isPrintable(message) {
		p.WriteString(message)
	} else {
		p.WriteString(strconv.Quote(message))
	}
	p.WriteByte(' ')
	at := p.Len()
	if err := p.attrs.Handle(ctx, r); err != nil {
		return err
	}
	if p.Len() == at+1 { // there are none
		p.Truncate(at - 1)
		p.WriteByte('\n')
	}
	_, err := p.w.Write(p.Bytes())
	return err
}

// level returns a level as it stands in a line.
func (p *plain) level(l slog.Level) string {
	name, color := " DEBUG  ", "\x1b[2m"
	switch {
	case l >= slog.LevelError:
		name, color = " ERROR  ", "\x1b[31m"
	case l >= slog.LevelWarn:
		name, color = " WARN   ", "\x1b[33m"
	case l >= slog.LevelInfo:
		name, color = " INFO   ", "\x1b[32m"
	}
	if p.f != Color {
		return name
	}
	return color + name + "\x1b[0m"
}

// priority returns what journald takes for the priority of a line (sd-daemon(3)).
func priority(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return "<3>"
	case l >= slog.LevelWarn:
		return "<4>"
	case l >= slog.LevelInfo:
		return "<6>"
	}
	return "<7>"
}

func isPrintable(s string) bool {
	for _, r := range s {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return false
		}
	}
	return true
}
