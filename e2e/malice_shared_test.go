package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What a worker shares with the master or with other workers, or sends them: the open file
// behind a descriptor, which is more than its number. See docs/security.md.

// deaf returns the port of somebody who takes connections and never reads.
func deaf(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

// TestMaliciousDescriptors: close(2) of what a worker sends may last as long as it likes,
// and then it is the master's thread that waits. Its end is heard all the same.
func TestMaliciousDescriptors(t *testing.T) {
	m := takenOver(t, "http", "app")
	port := deaf(t)
	for _, n := range []int{1, 2, 200} {
		left := m.metric("hostler_worker_exits_total", "")
		m.evil(fmt.Sprintf("leave_open(%d, %d)", port, n))
		m.eventually("the end of the worker", func() bool { return m.metric("hostler_worker_exits_total", "") > left })
		m.serves(fmt.Sprintf("%d descriptors that are slow to close", n))
	}
}

// TestMaliciousExchange has a worker spoil the exchange for all others by options of its
// ends. Another takes its place, through which connections move, whatever is left in the
// old one.
func TestMaliciousExchange(t *testing.T) {
	m := takenOver(t, "http", "app", "-w", "2")
	port := deaf(t)
	moves := func(after string) {
		t.Helper()
		m.serves(after)
		var conns []*wire
		for range 4 {
			c := m.dial()
			defer c.Close()
			c.send(getLine("/"))
			c.answer("GET")
			conns = append(conns, c)
		}
		m.reloadsAndServes(after)
		for _, c := range conns {
			c.send(getLine("/"))
			if r, _ := c.answer("GET"); r.StatusCode != 200 {
				t.Errorf("%d after %s", r.StatusCode, after)
			}
		}
	}
	moves("the start")
	for i, spoil := range []string{
		"spoil_exchange('SO_PEEK_OFF', 'SO_RCVTIMEO', 'SO_SNDBUF', 'SO_PASSCRED', 'SO_PASSPIDFD', 'SO_PASSRIGHTS')",
		"spoil_exchange('a filter', 'SO_LOCK_FILTER')",
		fmt.Sprintf("clog_exchange(%d) or 'SO_PEEK_OFF'", port),
	} {
		if set := m.evil(spoil); len(set) <= len("''") {
			t.Fatalf("%s did nothing", spoil)
		}
		m.waitLog("a worker set options on it: ", i+1)
		moves(spoil)
	}
	m.evil(fmt.Sprintf("clog_exchange(%d)", port))
	m.signal(syscall.SIGTERM)
	select {
	case <-m.exited:
	case <-time.After(30 * time.Second):
		t.Fatal("what is left in the exchange keeps the master from ending")
	}
}

// TestMaliciousOutput: flags, position and owner belong to an open file, and those of the
// master's are its own. Of a log that all workers have it sets them right again.
func TestMaliciousOutput(t *testing.T) {
	dir, err := os.MkdirTemp("", "hostler-logs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	access := dir + "/access.log"
	m := takenOver(t, "http", "app", "-w", "2", "--access-log", access)
	logged := func(what string) {
		t.Helper()
		m.eventually("a line in the access log: "+what, func() bool {
			if r, err := m.client.Get(m.url + what); err == nil {
				r.Body.Close()
			}
			st, err := os.Stat(access)
			return err == nil && st.Size() < 1<<20 && has(access, "/"+what)()
		})
	}
	logged("before")
	for _, pid := range []int{m.pid, m.bystander} {
		m.evil(fmt.Sprintf("owned_by(%d)", pid))
		m.serves("somebody else was to be signalled")
	}
	m.evil(fmt.Sprintf("rewind(%q)", dir))
	for _, fd := range []int{1, 2} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", m.pid, fd))
		if err != nil {
			t.Fatal(err)
		}
		flags := 0
		if _, err := fmt.Sscanf(string(b), "pos:\t%d\nflags:\t%o", new(int), &flags); err != nil || flags&(syscall.O_NONBLOCK|syscall.O_ASYNC) != 0 {
			t.Errorf("the master's descriptor %d has the flags %#o, %v", fd, flags, err)
		}
	}
	logged("after")
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	m.evil(fmt.Sprintf("leased(%q)", access))
	m.signal(syscall.SIGUSR1)
	m.waitLog("the access log stays as it was: " + access + ": resource temporarily unavailable")
	m.serves("a lease")
	for _, err := range []error{os.Chown(dir, 0, 0), os.Rename(access+".away", access)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	logged("leased")
	m.replace()
	logged("replaced")
	m.reloadsAndServes("all that")
}

// TestMaliciousSocket: standard output and error are a socket, as the journal's is. Workers
// write there, and end nobody's log.
func TestMaliciousSocket(t *testing.T) {
	for _, args := range [][]string{nil, {"--preload", "--error-log", "/dev/stderr", "--access-log", "/dev/stdout"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			t.Parallel()
			m, copied := overSocket(t, args...)
			m.evil("print('a worker speaks', flush=True) or os.write(2, b'and shouts\\n')")
			m.waitLog("a worker speaks\n")
			m.waitLog("and shouts\n")
			if got := m.evil("end_output()"); got != "[]" {
				t.Errorf("done to the socket: %s", got)
			}
			m.reloadsAndServes("the socket was spoiled")
			m.evil("output()")
			m.reloadsAndServes("it was filled")
			m.signal(syscall.SIGUSR1)
			m.waitLog("reopening log files")
			m.evil("__import__('atexit').register(os.write, 2, b'last words\\n')")
			m.signal(syscall.SIGTERM)
			<-m.exited
			<-copied
			for _, want := range []string{"last words\n", "msg=stopped"} {
				if !strings.Contains(m.log.String(), want) {
					t.Errorf("no %q in the log", want)
				}
			}
		})
	}
}

// overSocket is a server that was taken over, whose output is a socket; copied says that all of
// it is in the log.
func overSocket(t *testing.T, args ...string) (m *taken, copied <-chan struct{}) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	cmd := exec.Command(binary)
	cmd.Stdout, cmd.Stderr = theirs, theirs
	log, all := new(logBuffer), make(chan struct{})
	go func() {
		defer close(all)
		defer ours.Close()
		_, _ = io.Copy(log, ours)
	}()
	defer theirs.Close()
	return takenOverAs(t, cmd, log, "http", "app", args...), all
}

// later asks for code that a worker begins with now, and returns what is answered.
func (m *taken) later(code string) <-chan string {
	m.t.Helper()
	answer := make(chan string, 1)
	go func() {
		r, err := m.client.Post(m.url, "text/x-python", strings.NewReader(code))
		if err != nil {
			answer <- err.Error()
			return
		}
		defer r.Body.Close()
		b, _ := io.ReadAll(r.Body)
		answer <- string(b)
	}()
	m.eventually("the request to run", func() bool { return m.metric("hostler_threads", `state="busy"`) == 1 })
	return answer
}

// TestOutputAfterMaster: workers whose output the master has copied end their requests when it
// has been killed, whatever they print.
func TestOutputAfterMaster(t *testing.T) {
	m, _ := overSocket(t, "--graceful-timeout", "20")
	answer := m.later("(__import__('time').sleep(3), print('late', flush=True), os.write(2, b'later'), 'served')[-1]")
	m.signal(syscall.SIGKILL)
	<-m.exited
	if got := <-answer; got != "'served'" {
		t.Errorf("answered %q", got)
	}
}

// TestOutputUpgrade: what workers print is copied by the master whose they are, before, while
// and after that is replaced.
func TestOutputUpgrade(t *testing.T) {
	m, _ := overSocket(t, "--graceful-timeout", "20")
	next := m.successor(m.dir + "/pid")
	m.evil("print('before', flush=True)")
	m.waitLog("before\n")
	answer := m.later("(__import__('time').sleep(3), print('meanwhile', flush=True), os.write(2, b'and this\\n'), 'served')[-1]")
	m.signal(syscall.SIGUSR2)
	m.waitLog("the new binary serves")
	if got := <-answer; got != "'served'" {
		t.Errorf("answered %q", got)
	}
	<-m.exited
	if pid := next(); pid == m.pid || !alive(pid) {
		t.Fatalf("the new master is %d", pid)
	}
	m.evil("print('after', flush=True)")
	for _, line := range []string{"meanwhile\n", "and this\n", "after\n"} {
		for end := time.Now().Add(30 * time.Second); !strings.Contains(m.log.String(), line); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%q is not in the log", line)
			}
		}
	}
}

// TestMaliciousTerminal: somebody at a terminal has started the server, and goes on to be the
// one who sits there.
func TestMaliciousTerminal(t *testing.T) {
	for _, args := range [][]string{nil, {"--preload"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			if os.Geteuid() != 0 {
				t.Skip("only root has workers of another user")
			}
			t.Parallel()
			dir, err := os.MkdirTemp("", "hostler-malice")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			text, err := os.ReadFile(filepath.Join(apps, "malice.py"))
			if err != nil {
				t.Fatal(err)
			}
			for _, err := range []error{os.Chmod(dir, 0o755), os.WriteFile(dir+"/malice.py", text, 0o644)} {
				if err != nil {
					t.Fatal(err)
				}
			}
			x, addr := atTerminal(t, nil, append(args, "--python", "/usr/bin/python3", "--chdir", dir, "--user", "nobody", "-w", "1", "--admin-bind", "off", "malice:app")...)
			x.wait(`Ctrl-C stops it`)
			evil := func(code string) string {
				t.Helper()
				r, err := http.Post("http://"+addr+"/", "text/x-python", strings.NewReader(code))
				if err != nil {
					t.Fatal(err)
				}
				defer r.Body.Close()
				b, err := io.ReadAll(r.Body)
				if err != nil || strings.Contains(string(b), "Traceback") {
					t.Fatalf("%s: %s, %v", code, b, err)
				}
				return string(b)
			}
			before, err := unix.IoctlGetTermios(int(x.master.Fd()), unix.TCGETS)
			if err != nil {
				t.Fatal(err)
			}
			if got := evil("terminal()"); got != "[]" {
				t.Errorf("done to the terminal: %s", got)
			}
			if after, err := unix.IoctlGetTermios(int(x.master.Fd()), unix.TCGETS); err != nil || *after != *before {
				t.Errorf("its modes were %+v and are %+v, %v", before, after, err)
			}
			evil(`print("\x1b[31mred\x1b[0m \x1b]0;owned\x07 \x1b[6n \x9b2J", flush=True)`)
			x.wait(regexp.QuoteMeta("\x1b[31mred\x1b[0m " + `\x1b]0;owned\x07 \x1b[6n \x9b2J` + "\r\n"))
			evil("output()")
			x.write("\x03")
			if code := x.left(); code != 0 {
				t.Errorf("Ctrl-C: exit status %d", code)
			}
		})
	}
}
