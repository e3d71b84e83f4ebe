package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"unicode"
)

// parseApp checks the syntax of MODULE[:ATTR | :FACTORY(ARGUMENTS)]. Whether there is
// such a module, and whether the arguments are literals, only Python can tell.
func parseApp(s string) (string, error) {
	const form = "MODULE, MODULE:ATTR or MODULE:FACTORY()"
	module, attr, hasAttr := strings.Cut(s, ":")
	switch {
	case s == "":
		return "", errors.New("is empty: give " + form)
	case strings.ContainsAny(module, `/\`):
		return "", fmt.Errorf("%q is a path: give the module as Python imports it (package.module), and its directory with --chdir", s)
	case strings.HasSuffix(module, ".py"):
		name := strings.TrimSuffix(module, ".py")
		return "", fmt.Errorf("%q is a file's name: give the module as Python imports it, %s", s, name)
	case !isDotted(module):
		return "", fmt.Errorf("%q is not %s: %q is no module's name", s, form, module)
	case !hasAttr:
		return s, nil
	}
	name, _, isCall := strings.Cut(attr, "(")
	if isCall != strings.HasSuffix(attr, ")") {
		return "", fmt.Errorf("%q is not %s", s, form)
	}
	if !isDotted(name) {
		return "", fmt.Errorf("%q is not %s: %q is no attribute's name", s, form, name)
	}
	return s, nil
}

// isDotted reports whether s is Python identifiers with dots between them.
func isDotted(s string) bool {
	for part := range strings.SplitSeq(s, ".") {
		if part == "" {
			return false
		}
		for i, r := range part {
			if r != '_' && !unicode.IsLetter(r) && (i == 0 || !unicode.IsDigit(r) && !unicode.Is(unicode.M, r)) || r == unicode.ReplacementChar {
				return false
			}
		}
	}
	return true
}

// parseHooks reads MODULE, or FILE.py, which may be Gunicorn's settings file; empty
// is none. Workers, who may run elsewhere (--chdir), get the whole path.
func parseHooks(s string) (string, error) {
	switch {
	case strings.HasSuffix(s, ".py"):
		if _, err := parseText(s); err != nil {
			return "", err
		}
		path, err := filepath.Abs(s)
		if err != nil {
			return "", fmt.Errorf("cannot find %s: %w", s, err)
		}
		return path, nil
	case s == "" || isDotted(s):
		return s, nil
	case strings.ContainsAny(s, `/\`):
		return "", fmt.Errorf("%q is neither a module as Python imports it (package.module) nor FILE.py", s)
	}
	return "", fmt.Errorf("%q is no module's name", s)
}
