package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"hostler/protocol"
)

// inside is the context of who may see how the server works inside.
func inside(r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), trustedKey{}, true))
}

// TestAccept: browsers have a page, everybody else the JSON that there always was.
func TestAccept(t *testing.T) {
	r := newRig(t)
	r.worker(0, 1, protocol.SlotServing)
	const firefox = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	for accept, html := range map[string]bool{
		"": false, "*/*": false, "application/json": false, firefox: true, "text/html": true, "TEXT/HTML ; q=1": true,
		"text/html,application/json": false, "text/html;q=0.5, application/json": false, "application/json;q=0.5, text/html": true,
		"text/html;q=0": false, "text/html;q=0.1, */*": false, "text/*": false, "nonsense, ;;": false, "text/html;q=x": false,
	} {
		q := httptest.NewRequest("GET", "/status", nil)
		if accept != "" {
			q.Header.Set("Accept", accept)
		}
		w := httptest.NewRecorder()
		r.h.ServeHTTP(w, q)
		kind := w.Header().Get("Content-Type")
		if want := map[bool]string{true: "text/html; charset=utf-8", false: "application/json"}[html]; w.Code != 200 || kind != want || w.Header().Get("Vary") != "Accept" {
			t.Errorf("Accept %q: %d %s, Vary %q", accept, w.Code, kind, w.Header().Get("Vary"))
		}
		q.URL.Path = "/"
		w = httptest.NewRecorder()
		r.h.ServeHTTP(w, q)
		if (w.Code == 303 && w.Header().Get("Location") == "/status") != html {
			t.Errorf("/ with Accept %q: %d %s", accept, w.Code, w.Header().Get("Location"))
		}
	}
}

// TestPageIsItsOwn: nothing in it is from elsewhere, nor a script or style of another file's.
func TestPageIsItsOwn(t *testing.T) {
	r := newRig(t)
	for path, kind := range map[string]string{"/status/style.css": "text/css; charset=utf-8", "/status/app.js": "text/javascript; charset=utf-8"} {
		w := r.do("GET", path)
		if w.Code != 200 || w.Header().Get("Content-Type") != kind || w.Body.Len() < 1000 || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %v, %d bytes", path, w.Code, w.Header(), w.Body.Len())
		}
	}
	q := httptest.NewRequest("GET", "/status", nil)
	q.Header.Set("Accept", "text/html")
	w := httptest.NewRecorder()
	r.h.ServeHTTP(w, q)
	csp := w.Header().Get("Content-Security-Policy")
	for _, part := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"} {
		if !strings.Contains(csp, part) {
			t.Errorf("the policy has no %s: %s", part, csp)
		}
	}
	if strings.Contains(csp, "unsafe") {
		t.Errorf("the policy is %s", csp)
	}
	for _, name := range []string{"index.html", "login.html", "style.css", "app.js"} {
		text := string(page("page/" + name))
		text = strings.ReplaceAll(text, "http://www.w3.org/2000/svg", "")
		if m := regexp.MustCompile(`https?:|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|<style|style=|\son[a-z]+=|@import|url\(`).FindString(text); m != "" {
			t.Errorf("%s has %q", name, m)
		}
	}
}

// stream is a page that is open.
type stream struct {
	t    *testing.T
	resp *http.Response
	r    *bufio.Reader
}

func openStream(t *testing.T, client *http.Client) *stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	q, err := http.NewRequestWithContext(ctx, "GET", "http://admin/status/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return &stream{t, resp, bufio.NewReader(resp.Body)}
}

// frame returns the next one.
func (s *stream) frame() (f Frame) {
	s.t.Helper()
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			s.t.Fatal(err)
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			if err := json.Unmarshal([]byte(data), &f); err != nil {
				s.t.Fatalf("%v: %s", err, line)
			}
			return f
		}
	}
}

// listeners is how many pages are open.
func (r *rig) listeners() int {
	r.history.hub.mu.Lock()
	defer r.history.hub.mu.Unlock()
	return len(r.history.hub.listeners)
}

func (r *rig) untilListeners(n int) {
	r.t.Helper()
	for end := time.Now().Add(30 * time.Second); r.listeners() != n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("%d listeners, not %d", r.listeners(), n)
		}
	}
}

// TestStream: who looks is told all at first, and then what is new.
func TestStream(t *testing.T) {
	r := newRig(t)
	slot := r.worker(0, 300, protocol.SlotServing)
	l, client := listen(t)
	stop := Serve(l, r.h, slog.New(slog.DiscardHandler))
	defer stop(t.Context())
	request(slot, 200, time.Millisecond, 0)
	r.history.sample()
	r.event(protocol.Event{Kind: "serving"})
	s := openStream(t, client)
	if kind := s.resp.Header.Get("Content-Type"); s.resp.StatusCode != 200 || kind != "text/event-stream" || s.resp.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%s %v", s.resp.Status, s.resp.Header)
	}
	f := s.frame()
	if f.Master.Name != "shop" || f.NotReady != "" || len(f.Workers) != 1 || f.Workers[0].PID != 300 || f.Workers[0].Ended != 4 || len(f.Samples) != 1 || len(f.Events) != 1 || f.Traffic == nil {
		t.Errorf("the first frame: %+v", f)
	}
	r.tick() // what it has told of already may come again once
	if f := s.frame(); len(f.Events) != 1 {
		t.Errorf("the second frame: %+v", f)
	}
	slot.ThreadRecs[1].Begin(1, []byte("GET"), []byte("/a?b"), nil)
	r.tick()
	f = s.frame()
	if len(f.Samples) != 1 || f.Events != nil || f.Workers[0].Threads[1].Request.Target != "/a?…" {
		t.Errorf("the third frame: %+v", f)
	}
	r.event(protocol.Event{Kind: "reload_failed", Text: "no\nsuch module"})
	r.tick()
	if f := s.frame(); len(f.Events) != 2 || f.Events[1].Text != "no\nsuch module" {
		t.Errorf("after an event: %+v", f.Events)
	}
	s.resp.Body.Close()
	r.untilListeners(0)
}

// TestStreamOutlivesLimits: it goes on beyond what other answers may take. The limits of a
// server are set to nothing for that.
func TestStreamOutlivesLimits(t *testing.T) {
	r := newRig(t)
	srv := httptest.NewUnstartedServer(r.h)
	srv.Config.ReadTimeout, srv.Config.WriteTimeout = 50*time.Millisecond, 50*time.Millisecond
	srv.Start()
	defer srv.Close()
	s := openStream(t, &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", srv.Listener.Addr().String())
	}}})
	s.frame()
	time.Sleep(200 * time.Millisecond)
	for range 3 {
		r.tick()
		s.frame()
	}
	s.resp.Body.Close() // or srv waits for it
}

// TestStreamEndsWithServer: a page that is open keeps no server from stopping.
func TestStreamEndsWithServer(t *testing.T) {
	r := newRig(t)
	l, client := listen(t)
	stop := Serve(l, r.h, slog.New(slog.DiscardHandler))
	s := openStream(t, client)
	s.frame()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	stop(ctx)
	if ctx.Err() != nil {
		t.Error("it was cut off, when all the time was over")
	}
	if _, err := io.ReadAll(s.r); err != nil {
		t.Errorf("the stream ends by %v", err)
	}
	r.untilListeners(0)
}

// TestStreamBounds: there are so many listeners and no more, and who is slow goes.
func TestStreamBounds(t *testing.T) {
	r := newRig(t)
	for range 200 { // so that a frame is of some size
		r.event(protocol.Event{Kind: "scale", Text: strings.Repeat("x", 2000)})
	}
	l, client := listen(t)
	stop := Serve(l, r.h, slog.New(slog.DiscardHandler))
	defer func() {
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // what is stuck is cut off
		stop(ctx)
	}()
	var all []*stream
	for range maxListeners {
		s := openStream(t, client)
		s.frame()
		all = append(all, s)
	}
	resp, err := client.Get("http://admin/status/events")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("one too many: %s", resp.Status)
	}
	// All but one read. Ticks wait for nobody, and what is in the way in the end is the
	// one's own queue.
	for _, s := range all[1:] {
		go func() { _, _ = io.Copy(io.Discard, s.r) }()
	}
	for end := time.Now().Add(30 * time.Second); r.listeners() == maxListeners; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nobody is let go")
		}
		r.event(protocol.Event{Kind: "scale", Text: time.Now().String()})
		r.tick()
	}
}

// TestInside: stacks, settings and profiles are for those who may see them.
func TestInside(t *testing.T) {
	r := newRig(t)
	r.slow = []protocol.SlowRoute{{Route: "GET /a", Worst: []protocol.SlowRequest{{Target: "/a?token=hunter2", Stack: "File <here>"}}}}
	r.settings = []Setting{{Key: "env", Values: []string{"SECRET=hunter2", "EMPTY"}, Origin: "--env"}, {Key: "workers", Values: []string{"2"}}}
	r.profiled = &protocol.Profile{Workers: []protocol.WorkerProfile{{Worker: 1, Samples: 3, Seconds: 1, Stacks: "a;<b> 1000\n"}}}
	post := func(form, origin string) *http.Request {
		q := httptest.NewRequest("POST", "/status/profile", strings.NewReader(form))
		q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if origin != "" {
			q.Header.Set("Origin", origin)
			q.Header.Set("Sec-Fetch-Site", "cross-site")
		}
		return q
	}
	for name, q := range map[string]*http.Request{
		"slow": httptest.NewRequest("GET", "/status/slow", nil), "settings": httptest.NewRequest("GET", "/status/settings", nil), "profile": post("seconds=1", ""),
	} {
		w := httptest.NewRecorder()
		if r.h.ServeHTTP(w, q); w.Code != 403 || strings.Contains(w.Body.String(), "hunter2") {
			t.Errorf("%s for anybody: %d %s", name, w.Code, w.Body)
		}
	}
	get := func(path string) string {
		w := httptest.NewRecorder()
		if r.h.ServeHTTP(w, inside(httptest.NewRequest("GET", path, nil))); w.Code != 200 || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
		return w.Body.String()
	}
	if got := get("/status/slow"); !strings.Contains(got, `/a?…`) || strings.Contains(got, "hunter2") || strings.Contains(got, "<here>") {
		t.Errorf("slow: %s", got)
	}
	if got := get("/status/settings"); got != `[{"key":"env","values":["SECRET=…","EMPTY=…"],"origin":"--env"},{"key":"workers","values":["2"]}]` {
		t.Errorf("settings: %s", got)
	}
	r.queries = true
	if got := get("/status/slow"); !strings.Contains(got, "hunter2") {
		t.Errorf("slow, with --admin-queries: %s", got)
	}
	for _, c := range []struct {
		form, origin string
		code         int
	}{{"seconds=2", "", 200}, {"seconds=2", "https://evil.example", 403}, {"seconds=0", "", 400}, {"seconds=61", "", 400}, {"", "", 400}} {
		w := httptest.NewRecorder()
		r.asked = 0
		if r.h.ServeHTTP(w, inside(post(c.form, c.origin))); w.Code != c.code || (r.asked != 0) != (c.code == 200) {
			t.Errorf("%+v: %d %s, a profile of %v", c, w.Code, w.Body, r.asked)
		}
		if c.code == 200 && (r.asked != 2*time.Second || w.Header().Get("Content-Type") != "image/svg+xml" || !strings.Contains(w.Header().Get("Content-Security-Policy"), "sandbox") ||
			!strings.Contains(w.Body.String(), "&lt;b&gt;")) {
			t.Errorf("the drawing: %v %v %s", r.asked, w.Header(), w.Body)
		}
	}
}

// TestToken: with one, nobody who does not have it sees anything, but where the rights of
// a file say who may ask.
func TestToken(t *testing.T) {
	const token = "correct-horse-battery"
	r := newRig(t)
	r.worker(0, 1, protocol.SlotServing)
	door := Door{Names: func() []string { return nil }, Token: func() string { return token }}
	at := func(ip string) http.Handler { return Guard(&net.TCPAddr{IP: net.ParseIP(ip), Port: 9191}, door, r.h) }
	ask := func(h http.Handler, method, path, body string, header ...string) *httptest.ResponseRecorder {
		q := httptest.NewRequest(method, path, strings.NewReader(body))
		q.Host = "127.0.0.1:9191"
		if body != "" {
			q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		for i := 0; i < len(header); i += 2 {
			q.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, q)
		return w
	}
	for _, ip := range []string{"127.0.0.1", "0.0.0.0", "10.0.0.7"} {
		h := at(ip)
		for _, path := range []string{"/", "/metrics", "/status", "/status/events", "/status/slow", "/status/settings"} {
			for _, auth := range []string{"", "Bearer wrong", "Bearer", "Basic " + token, "Bearer " + pass(token), token} {
				if w := ask(h, "GET", path, "", "Authorization", auth); w.Code != 401 || !strings.HasPrefix(w.Header().Get("WWW-Authenticate"), "Bearer") {
					t.Errorf("at %s, GET %s, %q: %d", ip, path, auth, w.Code)
				}
			}
		}
		if w := ask(h, "POST", "/status/profile", "seconds=1"); w.Code != 401 {
			t.Errorf("at %s, a profile: %d", ip, w.Code)
		}
		for _, path := range []string{"/healthz", "/readyz", "/status/style.css"} {
			if w := ask(h, "GET", path, ""); w.Code != 200 {
				t.Errorf("at %s, GET %s: %d", ip, path, w.Code)
			}
		}
		for _, path := range []string{"/metrics", "/status", "/status/slow"} {
			if w := ask(h, "GET", path, "", "Authorization", "bearer "+token); w.Code != 200 {
				t.Errorf("at %s, GET %s with the token: %d", ip, path, w.Code)
			}
		}
	}
	h := at("0.0.0.0")
	if w := ask(h, "GET", "/status", "", "Accept", "text/html"); w.Code != 401 || !strings.Contains(w.Body.String(), `<form method="post"`) || !strings.Contains(w.Body.String(), `id="wrong" hidden`) {
		t.Errorf("a browser sees %d %s", w.Code, w.Body)
	}
	if w := ask(h, "POST", "/status/login", "token=wrong"); w.Code != 401 || strings.Contains(w.Body.String(), `id="wrong" hidden`) || w.Header().Get("Set-Cookie") != "" {
		t.Errorf("with the wrong token: %d %v", w.Code, w.Header())
	}
	if w := ask(h, "POST", "/status/login", "token="+token, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"); w.Code != 403 || w.Header().Get("Set-Cookie") != "" {
		t.Errorf("from another page: %d %v", w.Code, w.Header())
	}
	w := ask(h, "POST", "/status/login", url.Values{"token": {" " + token + "\n"}}.Encode())
	c := w.Header().Get("Set-Cookie")
	if w.Code != 303 || w.Header().Get("Location") != "/status" || !strings.Contains(c, "HttpOnly") || !strings.Contains(c, "SameSite=Strict") || strings.Contains(c, token) {
		t.Fatalf("signing in: %d %v", w.Code, w.Header())
	}
	c, _, _ = strings.Cut(c, ";")
	if w := ask(h, "GET", "/status/slow", "", "Cookie", c); w.Code != 200 {
		t.Errorf("who has signed in: %d", w.Code)
	}
	door.Token = func() string { return "another-token-by-now" }
	if w := ask(Guard(&net.TCPAddr{IP: net.ParseIP("::")}, door, r.h), "GET", "/status", "", "Cookie", c); w.Code != 401 {
		t.Errorf("with a cookie of another token: %d", w.Code)
	}
	if w := ask(Guard(&net.UnixAddr{Name: "/run/admin"}, door, r.h), "GET", "/status/slow", ""); w.Code != 200 {
		t.Errorf("on a unix socket: %d", w.Code)
	}
	door.Token = func() string { return "" }
	for ip, code := range map[string]int{"127.0.0.1": 200, "10.0.0.7": 403} {
		if w := ask(Guard(&net.TCPAddr{IP: net.ParseIP(ip)}, door, r.h), "GET", "/status/slow", ""); w.Code != code {
			t.Errorf("at %s without a token: %d", ip, w.Code)
		}
	}
}
