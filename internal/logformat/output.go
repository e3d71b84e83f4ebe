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

// Write writes a text of maybe many lines, a traceback above all, which is whole. In
// JSON it is a record, whose message is the first line; for journald each line has a
// priority; else it is written as it is. Write fails as the writer below does.
func (o *Output) Write(text []byte) (int, error) {
	n := len(text)
	text = bytes.TrimRight(text, "\n")
	if len(text) == 0 {
		return n, nil
	}
	var err error
	switch o.now.Load().Format {
	case JSON:
		first, rest, _ := strings.Cut(strings.ToValidUTF8(string(text), "\ufffd"), "\n")
		var attrs []slog.Attr
		if rest != "" {
			attrs = append(attrs, slog.String("text", rest))
		}
		o.Logger().LogAttrs(context.Background(), slog.LevelError, strings.TrimPrefix(first, "hostler: "), attrs...)
	case Journal:
		p := priority(slog.LevelError)
		_, err = io.WriteString(o.w, p+strings.ReplaceAll(string(text), "\n", "\n"+p)+"\n")
	default:
		_, err = o.w.Write(append(bytes.Clone(text), '\n'))
	}
	return n, err
}

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
