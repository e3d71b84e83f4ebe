package worker

import (
	"fmt"
	"testing"

	"hostler/protocol"
)

// TestOldestSeen: of more requests than there are records the oldest are on the board, whichever
// have ended meanwhile; the others are counted.
func TestOldestSeen(t *testing.T) {
	const most, all = protocol.MaxThreads - 1, protocol.MaxThreads + 44
	begun := make(chan *seatCall, 1)
	e := serveAsync(t, asyncConfig(), func(c *seatCall) { begun <- c })
	var calls []*seatCall
	for i := range all {
		send(t, e.dial(), fmt.Sprintf("GET /%d HTTP/1.1\r\nHost: a\r\n\r\n", i))
		calls = append(calls, <-begun)
	}
	seen := func() map[string]bool {
		on := make(map[string]bool)
		for i := range e.slot.ThreadRecs {
			if a, busy := e.slot.ThreadRecs[i].Snapshot(); busy {
				on[a.Target] = true
			}
		}
		return on
	}
	want := func(what string, from, to, unseen int) {
		t.Helper()
		eventually(t, what, func() bool {
			on := seen()
			for i := from; i < to; i++ {
				if !on[fmt.Sprintf("/%d", i)] {
					return false
				}
			}
			return len(on) == to-from && e.slot.Gauges.Unseen.Load() == int64(unseen)
		})
	}
	end := func(of []*seatCall) {
		e.soon(func() {
			for _, c := range of {
				c.answer("x")
			}
		})
	}
	want("the oldest", 0, most, all-most)
	end(calls[:10])
	want("the oldest that are left", 10, most+10, all-most-10)
	end(calls[all-10:]) // which nobody had seen
	want("the same", 10, most+10, all-most-20)
	end(calls[10 : all-10])
	want("nothing", 0, 0, 0)
}

// TestOldestSeenSockets: a WebSocket keeps the record of its request, or is counted as one that has none.
func TestOldestSeenSockets(t *testing.T) {
	const most = protocol.MaxThreads - 1
	begun := make(chan *seatCall, 1)
	e := serveAsync(t, asyncConfig(), func(c *seatCall) { begun <- c })
	var waiting []*seatCall
	for range most {
		send(t, e.dial(), get)
		waiting = append(waiting, <-begun)
	}
	conn := e.dial()
	send(t, conn, "GET /socket HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	c := <-begun
	g := &e.slot.Gauges
	eventually(t, "it waits", func() bool { return g.Unseen.Load() == 1 })
	e.soon(func() {
		delete(e.calls, c.seat)
		if _, err := e.a.AcceptSocket(c.seat, nil, nil); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "it is open", func() bool { return g.Sockets.Load() == 1 && g.Tasks.Load() == most })
	if n := g.Unseen.Load(); n != 1 {
		t.Errorf("%d are not seen", n)
	}
	conn.Close()
	eventually(t, "it is over", func() bool { return g.Unseen.Load() == 0 })
	e.soon(func() {
		for _, c := range waiting {
			c.answer("x")
		}
	})
	eventually(t, "the end", func() bool { return g.Tasks.Load() == 0 && g.Unseen.Load() == 0 })
}
