package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// routes are the requests that /metrics has by route: method, route and class of the status.
func (s *server) routes() map[string]float64 {
	s.t.Helper()
	_, text := fetch(s.t, "http://"+s.admin+"/metrics")
	all := make(map[string]float64)
	for line := range strings.Lines(text) {
		var n float64
		series, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
		if labels, ok := strings.CutPrefix(series, "hostler_route_requests_total{"); ok {
			code, rest, _ := strings.Cut(strings.TrimPrefix(labels, `code="`), `",method="`)
			method, route, _ := strings.Cut(strings.TrimSuffix(rest, `"`), `",route="`)
			if _, err := fmt.Sscan(value, &n); err != nil {
				s.t.Fatalf("%s: %v", line, err)
			}
			all[method+" "+route+" "+code] = n
		}
	}
	return all
}

// wantRoutes waits until they are these, and nothing else. What they took has been counted as
// often.
func (s *server) wantRoutes(what string, want map[string]float64) {
	s.t.Helper()
	var got map[string]float64
	defer func() {
		if s.t.Failed() {
			s.t.Logf("%s: the routes are %v, not %v", what, got, want)
		}
	}()
	s.eventually("the routes: "+what, func() bool {
		got = s.routes()
		return fmt.Sprint(got) == fmt.Sprint(want)
	})
	all := 0.0
	for _, n := range want {
		all += n
	}
	if n := s.metric("hostler_route_request_duration_seconds_count", ""); n != all {
		s.t.Errorf("%s: %v of %v durations", what, n, all)
	}
}

// walk asks an application of apps/real or apps/asgi for what has the same route by all
// frameworks, and for a file, whose route is the framework's way to write it.
func (s *server) walk(file string) {
	s.t.Helper()
	for _, path := range []string{"/hello", "/hello?q", "/hello", "/static/file.bin", "/boom", "/nowhere/1", "/nowhere/2"} {
		s.get(path)
	}
	r, err := client.Post("http://"+s.addr+"/raw", "application/octet-stream", strings.NewReader("x"))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Body.Close()
	s.wantRoutes("of a framework", map[string]float64{"GET /hello 2xx": 3, "POST /raw 2xx": 1, "GET " + file + " 2xx": 1, "GET /boom 5xx": 1, "GET - 4xx": 2})
}

// TestRoutes: each framework's routes are known, in each way that it is served.
func TestRoutes(t *testing.T) {
	files := t.TempDir()
	write(t, files, map[string]string{"file.bin": "a file"})
	asgi := []string{"--python", asgiPython(t), "--chdir", filepath.Join(apps, "asgi")}
	real := []string{"--python", appsPython(t), "--chdir", filepath.Join(apps, "real")}
	for _, c := range []struct {
		at   []string
		args string
		file string // its route
	}{
		{real, "flaskapp:app -w 2 --threads 4", "/static/<path:name>"},
		{real, "flaskapp:app -w 2 --preload", "/static/<path:name>"},
		{real, "flaskapp:app --loop gevent", "/static/<path:name>"},
		{real, "djangoapp:app --threads 2", "/static/<str:name>"},
		{real, "bottleapp:app", "/static/<name>"},
		{asgi, "starletteapp:app", "/static/{name}"},
		{asgi, "fastapiapp:app -w 2", "/static/{name}"},
		{asgi, "fastapiapp:app --loop uvloop --preload", "/static/{name}"},
		{asgi, "djangoapp:channels", "/static/<str:name>"},
		{asgi, "quartapp:app", "/static/<path:name>"},
		{asgi, "litestarapp:app", "/static/{name}"},
	} {
		t.Run(c.args, func(t *testing.T) {
			s := start(t, slices.Concat(c.at, []string{"--metrics-routes", "-e", "FILES=" + files}, strings.Fields(c.args))...)
			s.walk(c.file)
			if slices.Equal(c.at, asgi) {
				w := s.openSocket(t, "/ws", false)
				w.send(frameText, "x")
				w.want(frameText, "echo x")
				route := "/ws"
				if strings.HasPrefix(c.args, "djangoapp") {
					route = "-" // Channels hands a copy of scope on
				}
				s.eventually("the WebSocket", func() bool { return s.routes()["GET "+route+" 1xx"] == 1 })
				w.close(1000)
			}
		})
	}
	// These have files in a way of their own, which is no route.
	for _, app := range []string{"falconapp:app", "pyramidapp:app"} {
		t.Run(app, func(t *testing.T) {
			s := start(t, slices.Concat(real, []string{"--metrics-routes", "-e", "FILES=" + files, app})...)
			for _, path := range []string{"/hello", "/hello", "/count", "/nowhere"} {
				s.get(path)
			}
			s.wantRoutes(app, map[string]float64{"GET /hello 2xx": 2, "GET /count 2xx": 1, "GET - 4xx": 1})
		})
	}
}

// TestRoutesEverywhere is the core of that on each other CPython, with the last of each framework
// for it.
func TestRoutesEverywhere(t *testing.T) {
	files := t.TempDir()
	write(t, files, map[string]string{"file.bin": "a file"})
	found, names := pythons(t)
	for _, name := range names {
		version := strings.Replace(strings.Fields(name)[0], ".0", ".", 1)
		packages, err := filepath.Abs("../build/asgi/frameworks/" + version)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(packages); err != nil {
			continue // what there is of it is that of the other tests
		}
		for app, file := range map[string]string{
			"asgi/fastapiapp:app": "/static/{name}", "asgi/litestarapp:app": "/static/{name}", "asgi/djangoapp:channels": "/static/<str:name>",
			"asgi/quartapp:app": "/static/<path:name>", "real/flaskapp:app": "/static/<path:name>",
		} {
			t.Run(version+"/"+app, func(t *testing.T) {
				dir, app := filepath.Split(app)
				s := start(t, "--python", found[name], "--chdir", filepath.Join(apps, dir), "-e", "PYTHONPATH="+packages, "-e", "FILES="+files, "--metrics-routes", app)
				s.walk(file)
			})
		}
	}
}

// routedApp says itself what its routes are: what follows the first part of the path, a number of
// them, or nonsense.
const routedApp = `
import os
nonsense = {"bytes": b"/bytes", "none": None, "half": "/half\udc80", "lines": "/a\nb", "long": "/" + "x" * 500, "empty": "", "int": 1, "quoted": "/\"\\"}
def app(environ, start_response):
    kind, _, rest = environ["PATH_INFO"][1:].partition("/")
    if kind == "die":
        os._exit(3)
    environ["hostler.route"] = nonsense[rest] if kind == "nonsense" else "/" + rest
    start_response("200 OK", [("Content-Length", "0")])
    return []
async def asgi(scope, receive, send):
    if scope["type"] != "http":
        return
    kind, _, rest = scope["path"][1:].partition("/")
    scope["hostler.route"] = nonsense[rest] if kind == "nonsense" else "/" + rest
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})
`

// TestRoutesStay: what has been counted stays, whoever ends, and never goes back.
func TestRoutesStay(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"routed.py": routedApp})
	for _, args := range [][]string{{"-w", "2"}, {"-w", "2", "--preload", "--threads", "3", "--max-requests", "5"}} {
		s := start(t, append(args, "--metrics-routes", "--chdir", dir, "routed:app")...)
		want, last := make(map[string]float64), make(map[string]float64)
		for i := range 8 {
			for j := range 4 {
				route := fmt.Sprintf("/%d", (i+j)%6)
				if code, _ := s.get("/is" + route); code != 200 {
					t.Fatal(code)
				}
				want["GET "+route+" 2xx"]++
			}
			s.wantRoutes(fmt.Sprint(args, i), want)
			now := s.routes()
			for name, n := range last {
				if now[name] < n {
					t.Fatalf("%v: %s went from %v to %v", args, name, n, now[name])
				}
			}
			last = now
			if i == 4 {
				s.signal(syscall.SIGHUP)
				s.waitLog("msg=reloaded")
			} else {
				s.die()
			}
		}
		s.wantRoutes(fmt.Sprint(args), want)
		s.stop()
	}
}

// TestRoutesBound: names are text that can be shown, and their number has an end.
func TestRoutesBound(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"routed.py": routedApp})
	for _, app := range []string{"routed:app", "routed:asgi"} {
		s := start(t, "--metrics-routes", "--chdir", dir, app)
		for _, kind := range []string{"bytes", "none", "half", "lines", "long", "empty", "int", "quoted"} {
			if code, text := s.get("/nonsense/" + kind); code != 200 {
				t.Errorf("%s: %d %s", kind, code, text)
			}
		}
		want := map[string]float64{"GET - 2xx": 5, "GET /a\uFFFDb 2xx": 1, `GET /\"\\ 2xx`: 1, "GET /" + strings.Repeat("x", 127) + " 2xx": 1}
		s.wantRoutes(app, want)
		for i := range 300 {
			if code, _ := s.get(fmt.Sprintf("/is/%d", i)); code != 200 {
				t.Fatal(code)
			}
			if i < 197 {
				want[fmt.Sprintf("GET /%d 2xx", i)]++
			} else {
				want["GET other 2xx"]++
			}
		}
		s.wantRoutes(app, want)
		if code, _ := s.get("/is/9"); code != 200 {
			t.Error(code)
		}
		want["GET /9 2xx"]++
		s.wantRoutes(app, want)
		s.stop()
	}
}

// TestRoutesTold: spans are called after their routes, and the access log has them.
func TestRoutesTold(t *testing.T) {
	c := newCollector(t)
	s := traced(t, c, "--metrics-routes", "--access-log", "-", "--access-log-format", "json", "--python", appsPython(t), "--chdir", filepath.Join(apps, "real"), "-e", "FILES="+t.TempDir(), "--static", "/static="+apps, "flaskapp:app")
	s.get("/hello?a")
	s.get("/nowhere")
	s.get("/static/flaskapp.py")
	for path, want := range map[string]string{"/hello": "/hello", "/nowhere": "", "/static/flaskapp.py": ""} {
		got := c.of(t, s, path, 1)[0]
		if got.attr["http.route"] != want || got.Name != strings.TrimSpace("GET "+want) {
			t.Errorf("%s is called %s, its route %q", path, got.Name, got.attr["http.route"])
		}
	}
	s.waitLog(`"url.path":"/hello","url.query":"a","http.route":"/hello"`)
	s.wantRoutes("with spans", map[string]float64{"GET /hello 2xx": 1, "GET - 4xx": 1})
}

// TestRoutesOff: who does not ask for them has none.
func TestRoutesOff(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"routed.py": routedApp})
	s := start(t, "--chdir", dir, "routed:app")
	s.get("/is/1")
	s.eventually("the request", func() bool { return s.metric("hostler_request_duration_seconds_count", `code="2xx",method="GET"`) == 1 })
	if _, text := fetch(t, "http://"+s.admin+"/metrics"); strings.Contains(text, "hostler_route_") {
		t.Error(text)
	}
}
