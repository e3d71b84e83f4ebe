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

// The application leaves orphans behind, and says what processes there are.
const orphansApp = `
import os, signal, time
def app(environ, start_response):
    path = environ["PATH_INFO"]
    body = b"ok"
    if path == "/orphan" or path == "/lingers":
        if os.fork() == 0:
            if os.fork() == 0:
                os.setsid()
                if path == "/lingers":
                    def bye(*_):
                        with open(os.environ["BYE"], "w") as f:
                            f.write("told to leave")
                        os._exit(0)
                    signal.signal(signal.SIGTERM, bye)
                    open(os.environ["BYE"] + ".lingers", "w").close()
                    time.sleep(600)
                while not os.path.exists(os.environ["BYE"] + ".orphans"):
                    time.sleep(0.02)
            os._exit(7)
        os.wait()
    elif path == "/exit":
        os._exit(3)
    elif path == "/processes":
        found = []
        for pid in os.listdir("/proc"):
            if pid.isdigit():
                try:
                    with open("/proc/%s/stat" % pid) as f:
                        name, _, rest = f.read().rpartition(")")
                except OSError:
                    continue
                state, parent = rest.split()[:2]
                found.append("%s/%s/%s" % (pid, state, parent))
        body = " ".join(found).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
`

// asFirst runs hostler as process 1 of a process namespace. Its signals are for
// that process.
func asFirst(t *testing.T, args ...string) (s *server, first int) {
	t.Helper()
	if _, err := exec.LookPath("unshare"); err != nil {
		t.Fatal("unshare is missing: run make tools")
	}
	dir := write(t, t.TempDir(), map[string]string{"orphans.py": orphansApp})
	s = &server{t: t, log: new(logBuffer), exited: make(chan struct{})}
	s.addr, s.admin = fmt.Sprintf("127.0.0.1:%d", freePort(t)), fmt.Sprintf("127.0.0.1:%d", freePort(t))
	all := []string{"--fork", "--pid", "--mount-proc", "--kill-child"}
	if os.Getuid() != 0 {
		all = append(all, "--user", "--map-root-user")
	}
	all = append(all, binary, "-b", s.addr, "--admin-bind", s.admin, "--python", venv, "--chdir", dir)
	s.cmd = exec.Command("unshare", append(append(all, args...), "orphans:app")...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
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
		_ = s.cmd.Process.Kill() // and the kernel everybody in the namespace
		<-s.exited
		if t.Failed() {
			t.Logf("log:\n%s", s.log)
		}
	})
	s.waitLog("msg=serving")
	children := s.workers() // of unshare: hostler
	if len(children) != 1 {
		t.Fatalf("unshare has the children %v", children)
	}
	return s, children[0]
}

// processes are those in the namespace: pid, state and parent.
func (s *server) processes() (all [][3]string) {
	s.t.Helper()
	_, body := s.get("/processes")
	for _, p := range strings.Fields(body) {
		all = append(all, [3]string(strings.Split(p, "/")))
	}
	return all
}

// TestFirstProcess: as process 1, hostler reaps what the application leaves
// behind, handles its signals, and has those that linger leave at the end.
func TestFirstProcess(t *testing.T) {
	for _, more := range [][]string{nil, {"--preload"}} {
		bye := filepath.Join(t.TempDir(), "bye")
		t.Setenv("BYE", bye)
		s, first := asFirst(t, append([]string{"-w", "2"}, more...)...)
		signal := func(sig syscall.Signal) {
			t.Helper()
			if err := syscall.Kill(first, sig); err != nil {
				t.Fatal(err)
			}
		}
		before := len(s.processes())
		for range 20 {
			if code, _ := s.get("/orphan"); code != 200 {
				t.Fatal(code)
			}
		}
		if n := len(s.processes()); n != before+20 {
			t.Errorf("%d processes after 20 orphans, %d before", n, before)
		}
		if err := os.WriteFile(bye+".orphans", nil, 0o600); err != nil {
			t.Fatal(err)
		}
		s.eventually("the orphans' end, without a trace", func() bool { return len(s.processes()) == before })
		for _, p := range s.processes() {
			if p[1] == "Z" {
				t.Errorf("process %s is a zombie", p[0])
			}
			if pid, _ := strconv.Atoi(p[2]); p[0] == "1" && pid != 0 {
				t.Errorf("process 1 has the parent %d", pid)
			}
		}

		if r, err := client.Get("http://" + s.addr + "/exit"); err == nil {
			r.Body.Close()
			t.Error("the worker that died has answered")
		}
		s.eventually("another worker", func() bool {
			return s.metric("hostler_worker_exits_total", `cause="exit"`) == 1 && s.metric("hostler_workers", `state="serving"`) == 2
		})
		signal(syscall.SIGHUP)
		s.waitLog("cause=reload", 2)
		signal(syscall.SIGUSR2)
		s.waitLog("this is process 1")
		s.get("/lingers")
		s.eventually("who lingers", func() bool { _, err := os.Stat(bye + ".lingers"); return err == nil })
		signal(syscall.SIGTERM)
		select {
		case <-s.exited:
		case <-time.After(10 * time.Second):
			t.Fatal("it does not end by SIGTERM")
		}
		if c := s.cmd.ProcessState.ExitCode(); c != 0 {
			t.Errorf("exit status %d", c)
		}
		if strings.Contains(s.log.String(), "the mold died") {
			t.Error("the mold's end at the end is news")
		}
		if b, err := os.ReadFile(bye); err != nil || string(b) != "told to leave" {
			t.Errorf("who lingered was not told: %q, %v", b, err)
		}
	}
}

// TestFirstProcessQuit: the kernel would ignore these, did hostler not ask for them.
func TestFirstProcessQuit(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT} {
		s, first := asFirst(t)
		if err := syscall.Kill(first, sig); err != nil {
			t.Fatal(err)
		}
		select {
		case <-s.exited:
		case <-time.After(10 * time.Second):
			t.Fatalf("it does not end by %v", sig)
		}
		if c := s.cmd.ProcessState.ExitCode(); c != 0 {
			t.Errorf("%v: exit status %d", sig, c)
		}
	}
}
