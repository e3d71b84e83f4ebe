package worker

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/sys/unix"

	"hostler/protocol"
)

// eventLoop is a rig whose "Python thread" is an event loop: requests are begun by begin,
// and go on by what they have left in heard.
type eventLoop struct {
	*rig
	a     *Async
	begin func(*seatCall)
	own   *pollSet          // of a loop that is not ours: the engine's is in it
	calls map[int]*seatCall // the loop's

	mu   sync.Mutex
	todo []func() // from outside, as by call_soon_threadsafe
}

// seatCall is a request as an application of the tests sees it.
type seatCall struct {
	call
	e     *eventLoop
	seat  int
	heard func(what uint32)
}

func serveAsync(t testing.TB, cfg *protocol.WorkerConfig, begin func(*seatCall)) *eventLoop {
	t.Helper()
	r := newRig(t, cfg, nil)
	if cfg.Listeners[0].TLS {
		r.material(&protocol.TLSMaterial{Pairs: []protocol.KeyPair{keyPair(t, "localhost")}, Protocols: []string{"h2", "http/1.1"}, TicketKeys: [][32]byte{{1}}})
	}
	e := &eventLoop{rig: r, a: NewAsync(r.Loop), begin: begin, calls: make(map[int]*seatCall)}
	r.Start()
	r.wg.Go(e.run)
	t.Cleanup(r.stopNow)
	return e
}

// serveForeign is serveAsync on a loop that has the engine's set among its own descriptors.
func serveForeign(t testing.TB, cfg *protocol.WorkerConfig, begin func(*seatCall)) *eventLoop {
	t.Helper()
	r := newRig(t, cfg, nil)
	own, err := newPollSet()
	if err != nil {
		t.Fatal(err)
	}
	e := &eventLoop{rig: r, a: NewAsync(r.Loop), begin: begin, calls: make(map[int]*seatCall), own: own}
	e.a.Foreign()
	if err := own.control(unix.EPOLL_CTL_ADD, int(e.Thread(0).Epoll), unix.EpollEvent{Events: unix.EPOLLIN, Fd: 0}); err != nil {
		t.Fatal(err)
	}
	r.Start()
	r.wg.Go(e.runForeign)
	t.Cleanup(r.stopNow)
	return e
}

// runForeign does what another loop does: it takes turns where the set is readable, or a turn
// has asked for it.
func (e *eventLoop) runForeign() {
	evs := make([]unix.EpollEvent, 4)
	more := true // as the first callback of a loop is a turn: until then nobody leads, and the deputy takes what comes
	for {
		wait := -1
		if more {
			wait = 0
		}
		n, _ := unix.EpollWait(e.own.fd, evs, wait)
		var exit bool
		if more || slices.ContainsFunc(evs[:max(n, 0)], func(ev unix.EpollEvent) bool { return ev.Fd == 0 }) {
			more, exit = e.turns(false)
			e.a.Flush(!more)
		}
		if exit {
			return
		}
		e.callbacks()
	}
}

// callbacks runs those that have come from outside, outside of a turn.
func (e *eventLoop) callbacks() {
	e.mu.Lock()
	todo := e.todo
	e.todo = nil
	e.mu.Unlock()
	for _, f := range todo {
		f()
	}
}

// run does what worker/python/asgi.c does.
func (e *eventLoop) run() {
	t := e.Thread(0)
	more := false
	for {
		wait := -1
		if more {
			wait = 0
		}
		e.a.Flush(!more)
		n, _ := unix.EpollWait(int(t.Epoll), t.Events[:], wait)
		t.Polled = protocol.Monotonic()
		// What is not a connection's is the application's own here, and not passed on.
		t.NEvents = int32(len(slices.DeleteFunc(t.Events[:max(n, 0)], func(ev unix.EpollEvent) bool { return ev.Fd == -1 })))
		var exit bool
		if more, exit = e.turns(true); exit {
			return
		}
		e.callbacks()
	}
}

func (e *eventLoop) turns(polled bool) (more, exit bool) {
	for ; ; polled = false {
		what, i, notice := e.a.Turn(polled)
		switch what {
		case TurnRun:
			t := e.a.Seat(i)
			t.Started = protocol.Monotonic()
			buf := bytesAt(t.Buf, int(t.Req.HeadLen))
			c := &seatCall{e: e, seat: i, call: call{r: e.rig, t: t, method: string(t.Req.Method.In(buf)), target: string(t.Req.Target.In(buf)),
				body: bytesAt(t.Body, int(t.BodyLen))}}
			e.calls[i] = c
			e.a.Step(i)
			e.begin(c)
			e.a.Stepped()
		case TurnNotice:
			if c := e.calls[i]; c == nil || c.heard == nil {
				e.t.Errorf("a notice %#x for seat %d, where nobody waits", notice, i)
			} else {
				c.heard(notice)
			}
		case TurnGarbage:
			e.dropGarbage()
		case TurnExit:
			return false, true
		default:
			return what == TurnMore, false
		}
	}
}

// soon has the loop call f, outside of a turn.
func (e *eventLoop) soon(f func()) {
	e.mu.Lock()
	e.todo = append(e.todo, f)
	e.mu.Unlock()
	if e.own != nil {
		e.own.poke()
	} else {
		e.sched.set.poke()
	}
}

func (c *seatCall) finish() {
	delete(c.e.calls, c.seat)
	c.e.a.Finish(c.seat)
}

// answer is a whole response.
func (c *seatCall) answer(body string) {
	c.ok(body)
	c.finish()
}

// piece writes a piece as write_piece in worker/python/reply.c does.
func (c *seatCall) piece(write func(ref uintptr) int) int {
	ref := uintptr(c.r.refs.Add(1))
	rc := write(ref)
	if c.t.OutKept == 0 {
		c.r.back(ref)
	}
	return rc
}

// await calls then with what there is, now or later.
func (c *seatCall) await(what uint32, then func(have uint32)) {
	c.heard = then
	if have := c.t.Await(what); have != 0 {
		then(have)
	}
}

// readAll reads the body to its end, or to an error, as it arrives.
func (c *seatCall) readAll(then func(body string, rc int)) {
	got := string(c.body)
	dst := make([]byte, 50000)
	var more func(uint32)
	more = func(uint32) {
		for {
			n := 0
			if c.t.BodyMore != 0 {
				n = c.t.Read(dst)
			}
			switch {
			case n > 0:
				got += string(dst[:n])
				continue
			case n == ReadWait:
				c.heard = more
				if c.t.Await(NoticeBody) != 0 {
					continue
				}
			default:
				then(got, n)
			}
			return
		}
	}
	more(0)
}

func asyncConfig() *protocol.WorkerConfig {
	cfg := testConfig()
	cfg.DisconnectGrace = time.Minute
	return cfg
}

func TestTurnHello(t *testing.T) {
	e := serveAsync(t, asyncConfig(), func(c *seatCall) { c.answer(c.target) })
	conn := e.dial()
	in := responses(t, conn)
	for range 3 {
		send(t, conn, get)
		in.want(200, "/a")
	}
	send(t, conn, strings.Repeat(get, 100)) // pipelined
	for range 100 {
		in.want(200, "/a")
	}
	if n := len(e.a.seats); n != 1 {
		t.Errorf("%d seats for requests one after the other", n)
	}
}

// Requests wait without holding anything that others need, however many there are.
func TestTurnManyWait(t *testing.T) {
	var held []*seatCall
	e := serveAsync(t, asyncConfig(), func(c *seatCall) {
		if c.target == "/go" {
			for _, h := range held {
				h.answer("late")
			}
			held = nil
			c.answer("gone")
			return
		}
		held = append(held, c)
	})
	var all []*reader
	for range 300 {
		conn := e.dial()
		send(t, conn, get)
		all = append(all, responses(t, conn))
	}
	eventually(t, "300 requests", func() bool { return e.slot.Gauges.Tasks.Load() == 300 })
	conn := e.dial()
	send(t, conn, "GET /go HTTP/1.1\r\nHost: x\r\n\r\n")
	responses(t, conn).want(200, "gone")
	for _, r := range all {
		r.want(200, "late")
	}
	eventually(t, "no requests", func() bool { return e.slot.Gauges.Tasks.Load() == 0 })
}

// A request that is finished outside of a turn, and what its connection brings next.
func TestTurnFinishOutside(t *testing.T) {
	ready := make(chan *seatCall, 1)
	e := serveAsync(t, asyncConfig(), func(c *seatCall) {
		if c.target == "/now" {
			c.answer("now")
			return
		}
		ready <- c
	})
	conn := e.dial()
	send(t, conn, get+"GET /now HTTP/1.1\r\nHost: x\r\n\r\n")
	c := <-ready
	e.soon(func() { c.answer("first") })
	in := responses(t, conn)
	in.want(200, "first")
	in.want(200, "now")
}

// Bodies come in as they arrive, and 100 (Continue) is said when they are asked for.
func TestTurnBody(t *testing.T) {
	begun := make(chan string, 1)
	e := serveAsync(t, asyncConfig(), func(c *seatCall) {
		begun <- string(c.body)
		c.readAll(func(body string, rc int) {
			if rc != ReadEnd {
				c.t.Result |= ResultFailed
			} else {
				c.ok("")
				c.write([]byte(body), true)
			}
			c.finish()
		})
	})
	conn := e.dial()
	in := responses(t, conn)
	send(t, conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc")
	if got := <-begun; got != "abc" {
		t.Fatalf("begun with %q", got)
	}
	send(t, conn, "def")
	send(t, conn, "ghi")
	in.want(200, "abcdefghi")
	send(t, conn, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
	<-begun
	send(t, conn, "2\r\nde\r\n")
	send(t, conn, "0\r\n\r\n"+"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n")
	in.want(200, "abcde")
	<-begun
	in.want(100, "")
	send(t, conn, "x")
	in.want(200, "x")
	send(t, conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc")
	<-begun
	conn.Close()
	eventually(t, "the end", func() bool { return e.slot.Gauges.Tasks.Load() == 0 })
}

// gone says how a client may leave.
var gone = map[string]func(net.Conn){
	"close": func(c net.Conn) { c.Close() },
	"half":  func(c net.Conn) { _ = c.(interface{ CloseWrite() error }).CloseWrite() },
	"early": func(c net.Conn) {},
}

func TestTurnGone(t *testing.T) {
	for name, leave := range gone {
		t.Run(name, func(t *testing.T) {
			told, waits := make(chan uint32, 1), make(chan *seatCall, 1)
			e := serveAsync(t, asyncConfig(), func(c *seatCall) {
				if name == "early" {
					waits <- c
					return
				}
				c.await(NoticeGone, func(have uint32) { told <- have; c.t.Result = ResultFailed; c.finish() })
				waits <- c
			})
			conn := e.dial()
			send(t, conn, get)
			c := <-waits
			if name == "early" { // before anybody asks
				conn.Close()
				eventually(t, "the event", func() bool { return c.t.conn.state.Load()&stateHup != 0 })
				e.soon(func() { told <- c.t.Await(NoticeGone); c.finish() })
			} else {
				leave(conn)
			}
			select {
			case have := <-told:
				if have != NoticeGone {
					t.Errorf("told of %#x", have)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("not told")
			}
		})
	}
}

// A client that reads nothing makes the application wait, with no more than outLimit held.
func TestTurnRoom(t *testing.T) {
	piece := make([]byte, 100<<10)
	const pieces = 200
	var waited atomic.Bool
	e := serveAsync(t, asyncConfig(), func(c *seatCall) {
		c.head("200 OK")
		i := 0
		var more func(uint32)
		more = func(uint32) {
			for ; i < pieces; i++ {
				ref := uintptr(c.r.refs.Add(1))
				rc := c.t.Write(piece, ref, false)
				if n := c.t.conn.out.left(); n > outLimit+int64(len(piece)) {
					t.Errorf("%d bytes wait", n)
				}
				if rc == WriteWait {
					waited.Store(true)
					i++
					c.heard = more
					if c.t.Await(NoticeRoom|NoticeGone) == 0 {
						return
					}
					i--
				}
			}
			c.finish()
		}
		more(0)
	})
	conn := e.dialTCP()
	send(t, conn, get)
	eventually(t, "the application to wait", func() bool { return e.slot.Gauges.Tasks.Load() == 1 && e.mem.outBytes.Load() > outLimit/2 })
	r := responses(t, conn)
	p, err := r.read(false)
	if err != nil || len(p.body) != pieces*len(piece) {
		t.Fatalf("%d bytes, %v", len(p.body), err)
	}
	if !waited.Load() {
		t.Error("it has not waited")
	}
	conn.Close()
	_, _ = io.Copy(io.Discard, conn)
}

// Who sends on to a client that has gone, while what it sent before waits there, leaves nothing.
func TestTurnRoomLeft(t *testing.T) {
	piece := make([]byte, 100<<10)
	for name, write := range map[string]func(*Thread, uintptr) int{
		"others follow": func(t *Thread, ref uintptr) int { return t.WriteOn(piece, ref) },
		"the last":      func(t *Thread, ref uintptr) int { return t.Write(piece, ref, false) },
	} {
		t.Run(name, func(t *testing.T) {
			waits := make(chan *seatCall, 1)
			e := serveAsync(t, asyncConfig(), func(c *seatCall) {
				c.head("200 OK")
				for rc := WriteOK; rc == WriteOK; {
					if rc = c.piece(func(ref uintptr) int { return c.t.WriteOn(piece, ref) }); rc == WriteGone {
						t.Error("nobody has gone yet")
					}
				}
				waits <- c
			})
			conn := e.dialTCP()
			send(t, conn, get)
			c := <-waits
			conn.Close()
			eventually(t, "the event", func() bool { return c.t.conn.state.Load()&stateHup != 0 })
			rc := make(chan int)
			e.soon(func() {
				n := c.piece(func(ref uintptr) int { return write(c.t, ref) })
				c.t.Result = ResultFailed
				c.finish()
				rc <- n
			})
			if n := <-rc; n != WriteGone {
				t.Errorf("%d, not that the client has gone", n)
			}
			e.level()
		})
	}
}

// What takes too long is told so, and gets a 504; a stream whose client has left is told
// when its time is over, and one that streams to somebody, or listens, is not.
func TestTurnLimits(t *testing.T) {
	cfg := asyncConfig()
	cfg.Timeout, cfg.DisconnectGrace = 100*time.Millisecond, 0
	told := make(chan uint32, 8)
	begun := make(chan struct{}, 8)
	e := serveAsync(t, cfg, func(c *seatCall) {
		c.heard = func(what uint32) {
			told <- what
			c.t.Result = ResultFailed
			if what&NoticeTimeout != 0 {
				c.t.Result |= ResultTimedOut
			}
			c.finish()
		}
		if c.target != "/a" {
			c.head("200 OK")
			c.e.a.SendHead(c.seat)
			c.t.Deadline(int64(time.Hour))
		}
		begun <- struct{}{}
	})
	want := func(what uint32) {
		t.Helper()
		select {
		case have := <-told:
			if have != what {
				t.Errorf("told of %#x, not %#x", have, what)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("not told of %#x", what)
		}
	}
	conn := e.dial()
	send(t, conn, get)
	<-begun
	want(NoticeTimeout)
	responses(t, conn).want(504, "*")
	conn = e.dial()
	send(t, conn, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
	<-begun
	conn.Close()
	want(NoticeGrace)
}

// A worker that leaves tells streams that listen, and lets the others end.
func TestTurnLeave(t *testing.T) {
	told := make(chan string, 8)
	begun := make(chan *seatCall, 8)
	e := serveAsync(t, asyncConfig(), func(c *seatCall) {
		c.heard = func(what uint32) {
			told <- c.target
			c.finish()
		}
		if c.target != "/plain" {
			c.head("200 OK")
			c.e.a.SendHead(c.seat)
		}
		c.t.Await(NoticeGone)
		begun <- c
	})
	stream, plain := e.dial(), e.dial()
	send(t, stream, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
	<-begun
	send(t, plain, "GET /plain HTTP/1.1\r\nHost: x\r\n\r\n")
	c := <-begun
	e.Drain(protocol.DrainStop, time.Minute)
	if got := <-told; got != "/stream" {
		t.Errorf("%s was told", got)
	}
	responses(t, stream).want(200, "")
	e.soon(func() { c.answer("whole") })
	responses(t, plain).want(200, "whole")
	e.wg.Wait()
	select {
	case got := <-told:
		t.Errorf("%s was told", got)
	default:
	}
}

// What a POST has begun to answer with may end by itself, and is told when half of the time is
// over.
func TestTurnLeaveLate(t *testing.T) {
	for _, limit := range []time.Duration{time.Hour, 2 * time.Second} {
		told := make(chan string, 8)
		begun := make(chan *seatCall, 8)
		e := serveAsync(t, asyncConfig(), func(c *seatCall) {
			c.heard = func(what uint32) {
				told <- c.target
				c.finish()
			}
			c.head("200 OK")
			c.e.a.SendHead(c.seat)
			c.t.Await(NoticeGone)
			begun <- c
		})
		post, get := e.dial(), e.dial()
		send(t, post, "POST /post HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
		c := <-begun
		send(t, get, "GET /get HTTP/1.1\r\nHost: x\r\n\r\n")
		<-begun
		e.Drain(protocol.DrainStop, limit)
		if limit == time.Hour {
			if got := <-told; got != "/get" {
				t.Errorf("%s was told first", got)
			}
			e.soon(func() { c.finish() })
			responses(t, post).want(200, "")
		}
		e.wg.Wait()
		close(told)
		n := 0
		for got := range told {
			n++
			if limit == time.Hour {
				t.Errorf("%s was told", got)
			}
		}
		if limit != time.Hour && n != 2 {
			t.Errorf("%d were told", n)
		}
	}
}

// A loop that does not get on is counted and told of, once, and other workers see that
// there is no room in it; requests that have come meanwhile are run afterwards.
func TestTurnBlocked(t *testing.T) {
	free, open := gate(t)
	defer open()
	blocked := make(chan struct{}, 1)
	e := serveAsync(t, asyncConfig(), func(c *seatCall) {
		if c.target == "/block" {
			blocked <- struct{}{}
			<-free
		}
		c.answer("done")
	})
	conn, other := e.dial(), e.dial()
	send(t, conn, "GET /block HTTP/1.1\r\nHost: x\r\n\r\n")
	<-blocked
	if loopRoom(protocol.LoopRests) == 0 {
		t.Error("no room in a loop at rest")
	}
	eventually(t, "no room", func() bool { return loopRoom(e.slot.Gauges.LoopSince.Load()) == 0 })
	eventually(t, "a block that is counted", func() bool { return e.slot.Counters.LoopBlocks.Load() == 1 })
	send(t, other, get)
	eventually(t, "a request that waits", func() bool { return e.slot.Gauges.QueueDepth.Load() == 1 })
	open()
	responses(t, conn).want(200, "done")
	responses(t, other).want(200, "done")
	eventually(t, "rest", func() bool { return e.slot.Gauges.LoopSince.Load() == protocol.LoopRests })
	if n := e.slot.Counters.LoopBlocks.Load(); n != 1 {
		t.Errorf("%d blocks", n)
	}
}

// No more than --worker-concurrency run; the next wait, and then are declined.
func TestTurnConcurrency(t *testing.T) {
	cfg := asyncConfig()
	cfg.WorkerConcurrency, cfg.Queue = 2, 1
	begun := make(chan *seatCall, 8)
	e := serveAsync(t, cfg, func(c *seatCall) { begun <- c })
	var in []*reader
	ask := func() {
		conn := e.dial()
		send(t, conn, get)
		in = append(in, responses(t, conn))
	}
	ask()
	ask()
	first, second := <-begun, <-begun
	ask()
	eventually(t, "a request that waits", func() bool { return e.slot.Gauges.TasksWaiting.Load() == 1 })
	ask()
	if p := in[3].want(503, "*"); p.fields["retry-after"] == "" {
		t.Error("it is not told to try again")
	}
	e.soon(func() { first.answer("1") })
	third := <-begun
	e.soon(func() { second.answer("2"); third.answer("3") })
	for _, r := range in[:3] {
		r.want(200, "*")
	}
}

// Over TLS bodies come in and clients leave as they do without.
func TestTurnTLS(t *testing.T) {
	cfg := asyncConfig()
	cfg.Listeners[0].TLS = true
	told, begun := make(chan uint32, 1), make(chan struct{}, 4)
	e := serveAsync(t, cfg, func(c *seatCall) {
		begun <- struct{}{}
		c.readAll(func(body string, rc int) {
			if c.method == "POST" {
				c.answer("got it")
				return
			}
			c.await(NoticeGone, func(have uint32) { told <- have; c.finish() })
		})
	})
	conn := e.dialTLS(nil)
	in := responses(t, conn)
	for range 3 {
		send(t, conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc")
		<-begun
		send(t, conn, "def")
		in.want(200, "got it")
	}
	send(t, conn, get)
	<-begun
	conn.Close()
	if have := <-told; have != NoticeGone {
		t.Errorf("told of %#x", have)
	}
}

// And so do streams of HTTP/2: by a reset, or with their connection.
func TestTurnHTTP2(t *testing.T) {
	cfg := asyncConfig()
	cfg.HTTP2Cleartext = true
	told, begun, read := make(chan string, 8), make(chan string, 8), make(chan string, 8)
	e := serveAsync(t, cfg, func(c *seatCall) {
		begun <- c.target
		c.readAll(func(body string, rc int) {
			if rc == ReadEnd && body != "" {
				read <- body
			}
			c.await(NoticeGone, func(uint32) { told <- c.target; c.finish() })
		})
	})
	conn := e.dial()
	_, _ = io.WriteString(conn, http2.ClientPreface)
	f := newFramer(t, conn)
	f.must(f.WriteSettings())
	for _, id := range []uint32{1, 3, 5} {
		f.ask(id, id != 5)
		if got, want := <-begun, fmt.Sprintf("/%d", id); got != want {
			t.Fatalf("%s has begun, not %s", got, want)
		}
	}
	f.must(f.WriteData(5, false, []byte("abc")))
	f.must(f.WriteData(5, true, []byte("def")))
	if got := <-read; got != "abcdef" {
		t.Errorf("a body of %q", got)
	}
	f.must(f.WriteRSTStream(3, http2.ErrCodeCancel))
	if got := <-told; got != "/3" {
		t.Errorf("%s is told, not /3", got)
	}
	conn.Close()
	if a, b := <-told, <-told; a+b != "/1/5" && a+b != "/5/1" {
		t.Errorf("%s and %s are told", a, b)
	}
	eventually(t, "no connection", func() bool { return e.conns.n.Load() == 0 })
}

// A loop that blocks with nothing of ours to do, as in a timer of the application's, is
// looked after like one in a request, whoever's loop it is.
func TestTurnBlockedElsewhere(t *testing.T) {
	for name, serve := range map[string]func(testing.TB, *protocol.WorkerConfig, func(*seatCall)) *eventLoop{"ours": serveAsync, "foreign": serveForeign} {
		t.Run(name, func(t *testing.T) {
			e := serve(t, asyncConfig(), func(c *seatCall) { c.answer("done") })
			in := func(what string) *reader {
				conn := e.dial()
				send(t, conn, get)
				eventually(t, what, func() bool { return e.slot.Gauges.QueueDepth.Load() == 1 })
				return responses(t, conn)
			}
			first := e.dial()
			send(t, first, get)
			responses(t, first).want(200, "done")
			for n := range uint64(2) { // the second time as the first
				eventually(t, "the deputy's rest", func() bool { e.sched.mu.Lock(); defer e.sched.mu.Unlock(); return e.sched.asleep })
				blocked := make(chan struct{})
				free, open := gate(t)
				e.soon(func() { close(blocked); <-free })
				<-blocked
				waits := in("a request that waits")
				eventually(t, "a block that is counted", func() bool { return e.slot.Counters.LoopBlocks.Load() == n+1 })
				if loopRoom(e.slot.Gauges.LoopSince.Load()) != 0 {
					t.Error("others take it for one with room")
				}
				open()
				waits.want(200, "done")
				eventually(t, "rest", func() bool { return e.slot.Gauges.LoopSince.Load() == protocol.LoopRests })
			}
			turns := e.pace.calls.Load()
			time.Sleep(100 * time.Millisecond)
			if more := e.pace.calls.Load() - turns; more > 20 {
				t.Errorf("%d turns in 100 ms, of a loop that has nothing to do", more)
			}
		})
	}
}
