package accesslog

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The formats that have names.
const (
	// Combined is Apache's, and Gunicorn's default.
	Combined = "combined"
	// Timed is Combined with the duration in microseconds behind it.
	Timed = "timed"
	// JSON is an object a line, with OpenTelemetry's names.
	JSON = "json"
)

const combined = `%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"`

// Format is how lines look. It does not change.
type Format struct {
	parts    []part
	requests []string // names of the request fields that are asked for, in lower case

	// Precise says that lines have more of the time than a Clock.
	Precise bool
}

// part appends a piece of a line.
type part func(b []byte, e *Entry, now *Clock) []byte

// Parse reads a format: one of the names above, or a text with Gunicorn's atoms.
func Parse(text string) (*Format, error) {
	f := new(Format)
	switch text {
	case JSON:
		f.parts, f.Precise = []part{f.json()}, true
		return f, nil
	case Combined:
		text = combined
	case Timed:
		text = combined + " %(D)s"
	default:
		if !strings.Contains(text, "%(") {
			return nil, fmt.Errorf("%q is neither combined, timed nor json, and has no atom like %%(h)s", text)
		}
	}
	return f, f.parse(text)
}

// RequestFields returns the names of the request fields that lines need, in lower case.
func (f *Format) RequestFields() []string { return f.requests }

// Append appends a line, with its newline.
func (f *Format) Append(b []byte, e *Entry, now *Clock) []byte {
	for _, p := range f.parts {
		b = p(b, e, now)
	}
	return append(b, '\n')
}

func (f *Format) parse(text string) error {
	for len(text) > 0 {
		i := strings.IndexByte(text, '%')
		if i < 0 {
			f.text(text)
			return nil
		}
		f.text(text[:i])
		text = text[i+1:]
		if strings.HasPrefix(text, "%") {
			f.text("%")
			text = text[1:]
			continue
		}
		name, rest, ok := strings.Cut(text, ")s")
		if !ok || !strings.HasPrefix(name, "(") {
			return fmt.Errorf("an atom is written %%(NAME)s, which %q is not", "%"+start(text))
		}
		p, err := f.atom(name[1:])
		if err != nil {
			return err
		}
		f.parts = append(f.parts, p)
		text = rest
	}
	return nil
}

func start(s string) string { return s[:min(len(s), 12)] }

func (f *Format) text(s string) {
	if s == "" {
		return
	}
	s = strings.NewReplacer("\n", " ", "\r", " ").Replace(s) // a line is a line
	f.parts = append(f.parts, func(b []byte, _ *Entry, _ *Clock) []byte { return append(b, s...) })
}

// atom returns the part for an atom of Gunicorn's.
func (f *Format) atom(name string) (part, error) {
	if len(name) > 3 && name[0] == '{' && name[len(name)-2] == '}' {
		return f.field(name[1:len(name)-2], name[len(name)-1])
	}
	switch name {
	case "u":
		return f.user(), nil
	case "f":
		return f.request("referer"), nil
	case "a":
		return f.request("user-agent"), nil
	}
	if p := atoms[name]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("there is no atom %%(%s)s", name)
}

// atoms are those that need nothing but the Entry. Durations are cut, not rounded, as
// Gunicorn's are.
var atoms = map[string]part{
	"h": func(b []byte, e *Entry, _ *Clock) []byte { return appendWord(b, e.Client) },
	"l": func(b []byte, _ *Entry, _ *Clock) []byte { return append(b, '-') },
	"t": func(b []byte, _ *Entry, now *Clock) []byte { return append(b, now.clf...) },
	"r": requestLine,
	"m": func(b []byte, e *Entry, _ *Clock) []byte { return appendQuoted(b, e.Method) },
	"U": func(b []byte, e *Entry, _ *Clock) []byte {
		path, _ := splitTarget(e.Target)
		return appendQuoted(b, path)
	},
	"q": func(b []byte, e *Entry, _ *Clock) []byte {
		_, query := splitTarget(e.Target)
		return appendEscaped(b, query)
	},
	"H": func(b []byte, e *Entry, _ *Clock) []byte { return appendWord(b, []byte(e.Protocol)) },
	"s": status,
	"B": func(b []byte, e *Entry, _ *Clock) []byte { return strconv.AppendInt(b, e.Bytes, 10) },
	"b": func(b []byte, e *Entry, _ *Clock) []byte {
		if e.Bytes == 0 {
			return append(b, '-')
		}
		return strconv.AppendInt(b, e.Bytes, 10)
	},
	"T": func(b []byte, e *Entry, _ *Clock) []byte {
		return strconv.AppendInt(b, int64(e.Duration/time.Second), 10)
	},
	"M": func(b []byte, e *Entry, _ *Clock) []byte { return strconv.AppendInt(b, e.Duration.Milliseconds(), 10) },
	"D": func(b []byte, e *Entry, _ *Clock) []byte { return strconv.AppendInt(b, e.Duration.Microseconds(), 10) },
	"L": func(b []byte, e *Entry, _ *Clock) []byte { return appendSeconds(b, e.Duration) },
	"p": func(b []byte, e *Entry, _ *Clock) []byte {
		return append(strconv.AppendInt(append(b, '<'), int64(e.PID), 10), '>')
	},
	// Those of our own.
	"queue":  func(b []byte, e *Entry, _ *Clock) []byte { return appendSeconds(b, e.Queue) },
	"worker": func(b []byte, e *Entry, _ *Clock) []byte { return strconv.AppendInt(b, int64(e.Worker), 10) },
	"cause": func(b []byte, e *Entry, _ *Clock) []byte {
		return appendWord(b, []byte(e.Cause))
	},
}

func requestLine(b []byte, e *Entry, _ *Clock) []byte {
	if e.Method == nil {
		return append(b, '-')
	}
	b = append(appendEscaped(b, e.Method), ' ')
	b = append(appendEscaped(b, e.Target), ' ')
	return append(b, e.Protocol...)
}

func status(b []byte, e *Entry, _ *Clock) []byte {
	if e.Status == 0 {
		return append(b, "000"...)
	}
	return strconv.AppendInt(b, int64(e.Status), 10)
}

// appendSeconds appends d in seconds, with six decimals.
func appendSeconds(b []byte, d time.Duration) []byte {
	us := max(d.Microseconds(), 0)
	return appendMicros(strconv.AppendInt(b, us/1e6, 10), us%1e6)
}

// appendMicros appends us, which is below a second, as decimals.
func appendMicros(b []byte, us int64) []byte {
	b = append(b, ".000000"...)
	for i := len(b) - 1; us > 0; i-- {
		b[i] = byte('0' + us%10)
		us /= 10
	}
	return b
}

func splitTarget(target []byte) (path, query []byte) {
	path, query, _ = bytes.Cut(target, []byte("?"))
	return path, query
}

// field returns the part for {NAME}i, {NAME}o or {NAME}e.
func (f *Format) field(name string, of byte) (part, error) {
	name = strings.ToLower(name)
	switch of {
	case 'i':
		return f.request(name), nil
	case 'o':
		return func(b []byte, e *Entry, _ *Clock) []byte {
			if e.Fields == nil {
				return append(b, '-')
			}
			return appendQuoted(b, e.Fields.ResponseField(name))
		}, nil
	case 'e':
		if field, ok := strings.CutPrefix(name, "http_"); ok {
			return f.request(strings.ReplaceAll(field, "_", "-")), nil
		}
		if p := environ[name]; p != nil {
			return p, nil
		}
		return nil, fmt.Errorf("%%({%s}e)s: of environ the access log knows HTTP_*, %s", strings.ToUpper(name), known())
	}
	return nil, fmt.Errorf("%%({%s}%c)s is of no kind that there is: i is a field of the request, o of the response, e of environ", name, of)
}

// environ has what the log knows under the names of environ.
var environ = map[string]part{
	"remote_addr":     atoms["h"],
	"request_method":  atoms["m"],
	"path_info":       atoms["U"],
	"raw_uri":         func(b []byte, e *Entry, _ *Clock) []byte { return appendQuoted(b, e.Target) },
	"query_string":    atoms["q"],
	"server_protocol": atoms["H"],
}

func known() string {
	var names []string
	for name := range environ {
		names = append(names, strings.ToUpper(name))
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// request returns the part for a field of the request.
func (f *Format) request(name string) part {
	n := f.need(name)
	return func(b []byte, e *Entry, _ *Clock) []byte {
		if e.Fields == nil {
			return append(b, '-')
		}
		return appendQuoted(b, e.Fields.RequestField(n))
	}
}

// need notes that lines have a field of the request, and returns its number.
func (f *Format) need(name string) int {
	if n := slices.Index(f.requests, name); n >= 0 {
		return n
	}
	f.requests = append(f.requests, name)
	return len(f.requests) - 1
}

// user returns the part for the name that a client gave with Basic (RFC 7617), whether
// it was right or not.
func (f *Format) user() part {
	n := f.need("authorization")
	return func(b []byte, e *Entry, _ *Clock) []byte {
		if e.Fields == nil {
			return append(b, '-')
		}
		var room [128]byte
		return appendWord(b, basicUser(room[:], e.Fields.RequestField(n)))
	}
}

// basicUser decodes the user's name into room; nil: there is none, or it is too long.
func basicUser(room, authorization []byte) []byte {
	const scheme = "basic "
	if len(authorization) < len(scheme) || !bytes.EqualFold(authorization[:len(scheme)], []byte(scheme)) {
		return nil
	}
	code := bytes.TrimLeft(authorization[len(scheme):], " ")
	// Four characters are three bytes: what follows the name need not be decoded.
	code = code[:min(len(code), len(room)/3*4)&^3]
	n, err := base64.StdEncoding.Decode(room, code)
	if err != nil {
		return nil
	}
	name, _, ok := bytes.Cut(room[:n], []byte(":"))
	if !ok {
		return nil
	}
	return name
}
