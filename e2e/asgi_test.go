package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// The applications of the asgi_… tests are in apps/asgi, their Python is build/asgi's
// (scripts/requirements-asgi.txt). With ASGI_SERVER=uvicorn the same tests drive
// uvicorn: what it fails is what it does not promise, or the test's own fault.

var asgiPeer = os.Getenv("ASGI_SERVER")

// asgiPython is the interpreter of that venv, or the one of all tests (E2E_PYTHON), which has
// the loops and no framework.
func asgiPython(t *testing.T) string {
	t.Helper()
	if os.Getenv("E2E_PYTHON") != "" {
		return venv
	}
	p, err := filepath.Abs("../build/asgi/bin/python")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(p); err != nil {
		t.Fatal("build/asgi is missing: run make tools")
	}
	return p
}

// asgiArgs are for a server with that interpreter.
func asgiArgs(t *testing.T) []string {
	t.Helper()
	args := []string{"--python", asgiPython(t)}
	if os.Getenv("E2E_PYTHON") != "" {
		args = append(args, "-e", "PYTHONPATH="+asgiPackages(t, venv))
	}
	return args
}

// startASGI serves an application of apps/asgi; the last argument names it.
func startASGI(t *testing.T, args ...string) *server {
	t.Helper()
	s := launchASGI(t, args...)
	if asgiPeer == "" {
		s.waitLog("msg=serving")
	} else {
		s.waitLog("Application startup complete")
		s.eventually("the socket", func() bool {
			c, err := net.Dial("tcp", s.addr)
			if err == nil {
				c.Close()
			}
			return err == nil
		})
	}
	return s
}

// launchASGI is startASGI that does not wait.
func launchASGI(t *testing.T, args ...string) *server {
	t.Helper()
	dir := filepath.Join(apps, "asgi")
	if asgiPeer != "" {
		return launchUvicorn(t, dir, args)
	}
	return launch(t, append(append(asgiArgs(t), "--chdir", dir), args...)...)
}

// launchUvicorn gives uvicorn what these arguments of hostler's mean there.
func launchUvicorn(t *testing.T, dir string, args []string) *server {
	t.Helper()
	names := map[string]string{"-w": "--workers", "--loop": "--loop", "--certfile": "--ssl-certfile", "--keyfile": "--ssl-keyfile", "--lifespan": "--lifespan",
		"--graceful-timeout": "--timeout-graceful-shutdown", "--forwarded-allow-ips": "--forwarded-allow-ips", "--max-requests": "--limit-max-requests"}
	port := freePort(t)
	cmd := exec.Command(asgiPython(t), "-m", "uvicorn", "--port", fmt.Sprint(port), "--no-access-log")
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	for i := 0; i < len(args)-1; i += 2 {
		name, value := args[i], args[i+1]
		switch {
		case name == "-e":
			t.Setenv(strings.SplitN(value, "=", 2)[0], strings.SplitN(value, "=", 2)[1])
		case name == "--python":
			cmd.Path, cmd.Args[0] = value, value
		case name == "--disconnect-grace":
		case names[name] != "":
			cmd.Args = append(cmd.Args, names[name], value)
		default:
			t.Skipf("uvicorn has no %s", name)
		}
	}
	cmd.Args = append(cmd.Args, args[len(args)-1])
	s := launchBy(t, cmd, dir)
	s.addr = fmt.Sprintf("127.0.0.1:%d", port)
	return s
}

// probe is a server of probe.py, with what its requests have noted.
type probe struct {
	*server
	file string
}

type noted map[string]any

func (n noted) string(key string) string { v, _ := n[key].(string); return v }
func (n noted) number(key string) int    { v, _ := n[key].(float64); return int(v) }

// is tells whether an error that was noted is of a class.
func (n noted) is(class string) bool {
	kinds, _ := n["kinds"].([]any)
	return slices.Contains(kinds, any(class))
}

func startProbe(t *testing.T, args ...string) *probe {
	t.Helper()
	p := &probe{file: filepath.Join(t.TempDir(), "noted")}
	p.server = startASGI(t, append(append([]string{"-e", "PROBE=" + p.file}, args...), "probe:app")...)
	return p
}

// launchProbe is startProbe that does not wait.
func launchProbe(t *testing.T, args ...string) *probe {
	t.Helper()
	p := &probe{file: filepath.Join(t.TempDir(), "noted")}
	p.server = launchASGI(t, append(append([]string{"-e", "PROBE=" + p.file}, args...), "probe:app")...)
	return p
}

// noted returns all notes of an event ("": of any), in order.
func (p *probe) noted(event string) []noted {
	p.t.Helper()
	b, err := os.ReadFile(p.file)
	if err != nil && !os.IsNotExist(err) {
		p.t.Fatal(err)
	}
	var all []noted
	for line := range strings.Lines(string(b)) {
		var n noted
		if !strings.HasSuffix(line, "\n") {
			break // is being written
		}
		if err := json.Unmarshal([]byte(line), &n); err != nil {
			p.t.Fatalf("%q: %v", line, err)
		}
		if event == "" || n.string("event") == event {
			all = append(all, n)
		}
	}
	return all
}

// await waits for the nth note (the first by default) of an event.
func (p *probe) await(event string, nth ...int) noted {
	p.t.Helper()
	n := 1
	if len(nth) > 0 {
		n = nth[0]
	}
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if got := p.noted(event); len(got) >= n {
			return got[n-1]
		}
	}
	p.t.Fatalf("no %q was noted, but %v", event, p.noted(""))
	return nil
}

// ask sends a request of the probe's on a connection of its own, and leaves it open.
func (p *probe) ask(head string) net.Conn {
	p.t.Helper()
	c, err := net.Dial("tcp", p.addr)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := c.Write([]byte(head)); err != nil {
		p.t.Fatal(err)
	}
	return c
}

func getHead(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n" }

// until reads a line at a time until one is it.
func until(t *testing.T, r *bufio.Reader, line string) {
	t.Helper()
	for {
		got, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("waiting for %q: %v", line, err)
		}
		if strings.TrimRight(got, "\r\n") == line {
			return
		}
	}
}

// loops are the event loops that every kind of application is tried on.
var loops = []string{"asyncio", "uvloop"}
