package e2e

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// talk is a client of apps/asgi that runs.
type talk struct {
	t     *testing.T
	cmd   *exec.Cmd
	said  *bufio.Reader
	wrong *strings.Builder
}

// converse runs one; args are its own.
func converse(t *testing.T, program string, args ...string) *talk {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	w := &talk{t: t, wrong: new(strings.Builder)}
	w.cmd = exec.CommandContext(ctx, asgiPython(t), append([]string{program}, args...)...)
	w.cmd.Dir, w.cmd.Env, w.cmd.Stderr = filepath.Join(apps, "asgi"), append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1"), w.wrong
	out, err := w.cmd.StdoutPipe()
	if err == nil {
		err = w.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	w.said = bufio.NewReader(out)
	return w
}

// want wants these lines next.
func (w *talk) want(lines ...string) {
	w.t.Helper()
	for _, line := range lines {
		if got, err := w.said.ReadString('\n'); got != line+"\n" {
			_ = w.cmd.Wait()
			w.t.Fatalf("%v says %q, not %q: %v\n%s", w.cmd.Args, got, line, err, w.wrong)
		}
	}
}

// end wants it to say nothing more, and to be content or not.
func (w *talk) end(content bool) {
	w.t.Helper()
	rest, _ := io.ReadAll(w.said)
	if err := w.cmd.Wait(); string(rest) != "" || (err == nil) != content {
		w.t.Errorf("%v: %v, and %q\n%s", w.cmd.Args, err, rest, w.wrong)
	}
}

// whenThere waits for long: some of these applications are large.
func (s *server) whenThere(text string) {
	s.t.Helper()
	for end := time.Now().Add(3 * time.Minute); !strings.Contains(s.log.String(), text); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("%q is not in the log", text)
		}
	}
}

var mcpSays = []string{"tools ['add', 'count', 'hold']", "sum 2", "sum 3", "sum 4", "counted to 3", "progress [0, 1, 2]"}

// TestASGIMCP has the client of the Model Context Protocol's SDK speak with its server, by
// streamable HTTP and by SSE. A reload in the middle of a call: what a POST answers has its
// time, what comes by a GET without end is told to go, and its client comes again.
func TestASGIMCP(t *testing.T) {
	for app, path := range map[string]string{"mcpapp:app": "/mcp", "mcpapp:sse": "/sse"} {
		for _, loop := range loops {
			t.Run(app+"/"+loop, func(t *testing.T) {
				file := filepath.Join(t.TempDir(), "go")
				s := startASGI(t, "--loop", loop, "-e", "GO="+file, "-w", "1", "--graceful-timeout", "120", app)
				w := converse(t, "mcpclient.py", "http://"+s.addr+path, "hold")
				w.want(mcpSays...)
				w.want("begun")
				if asgiPeer == "" {
					s.signal(syscall.SIGHUP)
					s.waitLog("msg=reloaded")
					if path == "/sse" {
						w.want("the call is lost: Connection closed")
						w.end(true)
						w = converse(t, "mcpclient.py", "http://"+s.addr+path, "hold")
						w.want(mcpSays...)
						w.want("begun")
					}
				}
				if err := os.WriteFile(file, nil, 0o644); err != nil {
					t.Fatal(err)
				}
				w.want("held to the end", "sum 42")
				w.end(true)
				if strings.Contains(s.log.String(), "the application raised") {
					t.Error("an exception is in the log")
				}
			})
		}
	}
}

// TestASGIMCPStop ends a server while tools are at work that have no end.
func TestASGIMCPStop(t *testing.T) {
	for app, path := range map[string]string{"mcpapp:app": "/mcp", "mcpapp:sse": "/sse"} {
		t.Run(app, func(t *testing.T) {
			s := startASGI(t, "-e", "GO=/nowhere/at/all", "-w", "1", "--graceful-timeout", "8", app)
			w := converse(t, "mcpclient.py", "http://"+s.addr+path, "hold")
			w.want(mcpSays...)
			w.want("begun")
			s.signal(syscall.SIGTERM)
			got, err := w.said.ReadString('\n')
			if !strings.HasPrefix(got, "the call is lost: ") {
				t.Errorf("%q, %v", got, err)
			}
			_ = w.cmd.Wait() // it asks for its session to be ended, of a server that is no more
			if status := s.exitStatus(); status != 0 {
				t.Errorf("exit status %d", status)
			}
		})
	}
}

// TestASGIGradio has Gradio's client speak with it by its queue: a call, a file, and a call
// that is longer than a reload.
func TestASGIGradio(t *testing.T) {
	file := filepath.Join(t.TempDir(), "go")
	s := launchASGI(t, "-e", "GO="+file, "-w", "1", "--boot-timeout", "180", "--graceful-timeout", "120", "gradioapp:app")
	s.whenThere("msg=serving")
	w := converse(t, "gradioclient.py", "http://"+s.addr, "hold")
	w.want("hello you", "3000000 bytes", "begun")
	s.signal(syscall.SIGHUP)
	s.whenThere("msg=reloaded")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	w.want("whole", "hello again")
	w.end(true)
	s.signal(syscall.SIGTERM)
	s.whenThere("msg=stopped")
	if strings.Contains(s.log.String(), "Traceback") {
		t.Error("an exception is in the log")
	}
}
