package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// forkApp forks at import and from requests; its children live until they are killed.
const forkApp = `
import multiprocessing, os, signal, socket, subprocess, sys, time

NOTE = os.environ["NOTE"]

def note(name, text):
    with open(os.path.join(NOTE, name + ".new"), "w") as f:
        f.write(str(text))
    os.rename(f.name, os.path.join(NOTE, name))

def live():
    time.sleep(60)
    os._exit(0)

def fork(name):
    pid = os.fork()
    if pid == 0:
        note(name, os.getpid())
        live()

def handler(sig, frame):
    pid = os.fork()
    if pid == 0:
        note("handled", os.getpid())
        if os.environ["HOW"] == "exit":
            sys.exit(3)

signal.signal(signal.SIGWINCH, handler)

if os.environ.get("AT_IMPORT"):
    fork("import")

port = int(os.environ.get("PORT", 0))
if port:  # the application's own, under the server's number
    own = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket()]
    for s in own:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    own[0].bind(("127.0.0.1", port))
    own[1].bind(("127.0.0.2", port))
    own[1].listen()

def app(environ, start_response):
    path, body = environ["PATH_INFO"], "app %d" % os.getpid()
    if path == "/fork":
        fork("fork")
    elif path == "/process":
        p = multiprocessing.get_context("fork").Process(target=live)
        p.start()
        note("process", p.pid)
    elif path == "/program":
        p = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"], close_fds=False)
        note("program", p.pid)
    elif path == "/own":
        r, w = os.pipe()
        if os.fork() == 0:
            names = []
            for fd in os.listdir("/proc/self/fd"):
                try:
                    s = socket.socket(fileno=os.dup(int(fd)))
                    names.append("%s %d" % (s.getsockname()[0] or "-", s.type))
                except (OSError, AttributeError):
                    pass
            os.write(w, ",".join(sorted(names)).encode())
            os._exit(0)
        os.wait()
        body = os.read(r, 1000).decode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body.encode()]
`

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// noted waits for what forkApp has written under a name.
func (s *server) noted(dir, name string) int {
	s.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			return atoi(s.t, string(b))
		}
		if time.Now().After(end) {
			s.t.Fatalf("waited in vain for the process of %s: %v", name, err)
		}
	}
}

// TestForkedChildLetsGo kills master and workers while processes that the application
// has started live on: the address is free at once, whichever way they were made.
func TestForkedChildLetsGo(t *testing.T) {
	for _, mode := range [][]string{nil, {"--threads", "2"}, {"--preload"}} {
		t.Run(strings.Join(mode, " "), func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, map[string]string{"forkapp.py": forkApp})
			socket := filepath.Join(dir, "s")
			args := append([]string{"--chdir", dir, "-e", "NOTE=" + dir, "-e", "AT_IMPORT=1", "-b", "unix:" + socket, "--keep-alive", "60"}, append(mode, "forkapp:app")...)
			s := start(t, args...)
			children := map[string]int{"import": s.noted(dir, "import")}
			c := s.dial()
			pid := c.pidOf()
			for _, how := range []string{"fork", "process", "program"} {
				s.get("/" + how)
				children[how] = s.noted(dir, how)
			}
			defer func() {
				for _, child := range children {
					_ = syscall.Kill(child, syscall.SIGKILL)
				}
			}()
			// The workers first: they would see the master's end and drain.
			all := s.workers()
			_ = syscall.Kill(s.cmd.Process.Pid, syscall.SIGSTOP)
			for _, w := range append(all, pid) {
				_ = syscall.Kill(w, syscall.SIGKILL)
			}
			_ = s.cmd.Process.Kill() // its output ends later, with the children's
			for end := time.Now().Add(20 * time.Second); alive(s.cmd.Process.Pid) && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			}
			_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
			if b, err := c.r.ReadByte(); err == nil || os.IsTimeout(err) {
				t.Errorf("a client's connection outlives its worker: %q, %v", b, err)
			}
			for how, child := range children {
				if !alive(child) {
					t.Errorf("the child by %s is gone", how)
				}
			}
			again := exec.Command(binary, append([]string{"-b", s.addr, "--admin-bind", s.admin, "--python", venv}, args...)...)
			log := new(logBuffer)
			again.WaitDelay = time.Second // children have its output, too
			again.Stdout, again.Stderr = log, log
			if err := again.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = again.Process.Signal(syscall.SIGTERM); _ = again.Wait() }()
			for end := time.Now().Add(20 * time.Second); !strings.Contains(log.String(), "msg=serving"); time.Sleep(20 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("no second start:\n%s", log)
				}
			}
			children["import again"] = s.noted(dir, "import")
		})
	}
}

// TestForkInSignalHandler has a child that is forked between two requests leave, and
// with what it says.
func TestForkInSignalHandler(t *testing.T) {
	for _, threads := range []string{"1", "3"} {
		for how, want := range map[string]string{"exit": "3", "return": "70"} {
			t.Run(threads+" "+how, func(t *testing.T) {
				dir := t.TempDir()
				write(t, dir, map[string]string{"forkapp.py": forkApp, "hooks.py": "import os\ndef worker_exit(server, worker):\n    print('the hook worker_exit ran', flush=True)\n"})
				s := start(t, "--chdir", dir, "-e", "NOTE="+dir, "-e", "HOW="+how, "--threads", threads, "--hooks", "hooks", "forkapp:app")
				_, b := s.get("/")
				worker := atoi(t, strings.TrimPrefix(b, "app "))
				if err := syscall.Kill(worker, syscall.SIGWINCH); err != nil {
					t.Fatal(err)
				}
				child := s.noted(dir, "handled")
				defer func() { _ = syscall.Kill(child, syscall.SIGKILL) }()
				s.eventually("the child's end", func() bool {
					stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child))
					return err != nil || strings.Contains(string(stat), ") Z ")
				})
				stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child))
				if f := strings.Fields(string(stat)); err != nil || f[len(f)-1] != fmt.Sprint(atoi(t, want)<<8) {
					t.Errorf("the child ended with %v, not %s: %s", err, want, stat)
				}
				if strings.Contains(s.log.String(), "worker_exit ran") {
					t.Error("the child has run a worker's hook")
				}
				if code, b := s.get("/"); code != 200 || b != fmt.Sprint("app ", worker) {
					t.Errorf("the worker answers %d %s", code, b)
				}
			})
		}
	}
}

// TestForkedChildKeepsItsOwn wants a child to lose what is the server's, and nothing
// of the application's that is like it.
func TestForkedChildKeepsItsOwn(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"forkapp.py": forkApp})
	port := freePort(t)
	s := start(t, "--chdir", dir, "-e", "NOTE="+dir, "-e", "PORT="+fmt.Sprint(port), "-b", fmt.Sprintf("127.0.0.1:%d", port), "forkapp:app")
	code, b := s.get("/own")
	if want := fmt.Sprintf("127.0.0.1 %d,127.0.0.2 %d", syscall.SOCK_DGRAM, syscall.SOCK_STREAM); code != 200 || b != want {
		t.Errorf("a child has the sockets %q, want %q", b, want)
	}
}

// TestDescriptorsCloseOnExec wants every descriptor of a worker's, and of a mold's, to
// be closed in programs that it runs, by whatever means.
func TestDescriptorsCloseOnExec(t *testing.T) {
	for _, mode := range [][]string{nil, {"--preload"}} {
		dir := t.TempDir()
		s := start(t, append(mode, "--access-log", filepath.Join(dir, "access"), "--threads", "2", "faults:app")...)
		c := s.dial()
		c.pidOf()
		for _, pid := range s.workers() {
			fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
			if err != nil {
				t.Fatal(err)
			}
			for _, fd := range fds {
				info, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%s", pid, fd.Name()))
				if n := atoi(t, fd.Name()); err != nil || n <= 2 {
					continue
				}
				name, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, fd.Name()))
				if ours, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && ours == name {
					continue // whoever runs the tests has left it open
				}
				_, flags, _ := strings.Cut(string(info), "flags:\t")
				flags, _, _ = strings.Cut(flags, "\n")
				v, err := strconv.ParseUint(flags, 8, 64)
				if err != nil || v&syscall.O_CLOEXEC == 0 {
					t.Errorf("%v: descriptor %s, %s, is inherited by programs (flags %s)", mode, fd.Name(), name, flags)
				}
			}
		}
	}
}
