package logformat

import (
	"fmt"
	"io"
	"log/slog"

	"golang.org/x/sys/unix"
)

// Format is how records look.
type Format string

const (
	// Auto is what suits a descriptor: see Resolve.
	Auto Format = "auto"
	// Text is for people, with colours on a terminal.
	Text Format = "text"
	// Color is Text with colours. It is not for settings, but for those to whom the
	// terminal is not open.
	Color Format = "color"
	// Logfmt is KEY=VALUE, KEY=VALUE …
	Logfmt Format = "logfmt"
	// JSON is an object a line.
	JSON Format = "json"
	// Journal is Text with a priority before each line, and without the time, which
	// journald has.
	Journal Format = "journal"
)

// Formats are those that settings may name.
var Formats = [...]Format{Auto, Text, Logfmt, JSON, Journal}

// Parse reads a format as settings name it.
func Parse(s string) (Format, error) {
	for _, f := range Formats {
		if string(f) == s {
			return f, nil
		}
	}
	return "", fmt.Errorf("%q is no format of a log", s)
}

// Resolve returns the format for a log that goes to fd, where f leaves that open, and
// Color for Text on a terminal that may have colours.
func (f Format) Resolve(fd int, env func(string) string) Format {
	terminal := IsTerminal(fd)
	switch {
	case f == Auto && terminal:
		f = Text
	case f == Auto && isJournal(fd, env("JOURNAL_STREAM")):
		f = Journal
	case f == Auto:
		f = Logfmt
	}
	// https://no-color.org
	if f == Text && terminal && env("NO_COLOR") == "" && env("TERM") != "dumb" {
		return Color
	}
	return f
}

// IsTerminal reports whether fd is one.
func IsTerminal(fd int) bool {
	_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	return err == nil
}

// isJournal reports whether fd is the stream to the journal that a service manager has
// given us: DEVICE:INODE (systemd.exec(5)).
func isJournal(fd int, stream string) bool {
	var st unix.Stat_t
	return stream != "" && unix.Fstat(fd, &st) == nil && stream == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

// New returns a handler that writes records to w. f must not be Auto.
func New(w io.Writer, f Format, level slog.Leveler) slog.Handler {
	o := &slog.HandlerOptions{Level: level}
	switch f {
	case JSON:
		o.ReplaceAttr = jsonAttr
		return slog.NewJSONHandler(w, o)
	case Journal, Text, Color:
		return newPlain(w, f, o)
	}
	return slog.NewTextHandler(w, o)
}

// jsonAttr writes durations as people read them: in JSON they would be nanoseconds.
func jsonAttr(_ []string, a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindDuration:
		return slog.String(a.Key, a.Value.Duration().String())
	case slog.KindAny:
		if err, ok := a.Value.Any().(error); ok {
			return slog.String(a.Key, err.Error())
		}
	}
	return a
}
