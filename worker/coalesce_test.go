package worker

import (
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hostler/protocol"
)

// lead waits as the leader does. In these tests there is no deputy: nothing is sent but by
// the thread itself.
func (r *rig) lead(t *Thread) {
	r.t.Helper()
	if what := r.Next(t); what != Lead {
		r.t.Fatalf("%d, not Lead", what)
	}
	n, err := unix.EpollWait(int(t.Epoll), t.Events[:], 10_000)
	if n <= 0 {
		r.t.Fatal(n, err)
	}
	t.Polled, t.NEvents = protocol.Monotonic(), int32(n)
}

// has reports whether something has come for a client.
func has(t *testing.T, c net.Conn) bool {
	t.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := raw.Control(func(fd uintptr) {
		n, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ)
	}); err != nil {
		t.Fatal(err)
	}
	return n > 0
}

// coalescing makes a rig whose thread has read the requests of n clients, whose replies may
// wait for long.
func coalescing(t *testing.T, n int, request string) (*rig, []net.Conn) {
	t.Helper()
	r := newRig(t, testConfig(), func(c *call) { c.ok(c.method + " " + c.target + " " + string(c.body)) })
	t.Cleanup(r.Stop)
	r.Thread(0).coalescer.limit = int64(time.Hour)
	clients := make([]net.Conn, n)
	for i := range clients {
		clients[i] = r.dial()
		send(t, clients[i], request)
	}
	r.lead(r.Thread(0))
	return r, clients
}

func (r *rig) mustRun() {
	r.t.Helper()
	if what := r.Next(r.Thread(0)); what != Run {
		r.t.Fatalf("%d, not Run", what)
	}
	r.run(r.Thread(0))
}

func answered(t *testing.T, clients []net.Conn) (n int) {
	t.Helper()
	for _, c := range clients {
		if has(t, c) {
			n++
		}
	}
	return n
}

// Replies leave when there is nothing more to do.
func TestCoalesce(t *testing.T) {
	r, clients := coalescing(t, 3, get)
	for range 3 {
		r.mustRun()
		if n := answered(t, clients); n != 0 {
			t.Errorf("%d clients have an answer before the last request has run", n)
		}
	}
	if what := r.Next(r.Thread(0)); what != Lead {
		t.Error(what)
	}
	for _, c := range clients {
		responses(t, c).want(200, "GET /a ")
	}
	if n := r.phases()[phaseIdle]; n != 3 {
		t.Errorf("%d connections are idle", n)
	}
}

// … or are so many, or so large, or have waited for so long; or the deputy finds them twice.
func TestCoalesceLimits(t *testing.T) {
	t.Run("many", func(t *testing.T) {
		r, clients := coalescing(t, coalesceReplies+2, get)
		for range coalesceReplies + 1 {
			r.mustRun()
		}
		if n := answered(t, clients); n != coalesceReplies {
			t.Errorf("%d answers", n)
		}
	})
	t.Run("large", func(t *testing.T) {
		r, clients := coalescing(t, 7, "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 7000\r\n\r\n"+strings.Repeat("a", 7000))
		for range 6 {
			r.mustRun()
		}
		if n := answered(t, clients); n != 5 {
			t.Errorf("%d answers", n)
		}
	})
	t.Run("late", func(t *testing.T) {
		r, clients := coalescing(t, 3, get)
		r.Thread(0).coalescer.limit = -1
		for i := range 3 {
			r.mustRun()
			if n := answered(t, clients); n != i {
				t.Errorf("%d answers while the %dth request runs", n, i+1)
			}
		}
	})
	t.Run("tick", func(t *testing.T) {
		r, clients := coalescing(t, 3, get)
		k := r.Thread(0).coalescer
		k.tick()
		r.mustRun()
		r.mustRun()
		k.tick()
		if n := answered(t, clients); n != 0 {
			t.Errorf("%d answers after a tick", n)
		}
		k.tick()
		if n := answered(t, clients); n != 1 {
			t.Errorf("%d answers after two", n)
		}
	})
}

// A request that comes while a reply waits is served after it.
func TestCoalesceAndMore(t *testing.T) {
	r, clients := coalescing(t, 2, get)
	r.mustRun()
	r.mustRun()
	send(t, clients[0], strings.Replace(get, "/a", "/b", 1))
	send(t, clients[1], strings.Replace(get, "/a", "/b", 1))
	r.Thread(0).poll()  // the deputy
	r.lead(r.Thread(0)) // they leave
	r.mustRun()
	r.mustRun()
	if what := r.Next(r.Thread(0)); what != Lead {
		t.Error(what)
	}
	for _, c := range clients {
		in := responses(t, c)
		in.want(200, "GET /a ")
		in.want(200, "GET /b ")
	}
}

// What is not to wait leaves at once: where the client has sent more, where the
// connection ends, and where a part has gone before.
func TestCoalesceNothing(t *testing.T) {
	for name, request := range map[string]string{
		"pipelined": get + get,
		"the last":  "GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
		"1.0":       "GET /a HTTP/1.0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			r, clients := coalescing(t, 2, request)
			r.mustRun()
			if what := r.Next(r.Thread(0)); what != Run {
				t.Fatal(what)
			}
			if n := answered(t, clients); n != 1 {
				t.Errorf("%d answers", n)
			}
		})
	}
}

// The client of a reply that waits goes.
func TestCoalesceForNobody(t *testing.T) {
	r, clients := coalescing(t, 2, get)
	r.mustRun()
	r.mustRun()
	clients[0].Close()
	if what := r.Next(r.Thread(0)); what != Lead {
		t.Fatal(what)
	}
	responses(t, clients[1]).want(200, "GET /a ")
	if n := r.conns.n.Load(); n != 1 {
		t.Errorf("%d connections are left", n)
	}
}

// What the steps of an event loop have sent waits, corked or not, until its iteration ends.
func TestCoalesceOnALoop(t *testing.T) {
	r := newRig(t, asyncConfig(), nil)
	t.Cleanup(r.Stop)
	e := &eventLoop{rig: r, a: NewAsync(r.Loop), calls: make(map[int]*seatCall)}
	r.Thread(0).coalescer.limit = int64(time.Hour)
	var clients []net.Conn
	e.begin = func(c *seatCall) {
		c.head("200 OK", "Content-Length", "2")
		if c.target == "/b" {
			c.write([]byte("b\n"), false)
		} else {
			c.final([]byte("a\n"))
		}
		c.finish()
		if n := answered(t, clients); n != 0 {
			t.Errorf("%d clients have an answer before the iteration ends", n)
		}
	}
	for i := range 4 {
		clients = append(clients, r.dial())
		send(t, clients[i], strings.Replace(get, "/a", []string{"/a", "/b"}[i%2], 1))
	}
	e.a.Flush(true)
	task := r.Thread(0)
	for seen := 0; seen < len(clients); {
		n, err := unix.EpollWait(int(task.Epoll), task.Events[:], 10_000)
		if n <= 0 {
			t.Fatal(n, err)
		}
		seen += n
		task.NEvents = int32(n)
		e.turns(true)
	}
	e.a.Flush(true)
	for i, c := range clients {
		responses(t, c).want(200, []string{"a\n", "b\n"}[i%2])
	}
}
