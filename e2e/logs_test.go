package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// launchInto is launch with standard output and standard error somewhere else. What
// is wanted of the server is asked of its admin address.
func launchInto(t *testing.T, into *os.File, args ...string) *server {
	t.Helper()
	s := &server{t: t, log: new(logBuffer), exited: make(chan struct{})}
	s.addr, s.admin = fmt.Sprintf("127.0.0.1:%d", freePort(t)), fmt.Sprintf("127.0.0.1:%d", freePort(t))
	s.cmd = exec.Command(binary, append([]string{"-b", s.addr, "--admin-bind", s.admin, "--python", venv, "--chdir", apps}, args...)...)
	s.cmd.Stdout, s.cmd.Stderr = into, into
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = s.cmd.Wait()
		close(s.exited)
	}()
	t.Cleanup(s.stop)
	s.eventually("readiness", s.ready)
	return s
}

func (s *server) ready() bool {
	r, err := client.Get("http://" + s.admin + "/readyz")
	if err != nil {
		return false
	}
	r.Body.Close()
	return r.StatusCode == 200
}

// ask wants an answer of that status.
func (w *wire) ask(request string, status int) {
	w.t.Helper()
	w.send(request)
	if r, b := w.answer("GET"); r.StatusCode != status {
		w.t.Fatalf("%.50q is answered %s, %q", request, r.Status, b)
	}
}

// stalledPipe returns a pipe that is full.
func stalledPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := unix.Write(p[1], []byte(strings.Repeat("full\n", 100))); err == unix.EAGAIN {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for { // to the last byte
		if _, err := unix.Write(p[1], []byte("\n")); err != nil {
			break
		}
	}
	if err := unix.SetNonblock(p[1], false); err != nil {
		t.Fatal(err)
	}
	r, w = os.NewFile(uintptr(p[0]), "reader"), os.NewFile(uintptr(p[1]), "writer")
	t.Cleanup(func() { r.Close() })
	return r, w
}

// TestStalledLogs: standard output and standard error are a pipe that nobody reads.
// The server starts, serves, reports, reloads and stops as if it were none. Lines that
// have no room are counted, and said to be lost when somebody reads again.
func TestStalledLogs(t *testing.T) {
	for _, args := range [][]string{{"--threads", "1"}, {"--threads", "3", "--preload", "-w", "2"}} {
		r, w := stalledPipe(t)
		s := launchInto(t, w, append(args, "--access-log", "-", "--log-level", "debug", "--timeout", "1", "rules:app")...)
		w.Close()
		long := "/hello?" + strings.Repeat("x", 4000)
		c := s.dial()
		// Each worker has a buffer, and the connection may move.
		s.eventually("lost lines", func() bool {
			for range 500 {
				c.ask(getLine(long), 200)
				c.ask(getLine("/exception"), 500)
			}
			return s.metric("hostler_access_log_errors_total", "") >= 100 && s.metric("hostler_error_log_errors_total", "") >= 100
		})
		for range 20 {
			s.raw("rubbish\r\n\r\n")
		}
		// The tracebacks of a request that takes too long are ours, too.
		if code, _ := s.get("/burn?30"); code != 504 {
			t.Errorf("%v: too slow a request: %d", args, code)
		}
		s.signal(syscall.SIGUSR1)
		s.signal(syscall.SIGHUP)
		s.eventually("a reload", func() bool { return s.metric("hostler_generation", "") == 2 })
		if code, _ := s.get("/hello"); code != 200 {
			t.Errorf("%v: after a reload: %d", args, code)
		}
		text := new(logBuffer)
		read := make(chan struct{})
		go func() {
			defer close(read)
			_, _ = r.WriteTo(text)
		}()
		// The worker that lost lines has left; its successor, and the master, go on.
		s.eventually("lines again", func() bool {
			s.get("/hello?again")
			return strings.Contains(text.String(), "GET /hello?again")
		})
		s.stop()
		<-read
		for line := range strings.Lines(strings.TrimLeft(text.String(), "ful\n")) {
			if strings.Contains(line, `"GET `) && !strings.HasPrefix(line, "127.0.0.1 - - [") {
				t.Errorf("%v: a torn line: %.200q", args, line)
				break
			}
		}
	}
}

// TestLostLinesAreSaid: who reads on after a pause learns how much he has missed, in
// the error log.
func TestLostLinesAreSaid(t *testing.T) {
	r, w := stalledPipe(t)
	s := launchInto(t, w, "--threads", "2", "--access-log", "-", "rules:app")
	w.Close()
	c := s.dial()
	for range 700 {
		c.ask(getLine("/hello?"+strings.Repeat("x", 4000)), 200)
	}
	for range 2500 {
		c.ask(getLine("/exception"), 500)
	}
	text := new(logBuffer)
	go func() { _, _ = r.WriteTo(text) }()
	for _, want := range []string{`msg="lines of the access log are lost" worker=1 pid=`, `msg="lines of this log are lost" worker=1 pid=`} {
		s.eventually(want, func() bool {
			c.ask(getLine("/exception"), 500)
			return strings.Contains(text.String(), want)
		})
	}
}

// TestReaderOfLogsGone: nobody is there any more to read the logs.
func TestReaderOfLogsGone(t *testing.T) {
	r, w := stalledPipe(t)
	s := launchInto(t, w, "--access-log", "-", "rules:app")
	w.Close()
	r.Close()
	for range 200 {
		s.get("/hello")
	}
	s.get("/exception")
	s.eventually("lost lines", func() bool { return s.metric("hostler_access_log_errors_total", "") >= 200 })
	s.eventually("lost lines", func() bool { return s.metric("hostler_error_log_errors_total", "") >= 3 })
}

// TestFullDiskOfLogs: what has no room is counted and said, and when there is room
// again the next line is a whole one.
func TestFullDiskOfLogs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small disk")
	}
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	access, ballast := dir+"/access.log", dir+"/ballast"
	if err := os.WriteFile(ballast, make([]byte, 32<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, "--access-log", access, "rules:app")
	const n = 600
	c := s.dial()
	for range n {
		c.ask(getLine("/hello?"+strings.Repeat("x", 50)), 200)
	}
	s.waitLog(`msg="lines of the access log are lost"`)
	s.waitLog(`error="no space left on device"`)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	s.eventually("lines again", func() bool {
		c.ask(getLine("/again"), 200)
		b, _ := os.ReadFile(access)
		return bytes.Contains(b, []byte("GET /again"))
	})
	b, err := os.ReadFile(access)
	if err != nil {
		t.Fatal(err)
	}
	whole := 0
	for line := range strings.Lines(string(b)) {
		if !strings.HasPrefix(line, `127.0.0.1 - - [`) || strings.Count(line, `"`) != 6 {
			t.Errorf("no whole line: %q", line)
		} else if strings.Contains(line, "/hello?") {
			whole++
		}
	}
	s.eventually("each line to be there or counted", func() bool {
		lost := s.metric("hostler_access_log_errors_total", "")
		return lost > 0 && float64(whole)+lost >= n
	})
}

// TestLogsThatCannotBe: a start says in one line what is wrong, and does not wait.
func TestLogsThatCannotBe(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mkfifo(dir+"/fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		dir + "/fifo":     "it is a FIFO that nobody reads from",
		dir + "/none/log": "no such file or directory",
		dir:               "is a directory",
	} {
		for _, which := range []string{"access", "error"} {
			code, out := run(t, dir, nil, "--python", venv, "--admin-bind", "off", "--chdir", apps, "--"+which+"-log", path, "rules:app")
			line := fmt.Sprintf("hostler: cannot open the %s log: %s: %s", which, path, want)
			if code != 1 || !strings.Contains(out, line) || strings.Count(out, "\n") > 1 {
				t.Errorf("%s as the %s log: %d\n%s", path, which, code, out)
			}
		}
	}
}

// TestFIFOAsLog: with a reader it is as good as any other, and one without does no
// harm to who serves.
func TestFIFOAsLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s := start(t, "--access-log", path, "rules:app")
	s.get("/hello?read")
	b := make([]byte, 4096)
	n, err := r.Read(b)
	if err != nil || !strings.Contains(string(b[:n]), "GET /hello?read") {
		t.Errorf("%q, %v", b[:n], err)
	}
	r.Close()
	s.signal(syscall.SIGUSR1)
	s.waitLog("the access log stays as it was")
	s.get("/hello")
	s.signal(syscall.SIGHUP)
	s.waitLog("the reload failed")
	if code, _ := s.get("/hello"); code != 200 {
		t.Errorf("after all that: %d", code)
	}
}

// logApp writes to the error log itself, and dies when asked to.
const logApp = `
import os, sys
def app(environ, start_response):
    if environ["PATH_INFO"] == "/exit":
        os.kill(os.getpid(), 9)
    print("the application's line", environ["QUERY_STRING"], file=sys.stderr, flush=True)
    if environ["PATH_INFO"] == "/print":
        os.write(1, b"descriptor %s\n" % environ["QUERY_STRING"].encode())
    if environ["PATH_INFO"] == "/raise":
        raise ValueError(environ["QUERY_STRING"])
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
`

// asNobody starts a server as root whose workers are nobody. Its logs are in a
// directory of root's below dir, or of nobody's.
func asNobody(t *testing.T, theirs bool, args ...string) (s *server, logs string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root has workers that are somebody else")
	}
	dir, err := os.MkdirTemp("/var/tmp", "hostler-") // others may look into it, unlike t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	logs = dir + "/logs"
	err = errors.Join(os.Chmod(dir, 0o755), os.Mkdir(logs, 0o755), os.WriteFile(dir+"/logapp.py", []byte(logApp), 0o644))
	if theirs {
		err = errors.Join(err, os.Chown(logs, nobody, nobody))
	} else {
		err = errors.Join(err, os.Chmod(logs, 0o750)) // workers cannot even look into it
	}
	if err != nil {
		t.Fatal(err)
	}
	admin := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	s = launchBare(t, append([]string{"--admin-bind", admin, "--python", "/usr/bin/python3", "--chdir", dir, "--user", "nobody",
		"--access-log", logs + "/access.log", "--error-log", logs + "/error.log"}, append(args, "logapp:app")...)...)
	s.admin = admin
	s.eventually("readiness", s.ready)
	return s, logs
}

func has(file string, texts ...string) func() bool {
	return func() bool {
		b, _ := os.ReadFile(file)
		return !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(string(b), text) })
	}
}

// TestRotationAsNobody moves the logs away: all that anybody writes from then on is in
// the new files, also from workers that are started, or forked, later.
func TestRotationAsNobody(t *testing.T) {
	for _, theirs := range []bool{true, false} {
		for _, preload := range []string{"--preload", "--preload=false"} {
			s, dir := asNobody(t, theirs, preload)
			access, errorLog := dir+"/access.log", dir+"/error.log"
			s.get("/raise?before")
			s.eventually("lines", func() bool {
				return has(access, "/raise?before")() && has(errorLog, "line before", "ValueError: before")()
			})
			for round := range 2 {
				for _, f := range []string{access, errorLog} {
					if err := os.Rename(f, fmt.Sprint(f, ".", round)); err != nil {
						t.Fatal(err)
					}
				}
				s.signal(syscall.SIGUSR1)
				word := fmt.Sprint("after", round)
				s.eventually("the new files in use", func() bool {
					s.get("/raise?" + word)
					return has(access, "/raise?"+word)() && has(errorLog, "line "+word, "ValueError: "+word)()
				})
				if r, err := client.Get("http://" + s.addr + "/exit"); err == nil {
					t.Errorf("answered: %s", r.Status)
				}
				s.eventually("the lost request", func() bool {
					return has(access, `"GET /exit HTTP/1.1" 000`)() && has(errorLog, "request lost", "cause=signal")()
				})
				s.eventually("another worker", s.ready)
				word = fmt.Sprint("reborn", round)
				s.eventually("its lines", func() bool {
					if r, err := client.Get("http://" + s.addr + "/raise?" + word); err == nil {
						r.Body.Close()
					}
					return has(access, "/raise?"+word)() && has(errorLog, "line "+word, "ValueError: "+word)()
				})
			}
			for _, f := range []string{access, errorLog} {
				b, _ := os.ReadFile(f + ".1")
				if strings.Contains(string(b), "reborn1") || !strings.Contains(string(b), "after0") {
					t.Errorf("%s, theirs: %v: rotated file:\n%s", preload, theirs, b)
				}
			}
			s.stop()
		}
	}
}

// TestSwappedLogs: a worker puts something else in the place of its logs. The root
// master touches nothing of root's, and goes on with all that it does: it starts
// workers, reloads, and stops.
func TestSwappedLogs(t *testing.T) {
	s, dir := asNobody(t, true)
	secret := filepath.Join(filepath.Dir(dir), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	swaps := map[string]func(path string) error{
		"link":          func(p string) error { return os.Symlink(secret, p) },
		"dangling link": func(p string) error { return os.Symlink(secret+"2", p) },
		"hard link":     func(p string) error { return os.Link(secret, p) },
		"FIFO":          func(p string) error { return unix.Mkfifo(p, 0o666) },
		"directory":     func(p string) error { return os.Mkdir(p, 0o777) },
		"socket": func(p string) error {
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			return errors.Join(err, unix.Bind(fd, &unix.SockaddrUnix{Name: p}))
		},
	}
	failures := 0.0
	for name, swap := range swaps {
		// One that dies in its first second makes the next one wait.
		s.eventually("an age", func() bool {
			return float64(time.Now().UnixMilli())/1e3-s.metric("hostler_worker_start_time_seconds", "") > 1.5
		})
		for _, file := range []string{"access.log", "error.log"} {
			path := filepath.Join(dir, file)
			if err := errors.Join(os.RemoveAll(path), swap(path), unix.Fchownat(unix.AT_FDCWD, path, nobody, nobody, unix.AT_SYMLINK_NOFOLLOW), os.Chown(secret, 0, 0)); err != nil {
				t.Fatal(err)
			}
		}
		if r, err := client.Get("http://" + s.addr + "/exit?" + strings.Repeat("A", 100)); err == nil {
			t.Errorf("%s: answered: %s", name, r.Status)
		}
		s.signal(syscall.SIGUSR1)
		s.signal(syscall.SIGHUP)
		failures++
		s.eventually("the failed reload", func() bool { return s.metric("hostler_reloads_total", `result="failure"`) >= failures })
		s.eventually("service", func() bool {
			r, err := client.Get("http://" + s.addr + "/")
			if err == nil {
				r.Body.Close()
			}
			return err == nil && r.StatusCode == http.StatusOK
		})
		for _, file := range []string{"access.log", "error.log"} {
			if err := os.RemoveAll(filepath.Join(dir, file)); err != nil {
				t.Fatal(err)
			}
		}
		if b, _ := os.ReadFile(secret); string(b) != "secret" {
			t.Fatalf("%s: the secret is %q", name, b)
		}
		if _, err := os.Lstat(secret + "2"); err == nil {
			t.Fatalf("%s: a file of root's was made", name)
		}
	}
	// With its files in order again it reloads, and writes to them.
	s.signal(syscall.SIGUSR1)
	s.signal(syscall.SIGHUP)
	s.eventually("a reload", func() bool { return s.metric("hostler_last_reload_successful", "") == 1 })
	s.eventually("lines", func() bool {
		s.get("/?last")
		return has(dir+"/access.log", "/?last")() && has(dir+"/error.log", "line last")()
	})
}

// TestLinesStayWhole: workers that share a pipe do not write into each other's lines,
// nor into each other's tracebacks.
func TestLinesStayWhole(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	text := new(logBuffer)
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = r.WriteTo(text)
	}()
	s := launchInto(t, w, "-w", "3", "--threads", "2", "--access-log", "-", "rules:app")
	w.Close()
	const clients, each = 6, 100
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			for range each {
				if code, _ := s.get(fmt.Sprintf("/exception?%d%s", i, strings.Repeat("y", 300))); code != 500 {
					t.Errorf("answered %d", code)
				}
			}
		})
	}
	wg.Wait()
	s.stop()
	<-read
	const after = "ValueError: a marker for the log"
	before := regexp.MustCompile(`^time=\S+ level=ERROR msg="the application raised on GET /exception\?\d+y+" worker=\d+ pid=\d+$`)
	lines, tracebacks, inside := 0, 0, false
	for line := range strings.Lines(text.String()) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case before.MatchString(line):
			if inside {
				t.Fatalf("a traceback within another: %q", line)
			}
			inside = true
		case line == after:
			inside = false
			tracebacks++
		case strings.HasPrefix(line, "127.0.0.1 - - ["):
			if inside || strings.Count(line, `"`) != 6 {
				t.Fatalf("within a traceback (%v), or torn: %q", inside, line)
			}
			lines++
		case inside && !strings.HasPrefix(line, "  ") && line != "Traceback (most recent call last):":
			t.Fatalf("within a traceback: %q", line)
		}
	}
	if lines != clients*each || tracebacks != clients*each {
		t.Errorf("%d lines and %d tracebacks for %d requests", lines, tracebacks, clients*each)
	}
}

// TestLastLines: what was answered before an orderly end is in the log.
func TestLastLines(t *testing.T) {
	access := filepath.Join(t.TempDir(), "access.log")
	s := start(t, "-w", "2", "--access-log", access, "rules:app")
	for round, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGTERM} {
		const n = 30
		for i := range n {
			s.get(fmt.Sprintf("/hello?%d.%d", round, i))
		}
		s.signal(sig)
		if sig == syscall.SIGHUP {
			s.eventually("the end of the old workers", func() bool { return s.metric("hostler_worker_exits_total", `cause="reload"`) == 2 })
		} else {
			select {
			case <-s.exited:
			case <-time.After(20 * time.Second):
				t.Fatal("it does not stop")
			}
		}
		b, err := os.ReadFile(access)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(string(b), fmt.Sprintf("GET /hello?%d.", round)); got != n {
			t.Errorf("%v: %d lines for %d requests", sig, got, n)
		}
	}
}

// TestControlsInTracebacks: what a client has sent comes to no terminal as it is.
func TestControlsInTracebacks(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"app.py": `
from urllib.parse import unquote
def app(environ, start_response):
    raise ValueError(unquote(environ["QUERY_STRING"]))
`})
	s := launchBare(t, "--python", venv, "--admin-bind", "off", "--chdir", dir, "app:app")
	s.waitLog("msg=serving")
	s.get("/?a%1b[2J%0d%C2%9b%7fb%09c%C3%A9")
	s.waitLog("ValueError: a\\x1b[2J\\x0d\\x9b\\x7fb\tcé\n")
}

// TestTee: of a pipeline (hostler … 2>&1 | tee file) Ctrl-C reaches all, and what the log is
// piped to has gone before the requests have ended; or it goes by itself, and the server serves.
func TestTee(t *testing.T) {
	for _, c := range []struct {
		name  string
		alone bool
	}{{"Ctrl-C", false}, {"tee alone", true}} {
		t.Run(c.name, func(t *testing.T) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "log")
			s := launchInto(t, w, "-w", "2", "--threads", "2", "--access-log", "-", "faults:app")
			w.Close()
			tee := exec.Command("tee", file)
			tee.Stdin = r
			tee.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pgid: s.cmd.Process.Pid}
			if err := tee.Start(); err != nil {
				t.Fatal(err)
			}
			r.Close()
			s.eventually("the log", func() bool {
				b, _ := os.ReadFile(file)
				return bytes.Contains(b, []byte("msg=serving"))
			})
			ask := s.dial()
			ask.send(getLine("/sleep?2"))
			s.eventually("the request to run", func() bool { return s.metric("hostler_threads", `state="busy"`) == 1 })
			if c.alone {
				_ = tee.Process.Kill()
			} else if err := syscall.Kill(-s.cmd.Process.Pid, syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			_ = tee.Wait()
			if a, b := ask.answer("GET"); a.StatusCode != 200 {
				t.Errorf("%s %q", a.Status, b)
			}
			if c.alone {
				for range 20 {
					if code, b := s.get("/"); code != 200 {
						t.Fatalf("%d %q", code, b)
					}
				}
				s.signal(syscall.SIGHUP)
				s.eventually("a reload", func() bool { return s.metric("hostler_reloads_total", `result="success"`) == 1 })
				s.signal(syscall.SIGINT)
			}
			<-s.exited
			if code := s.cmd.ProcessState.ExitCode(); code != 0 {
				t.Errorf("exit status %d, %v", code, s.cmd.ProcessState)
			}
		})
	}
}
