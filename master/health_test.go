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

// TestRevive shuts real sockets down, as a worker can that has them.
func TestRevive(t *testing.T) {
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
		fresh, err := l.revive(16)
		if b.Address == "127.0.0.1:0" { // the system's port is gone
			if err == nil && !fresh && !l.samePort() {
				t.Errorf("%v: revived at another port as if it were the same", b)
			}
		} else if err != nil || l.shut() || fresh != (b.Network == "unix") {
			t.Errorf("%v: fresh %v, %v", b, fresh, err)
		} else {
			c, err := net.Dial(b.Network, b.Address)
			if err != nil {
				t.Errorf("%v: %v", b, err)
			} else {
				c.Close()
			}
		}
		unix.Close(theirs)
		l.retire(slog.New(slog.DiscardHandler))
	}
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
