package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// shows is the text of what a page has under a selector.
func shows(selector string) string {
	return fmt.Sprintf("document.querySelector(%q)?.textContent", selector)
}

// axe is the source of axe-core.
func axe(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../build/axe/axe_playwright_python/axe.min.js")
	if err != nil {
		t.Fatalf("%v: run make tools", err)
	}
	return string(b)
}

// shoot leaves a picture of the whole page, for who wants to look at it: E2E_PICTURES says where.
func (b *tab) shoot(name string) {
	b.t.Helper()
	dir := os.Getenv("E2E_PICTURES")
	if dir == "" {
		return
	}
	for _, width := range []int64{390, 1280} {
		for _, scheme := range []string{"light", "dark"} {
			b.look(width, scheme)
			height, _ := strconv.ParseFloat(b.eval("document.documentElement.scrollHeight"), 64)
			r, err := chromedp.Call(b.ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{CaptureBeyondViewport: new(true),
				Clip: &page.Viewport{Width: float64(width), Height: height, Scale: 1}})
			b.must(err)
			b.must(os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%d-%s.png", name, width, scheme)), r.Data, 0o600))
		}
	}
}

// TestStatusPageMany: of 32 workers, most of them busy, one frozen, the page shows all there is, and
// it fits a phone.
func TestStatusPageMany(t *testing.T) {
	source := axe(t)
	dir := write(t, t.TempDir(), map[string]string{"watched.py": watched})
	s := start(t, "-w", "32", "--threads", "2", "--timeout", "0", "--preload", "--chdir", dir, "watched:app")
	b := openStatus(t, s)
	b.wait(shows("#workers-note"), "32 of 32 serve")
	b.wait(`document.querySelectorAll("#workers td.who").length`, "32")
	t.Cleanup(func() { _ = os.WriteFile(filepath.Join(dir, "go"), nil, 0o600) })
	for i := range 60 {
		s.send(getHead(fmt.Sprintf("/hang/%d/%s", i, strings.Repeat("long", 40))))
	}
	s.eventually("60 that run", func() bool { return s.metric("hostler_threads", `state="busy"`) == 60 })
	b.wait(shows("#running-note"), "the oldest 50 of 60")
	b.wait(shows("#running li:last-child"), "and 10 more")
	pid := s.workers()[17]
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }()
	b.wait(`document.querySelectorAll("#workers .state .pill.bad").length + " " + document.querySelector("#workers .state .pill.bad")?.textContent`, "1 frozen")
	b.wait(shows("#workers-note"), "31 of 32 serve")
	b.wait(shows("#events"), "worker frozen")
	b.wait(shows("#workers tbody tr:not(.gen) .state"), "frozen") // it comes first
	b.check(source)
	b.look(390, "light")
	b.wait("innerWidth", "390")
	if top, err := strconv.ParseFloat(b.eval(`document.querySelector("#running").getBoundingClientRect().top + scrollY`), 64); err != nil || top > 1500 {
		t.Errorf("on a phone what runs is %v pixels below all workers", top)
	}
	b.shoot("many")
	if got := b.eval("JSON.stringify(wrongs)"); got != "[]" {
		t.Errorf("the browser complains of %s", got)
	}
}

// TestStatusPageTrouble: a request that is stuck, a queue that is full behind it, and workers that do
// not boot any more are what the page shows first, and in words.
func TestStatusPageTrouble(t *testing.T) {
	source := axe(t)
	dir := write(t, t.TempDir(), map[string]string{"watched.py": watched})
	s := start(t, "-w", "1", "--threads", "1", "--queue", "4", "--timeout", "0", "--queue-wait", "0", "--chdir", dir, "watched:app")
	b := openStatus(t, s)
	b.wait(shows("#state"), "serving")
	release := func() { _ = os.WriteFile(filepath.Join(dir, "go"), nil, 0o600) }
	t.Cleanup(release)
	var open []net.Conn // whose connections are there waits in a queue, and not to be accepted
	for range 20 {
		c := s.send(getHead("/hello"))
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || r.StatusCode != 200 {
			t.Fatal(r, err)
		}
		open = append(open, c)
	}
	for _, c := range open {
		if _, err := io.WriteString(c, getHead("/hang?card=hunter2")); err != nil {
			t.Fatal(err)
		}
	}
	s.eventually("full queues", func() bool {
		return s.metric("hostler_queue_depth", "") == 4 && s.metric("hostler_threads", `state="busy"`) == 1 && s.metric("hostler_unavailable_total", "") == 15
	})
	b.wait(shows("#wait .more"), "4 waiting")
	b.wait(shows("#workers td.queue"), "4")
	b.wait(`samples.some((s) => s.errors > 0)`, "true") // 503
	b.wait(`document.querySelectorAll("#running .age.warm, #running .age.hot").length`, "1")
	b.check(source)
	b.shoot("queue")
	release()
	b.wait(shows("#running"), "No request is running.")

	write(t, dir, map[string]string{"watched.py": "raise RuntimeError('no database at db.internal, <b>port</b> 5432')\n"})
	for _, pid := range s.workers() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	s.eventually("some failures in a row", func() bool { return s.metric("hostler_consecutive_boot_failures", "") >= 2 })
	b.wait(shows("#state"), "not ready")
	b.wait(shows("#banner"), "Not ready: ")
	b.wait(shows("#workers-note"), "0 of 1 serve")
	b.wait(shows("#workers-note"), "in a row")
	b.wait(shows("#events"), "no database at db.internal, <b>port</b> 5432")
	b.check(source)
	b.shoot("crashloop")
	write(t, dir, map[string]string{"watched.py": watched})
	b.wait(shows("#workers-note"), "1 of 1 serve")
	b.wait(`document.querySelector("#banner").hidden`, "true")
	if got := b.eval("JSON.stringify(wrongs)"); got != "[]" {
		t.Errorf("the browser complains of %s", got)
	}
}

const waitingApp = `
import asyncio
async def app(scope, receive, send):
    assert scope['type'] == 'http'
    if scope['path'] != '/go':
        await asyncio.sleep(1000)
    await send({'type': 'http.response.start', 'status': 200, 'headers': []})
    await send({'type': 'http.response.body', 'body': b''})
`

// TestOldestTasks: of 2,000 requests that wait on one event loop the oldest are seen, with what they
// are and for how long, and how many more there are: in JSON, on a terminal, and on the page.
func TestOldestTasks(t *testing.T) {
	source := axe(t)
	const all = 2000
	dir := write(t, t.TempDir(), map[string]string{"waiting.py": waitingApp})
	s := startCtl(t, "-w", "1", "--timeout", "0", "--graceful-timeout", "1", "--chdir", dir, "waiting:app")
	run := func(n int) {
		t.Helper()
		s.eventually(fmt.Sprintf("%d tasks", n), func() bool { return s.metric("hostler_tasks", "") == float64(n) })
	}
	for i := range 3 {
		s.send(getHead(fmt.Sprintf("/first/%d?secret", i)))
		run(i + 1)
	}
	for range all - 3 {
		s.send(getHead("/later"))
	}
	run(all)
	type loop struct {
		Tasks, Unseen int
		Requests      []struct {
			Method, Target, Client string
			Age                    float64 `json:"age_seconds"`
		}
	}
	queries := map[string]string{"ctl status --json": "secret", "/status": "…"}
	var st struct{ Workers []struct{ Loop loop } }
	for what, b := range map[string]string{"ctl status --json": s.must("status", "--json"), "/status": func() string { _, text := s.adminSays("/status"); return text }()} {
		if err := json.Unmarshal([]byte(b), &st); err != nil {
			t.Fatal(err)
		}
		l := st.Workers[0].Loop
		if l.Tasks != all || l.Unseen != all-255 || len(l.Requests) != 255 {
			t.Fatalf("%s: %d tasks, %d requests, %d more", what, l.Tasks, len(l.Requests), l.Unseen)
		}
		for i, r := range l.Requests {
			if i < 3 && (r.Target != fmt.Sprintf("/first/%d?%s", i, queries[what]) || r.Method != "GET" || r.Client != "127.0.0.1") || i > 0 && r.Age > l.Requests[i-1].Age {
				t.Errorf("%s: %d: %+v", what, i, r)
			}
		}
	}
	text := s.must("top", "--once")
	shown := len(regexp.MustCompile(`(?m)^ *[0-9.]+s  worker 1 `).FindAllString(text, -1))
	if shown < 3 || !strings.Contains(text, fmt.Sprintf("and %d more", all-shown)) || !regexp.MustCompile(`(?s)/first/0\?secret\n.*/first/1\?secret\n.*/first/2\?secret\n.*/later\n`).MatchString(text) {
		t.Errorf("top shows %d:\n%s", shown, text)
	}
	s.eventually("what ctl status says of them", func() bool {
		text := s.must("status")
		return strings.Contains(text, "under way for longest:") && strings.Count(text, "/first/") == 3
	})
	b := openStatus(t, s.server)
	b.wait(shows("#running-note"), "the oldest 50 of 2000")
	b.wait(shows("#running li:first-child"), "GET/first/0?…worker 1 · 127.0.0.1")
	b.wait(shows("#running li:last-child"), "and 1950 more")
	b.check(source)
	b.shoot("tasks")
	if code, _ := s.get("/go"); code != 200 {
		t.Errorf("another one is answered %d", code)
	}
}
