package worker

import (
	"fmt"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/sys/unix"

	"hostler/protocol"
)

func (r *rig) isDrained() bool {
	select {
	case <-r.Drained():
		return true
	default:
		return false
	}
}

// Each state that a connection can be in when the drain comes.
func TestDrainInEachState(t *testing.T) {
	for _, mode := range []protocol.DrainMode{protocol.DrainReplaced, protocol.DrainStop} {
		t.Run(string(rune(mode)), func(t *testing.T) {
			cfg := testConfig()
			cfg.KeepAlive = 3 * time.Second
			gate := make(chan struct{})
			big := pattern(4 << 20)
			r := serve(t, cfg, func(c *call) {
				switch c.target {
				case "/wait":
					<-gate
				case "/big":
					c.head("200 OK")
					c.write([]byte(big), true)
					return
				}
				echo(c)
			})
			idle, head, body, writing, running, queued := r.dial(), r.dial(), r.dial(), r.dial(), r.dial(), r.dial()
			send(t, idle, get)
			ri := responses(t, idle)
			ri.want(200, "GET /a ")
			send(t, head, get[:10])
			send(t, body, "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na")
			send(t, writing, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
			eventually(t, "they are where they should be", func() bool {
				n := r.phases()
				return n[phaseHead] == 1 && n[phaseBody] == 1 && n[phaseWriting] == 1
			})
			send(t, running, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
			eventually(t, "one runs", func() bool { return r.phases()[phaseRunning] == 1 })
			send(t, queued, get)
			eventually(t, "one is queued", func() bool { return r.slot.Gauges.QueueDepth.Load() == 1 })

			r.Drain(mode, 20*time.Second)
			r.checkDrained()
			if r.isDrained() {
				t.Fatal("drained with a request under way")
			}
			close(gate)
			closing := func(c net.Conn, rd *reader, want string) {
				t.Helper()
				if p := rd.want(200, want); p.fields["connection"] != "close" {
					t.Errorf("%.20q: the close is not announced", want)
				}
				rd.wantEnd()
			}
			closing(running, responses(t, running), "GET /wait ")
			closing(queued, responses(t, queued), "GET /a ")
			send(t, head, get[10:])
			closing(head, responses(t, head), "GET /a ")
			send(t, body, "bc")
			closing(body, responses(t, body), "POST /p abc")
			rw := responses(t, writing)
			rw.want(200, big)
			if mode == protocol.DrainStop {
				rw.wantEnd() // in a moment: whether what is sent now arrives before is a race
			} else {
				send(t, writing, get) // at rest now
				closing(writing, rw, "GET /a ")
			}
			if mode == protocol.DrainReplaced {
				send(t, idle, get)
				closing(idle, ri, "GET /a ")
			} else {
				ri.wantEnd() // sooner than after KeepAlive, but not at once
			}
			<-r.Drained()
			r.wg.Wait() // the threads leave
		})
	}
}

func TestDrainWithNothingToDo(t *testing.T) {
	cfg := testConfig()
	cfg.Threads = 4
	r := serve(t, cfg, echo)
	r.Drain(protocol.DrainReplaced, time.Minute)
	r.wg.Wait()
}

func TestDrainGraceIsAnEnd(t *testing.T) {
	cfg := testConfig()
	cfg.Threads = 2
	gate := make(chan struct{})
	r := serve(t, cfg, func(c *call) { <-gate; echo(c) })
	var conns []net.Conn
	for range 3 {
		c := r.dial()
		send(t, c, get)
		conns = append(conns, c)
	}
	eventually(t, "all threads are wedged, and one waits", func() bool {
		return r.slot.Gauges.Served.Load() == 2 && r.slot.Gauges.QueueDepth.Load() == 1
	})
	r.Drain(protocol.DrainReplaced, 50*time.Millisecond)
	<-r.Drained()
	close(gate)
	r.wg.Wait()
	for _, c := range conns {
		responses(t, c).want(200, "GET /a ")
	}
}

// A response whose head went out before the drain began does not announce the
// close; its connection must not keep a server that stops for all of KeepAlive.
func TestDrainStopHastensLateComers(t *testing.T) {
	cfg := testConfig()
	cfg.KeepAlive = time.Hour
	gate := make(chan struct{})
	r := serve(t, cfg, func(c *call) {
		c.head("200 OK")
		c.write([]byte("x"), true)
		<-gate
	})
	c := r.dial()
	send(t, c, get)
	rd := responses(t, c)
	rd.want(200, "x")
	r.Drain(protocol.DrainStop, time.Hour)
	close(gate)
	rd.wantEnd()
	r.wg.Wait()
}

// A stop does not wait for connections that rest between requests longer than what is on
// its way needs to arrive.
func TestDrainStopAtRest(t *testing.T) {
	cfg := cleartextConfig()
	cfg.KeepAlive = time.Hour
	r := serve(t, cfg, echo)
	rest, fresh, streams := r.dial(), r.dial(), r.framer()
	send(t, rest, get)
	in := responses(t, rest)
	in.want(200, "GET /a ")
	streams.ask(1, true)
	streams.wantStatus(1, "200")
	eventually(t, "all to rest", func() bool { n := r.phases(); return n[phaseIdle] == 2 && n[phaseStreams] == 1 })
	r.Drain(protocol.DrainStop, time.Hour)
	now := r.now()
	r.conns.each(func(c *conn) {
		d := c.deadline.Load()
		switch phase(c.phase.Load()) {
		case phaseIdle:
			most := now + restFor(-1) // of a unix socket
			if c.served == 0 {
				most = now + restGrace
			}
			if d == 0 || d > most {
				t.Errorf("one that has been served %d times may rest for %v", c.served, time.Duration(d-now))
			}
		case phaseStreams:
			h := c.http2.Load()
			h.mu.Lock()
			defer h.mu.Unlock()
			if !h.closed && h.farewell() >= restGrace/2 {
				t.Errorf("requests of HTTP/2 may come for %v", time.Duration(h.farewell()))
			}
		}
	})
	in.wantEnd()
	streams.wantGoAway(http2.ErrCodeNo)
	streams.wantEOF()
	responses(t, fresh).wantEnd()
	r.wg.Wait()
}

func TestDrainQuick(t *testing.T) {
	cfg := testConfig()
	cfg.Threads = 3
	r := serve(t, cfg, echo)
	c := r.dial()
	send(t, c, get[:5])
	r.Drain(protocol.DrainReplaced, time.Minute)
	if r.isDrained() {
		t.Fatal("drained with a request on its way")
	}
	r.Drain(protocol.DrainQuick, time.Minute) // stricter
	<-r.Drained()
	r.wg.Wait()
}

// listen gives the loop a listener of its own, as the master does, and returns
// its address.
func (r *rig) listen() string {
	r.t.Helper()
	ln := listenTCP(r.t)
	f, err := ln.File()
	if err != nil {
		r.t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	fd, err := dupFD(f)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.Listen([]int{fd}, 0); err != nil {
		r.t.Fatal(err)
	}
	return addr
}

// A server that stops first answers what is in the listen queue.
func TestDrainStopTakesTheListenQueue(t *testing.T) {
	cfg := testConfig()
	gate := make(chan struct{})
	r := serve(t, cfg, func(c *call) { <-gate; echo(c) })
	r.pace.wedged.Store(true)
	cfg.Workers = 2 // so that no connection is accepted while wedged
	addr := r.listen()
	first := r.dial()
	send(t, first, get)
	eventually(t, "the thread is away", r.pace.wedged.Load)
	time.Sleep(30 * time.Millisecond)
	var conns []net.Conn
	for i := range 6 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		send(t, c, fmt.Sprintf("GET /%d HTTP/1.1\r\nHost: x\r\n\r\n", i))
		conns = append(conns, c)
	}
	done := make(chan struct{})
	go func() { r.Drain(protocol.DrainStop, 20*time.Second); close(done) }()
	<-done
	if c, err := net.Dial("tcp", addr); err == nil {
		c.Close()
		t.Error("the listener is still open")
	}
	close(gate)
	responses(t, first).want(200, "GET /a ")
	for i, c := range conns {
		rd := responses(t, c)
		if p := rd.want(200, fmt.Sprintf("GET /%d ", i)); p.fields["connection"] != "close" {
			t.Error("the close is not announced")
		}
		rd.wantEnd()
	}
	r.wg.Wait()
}

func TestListen(t *testing.T) {
	cfg := testConfig()
	cfg.WorkerConnections = 4
	r := serve(t, cfg, func(c *call) {
		// The connection has these from its listener.
		noDelay, _ := unix.GetsockoptInt(int(c.t.FD), unix.IPPROTO_TCP, unix.TCP_NODELAY)
		lowat, _ := unix.GetsockoptInt(int(c.t.FD), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT)
		c.ok(fmt.Sprint(string(c.t.Remote[:c.t.RemoteLen]), " ", noDelay != 0, lowat))
	})
	addr := r.listen()
	for range 20 { // more than there are slots, one after the other
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		send(t, c, get)
		responses(t, c).want(200, fmt.Sprint("127.0.0.1 ", true, notSentMost))
		c.Close()
	}
	if n := r.slot.Counters.Accepted.Load(); n != 20 {
		t.Errorf("%d connections counted", n)
	}
	if err := r.Listen([]int{-1}, 0); err == nil {
		t.Error("accepts on no socket")
	}
}
