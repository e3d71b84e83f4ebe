package worker

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hostler/protocol"
)

// family makes workers that share an exchange, one for each application.
func family(t *testing.T, cfg *protocol.WorkerConfig, apps ...func(*call)) []*rig {
	t.Helper()
	// Neither is closed: a deputy may look at them for a moment after the test.
	board, f, err := protocol.CreateScoreboard()
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	out, in, err := protocol.NewExchange()
	if err != nil {
		t.Fatal(err)
	}
	cfg.Workers = len(apps)
	cfg.Listeners = []protocol.Listener{{Network: "tcp", Host: "a", Port: "1"}, {Network: "tcp", Host: "b", Port: "2"}}
	var all []*rig
	for i, app := range apps {
		mine, err := unix.FcntlInt(uintptr(in), unix.F_DUPFD_CLOEXEC, 3) // the receiver closes it
		if err != nil {
			t.Fatal(err)
		}
		slot := board.Slot(i)
		slot.Assign(1, cfg.Threads)
		slot.State.Store(uint32(protocol.SlotServing))
		r := newRigIn(t, cfg, slot, &Exchange{Out: out, In: mine, Board: board, Slot: i}, app)
		r.start()
		if err := r.Listen(nil, 0); err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// gate is a channel to wait on, and what opens it. A test that fails has to open it
// before its workers can stop (t.Cleanup after family).
func gate(t *testing.T) (wait <-chan struct{}, open func()) {
	c := make(chan struct{})
	open = sync.OnceFunc(func() { close(c) })
	return c, open
}

// accepts reports whether the others believe that r takes connections. A slow machine
// may make them give one away when a test does not expect it.
func (r *rig) accepts(yes bool) {
	state := protocol.SlotBooting
	if yes {
		state = protocol.SlotServing
	}
	r.slot.State.Store(uint32(state))
}

// waitStuck waits until the thread of r runs a request and is known to be away.
func (r *rig) waitStuck() {
	r.t.Helper()
	eventually(r.t, "stuck", func() bool { return r.pace.wedged.Load() && r.phases()[phaseRunning] == 1 })
}

// named answers with its name and what echo would say.
func named(name string) func(*call) {
	return func(c *call) {
		body, _ := c.all()
		c.ok(fmt.Sprintf("%s: %s %s %s", name, c.method, c.target, body))
	}
}

// TestPacketsDiffer: no two packets of the exchange are alike, also where the
// connections in them are: a receiver tells them apart when it has no descriptors.
func TestPacketsDiffer(t *testing.T) {
	cfg := testConfig()
	out, in, err := protocol.NewExchange()
	if err != nil {
		t.Fatal(err)
	}
	board, f, err := protocol.CreateScoreboard()
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	cfg.Listeners = []protocol.Listener{{Network: "unix", Host: "/a"}}
	x := &Exchange{Out: out, In: in, Board: board, Slot: 1}
	board.Slot(0).Assign(1, 4)
	board.Slot(0).State.Store(uint32(protocol.SlotServing))
	r := newRigIn(t, cfg, board.Slot(1), x, echo)
	seen := make(map[uint64]bool)
	from := protocol.NewReceiver(out, in)
	for range 3 {
		_, fd := r.pair()
		c := r.conns.get()
		c.reset(fd, 0, netip.AddrPort{})
		if c.watch(r.Loop, unix.EPOLL_CTL_ADD) != nil || !r.handOver(c, nil) {
			t.Fatal("it stays")
		}
		h, err := from.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if seen[h.From] || !x.isOwn(&h) {
			t.Errorf("%x: seen %v, own %v", h.From, seen[h.From], x.isOwn(&h))
		}
		seen[h.From] = true
		if !r.putBack(&h) {
			t.Fatal("it is not put back")
		}
		if h, err = from.Receive(); err != nil {
			t.Fatal(err)
		}
		if seen[h.From] {
			t.Errorf("%x is there twice", h.From)
		}
		seen[h.From] = true
		unix.Close(h.FD)
	}
}

// A drain gives the connections away, whatever they are at, and closes none.
func TestDrainMovesConnections(t *testing.T) {
	cfg := testConfig()
	opened, open := gate(t)
	big := pattern(4 << 20)
	fam := family(t, cfg, func(c *call) {
		switch c.target {
		case "/wait":
			<-opened
		case "/big":
			c.head("200 OK")
			c.write([]byte(big), true)
			return
		}
		named("old")(c)
	}, named("new"))
	t.Cleanup(open)
	r, next := fam[0], fam[1]
	next.accepts(false) // or r passes on what it has no thread for
	type client struct {
		net.Conn
		*reader
	}
	var idle []client
	const n = 20
	for range n {
		c := r.dial()
		send(t, c, get)
		rd := responses(t, c)
		rd.want(200, "old: GET /a ")
		idle = append(idle, client{c, rd})
	}
	fresh, head, body, writing, running, pipelined := r.dial(), r.dial(), r.dial(), r.dial(), r.dial(), r.dial()
	send(t, head, get[:10])
	send(t, body, "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na")
	send(t, writing, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
	eventually(t, "they are where they should be", func() bool {
		p := r.phases()
		return p[phaseHead] == 1 && p[phaseBody] == 1 && p[phaseWriting] == 1
	})
	send(t, running, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
	eventually(t, "one runs", func() bool { return r.phases()[phaseRunning] == 1 })
	wait := "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n"
	send(t, pipelined, wait+get+get)

	next.accepts(true)
	r.accepts(false)
	r.Drain(protocol.DrainReplaced, 20*time.Second)
	for _, rd := range idle {
		send(t, rd.Conn, get)
		if p := rd.want(200, "new: GET /a "); p.fields["connection"] == "close" {
			t.Error("a connection at rest is to be closed")
		}
	}
	send(t, head, get[10:])
	responses(t, head).want(200, "new: GET /a ")
	send(t, fresh, get)
	responses(t, fresh).want(200, "new: GET /a ")
	open()
	rr := responses(t, running)
	if p := rr.want(200, "old: GET /wait "); p.fields["connection"] == "close" {
		t.Error("the close of what ran is announced")
	}
	send(t, running, get)
	rr.want(200, "new: GET /a ")
	rp := responses(t, pipelined)
	rp.want(200, "new: GET /wait ") // it need not wait for the one that runs
	rp.want(200, "new: GET /a ")
	rp.want(200, "new: GET /a ")
	send(t, body, "bc")
	rb := responses(t, body)
	rb.want(200, "old: POST /p abc")
	send(t, body, get)
	rb.want(200, "new: GET /a ")
	rw := responses(t, writing)
	rw.want(200, big)
	send(t, writing, get)
	rw.want(200, "new: GET /a ")
	eventually(t, "the old worker is empty", r.isDrained)
	if in, out := next.slot.Counters.HandedIn.Load(), r.slot.Counters.HandedOut.Load(); in != n+6 || out != in {
		t.Errorf("%d connections, given away %d, taken %d", n+6, out, in)
	}
}

// Where nobody takes connections any more, their close is announced as before.
func TestDrainWithoutTakers(t *testing.T) {
	r := family(t, testConfig(), named("only"))[0]
	c := r.dial()
	rd := responses(t, c)
	send(t, c, get)
	rd.want(200, "only: GET /a ")
	if err := unix.Shutdown(r.exchange.Out, unix.SHUT_RDWR); err != nil {
		t.Fatal(err)
	}
	r.Drain(protocol.DrainReplaced, 20*time.Second)
	send(t, c, get)
	if p := rd.want(200, "only: GET /a "); p.fields["connection"] != "close" {
		t.Error("the close is not announced")
	}
	rd.wantEnd()
	eventually(t, "drained", r.isDrained)
}

// A request goes where a thread is free, read already or not.
func TestNoHeadOfLineBlocking(t *testing.T) {
	var opened [2]<-chan struct{}
	var open [2]func()
	for i := range opened {
		opened[i], open[i] = gate(t)
	}
	app := func(i int) func(*call) {
		return func(c *call) {
			if c.target == "/wait" {
				<-opened[i]
			}
			named(fmt.Sprint(i))(c)
		}
	}
	fam := family(t, testConfig(), app(0), app(1))
	t.Cleanup(open[0])
	t.Cleanup(open[1])
	wait := "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n"
	stuck, other := fam[0].dial(), fam[0].dial()
	fam[1].accepts(false)
	send(t, stuck, wait)
	fam[0].waitStuck()
	fam[1].accepts(true)
	fam[0].accepts(false)
	ro := responses(t, other)
	for range 3 { // it stays with the other worker, who answers
		send(t, other, get)
		ro.want(200, "1: GET /a ")
	}
	// Now the other worker is stuck, too: what comes waits where it is …
	stuck2, waiting := fam[1].dial(), fam[0].dial()
	send(t, stuck2, wait)
	fam[1].waitStuck()
	send(t, waiting, "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"+get)
	eventually(t, "it is read", func() bool { return fam[0].slot.Gauges.QueueDepth.Load() == 1 })
	// … until one is free.
	open[1]()
	rw := responses(t, waiting)
	rw.want(200, "1: POST /p hello")
	rw.want(200, "1: GET /a ")
	responses(t, stuck2).want(200, "1: GET /wait ")
	open[0]()
	responses(t, stuck).want(200, "0: GET /wait ")
	// It is counted when the other may have answered already.
	eventually(t, "two connections have gone over", func() bool { return fam[0].slot.Counters.HandedOut.Load() == 2 })
}

// A connection that has moved often enough stays where it is.
func TestHopsAreBounded(t *testing.T) {
	opened, open := gate(t)
	fam := family(t, testConfig(), func(c *call) {
		<-opened
		named("0")(c)
	}, named("1"))
	t.Cleanup(open)
	stuck := fam[0].dial()
	fam[1].accepts(false)
	send(t, stuck, get)
	fam[0].waitStuck()
	fam[1].accepts(true)
	c, fd := fam[0].pair()
	fam[0].adopt(&protocol.Handover{FD: fd, Hops: maxHops, Data: []byte(get)})
	c2, fd2 := fam[0].pair()
	fam[0].adopt(&protocol.Handover{FD: fd2, Hops: maxHops / 2, Data: []byte(get), Listener: protocol.Listener{Network: "tcp", Host: "b", Port: "2"}})
	responses(t, c2).want(200, "1: GET /a ")
	eventually(t, "it waits", func() bool { return fam[0].slot.Gauges.QueueDepth.Load() == 1 })
	open()
	responses(t, c).want(200, "0: GET /a ")
}

func TestListenerIndex(t *testing.T) {
	r := family(t, testConfig(), named("x"))[0]
	for want, l := range []protocol.Listener{{Network: "tcp", Host: "a", Port: "1"}, {Network: "tcp", Host: "b", Port: "2"}} {
		if got := r.listenerIndex(l); got != want {
			t.Errorf("%v: %d", l, got)
		}
	}
	if got := r.listenerIndex(protocol.Listener{Network: "unix", Host: "/gone"}); got != 0 {
		t.Errorf("an unknown one: %d", got)
	}
}

// Workers that now and then block, and that drain one after the other, answer
// each request once and in order, and close no connection.
func TestHandoverStress(t *testing.T) {
	for _, threads := range []int{1, 3} {
		cfg := testConfig()
		cfg.Threads = threads
		var calls atomic.Uint64
		app := func(c *call) {
			if calls.Add(1)%50 == 0 {
				time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond)
			}
			echo(c)
		}
		apps := make([]func(*call), 6)
		for i := range apps {
			apps[i] = app
		}
		fam := family(t, cfg, apps...)
		for _, r := range fam[3:] { // replacements: there, but given nothing yet
			r.accepts(false)
		}
		const conns, requests = 24, 120
		var wg sync.WaitGroup
		for id := range conns {
			c := fam[id%3].dial()
			wg.Go(func() {
				if err := ask(fam[0], c, id, requests, rand.New(rand.NewPCG(uint64(id), 3))); err != nil {
					t.Error(err)
				}
			})
		}
		for i := range 3 {
			time.Sleep(50 * time.Millisecond)
			fam[3+i].accepts(true)
			fam[i].accepts(false)
			fam[i].Drain(protocol.DrainReplaced, 20*time.Second)
		}
		wg.Wait()
		if n := calls.Load(); n != conns*requests {
			t.Errorf("%d requests made %d calls", conns*requests, n)
		}
		for i, r := range fam[:3] {
			eventually(t, fmt.Sprint("worker ", i, " leaves"), r.isDrained)
		}
		eventually(t, "as many connections arrive as went over", func() bool {
			var in, out uint64
			for _, r := range fam {
				in += r.slot.Counters.HandedIn.Load()
				out += r.slot.Counters.HandedOut.Load()
			}
			return in > 0 && in == out
		})
	}
}

// What a connection brings along is bounded; a longer part is answered here.
func TestLongInputStays(t *testing.T) {
	opened, open := gate(t)
	fam := family(t, testConfig(), func(c *call) {
		if c.target == "/wait" {
			<-opened
		}
		named("0")(c)
	}, named("1"))
	t.Cleanup(open)
	stuck, long := fam[0].dial(), fam[0].dial()
	fam[1].accepts(false) // not yet
	send(t, stuck, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
	fam[0].waitStuck()
	body := strings.Repeat("x", protocol.MaxHandoverData)
	go func() {
		_, _ = fmt.Fprintf(long, "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}()
	eventually(t, "it is read", func() bool { return fam[0].slot.Gauges.QueueDepth.Load() == 1 })
	fam[1].accepts(true)
	time.Sleep(20 * time.Millisecond)
	open()
	responses(t, long).want(200, "0: POST /p "+body)
}
