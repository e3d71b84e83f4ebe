package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestPreloadForkHandlers: what is to run before a fork and after it in the parent
// runs in the mold, what is to run in the child in the worker, once each, whatever the
// application does with SIGCHLD. And nothing that is the application's is looked at.
func TestPreloadForkHandlers(t *testing.T) {
	for _, onChild := range []string{"default", "ignore", "reap"} {
		s := start(t, "--preload", "-w", "2", "-e", "ON_CHILD="+onChild, "forks:app")
		mold := s.mold()
		pids := map[string]bool{}
		s.eventually("an answer of each worker", func() bool {
			_, body := s.get("/")
			pid, _, _ := strings.Cut(strings.Trim(body, "()"), ",")
			m := fmt.Sprint(mold)
			// The first worker has seen one fork, the second one two.
			one := fmt.Sprintf("(%s, {'before': [%s], 'parent': [], 'child': [%s]}, True, '%s', 'hostler: mold gen 1 [forks:app]')", pid, m, pid, onChild)
			two := fmt.Sprintf("(%s, {'before': [%s, %s], 'parent': [%s], 'child': [%s]}, True, '%s', 'hostler: mold gen 1 [forks:app]')", pid, m, m, m, pid, onChild)
			if body != one && body != two {
				t.Fatalf("%s: %s", onChild, body)
			}
			pids[pid] = true
			return len(pids) == 2
		})
		if n := s.metric("hostler_worker_exits_total", ""); n != 0 {
			t.Errorf("%s: %v workers have left", onChild, n)
		}
		s.stop()
		log := s.log.String()
		if n := strings.Count(log, "said at import, and not flushed"); n != 1 {
			t.Errorf("%s: what was said at import is there %d times", onChild, n)
		}
		if strings.Contains(log, "LOOKED AT") || strings.Contains(log, "cannot look for") {
			t.Errorf("%s: the audit has run the application's code", onChild)
		}
		for _, want := range []string{"forks.lazy_socket (descriptor ", "forks.plain_socket (descriptor ", "'background' (threading.Event.wait)", "(threading.Event.wait) will not"} {
			if !strings.Contains(log, want) {
				t.Errorf("%s: the audit does not say %q", onChild, want)
			}
		}
	}
}

// TestPreloadForkHangs: a mold that does not fork is given up, and is no reason for the
// master not to end; without a master it holds no address.
func TestPreloadForkHangs(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"forkhang.py": `
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
where = os.environ["HANGS"]
os.register_at_fork(**{where: lambda: time.sleep(1000)})
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"ok"]
`})
	for _, where := range []string{"before", "after_in_parent", "after_in_child"} {
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
			s := launch(t, "--preload", "-w", "2", "--boot-timeout", "30", "--chdir", dir, "-e", "HANGS="+where, "forkhang:app")
			s.waitLog("mold ready")
			time.Sleep(200 * time.Millisecond)
			all := s.workers()
			s.signal(sig)
			select {
			case <-s.exited:
			case <-time.After(10 * time.Second):
				t.Fatalf("%s: no end after %v", where, sig)
			}
			for _, pid := range all {
				s.awaitEndOf(pid)
			}
			l, err := net.Listen("tcp", s.addr)
			if err != nil {
				t.Fatalf("%s, %v: somebody holds the address: %v", where, sig, err)
			}
			l.Close()
		}
	}
}

// awaitEndOf waits for the end of a process of a server that has ended.
func (s *server) awaitEndOf(pid int) {
	s.t.Helper()
	for end := time.Now().Add(15 * time.Second); alive(pid); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("process %d outlives its master", pid)
		}
	}
}

// TestPreloadWarmupConnections: connections that a warm-up has opened are named, and
// Django's closed.
func TestPreloadWarmupConnections(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := write(t, t.TempDir(), map[string]string{"warm.py": `
import os, socket
from django.conf import settings
settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DB"], "CONN_MAX_AGE": None}})
import django
django.setup()
from django.db import connections
pool = []
def app(environ, start_response):
    if environ["PATH_INFO"] == "/warm":
        pool.append(socket.create_connection(os.environ["PEER"].split(":")))
        connections["default"].cursor().execute("SELECT 1")
        assert connections["default"].connection is not None
    start_response("200 OK", [])
    return [repr((len(pool), connections["default"].connection)).encode()]
`})
	s := start(t, "--preload", "-w", "2", "--warmup", "/warm", "--chdir", dir, "-e", "PEER="+l.Addr().String(), "-e", "DB="+filepath.Join(dir, "db"), "warm:app")
	if _, body := s.get("/"); body != "(1, None)" {
		t.Errorf("sockets, and Django's connection, after a warm-up: %s", body)
	}
	s.waitLog("connected to " + l.Addr().String())
	s.waitLog("os.register_at_fork(before=...)")
	if ok, _ := regexp.MatchString("warming up has opened a connection, and all workers would share it: .*descriptor [0-9]+, connected to ", s.log.String()); !ok {
		t.Errorf("not so in the log:\n%s", s.log)
	}
	if strings.Contains(s.log.String(), "Traceback") {
		t.Error("something has failed")
	}
	_ = os.Remove(filepath.Join(dir, "db"))
}
