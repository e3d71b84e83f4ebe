package master

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hostler/protocol"
	"hostler/settings"
)

// load asks for answers from several clients until stop is called, which
// reports how many asked and what failed.
func (m *realMaster) load() (stop func() (int, []error)) {
	quit := make(chan struct{})
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		n    int
		errs []error
	)
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-quit:
					return
				default:
				}
				answer, err := m.ask(m.set.Binds[0], "who")
				mu.Lock()
				n++
				if err == nil && answer == "" {
					err = fmt.Errorf("empty answer")
				}
				if err != nil {
					errs = append(errs, err)
				}
				mu.Unlock()
			}
		})
	}
	return func() (int, []error) {
		close(quit)
		wg.Wait()
		return n, errs
	}
}

func TestReloadUnderLoad(t *testing.T) {
	m := newRealMaster(t, "")
	m.start()
	m.awaitServing()
	stop := m.load()
	for i := range 3 {
		m.signal(syscall.SIGHUP)
		m.awaitLog(fmt.Sprintf("msg=reloaded generation=%d", i+2))
	}
	m.await("generation 4 answers", func() bool { return strings.HasSuffix(m.mustAsk("who"), "gen 4") })
	if n, errs := stop(); n == 0 || len(errs) > 0 {
		t.Errorf("%d requests, %d failed: %v", n, len(errs), errs)
	}
}

func TestReloadThatCannotBoot(t *testing.T) {
	m := newRealMaster(t, "")
	m.start()
	m.awaitServing()
	stop := m.load()
	m.app("raise LookupError('no ' + 'tables')")
	m.signal(syscall.SIGHUP)
	m.awaitLog("the reload failed")
	m.app("")
	m.signal(syscall.SIGHUP)
	m.awaitLog("msg=reloaded generation=3")
	if n, errs := stop(); n == 0 || len(errs) > 0 {
		t.Errorf("%d requests, %d failed: %v", n, len(errs), errs)
	}
	if n := strings.Count(m.logged(), "\nLookupError: no tables"); n != 1 {
		t.Errorf("the traceback is in the log %d times", n)
	}
}

func TestReloadChangesAddresses(t *testing.T) {
	m := newRealMaster(t, "")
	path := settings.Bind{Network: "unix", Address: filepath.Join(t.TempDir(), "s")}
	tcp := m.set.Binds[0]
	m.set.Binds = append(m.set.Binds, path)
	m.start()
	m.awaitServing()
	if got, err := m.ask(path, "who"); err != nil || got == "" {
		t.Errorf("unix: %q, %v", got, err)
	}
	if st, err := os.Stat(path.Address); err != nil || st.Mode().Perm() != 0o666 {
		t.Errorf("mode of the socket: %v, %v", st, err)
	}

	m.set.Binds = []settings.Bind{path}
	m.save()
	m.signal(syscall.SIGHUP)
	m.awaitLog("msg=reloaded generation=2")
	m.await("the TCP address is refused", func() bool {
		c, err := net.Dial("tcp", tcp.Address)
		if err == nil {
			c.Close()
		}
		return err != nil
	})

	m.set.Binds = []settings.Bind{tcp}
	m.save()
	m.signal(syscall.SIGHUP)
	m.awaitLog("msg=reloaded generation=3")
	m.mustAsk("who")
	m.await("the socket file is gone", func() bool {
		_, err := os.Stat(path.Address)
		return os.IsNotExist(err)
	})

	// An address that cannot be had fails the reload and harms nothing.
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	m.set.Binds = []settings.Bind{tcp, {Network: "tcp", Address: ln.Addr().String()}}
	m.save()
	m.signal(syscall.SIGHUP)
	m.awaitLog("cannot bind " + ln.Addr().String() + ": address already in use")
	m.mustAsk("who")
}

func TestDeadWorkersAreReplaced(t *testing.T) {
	m := newRealMaster(t, "")
	m.set.Workers = 1
	m.start()
	m.awaitServing()
	for i, c := range []struct{ word, log string }{
		{"kill", "cause=signal status=signal:SIGKILL"},
		{"exit", "cause=exit status=exit:7"},
	} {
		_, _ = m.ask(m.set.Binds[0], c.word)
		m.awaitLog(c.log)
		m.await("a replacement", func() bool { return strings.Count(m.logged(), `msg="worker ready"`) == i+2 })
		m.mustAsk("who")
	}
}

func TestScaleSignals(t *testing.T) {
	m := newRealMaster(t, "")
	m.start()
	m.awaitServing()
	m.signal(syscall.SIGTTIN)
	m.await("a third worker", func() bool { return strings.Count(m.logged(), `msg="worker ready"`) == 3 })
	m.signal(syscall.SIGTTOU)
	m.awaitLog("cause=scale_down")
}

func TestFirstBootFails(t *testing.T) {
	m := newRealMaster(t, "import no_such_module_at_all")
	m.start()
	if err := m.exit(); err == nil || err.Error() != "exit status 1" {
		t.Errorf("exit: %v", err)
	}
	log := m.logged()
	want := "hostler: cannot start " + m.set.App + ": ModuleNotFoundError: No module named 'no_such_module_at_all'\n"
	if !strings.HasSuffix(log, want) || strings.Count(log, "Traceback") != 1 {
		t.Errorf("log:\n%s", log)
	}
	if m.pid() != 0 {
		t.Error("there is a pid file")
	}
}

func TestBootHangs(t *testing.T) {
	m := newRealMaster(t, "import faulthandler, time; faulthandler.enable(); time.sleep(1000)")
	m.set.BootTimeout = 8 * time.Second
	m.start()
	if err := m.exit(); err == nil || err.Error() != "exit status 1" {
		t.Errorf("exit: %v", err)
	}
	if log := m.logged(); !strings.Contains(log, "not ready within 8s") || !strings.Contains(log, "most recent call first") {
		t.Errorf("log:\n%s", log)
	}
}

func TestBindInUse(t *testing.T) {
	m := newRealMaster(t, "")
	ln, err := net.Listen("tcp", m.set.Binds[0].Address)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	m.start()
	if err := m.exit(); err == nil || err.Error() != "exit status 1" {
		t.Errorf("exit: %v", err)
	}
	if want := "hostler: cannot bind " + ln.Addr().String() + ": address already in use\n"; !strings.HasSuffix(m.logged(), want) {
		t.Errorf("log:\n%s", m.logged())
	}
}

// TestMasterKilled: no worker outlives the master and none holds the port.
func TestMasterKilled(t *testing.T) {
	m := newRealMaster(t, "")
	m.start()
	m.awaitServing()
	worker, _, _ := strings.Cut(m.mustAsk("who"), " ")
	m.signal(syscall.SIGKILL)
	_ = m.exit()
	m.await("the worker is gone", func() bool {
		_, err := os.Stat("/proc/" + worker)
		return err != nil
	})
	m.await("the port is free", func() bool {
		ln, err := net.Listen("tcp", m.set.Binds[0].Address)
		if err == nil {
			ln.Close()
		}
		return err == nil
	})
}

// TestMasterKilledDuringBoot: a worker that imports does not read its control
// socket; the kernel's signal at the parent's death ends it.
func TestMasterKilledDuringBoot(t *testing.T) {
	m := newRealMaster(t, "import os, time\nopen(os.path.join(os.path.dirname(cfg['app']), 'pid%d' % cfg['worker']), 'w').write(str(os.getpid()))\ntime.sleep(1000)")
	m.start()
	worker := ""
	m.await("a worker imports", func() bool {
		b, _ := os.ReadFile(filepath.Join(m.dir, "pid1"))
		worker = string(b)
		return worker != ""
	})
	m.signal(syscall.SIGKILL)
	_ = m.exit()
	m.await("the worker is gone", func() bool {
		_, err := os.Stat("/proc/" + worker)
		return err != nil
	})
}

// TestWorkerInherits: a worker has its own descriptors and no others, a process
// group of its own, and an environment without our internals.
func TestWorkerInherits(t *testing.T) {
	t.Setenv("TABLEFLIP_HAS_PARENT_7DIU3", "")
	t.Setenv("GOGC", "77")
	m := newRealMaster(t, "")
	m.set.Env = []string{"COLOUR=green", "HOME=/nowhere"}
	m.start()
	m.awaitServing()
	fds := strings.Fields(m.mustAsk("fds"))
	// One listener is handed over; the next three are our modules, which the library
	// would close, the connection, and the directory being read.
	most := protocol.FDListeners + 3
	for _, fd := range fds {
		number, _, _ := strings.Cut(fd, "=")
		n, err := strconv.Atoi(number)
		if flags, ferr := unix.FcntlInt(uintptr(n), unix.F_GETFD, 0); ferr == nil && n > 2 && flags&unix.FD_CLOEXEC == 0 {
			if n <= most {
				most++ // from whoever runs the tests, in the way of the others
			}
			continue
		}
		if err != nil || n > most {
			t.Errorf("the worker has descriptor %s of %v", fd, fds)
		}
	}
	if pgid := m.mustAsk("pgid"); pgid == fmt.Sprint(syscall.Getpgrp()) || pgid == fmt.Sprint(m.cmd.Process.Pid) {
		t.Errorf("the worker is in process group %s", pgid)
	}
	var env map[string]string
	if err := json.Unmarshal([]byte(m.mustAsk("env")), &env); err != nil {
		t.Fatal(err)
	}
	if env["COLOUR"] != "green" || env["HOME"] != "/nowhere" || env["GOGC"] != "77" {
		t.Errorf("environment: %v", env)
	}
	for _, name := range []string{"TABLEFLIP_HAS_PARENT_7DIU3", "GOMAXPROCS"} {
		if v, ok := env[name]; ok && os.Getenv(name) == "" {
			t.Errorf("the application sees %s=%s", name, v)
		}
	}
}

func TestUpgrade(t *testing.T) {
	m := newRealMaster(t, "")
	path := settings.Bind{Network: "unix", Address: filepath.Join(t.TempDir(), "s")}
	m.set.Binds = append(m.set.Binds, path)
	m.start()
	m.awaitServing()
	stop := m.load()

	// A new binary in which the application fails harms nothing.
	m.app("raise LookupError('no tables')")
	m.signal(syscall.SIGUSR2)
	m.awaitLog("the upgrade failed; this binary serves on")
	m.mustAsk("who")

	m.app("")
	old := m.pid()
	m.signal(syscall.SIGUSR2)
	if err := m.exit(); err != nil {
		t.Errorf("the old master: %v", err)
	}
	m.await("the pid file names the new master", func() bool { return m.pid() != 0 && m.pid() != old })
	if n, errs := stop(); n == 0 || len(errs) > 0 {
		t.Errorf("%d requests, %d failed: %v", n, len(errs), errs)
	}
	if got, err := m.ask(path, "who"); err != nil || got == "" {
		t.Errorf("unix: %q, %v", got, err)
	}
	// It upgrades again: the variable and the sockets went along.
	second := m.pid()
	m.await("the parent is known to have left", func() bool {
		_ = syscall.Kill(second, syscall.SIGUSR2)
		pids := []int{0, old, second}
		for range 50 {
			if !slices.Contains(pids, m.pid()) {
				return true
			}
			syscall.Select(0, nil, nil, nil, &syscall.Timeval{Usec: 20000})
		}
		return false
	})
	if err := syscall.Kill(m.pid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	m.await("the socket file is gone", func() bool {
		_, err := os.Stat(path.Address)
		return os.IsNotExist(err)
	})
}

// TestCheck: Check runs in this process; the stand-in's application is a file.
func TestCheck(t *testing.T) {
	for _, c := range []struct{ name, app, want string }{
		{"good", "", ""},
		{"raises", "raise LookupError('no tables')", "LookupError: no tables"},
		{"exits", "os._exit(9)", "exit:9"},
		{"hangs", "import faulthandler, time; faulthandler.enable(); time.sleep(1000)", "not ready within 1s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			app := filepath.Join(t.TempDir(), "app.py")
			if err := os.WriteFile(app, []byte(c.app), 0o600); err != nil {
				t.Fatal(err)
			}
			taken, err := net.Listen("tcp", "127.0.0.1:0") // by the server that runs
			if err != nil {
				t.Fatal(err)
			}
			defer taken.Close()
			set := &Settings{Master: settings.Master{Worker: settings.Worker{App: app, Threads: 1}, Workers: 4, BootTimeout: time.Second, Binds: []settings.Bind{{Network: "tcp", Address: taken.Addr().String()}}}}
			if c.name != "hangs" {
				set.BootTimeout = time.Minute
			}
			err = Check(t.Context(), Options{Settings: set, Log: slog.New(slog.DiscardHandler),
				Payload: Payload{Library: noLibrary, Bootstrap: standIn}})
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("error: %v", err)
			}
		})
	}
}
