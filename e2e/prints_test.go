package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// TestPrinted: what an application prints is there at once, to a pipe, too.
func TestPrinted(t *testing.T) {
	for _, args := range [][]string{{"prints:app"}, {"--preload", "prints:app"}} {
		s := start(t, args...)
		s.get("/here")
		s.waitLog("printed /here\n")
	}
}

// printed is a record of the error log.
type printed struct {
	Level, Msg, Stream string
	Worker, PID        int
}

// TestCaptureOutput: whatever way the application writes is in the error log, line by
// line, and says whose it is.
func TestCaptureOutput(t *testing.T) {
	for _, more := range []string{"--preload=false", "--preload"} {
		path := filepath.Join(t.TempDir(), "log")
		s := launch(t, "--capture-output", "--log-format", "json", "--log-level", "error", "--error-log", path, more, "prints:app")
		s.eventually("readiness", s.ready)
		s.get("/ways")
		want := map[string]string{
			"imported it": "stdout", "printed /ways": "stdout", "to stderr": "stderr", "INFO logged": "stderr", "for errors": "stderr", "in two lines": "stderr",
			"bytes \ufffd": "stdout", "without an end": "stdout", "of a thread": "stdout", "of a child": "stdout",
		}
		s.eventually("all lines", func() bool {
			b, _ := os.ReadFile(path)
			seen := make(map[string]bool)
			for line := range strings.Lines(string(b)) {
				line = strings.TrimSuffix(line, "\n")
				if line == "of the descriptor" || line == "of a program" { // as it is
					seen[line] = true
					continue
				}
				var p printed
				if err := json.Unmarshal([]byte(line), &p); err != nil {
					t.Fatalf("%q: %v", line, err)
				}
				if p.Stream == "" {
					continue
				}
				worker := 1
				if more == "--preload" && p.Msg == "imported it" {
					worker = 0 // by the mold, which is none
				}
				if p.Stream != want[p.Msg] || p.Worker != worker || p.PID == 0 || p.Level != "INFO" {
					t.Fatalf("%+v", p)
				}
				seen[p.Msg] = true
			}
			return len(seen) == len(want)+2
		})
		if got := s.log.String(); got != "" {
			t.Errorf("on the terminal: %q", got)
		}
	}
}

// TestCaptureOutputWhole: no line is torn by another thread's or worker's, not even on a
// pipe.
func TestCaptureOutputWhole(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	text, read := new(logBuffer), make(chan struct{})
	go func() {
		defer close(read)
		_, _ = r.WriteTo(text)
	}()
	s := launchInto(t, w, "-w", "2", "--threads", "4", "--capture-output", "--log-format", "json", "prints:app")
	w.Close()
	const clients = 12
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() { s.get(fmt.Sprintf("/many/%d", i)) })
	}
	wg.Wait()
	s.stop()
	<-read
	begun, ended, letters := 0, 0, 0
	for line := range strings.Lines(text.String()) {
		var p printed
		if err := json.Unmarshal([]byte(line), &p); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if p.Stream != "" && (p.Worker == 0 || p.PID == 0) {
			t.Errorf("%+v", p)
		}
		if strings.HasPrefix(p.Msg, "from /many/") {
			begun++
		}
		if strings.HasSuffix(p.Msg, " end") {
			ended++
		}
		letters += strings.Count(p.Msg, "ü")
		if strings.Contains(p.Msg, "\ufffd") {
			t.Errorf("a character is cut: %q", p.Msg)
		}
	}
	if begun != clients*20 || ended != begun || letters != 3000*begun {
		t.Errorf("%d lines have begun, %d ended, %d letters", begun, ended, letters)
	}
}

// TestCaptureOutputRotated: what goes past Python follows the error log, too; the access
// log keeps standard output.
func TestCaptureOutputRotated(t *testing.T) {
	s, dir := asNobody(t, true, "--capture-output", "--preload")
	path := dir + "/error.log"
	s.get("/print?before")
	s.eventually("what is written", has(path, "line before", "descriptor before"))
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	s.signal(syscall.SIGUSR1)
	s.eventually("the new file in use", func() bool {
		s.get("/print?after")
		return has(path, "line after", "descriptor after")()
	})
	s.stop()

	s = launch(t, "--capture-output", "--access-log", "-", "--error-log", filepath.Join(t.TempDir(), "log"), "prints:app")
	s.eventually("readiness", s.ready)
	s.get("/x")
	s.waitLog(`"GET /x HTTP/1.1" 200`)
	if strings.Contains(s.log.String(), "printed") {
		t.Errorf("%q", s.log.String())
	}
}

// TestCaptureOutputAsync: of asyncio's tasks, and at the end of a process.
func TestCaptureOutputAsync(t *testing.T) {
	s := start(t, "--capture-output", "--log-format", "logfmt", "prints:asgi")
	s.get("/")
	s.waitLog(`level=INFO msg="of a task" worker=1 pid=`)
	s.waitLog(`level=INFO msg="WARNING logged by a task" worker=1 pid=`)
}
