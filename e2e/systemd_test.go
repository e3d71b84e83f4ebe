package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// manager is what systemd is to a service: a socket that takes its notices.
type manager struct {
	t    *testing.T
	path string
	mu   sync.Mutex
	all  []notice
}

// notice is a datagram, and who sent it.
type notice struct {
	text string
	pid  int
}

func newManager(t *testing.T) *manager {
	t.Helper()
	m := &manager{t: t, path: filepath.Join(t.TempDir(), "notify")}
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) {
		if err := syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_PASSCRED, 1); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { c.Close() })
	go func() {
		buf, oob := make([]byte, 4096), make([]byte, 256)
		for {
			n, o, _, _, err := c.ReadMsgUnix(buf, oob)
			if err != nil {
				return
			}
			got := notice{text: string(buf[:n])}
			if msgs, err := syscall.ParseSocketControlMessage(oob[:o]); err == nil && len(msgs) == 1 {
				if cred, err := syscall.ParseUnixCredentials(&msgs[0]); err == nil {
					got.pid = int(cred.Pid)
				}
			}
			m.mu.Lock()
			m.all = append(m.all, got)
			m.mu.Unlock()
		}
	}()
	return m
}

// notices returns those that begin with one of these.
func (m *manager) notices(begin ...string) (found []notice) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range m.all {
		if slices.ContainsFunc(begin, func(b string) bool { return strings.HasPrefix(n.text, b) }) {
			found = append(found, n)
		}
	}
	return found
}

// await waits until there are n such notices, and returns the last.
func (m *manager) await(n int, begin string) notice {
	m.t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if got := m.notices(begin); len(got) >= n {
			return got[len(got)-1]
		}
	}
	m.t.Fatalf("no %d × %s among %v", n, begin, m.all)
	return notice{}
}

// under is the environment of a service with a notify socket and a watchdog.
func (m *manager) under(t *testing.T, watchdog time.Duration) {
	t.Setenv("NOTIFY_SOCKET", m.path)
	t.Setenv("WATCHDOG_USEC", fmt.Sprint(watchdog.Microseconds()))
}

const managed = `import os
def app(environ, start_response):
    left = [k for k in os.environ if k.startswith(("NOTIFY_", "WATCHDOG_", "LISTEN_"))]
    body = ("%s %d" % (" ".join(left) or "nothing", os.getpid())).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
`

func managedApp(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "managed.py"), []byte(managed), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestNotifyReload goes through a service's life as a notify-reload unit, an
// upgrade of the binary included.
func TestNotifyReload(t *testing.T) {
	m := newManager(t)
	m.under(t, 3*time.Second)
	dir := managedApp(t)
	s := start(t, "-w", "2", "--chdir", dir, "managed:app")
	if n := m.await(1, "READY=1"); n.pid != s.cmd.Process.Pid {
		t.Errorf("process %d said it was ready, the master is %d", n.pid, s.cmd.Process.Pid)
	}
	m.await(1, "STATUS=2 of 2 workers serve, generation 1")
	if _, b := s.get("/"); !strings.HasPrefix(b, "nothing ") {
		t.Errorf("the application finds in its environment: %s", b)
	}

	s.signal(syscall.SIGHUP)
	reloading := m.await(1, "RELOADING=1\nMONOTONIC_USEC=")
	if usec, err := strconv.ParseInt(strings.TrimPrefix(reloading.text, "RELOADING=1\nMONOTONIC_USEC="), 10, 64); err != nil || usec <= 0 {
		t.Errorf("%q: %v", reloading.text, err)
	}
	m.await(2, "READY=1")
	m.await(1, "STATUS=2 of 2 workers serve, generation 2")
	if err := os.Rename(filepath.Join(dir, "managed.py"), filepath.Join(dir, "away")); err != nil {
		t.Fatal(err)
	}
	s.signal(syscall.SIGHUP)
	m.await(3, "READY=1") // or systemctl reload would wait for ever
	m.await(1, "STATUS=2 of 2 workers serve, generation 2; the last reload failed")
	if err := os.Rename(filepath.Join(dir, "away"), filepath.Join(dir, "managed.py")); err != nil {
		t.Fatal(err)
	}

	s.signal(syscall.SIGUSR2)
	<-s.exited
	main := m.await(2, "MAINPID=")
	pid, err := strconv.Atoi(strings.TrimPrefix(main.text, "MAINPID="))
	if err != nil || pid == s.cmd.Process.Pid || pid != main.pid {
		t.Fatalf("after the upgrade process %d says %q", main.pid, main.text)
	}
	m.await(4, "READY=1")
	fed := len(m.notices("WATCHDOG=1"))
	if fed == 0 {
		t.Error("the first master never fed the watchdog")
	}
	if n := m.await(fed+2, "WATCHDOG=1"); n.pid != pid {
		t.Errorf("process %d feeds the watchdog, the master is %d", n.pid, pid)
	}
	if got := m.notices("STOPPING=1"); len(got) != 0 {
		t.Errorf("the service is said to stop: %v", got)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if n := m.await(1, "STOPPING=1"); n.pid != pid {
		t.Errorf("process %d says that the service stops", n.pid)
	}
	for end := time.Now().Add(10 * time.Second); syscall.Kill(pid, 0) == nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the new master does not end")
		}
	}
}

// TestWatchdogStarves: a worker that is stopped does not serve.
func TestWatchdogStarves(t *testing.T) {
	m := newManager(t)
	m.under(t, 600*time.Millisecond)
	s := start(t, "--chdir", managedApp(t), "managed:app")
	m.await(5, "WATCHDOG=1")
	worker := s.workers()[0]
	if err := syscall.Kill(worker, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	s.eventually("silence", func() bool {
		before := len(m.notices("WATCHDOG=1"))
		time.Sleep(900 * time.Millisecond)
		return len(m.notices("WATCHDOG=1")) == before
	})
	fed := len(m.notices("WATCHDOG=1"))
	if err := syscall.Kill(worker, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	m.await(fed+3, "WATCHDOG=1")
}

// activate starts hostler by socket activation: systemd-socket-activate opens
// the sockets and becomes hostler at the first connection.
func activate(t *testing.T, listen []string, names string, args ...string) *server {
	t.Helper()
	if _, err := exec.LookPath("systemd-socket-activate"); err != nil {
		t.Fatal("systemd-socket-activate is missing: run make tools")
	}
	s := &server{t: t, log: new(logBuffer), exited: make(chan struct{})}
	var all []string
	for _, l := range listen {
		all = append(all, "-l", l)
	}
	if names != "" {
		all = append(all, "--fdname="+names)
	}
	all = append(all, "-E", "PYTHONDONTWRITEBYTECODE=1", "-E", "NOTIFY_SOCKET", binary, "--python", venv, "--chdir", managedApp(t))
	s.cmd = exec.Command("systemd-socket-activate", append(all, args...)...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	s.cmd.WaitDelay = 5 * time.Second
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = s.cmd.Wait()
		close(s.exited)
	}()
	t.Cleanup(func() {
		s.stop()
		if t.Failed() {
			t.Logf("log:\n%s", s.log)
		}
	})
	s.waitLog("Listening on", len(listen))
	return s
}

// TestSocketActivation: the unit's sockets are the addresses where no --bind is
// given; the connection that started hostler is answered; they outlive a reload,
// an upgrade and hostler itself.
func TestSocketActivation(t *testing.T) {
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	path := filepath.Join(t.TempDir(), "http.sock")
	adminAddr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	m := newManager(t)
	t.Setenv("NOTIFY_SOCKET", m.path)
	s := activate(t, []string{addr, path, adminAddr}, "web:local:admin", "-w", "2", "managed:app")
	s.addr, s.admin = addr, adminAddr
	if _, b := s.get("/"); !strings.HasPrefix(b, "nothing ") {
		t.Errorf("the application finds in its environment: %s", b)
	}
	local := func() string {
		c, err := net.Dial("unix", path)
		if err != nil {
			return err.Error()
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		b := make([]byte, 15)
		_, _ = c.Read(b)
		return string(b)
	}
	if got := local(); got != "HTTP/1.1 200 OK" {
		t.Errorf("over the Unix socket: %q", got)
	}
	s.eventually("two workers, on the admin socket", func() bool { return s.metric("hostler_workers", `state="serving"`) == 2 })
	s.underLoad(func() {
		s.signal(syscall.SIGHUP)
		s.waitLog("cause=reload", 2)
		s.signal(syscall.SIGUSR2)
		<-s.exited
	})
	if got := local(); got != "HTTP/1.1 200 OK" {
		t.Errorf("over the Unix socket, after the upgrade: %q", got)
	}
	pid := m.await(2, "MAINPID=").pid
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); syscall.Kill(pid, 0) == nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the new master does not end")
		}
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the manager's socket: %v", err)
	}
}

// TestSocketActivationWithBinds: the addresses are those of --bind; the unit's
// socket is taken for the one that it has.
func TestSocketActivationWithBinds(t *testing.T) {
	one, other, third := fmt.Sprintf("127.0.0.1:%d", freePort(t)), fmt.Sprintf("127.0.0.1:%d", freePort(t)), fmt.Sprintf("127.0.0.1:%d", freePort(t))
	s := activate(t, []string{one, third}, "", "--admin-bind", "off", "-b", one, "-b", other, "managed:app")
	s.addr = one
	s.get("/")
	if status, _ := fetch(t, "http://"+other+"/"); status != 200 {
		t.Errorf("on the address of our own: %d", status)
	}
	s.waitLog("a socket of the service manager is not used")
	if !strings.Contains(s.log.String(), "address="+third) {
		t.Error("it is not said which")
	}
}

// TestGivenDescriptors: fd://N, as supervisors other than systemd hand sockets on. They
// are served, through a reload and an upgrade, and listen on when the server has ended.
func TestGivenDescriptors(t *testing.T) {
	web, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer web.Close()
	path := filepath.Join(t.TempDir(), "http.sock")
	local, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	var files []*os.File
	for _, l := range []interface{ File() (*os.File, error) }{web.(*net.TCPListener), local.(*net.UnixListener)} {
		f, err := l.File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files = append(files, f)
	}
	given := func(args ...string) *exec.Cmd {
		cmd := exec.Command(binary, append([]string{"--python", venv, "--chdir", apps, "--admin-bind", "off"}, args...)...)
		cmd.ExtraFiles = append(files, null)
		return cmd
	}
	pidfile := filepath.Join(t.TempDir(), "pid")
	s := launchBy(t, given("-b", "fd://3", "-b", "fd://4", "-w", "2", "-p", pidfile, "faults:app"), "")
	s.addr = web.Addr().String()
	s.waitLog("msg=serving")
	master := s.successor(pidfile)
	overUnix := func() {
		t.Helper()
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		b := make([]byte, 15)
		if _, _ = c.Read(b); string(b) != "HTTP/1.1 200 OK" {
			t.Errorf("over the Unix socket: %q", b)
		}
	}
	overUnix()
	s.underLoad(func() {
		s.signal(syscall.SIGHUP)
		s.waitLog("cause=reload", 2)
		old := master()
		s.signal(syscall.SIGUSR2)
		<-s.exited
		if now := master(); now == old || !alive(now) {
			t.Errorf("master %d after the upgrade, %d before", now, old)
		}
	})
	overUnix()
	if err := syscall.Kill(master(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); alive(master()); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the new master does not end")
		}
	}
	for _, l := range []net.Listener{web, local} {
		c, err := net.Dial(l.Addr().Network(), l.Addr().String())
		if err != nil {
			t.Errorf("they do not listen any more: %v", err)
			continue
		}
		c.Close()
	}
	for bind, want := range map[string]string{"fd://5": "it is no socket", "fd://300": "whoever started the server has given it no such socket"} {
		out, err := given("-b", bind, "faults:app").CombinedOutput()
		if err == nil || !strings.Contains(string(out), "cannot listen on "+bind+": "+want) {
			t.Errorf("%s: %v, %s", bind, err, out)
		}
	}
}
