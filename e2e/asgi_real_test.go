package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestASGIFrameworks serves the same small application by each framework, as
// TestFrameworks does for WSGI, and a stream that is not whole yet.
func TestASGIFrameworks(t *testing.T) {
	files := t.TempDir()
	file := strings.Repeat("a file\n", 100_000)
	if err := os.WriteFile(filepath.Join(files, "file.bin"), []byte(file), 0o644); err != nil {
		t.Fatal(err)
	}
	cert := newPair(t, files, "localhost", 1)
	for _, name := range []string{"starlette", "fastapi", "django", "quart", "litestar"} {
		for _, loop := range loops {
			t.Run(name+"/"+loop, func(t *testing.T) {
				common := []string{"--loop", loop, "-e", "FILES=" + files}
				plain := startASGI(t, append(common, name+"app:app")...)
				callers := []*caller{newCaller(t, "TCP", "http://shop.example:8080", protocols(false), "tcp", plain.addr)}
				if loop == loops[0] && asgiPeer == "" {
					secure := startASGI(t, append(append(cert.args(), common...), name+"app:app")...)
					callers = append(callers, newCaller(t, "TLS", "https://"+secure.addr, protocols(false), "tcp", secure.addr),
						newCaller(t, "TLS, HTTP/2", "https://"+secure.addr, protocols(true), "tcp", secure.addr))
				}
				for _, c := range callers {
					c.sized = name == "django" // it reads no form whose length is not told
					c.exercise(t, file)
					c.live(t)
					c.leave(t)
				}
			})
		}
	}
}

// TestASGIFrameworksEverywhere is the core of that, and of TestASGIFrameworkSockets, with the last
// of each framework for each other CPython (scripts/asgi-packages), on both loops.
func TestASGIFrameworksEverywhere(t *testing.T) {
	files := t.TempDir()
	file := strings.Repeat("a file\n", 100_000)
	if err := os.WriteFile(filepath.Join(files, "file.bin"), []byte(file), 0o644); err != nil {
		t.Fatal(err)
	}
	places, err := filepath.Glob("../build/asgi/frameworks/3.*")
	if err != nil || len(places) == 0 {
		t.Fatal("build/asgi/frameworks is missing: run make tools", err)
	}
	found, names := pythons(t)
	n := 0
	for _, name := range names {
		version := strings.Replace(strings.Fields(name)[0], ".0", ".", 1)
		packages, err := filepath.Abs("../build/asgi/frameworks/" + version)
		if err != nil || !slices.Contains(places, "../build/asgi/frameworks/"+version) {
			t.Logf("no frameworks are pinned for %s, besides those of TestASGIFrameworks", name)
			continue
		}
		n++
		uvloop := asgiPackages(t, found[name])
		if uvloop == "" {
			t.Fatalf("build/asgi has no uvloop for %s: run make tools", version)
		}
		packages += ":" + uvloop // behind them: it has an anyio, too
		for _, loop := range loops {
			for _, app := range []string{"starletteapp:app", "fastapiapp:app", "djangoapp:channels", "quartapp:app", "litestarapp:app"} {
				t.Run(version+"/"+loop+"/"+app, func(t *testing.T) {
					s := start(t, "--python", found[name], "--loop", loop, "--chdir", filepath.Join(apps, "asgi"), "-e", "PYTHONPATH="+packages, "-e", "FILES="+files, "-w", "1", app)
					c := newCaller(t, "TCP", "http://shop.example:8080", protocols(false), "tcp", s.addr)
					c.sized = app == "djangoapp:channels"
					c.exercise(t, file)
					c.live(t)
					c.leave(t)
					w := s.openSocket(t, "/ws", false, "Sec-WebSocket-Protocol: chat, other")
					w.send(frameText, "héllo")
					w.want(frameText, "echo héllo")
					w.close(1000)
				})
			}
		}
	}
	if n == 0 {
		t.Log("no other CPython is here")
	}
}

// live wants each row of a stream when it is made: the second is made when it is asked
// for, once the first is here.
func (c *caller) live(t *testing.T) {
	t.Helper()
	r, err := c.http.Get(c.origin + "/live")
	if err != nil {
		t.Fatal(c.name, err)
	}
	defer r.Body.Close()
	rows := bufio.NewReader(r.Body)
	until(t, rows, "one")
	c.want(t, "released", "GET", "/release", "", nil)
	if b, err := io.ReadAll(rows); err != nil || string(b) != "two\n" {
		t.Errorf("%s: the rest of a stream: %q, %v", c.name, b, err)
	}
	c.outcome(t, "whole")
}

// leave goes away in the middle of a stream: the application has to be told, though it
// sends nothing meanwhile.
func (c *caller) leave(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, "GET", c.origin+"/live", nil)
	r, err := c.http.Do(req)
	if err != nil {
		t.Fatal(c.name, err)
	}
	until(t, bufio.NewReader(r.Body), "one")
	c.outcome(t, "running")
	cancel()
	r.Body.Close()
	c.outcome(t, "CancelledError", "GeneratorExit")
}

// outcome waits until the stream has ended in one of these ways.
func (c *caller) outcome(t *testing.T, ways ...string) {
	t.Helper()
	var got string
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if _, _, got = c.ask(t, "GET", "/outcome", "", nil); strings.Contains(" "+strings.Join(ways, " ")+" ", " "+got+" ") {
			return
		}
	}
	t.Errorf("%s: the stream: %s, want one of %v", c.name, got, ways)
}

// TestASGIFastAPI asks for what only FastAPI has: work after the response, and values
// that are checked.
func TestASGIFastAPI(t *testing.T) {
	s := startASGI(t, "fastapiapp:app")
	c := newCaller(t, "TCP", "http://"+s.addr, protocols(false), "tcp", s.addr)
	c.want(t, "soon", "GET", "/later", "", nil)
	c.outcome(t, "in the background")
	if status, h, b := c.ask(t, "GET", "/typed/7?q=x", "", nil); status != 200 || b != "7 x" || h.Get("X-Number") != "7" {
		t.Errorf("%d %v %q", status, h, b)
	}
	if status, _, b := c.ask(t, "GET", "/typed/seven", "", nil); status != 422 || !strings.Contains(b, "int_parsing") {
		t.Errorf("a value of the wrong kind: %d %q", status, b)
	}
	if status, _, b := c.ask(t, "GET", "/openapi.json", "", nil); status != 200 || !strings.Contains(b, "/typed/{number}") {
		t.Errorf("openapi.json: %d %.100q", status, b)
	}
}

// TestASGIStrawberry asks GraphQL a question, gives it a file, and listens to a
// subscription.
func TestASGIStrawberry(t *testing.T) {
	s := startASGI(t, "strawberryapp:app")
	c := newCaller(t, "TCP", "http://"+s.addr, protocols(false), "tcp", s.addr)
	c.want(t, `{"data":{"hello":"hello you"}}`, "POST", "/", "application/json", strings.NewReader(`{"query": "{ hello(name: \"you\") }"}`))
	large := strings.Repeat("0123456789abcde\n", 100_000)
	body := new(bytes.Buffer)
	m := multipart.NewWriter(body)
	_ = m.WriteField("operations", `{"query": "mutation($f: Upload!) { take(file: $f) }", "variables": {"f": null}}`)
	_ = m.WriteField("map", `{"0": ["variables.f"]}`)
	w, _ := m.CreateFormFile("0", "a.bin")
	_, _ = io.WriteString(w, large)
	m.Close()
	c.want(t, fmt.Sprintf(`{"data":{"take":"a.bin %s"}}`, digest(large)), "POST", "/", m.FormDataContentType(), body)

	req, _ := http.NewRequest("POST", c.origin+"/", strings.NewReader(`{"query": "subscription { rows }"}`))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "text/event-stream")
	r, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	events := bufio.NewReader(r.Body)
	for _, row := range []string{"one", "two"} {
		for line := ""; !strings.Contains(line, `"rows":"`+row+`"`); {
			if line, err = events.ReadString('\n'); err != nil {
				t.Fatalf("waiting for %s: %v", row, err)
			}
		}
		c.want(t, `{"data":{"release":"released"}}`, "POST", "/", "application/json", strings.NewReader(`{"query": "mutation { release }"}`))
	}
}

// TestASGIEvents listens to sse-starlette, goes, and comes again while the server stops.
func TestASGIEvents(t *testing.T) {
	for _, loop := range loops {
		t.Run(loop, func(t *testing.T) {
			s := startASGI(t, "--loop", loop, "sseapp:app")
			c := newCaller(t, "TCP", "http://"+s.addr, protocols(false), "tcp", s.addr)
			listen := func(ctx context.Context) *bufio.Reader {
				req, _ := http.NewRequestWithContext(ctx, "GET", c.origin+"/events", nil)
				r, err := c.http.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { r.Body.Close() })
				events := bufio.NewReader(r.Body)
				until(t, events, "data: one")
				return events
			}
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			whole := listen(ctx)
			c.want(t, "released", "GET", "/release", "", nil)
			until(t, whole, "data: two")
			if _, err := io.ReadAll(whole); err != nil {
				t.Error(err)
			}
			listen(ctx)
			cancel()
			c.outcome(t, "CancelledError", "GeneratorExit")
		})
	}
}

// TestASGISocketIO speaks Engine.IO as its clients begin: by polling.
func TestASGISocketIO(t *testing.T) {
	s := startASGI(t, "socketioapp:app")
	c := newCaller(t, "TCP", "http://"+s.addr, protocols(false), "tcp", s.addr)
	const polling = "/socket.io/?EIO=4&transport=polling"
	poll := func(sid string) string {
		t.Helper()
		status, _, b := c.ask(t, "GET", polling+sid, "", nil)
		if status != 200 {
			t.Fatalf("a poll: %d %q", status, b)
		}
		return b
	}
	var opened struct{ SID string }
	if b := poll(""); !strings.HasPrefix(b, "0{") || json.Unmarshal([]byte(b[1:]), &opened) != nil {
		t.Fatalf("opened: %q", b)
	}
	sid := "&sid=" + opened.SID
	c.want(t, "OK", "POST", polling+sid, "text/plain", strings.NewReader("40"))
	if b := poll(sid); !strings.HasPrefix(b, "40{") {
		t.Fatalf("connected: %q", b)
	}
	// A poll that waits is answered when there is something to say.
	got := make(chan string, 1)
	go func() {
		r, err := c.http.Get(c.origin + polling + sid)
		if err != nil {
			got <- err.Error()
			return
		}
		defer r.Body.Close()
		b, _ := io.ReadAll(r.Body)
		got <- string(b)
	}()
	c.want(t, "OK", "POST", polling+sid, "text/plain", strings.NewReader(`42["say","hello"]`))
	select {
	case b := <-got:
		if b != `42["said","echo hello"]` {
			t.Errorf("polled %q", b)
		}
	case <-time.After(20 * time.Second):
		t.Error("the poll was not answered")
	}
}
