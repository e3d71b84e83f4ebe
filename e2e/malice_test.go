package e2e

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The workers run as nobody and have been taken over (apps/malice.py). Whatever they do,
// the master, which is root, lives, harms nobody for them, says what it saw in few words,
// and serves. docs/security.md says the same in prose.

const nobody = 65534

// taken is a server whose workers are somebody else's.
type taken struct {
	*server
	client    *http.Client
	url       string
	steer     ctlServer
	dir       string // root's
	run       string // a directory of nobody's
	bystander int
	pid       int // the master's
	reloads   int
}

// takenOver starts a server of which the workers are nobody's.
func takenOver(t *testing.T, scheme, app string, args ...string) *taken {
	t.Helper()
	return takenOverAs(t, exec.Command(binary), new(logBuffer), scheme, app, args...)
}

// takenOverAs is takenOver for a command that is hostler without its arguments, and whose
// output, if it has any of its own, is copied to log.
func takenOverAs(t *testing.T, cmd *exec.Cmd, log *logBuffer, scheme, app string, args ...string) *taken {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("workers of another user take a master that is root")
	}
	dir, err := os.MkdirTemp("", "hostler-malice") // not t.TempDir, which nobody else may enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	m := &taken{dir: dir, run: filepath.Join(dir, "run")}
	text, err := os.ReadFile(filepath.Join(apps, "malice.py"))
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{os.Chmod(dir, 0o755), os.WriteFile(dir+"/malice.py", text, 0o644), os.Chmod(dir+"/malice.py", 0o644), os.Mkdir(m.run, 0o755),
		os.Chown(m.run, nobody, nobody), os.WriteFile(dir+"/secret", []byte("root's\n"), 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	sleep := exec.Command("sleep", "1000")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = sleep.Process.Kill()
		_ = sleep.Wait()
	})
	m.bystander = sleep.Process.Pid
	socket := filepath.Join(m.run, "ctl")
	addr, admin := fmt.Sprintf("127.0.0.1:%d", freePort(t)), fmt.Sprintf("127.0.0.1:%d", freePort(t))
	cmd.Args = append(append(cmd.Args, "--python", "/usr/bin/python3", "--chdir", dir, "--user", "nobody", "-w", "1", "-b", addr, "--admin-bind", admin,
		"-b", "unix:"+m.run+"/s", "--ctl-socket", socket, "--pid", dir+"/pid", "--graceful-timeout", "5", "malice:"+app), args...)
	m.server = launchTo(t, cmd, log, "")
	m.addr, m.admin = addr, admin
	m.steer = ctlServer{server: m.server, socket: socket}
	m.url = scheme + "://" + addr + "/"
	m.client = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	m.waitLog("msg=serving")
	m.pid = m.cmd.Process.Pid
	return m
}

// evil has a worker evaluate code, and returns what comes of it; "" if the worker has
// not survived it.
func (m *taken) evil(code string) string {
	m.t.Helper()
	r, err := m.client.Post(m.url, "text/x-python", strings.NewReader(code))
	if err != nil {
		return ""
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return ""
	}
	if strings.Contains(string(b), "Traceback") {
		m.t.Errorf("%s: %s", code, b)
	}
	return string(b)
}

// reloads wants it to do so, and to serve afterwards.
func (m *taken) reloadsAndServes(after string) {
	m.t.Helper()
	m.reloads++
	m.reload(m.reloads)
	m.serves(after)
}

// serves wants the master to live and serve, and the bystander and root's file to be
// left alone.
func (m *taken) serves(after string) {
	m.t.Helper()
	select {
	case <-m.exited:
		m.t.Fatalf("%s: the master is dead: %v", after, m.cmd.ProcessState)
	default:
	}
	m.eventually("an answer after "+after, func() bool {
		r, err := m.client.Get(m.url)
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == 200
	})
	for _, path := range []string{"/readyz", "/metrics", "/status"} {
		m.eventually(path+" after "+after, func() bool {
			r, err := client.Get("http://" + m.admin + path)
			if err != nil {
				return false
			}
			r.Body.Close()
			return r.StatusCode == 200
		})
	}
	b, err := os.ReadFile(m.dir + "/secret")
	st, err2 := os.Stat(m.dir + "/secret")
	if err != nil || err2 != nil || string(b) != "root's\n" || st.Mode().Perm() != 0o600 {
		m.t.Fatalf("%s: root's file: %q, %v", after, b, st)
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", m.bystander))
	if err != nil || !bytes.Contains(stat, []byte(") S ")) {
		m.t.Fatalf("%s: the bystander: %s, %v", after, stat, err)
	}
}

// TestMaliciousWorker takes its worker over in every way there is.
func TestMaliciousWorker(t *testing.T) {
	t.Run("plain", func(t *testing.T) {
		t.Parallel() // with the other one: both wait most of the time
		takenOver(t, "http", "app").everything(1)
	})
	t.Run("preload, TLS", func(t *testing.T) {
		t.Parallel()
		takenOver(t, "https", "app", append(newPair(t, t.TempDir(), "localhost", 1).args(), "--preload")...).everything(2)
	})
	t.Run("event loops by need, all captured", func(t *testing.T) {
		t.Parallel()
		takenOver(t, "http", "asgi", "-w", "1:3", "--capture-output", "--preload").everything(2)
	})
}

// everything is done in a server of which so many processes are not the master's.
func (m *taken) everything(processes int) {
	t := m.t
	for _, c := range []struct{ what, code, want string }{
		{"shared memory", "shared_memory()", "[]"},
		{"other processes", fmt.Sprintf("others(%d, %d)", m.pid, m.bystander), "[]"},
		{"shared memory that stays open", "[os.readlink('/proc/self/fd/' + f) for f in os.listdir('/proc/self/fd') if int(f) not in held.values() and os.path.islink('/proc/self/fd/' + f) and 'memfd' in os.readlink('/proc/self/fd/' + f)]", "[]"},
	} {
		if got := m.evil(c.code); got != c.want {
			t.Errorf("%s: %s", c.what, got)
		}
	}
	m.serves("it has tried what is refused")

	m.evil(fmt.Sprintf("forge(%d)", m.bystander))
	m.reloadsAndServes("every message was forged")
	if n := strings.Count(m.log.String(), "sent a packet that is not one of its messages"); n != processes {
		t.Errorf("what is no message was said %d times", n)
	}

	m.evil("output()")
	m.reloadsAndServes("standard output and error were spoiled")

	for _, fill := range []string{"None", "0", "255", "128"} {
		go m.evil("scribble(0.5, " + fill + ")")
		for end := time.Now().Add(700 * time.Millisecond); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			for _, path := range []string{"/metrics", "/status", "/readyz"} {
				if r, err := client.Get("http://" + m.admin + path); err == nil {
					_, _ = io.Copy(io.Discard, r.Body)
					r.Body.Close()
				}
			}
		}
		m.replace()
		m.serves("the scoreboard was filled with " + fill)
	}
	m.reloadsAndServes("all that")

	if status, _, stderr := m.steer.ctl("status"); status != 0 {
		t.Errorf("hostler ctl: %s", stderr)
	}
	left := m.metric("hostler_worker_exits_total", "")
	m.evil("[c.shutdown(socket.SHUT_RDWR) for c in controls()]")
	m.eventually("that it leaves by itself", func() bool { return m.metric("hostler_worker_exits_total", "") > left })
	m.serves("the control socket was shut down")
	m.evil("deafen()")
	m.waitLog("a worker has closed its control socket")
	m.serves("a worker has nothing more to say")

	m.evil("exchange()")
	m.reloadsAndServes("the exchange was ended")

	m.evil("listeners()")
	m.reloadsAndServes("the listeners were shut down")
	if got := overUnix(m.run+"/s", "/"); got != "200" {
		t.Errorf("the Unix socket after the listeners were shut down: %s", got)
	}

	m.swapped()

	hidden, err := strconv.Atoi(m.evil("hide()"))
	if err != nil {
		t.Fatal(err)
	}
	m.serves("a process was forked in secret")
	m.evil("talk()")
	begun := time.Now()
	m.signal(syscall.SIGTERM)
	select {
	case <-m.exited:
	case <-time.After(20 * time.Second):
		t.Error("a worker that talks keeps the master from stopping")
	}
	t.Logf("stopped after %v", time.Since(begun))
	for end := time.Now().Add(30 * time.Second); alive(hidden); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("what was forked in secret goes on, with the addresses")
		}
	}
	l, err := net.Listen("tcp", m.addr)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if n := strings.Count(m.log.String(), "\n"); n > 600 {
		t.Errorf("the log has %d lines", n)
	}
}

// TestMaliciousOptions has a worker set all that can be set on a listening socket, to keep
// clients from it or to cut their connections: that is seen, said, and another socket put
// in its place. Workers of today, of tomorrow and of the next generation have that.
func TestMaliciousOptions(t *testing.T) {
	for _, args := range [][]string{nil, {"--preload"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			t.Parallel()
			m := takenOver(t, "http", "app", args...)
			m.serves("the start")
			mended := func(what string, want ...string) {
				t.Helper()
				m.eventually("a line of "+what, func() bool {
					for line := range strings.Lines(m.log.String()) {
						if !strings.Contains(line, "a worker had ") || !strings.Contains(line, "address="+m.addr) {
							continue
						}
						found := true
						for _, name := range want {
							found = found && strings.Contains(line, name)
						}
						if found {
							return true
						}
					}
					return false
				})
				m.serves(what)
				if got := overUnix(m.run+"/s", "/"); got != "200" {
					t.Errorf("the Unix socket after %s: %s", what, got)
				}
			}
			names := strings.Fields(strings.Trim(m.evil("' '.join(OPTIONS)"), "'"))
			if len(names) < 20 {
				t.Fatalf("the options are %q", names)
			}
			if got := m.evil("options(*OPTIONS)"); got != "[]" {
				t.Errorf("cannot be set: %s", got)
			}
			mended("all options", names...)

			// 127.0.0.1 gets in, others do not: whoever tried it from here would not notice.
			m.evil("keep_out('10.0.0.0/8')")
			mended("a key for others", "options=\"a filter, a key or a header\"")
			for i, how := range []string{"0.0.0.0/0", "filter"} {
				before := strings.Count(m.log.String(), "a filter, a key or a header")
				if m.evil("keep_out('"+how+"')") == "'refused'" {
					t.Logf("%s: the kernel refuses it here", how)
					continue
				}
				m.eventually("another socket", func() bool { return strings.Count(m.log.String(), "a filter, a key or a header") > before })
				mended(how)
				if i == 0 {
					m.replace()
					m.serves("a new worker")
				}
			}
			m.evil("keep_out('queue')")
			m.waitLog("a worker had changed the length of a listen queue")
			m.reloadsAndServes("all that")
			for _, line := range strings.Split(m.log.String(), "\n") {
				if strings.Contains(line, "cannot be opened again") {
					t.Error(line)
				}
			}
		})
	}
}

// replace ends all workers, whatever the scoreboard says of them.
func (m *taken) replace() {
	m.t.Helper()
	before := m.metric("hostler_worker_exits_total", "")
	for _, pid := range m.workers() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	m.eventually("the end of the workers", func() bool { return m.metric("hostler_worker_exits_total", "") > before })
}

// swapped puts everything in the places of the sockets' files that a file system has.
func (m *taken) swapped() {
	t := m.t
	for what, put := range map[string]func(path string) error{
		"a link to root's file": func(path string) error { return os.Symlink(m.dir+"/secret", path) },
		"a link to a device":    func(path string) error { return os.Symlink("/dev/zero", path) },
		"a device":              func(path string) error { return unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5))) },
		"a FIFO":                func(path string) error { return unix.Mkfifo(path, 0o600) },
		"a directory":           func(path string) error { return os.Mkdir(path, 0o700) },
		"a file of root's":      func(path string) error { return os.WriteFile(path, nil, 0o600) },
	} {
		for _, name := range []string{"s", "ctl", fmt.Sprintf("ctl.%d", m.pid)} {
			path := filepath.Join(m.run, name)
			if err := os.Rename(path, path+".away"); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			if err := put(path); err != nil {
				t.Fatal(err)
			}
		}
		m.reloadsAndServes(what + " took the place of a socket")
		for _, name := range []string{"s", "ctl", fmt.Sprintf("ctl.%d", m.pid)} {
			path := filepath.Join(m.run, name)
			if err := os.Remove(path); err != nil {
				t.Errorf("%s in the place of %s was removed: %v", what, name, err)
			}
			if err := os.Rename(path+".away", path); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
		}
	}
	if got := overUnix(m.run+"/s", "/"); got != "200" {
		t.Errorf("the socket in its old place: %s", got)
	}
}

// TestMaliciousCrowd: hundreds of thousands of descriptors, in many processes that hide, do
// not hold up the end, nor keep the addresses.
func TestMaliciousCrowd(t *testing.T) {
	m := takenOver(t, "http", "app")
	pids := m.evil("crowd(60)")
	hidden := strings.Split(strings.Trim(pids, "[]"), ", ")
	if len(hidden) != 60 {
		t.Fatal(pids)
	}
	m.serves("a crowd")
	m.signal(syscall.SIGTERM)
	select {
	case <-m.exited:
	case <-time.After(20 * time.Second):
		t.Error("it does not end")
	}
	for _, text := range hidden {
		pid, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(30 * time.Second); alive(pid); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("process %d goes on, with the addresses", pid)
			}
		}
	}
	if n := strings.Count(m.log.String(), "forked in secret"); n == 0 || n > 30 {
		t.Errorf("said %d times", n)
	}
	l, err := net.Listen("tcp", m.addr)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

// TestMaliciousHiding: whoever keeps the listening sockets where nobody sees them, or is
// another process each time that one looks, does not keep them beyond the end of the server.
// What the application has started and has none of them goes on.
func TestMaliciousHiding(t *testing.T) {
	for _, how := range []string{"grandchild", "thread", "leaderless", "flight", "io_uring", "chain"} {
		for _, args := range [][]string{nil, {"--preload"}} {
			t.Run(strings.Join(append([]string{how}, args...), " "), func(t *testing.T) {
				m := takenOver(t, "http", "app", args...)
				other, err := strconv.Atoi(m.evil("__import__('subprocess').Popen(['sleep', '1000'], start_new_session=True, stdout=-3, stderr=-3).pid"))
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = syscall.Kill(other, syscall.SIGKILL) }()
				said := strings.Trim(m.evil("keep('"+how+"')"), "'")
				hidden, err := strconv.Atoi(said)
				if err != nil && said != "refused" { // by the kernel: nothing is hidden then, and all else is as ever
					t.Fatal(said)
				}
				m.serves("something was hidden")
				m.signal(syscall.SIGTERM)
				select {
				case <-m.exited:
				case <-time.After(30 * time.Second):
					t.Fatal("it does not end")
				}
				for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
					l, err := net.Listen("tcp", m.addr)
					if err == nil {
						l.Close()
						break
					}
					if time.Now().After(end) {
						t.Fatalf("the address is not free: %v (process %d: %v)\n%s", err, hidden, alive(hidden), m.log.String())
					}
				}
				if how == "grandchild" && !alive(other) {
					t.Error("what the application has started was killed, too")
				}
				if !alive(m.bystander) {
					t.Error("the bystander was killed")
				}
			})
		}
	}
}

// TestNoProcessesLeft: the workers' user has used up the processes that he may have, so none
// can be started. That is said, and another worker comes as soon as there is room.
func TestNoProcessesLeft(t *testing.T) {
	m := takenOver(t, "http", "app")
	m.serves("the start")
	limit := func(n uint64) (was unix.Rlimit) {
		t.Helper()
		if err := unix.Prlimit(m.pid, unix.RLIMIT_NPROC, nil, &was); err != nil {
			t.Fatal(err)
		}
		if err := unix.Prlimit(m.pid, unix.RLIMIT_NPROC, &unix.Rlimit{Cur: n, Max: was.Max}, nil); err != nil {
			t.Fatal(err)
		}
		return was
	}
	was := limit(0)
	m.replace()
	m.waitLog("a worker did not boot; it is tried again")
	// It is Python that says it, or the start of Python, if that user has other processes.
	m.eventually("the reason", func() bool {
		return strings.Contains(strings.ToLower(m.log.String()), "resource temporarily unavailable")
	})
	m.eventually("that it is not ready", func() bool { status, _ := fetch(t, "http://"+m.admin+"/readyz"); return status == 503 })
	limit(was.Cur)
	m.serves("there is room")
	limit(0)
	m.replace()
	m.signal(syscall.SIGTERM)
	select {
	case <-m.exited:
	case <-time.After(20 * time.Second):
		t.Error("it does not end")
	}
}
