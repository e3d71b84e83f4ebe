package ctl

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// visible makes text of others harmless where it is shown: paths, function names and
// messages come from clients and from the application, and a terminal obeys control
// characters. They are written as in Go and Python, or as in JSON, whose meaning that
// leaves as it is; line ends and tabs stay.
func visible(s string, json bool) string {
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
