package master

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hostler/internal/testlog"
	"hostler/settings"
)

func (r *rig) expectTold(want ...string) {
	r.t.Helper()
	got := r.host.told()
	for i, s := range got { // times are checked apart
		got[i], _, _ = strings.Cut(s, "\n")
	}
	if !slices.Equal(got, want) {
		r.t.Fatalf("the service manager was told %q, want %q", got, want)
	}
}

func TestManagerHearsOfStartReloadAndStop(t *testing.T) {
	withRig(t, testSettings(), nil, func(r *rig) {
		r.expectTold()
		r.awaitServing()
		r.expectTold(fmt.Sprintf("MAINPID=%d", os.Getpid()), "READY=1")

		before := r.s.clock.mono() / 1000
		r.signal(hup)
		got := r.host.told()
		var at int64
		if len(got) != 1 {
			t.Fatalf("told %q", got)
		}
		if _, err := fmt.Sscanf(got[0], "RELOADING=1\nMONOTONIC_USEC=%d", &at); err != nil || at < before {
			t.Fatalf("told %q after %d: %v", got, before, err)
		}
		// Another one while the first runs: the reload is over when both are.
		r.signal(hup)
		r.expectTold("RELOADING=1")
		r.pass(bootTakes)
		r.expectTold("RELOADING=1")
		r.pass(bootTakes)
		r.expectTold("READY=1")

		r.host.readErr = errors.New("broken")
		r.signal(hup)
		r.expectTold("RELOADING=1", "READY=1")
		r.signal(term)
		r.expectTold("STOPPING=1")
		r.awaitEnd()
		r.expectTold()
	})
}

func TestManagerStatusLine(t *testing.T) {
	withRig(t, testSettings(), nil, func(r *rig) {
		status := func(want string) {
			t.Helper()
			r.host.mu.Lock()
			defer r.host.mu.Unlock()
			last := ""
			for _, s := range r.host.notified {
				if text, ok := strings.CutPrefix(s, "STATUS="); ok {
					if text == last {
						t.Errorf("said twice: %s", text)
					}
					last = text
				}
			}
			if last != want {
				t.Errorf("status is %q, want %q", last, want)
			}
		}
		status("")
		r.awaitServing()
		status("2 of 2 workers serve, generation 1")
		r.all()[0].exit(exited(1))
		r.pass(0)
		status("1 of 2 workers serve, generation 1")
		r.pass(2 * bootTakes)
		r.behave(manner{dies: true})
		r.signal(hup)
		status("2 of 2 workers serve, generation 1; generation 2 boots")
		r.pass(2 * bootTakes)
		status("2 of 2 workers serve, generation 1; the last reload failed")
		r.signal(term)
		status("stopping, 2 workers are still there")
	})
}

// TestManagerUpgrade: from the moment that another binary serves, it alone
// speaks for the service.
func TestManagerUpgrade(t *testing.T) {
	withRig(t, testSettings(), nil, func(r *rig) {
		r.awaitServing()
		r.host.told()
		r.signal(syscall.SIGUSR2)
		r.host.upgrade <- nil
		r.awaitEnd()
		r.expectTold()
	})
	// The one that is started and fails is not the service either.
	withRig(t, testSettings(), func(int) manner { return manner{dies: true} }, func(r *rig) {
		if r.awaitEnd() == nil {
			t.Error("it did not fail")
		}
		r.expectTold()
	})
}

func TestWatchdog(t *testing.T) {
	withRig(t, testSettings(), nil, func(r *rig) {
		done := make(chan struct{})
		r.s.post(askEvent{func(s *supervisor) { s.watchdog = 30 * time.Second }, done})
		<-done
		feeds := func() (n int) {
			for _, s := range r.host.told() {
				if s == "WATCHDOG=1" {
					n++
				}
			}
			return n
		}
		beat := func(n int) {
			for range n {
				for _, p := range r.all() {
					r.slotOf(p).Gauges.Heartbeat.Store(r.s.clock.mono())
				}
				r.pass(time.Second)
			}
		}
		r.awaitServing()
		if n := feeds(); n != 1 {
			t.Errorf("fed %d times at the start", n)
		}
		beat(60)
		if n := feeds(); n != 6 {
			t.Errorf("fed %d times in a minute", n)
		}
		r.pass(10 * time.Second) // the last sign of life still counts
		feeds()
		r.pass(time.Minute)
		if n := feeds(); n != 0 {
			t.Errorf("fed %d times while no worker gave a sign of life", n)
		}
		beat(20)
		if n := feeds(); n != 2 {
			t.Errorf("fed %d times in 20 s of life", n)
		}
		r.behave(manner{dies: true})
		for _, p := range r.all() {
			p.exit(exited(1))
		}
		feeds()
		r.pass(time.Minute)
		if n := feeds(); n != 0 {
			t.Errorf("fed %d times without a worker", n)
		}
	})
}

func TestWatchdogInterval(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	for _, c := range []struct {
		usec, pid string
		want      time.Duration
	}{
		{"", "", 0},
		{"2000000", "", 2 * time.Second},
		{"2000000", fmt.Sprint(os.Getpid()), 2 * time.Second},
		{"2000000", "1", 0}, // somebody else's
		{"two", "", 0},
	} {
		t.Setenv("WATCHDOG_USEC", c.usec)
		t.Setenv("WATCHDOG_PID", c.pid)
		if got := watchdogInterval(log); got != c.want {
			t.Errorf("%q for %q: %v", c.usec, c.pid, got)
		}
		// What the next binary finds must mean the same to it.
		if got := watchdogInterval(log); got != c.want {
			t.Errorf("%q for %q, after an upgrade: %v", c.usec, c.pid, got)
		}
	}
}

// keeper is the upgrader's part for files.
type keeper map[string]*os.File

func (k keeper) AddFile(name string, f *os.File) error    { k[name] = f; return nil }
func (k keeper) File(name string) (f *os.File, err error) { return k[name], nil }

func TestUnitSocketMatches(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	socket := func(network, address string) (*unitSocket, string) {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		var f *os.File
		port := ""
		switch l := l.(type) {
		case *net.TCPListener:
			f, err = l.File()
			port = fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
		case *net.UnixListener:
			f, err = l.File()
		}
		if err != nil {
			t.Fatal(err)
		}
		u := &unitSocket{file: f}
		if err := u.look(); err != nil {
			t.Fatal(err)
		}
		return u, port
	}
	for _, c := range []struct {
		network, at string
		yes, no     []string
	}{
		{"tcp4", "127.0.0.1:0", []string{"127.0.0.1:P", "localhost:P"}, []string{"127.0.0.2:P", "127.0.0.1:1", ":P", "0.0.0.0:P"}},
		{"tcp4", "0.0.0.0:0", []string{":P", "0.0.0.0:P"}, []string{"127.0.0.1:P", "[::]:P"}},
		{"tcp", "[::]:0", []string{":P", "0.0.0.0:P", "[::]:P"}, []string{"[::1]:P"}},
		{"unix", path, []string{"unix:" + path}, []string{"unix:" + path + "2", "127.0.0.1:1"}},
	} {
		u, port := socket(c.network, c.at)
		bind := func(s string) settings.Bind {
			if p, ok := strings.CutPrefix(s, "unix:"); ok {
				return settings.Bind{Network: "unix", Address: p}
			}
			return settings.Bind{Network: "tcp", Address: strings.Replace(s, ":P", ":"+port, 1)}
		}
		for _, s := range c.yes {
			if !u.matches(bind(s)) {
				t.Errorf("the socket at %s is not taken for %s", c.at, s)
			}
		}
		for _, s := range c.no {
			if u.matches(bind(s)) {
				t.Errorf("the socket at %s is taken for %s", c.at, s)
			}
		}
		if !u.matches(u.bind) {
			t.Errorf("the socket at %s is not its own bind %s", c.at, u.bind)
		}
	}
}

func TestUnitSocketsUsed(t *testing.T) {
	h := &systemHost{log: slog.New(slog.DiscardHandler), unit: []*unitSocket{
		{name: "web", bind: settings.Bind{Network: "unix", Address: "/a"}, addr: &net.UnixAddr{Name: "/a"}},
		{name: "admin", bind: settings.Bind{Network: "unix", Address: "/b"}, addr: &net.UnixAddr{Name: "/b"}},
		{name: "more", bind: settings.Bind{Network: "unix", Address: "/c"}, addr: &net.UnixAddr{Name: "/c"}},
	}}
	set := &Settings{Master: settings.Master{Binds: []settings.Bind{{Network: "tcp", Address: "127.0.0.1:8000"}}, Admin: settings.Bind{Network: "tcp", Address: "127.0.0.1:9191"}}}
	if err := h.withUnit(set); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(set.Binds, []settings.Bind{{Network: "unix", Address: "/a"}, {Network: "unix", Address: "/c"}}) {
		t.Errorf("without --bind: %v", set.Binds)
	}
	if u := h.findUnitAdmin(set.Admin); u == nil || u.name != "admin" {
		t.Errorf("for the admin server: %v", u)
	}
	set = &Settings{Master: settings.Master{Binds: []settings.Bind{{Network: "tcp", Address: "127.0.0.1:8000"}, {Network: "unix", Address: "/a"}}, BindsGiven: true}}
	if err := h.withUnit(set); err != nil {
		t.Fatal(err)
	}
	if len(set.Binds) != 2 || h.findUnit(set.Binds[0]) != nil || h.findUnit(set.Binds[1]) != h.unit[0] {
		t.Errorf("with --bind: %v", set.Binds)
	}
	var text testlog.Buffer
	h.warnUnused(slog.New(slog.NewTextHandler(&text, nil)), set)
	if got := text.String(); !strings.Contains(got, "socket=more") || !strings.Contains(got, "socket=admin") || strings.Contains(got, "socket=web") {
		t.Errorf("warned of: %s", got)
	}
}

// TestUnitSocketsOfAnUpgrade: the next binary finds them, in their order.
func TestUnitSocketsOfAnUpgrade(t *testing.T) {
	keep := make(keeper)
	for i := range 2 {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), "")
		defer f.Close()
		if err := unix.Listen(fd, 1); err != nil {
			t.Fatal(err)
		}
		keep[fmt.Sprintf("unit socket %d", i)] = f
	}
	t.Setenv("LISTEN_FDNAMES", "one:two")
	all, err := unitSockets(keep, true, nil)
	if err != nil || len(all) != 2 || all[0].name != "one" || all[1].name != "two" || all[0].bind.Network != "tcp" {
		t.Errorf("%v, %v", all, err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	keep["unit socket 1"] = null
	if _, err := unitSockets(keep, true, nil); err == nil || !strings.Contains(err.Error(), `"two": it is no socket`) {
		t.Errorf("a file for a socket: %v", err)
	}
}

// TestManagersVariables: workers must not find what is between the master and
// the service manager.
func TestManagersVariables(t *testing.T) {
	var all []string
	for _, v := range managerVariables {
		all = append(all, v+"=x")
	}
	env, _ := workerEnv(append(all, "NOTIFY_SOCKETS=mine", "INVOCATION_ID=1"), nil)
	env = slices.DeleteFunc(env, func(kv string) bool { return slices.Contains(runtimeEnv[:], kv) })
	if !slices.Equal(env, []string{"NOTIFY_SOCKETS=mine", "INVOCATION_ID=1"}) {
		t.Errorf("workers get %q", env)
	}
}
