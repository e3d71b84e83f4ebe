package master

import (
	"fmt"
	"os"
	"slices"

	"hostler/internal/inode"
	"hostler/master/spawn"
	"hostler/protocol"
	"hostler/settings"
)

const (
	maxErrorPage  = 256 << 10 // bytes of one
	maxErrorPages = 1 << 20   // bytes of all
)

// errorPages are a generation's, in memory that its workers read.
type errorPages struct{ memory *os.File } // sealed

// openErrorPages reads the files; nil: there are none.
func openErrorPages(set []settings.ErrorPage) (*errorPages, error) {
	if len(set) == 0 {
		return nil, nil
	}
	read, err := readErrorPages(set)
	if err != nil {
		return nil, err
	}
	memory, err := protocol.NewPagesMemory(read)
	if err != nil {
		return nil, err
	}
	return &errorPages{memory}, nil
}

func readErrorPages(set []settings.ErrorPage) ([]protocol.ErrorPage, error) {
	var all []protocol.ErrorPage
	size := 0
	for _, p := range set {
		b, err := inode.ReadRegular(p.File, maxErrorPage)
		if err != nil {
			return nil, fmt.Errorf("cannot read an error page: %w", err)
		}
		if size += len(b); size > maxErrorPages {
			return nil, fmt.Errorf("cannot take so many error pages: they may have %d bytes", maxErrorPages)
		}
		all = append(all, protocol.ErrorPage{Status: p.Status, Type: p.Type, Body: b})
	}
	return all, nil
}

// fd is what workers inherit, or -1.
func (p *errorPages) fd() int {
	if p == nil {
		return -1
	}
	return spawn.RawFD(p.memory)
}

// close gives up the master's copy. Workers that are to read it have their own.
func (p *errorPages) close() {
	if p != nil {
		p.memory.Close()
	}
}

// closeErrorPages closes those that no worker will be started with any more.
func (s *supervisor) closeErrorPages() {
	s.pages = slices.DeleteFunc(s.pages, func(p *errorPages) bool {
		if s.current != nil && s.current.pages == p || s.next != nil && s.next.pages == p {
			return false
		}
		p.close()
		return true
	})
}
