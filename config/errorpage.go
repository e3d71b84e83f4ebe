package config

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"hostler/settings"
)

// pageTypes are the types of error pages by the endings of their files. The machine's own
// table of types could differ from the next one's.
var pageTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".htm":  "text/html; charset=utf-8",
	".txt":  "text/plain; charset=utf-8",
	".json": "application/json",
	".xml":  "application/xml",
}

// ownErrors are the statuses of errors that hostler answers itself.
var ownErrors = []int{400, 404, 405, 408, 412, 413, 414, 416, 417, 426, 431, 500, 501, 503, 504, 505}

// parseErrorPage reads STATUS=FILE.
func parseErrorPage(s string) (settings.ErrorPage, error) {
	status, file, ok := strings.Cut(s, "=")
	if !ok || file == "" {
		return settings.ErrorPage{}, fmt.Errorf("%q is not STATUS=FILE", s)
	}
	p := settings.ErrorPage{File: file}
	switch n, err := strconv.Atoi(status); {
	case status == "4xx", status == "5xx":
		p.Status = int(status[0] - '0')
	case err != nil || n < 400 || n > 599:
		return settings.ErrorPage{}, fmt.Errorf("%q is no status of an error: a number from 400 to 599, 4xx or 5xx", status)
	default:
		p.Status = n
	}
	if p.Type = pageTypes[strings.ToLower(filepath.Ext(file))]; p.Type == "" {
		return settings.ErrorPage{}, fmt.Errorf("%s says nothing of its type: it has to end with one of %s", file, strings.Join(slices.Sorted(maps.Keys(pageTypes)), ", "))
	}
	return p, nil
}

// statusName is a status as one writes it for --error-page.
func statusName(status int) string {
	if status < 10 {
		return strconv.Itoa(status) + "xx"
	}
	return strconv.Itoa(status)
}
