package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// mold returns the process that the workers are forked from.
func (s *server) mold() int {
	s.t.Helper()
	s.waitLog("mold ready")
	log := s.log.String()
	_, line, _ := strings.Cut(log[strings.LastIndex(log, "mold ready"):], "pid=")
	pid, err := strconv.Atoi(strings.Fields(line)[0])
	if err != nil {
		s.t.Fatal(err)
	}
	return pid
}

// TestPreload takes preloaded workers through their life.
func TestPreload(t *testing.T) {
	p := newPlan(t, "VERSION = 'old'")
	s := start(t, "--preload", "-w", "3", "--threads", "2", "-e", "PLAN="+p.path, "faults:app")
	mold := s.mold()
	pids := s.workers()
	if len(pids) != 4 {
		t.Fatalf("children: %v, the mold is %d", pids, mold)
	}
	s.underLoad(func() {
		// A worker forked later has the code that was imported.
		p.write("VERSION = 'new'")
		s.signal(syscall.SIGTTOU) // one leaves in good order, and comes back
		s.waitLog("cause=scale_down")
		s.signal(syscall.SIGTTIN)
		s.eventually("three workers", func() bool { return s.metric("hostler_workers", `state="serving"`) == 3 })
		if v := s.version(); v != "old" {
			t.Errorf("a worker forked from the old mold: %q", v)
		}
		// SIGHUP imports anew.
		s.signal(syscall.SIGHUP)
		s.waitLog("msg=reloaded")
		s.eventually("the new code", func() bool { return s.version() == "new" })
		s.eventually("the end of the old mold", func() bool { return !alive(mold) })
		// Broken code harms nothing.
		p.write("raise RuntimeError('broken in the mold')")
		s.signal(syscall.SIGHUP)
		s.eventually("the failure", func() bool { return s.metric("hostler_last_reload_successful", "") == 0 })
		if v := s.version(); v != "new" {
			t.Errorf("after a broken reload: %q", v)
		}
		s.waitLog("\nRuntimeError: broken in the mold")
		if n := strings.Count(s.log.String(), "\nRuntimeError: broken in the mold"); n != 1 {
			t.Errorf("the traceback is in the log %d times", n)
		}
	})
}

// TestPreloadKills kills workers and the mold.
func TestPreloadKills(t *testing.T) {
	p := newPlan(t, "VERSION = 'old'")
	s := start(t, "--preload", "-w", "2", "-e", "PLAN="+p.path, "faults:app")
	mold := s.mold()
	p.write("VERSION = 'rebuilt'")
	var victim int
	for _, pid := range s.workers() {
		if pid != mold {
			victim = pid
		}
	}
	if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.eventually("another worker", func() bool {
		return s.metric("hostler_workers", `state="serving"`) == 2 && s.metric("hostler_worker_exits_total", `cause="signal"`) == 1
	})
	if v := s.version(); v != "old" {
		t.Errorf("from the mold: %q", v)
	}
	s.underLoad(func() {
		if err := syscall.Kill(mold, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		s.waitLog("mold ready", 2)
	})
	if n := s.metric("hostler_worker_exits_total", ""); n != 1 {
		t.Errorf("%v workers have left", n)
	}
	pids := s.workers()
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-s.exited
	for _, pid := range pids {
		for end := time.Now().Add(15 * time.Second); alive(pid); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Errorf("process %d outlives its master", pid)
				_ = syscall.Kill(pid, syscall.SIGKILL)
				break
			}
		}
	}
}

// TestPreloadStarts looks at what the mold says, and at what the workers see.
func TestPreloadStarts(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{
		"careless.py": `
import os, random, socket, threading, time
threading.Thread(target=time.sleep, args=(60,), name="ticker", daemon=True).start()
open_socket = socket.socket()
seen, forks, first = [], [], random.random()
os.register_at_fork(after_in_child=lambda: forks.append(os.getpid()))
def app(environ, start_response):
    seen.append(environ["PATH_INFO"] + "?" + environ["QUERY_STRING"])
    if environ["PATH_INFO"] == "/fails":
        raise ValueError("in the warm-up")
    body = repr((os.getpid(), len(forks), forks[-1:] == [os.getpid()], seen[:2], threading.active_count(), random.random())).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
`,
		"bad.py": "raise RuntimeError('bad on purpose')\n",
	})
	s := start(t, "--preload", "-w", "2", "--warmup", "/warm%20up?x=1", "--warmup", "/fails", "--chdir", dir, "careless:app")
	for _, want := range []string{"ticker", "careless.open_socket (descriptor", "in the warm-up"} {
		s.waitLog(want)
	}
	random := map[string]bool{}
	pids := map[string]bool{}
	n := 0
	for end := time.Now().Add(20 * time.Second); n < 40 || len(pids) < 2 && time.Now().Before(end); n++ {
		_, b := s.get("/")
		f := strings.Split(strings.Trim(b, "()"), ", ")
		if f[1] != "1" || f[2] != "True" {
			t.Fatalf("the fork handler has not run once: %s", b)
		}
		if !strings.Contains(b, "['/warm up?x=1', '/fails?']") || !strings.Contains(b, ", 1, ") {
			t.Errorf("%s", b)
		}
		pids[f[0]], random[f[len(f)-1]] = true, true
	}
	if len(random) != n || len(pids) != 2 {
		t.Errorf("%d random numbers of %d workers are different ones", len(random), len(pids))
	}
	if code, out := run(t, dir, nil, "--python", venv, "--preload", "-w", "3", "--admin-bind", "off", "-b", fmt.Sprintf("127.0.0.1:%d", freePort(t)), "bad:app"); code != 1 ||
		strings.Count(out, "\nRuntimeError: bad on purpose") != 1 || strings.Contains(out, "goroutine ") {
		t.Errorf("a mold that cannot import: %d\n%s", code, out)
	}
}

// TestPreloadReapsOrphans wants no zombies of processes that the application has
// left behind.
func TestPreloadReapsOrphans(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"orphans.py": `
import os
def app(environ, start_response):
    if os.fork() == 0:
        if os.fork() == 0:
            os._exit(3)
        os._exit(0)
    os.wait()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
`})
	s := start(t, "--preload", "--chdir", dir, "orphans:app")
	for range 10 {
		s.get("/")
	}
	s.eventually("no zombies", func() bool {
		for _, pid := range s.workers() {
			if b, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(pid), "stat")); err == nil && strings.Contains(string(b), ") Z ") {
				return false
			}
		}
		return true
	})
	if n := s.metric("hostler_worker_exits_total", ""); n != 0 {
		t.Errorf("%v workers have left", n)
	}
}

// TestPreloadUpgrade replaces the binary, molds and all.
func TestPreloadUpgrade(t *testing.T) {
	pidfile := filepath.Join(t.TempDir(), "pid")
	s := start(t, "--preload", "-w", "2", "--threads", "2", "-p", pidfile, "faults:app")
	next := s.successor(pidfile)
	mold := s.mold()
	stop := make(chan struct{})
	result := s.load(8, "/", stop)
	time.Sleep(200 * time.Millisecond)
	s.signal(syscall.SIGUSR2)
	<-s.exited
	time.Sleep(200 * time.Millisecond)
	close(stop)
	r := <-result
	r.check(t, 100)
	if r.announced != 0 {
		t.Errorf("%d connections were told to close", r.announced)
	}
	if pid := next(); pid == s.cmd.Process.Pid || !alive(pid) {
		t.Errorf("the new master is %d", pid)
	}
	if alive(mold) {
		t.Error("the old mold is still there")
	}
}

// TestPreloadImportHangs stops, or runs into the boot timeout, while the mold imports.
func TestPreloadImportHangs(t *testing.T) {
	p := newPlan(t, "time.sleep(100)")
	s := launch(t, "--preload", "-w", "2", "-e", "PLAN="+p.path, "faults:app")
	time.Sleep(500 * time.Millisecond)
	s.signal(syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(10 * time.Second):
		t.Fatal("still there")
	}
	s = launch(t, "--preload", "-w", "2", "--boot-timeout", "1", "-e", "PLAN="+p.path, "faults:app")
	select {
	case <-s.exited:
	case <-time.After(20 * time.Second):
		t.Fatal("still there")
	}
	if code := s.cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit status %d", code)
	}
	for _, want := range []string{"not ready within 1s", `File "` + apps + `/faults.py"`} {
		if !strings.Contains(s.log.String(), want) {
			t.Errorf("not in the log: %q", want)
		}
	}
}
