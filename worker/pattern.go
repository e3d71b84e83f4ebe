package worker

import (
	"bytes"
	"strings"
)

// pathPattern is a pattern for paths, cut at its stars.
type pathPattern [][]byte

func newPathPattern(s string) pathPattern {
	var p pathPattern
	for part := range strings.SplitSeq(s, "*") {
		p = append(p, []byte(part))
	}
	return p
}

// match reports whether a path is of the pattern. Going from left to right, each part may
// take the first place it finds, save for the last, which has to be at the end.
func (p pathPattern) match(path []byte) bool {
	first, last := p[0], p[len(p)-1]
	if len(p) == 1 {
		return bytes.Equal(path, first)
	}
	if !bytes.HasPrefix(path, first) {
		return false
	}
	path = path[len(first):]
	for _, part := range p[1 : len(p)-1] {
		i := bytes.Index(path, part)
		if i < 0 {
			return false
		}
		path = path[i+len(part):]
	}
	return bytes.HasSuffix(path, last)
}
