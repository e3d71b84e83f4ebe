package ctl

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hostler/admin"
	"hostler/internal/unixsocket"
	"hostler/protocol"
)

// fake is a master that notes down what it is asked.
type fake struct {
	asked   []string
	err     error
	events  []protocol.Event
	slow    []protocol.SlowRoute
	takes   time.Duration // a reload
	profile *protocol.Profile
}

var _ Master = (*fake)(nil)

func (f *fake) note(format string, args ...any) error {
	f.asked = append(f.asked, fmt.Sprintf(format, args...))
	return f.err
}
func (f *fake) Reload(ctx context.Context) error {
	select {
	case <-time.After(f.takes):
		return f.note("reload")
	case <-ctx.Done():
		return ctx.Err()
	}
}
func (f *fake) ScaleByNeed(context.Context) (int, int, error) {
	return 3, 2, f.note("scale by need")
}
func (f *fake) Scale(_ context.Context, n int, relative bool) (int, int, error) {
	return 2, 4, f.note("scale %d %v", n, relative)
}
func (f *fake) Restart(_ context.Context, n int) error { return f.note("restart %d", n) }
func (f *fake) Dump(_ context.Context, n int) ([]protocol.Dump, error) {
	return []protocol.Dump{{Worker: 1, PID: 7, Text: "-- worker 1\nThread 0x1\n"}, {Worker: 2, PID: 8, Missing: "it has ended"}}, f.note("dump %d", n)
}
func (f *fake) Profile(_ context.Context, n int, d time.Duration, rate int) (*protocol.Profile, error) {
	if err := f.note("profile %d %v %d", n, d, rate); err != nil {
		return nil, err
	}
	return f.profile, nil
}
func (f *fake) Upgrade(context.Context) error { return f.note("upgrade") }
func (f *fake) Drain(context.Context) error   { return f.note("drain") }
func (f *fake) Events() []protocol.Event      { return f.events }
func (f *fake) Slow() []protocol.SlowRoute    { return f.slow }

type failure struct{}

func (failure) Error() string  { return "it is broken" }
func (failure) Detail() string { return "Traceback\n  line 1\n" }

func testStatus() Status {
	st := testPlainStatus()
	return Status{Status: st, Workers: []WorkerStatus{{WorkerStatus: st.Workers[0], Memory: 20 << 20, CPU: 1.5}}}
}

func testPlainStatus() admin.Status {
	return admin.Status{
		Time:    time.Unix(1e9, 0).UTC(),
		Master:  admin.MasterStatus{Version: "1.2", PID: 42, App: "app:app", Ready: true, Generation: 3, TargetWorkers: 1, Uptime: 3700},
		Threads: admin.ThreadCount{Total: 2, Busy: 1},
		Workers: []admin.WorkerStatus{{Worker: 1, PID: os.Getpid(), Generation: 3, State: "serving", Age: 61, Requests: 17,
			Connections: admin.Connections{Idle: 3, Running: 1}, Queue: admin.Queue{Depth: 5},
			Threads: []admin.ThreadStatus{{State: "idle"}, {State: "busy", Request: &admin.RequestStatus{}}}}},
	}
}

func testServer(t *testing.T, f *fake) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "s")
	s, err := Serve(path, false, Options{Master: f, Status: testStatus, Samples: func() []admin.Sample { return []admin.Sample{{Requests: 3}, {Requests: 9}} }, Log: slog.New(slog.DiscardHandler),
		Config: func(context.Context) (Config, error) {
			return Config{Settings: []Setting{{Key: "threads", Values: []string{"2"}, Origin: "--threads"}, {Key: "pid"}}}, f.err
		},
		SetLevel: func(_ context.Context, l string) (string, error) {
			if l != "debug" {
				return "", BadRequest(errors.New("no such level"))
			}
			return l, f.note("level %s", l)
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if err := s.Publish(); err != nil {
		t.Fatal(err)
	}
	return path
}

// call runs the command line.
func call(t *testing.T, path string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, problems bytes.Buffer
	c := Command{DefaultSocket: func() (string, error) { return path, nil }, Stdout: &out, Stderr: &problems,
		PrintSetting: func(s Setting) string { return fmt.Sprintf("%s %s %s\n", s.Key, s.Values, s.Origin) }}
	status = c.Run(t.Context(), args)
	return status, out.String(), problems.String()
}

func TestCommands(t *testing.T) {
	for _, c := range []struct {
		args, asked, stdout string
	}{
		{"reload", "reload", "reloaded: generation 3 serves\n"},
		{"scale 4", "scale 4 false", "workers: 4, were 2\n"},
		{"scale +2", "scale 2 true", "workers: 4, were 2\n"},
		{"scale auto", "scale by need", "workers: 2, were 3\n"},
		{"scale -2", "scale -2 true", "workers: 4, were 2\n"},
		{"--json scale -2", "scale -2 true", `{"from":2,"to":4}` + "\n"},
		{"restart", "restart 0", "restarted: all workers have been replaced\n"},
		{"restart 3", "restart 3", "restarted: worker 3's replacement serves\n"},
		{"dump", "dump 0", "-- worker 1\nThread 0x1\n\n-- worker 2, pid 8: it has ended\n"},
		{"dump 2", "dump 2", "-- worker 1\nThread 0x1\n\n-- worker 2, pid 8: it has ended\n"},
		{"upgrade", "upgrade", fmt.Sprintf("upgraded: hostler 1.2 serves, master 42 in the place of %d\n", os.Getpid())},
		{"config", "", "threads [2] --threads\npid [] \n"},
		{"--json config", "", `{"settings":[{"key":"threads","values":["2"],"origin":"--threads"},{"key":"pid","values":null}]}` + "\n"},
		{"log-level debug", "level debug", "master and workers log at level debug until the next reload\n"},
		{"--json drain", "drain", fmt.Sprintf(`{"pid":%d,"generation":3}`+"\n", os.Getpid())},
	} {
		f := new(fake)
		status, stdout, stderr := call(t, testServer(t, f), strings.Fields(c.args)...)
		if status != 0 || stdout != c.stdout || stderr != "" || strings.Join(f.asked, "; ") != c.asked {
			t.Errorf("%s: status %d, %q, %q, asked %q", c.args, status, stdout, stderr, f.asked)
		}
	}
}

func TestProfileCommand(t *testing.T) {
	whole := &protocol.Profile{Workers: []protocol.WorkerProfile{
		{Worker: 1, Samples: 20, Seconds: 2, Cost: 0.01, Stacks: "requests;app:<f>:1 1500000\n"},
		{Worker: 2, Samples: 22, Seconds: 2, Cost: 0.03, Cut: 0.5, Stacks: "requests;app:<g>:1 500000\n"}}}
	lost := []protocol.MissingProfile{{Worker: 3, PID: 77, Why: "it has ended"}}
	half := &protocol.Profile{Workers: whole.Workers[:1], Missing: lost}
	const told = "42 samples of 2 workers in 2 s; looking took 1.0 % of a CPU in each"
	const toldHalf = "20 samples of 1 workers in 2 s; looking took 0.5 % of a CPU in each"
	for _, c := range []struct {
		args           string
		profile        *protocol.Profile
		status         int
		asked, problem string
		stdout         []string
	}{
		{"profile 2", whole, 0, "profile 0 2s 100", told + "\n", []string{"<svg ", "<title>app:&lt;f&gt;:1: 1.5s, 60.00 %</title>", "too rare"}},
		{"profile .5 2 --rate 10 --folded", whole, 0, "profile 2 500ms 10", strings.Replace(told, "in 2 s", "in 0.5 s", 1) + "\n",
			[]string{whole.Workers[0].Stacks + whole.Workers[1].Stacks}},
		{"--json profile 2", half, 0, "profile 0 2s 100", "", []string{`"missing":[{"worker":3,"pid":77,"why":"it has ended"}]`}},
		{"profile 2", half, 0, "profile 0 2s 100", toldHalf + "\nhostler ctl: worker 3 (process 77) is not in it: it has ended\n", []string{"<svg "}},
		{"profile 2 -o OUT", whole, 0, "profile 0 2s 100", told + "; see OUT\n", nil},
		{"profile 0", whole, 2, "", "hostler ctl: a profile takes up to 600 seconds, not 0\n", nil},
		{"profile 601", whole, 2, "", "hostler ctl: a profile takes up to 600 seconds, not 601\n", nil},
		{"profile nan", whole, 2, "", "", nil},
		{"profile 1 --rate 0", whole, 2, "", "", nil},
		{"profile 1 --rate 1001", whole, 2, "", "", nil},
		{"profile 1 0", whole, 2, "", "", nil},
		{"profile", whole, 2, "", "", nil},
		{"profile 2 -o /", whole, 1, "profile 0 2s 100", "hostler ctl: cannot write the profile: open /: is a directory\n", nil},
		{"profile 2", &protocol.Profile{Missing: lost}, 1, "profile 0 2s 100", "", nil},
		{"status --folded", whole, 2, "", "", nil},
	} {
		out := filepath.Join(t.TempDir(), "out")
		f := &fake{profile: c.profile}
		status, stdout, stderr := call(t, testServer(t, f), strings.Fields(strings.Replace(c.args, "OUT", out, 1))...)
		if status != c.status || strings.Join(f.asked, "; ") != c.asked || c.problem != "" && stderr != strings.Replace(c.problem, "OUT", out, 1) {
			t.Errorf("%s: status %d, asked %q, %q", c.args, status, f.asked, stderr)
		}
		for _, want := range c.stdout {
			if !strings.Contains(stdout, want) {
				t.Errorf("%s: no %q in %s", c.args, want, stdout)
			}
		}
		if strings.Contains(c.args, "OUT") {
			if b, err := os.ReadFile(out); err != nil || !strings.Contains(string(b), "<svg ") || stdout != "" {
				t.Errorf("%s: %v, %q", c.args, err, stdout)
			}
		}
	}
}

// TestLongReload: no time limit of the server's may end the waiting.
func TestLongReload(t *testing.T) {
	t.Parallel()
	f := &fake{takes: headerTimeout + 500*time.Millisecond}
	if status, stdout, stderr := call(t, testServer(t, f), "reload"); status != 0 || stdout != "reloaded: generation 3 serves\n" {
		t.Errorf("status %d, %q, %q", status, stdout, stderr)
	}
}

// TestSilentRequests: who begins a request and does not go on keeps no connection, what it
// asks for is not done, and who waits for an answer may wait for longer.
func TestSilentRequests(t *testing.T) {
	t.Parallel()
	f := &fake{takes: headerTimeout + 500*time.Millisecond}
	path := testServer(t, f)
	ask := func(text string) *bufio.Reader {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(60 * time.Second))
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
		return bufio.NewReader(c)
	}
	waits := ask("POST /v1/reload HTTP/1.1\r\nHost: x\r\n\r\n")
	for _, k := range []struct {
		name, text string
		status     int
	}{
		{"a body that does not come", "POST /v1/scale HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{", 408},
		{"one that nobody reads", "GET /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{", 200},
	} {
		r := ask(k.text)
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.StatusCode != k.status {
			t.Fatalf("%s: %v, %v", k.name, resp, err)
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			t.Errorf("%s: the connection does not end: %v", k.name, err)
		}
	}
	if resp, err := http.ReadResponse(waits, nil); err != nil || resp.StatusCode != 200 {
		t.Errorf("a reload that takes its time: %v, %v", resp, err)
	}
	if len(f.asked) != 1 {
		t.Errorf("%q was done", f.asked)
	}
}

func TestFailures(t *testing.T) {
	for _, command := range []string{"reload", "scale 3", "restart", "dump", "upgrade", "drain", "config"} {
		f := &fake{err: failure{}}
		path := testServer(t, f)
		status, stdout, stderr := call(t, path, strings.Fields(command)...)
		if status != 1 || stdout != "" || stderr != "Traceback\n  line 1\nhostler ctl: it is broken\n" {
			t.Errorf("%s: status %d, %q, %q", command, status, stdout, stderr)
		}
		status, stdout, stderr = call(t, path, append(strings.Fields(command), "--json")...)
		if status != 1 || stdout != `{"error":"it is broken","detail":"Traceback\n  line 1\n"}`+"\n" || stderr != "hostler ctl: it is broken\n" {
			t.Errorf("%s --json: status %d, %q, %q", command, status, stdout, stderr)
		}
	}
}

func TestUsage(t *testing.T) {
	f := new(fake)
	path := testServer(t, f)
	for args, want := range map[string]string{
		"":                  "no command given",
		"frobnicate":        `there is no command "frobnicate"`,
		"statsu":            `there is no command "statsu" (did you mean status?)`,
		"log_level debug":   `there is no command "log_level" (did you mean log-level?)`,
		"events --lats 3":   "unknown flag: --lats (did you mean --last?)",
		"reload --folded":   "--folded goes with profile, not with reload",
		"-w reload":         "--watch goes with status, not with reload",
		"reload now":        "reload takes no argument",
		"scale":             "scale takes a number (N, +N or -N) or auto",
		"scale many":        `scale takes a number (N, +N or -N) or auto, not "many"`,
		"scale 0":           "scale takes at least 1 worker",
		"scale 1 -2":        "scale takes a number (N, +N or -N) or auto",
		"restart x":         `"x" is no worker's number: status shows them`,
		"dump 0":            `"0" is no worker's number: status shows them`,
		"reload --watch":    "--watch goes with status, not with reload",
		"status -n 3":       "--last goes with events or slow, not with status",
		"events -n 0":       "--last N is at least 1",
		"status --frob":     "unknown flag: --frob",
		"log-level loud":    "no such level",
		"--socket= status":  "which server? Give --socket PATH, or set HOSTLER_CTL_SOCKET, or ctl_socket in ./hostler.toml",
		"status --socket":   "flag needs an argument: --socket",
		"events --last foo": "invalid argument",
	} {
		status, stdout, stderr := call(t, path, strings.Fields(args)...)
		if status != 2 || stdout != "" || !strings.HasPrefix(stderr, "hostler ctl: "+want) {
			t.Errorf("%q: status %d, %q, %q", args, status, stdout, stderr)
		}
	}
	if len(f.asked) != 0 {
		t.Errorf("the master was asked: %q", f.asked)
	}
}

// TestHelp: there is one for each command, which tells about each flag, in lines that fit.
func TestHelp(t *testing.T) {
	status, all, stderr := call(t, "", "--help")
	if status != 0 || stderr != "" || !strings.HasPrefix(all, "Usage: hostler ctl [--socket PATH] [--json] COMMAND\n") {
		t.Errorf("status %d, %q, %q", status, all, stderr)
	}
	texts := []string{all}
	for _, v := range verbs() {
		name := strings.Fields(v.use)[0]
		status, text, _ := call(t, "", name, "--help")
		if status != 0 || !strings.HasPrefix(text, "Usage: hostler ctl "+v.use+"\n\n") || !strings.Contains(text, "--socket PATH") {
			t.Errorf("%s --help: status %d, %q", name, status, text)
		}
		if !strings.Contains(all, "\n  "+name) {
			t.Errorf("the help does not tell about %s", name)
		}
		texts = append(texts, text)
	}
	for _, line := range strings.Split(strings.Join(texts, ""), "\n") {
		if len(line) > 80 {
			t.Errorf("%d columns: %s", len(line), line)
		}
	}
}

// TestFlagsAnywhere: they may stand before the command, as ever.
func TestFlagsAnywhere(t *testing.T) {
	f := &fake{events: []protocol.Event{{Kind: "a"}, {Kind: "b"}, {Kind: "c"}}, profile: &protocol.Profile{Workers: []protocol.WorkerProfile{{Worker: 1, Stacks: "f 1\n"}}}}
	path := testServer(t, f)
	for args, lines := range map[string]int{"-n 2 events": 2, "--last=1 events": 1, "events -n2": 2, "--folded profile 1": 1, "--rate 7 --folded profile -- 1": 1} {
		if status, stdout, stderr := call(t, "", append([]string{"-s", path}, strings.Fields(args)...)...); status != 0 || strings.Count(stdout, "\n") != lines {
			t.Errorf("%s: status %d, %q, %q", args, status, stdout, stderr)
		}
	}
	if f.asked[len(f.asked)-1] != "profile 0 1s 7" && f.asked[len(f.asked)-2] != "profile 0 1s 7" {
		t.Errorf("asked %q", f.asked)
	}
}

func TestStatus(t *testing.T) {
	path := testServer(t, new(fake))
	status, stdout, stderr := call(t, path, "status")
	lines := strings.Split(stdout, "\n")
	if status != 0 || stderr != "" || len(lines) != 6 || lines[0] != "app:app: serving, hostler 1.2, master 42, up 1h01m" {
		t.Fatalf("status %d, %q, %q", status, stdout, stderr)
	}
	if got := strings.Join(strings.Fields(lines[3]), " "); got != "WORKER PID GEN STATE AGE REQUESTS BUSY QUEUE CONNS RSS CPU" {
		t.Errorf("head: %s", got)
	}
	row := strings.Fields(lines[4])
	want := fmt.Sprintf("1 %d 3 serving 1m01s 17 1/2 5 4", os.Getpid())
	if got := strings.Join(row[:9], " "); got != want || !strings.HasSuffix(row[9], "M") || !strings.HasSuffix(row[10], "s") {
		t.Errorf("row: %s", row)
	}
	_, stdout, _ = call(t, path, "status", "--json")
	var st struct {
		Master  struct{ Generation int }
		Workers []map[string]any
	}
	if err := json.Unmarshal([]byte(stdout), &st); err != nil || st.Master.Generation != 3 || len(st.Workers) != 1 {
		t.Fatalf("%v: %s", err, stdout)
	}
	if w := st.Workers[0]; w["requests"] != 17.0 || w["resident_memory_bytes"].(float64) <= 0 || w["state"] != "serving" {
		t.Errorf("worker %v", w)
	}
}

// TestStatusOfTraffic: the first thing that one wants to know is what the last seconds were like.
func TestStatusOfTraffic(t *testing.T) {
	seconds := func(f float64) *float64 { return &f }
	for want, traffic := range map[string]*admin.Traffic{
		"":                                 nil,
		"0 requests/s, 0 errors/s (5xx)\n": {},
		"1234 requests/s, latency p50 2.5ms, p99 1.5s, p99 of the wait for a thread 40ms, 0.5 errors/s (5xx)\n": {
			Requests: 1234.4, Errors: .5, P50: seconds(.0025), P99: seconds(1.5), Wait: seconds(.04)},
	} {
		st := testStatus()
		st.Traffic = traffic
		if got := trafficLine(traffic); got != want || !strings.Contains(statusTable(&st, nil), want) {
			t.Errorf("%+v: %q", traffic, got)
		}
	}
}

// TestWatch shows the second table, which says what happened since the first.
func TestWatch(t *testing.T) {
	path := testServer(t, new(fake))
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	var out, problems bytes.Buffer
	c := Command{DefaultSocket: func() (string, error) { return path, nil }, Stdout: &out, Stderr: &problems}
	if status := c.Run(ctx, []string{"status", "--watch"}); status != 0 || problems.Len() != 0 {
		t.Errorf("status %d, %q", status, problems.String())
	}
	if n := strings.Count(out.String(), "WORKER"); n != 2 || !strings.Contains(out.String(), "CPU%") {
		t.Errorf("%d tables: %q", n, out.String())
	}
}

func TestEvents(t *testing.T) {
	f := &fake{events: []protocol.Event{
		{Time: time.Unix(1e9, 0), Kind: "reloaded", Generation: 2},
		{Time: time.Unix(1e9, 0), Kind: "worker_died", Worker: 3, PID: 77, Generation: 2, Cause: "signal", Text: "signal:SIGKILL"},
	}}
	path := testServer(t, f)
	_, stdout, _ := call(t, path, "events")
	if n := strings.Count(stdout, "\n"); n != 2 || !strings.Contains(stdout, "worker_died      worker 3, pid 77  generation 2  signal, signal:SIGKILL\n") {
		t.Errorf("%q", stdout)
	}
	_, stdout, _ = call(t, path, "events", "-n1", "--json")
	if want := fmt.Sprintf(`{"events":[{"time":%q,"kind":"worker_died","worker":3,"pid":77,"generation":2,"cause":"signal","text":"signal:SIGKILL"}]}`+"\n",
		time.Unix(1e9, 0).Format(time.RFC3339)); stdout != want {
		t.Errorf("%q, want %q", stdout, want)
	}
}

func TestNoServer(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	if status, _, stderr := call(t, path, "status"); status != 1 || !strings.Contains(stderr, "no server: there is no socket "+path) {
		t.Errorf("status %d, %q", status, stderr)
	}
	stale(t, path)
	if status, _, stderr := call(t, path, "status"); status != 1 || !strings.Contains(stderr, "no server behind the socket "+path) {
		t.Errorf("status %d, %q", status, stderr)
	}
	c := Command{DefaultSocket: func() (string, error) { return "", errors.New("bad file") }, Stdout: new(bytes.Buffer), Stderr: new(bytes.Buffer)}
	if status := c.Run(t.Context(), []string{"status"}); status != 2 {
		t.Errorf("status %d", status)
	}
}

// stale leaves a socket file that nobody listens on.
func stale(t *testing.T, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
}

func TestSocketRights(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := listen(path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if st, err := os.Stat(l.temporary); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("before it has its name: %v, %v", st, err)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("it can be found before it is published")
	}
	if err := l.publish(); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
	l.end()
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestSocketInTheWay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	stale(t, path)
	first, err := listen(path, false)
	if err != nil {
		t.Fatalf("a stale socket is in the way: %v", err)
	}
	defer first.Close()
	if err := first.publish(); err != nil {
		t.Fatal(err)
	}
	// This process answers there, and is not its own parent.
	for _, takeover := range []bool{false, true} {
		if _, err := listen(path, takeover); err == nil || err.Error() != fmt.Sprintf("process %d answers there", os.Getpid()) {
			t.Errorf("takeover %v: %v", takeover, err)
		}
	}
	// Its file is somebody else's by now: it stays.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	stale(t, path)
	first.end()
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("another's file was removed: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listen(file, false); !errors.Is(err, unixsocket.ErrNoSocket) {
		t.Errorf("over a file: %v", err)
	}
	if _, err := listen(filepath.Join(file, "s"), false); err == nil {
		t.Error("below a file")
	}
}

func TestMalformedRequests(t *testing.T) {
	f := new(fake)
	c := NewClient(testServer(t, f))
	for name, request := range map[string]any{
		"scale":   map[string]int{"workers": 3},
		"restart": "x",
		"dump":    map[string]string{"worker": "one"},
	} {
		var failed *Failure
		if _, err := c.Do(t.Context(), "POST", name, request); !errors.As(err, &failed) || !strings.HasPrefix(failed.Message, "malformed request: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	var failed *Failure
	if _, err := c.Do(t.Context(), "POST", "scale", nil); !errors.As(err, &failed) {
		t.Errorf("scale without a number: %v", err)
	}
	for _, r := range [][2]string{{"GET", "reload"}, {"POST", "nothing"}} {
		if _, err := c.Do(t.Context(), r[0], r[1], nil); err == nil || errors.As(err, &failed) {
			t.Errorf("%s: %v", r, err)
		}
	}
	if len(f.asked) != 0 {
		t.Errorf("the master was asked: %q", f.asked)
	}
}

func TestSlow(t *testing.T) {
	f := &fake{}
	path := testServer(t, f)
	if _, stdout, _ := call(t, path, "slow"); stdout != "no request has taken 10ms yet\n" {
		t.Errorf("%q", stdout)
	}
	q := protocol.SlowRequest{Time: time.Unix(1e9, 0), Worker: 3, PID: 77, Generation: 2, Method: "GET", Target: "/a/1?b\n", Status: 200,
		Duration: 1500 * time.Millisecond, Waited: 20 * time.Millisecond, ForClient: 3 * time.Millisecond}
	runs := q
	runs.Status, runs.Waited, runs.ForClient, runs.Duration, runs.Stack = 0, 0, 0, time.Second, "  File \"x.py\", line 1, in f\n    f()\n"
	f.slow = []protocol.SlowRoute{{Route: "GET /a/*", Worst: []protocol.SlowRequest{q, runs}}, {Route: "GET /b", Worst: []protocol.SlowRequest{q}}}
	_, stdout, _ := call(t, path, "slow", "-n", "1")
	for _, want := range []string{
		"GET /a/*\n      1.500s  ",
		"worker 3, pid 77, generation 2  200, 20 ms of it before the application was called, 3 ms waiting for the client  /a/1?b \n",
		"      1.000s  ", "  has not ended  /a/1?b \n        File \"x.py\", line 1, in f\n          f()\n",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in %q", want, stdout)
		}
	}
	if strings.Contains(stdout, "GET /b") {
		t.Errorf("more than one route: %q", stdout)
	}
	_, stdout, _ = call(t, path, "slow", "--json")
	var got Slow
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || len(got.Routes) != 2 || got.Routes[0].Worst[1].Stack != runs.Stack {
		t.Errorf("%v %q", err, stdout)
	}
}
