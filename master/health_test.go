package master

import (
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"hostler/master/spawn"
	"hostler/protocol"
	"hostler/settings"
)

// beat has p give signs of life until the channel that it returns is closed.
func (r *rig) beat(p *fakeProcess) chan struct{} {
	stop := make(chan struct{})
	slot := r.slotOf(p)
	go func() {
		for slot.Gauges.Heartbeat.Store(r.s.clock.mono()); ; {
			select {
			case <-stop:
				return
			case <-time.After(250 * time.Millisecond):
				slot.Gauges.Heartbeat.Store(r.s.clock.mono())
			}
		}
	}()
	return stop
}

func TestFrozenWorkerIsReplaced(t *testing.T) {
	set := testSettings()
	set.Timeout = 20 * time.Second
	withRig(t, set, nil, func(r *rig) {
		r.awaitServing()
		p, other := r.all()[0], r.all()[1]
		stop := r.beat(p)
		defer close(r.beat(other))
		r.pass(time.Minute)
		r.expect("1:serving/1 2:serving/1")
		close(stop)
		r.pass(frozenAfter + 2*lookEvery)
		if v := r.view(); !v.Workers[0].Frozen || v.Workers[0].Serves() || v.Workers[1].Frozen {
			t.Errorf("the frozen worker is not seen: %+v", v.Workers)
		}
		if p.signalled(unix.SIGKILL) {
			t.Error("killed at once")
		}
		r.pass(set.Timeout - frozenAfter)
		if !p.signalled(unix.SIGKILL) || other.signalled(unix.SIGKILL) {
			t.Error("not killed after --timeout, or another one")
		}
		r.pass(bootTakes)
		r.expect("2:serving/1 3:serving/1")
		if r.exits(causeFrozen) != 1 || strings.Count(r.log.String(), "no sign of life") != 2 {
			t.Errorf("%d exits; log:\n%s", r.exits(causeFrozen), r.log.String())
		}
	})
}

// TestFrozenWorkerStays: without --timeout nobody is killed, and who goes on serves again.
func TestFrozenWorkerStays(t *testing.T) {
	withRig(t, testSettings(), nil, func(r *rig) {
		r.awaitServing()
		p := r.all()[0]
		close(r.beat(p))
		r.host.mu.Lock()
		r.host.stopped = map[int]bool{p.pid: true}
		r.host.mu.Unlock()
		r.pass(time.Hour)
		if !r.view().Workers[0].Frozen || p.signalled(unix.SIGKILL) {
			t.Errorf("killed without --timeout, or not seen: %+v", r.view().Workers)
		}
		if log := r.log.String(); strings.Count(log, "no sign of life") != 1 || !strings.Contains(log, "stopped, by a signal or a debugger") {
			t.Errorf("log:\n%s", log)
		}
		defer close(r.beat(p))
		r.pass(2 * lookEvery)
		if r.view().Workers[0].Frozen {
			t.Error("it goes on, and is still taken for frozen")
		}
		r.expect("1:serving/1 2:serving/1")
	})
}

// TestMasterFrozenToo: what workers did while the master was stopped itself it has not
// seen, and holds nothing against them.
func TestMasterFrozenToo(t *testing.T) {
	set := testSettings()
	set.Timeout = 20 * time.Second
	withRig(t, set, nil, func(r *rig) {
		r.awaitServing()
		stops := []chan struct{}{r.beat(r.all()[0]), r.beat(r.all()[1])}
		r.pass(10 * time.Second)
		for _, c := range stops {
			close(c)
		}
		r.s.post(askEvent{do: func(*supervisor) { time.Sleep(10 * time.Minute) }, done: make(chan struct{})})
		r.pass(10*time.Minute + time.Second)
		for _, p := range r.all() {
			defer close(r.beat(p))
		}
		r.pass(time.Minute)
		r.expect("1:serving/1 2:serving/1")
		if strings.Contains(r.log.String(), "no sign of life") {
			t.Errorf("log:\n%s", r.log.String())
		}
	})
}

func TestExchangeIsMended(t *testing.T) {
	withRig(t, testSettings(), nil, func(r *rig) {
		r.awaitServing()
		got := func(p *fakeProcess, want int) {
			t.Helper()
			if n, m := p.got(protocol.KindDescriptor); n != want || m.Number != protocol.FDHandIn {
				t.Errorf("worker %d was given %d descriptors, the last %d", p.spec.Config.Number, n, m.Number)
			}
		}
		p := r.all()[0]
		p.mu.Lock()
		p.manner.full = true // it does not read
		p.mu.Unlock()
		r.host.mu.Lock()
		r.host.exchangeEnded = true
		r.host.mu.Unlock()
		r.pass(2 * lookEvery)
		got(r.all()[1], 2)
		p.mu.Lock()
		p.manner.full = false
		p.mu.Unlock()
		r.pass(2 * lookEvery)
		got(p, 2)
		r.signal(unix.SIGTTIN) // a mold has the old one
		r.pass(bootTakes)
		got(r.all()[2], 2)

		r.host.mu.Lock()
		r.host.exchangeEnded, r.host.exchangeEndsAgain = true, true
		r.host.mu.Unlock()
		r.pass(10 * time.Minute)
		if n := strings.Count(r.log.String(), "the exchange of connections had ended"); n < 5 || n > 20 {
			t.Errorf("%d times within ten minutes", n)
		}
	})
}

func TestListenersAreRevived(t *testing.T) {
	set := testSettings()
	set.Binds = []settings.Bind{{Network: "tcp", Address: "127.0.0.1:1"}, {Network: "unix", Address: "/s"}}
	withRig(t, set, nil, func(r *rig) {
		r.awaitServing()
		shut := func(addr string, err error) {
			r.host.mu.Lock()
			r.host.shut, r.host.reviveErr = map[string]bool{addr: true}, err
			r.host.mu.Unlock()
		}
		shut("127.0.0.1:1", nil)
		r.pass(2 * lookEvery)
		if n, _ := r.all()[0].got(protocol.KindDescriptor); n != 0 || r.host.revived != 1 || len(r.view().DeadListeners) != 0 {
			t.Errorf("%d descriptors for the same socket, revived %d times; %v", n, r.host.revived, r.view().DeadListeners)
		}
		shut("/s", nil)
		r.pass(2 * lookEvery)
		if n, m := r.all()[1].got(protocol.KindDescriptor); n != 1 || m.Number != protocol.FDListeners+1 || r.host.revived != 2 {
			t.Errorf("%d descriptors for another socket, number %d, revived %d times", n, m.Number, r.host.revived)
		}
		shut("127.0.0.1:1", errors.New("on purpose"))
		r.pass(10 * time.Minute)
		if v := r.view(); len(v.DeadListeners) != 1 || v.DeadListeners[0] != "127.0.0.1:1" {
			t.Errorf("not known to be dead: %v", v.DeadListeners)
		}
		if n := strings.Count(r.log.String(), "on purpose"); n < 5 || n > 20 {
			t.Errorf("said %d times within ten minutes", n)
		}
		shut("", nil)
		r.pass(2 * lookEvery)
		if v := r.view(); len(v.DeadListeners) != 0 {
			t.Errorf("still dead: %v", v.DeadListeners)
		}
	})
}

// TestUnfitWorker is replaced before it leaves, and says so once.
func TestUnfitWorker(t *testing.T) {
	withRig(t, testSettings(), nil, func(r *rig) {
		r.awaitServing()
		p := r.all()[0]
		for range 100 {
			p.report(spawn.Report{Message: protocol.Message{Kind: protocol.KindUnfit, Text: "its listener\n" + strings.Repeat("x", 1<<16)}})
		}
		synctest.Wait()
		r.expect("1:serving/1 2:serving/1 3:booting/1")
		r.pass(bootTakes + leaveTakes)
		r.expect("2:serving/1 3:serving/1")
		if log := r.log.String(); strings.Count(log, "cannot go on") != 1 || strings.Contains(log, strings.Repeat("x", 2*maxReason)) || r.exits(causeUnfit) != 1 {
			t.Errorf("%d exits; log of %d bytes:\n%.3000s", r.exits(causeUnfit), len(log), log)
		}
	})
}

// TestMend shuts real sockets down, as a worker can that has them.
func TestMend(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for _, b := range []settings.Bind{{Network: "tcp", Address: "127.0.0.1:0"}, {Network: "tcp", Address: fixedAddress(t)}, {Network: "unix", Address: path}} {
		l, err := openListener(b)
		if err != nil {
			t.Fatal(err)
		}
		if l.shut() {
			t.Errorf("%v is shut from the start", b)
		}
		theirs, err := unix.FcntlInt(uintptr(l.fd), unix.F_DUPFD_CLOEXEC, 10)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Shutdown(theirs, unix.SHUT_RD); err != nil {
			t.Fatal(err)
		}
		if !l.shut() {
			t.Errorf("%v does not seem to be shut", b)
		}
		if e := l.examine(theirs, 16); !e.shut {
			t.Errorf("%v: %+v", b, e)
		}
		h := &systemHost{}
		other, err := h.Mend(l, false, 16)()
		if err == nil && other != nil {
			err = l.become(other)
		}
		if err != nil || l.shut() || (other != nil) != (b.Network == "unix" || b.Address == "127.0.0.1:0") {
			t.Errorf("%v: %v, %v", b, other, err)
		} else {
			connects(t, l)
		}
		unix.Close(theirs)
		l.retire(slog.New(slog.DiscardHandler))
	}
}

// connects wants l to be reached where the workers say that it is.
func connects(t *testing.T, l *listener) {
	t.Helper()
	address := l.Address
	if l.Network == "tcp" {
		address = net.JoinHostPort(l.info.Host, l.info.Port)
	}
	c, err := net.DialTimeout(l.Network, address, 30*time.Second)
	if err != nil {
		t.Errorf("%v: %v", l.Bind, err)
		return
	}
	c.Close()
}

// TestSpoiledListeners sets each option on real sockets that a process without privileges
// can. It is noticed, and another socket, which has none of it, is reached in the place of
// the old one.
func TestSpoiledListeners(t *testing.T) {
	number := func(level, name, value int) func(int) error {
		return func(fd int) error { return unix.SetsockoptInt(fd, level, name, value) }
	}
	key := func(fd int) error { // for peers that never come: nobody would notice by connecting
		sig := unix.TCPMD5Sig{Flags: unix.TCP_MD5SIG_FLAG_PREFIX, Prefixlen: 8, Keylen: 3, Key: [80]byte{'k', 'e', 'y'}}
		sig.Addr.Family = unix.AF_INET
		(*unix.RawSockaddrInet4)(unsafe.Pointer(&sig.Addr)).Addr = [4]byte{10}
		return unix.SetsockoptTCPMD5Sig(fd, unix.IPPROTO_TCP, unix.TCP_MD5SIG_EXT, &sig)
	}
	filter := func(fd int) error { // takes nothing, and stays
		drop := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}}
		err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop[0]})
		return errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_LOCK_FILTER, 1))
	}
	for _, c := range []struct {
		name string
		six  bool
		set  func(fd int) error
	}{
		{"a filter, a key or a header", false, key},
		{"a filter, a key or a header, SO_LOCK_FILTER", false, filter},
		{"SO_LOCK_FILTER", false, number(unix.SOL_SOCKET, unix.SO_LOCK_FILTER, 1)},
		{"SO_BINDTODEVICE", false, func(fd int) error { return unix.BindToDevice(fd, "lo") }},
		{"SO_PRIORITY", false, number(unix.SOL_SOCKET, unix.SO_PRIORITY, 6)},
		{"SO_DONTROUTE", false, number(unix.SOL_SOCKET, unix.SO_DONTROUTE, 1)},
		{"SO_RCVLOWAT", false, number(unix.SOL_SOCKET, unix.SO_RCVLOWAT, 1<<20)},
		{"SO_RCVTIMEO", false, func(fd int) error {
			return unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 1})
		}},
		{"SO_LINGER", false, func(fd int) error {
			return unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		}},
		{"SO_KEEPALIVE", false, number(unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)},
		{"SO_MAX_PACING_RATE", false, number(unix.SOL_SOCKET, unix.SO_MAX_PACING_RATE, 1)},
		{"SO_OOBINLINE", false, number(unix.SOL_SOCKET, unix.SO_OOBINLINE, 1)},
		{"SO_REUSEADDR", false, number(unix.SOL_SOCKET, unix.SO_REUSEADDR, 0)},
		{"SO_BUF_LOCK", false, number(unix.SOL_SOCKET, unix.SO_RCVBUF, 1)},
		{"SO_BUF_LOCK", false, number(unix.SOL_SOCKET, unix.SO_SNDBUF, 1)},
		{"IP_TTL", false, number(unix.IPPROTO_IP, unix.IP_TTL, 1)},
		{"IP_MINTTL", false, number(unix.IPPROTO_IP, unix.IP_MINTTL, 64)},
		{"IP_MINTTL", true, number(unix.IPPROTO_IP, unix.IP_MINTTL, 255)}, // for IPv4 that comes there
		{"SO_PRIORITY, IP_TOS", false, number(unix.IPPROTO_IP, unix.IP_TOS, 0xb8)},
		{"IP_MTU_DISCOVER", false, number(unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)},
		{"IP_RECVERR", false, number(unix.IPPROTO_IP, unix.IP_RECVERR, 1)},
		{"IPV6_UNICAST_HOPS", true, number(unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, 1)},
		{"IPV6_MINHOPCOUNT", true, number(unix.IPPROTO_IPV6, unix.IPV6_MINHOPCOUNT, 255)},
		{"IPV6_TCLASS", true, number(unix.IPPROTO_IPV6, unix.IPV6_TCLASS, 8)},
		{"IPV6_MTU_DISCOVER", true, number(unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)},
		{"IPV6_RECVERR", true, number(unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)},
		{"TCP_MAXSEG", false, number(unix.IPPROTO_TCP, unix.TCP_MAXSEG, 88)},
		{"TCP_DEFER_ACCEPT", false, number(unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 100000)},
		{"TCP_WINDOW_CLAMP", true, number(unix.IPPROTO_TCP, unix.TCP_WINDOW_CLAMP, 1)},
		{"TCP_CORK", false, number(unix.IPPROTO_TCP, unix.TCP_CORK, 1)},
		{"TCP_USER_TIMEOUT", false, number(unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 1)},
		{"TCP_SYNCNT", false, number(unix.IPPROTO_TCP, unix.TCP_SYNCNT, 1)},
		{"TCP_LINGER2", false, number(unix.IPPROTO_TCP, unix.TCP_LINGER2, 1)},
		{"TCP_FASTOPEN", false, number(unix.IPPROTO_TCP, unix.TCP_FASTOPEN, 5)},
	} {
		host := "127.0.0.1:0"
		if c.six {
			host = "[::1]:0"
		}
		l, err := openListener(settings.Bind{Network: "tcp", Address: host})
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := dup(l.fd)
		if err != nil {
			t.Fatal(err)
		}
		if e := l.examine(theirs, 16); e.shut || e.spoiled != "" || e.backlog != 16 {
			t.Fatalf("from the start: %+v", e)
		}
		if err := c.set(theirs); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if e := l.examine(theirs, 16); e.shut || e.spoiled != c.name {
			t.Errorf("%s: %+v", c.name, e)
		}
		other, err := (&systemHost{}).Mend(l, true, 16)()
		if err != nil || other == nil {
			t.Fatalf("%s: %v, %v", c.name, other, err)
		}
		if err := l.become(other); err != nil {
			t.Fatal(err)
		}
		if e := l.examine(l.fd, 16); e.shut || e.spoiled != "" {
			t.Errorf("%s, mended: %+v", c.name, e)
		}
		connects(t, l)
		unix.Close(theirs)
		l.retire(slog.New(slog.DiscardHandler))
	}
}

// TestSpoiledExchange sets each option on real ends of an exchange by which one worker can
// spoil it for the others.
func TestSpoiledExchange(t *testing.T) {
	at := func(end, name, value int) func(ends [2]int) error {
		return func(ends [2]int) error { return unix.SetsockoptInt(ends[end], unix.SOL_SOCKET, name, value) }
	}
	for _, c := range []struct {
		name string
		set  func(ends [2]int) error
	}{
		{"a filter", func(ends [2]int) error {
			drop := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}}
			return unix.SetsockoptSockFprog(ends[1], unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop[0]})
		}},
		{"SO_LOCK_FILTER", at(1, unix.SO_LOCK_FILTER, 1)},
		{"SO_PEEK_OFF", at(1, unix.SO_PEEK_OFF, 1)},
		{"SO_RCVTIMEO", func(ends [2]int) error {
			return unix.SetsockoptTimeval(ends[1], unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 1})
		}},
		{"SO_SNDTIMEO", func(ends [2]int) error {
			return unix.SetsockoptTimeval(ends[0], unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Usec: 1})
		}},
		{"SO_RCVBUF", at(1, unix.SO_RCVBUF, 1)},
		{"SO_SNDBUF", at(0, unix.SO_SNDBUF, 1)},
		{"SO_PASSCRED", at(1, unix.SO_PASSCRED, 1)},
		{"SO_PASSPIDFD", at(1, unix.SO_PASSPIDFD, 1)},
		{"SO_PASSRIGHTS", at(1, unix.SO_PASSRIGHTS, 0)},
	} {
		out, in, err := protocol.NewExchange()
		if err != nil {
			t.Fatal(err)
		}
		h := &systemHost{exchange: [2]int{out, in}}
		h.noteExchange()
		if why := h.ExchangeEnded(); why != "" {
			t.Errorf("from the start: %s", why)
		}
		switch err := c.set(h.exchange); {
		case errors.Is(err, unix.ENOPROTOOPT):
			t.Logf("%s: the kernel does not know it", c.name)
		case err != nil:
			t.Errorf("%s: %v", c.name, err)
		default:
			if why, want := h.ExchangeEnded(), "a worker set options on it: "+c.name; why != want {
				t.Errorf("%s instead of %s", why, want)
			}
		}
		unix.Close(out)
		unix.Close(in)
	}
}

// TestSpoiledListenersAreReplaced is the same for the state machine: it is said once,
// seldom if it comes again, and a socket that holds its owner up is not waited for.
func TestSpoiledListenersAreReplaced(t *testing.T) {
	set := testSettings()
	set.Binds = []settings.Bind{{Network: "tcp", Address: "127.0.0.1:1"}}
	set.Backlog = 64
	withRig(t, set, nil, func(r *rig) {
		r.awaitServing()
		r.host.mu.Lock()
		r.host.spoiled = map[string]string{"127.0.0.1:1": "IP_MINTTL"}
		r.host.mu.Unlock()
		r.pass(2 * lookEvery)
		if n, m := r.all()[1].got(protocol.KindDescriptor); n != 1 || m.Number != protocol.FDListeners || r.host.revived != 1 {
			t.Errorf("%d descriptors, number %d, mended %d times", n, m.Number, r.host.revived)
		}
		if n := strings.Count(r.log.String(), "options=IP_MINTTL"); n != 1 || len(r.view().DeadListeners) != 0 {
			t.Errorf("said %d times, %v", n, r.view().DeadListeners)
		}

		r.host.mu.Lock()
		r.host.queues = map[string]listenQueue{"127.0.0.1:1": {limit: 0, known: true}}
		r.host.mu.Unlock()
		r.pass(lookEvery)
		if n := strings.Count(r.log.String(), "the length of a listen queue"); n != 1 {
			t.Errorf("the length of the queue: said %d times", n)
		}
		r.host.mu.Lock()
		r.host.queues = nil
		r.host.mu.Unlock()

		end := r.host.setHang()
		r.pass(10 * time.Minute)
		if v := r.view(); len(v.DeadListeners) != 1 {
			t.Errorf("%v while nothing is heard of it", v.DeadListeners)
		}
		if n := strings.Count(r.log.String(), "does not answer its owner"); n != 1 {
			t.Errorf("said %d times", n)
		}
		end()
		r.pass(2 * lookEvery)
		if v := r.view(); len(v.DeadListeners) != 0 {
			t.Errorf("%v afterwards", v.DeadListeners)
		}
	})
}

// fixedAddress is an address with a port that is free.
func fixedAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
