package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"hostler/ctl"
)

//go:embed app.py
var application string

const (
	workers = 3
	// timeout is shorter than stopWorker may stop a worker for: what such a one runs
	// is not interrupted for that.
	timeout  = 4 * time.Second
	graceful = 5 * time.Second
)

// server is a hostler that is being tormented. After an upgrade it is another
// process.
type server struct {
	kids        *children
	dir         string // what it leaves here at its end, it has left behind
	logs        string // a small file system of its own, where that can be had
	binary      string // a copy, which upgrades replace
	addr, admin string // addr is where clients go
	front       *front // nil: there they are with the server
	shape       *shape
	version     int // of the code that should serve
	ctl         *ctl.Client
	args        []string
}

// start runs a copy of binary and waits until it serves.
func start(kids *children, o options, dir, logs string, shape *shape) (*server, error) {
	s := &server{kids: kids, shape: shape, dir: dir, logs: logs, binary: filepath.Join(dir, "hostler"), ctl: ctl.NewClient(filepath.Join(dir, "ctl"))}
	for _, a := range []*string{&s.addr, &s.admin} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		*a = l.Addr().String()
		defer l.Close() // both at once, so that they differ
	}
	if err := s.install(o.binary); err != nil {
		return nil, err
	}
	if err := s.writeApp(fmt.Sprintf("VERSION = %q", s.code())); err != nil {
		return nil, err
	}
	bind := s.addr
	if shape.front {
		bind = "unix:" + s.socket()
	}
	python := o.python
	if shape.asgi {
		python = o.asgi
	}
	s.args = []string{s.binary, "-b", bind, "--admin-bind", s.admin, "--python", python, "--chdir", dir,
		"--threads", "2", "-p", filepath.Join(dir, "pid"), "--ctl-socket", filepath.Join(dir, "ctl"),
		"--timeout", fmt.Sprint(timeout.Seconds()), "--graceful-timeout", fmt.Sprint(graceful.Seconds()), "--boot-timeout", "20",
		"--max-memory", "120M", "--access-log", filepath.Join(logs, "access"), "--error-log", filepath.Join(logs, "error")}
	more, err := shape.prepare(dir)
	s.args = append(s.args, more...)
	return s, err
}

// run starts the process. The caller has freed the addresses by now.
func (s *server) run() error {
	if s.shape.front {
		front, err := startFront(s.kids, s.dir, s.socket(), s.addr)
		if err != nil {
			return err
		}
		s.front = front
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	pid, err := syscall.ForkExec(s.binary, append(s.args, "app:application"), &syscall.ProcAttr{
		Env:   append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1"),
		Files: []uintptr{null.Fd(), null.Fd(), 2},
		Sys:   &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM},
	})
	if err != nil {
		return fmt.Errorf("cannot start %s: %w", s.binary, err)
	}
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if st, err := s.status(); err == nil && st.Master.Ready {
			return nil
		}
		if ws, gone := s.kids.ended(pid); gone {
			return fmt.Errorf("the server did not start (%v): %s", ws, s.errorLog())
		}
		if time.Now().After(end) {
			return fmt.Errorf("the server does not get ready: %s", s.errorLog())
		}
	}
}

func (s *server) socket() string { return filepath.Join(s.dir, "socket") }

func (s *server) errorLog() string {
	b, _ := os.ReadFile(filepath.Join(s.logs, "error"))
	return string(b)
}

// accessLog is what the access log has of a request.
func (s *server) accessLog(id uint64) string {
	b, _ := os.ReadFile(filepath.Join(s.logs, "access"))
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, fmt.Sprintf("?id=%d&", id)) {
			return "; " + strings.TrimSpace(line)
		}
	}
	return ""
}

// master is the pid of the process that counts.
func (s *server) master() int {
	b, _ := os.ReadFile(filepath.Join(s.dir, "pid"))
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return pid
}

// signal sends to whoever has written the pid file; never to 0, which is us all.
func (s *server) signal(sig syscall.Signal) {
	if pid := s.master(); pid > 1 {
		_ = syscall.Kill(pid, sig)
	}
}

func (s *server) ask(method, name string, request, into any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	b, err := s.ctl.Do(ctx, method, name, request)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

func (s *server) status() (*ctl.Status, error) {
	st := new(ctl.Status)
	err := s.ask(http.MethodGet, "status", nil, st)
	return st, err
}

// pids are the workers in a state, in the order of their numbers.
func (s *server) pids(state string) []int {
	var all []int
	if st, err := s.status(); err == nil {
		for _, w := range st.Workers {
			if w.State == state && w.PID > 1 {
				all = append(all, w.PID)
			}
		}
	}
	return all
}

// mold is the process that workers are forked from, or 0.
func (s *server) mold() int {
	known := make(map[int]bool)
	for _, state := range []string{"booting", "serving", "draining"} {
		for _, pid := range s.pids(state) {
			known[pid] = true
		}
	}
	for _, pid := range descendants(s.master()) {
		if !known[pid] && isMold(pid) {
			return pid
		}
	}
	return 0
}

func (s *server) code() string { return "v" + strconv.Itoa(s.version) }

// writeApp puts the application there as it is with a last line of its own, all at
// once.
func (s *server) writeApp(last string) error {
	return replace(filepath.Join(s.dir, "app.py"), []byte(application+s.shape.adapter+"\n"+last+"\n"), 0o644)
}

// install makes a file the binary that the next upgrade starts.
func (s *server) install(from string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	return replace(s.binary, b, 0o755)
}

// replace writes a file beside path and renames it, for the old one may be
// running.
func replace(path string, b []byte, mode os.FileMode) error {
	if err := os.WriteFile(path+".new", b, mode); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
