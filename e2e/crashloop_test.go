package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestCrashLoop: the application stops to import while it serves, and a worker
// dies. The others serve on, the reason is in the log once, and when the code is
// mended there are all workers again.
func TestCrashLoop(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "moody.py")
	mend := func(code string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(code), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const good = "def app(e, s):\n    s('200 OK', [('Content-Length', '2')])\n    return [b'ok']\n"
	mend(good)
	s := startCtl(t, "-w", "2", "--chdir", dir, "moody:app")
	mend("import os\nraise RuntimeError('no database, process %d' % os.getpid())\n")
	if err := syscall.Kill(s.status().Workers[0].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.eventually("some failures in a row", func() bool { return s.metric("hostler_consecutive_boot_failures", "") >= 4 })
	for range 50 {
		if code, body := s.get("/"); code != 200 || body != "ok" {
			t.Errorf("%d %q", code, body)
		}
	}
	if n := strings.Count(s.log.String(), "RuntimeError: no database"); n != 2 { // the traceback's, and the reason
		t.Errorf("the reason is in the log %d times", n)
	}
	if text := s.must("events"); strings.Count(text, "  boot_failed  ") != 1 || !strings.Contains(text, "no database") {
		t.Errorf("events:\n%s", text)
	}
	mend(good)
	s.waitLog("workers boot again")
	s.eventually("two workers", func() bool { return len(s.status().pids()) == 2 })
}
