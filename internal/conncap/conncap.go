// Package conncap bounds the connections of a net/http server.
package conncap

import (
	"net"
	"net/http"
	"sync"
)

// Cap closes what does the least when there are too many connections: of those that
// have no request, the one that has been so for longest. So whoever holds many open
// cannot keep others out. Make one with New; its See is for http.Server.ConnState.
type Cap struct {
	max int

	mu    sync.Mutex
	turn  uint64
	conns map[net.Conn]entry
}

type entry struct {
	turn   uint64 // the lower, the longer it has been in its state
	active bool   // it has a request
}

// New returns a Cap for max connections.
func New(max int) *Cap { return &Cap{max: max, conns: make(map[net.Conn]entry)} }

// See notes that a connection is in another state.
func (c *Cap) See(conn net.Conn, state http.ConnState) {
	if victim := c.note(conn, state); victim != nil {
		victim.Close()
	}
}

// note returns a connection that is to be closed, or nil.
func (c *Cap) note(conn net.Conn, state http.ConnState) net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	if state == http.StateClosed || state == http.StateHijacked {
		delete(c.conns, conn)
		return nil
	}
	c.turn++
	c.conns[conn] = entry{c.turn, state == http.StateActive}
	if len(c.conns) <= c.max {
		return nil
	}
	victim, oldest := conn, c.turn+1 // the new one itself, if all others have requests
	for other, e := range c.conns {
		if !e.active && e.turn < oldest {
			victim, oldest = other, e.turn
		}
	}
	delete(c.conns, victim)
	return victim
}
