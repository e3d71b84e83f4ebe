package static

import (
	"slices"
	"strconv"
	"strings"
)

// coding is a content coding, and how a file that has it is called.
type coding struct{ name, suffix string }

// preferred has the codings that there may be files of, the densest first.
var preferred = [...]coding{{"br", ".br"}, {"zstd", ".zst"}, {"gzip", ".gz"}}

// codings returns the codings that a client takes rather than none, by its
// Accept-Encoding (RFC 9110, 12.5.3), the best first.
func codings(accept string) []coding {
	if accept == "" {
		return nil
	}
	given := make(map[string]float64, 4)
	for part := range strings.SplitSeq(accept, ",") {
		name, params, _ := strings.Cut(part, ";")
		name = strings.ToLower(strings.TrimSpace(name))
		if name == "x-gzip" {
			name = "gzip"
		}
		q := 1.0
		if k, v, ok := strings.Cut(strings.TrimSpace(params), "="); ok && strings.EqualFold(strings.TrimSpace(k), "q") {
			var err error
			if q, err = strconv.ParseFloat(strings.TrimSpace(v), 64); err != nil || !(q >= 0 && q <= 1) {
				q = 0 // what is not clear is not taken
			}
		}
		if name != "" {
			given[name] = q
		}
	}
	weight := func(name string) float64 {
		if q, ok := given[name]; ok {
			return q
		}
		return given["*"]
	}
	var takes []coding
	for _, c := range preferred {
		if q := weight(c.name); q > 0 && q >= given["identity"] {
			takes = append(takes, c)
		}
	}
	slices.SortStableFunc(takes, func(a, b coding) int {
		switch d := weight(b.name) - weight(a.name); {
		case d > 0:
			return 1
		case d < 0:
			return -1
		}
		return 0
	})
	return takes
}
