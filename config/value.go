package config

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"hostler/internal/accesslog"
	"hostler/settings"
)

// value is how the texts given for a setting become a field of Config.
type value struct {
	accepts string // for the reference page
	list    bool   // may be repeated, or be an array in the file
	keyed   bool   // may be a table in the file, its entries written KEY=VALUE
	boolean bool   // a flag without a value
	// set fills the field, or leaves it alone and says what is wrong. It gets
	// at least one text; only lists get more.
	set func(c *Config, texts []string) []error
}

// custom is a single value read by parse.
func custom[T any](accepts string, field func(*Config) *T, parse func(string) (T, error)) value {
	return value{accepts: accepts, set: func(c *Config, texts []string) []error {
		v, err := parse(texts[len(texts)-1])
		if err != nil {
			return []error{err}
		}
		*field(c) = v
		return nil
	}}
}

// list is a value of many parts: texts are cut at any of the separators, and
// the pieces read by parse. Empty pieces do not count.
func list[T any](accepts, separators string, field func(*Config) *[]T, parse func(string) (T, error)) value {
	return value{accepts: accepts, list: true, set: func(c *Config, texts []string) []error {
		var all []T
		var errs []error
		for _, t := range texts {
			for _, piece := range cut(t, separators) {
				v, err := parse(piece)
				if err != nil {
					errs = append(errs, err)
				}
				all = append(all, v)
			}
		}
		if errs == nil {
			*field(c) = all
		}
		return errs
	}}
}

// cut splits s at any of the separators into trimmed pieces that are not empty.
func cut(s, separators string) []string {
	if separators == "" {
		return []string{s}
	}
	var pieces []string
	for _, p := range strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(separators, r) }) {
		if p = strings.TrimSpace(p); p != "" {
			pieces = append(pieces, p)
		}
	}
	return pieces
}

func text(field func(*Config) *string) value { return custom("text", field, parseOptional) }

// parseOptional allows the empty text too, with which a flag takes back what
// stands in the file.
func parseOptional(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	return parseText(s)
}

func parseText(s string) (string, error) {
	switch {
	case s == "":
		return "", errors.New("is empty")
	case !utf8.ValidString(s):
		return "", fmt.Errorf("%q is not valid UTF-8", s)
	case strings.ContainsFunc(s, unicode.IsControl):
		return "", fmt.Errorf("%q has a control character in it", s)
	}
	return s, nil
}

// parseWord reads one of some words.
func parseWord(words ...string) func(string) (string, error) {
	return func(s string) (string, error) {
		if !slices.Contains(words, s) {
			return "", fmt.Errorf("%q is not one of %s", s, strings.Join(words, ", "))
		}
		return s, nil
	}
}

// parseInterface reads what an application is for; uvicorn calls ASGI asgi3.
func parseInterface(s string) (string, error) {
	if s == "asgi3" {
		return settings.InterfaceASGI, nil
	}
	return parseWord(settings.InterfaceAuto, settings.InterfaceWSGI, settings.InterfaceASGI, settings.InterfaceASGI2)(s)
}

// parseLoop reads the name of an event loop, or how one is made.
func parseLoop(s string) (string, error) {
	module, factory, ok := strings.Cut(s, ":")
	switch {
	case s == settings.LoopAuto, s == "asyncio", s == "uvloop", s == settings.LoopGevent:
		return s, nil
	case !ok || module == "" || factory == "":
		return "", fmt.Errorf("%q is neither auto, asyncio, uvloop or gevent, nor MODULE:FACTORY", s)
	}
	return parseText(s)
}

// parseDir reads a directory that workers use, who may run elsewhere (--chdir).
func parseDir(s string) (string, error) {
	dir, err := parseOptional(s)
	if err != nil || dir == "" {
		return "", err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", fmt.Errorf("cannot find %s: %w", s, err)
	}
	return dir, nil
}

func parseLog(s string) (string, error) {
	if s == "off" {
		return "", nil
	}
	return parseOptional(s)
}

func parseEnv(s string) (string, error) {
	key, _, ok := strings.Cut(s, "=")
	switch {
	case !ok || key == "":
		return "", fmt.Errorf("%q is not KEY=VALUE", s)
	case strings.IndexByte(s, 0) >= 0:
		return "", fmt.Errorf("%q has a zero byte in it", s)
	}
	return s, nil
}

func boolean(field func(*Config) *bool) value {
	v := custom("", field, parseBool)
	v.boolean = true
	return v
}

func parseBool(s string) (bool, error) {
	switch strings.ToLower(s) { // what people write in variables
	case "yes", "on":
		return true, nil
	case "no", "off":
		return false, nil
	}
	b, err := strconv.ParseBool(s)
	if err != nil {
		return false, fmt.Errorf("%q is neither true nor false", s)
	}
	return b, nil
}

func parseUmask(s string) (string, error) {
	s = strings.TrimPrefix(s, "0o") // as Python writes it, and so Gunicorn's users
	if n, err := strconv.ParseUint(s, 8, 16); err != nil || n > 0o777 {
		return "", fmt.Errorf("%q is not an octal number up to 777", s)
	}
	return s, nil
}

func parsePath(s string) (string, error) {
	if !strings.HasPrefix(s, "/") {
		return "", fmt.Errorf("%q does not begin with /", s)
	}
	return s, nil
}

// parseReadyPath allows the empty text, too.
func parseReadyPath(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	return parsePath(s)
}

func number(lo, hi int, field func(*Config) *int) value {
	accepts := fmt.Sprintf("a whole number from %d to %d", lo, hi)
	if hi >= 1<<40 {
		accepts = fmt.Sprintf("a whole number, at least %d", lo)
	}
	return custom(accepts, field, func(s string) (int, error) {
		n, err := strconv.Atoi(s)
		if err != nil || n < lo || n > hi {
			return 0, fmt.Errorf("%q is not %s", s, accepts)
		}
		return n, nil
	})
}

// threads is a number of threads, or "auto".
func threads() value {
	accepts := fmt.Sprintf("a whole number from 1 to %d, or `auto`", maxThreads)
	return value{accepts: accepts, set: func(c *Config, texts []string) []error {
		text := texts[len(texts)-1]
		n, err := strconv.Atoi(text)
		if c.ThreadsAuto = text == "auto"; c.ThreadsAuto {
			n = autoThreads
		} else if err != nil || n < 1 || n > maxThreads {
			return []error{fmt.Errorf("%q is not %s", text, strings.ReplaceAll(accepts, "`", `"`))}
		}
		c.Threads = n
		return nil
	}}
}

// workers is a number of processes, or the bounds of one.
func workers() value {
	accepts := fmt.Sprintf("a whole number from 1 to %d, or `auto`, or two of these with a colon between them", maxWorkers)
	return value{accepts: accepts, set: func(c *Config, texts []string) []error {
		parts := strings.Split(texts[len(texts)-1], ":")
		var n []int
		for _, p := range parts {
			v, err := strconv.Atoi(p)
			if p != "auto" && (err != nil || v < 1 || v > maxWorkers) || len(parts) > 2 {
				return []error{fmt.Errorf("%q is not %s", strings.Join(parts, ":"), strings.ReplaceAll(accepts, "`", `"`))}
			}
			n = append(n, v)
		}
		c.Workers, c.WorkersAuto = n[0], parts[0] == "auto"
		c.MaxWorkers, c.maxAuto = 0, false
		if len(n) == 2 {
			if c.MaxWorkers, c.maxAuto = n[1], parts[1] == "auto"; n[1] > 0 && n[0] > n[1] {
				return []error{fmt.Errorf("%q allows more workers at least than at most", strings.Join(parts, ":"))}
			}
		}
		return nil
	}}
}

// size is a number of bytes, with an optional k, m or g.
func size[T int | int64](lo, hi T, field func(*Config) *T) value {
	accepts := fmt.Sprintf("a number of bytes from %d to %d; k, m and g count in 1024s", lo, hi)
	if int64(hi) >= 1<<62 {
		accepts = "a number of bytes; k, m and g count in 1024s"
	}
	return sizes(accepts, lo, hi, field)
}

// sizeOrNone is a size of at least lo, or 0 for no limit.
func sizeOrNone(lo, hi int, field func(*Config) *int) value {
	accepts := fmt.Sprintf("a number of bytes from %d to %d, or 0; k, m and g count in 1024s", lo, hi)
	v := sizes(accepts, 0, hi, field)
	set := v.set
	v.set = func(c *Config, texts []string) []error {
		was := *field(c)
		errs := set(c, texts)
		if n := *field(c); n > 0 && n < lo {
			*field(c) = was
			errs = []error{fmt.Errorf("%q is not %s", texts[len(texts)-1], accepts)}
		}
		return errs
	}
	return v
}

func sizes[T int | int64](accepts string, lo, hi T, field func(*Config) *T) value {
	return custom(accepts, field, func(s string) (T, error) {
		n, ok := parseSize(s)
		if !ok || n > int64(hi) || n < int64(lo) {
			return 0, fmt.Errorf("%q is not %s", s, accepts)
		}
		return T(n), nil
	})
}

// parseSize reads a number of bytes, with a unit or without. 10MB is 10MiB, as people
// mean it who write it.
func parseSize(s string) (n int64, ok bool) {
	digits := strings.TrimRightFunc(s, unicode.IsLetter)
	unit := int64(1)
	switch strings.ToLower(s[len(digits):]) {
	case "", "b":
	case "k", "kb", "kib":
		unit = 1 << 10
	case "m", "mb", "mib":
		unit = 1 << 20
	case "g", "gb", "gib":
		unit = 1 << 30
	case "t", "tb", "tib":
		unit = 1 << 40
	default:
		return 0, false
	}
	whole, fraction, broken := strings.Cut(digits, ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || n > math.MaxInt64/unit-1 || broken && (unit == 1 || whole[0] == '-') {
		return 0, false
	}
	n *= unit
	if broken {
		f, err := strconv.ParseUint(fraction, 10, 63)
		if err != nil || len(fraction) > 9 {
			return 0, false
		}
		n += int64(float64(f) / math.Pow10(len(fraction)) * float64(unit))
	}
	return n, true
}

type timePtr = *time.Duration

// maxDuration keeps sums of times from overflowing anywhere.
const maxDuration = 365 * 24 * time.Hour

// duration is a time in seconds, or in the units of Go and days.
func duration(field func(*Config) timePtr) value {
	const accepts = "seconds (`30`, `0.5`), or a number with a unit (`500ms`, `30s`, `2m`, `1h`, `7d`)"
	return custom(accepts, field, func(s string) (time.Duration, error) {
		d, ok := parseTime(s)
		switch {
		case !ok:
			return 0, fmt.Errorf("%q is not a time: give seconds (30, 0.5) or a number with ms, s, m, h or d (2m)", s)
		case d < 0:
			return 0, fmt.Errorf("%q is less than nothing", s)
		case d > maxDuration:
			return 0, fmt.Errorf("%q is more than a year", s)
		}
		return d, nil
	})
}

// grace is a duration, or off, which is less than nothing.
func grace(field func(*Config) timePtr) value {
	v := duration(field)
	v.accepts += ", or `off`"
	set := v.set
	v.set = func(c *Config, texts []string) []error {
		if texts[len(texts)-1] == "off" {
			*field(c) = -1
			return nil
		}
		return set(c, texts)
	}
	return v
}

// parseTime reads a time as in 30, 0.5, 2m, 7d and 1d12h.
func parseTime(s string) (time.Duration, bool) {
	var days time.Duration
	if n, rest, ok := strings.Cut(s, "d"); ok {
		f, err := strconv.ParseFloat(n, 64)
		if err != nil || f < 0 || f > 1000 || strings.ContainsAny(n, "eExXpPnN_") {
			return 0, false
		}
		if days = time.Duration(f * 24 * float64(time.Hour)); rest == "" {
			return days, true
		}
		s = rest
		if !strings.ContainsAny(s[len(s)-1:], "smh") || strings.HasPrefix(s, "-") {
			return 0, false
		}
	}
	if s != "" && (s[len(s)-1] == '.' || '0' <= s[len(s)-1] && s[len(s)-1] <= '9') {
		s += "s"
	}
	d, err := time.ParseDuration(s)
	return days + d, err == nil
}

func logLevel() value {
	return custom("`debug`, `info`, `warning` or `error`", func(c *Config) *string { return &c.LogLevel }, parseLevel)
}

// parseLevel also takes the names that Gunicorn, uvicorn and Python have for levels.
func parseLevel(s string) (string, error) {
	switch l := strings.ToLower(s); l {
	case "debug", "info", "warning", "error":
		return l, nil
	case "warn":
		return "warning", nil
	case "critical":
		return "error", nil
	case "trace": // uvicorn's
		return "debug", nil
	}
	return "", fmt.Errorf("%q is not one of debug, info, warning, error", s)
}

// parseAccessFormat checks a format of the access log.
func parseAccessFormat(s string) (string, error) {
	if _, err := accesslog.Parse(s); err != nil {
		return "", err
	}
	return s, nil
}
