package config

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"hostler/settings"
)

// poolName is also the value of a label.
var poolName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)

// parsePool reads NAME=PATTERN:THREADS.
func parsePool(s string) (settings.Pool, error) {
	name, rest, ok := strings.Cut(s, "=")
	i := strings.LastIndexByte(rest, ':')
	if !ok || i < 0 {
		return settings.Pool{}, fmt.Errorf("%q is not NAME=PATTERN:THREADS", s)
	}
	p := settings.Pool{Name: name, Pattern: rest[:i]}
	n, err := strconv.Atoi(rest[i+1:])
	switch {
	case !poolName.MatchString(p.Name):
		return settings.Pool{}, fmt.Errorf("%q cannot be the name of a pool: letters, digits, - and _, 32 at most", p.Name)
	case !isPattern(p.Pattern):
		return settings.Pool{}, noPattern(p.Pattern)
	case err != nil || n < 1 || n > maxThreads:
		return settings.Pool{}, fmt.Errorf("%q is not a number of threads: a whole number from 1 to %d", rest[i+1:], maxThreads)
	}
	p.Threads = n
	return p, nil
}

// isPattern reports whether there are paths that match s.
func isPattern(s string) bool { return strings.HasPrefix(s, "/") || strings.HasPrefix(s, "*") }

func noPattern(s string) error {
	return fmt.Errorf("the pattern %q matches no path: it has to begin with / or *", s)
}

func parsePattern(s string) (string, error) {
	if !isPattern(s) {
		return "", noPattern(s)
	}
	return s, nil
}
