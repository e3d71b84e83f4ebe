package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// postgres starts a cluster of the test's own, by an unprivileged user, and returns the folder
// that its socket is in.
func postgres(t *testing.T) string {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		t.Fatal("PostgreSQL is missing: run make tools")
	}
	bin := filepath.Dir(found[len(found)-1])
	dir, err := os.MkdirTemp("/tmp", "pg") // a socket's path is to be short, and others are to get there
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	cmd := func(name string, args ...string) *exec.Cmd {
		c := exec.Command(filepath.Join(bin, name), args...)
		c.Dir = dir
		if os.Getuid() == 0 {
			c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		}
		return c
	}
	if os.Getuid() == 0 {
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := cmd("initdb", "-D", dir+"/data", "-U", "postgres", "-A", "trust", "-N", "--no-locale", "-E", "UTF8").CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	log := new(strings.Builder)
	server := cmd("postgres", "-D", dir+"/data", "-k", dir, "-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=100")
	server.Stderr = log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGQUIT)
		_ = server.Wait()
	})
	for end := time.Now().Add(60 * time.Second); cmd("pg_isready", "-h", dir, "-U", "postgres").Run() != nil; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("PostgreSQL does not start: %s", log)
		}
	}
	return dir
}

// TestGreenDatabases: queries of many requests run at once, by psycopg2 with psycogreen and by
// psycopg 3, of Flask and of Django; and who waits for one is told by name.
func TestGreenDatabases(t *testing.T) {
	dir := postgres(t)
	for _, app := range []string{"flaskdb:app", "djangodb:app"} {
		for _, driver := range []string{"psycopg2", "psycopg"} {
			t.Run(app+" "+driver, func(t *testing.T) {
				socket := filepath.Join(t.TempDir(), "ctl")
				s := ctlServer{startReal(t, "--loop", "gevent", "--workers", "1", "--ctl-socket", socket, "--graceful-timeout", "1", "-e", "DB="+dir, "-e", "DRIVER="+driver, app), socket}
				if status, body := s.get("/make"); body != "made" {
					t.Fatal(status, body)
				}
				if a := s.crowd(50, "/meet?50"); a["200 met 50 by "+driver] != 50 {
					t.Errorf("50 queries at once: %v", a)
				}
				if a := s.crowd(20, "/rows"); a["200 4501500000"] != 20 {
					t.Errorf("many rows: %v", a)
				}
				if status, _ := s.get("/wrong"); status != 500 {
					t.Errorf("an error of the database's: %d", status)
				}

				s.dial().send(getLine("/sleep?600"))
				want := regexp.MustCompile(`(?m)^-- worker 1, pid \d+: GET /sleep\?600, for \d+\.\d{3}s\nGreenlet \(most recent call first\):\n(  File .*\n)+  File ".*db\.py", line \d+ in sleep\n`)
				s.eventually("dump names it", func() bool { return want.MatchString(s.must("dump")) })
				s.eventually("status counts it", func() bool { return strings.Contains(s.must("status"), " 1 tasks, 0 WebSockets") })
			})
		}
	}
}
