package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// watched is an application of which the page shows something.
const watched = `import os, time
def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path.startswith("/hang"):
        end = time.monotonic() + 100
        while not os.path.exists("go") and time.monotonic() < end:
            time.sleep(0.01)
    start_response("500 No" if path == "/fail" else "200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
`

// noteWrongs keeps what a browser finds wrong with a page.
const noteWrongs = `
	window.wrongs = [];
	document.addEventListener("securitypolicyviolation", (e) => wrongs.push("policy: " + e.violatedDirective + " " + e.blockedURI));
	window.addEventListener("error", (e) => wrongs.push("error: " + e.message));
	window.addEventListener("unhandledrejection", (e) => wrongs.push("rejection: " + e.reason));`

// openStatus opens /status.
func openStatus(t *testing.T, s *server) *tab {
	t.Helper()
	b := openTab(t, startChromium(t), "about:blank", "")
	_, err := chromedp.Call(b.ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: noteWrongs})
	b.must(err)
	b.navigate("http://" + s.admin + "/")
	return b
}

func (b *tab) navigate(url string) {
	b.t.Helper()
	limit, done := context.WithTimeout(b.ctx, time.Minute)
	defer done()
	b.must(chromedp.Do(limit, chromedp.Navigate(url)))
}

// look makes the page of a width, and of a scheme of colours.
func (b *tab) look(width int64, scheme string) {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 900, DeviceScaleFactor: 1, Mobile: width < 500})
	b.must(err)
	_, err = chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	b.must(err)
}

// tooWide names what sticks out of the page, but for what is to be scrolled by itself.
const tooWide = `[document.documentElement.scrollWidth > innerWidth ? "the page has " + document.documentElement.scrollWidth : "",
	...[...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest("pre, .unseen, thead, .chart")).map((e) => e.tagName + "#" + e.id + "." + e.className)].join(" ").trim()`

// runAxe has axe-core look at the page.
const runAxe = `(window.violations = "", axe.run().then((r) => {
	window.violations = "done " + JSON.stringify(r.violations.map((v) => [v.id, v.help, v.nodes.slice(0, 3).map((n) => n.html + " " + n.failureSummary)]));
}, (e) => { window.violations = "failed " + e; }), "")`

// TestStatusPage: who opens /status sees what the server is at, and what it is at a second
// later, in light and dark, at a desk and on a phone, and if he cannot see.
func TestStatusPage(t *testing.T) {
	axe, err := os.ReadFile("../build/axe/axe_playwright_python/axe.min.js")
	if err != nil {
		t.Fatalf("%v: run make tools", err)
	}
	dir := write(t, t.TempDir(), map[string]string{"watched.py": watched})
	s := start(t, "-w", "2", "--threads", "2", "--timeout", "100", "--chdir", dir, "--env", "SECRET=hunter2", "-n", "<i>shop</i>", "watched:app")
	b := openStatus(t, s)
	text := func(id string) string { return fmt.Sprintf("document.querySelector(%q).textContent", id) }
	b.wait(text("#state"), "serving")
	b.wait(text("#app"), "<i>shop</i>") // as it is: nobody's text becomes part of the page
	b.wait(text("#workers-note"), "2 of 2 serve")
	b.wait(text("#contact"), "live")

	requests := `[...document.querySelectorAll("#workers td.requests")].reduce((n, e) => n + Number(e.textContent), 0) + " in " + document.querySelectorAll("#workers td.requests").length`
	for i := range 30 {
		if i == 20 {
			b.wait(requests, "20 in 2")
		}
		s.get("/hello")
	}
	b.wait(requests, "30 in 2")
	b.wait(`samples.reduce((n, s) => n + Math.round(s.requests), 0) >= 20 && samples.some((s) => s.p99 > 0)`, "true")
	if got := b.eval(`document.querySelector("#requests path:last-of-type").getAttribute("d")`); !strings.Contains(got, "L") {
		t.Errorf("nothing is drawn: %q", got)
	}
	s.get("/fail")
	b.wait(`samples.some((s) => s.errors > 0)`, "true")

	var hung sync.WaitGroup
	defer hung.Wait()
	hang := func() {
		hung.Go(func() {
			if r, err := client.Get("http://" + s.addr + "/hang?card=hunter2"); err == nil {
				r.Body.Close()
			}
		})
	}
	release := func() {
		t.Helper()
		if err := os.WriteFile(dir+"/go", nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	hang()
	b.wait(text("#running"), "GET/hang?…worker")
	b.wait(`document.querySelectorAll(".cells i.busy, .cells i.warm, .cells i.hot").length`, "1")
	b.wait(`parseFloat(document.querySelector("#running .age").textContent) >= 2`, "true") // it goes on
	release()
	b.wait(text("#running"), "No request is running.")
	b.wait(text("#slow"), "GET /hang")

	if err := os.WriteFile(dir+"/watched.py", []byte("import nothing_of_the_kind\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.signal(syscall.SIGHUP)
	b.wait(text("#reload-error"), "nothing_of_the_kind")
	b.wait(`document.querySelector("#reload-error").hidden`, "false")
	b.wait(text("#events"), "reload failed")
	b.check(string(axe))
	write(t, dir, map[string]string{"watched.py": watched})
	s.signal(syscall.SIGHUP)
	b.wait(text("#workers"), "Generation 3") // the second came to nothing
	b.wait(`document.querySelector("#reload-error").hidden`, "true")
	b.wait(text("#settings"), "SECRET=…")
	b.eval(`document.querySelector("#all").click()`)
	b.wait(text("#settings"), "graceful_timeout")
	pid, err := strconv.Atoi(b.eval(`document.querySelector("#workers .who span").textContent.slice(4)`)) // of the newest generation
	if err != nil || syscall.Kill(pid, syscall.SIGKILL) != nil {
		t.Fatalf("worker %d: %v", pid, err)
	}
	b.wait(text("#exits"), "signal")
	b.wait(text("#events"), "worker died")
	if html := b.eval("document.documentElement.outerHTML"); strings.Contains(html, "hunter2") {
		t.Error("the page shows what is private")
	}
	if got := b.eval("JSON.stringify(wrongs)"); got != "[]" {
		t.Errorf("the browser complains of %s", got)
	}

	if err := os.Remove(dir + "/go"); err != nil {
		t.Fatal(err)
	}
	hang()
	b.wait(text("#running"), "GET/hang")
	// The drawing is a page of its own, and alive.
	b.eval(`(document.querySelector("#profile").target = "_self", document.querySelector("#seconds").value = "2", document.querySelector("#profile button").click())`)
	b.wait("document.documentElement.tagName", "svg")
	b.wait(`[...document.querySelectorAll("text")].map((e) => e.textContent).join(" ")`, "Where Python threads spend their time")
	b.wait(`document.querySelectorAll("g.f").length > 2 && document.readyState`, "complete")
	release()
	b.eval(`document.querySelector("g.f").dispatchEvent(new Event("mouseenter"))`)
	b.wait(`document.querySelector("#told").textContent`, "all: ")

	b.navigate("http://" + s.admin + "/status")
	b.wait(text("#contact"), "live")
	s.signal(syscall.SIGTERM)
	if status := s.exitStatus(); status != 0 {
		t.Errorf("with a page open it ends with %d", status)
	}
	b.wait(text("#banner"), "does not answer")
}

// check fails the test for what does not fit, cannot be read, or is not told to those who
// do not see.
func (b *tab) check(axe string) {
	b.t.Helper()
	colours := make(map[string]bool)
	for _, width := range []int64{390, 1280} {
		for _, scheme := range []string{"light", "dark"} {
			b.look(width, scheme)
			b.wait("innerWidth", fmt.Sprint(width))
			if got := b.eval(tooWide); got != "" {
				b.t.Errorf("at a width of %d, %s: too wide: %s", width, scheme, got)
			}
			colours[b.eval("getComputedStyle(document.body.parentElement).backgroundColor")] = true
			if b.eval("typeof axe") == "undefined" {
				b.eval("(() => {" + axe + "})()")
			}
			b.eval(runAxe)
			b.wait("violations", " ")
			if got := b.eval("violations"); got != "done []" {
				b.t.Errorf("at a width of %d, %s: axe-core finds %s", width, scheme, got)
			}
		}
	}
	if len(colours) != 2 {
		b.t.Errorf("light and dark are %v", colours)
	}
}

// TestAdminToken: with a token, who does not know it is told nothing but that the server
// lives, and a browser signs in.
func TestAdminToken(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "token")
	give := func(token string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	give("short")
	s := launch(t, "--admin-token", file, "faults:app")
	if status := s.exitStatus(); status == 0 || !strings.Contains(s.log.String(), "--admin-token") {
		t.Errorf("with a token that can be guessed: %d", status)
	}
	const token = "correct-horse-battery"
	give(token)
	s = start(t, "--admin-token", file, "faults:app")
	get := func(path, token string) int {
		t.Helper()
		q, err := http.NewRequest("GET", "http://"+s.admin+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			q.Header.Set("Authorization", "Bearer "+token)
		}
		r, err := client.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		_, _ = io.Copy(io.Discard, r.Body)
		return r.StatusCode
	}
	for path, code := range map[string]int{"/healthz": 200, "/readyz": 200, "/metrics": 401, "/status": 401, "/status/events": 401} {
		if got := get(path, ""); got != code {
			t.Errorf("%s: %d", path, got)
		}
	}
	for _, path := range []string{"/metrics", "/status", "/status/settings"} {
		if got := get(path, token); got != 200 {
			t.Errorf("%s with the token: %d", path, got)
		}
	}
	b := openStatus(t, s)
	b.wait("document.title", "Sign in")
	b.eval(`(document.querySelector("#token").value = "wrong", document.querySelector("form").requestSubmit())`)
	b.wait(`document.querySelector("#wrong")?.hidden`, "false")
	b.eval(fmt.Sprintf(`(document.querySelector("#token").value = %q, document.querySelector("form").requestSubmit())`, token))
	b.wait(`document.querySelector("#state")?.textContent`, "serving")
	b.wait(`document.querySelector("#settings")?.textContent`, "admin_token")
	if got := b.eval("document.cookie"); got != "" {
		t.Errorf("a script can read %s", got)
	}
	if got := b.eval("JSON.stringify(wrongs)"); got != "[]" {
		t.Errorf("the browser complains of %s", got)
	}
	give("another-token-by-now")
	s.signal(syscall.SIGHUP)
	s.waitLog("msg=reloaded")
	if a, z := get("/status", token), get("/status", "another-token-by-now"); a != 401 || z != 200 {
		t.Errorf("after a reload: the old token %d, the new one %d", a, z)
	}
	give("")
	s.signal(syscall.SIGHUP)
	s.waitLog("--admin-token")
	if got := get("/status", "another-token-by-now"); got != 200 {
		t.Errorf("after a reload that failed: %d", got)
	}
}

// TestAdminUnixSocket: on a unix socket, whoever may connect sees all.
func TestAdminUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	s := launchBare(t, "--admin-bind", "unix:"+path, "--python", venv, "--chdir", apps, "faults:app")
	s.waitLog("msg=serving")
	c := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	for _, name := range []string{"status", "status/slow", "status/settings", "metrics"} {
		r, err := c.Get("http://hostler/" + name)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != 200 {
			t.Errorf("%s: %s", name, r.Status)
		}
	}
}
