package ctl

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gdamore/tcell/v2"

	"hostler/admin"
	"hostler/protocol"
)

func testTop() *topView {
	st := testStatus()
	w := &st.Workers[0]
	w.Threads[1].Request = &admin.RequestStatus{Running: admin.Running{Method: "GET", Target: "/orders/é\x1b[2Jx", Client: "192.0.2.9", Age: 12}}
	half := .25
	st.Traffic = &admin.Traffic{Requests: 120, P50: &half, P99: &half, Errors: 1.5}
	v := &topView{status: &st}
	for i := range 400 {
		v.samples = append(v.samples, admin.Sample{Requests: float64(i % 9)})
	}
	for i := range 100 {
		v.events = append(v.events, protocol.Event{Kind: "worker_died", Worker: i + 1, Cause: "signal", Text: "first\nsecond"})
	}
	return v
}

func screenText(lines [][]piece) string {
	var b strings.Builder
	for _, line := range lines {
		for _, p := range line {
			b.WriteString(p.text)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// TestTopFits: whatever the size of the terminal is, and whatever is to be shown on it,
// nothing goes beyond it, and nothing that a terminal would obey gets there.
func TestTopFits(t *testing.T) {
	many := testTop()
	for i := range 300 {
		w := many.status.Workers[0]
		w.Worker = i + 2
		many.status.Workers = append(many.status.Workers, w)
	}
	for name, v := range map[string]*topView{"one": testTop(), "many": many, "nothing": {status: new(Status)}} {
		for _, width := range []int{1, 40, 80, 120, 500} {
			for _, height := range []int{1, 10, 24, 60} {
				lines := topLines(v, width, height)
				if len(lines) > height {
					t.Errorf("%s: %d lines for %d", name, len(lines), height)
				}
				for _, line := range lines {
					if text := screenText([][]piece{line}); utf8.RuneCountInString(text)-1 > max(width, leastWidth) || strings.ContainsAny(text[:len(text)-1], "\x1b\n\t") {
						t.Errorf("%s: at a width of %d: %q", name, width, text)
					}
				}
			}
		}
	}
	text := screenText(topLines(testTop(), 80, 40))
	for _, want := range []string{"app:app  serving", "1 of 1 workers serve", "requests/s        120", "latency p99     250ms", "errors/s          1.5", "▂▃", "WORKER", "1/2", "RUNNING NOW",
		`   12.0s  worker 1    192.0.2.9       GET     /orders/é\x1b[2Jx`, "EVENTS", "worker_died", "worker 100  signal  first second"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// TestTopShowsTrouble: however many workers there are, those that one has to look at are on a
// screen of 24 lines, with what they run, and so is why a reload has failed.
func TestTopShowsTrouble(t *testing.T) {
	v := testTop()
	fine := v.status.Workers[0]
	fine.Threads, fine.Loop, fine.State = make([]admin.ThreadStatus, 1), nil, "serving"
	stuck, frozen := fine, fine
	stuck.Threads = []admin.ThreadStatus{{Request: &admin.RequestStatus{Running: admin.Running{Method: "GET", Target: "/report", Client: "192.0.2.9", Age: 300}}}}
	frozen.State = protocol.StateFrozen
	v.status.Workers = nil
	for i := range 32 {
		w := fine
		switch i {
		case 20:
			w = frozen
		case 29:
			w = stuck
		}
		w.Worker = i + 1
		v.status.Workers = append(v.status.Workers, w)
	}
	v.status.Master.LastReload = &admin.Reload{Error: "no module\nnamed shop"}
	text := screenText(topLines(v, 80, 24))
	for _, want := range []string{"no module named shop", "\n    21 ", "\n    30 ", "more, of which less is to be said", "worker 30", "/report", "EVENTS", "worker_died", "worker 100"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if text := screenText(topLines(v, 80, 60)); !strings.Contains(text, "\n    32 ") || strings.Contains(text, "less is to be said") {
		t.Errorf("with room for all:\n%s", text)
	}
	v.status.Workers[0].Loop = &admin.LoopStatus{Tasks: 20_000, WebSockets: 10_000}
	v.status.Connections.Idle = 123_456
	if text := screenText(topLines(v, 80, 24)); !strings.Contains(text, "123456 conns\n") {
		t.Errorf("connections are cut off:\n%s", text)
	}
}

// TestOldestOfLoops: of thousands of requests on event loops the oldest are named, and the others
// counted; WebSockets come after them.
func TestOldestOfLoops(t *testing.T) {
	v := testTop()
	w := v.status.Workers[0]
	w.Loop = &admin.LoopStatus{Tasks: 2000, WebSockets: 1, Unseen: 1746, Requests: []admin.Running{{Method: "GET", Target: "/report", Client: "192.0.2.9", Age: 70}}}
	for range 253 {
		w.Loop.Requests = append(w.Loop.Requests, admin.Running{Method: "POST", Target: "/chat", Age: 2})
	}
	w.Loop.Requests = append(w.Loop.Requests, admin.Running{Method: "GET", Target: "/socket", Age: 3000, WebSocket: true})
	v.status.Workers = []WorkerStatus{w}
	text := screenText(topLines(v, 80, 40))
	lines := strings.Split(text[strings.Index(text, "RUNNING NOW"):], "\n")
	shown := 0
	for _, l := range lines[1:] {
		if strings.Contains(l, " worker 1 ") {
			shown++
		}
	}
	if !strings.Contains(lines[1], "/report") || !strings.Contains(lines[2], "/chat") || shown < 3 || !strings.Contains(text, fmt.Sprintf("\n  and %d more", 2001-shown)) || strings.Contains(text, "/orders") {
		t.Errorf("%d are shown:\n%s", shown, text)
	}
	if text := screenText(topLines(v, 80, 400)); !strings.Contains(text, "\n  and 1746 more") || !strings.Contains(text, "WS      /socket") {
		t.Errorf("with room for all:\n%s", text)
	}
	text = statusTable(v.status, nil)
	if !strings.Contains(text, "\nunder way for longest:\n   1m10s  worker 1    192.0.2.9       GET     /report\n") || strings.Count(text, "/chat") != oldestNamed-1 || strings.Contains(text, "/socket") {
		t.Errorf("status:\n%s", text)
	}
	w.Loop.Requests = w.Loop.Requests[254:]
	v.status.Workers[0] = w
	if text := statusTable(v.status, nil); strings.Contains(text, "for longest") {
		t.Errorf("a WebSocket is no request that somebody waits for:\n%s", text)
	}
}

// TestTopOnce: where there is no terminal it is text, and there is an end to it.
func TestTopOnce(t *testing.T) {
	path := testServer(t, new(fake))
	for _, args := range [][]string{{"top"}, {"top", "--once"}} {
		status, stdout, stderr := call(t, path, args...)
		if status != 0 || stderr != "" || strings.Contains(stdout, "\x1b") || !strings.Contains(stdout, "app:app  serving") || !strings.Contains(stdout, "WORKER") {
			t.Errorf("%v: %d %q %q", args, status, stdout, stderr)
		}
	}
	if status, _, stderr := call(t, path, "top", "--json"); status != 2 || !strings.Contains(stderr, "status has --json") {
		t.Errorf("--json: %d %q", status, stderr)
	}
}

// TestTopOnScreen: it follows the server, says so when that is gone, and ends by a key.
func TestTopOnScreen(t *testing.T) {
	screen := tcell.NewSimulationScreen("UTF-8")
	if err := screen.Init(); err != nil {
		t.Fatal(err)
	}
	defer screen.Fini()
	screen.SetSize(80, 24)
	path := testServer(t, new(fake))
	c := &Command{client: NewClient(path)}
	v := new(topView)
	if err := c.look(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.watchTop(t.Context(), screen, v, 10*time.Millisecond) }()
	shows := func(want string, size int) {
		t.Helper()
		got := ""
		for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			width, height := screen.Size()
			var b strings.Builder
			for at := range width * height {
				text, _, _ := screen.Get(at%width, at/width)
				b.WriteString(text)
			}
			if got = b.String(); strings.Contains(got, want) && width == size {
				return
			}
		}
		t.Fatalf("no %q in %q", want, got)
	}
	shows("CPU%", 80)
	screen.SetSize(100, 30)
	shows("CPU%", 100)
	screen.InjectKey(tcell.KeyRune, 'x', tcell.ModNone) // nothing
	screen.InjectKey(tcell.KeyRune, 'q', tcell.ModNone)
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("q does not end it")
	}
	c.client = NewClient(path + ".gone")
	ctx, cancel := context.WithCancel(t.Context())
	go func() { ended <- c.watchTop(ctx, screen, v, 10*time.Millisecond) }()
	shows("not of now: no server", 100)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
