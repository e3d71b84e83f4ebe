package e2e

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// startChromium returns a Chromium, of which openTab makes tabs.
func startChromium(t *testing.T, flags ...chromedp.ExecAllocatorOption) context.Context {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("there is no chromium: run make tools")
	}
	scratch, err := os.MkdirTemp("", "hostler-chromium") // not t.TempDir(): what cannot be removed is no failure
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(scratch) })
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.Flag("headless", "new"), chromedp.NoSandbox,
		chromedp.DisableGPU, chromedp.IgnoreCertErrors, chromedp.Flag("no-proxy-server", true), chromedp.CombinedOutput(io.Discard),
		chromedp.Env("TMPDIR="+scratch), chromedp.UserDataDir(filepath.Join(scratch, "profile")))
	allocator, stop := chromedp.NewExecAllocator(context.Background(), append(options, flags...)...)
	t.Cleanup(stop)
	browser, end := chromedp.NewContext(allocator, chromedp.WithErrorf(t.Logf))
	t.Cleanup(end)
	if err := chromedp.Do(browser); err != nil {
		t.Fatalf("chromium does not start: %v", err)
	}
	return browser
}

// tab is a page of the chat, in which somebody sits.
type tab struct {
	t   *testing.T
	ctx context.Context
}

// noteCloses keeps how each WebSocket of a page has ended.
const noteCloses = `
	window.closes = [];
	window.WebSocket = class extends WebSocket {
		constructor(...all) {
			super(...all);
			this.addEventListener("close", (e) => closes.push(e.code + " " + e.wasClean));
		}
	};`

// openTab opens a page, which asks for a name.
func openTab(t *testing.T, browser context.Context, url, name string) *tab {
	t.Helper()
	ctx, end := chromedp.NewContext(browser)
	t.Cleanup(end)
	b := &tab{t, ctx}
	b.must(chromedp.Do(ctx))
	_, err := chromedp.Call(ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: noteCloses})
	b.must(err)
	questions := chromedp.Events(ctx, page.JavascriptDialogOpening)
	go func() {
		for _, err := range questions {
			if err != nil {
				return
			}
			_, _ = chromedp.Call(ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{Accept: true, PromptText: name})
		}
	}()
	limit, done := context.WithTimeout(ctx, time.Minute)
	defer done()
	b.must(chromedp.Do(limit, chromedp.Navigate(url)))
	return b
}

func (b *tab) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatalf("the browser: %v", err)
	}
}

// eval returns what a script results in.
func (b *tab) eval(script string) string {
	b.t.Helper()
	limit, done := context.WithTimeout(b.ctx, time.Minute)
	defer done()
	got, err := chromedp.Run(limit, chromedp.Evaluate[string]("String("+script+")"))
	b.must(err)
	return got
}

// wait waits until a script results in something that has part in it.
func (b *tab) wait(script, part string) {
	b.t.Helper()
	got := ""
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if got = b.eval(script); strings.Contains(got, part) {
			return
		}
	}
	b.t.Fatalf("the page: %s is %.1000q, and has no %.1000q", script, got, part)
}

func (b *tab) say(text string) {
	b.t.Helper()
	b.eval(fmt.Sprintf(`(text.value = %q, form.requestSubmit())`, text))
}

// TestBrowser has examples/websocket open in two tabs of a Chromium, with TLS. Over HTTP/2 their
// WebSockets are streams of the page's own connection: Chromium does that by itself while there
// is one; it makes none for a WebSocket, so those that come back after a reload are of HTTP/1.1.
func TestBrowser(t *testing.T) {
	dir, err := filepath.Abs("../examples/websocket")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []struct {
		name, page, socket string
		flags              []chromedp.ExecAllocatorOption
	}{
		{"http1", "GET / HTTP/1.1 200", "GET /chat HTTP/1.1 101", []chromedp.ExecAllocatorOption{chromedp.Flag("disable-http2", true)}},
		{"http2", "GET / HTTP/2.0 200", "GET /chat HTTP/2.0 200", nil},
	} {
		t.Run(o.name, func(t *testing.T) {
			access := filepath.Join(t.TempDir(), "access")
			s := start(t, append(newPair(t, t.TempDir(), "localhost", 1).args(), "--workers", "1", "--graceful-timeout", "6",
				"--access-log", access, "--access-logformat", "%(m)s %(U)s %(H)s %(s)s", "--chdir", dir, "app")...)
			browser := startChromium(t, o.flags...)
			anna := openTab(t, browser, "https://"+s.addr+"/", "Anna")
			anna.wait("state.textContent", "Here: Anna")
			bert := openTab(t, browser, "https://"+s.addr+"/", "Bert")
			talk := func() {
				t.Helper()
				for _, b := range []*tab{anna, bert} {
					b.wait("state.textContent", "Here: Anna, Bert")
				}
				long := strings.Repeat("é", 4000) // it is compressed
				anna.say("grüß Gott")
				bert.wait("said.lastChild.textContent", "Anna: grüß Gott")
				bert.say(long)
				anna.wait("said.lastChild.textContent", "Bert: "+long)
			}
			talk()
			s.signal(syscall.SIGHUP) // they come back by themselves
			for _, b := range []*tab{anna, bert} {
				b.wait("closes", "1012 true")
			}
			// Their lines are written at their end.
			counts := make(map[string]int)
			s.eventually("both WebSockets in the access log", func() bool {
				b, _ := os.ReadFile(access)
				clear(counts)
				for line := range strings.Lines(string(b)) {
					counts[strings.TrimSpace(line)]++
				}
				return counts[o.page] >= 2 && strings.Count(string(b), "GET /chat ") >= 2
			})
			if counts[o.socket] != 2 {
				t.Errorf("not two of %q: %v", o.socket, counts)
			}
			talk()
			s.signal(syscall.SIGTERM)
			for _, b := range []*tab{anna, bert} {
				b.wait("closes", "1001 true")
				if closes := b.eval("closes"); !strings.HasPrefix(closes, "1012 true,1001 true") {
					t.Errorf("the WebSockets have ended by %s", closes)
				}
			}
			if status := s.exitStatus(); status != 0 {
				t.Errorf("ended with %d", status)
			}
			if log := s.log.String(); strings.Contains(log, "Traceback") {
				t.Errorf("the log has a traceback:\n%s", log)
			}
		})
	}
}
