package protocol

import (
	"encoding/json"
	"fmt"
	"os"
)

// ErrorPage is what the operator wants in the body of an answer that is the server's own.
// All of a generation's come in a sealed memfd, on FDPages (/dev/null where there are
// none): the files need not be the workers' to read, and a worker that starts later has
// what the others have.
type ErrorPage struct {
	Status int    `json:"status"` // 503; a digit stands for a class
	Type   string `json:"type"`   // of the body, for Content-Type
	Body   []byte `json:"body"`
}

// NewPagesMemory makes memory with pages in it, which nobody can write to any more. The
// caller closes it.
func NewPagesMemory(pages []ErrorPage) (*os.File, error) {
	b, err := json.Marshal(pages)
	var f *os.File
	if err == nil {
		f, err = NewMemory("hostler-pages", b)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot hand over error pages: %w", err)
	}
	return f, nil
}

// ReadPages returns what NewPagesMemory has written; the null device has none.
func ReadPages(fd int) ([]ErrorPage, error) {
	b, err := readMemory(fd)
	if err != nil {
		return nil, fmt.Errorf("cannot read error pages: %w", err)
	}
	if len(b) == 0 {
		return nil, nil
	}
	var pages []ErrorPage
	if err := json.Unmarshal(b, &pages); err != nil {
		return nil, fmt.Errorf("cannot read error pages: %w", err)
	}
	return pages, nil
}
