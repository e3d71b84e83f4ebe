// Package nearest guesses which name was meant by one that nobody knows.
package nearest

import (
	"fmt"
	"strings"
)

// Hint returns the words to add to a message on an unknown name.
func Hint(name string, known []string) string {
	if near := Of(name, known); near != "" {
		return Meant(near)
	}
	return ""
}

// Meant returns the words for a name that is known to have been meant.
func Meant(name string) string { return fmt.Sprintf(" (did you mean %s?)", name) }

// Of returns the one of known that name was probably meant to be, or "".
func Of(name string, known []string) string {
	if len(name) > 64 {
		return ""
	}
	bare := func(s string) string {
		return strings.TrimPrefix(strings.TrimLeft(strings.ToLower(s), "-"), "hostler_")
	}
	want := bare(name)
	best, bestDistance := "", 1+max(1, len(want)/3)
	for _, k := range known {
		if d := distance(want, bare(k)); d < bestDistance {
			best, bestDistance = k, d
		}
	}
	if best != "" || len(want) < 3 {
		return best
	}
	// Cut short: pflag knows no abbreviations.
	for _, k := range known {
		if strings.HasPrefix(bare(k), want) {
			return k
		}
	}
	return ""
}

// distance counts the edits from a to b: a letter more, less, other, or two
// neighbours swapped.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
