package protocol

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
)

// Span is a request that has ended, as its worker tells the master of it (LogSpans): a line,
// so that what carries logs carries it, too. Its texts are whatever a client has sent.
type Span struct {
	Trace    [16]byte
	ID       [8]byte
	Parent   [8]byte // zero: it has none
	Flags    byte    // of the trace, as in traceparent
	End      int64   // Unix nanoseconds
	Duration int64   // nanoseconds
	Queue    int64   // … until the application was called; -1: it was not
	Status   int64   // 0: there was no response
	Minor    int64   // of HTTP/1.x; 2: HTTP/2
	Port     int64   // of the peer; 0: it has none

	Method, Path, Scheme []byte // Path as it was sent, without its query
	Host                 []byte // which the client asked for, with its port
	Client, Peer         []byte // addresses: whose request it is, who is connected
	Agent                []byte
	State                []byte // tracestate
	Error                []byte // what went wrong, in a word; empty: nothing
	Route                []byte // that the application's framework has found, as RouteName has it; empty: none
}

// PathOf is the path of a request's target, as Span has it.
func PathOf(target []byte) []byte {
	path, _, _ := bytes.Cut(target, []byte("?"))
	if i := bytes.Index(path, []byte("://")); i > 0 && path[0] != '/' {
		_, path, _ = bytes.Cut(path[i+3:], []byte("/"))
		path = append([]byte("/"), path...)
	}
	return path
}

// MaxSpan is how long a line may be.
const MaxSpan = 16 << 10

const (
	spanNumbers = 6
	spanTexts   = 10
	spanIDs     = 4
)

func (s *Span) numbers() [spanNumbers]*int64 {
	return [...]*int64{&s.End, &s.Duration, &s.Queue, &s.Status, &s.Minor, &s.Port}
}

func (s *Span) texts() [spanTexts]*[]byte {
	return [...]*[]byte{&s.Method, &s.Path, &s.Scheme, &s.Host, &s.Client, &s.Peer, &s.Agent, &s.State, &s.Error, &s.Route}
}

// mostText is how much is told of each text, in their order. A byte takes three at most, and
// all of it less than MaxSpan.
var mostText = [spanTexts]int{32, 2048, 8, 260, 64, 64, 512, 512, 64, MaxRouteName}

// Append appends the line.
func (s *Span) Append(b []byte) []byte {
	b = append(hex.AppendEncode(b, s.Trace[:]), ' ')
	b = append(hex.AppendEncode(b, s.ID[:]), ' ')
	b = append(hex.AppendEncode(b, s.Parent[:]), ' ')
	b = hex.AppendEncode(b, []byte{s.Flags})
	for _, n := range s.numbers() {
		b = strconv.AppendInt(append(b, ' '), *n, 10)
	}
	for i, text := range s.texts() {
		b = appendWord(append(b, ' '), (*text)[:min(len(*text), mostText[i])])
	}
	return append(b, '\n')
}

// appendWord appends text as a word: "-" is an empty one, and what is no plain character is
// written as in a URL.
func appendWord(b, text []byte) []byte {
	if len(text) == 0 {
		return append(b, '-')
	}
	const digits = "0123456789abcdef"
	for _, c := range text {
		if c <= ' ' || c >= 0x7f || c == '%' || c == '-' && len(text) == 1 {
			b = append(b, '%', digits[c>>4], digits[c&15])
		} else {
			b = append(b, c)
		}
	}
	return b
}

var errNoSpan = errors.New("it is no line of a span")

// ParseSpan reads a line without its end. What it returns lies in the line, which it changes.
func ParseSpan(line []byte) (Span, error) {
	var s Span
	var flags [1]byte
	rest := line
	for i, at := range [spanIDs][]byte{s.Trace[:], s.ID[:], s.Parent[:], flags[:]} {
		var word []byte
		word, rest, _ = bytes.Cut(rest, []byte(" "))
		if len(word) != hex.EncodedLen(len(at)) {
			return s, fmt.Errorf("%w: identifier %d", errNoSpan, i)
		}
		if _, err := hex.Decode(at, word); err != nil {
			return s, fmt.Errorf("%w: identifier %d: %w", errNoSpan, i, err)
		}
	}
	s.Flags = flags[0]
	for i, at := range s.numbers() {
		var word []byte
		word, rest, _ = bytes.Cut(rest, []byte(" "))
		n, err := strconv.ParseInt(string(word), 10, 64)
		if err != nil {
			return s, fmt.Errorf("%w: number %d: %w", errNoSpan, i, err)
		}
		*at = n
	}
	for i, at := range s.texts() {
		var word []byte
		more := false
		word, rest, more = bytes.Cut(rest, []byte(" "))
		text, ok := parseWord(word)
		if !ok || len(text) > mostText[i] || more != (i < spanTexts-1) {
			return s, fmt.Errorf("%w: text %d", errNoSpan, i)
		}
		*at = text
	}
	return s, s.Check()
}

// parseWord is the reverse of appendWord, in place.
func parseWord(word []byte) (text []byte, ok bool) {
	if string(word) == "-" {
		return nil, true
	}
	text = word[:0]
	for i := 0; i < len(word); i++ {
		c := word[i]
		if c == '%' {
			if i+2 >= len(word) {
				return nil, false
			}
			var b [1]byte
			if _, err := hex.Decode(b[:], word[i+1:i+3]); err != nil {
				return nil, false
			}
			c = b[0]
			i += 2
		}
		text = append(text, c)
	}
	return text, len(text) > 0
}

// Check reports what cannot be.
func (s *Span) Check() error {
	switch {
	case s.Trace == [16]byte{} || s.ID == [8]byte{}:
		return fmt.Errorf("%w: there is no identifier", errNoSpan)
	case s.End <= 0 || s.Duration < 0 || s.Duration > s.End || s.Queue < -1 || s.Queue > s.Duration:
		return fmt.Errorf("%w: a time", errNoSpan)
	case s.Status != 0 && (s.Status < 100 || s.Status > 999) || s.Minor < 0 || s.Minor > 2 || s.Port < 0 || s.Port > 65535:
		return fmt.Errorf("%w: a status, a version or a port", errNoSpan)
	}
	return nil
}
