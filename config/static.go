package config

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"hostler/settings"
)

// parseStatic reads URL=DIR.
func parseStatic(s string) (settings.Static, error) {
	prefix, dir, ok := strings.Cut(s, "=")
	switch {
	case !ok || dir == "":
		return settings.Static{}, fmt.Errorf("%q is not URL=DIR", s)
	case !strings.HasPrefix(prefix, "/"):
		return settings.Static{}, fmt.Errorf("%q is not a path: it has to begin with /", prefix)
	case strings.Trim(prefix, "/") == "":
		return settings.Static{}, fmt.Errorf("%q would leave nothing to the application; it has to be a path of its own, e.g. /static", prefix)
	}
	clean := strings.TrimSuffix(prefix, "/")
	if path.Clean(clean) != clean || strings.ContainsAny(clean, "?#%\x00") {
		return settings.Static{}, fmt.Errorf("%q is not a plain path: no escapes, empty parts, . or .. in it", prefix)
	}
	// Workers may run elsewhere (--chdir).
	dir, err := filepath.Abs(dir)
	if err != nil {
		return settings.Static{}, fmt.Errorf("cannot find %s: %w", dir, err)
	}
	switch info, err := os.Stat(dir); {
	case err != nil:
		return settings.Static{}, fmt.Errorf("cannot serve files: %w", err)
	case !info.IsDir():
		return settings.Static{}, fmt.Errorf("%s is not a directory", dir)
	}
	return settings.Static{Prefix: clean, Dir: dir}, nil
}
