package master

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"hostler/master/spawn"
	"hostler/settings"
)

// Real masters run in processes of their own: signals, upgrades and the
// process title are a process's.
const runVariable = "HOSTLER_TEST_MASTER"

func TestMain(m *testing.M) {
	if os.Getenv(runVariable) != "" {
		os.Exit(runMaster())
	}
	os.Exit(m.Run())
}

func noLibrary(spawn.Libc) (*io.SectionReader, error) {
	return io.NewSectionReader(strings.NewReader("no library"), 0, 10), nil
}

// standIn is a worker without the library: a single-threaded server that speaks
// the control protocol. It answers with its pid and generation. The application
// is a file name: its text is executed at boot.
const standIn = `
import json, os, select, signal, socket, struct, sys
cfg = json.loads(sys.argv[1])
ctl = socket.socket(fileno=3)
for name in cfg.get("internal_env") or ():
    os.environ.pop(name, None)
try:
    with open(cfg["app"]) as f:
        exec(f.read())
except BaseException as e:
    import traceback
    ctl.send(b"F" + traceback.format_exc().encode())
    sys.exit(1)
socks = [socket.socket(fileno=10 + i) for i, _ in enumerate(cfg["listeners"] or ())]
for s in socks:
    s.setblocking(False)
ctl.send(b"R")
def target(fd):
    try:
        return os.readlink("/proc/self/fd/" + fd).replace(" ", "_")
    except OSError:  # the directory itself, which is closed by now
        return "gone"
def serve(s):
    try:
        c, _ = s.accept()
    except BlockingIOError:
        return False
    c.setblocking(True)
    word = c.recv(100).decode().strip()
    if word == "exit":
        os._exit(7)
    if word == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "env":
        c.sendall(json.dumps(dict(os.environ)).encode())
    elif word == "fds":
        c.sendall(" ".join(fd + "=" + target(fd) for fd in os.listdir("/proc/self/fd")).encode())
    elif word == "pgid":
        c.sendall(str(os.getpgid(0)).encode())
    else:
        c.sendall(b"%d gen %d" % (os.getpid(), cfg["generation"]))
    c.close()
    return True
while True:
    ready, _, _ = select.select([ctl] + socks, [], [])
    if ctl in ready:
        m = ctl.recv(65536)
        if not m or m[:1] == b"D":
            if m[1:2] == b"s":
                for s in socks:
                    while serve(s):
                        pass
            try:
                ctl.send(b"E")
            except OSError:
                pass
            sys.exit(0)
        continue
    for s in ready:
        serve(s)
`

func runMaster() int {
	var set Settings
	file := os.Getenv(runVariable)
	read := func() (*Settings, error) {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		set := new(Settings)
		return set, json.Unmarshal(b, set)
	}
	s, err := read()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	set = *s
	m, err := New(Options{
		Version: "test", Settings: &set, Reload: read,
		Payload: Payload{Library: noLibrary, Bootstrap: standIn},
		Log:     slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err == nil {
		err = m.Run(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "hostler:", err)
		return 1
	}
	return 0
}

// realMaster is a master in a process of its own.
type realMaster struct {
	t    *testing.T
	dir  string
	set  Settings
	cmd  *exec.Cmd
	done chan error
}

// logged is what the master and its workers have written so far. It goes to a
// file: a pipe would stay open with the next binary.
func (m *realMaster) logged() string {
	b, _ := os.ReadFile(filepath.Join(m.dir, "log"))
	return string(b)
}

func freeAddr(t *testing.T) string {
	t.Helper()
	for port := 20000 + os.Getpid()%5000; port < 32000; port++ {
		addr := "127.0.0.1:" + strconv.Itoa(port)
		if ln, err := net.Listen("tcp", addr); err == nil {
			ln.Close()
			return addr
		}
	}
	t.Fatal("no free port")
	return ""
}

func newRealMaster(t *testing.T, app string) *realMaster {
	t.Helper()
	if _, err := exec.LookPath("python3"); err != nil {
		t.Fatal("these tests need python3")
	}
	dir := t.TempDir()
	m := &realMaster{t: t, dir: dir, done: make(chan error, 1)}
	m.set = Settings{Master: settings.Master{
		Worker: settings.Worker{App: filepath.Join(dir, "app.py"), Threads: 1, GracefulTimeout: 5 * time.Second}, Name: "stand-in", Workers: 2,
		Binds: []settings.Bind{{Network: "tcp", Address: freeAddr(t)}}, Backlog: 64,
		PIDFile: filepath.Join(dir, "pid"), BootTimeout: 20 * time.Second,
	}}
	m.app(app)
	return m
}

// app writes what workers execute at boot.
func (m *realMaster) app(text string) {
	m.t.Helper()
	if err := os.WriteFile(m.set.App, []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

func (m *realMaster) save() {
	m.t.Helper()
	b, err := json.Marshal(m.set)
	if err == nil {
		err = os.WriteFile(filepath.Join(m.dir, "settings"), b, 0o600)
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *realMaster) start() {
	m.t.Helper()
	m.save()
	m.cmd = exec.Command(os.Args[0])
	m.cmd.Env = append(os.Environ(), runVariable+"="+filepath.Join(m.dir, "settings"))
	log, err := os.OpenFile(filepath.Join(m.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		m.t.Fatal(err)
	}
	defer log.Close()
	m.cmd.Stderr, m.cmd.Stdout = log, log
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	go func() { m.done <- m.cmd.Wait() }()
	m.t.Cleanup(func() {
		_ = m.cmd.Process.Kill()
		if pid := m.pid(); pid != 0 && pid != m.cmd.Process.Pid { // after an upgrade
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if m.t.Failed() {
			m.t.Log(m.logged())
		}
	})
}

// await polls until ok, and fails the test if that takes unreasonably long.
func (m *realMaster) await(what string, ok func() bool) {
	m.t.Helper()
	for range 6000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	m.t.Fatalf("never happened: %s", what)
}

func (m *realMaster) awaitLog(text string) {
	m.t.Helper()
	m.await("log says "+text, func() bool { return strings.Contains(m.logged(), text) })
}

func (m *realMaster) pid() int {
	b, _ := os.ReadFile(m.set.PIDFile)
	n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return n
}

func (m *realMaster) awaitServing() {
	m.t.Helper()
	m.await("pid file", func() bool { return m.pid() != 0 })
}

func (m *realMaster) signal(sig syscall.Signal) {
	m.t.Helper()
	if err := m.cmd.Process.Signal(sig); err != nil {
		m.t.Fatal(err)
	}
}

func (m *realMaster) exit() error {
	m.t.Helper()
	select {
	case err := <-m.done:
		return err
	case <-time.After(time.Minute):
		m.t.Fatal("the master does not end")
		return nil
	}
}

// ask sends a word to a worker and returns the answer.
func (m *realMaster) ask(b settings.Bind, word string) (string, error) {
	c, err := net.DialTimeout(b.Network, b.Address, 5*time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := fmt.Fprintln(c, word); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(c)
	return string(answer), err
}

func (m *realMaster) mustAsk(word string) string {
	m.t.Helper()
	s, err := m.ask(m.set.Binds[0], word)
	if err != nil || s == "" {
		m.t.Fatalf("asked %q: %q, %v", word, s, err)
	}
	return s
}

func TestStartServeStop(t *testing.T) {
	m := newRealMaster(t, "")
	m.start()
	m.awaitServing()
	if got := m.mustAsk("who"); !strings.HasSuffix(got, "gen 1") {
		t.Errorf("got %q", got)
	}
	title, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", m.cmd.Process.Pid))
	if s := strings.TrimRight(string(title), "\x00"); !strings.HasPrefix("hostler: master [stand-in]", s) || s == "" {
		t.Errorf("process title %q", s)
	}
	m.signal(syscall.SIGTERM)
	if err := m.exit(); err != nil {
		t.Errorf("exit: %v", err)
	}
	if m.pid() != 0 {
		t.Error("the pid file is still there")
	}
	if ln, err := net.Listen("tcp", m.set.Binds[0].Address); err != nil {
		t.Errorf("the port is not free: %v", err)
	} else {
		ln.Close()
	}
}
