// Package visible makes texts of others harmless where a person sees them.
package visible

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Text makes text of others harmless: paths, function names and messages come from clients
// and from the application, and a terminal obeys control characters. They are written as in
// Go and Python, or as in JSON, whose meaning that leaves as it is; line ends and tabs stay.
func Text(s string, json bool) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1 && !json:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == utf8.RuneError && n == 1:
			b.WriteString(`\ufffd`)
		case hidden(r) && (json || r > 0xff):
			fmt.Fprintf(&b, `\u%04x`, r)
		case hidden(r):
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

// hidden reports whether a terminal would do something else with r than show it: C0, DEL
// and C1, and what changes the direction of text or begins another line.
func hidden(r rune) bool {
	switch {
	case r == '\n' || r == '\t':
		return false
	case r < 0x20 || r >= 0x7f && r < 0xa0:
		return true
	case r == 0x61c || r == 0x200e || r == 0x200f || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069:
		return true
	}
	return false
}

// Output is Text for what the application writes to a terminal: it may have colours, and
// lines may end as on one.
func Output(b []byte) []byte {
	if utf8.Valid(b) && !bytes.ContainsFunc(b, hidden) {
		return b
	}
	var out []byte
	for len(b) > 0 {
		if n := max(colour(b), lineEnd(b)); n > 0 {
			out, b = append(out, b[:n]...), b[n:]
			continue
		}
		_, n := utf8.DecodeRune(b)
		out, b = append(out, Text(string(b[:n]), false)...), b[n:]
	}
	return out
}

// colour returns how long the sequence is that b begins with, if it changes how characters
// look (SGR), and nothing else.
func colour(b []byte) int {
	if !bytes.HasPrefix(b, []byte("\x1b[")) {
		return 0
	}
	rest := bytes.TrimLeft(b[2:], "0123456789:;")
	if len(rest) == 0 || rest[0] != 'm' {
		return 0
	}
	return len(b) - len(rest) + 1
}

func lineEnd(b []byte) int {
	if bytes.HasPrefix(b, []byte("\r\n")) {
		return 2
	}
	return 0
}
