package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ctlServer is a server with a control socket.
type ctlServer struct {
	*server
	socket string
}

func startCtl(t *testing.T, args ...string) ctlServer {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "ctl")
	return ctlServer{start(t, append([]string{"--ctl-socket", socket}, args...)...), socket}
}

// ctl runs hostler ctl for the server.
func (s ctlServer) ctl(args ...string) (status int, stdout, stderr string) {
	s.t.Helper()
	return runCtl(s.t, nil, append([]string{"--socket", s.socket}, args...)...)
}

func runCtl(t *testing.T, env []string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	cmd := exec.Command(binary, append([]string{"ctl"}, args...)...)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Env = &out, &problems, append(os.Environ(), env...)
	cmd.Dir = t.TempDir()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), problems.String()
}

// must is ctl for what has to work.
func (s ctlServer) must(args ...string) string {
	s.t.Helper()
	status, stdout, stderr := s.ctl(args...)
	if status != 0 || stderr != "" {
		s.t.Fatalf("hostler ctl %q: status %d, %s%s", args, status, stdout, stderr)
	}
	return stdout
}

type ctlWorker struct {
	Worker, PID, Generation int
	State                   string
	Memory                  float64 `json:"resident_memory_bytes"`
	Threads                 []struct{ Request *struct{ Target string } }
}

type ctlStatus struct {
	Master struct {
		PID, Generation int
		TargetWorkers   int `json:"target_workers"`
	}
	Workers []ctlWorker
}

func (s ctlServer) status() (st ctlStatus) {
	s.t.Helper()
	if err := json.Unmarshal([]byte(s.must("status", "--json")), &st); err != nil {
		s.t.Fatal(err)
	}
	return st
}

// pids are those of the workers that serve, in the order of their numbers.
func (st ctlStatus) pids() []int {
	var pids []int
	for _, w := range st.Workers {
		if w.State == "serving" {
			pids = append(pids, w.PID)
		}
	}
	return pids
}

type ctlEvent struct {
	Kind, Cause, Text string
	Worker, PID       int
}

func (s ctlServer) journal() []ctlEvent {
	s.t.Helper()
	var e struct{ Events []ctlEvent }
	if err := json.Unmarshal([]byte(s.must("events", "--json")), &e); err != nil {
		s.t.Fatal(err)
	}
	return e.Events
}

func TestCtlStatus(t *testing.T) {
	s := startCtl(t, "-w", "2", "--threads", "3", "faults:app")
	if st, err := os.Stat(s.socket); err != nil || st.Mode().Perm() != 0o600 || st.Mode()&os.ModeSocket == 0 {
		t.Errorf("the socket: %v, %v", st, err)
	}
	c := s.dial()
	c.send(getLine("/sleep?3"))
	s.eventually("a busy thread in the table", func() bool { return strings.Contains(s.must("status"), " 1/3 ") })
	table := s.must("status")
	for _, want := range []string{"faults:app: serving", "2 of 2 workers serve, 1 of 6 threads busy", "WORKER", " 0/3 "} {
		if !strings.Contains(table, want) {
			t.Errorf("no %q in\n%s", want, table)
		}
	}
	st := s.status()
	if st.Master.PID != s.cmd.Process.Pid || len(st.pids()) != 2 || st.Workers[0].Memory < 1<<20 {
		t.Errorf("%+v", st)
	}
	for _, pid := range st.pids() {
		if !strings.Contains(table, fmt.Sprint(pid)) {
			t.Errorf("worker %d is not in\n%s", pid, table)
		}
	}
	// By the variable instead of the flag.
	if status, stdout, stderr := runCtl(t, []string{"HOSTLER_CTL_SOCKET=" + s.socket}, "status"); status != 0 || !strings.Contains(stdout, "serving") {
		t.Errorf("by the variable: status %d, %s%s", status, stdout, stderr)
	}
}

func TestCtlReload(t *testing.T) {
	p := newPlan(t, "VERSION = 'old'")
	s := startCtl(t, "-w", "2", "-e", "PLAN="+p.path, "faults:app")
	s.underLoad(func() {
		p.write("VERSION = 'new'")
		if out := s.must("reload"); out != "reloaded: generation 2 serves\n" {
			t.Errorf("%q", out)
		}
		if v := s.version(); v != "new" { // it has waited
			t.Errorf("version %q", v)
		}
		p.write("import no_such_module")
		status, stdout, stderr := s.ctl("reload")
		if status != 1 || stdout != "" || !strings.Contains(stderr, "Traceback (most recent call last)") ||
			!strings.Contains(stderr, "\nhostler ctl: cannot start faults:app: ModuleNotFoundError: No module named 'no_such_module' (Python: ") {
			t.Errorf("broken: status %d, %q, %q", status, stdout, stderr)
		}
		status, stdout, _ = s.ctl("reload", "--json")
		var f struct{ Error, Detail string }
		if err := json.Unmarshal([]byte(stdout), &f); err != nil || status != 1 || !strings.Contains(f.Detail, "Traceback") || f.Error == "" {
			t.Errorf("broken, as JSON: status %d, %v, %s", status, err, stdout)
		}
		if v := s.version(); v != "new" {
			t.Errorf("after the broken reload: %q", v)
		}
	})
}

func TestCtlScale(t *testing.T) {
	s := startCtl(t, "-w", "2", "faults:app")
	for _, c := range []struct {
		arg  string
		want int
	}{{"4", 4}, {"-3", 1}, {"+1", 2}} {
		s.must("scale", c.arg)
		s.eventually(c.arg, func() bool { st := s.status(); return len(st.pids()) == c.want && st.Master.TargetWorkers == c.want })
	}
	if status, _, stderr := s.ctl("scale", "1000"); status != 1 || !strings.Contains(stderr, "there can be 1 to 512 workers") {
		t.Errorf("too many: status %d, %q", status, stderr)
	}
	// It holds over a reload.
	s.must("scale", "3")
	s.must("reload")
	if st := s.status(); st.Master.TargetWorkers != 3 {
		t.Errorf("after a reload: %+v", st)
	}
}

func TestCtlRestart(t *testing.T) {
	p := newPlan(t, "VERSION = '1'")
	s := startCtl(t, "-w", "3", "--threads", "2", "-e", "PLAN="+p.path, "faults:app")
	before := s.status().pids()
	s.underLoad(func() {
		s.must("restart")
		after := s.status().pids()
		if len(after) != 3 {
			t.Errorf("workers %v", after)
		}
		for _, a := range after {
			for _, b := range before {
				if a == b {
					t.Errorf("worker %d is still there", a)
				}
			}
		}
		st := s.status()
		one := st.Workers[len(st.Workers)-1]
		s.must("restart", fmt.Sprint(one.Worker))
		s.eventually("the old worker to go", func() bool { return !alive(one.PID) })
		kept := 0
		for _, pid := range s.status().pids() {
			for _, a := range after {
				if a == pid {
					kept++
				}
			}
		}
		if kept != 2 {
			t.Errorf("%d of the other two are left", kept)
		}
		// One that does not boot any more takes no place of one that serves.
		p.write("raise RuntimeError('not today')")
		if status, _, stderr := s.ctl("restart"); status != 1 || !strings.Contains(stderr, "Traceback") || !strings.Contains(stderr, "not today") {
			t.Errorf("broken: status %d, %q", status, stderr)
		}
	})
	s.eventually("three workers", func() bool { return len(s.status().pids()) == 3 })
	if status, _, stderr := s.ctl("restart", "99"); status != 1 || stderr != "hostler ctl: no worker 99 serves\n" {
		t.Errorf("no such worker: status %d, %q", status, stderr)
	}
}

// TestCtlEvents asks why a worker was replaced.
func TestCtlEvents(t *testing.T) {
	s := startCtl(t, "-w", "2", "faults:app")
	victim := s.status().Workers[0]
	time.Sleep(1100 * time.Millisecond) // it has proven itself: no back-off
	if err := syscall.Kill(victim.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	find := func(want ctlEvent) func() bool {
		return func() bool {
			for _, e := range s.journal() {
				if e.Kind == want.Kind && e.Text == want.Text && e.Cause == want.Cause && (want.PID == 0 || e.PID == want.PID) {
					return true
				}
			}
			return false
		}
	}
	s.eventually("the death", find(ctlEvent{Kind: "worker_died", Cause: "signal", Text: "signal:SIGKILL", PID: victim.PID}))
	s.eventually("the successor", find(ctlEvent{Kind: "worker_started",
		Text: fmt.Sprintf("replaces worker %d, pid %d (signal, signal:SIGKILL)", victim.Worker, victim.PID)}))
	text := s.must("events")
	if !strings.Contains(text, fmt.Sprintf("worker_died      worker %d, pid %d  generation 1  signal, signal:SIGKILL\n", victim.Worker, victim.PID)) {
		t.Errorf("%s", text)
	}
	if n := strings.Count(s.must("events", "-n", "2"), "\n"); n != 2 {
		t.Errorf("the last two are %d", n)
	}
}

func TestCtlDump(t *testing.T) {
	for _, mode := range [][]string{{"--threads", "1"}, {"--threads", "2", "--preload"}} {
		s := startCtl(t, append(mode, "-w", "2", "faults:app")...)
		c := s.dial()
		c.send(getLine("/sleep?2"))
		s.eventually("the request to run", func() bool { return s.metric("hostler_threads", `state="busy"`) == 1 })
		out := s.must("dump")
		for _, want := range []string{
			`(?m)^-- worker \d, pid \d+: GET /sleep\?2 from 127\.0\.0\.1, for [0-9.]+m?s$`, `in sleep_without_gil`, `(?m)^-- worker 1, pid \d+: no request$|(?m)^-- worker 2, pid \d+: no request$`,
		} {
			if !regexp.MustCompile(want).MatchString(out) {
				t.Errorf("%v: there is no %s in %s", mode, want, out)
			}
		}
		s.waitLog("in sleep_without_gil")
		if r, _ := c.answer("GET"); r.StatusCode != 200 { // without harm
			t.Errorf("the request: %s", r.Status)
		}
		s.stop()
	}
}

func TestCtlLogLevel(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "ctl")
	s := ctlServer{launch(t, "--ctl-socket", socket, "--log-level", "warning", "faults:app"), socket}
	s.eventually("a worker", func() bool { // the log does not say, at this level
		status, stdout, _ := s.ctl("status")
		return status == 0 && strings.Contains(stdout, "1 of 1 workers serve")
	})
	s.raw("NONSENSE\r\n\r\n")
	s.must("log-level", "debug")
	s.raw("NONSENSE\r\n\r\n")
	s.waitLog("request refused") // the worker's line
	if n := strings.Count(s.log.String(), "request refused"); n != 1 {
		t.Errorf("%d refused requests in the log", n)
	}
	s.must("restart")
	s.waitLog(`level=DEBUG msg="worker started"`)
	s.must("log-level", "error")
	s.must("scale", "+1")
	s.eventually("two workers", func() bool { return len(s.status().pids()) == 2 })
	if strings.Contains(s.log.String(), "changing the number of workers") {
		t.Error("an info line at level error")
	}
	if status, _, stderr := s.ctl("log-level", "loud"); status != 2 || !strings.Contains(stderr, `"loud" is not one of`) {
		t.Errorf("status %d, %q", status, stderr)
	}
}

// TestCtlConfig: what is in force, and where it is from, is told; a reload changes it if it
// takes, and so does an operator.
func TestCtlConfig(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "hostler.toml")
	set := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set("threads = 2\nkeep_alive = 7\n")
	s := startCtl(t, "-c", file, "-w", "2", "--env", "GREETING=a \"b\"", "faults:app")
	expect := func(when string, lines ...string) {
		t.Helper()
		text := "\n" + s.must("config")
		for _, line := range lines {
			if !strings.Contains(text, "\n"+line+"\n") {
				t.Errorf("%s: no line %s in %s", when, line, text)
			}
		}
	}
	expect("at the start", "threads = 2  # "+file+":1: threads", "keep_alive = 7  # "+file+":2: keep_alive", "workers = 2  # --workers",
		`env = ["GREETING=a \"b\""]  # --env`, "# max_requests = 0", `# log_level = "info"`)
	set("keep_alive = 9\nlog_level = \"warning\"\n")
	expect("before the reload", "keep_alive = 7  # "+file+":2: keep_alive")
	s.must("reload")
	expect("after it", "keep_alive = 9  # "+file+":1: keep_alive", "# threads = 1", `log_level = "warning"  # `+file+":2: log_level")
	set("keep_alive = 11\nenv = {BREAK = \"1\"}\nhooks = \"no_such_hooks\"\n")
	if status, _, _ := s.ctl("reload"); status != 1 {
		t.Errorf("a reload that cannot take: status %d", status)
	}
	expect("after one that failed", "keep_alive = 9  # "+file+":1: keep_alive")
	s.must("scale", "1")
	s.must("log-level", "error")
	expect("an operator's", `workers = 1  # hostler ctl scale, or a signal`, `log_level = "error"  # hostler ctl log-level`)
	var all struct {
		Settings []struct{ Key, Origin string }
	}
	if err := json.Unmarshal([]byte(s.must("config", "--json")), &all); err != nil || len(all.Settings) < 70 {
		t.Errorf("%v, %d settings", err, len(all.Settings))
	}
}

// TestCtlUpgrade upgrades by ctl and by the signal; the socket answers at every
// moment, and at the end from the new master.
func TestCtlUpgrade(t *testing.T) {
	p := newPlan(t, "VERSION = '1'")
	pidfile := filepath.Join(t.TempDir(), "pid")
	s := startCtl(t, "-w", "2", "-p", pidfile, "-e", "PLAN="+p.path, "faults:app")
	master := s.successor(pidfile)
	stop, asked := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		defer func() { asked <- n }()
		for {
			select {
			case <-stop:
				return
			default:
			}
			c, err := net.Dial("unix", s.socket)
			if err != nil {
				t.Errorf("after %d connections: %v", n, err)
				return
			}
			c.Close()
			n++
			time.Sleep(time.Millisecond)
		}
	}()
	s.underLoad(func() {
		first := master()
		p.write("raise RuntimeError('broken for the upgrade')")
		if status, _, stderr := s.ctl("upgrade"); status != 1 || !strings.HasPrefix(stderr, "hostler ctl: ") {
			t.Errorf("broken: status %d, %q", status, stderr)
		}
		if st := s.status(); st.Master.PID != first {
			t.Errorf("after the broken upgrade master %d answers, not %d", st.Master.PID, first)
		}
		p.write("VERSION = '2'")
		out := s.must("upgrade")
		second := s.status().Master.PID
		if second == first || !strings.Contains(out, fmt.Sprintf("master %d in the place of %d", second, first)) {
			t.Errorf("master %d: %q", second, out)
		}
		if v := s.version(); v != "2" {
			t.Errorf("version %q", v)
		}
		s.gone(first)
		time.Sleep(200 * time.Millisecond) // until the second knows that the first is gone
		if err := syscall.Kill(second, syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		s.gone(second)
		if third := s.status().Master.PID; third == second || third == first {
			t.Errorf("master %d answers", third)
		}
	})
	close(stop)
	if n := <-asked; n < 100 {
		t.Errorf("only %d connections were tried", n)
	}
	if st, err := os.Stat(s.socket); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", st, err)
	}
	last := master()
	if out := s.must("drain"); out != "drained: the server has stopped\n" {
		t.Errorf("%q", out)
	}
	s.gone(last)
	if left, _ := os.ReadDir(filepath.Dir(s.socket)); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// gone waits for the end of a process that need not be our child.
func (s ctlServer) gone(pid int) {
	s.t.Helper()
	for end := time.Now().Add(20 * time.Second); alive(pid); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("process %d does not end", pid)
		}
	}
}

func TestCtlDrain(t *testing.T) {
	s := startCtl(t, "faults:app")
	c := s.dial()
	c.send(getLine("/sleep?1"))
	s.eventually("the request to run", func() bool { return s.metric("hostler_threads", `state="busy"`) == 1 })
	begin := time.Now()
	s.must("drain")
	if d := time.Since(begin); d < 500*time.Millisecond {
		t.Errorf("it has not waited: %v", d)
	}
	if r, _ := c.answer("GET"); r.StatusCode != 200 {
		t.Errorf("the request that ran: %s", r.Status)
	}
	select {
	case <-s.exited:
	case <-time.After(time.Second):
		t.Error("the server is still there")
	}
	if status, _, stderr := s.ctl("status"); status != 1 || stderr != "hostler ctl: no server: there is no socket "+s.socket+"\n" {
		t.Errorf("after the end: status %d, %q", status, stderr)
	}
}

// TestCtlSocketInTheWay: what a dead server left is replaced, a live one is not.
func TestCtlSocketInTheWay(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "ctl")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	if status, _, stderr := runCtl(t, nil, "-s", socket, "status"); status != 1 || !strings.Contains(stderr, "no server behind the socket") {
		t.Errorf("stale: status %d, %q", status, stderr)
	}
	first := ctlServer{start(t, "--ctl-socket", socket, "faults:app"), socket}
	first.must("status")
	second := launch(t, "--ctl-socket", socket, "faults:app")
	<-second.exited
	want := fmt.Sprintf("hostler: cannot open the control socket %s: process %d answers there\n", socket, first.cmd.Process.Pid)
	if code := second.cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(second.log.String(), want) {
		t.Errorf("a second server: status %d\n%s", code, second.log)
	}
	if st := first.status(); st.Master.PID != first.cmd.Process.Pid {
		t.Errorf("master %d answers", st.Master.PID)
	}
}
