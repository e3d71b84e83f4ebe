package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// plan is a file whose Python code apps/faults.py runs when it is imported.
type plan struct {
	t    *testing.T
	path string
}

func newPlan(t *testing.T, code string) *plan {
	t.Helper()
	p := &plan{t, filepath.Join(t.TempDir(), "plan.py")}
	p.write(code)
	return p
}

func (p *plan) write(code string) {
	p.t.Helper()
	if err := os.WriteFile(p.path, []byte(code), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// version is what the application answers first: which code it was loaded from.
func (s *server) version() string {
	s.t.Helper()
	_, b := s.get("/")
	v, _, _ := strings.Cut(b, " ")
	return v
}

// TestReloadWithSlowImport wants the old workers to serve while the new import.
func TestReloadWithSlowImport(t *testing.T) {
	p := newPlan(t, "VERSION = 'old'")
	s := start(t, "-w", "2", "-e", "PLAN="+p.path, "faults:app")
	p.write("time.sleep(2)\nVERSION = 'new'")
	s.underLoad(func() {
		s.signal(syscall.SIGHUP)
		s.eventually("workers that import", func() bool { return s.metric("hostler_workers", `state="booting"`) > 0 })
		served := 0
		for s.metric("hostler_workers", `state="booting"`) > 0 {
			if v := s.version(); v == "old" {
				served++
			}
		}
		if served < 5 {
			t.Errorf("%d requests were answered during the import", served)
		}
		s.eventually("the new code", func() bool { return s.version() == "new" })
	})
}

// TestReloadDuringRequest wants a request that runs to end in its old worker,
// while the new one serves.
func TestReloadDuringRequest(t *testing.T) {
	p := newPlan(t, "VERSION = 'old'")
	s := start(t, "-e", "PLAN="+p.path, "faults:app")
	slow := s.dial()
	slow.send(getLine("/sleep?2"))
	s.eventually("the slow request to run", func() bool { return s.metric("hostler_threads", `state="busy"`) == 1 })
	p.write("VERSION = 'new'")
	s.signal(syscall.SIGHUP)
	s.waitLog("msg=reloaded")
	if v := s.version(); v != "new" {
		t.Errorf("after the reload: %q", v)
	}
	if r, b := slow.answer("GET"); !strings.HasPrefix(b, "old ") || r.Close {
		t.Errorf("the slow request: %q, close announced: %v", b, r.Close)
	}
	slow.send(getLine("/"))
	if _, b := slow.answer("GET"); !strings.HasPrefix(b, "new ") {
		t.Errorf("the next one on its connection: %q", b)
	}
	s.waitLog("cause=reload")
}

// TestReloadWithIdleConnections wants no connection that rests between two
// requests to be closed without an announcement.
func TestReloadWithIdleConnections(t *testing.T) {
	s := start(t, "-w", "2", "--keep-alive", "15", "faults:app")
	var conns []*wire
	for range 20 {
		c := s.dial()
		c.send(getLine("/"))
		if r, _ := c.answer("GET"); r.Close {
			t.Fatal("closed already")
		}
		conns = append(conns, c)
	}
	s.signal(syscall.SIGHUP)
	s.waitLog("msg=reloaded")
	time.Sleep(500 * time.Millisecond)
	for i, c := range conns {
		c.send(getLine("/"))
		if r, _ := c.answer("GET"); r.StatusCode != 200 {
			t.Errorf("connection %d: %s", i, r.Status)
		}
	}
}

// TestReloadsAtOnce sends signals faster than reloads take.
func TestReloadsAtOnce(t *testing.T) {
	p := newPlan(t, "VERSION = 'old'")
	s := start(t, "-w", "2", "-e", "PLAN="+p.path, "faults:app")
	s.underLoad(func() {
		for range 10 {
			s.signal(syscall.SIGHUP)
			time.Sleep(30 * time.Millisecond)
		}
		p.write("VERSION = 'new'")
		s.signal(syscall.SIGHUP) // whatever is under way, this one must count
		s.eventually("the code from before the last signal", func() bool { return s.version() == "new" })
		s.eventually("two workers", func() bool {
			return s.metric("hostler_workers", `state="serving"`) == 2 && s.metric("hostler_workers", "") == 2
		})
	})
	if n := s.metric("hostler_last_reload_successful", ""); n != 1 {
		t.Errorf("last_reload_successful: %v", n)
	}
}

// TestReloadReadsSettings changes the settings file, for better and for worse.
func TestReloadReadsSettings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hostler.toml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("workers = 1\n[env]\nGREETING = 'hello'\n")
	s := start(t, "-c", file, "faults:app")
	if _, b := s.get("/"); !strings.HasSuffix(b, " hello") {
		t.Errorf("first: %q", b)
	}
	s.underLoad(func() {
		write("workers = 3\n[env]\nGREETING = 'hi'\n")
		s.signal(syscall.SIGHUP)
		s.waitLog("msg=reloaded")
		s.eventually("three workers", func() bool { return s.metric("hostler_workers", `state="serving"`) == 3 })
		if _, b := s.get("/"); !strings.HasSuffix(b, " hi") {
			t.Errorf("second: %q", b)
		}
		write("wrokers = 5\n")
		s.signal(syscall.SIGHUP)
		s.waitLog("wrokers")
		s.eventually("the failure to be counted", func() bool { return s.metric("hostler_last_reload_successful", "") == 0 })
		if _, b := s.get("/"); !strings.HasSuffix(b, " hi") || s.metric("hostler_workers", `state="serving"`) != 3 {
			t.Errorf("after wrong settings: %q", b)
		}
	})
}

// TestRotationUnderLoad wants a line for each request, in the old or the new file.
func TestRotationUnderLoad(t *testing.T) {
	access := filepath.Join(t.TempDir(), "access.log")
	s := start(t, "-w", "2", "--threads", "2", "--access-log", access, "rules:app")
	stop := make(chan struct{})
	result := s.load(8, "/hello", stop)
	for i := range 3 {
		time.Sleep(200 * time.Millisecond)
		if err := os.Rename(access, fmt.Sprintf("%s.%d", access, i)); err != nil {
			t.Fatal(err)
		}
		s.signal(syscall.SIGUSR1)
		s.eventually("a new file in use", func() bool {
			st, err := os.Stat(access)
			return err == nil && st.Size() > 0
		})
	}
	time.Sleep(200 * time.Millisecond)
	close(stop)
	r := <-result
	r.check(t, 100)
	lines := 0
	s.eventually("a line for each request", func() bool {
		lines = 0
		files, _ := filepath.Glob(access + "*")
		for _, f := range files {
			b, _ := os.ReadFile(f)
			lines += strings.Count(string(b), "\"GET /hello HTTP/1.1\" 200 ")
		}
		return lines >= r.ok
	})
	if lines != r.ok {
		t.Errorf("%d lines for %d requests", lines, r.ok)
	}
}

// TestScaleToOne wants the last worker to stay.
func TestScaleToOne(t *testing.T) {
	s := start(t, "-w", "2", "faults:app")
	for range 4 {
		s.signal(syscall.SIGTTOU)
		time.Sleep(50 * time.Millisecond)
	}
	s.eventually("one worker", func() bool { return s.metric("hostler_workers", "") == 1 })
	if code, _ := s.get("/"); code != 200 {
		t.Errorf("the last worker answers %d", code)
	}
	if n := s.metric("hostler_workers_target", ""); n != 1 {
		t.Errorf("target: %v", n)
	}
}

// TestUpgrades replaces the binary twice under load, and in between fails to,
// since the application has been broken meanwhile.
func TestUpgrades(t *testing.T) {
	p := newPlan(t, "VERSION = '1'")
	pidfile := filepath.Join(t.TempDir(), "pid")
	s := start(t, "-w", "2", "-p", pidfile, "-e", "PLAN="+p.path, "faults:app")
	master := s.successor(pidfile)
	wait := func(what string, f func() bool) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); !f(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Errorf("waited in vain for %s", what)
				return
			}
		}
	}
	s.underLoad(func() {
		for round := 2; round <= 3 && !t.Failed(); round++ {
			old := master()
			p.write("raise RuntimeError('broken for the upgrade')")
			if err := syscall.Kill(old, syscall.SIGUSR2); err != nil {
				t.Fatal(err)
			}
			wait("the failed upgrade", func() bool { return s.metric("hostler_upgrades_total", `result="failure"`) == 1 })
			if v := s.version(); v != fmt.Sprint(round-1) || master() != old {
				t.Errorf("after the failed upgrade: version %q, master %d, was %d", v, master(), old)
			}
			p.write(fmt.Sprintf("VERSION = '%d'", round))
			if err := syscall.Kill(old, syscall.SIGUSR2); err != nil {
				t.Fatal(err)
			}
			wait("a new master", func() bool { return master() != old && !alive(old) })
			wait("the new code", func() bool { return s.version() == fmt.Sprint(round) })
			wait("the admin address", func() bool { return s.metric("hostler_workers", `state="serving"`) == 2 })
		}
	})
}

// TestUpgradeScrapes scrapes all through upgrades: once the new master has
// answered, the old one must not, or all counters would go back and forth.
func TestUpgradeScrapes(t *testing.T) {
	pidfile := filepath.Join(t.TempDir(), "pid")
	s := start(t, "-p", pidfile, "faults:app")
	master := s.successor(pidfile)
	for range 3 {
		old := master()
		if err := syscall.Kill(old, syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		var runs []float64
		for end := time.Now().Add(20 * time.Second); master() == old || alive(old) || len(runs) < 2; {
			if run := s.metric("process_start_time_seconds", ""); len(runs) == 0 || runs[len(runs)-1] != run {
				runs = append(runs, run)
			}
			if time.Now().After(end) {
				t.Fatal("no new master")
			}
		}
		if len(runs) != 2 {
			t.Errorf("masters that answered one after the other, by their start times: %v", runs)
		}
	}
}
