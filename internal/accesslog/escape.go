package accesslog

import (
	"unicode/utf8"
)

const hex = "0123456789abcdef"

// appendQuoted appends v, or "-" if there is none, as Apache writes what stands in
// quotes: what could end the quotes or the line, or disturb a terminal, is escaped, and
// so is all beyond ASCII.
func appendQuoted(b, v []byte) []byte {
	if v == nil {
		return append(b, '-')
	}
	return appendEscaped(b, v)
}

func appendEscaped(b, v []byte) []byte {
	clean := 0 // what follows has been looked at, and is fine
	for i, c := range v {
		if c >= 0x20 && c < 0x7f && c != '"' && c != '\\' {
			continue
		}
		b = append(b, v[clean:i]...)
		clean = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\b':
			b = append(b, `\b`...)
		case '\t':
			b = append(b, `\t`...)
		case '\n':
			b = append(b, `\n`...)
		case '\v':
			b = append(b, `\v`...)
		case '\r':
			b = append(b, `\r`...)
		default:
			b = append(b, '\\', 'x', hex[c>>4], hex[c&15])
		}
	}
	return append(b, v[clean:]...)
}

// appendWord is appendEscaped for what stands without quotes, where a blank would be
// taken for the end of the field.
func appendWord(b, v []byte) []byte {
	if len(v) == 0 {
		return append(b, '-')
	}
	at := len(b)
	b = appendEscaped(b, v)
	for i := at; i < len(b); i++ {
		if b[i] == ' ' {
			b = append(b[:i], append([]byte(`\x20`), b[i+1:]...)...)
		}
	}
	return b
}

// appendJSON appends v as a JSON string. What is not UTF-8 becomes U+FFFD; controls, also
// those beyond ASCII, and what some readers take for the end of a line are escaped.
func appendJSON(b, v []byte) []byte {
	b = append(b, '"')
	clean := 0
	for i := 0; i < len(v); {
		c := v[i]
		if c >= 0x20 && c < 0x7f && c != '"' && c != '\\' {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRune(v[i:])
			if r != utf8.RuneError && r >= 0xa0 && r != '\u2028' && r != '\u2029' {
				i += n
				continue
			}
			b = appendUnicode(append(b, v[clean:i]...), r)
			i += n
			clean = i
			continue
		}
		b = append(b, v[clean:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, `\n`...)
		case '\r':
			b = append(b, `\r`...)
		case '\t':
			b = append(b, `\t`...)
		default:
			b = appendUnicode(b, rune(c))
		}
		i++
		clean = i
	}
	return append(append(b, v[clean:]...), '"')
}

func appendUnicode(b []byte, r rune) []byte {
	return append(b, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
}
