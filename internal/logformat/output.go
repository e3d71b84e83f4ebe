package logformat

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"
)

// Output is a log: records come by its Logger, texts by Write. Its format may change.
type Output struct {
	w     io.Writer
	level slog.Leveler
	attrs []slog.Attr
	now   atomic.Pointer[look]
}

// look is how an Output looks at present.
type look struct {
	Format
	slog.Handler
}

// NewOutput returns an Output that writes to w in format f, which must not be Auto. All
// its records have attrs.
func NewOutput(w io.Writer, f Format, level slog.Leveler, attrs ...slog.Attr) *Output {
	o := &Output{w: w, level: level, attrs: attrs}
	o.Set(f)
	return o
}

// Set changes the format.
func (o *Output) Set(f Format) { o.now.Store(&look{f, New(o.w, f, o.level).WithAttrs(o.attrs)}) }

// Logger returns a logger that writes to the Output. Those that are made of it by With
// keep the format that there is then.
func (o *Output) Logger() *slog.Logger { return slog.New(handler{o}) }

// Write writes a text of maybe many lines, a traceback above all, which is whole. If it
// begins as ours do (begin), its first line is a record, and what is below that stands behind
// it. In JSON every text is a record, whose attribute has the rest; for journald each line has
// a priority; else what is no record is written as it is. No level keeps a text out. Write fails as
// the writer below does.
func (o *Output) Write(text []byte) (int, error) {
	n := len(text)
	text = bytes.TrimRight(text, "\n")
	if len(text) == 0 {
		return n, nil
	}
	now := o.now.Load()
	level, text, ours := begin(text)
	first, rest, more := bytes.Cut(text, []byte("\n"))
	if now.Format == JSON {
		var attrs []slog.Attr
		if more {
			attrs = append(attrs, slog.String("text", valid(rest)))
		}
		r := slog.NewRecord(time.Now(), level, valid(first), 0)
		r.AddAttrs(attrs...)
		return n, now.Handle(context.Background(), r)
	}
	var b bytes.Buffer
	below := ""
	if now.Format == Journal {
		below = priority(level)
	}
	if ours {
		h := New(&b, now.Format, o.level).WithAttrs(o.attrs)
		_ = h.Handle(context.Background(), slog.NewRecord(time.Now(), level, valid(first), 0)) // into memory
		text = rest
	}
	if more || !ours {
		for line := range bytes.SplitSeq(text, []byte("\n")) {
			b.WriteString(below)
			b.Write(line)
			b.WriteByte('\n')
		}
	}
	_, err := o.w.Write(b.Bytes())
	return n, err
}

// begin tells whether a text is ours by what it begins with, and takes that off: "hostler: ",
// which may have a priority before it, as in <6>hostler: (sd-daemon(3)). Without one it is an
// error.
func begin(text []byte) (level slog.Level, rest []byte, ours bool) {
	level, rest = slog.LevelError, text
	for _, l := range []slog.Level{slog.LevelError, slog.LevelWarn, slog.LevelInfo, slog.LevelDebug} {
		if after, found := bytes.CutPrefix(text, []byte(priority(l))); found {
			level, rest = l, after
		}
	}
	if rest, ours = bytes.CutPrefix(rest, []byte("hostler: ")); !ours {
		return slog.LevelError, text, false
	}
	return level, rest, true
}

func valid(b []byte) string { return strings.ToValidUTF8(string(b), "\ufffd") }

// Line writes a record that no level keeps out.
func (o *Output) Line(text string, attrs ...slog.Attr) {
	r := slog.NewRecord(time.Now(), slog.LevelInfo, text, 0)
	r.AddAttrs(attrs...)
	_ = o.now.Load().Handle(context.Background(), r) // who writes knows what is lost
}

// handler is an Output as a logger sees it.
type handler struct{ o *Output }

func (h handler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.o.level.Level() }

func (h handler) Handle(ctx context.Context, r slog.Record) error {
	return h.o.now.Load().Handle(ctx, r)
}

func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler { return h.o.now.Load().WithAttrs(attrs) }

func (h handler) WithGroup(name string) slog.Handler { return h.o.now.Load().WithGroup(name) }
