package e2e

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// greenPackages is where gevent of a CPython is (scripts/gevent-packages); "": it has none.
func greenPackages(t *testing.T, version string) string {
	t.Helper()
	dir, err := filepath.Abs("../build/gevent")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Fatal("build/gevent is missing: run make tools")
	}
	dir = filepath.Join(dir, strings.Replace(version, ".0", ".", 1)) // pythons says 3.08
	if _, err := os.Stat(dir); err != nil {
		return ""
	}
	return dir
}

// startGreen serves an application with gevent, on the Python of the tests.
func startGreen(t *testing.T, args ...string) *server {
	t.Helper()
	return start(t, greenArgs(t, args...)...)
}

func greenArgs(t *testing.T, args ...string) []string {
	t.Helper()
	return append([]string{"--loop", "gevent", "-e", "PYTHONPATH=" + greenPackages(t, versionOf(t, venv))}, args...)
}

// everyGreen runs f for each CPython that has gevent, with what has hostler serve by it.
func everyGreen(t *testing.T, f func(t *testing.T, args ...string)) {
	found, names := pythons(t)
	n := 0
	for _, name := range names {
		version := strings.Fields(name)[0]
		packages := greenPackages(t, version)
		if packages == "" {
			t.Logf("%s: there is no gevent for it", version)
			continue
		}
		n++
		t.Run(version, func(t *testing.T) {
			f(t, "--python", found[name], "--loop", "gevent", "-e", "PYTHONPATH="+packages)
		})
	}
	if n == 0 {
		t.Error("no CPython here has gevent")
	}
}

// crowd asks for a path n times at once, and counts the answers.
func (s *server) crowd(n int, path string) map[string]int {
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 2 * time.Minute}
	var wg sync.WaitGroup
	var mu sync.Mutex
	answers := map[string]int{}
	for range n {
		wg.Go(func() {
			answer := ""
			r, err := c.Get("http://" + s.addr + path)
			if err == nil {
				b, _ := io.ReadAll(r.Body)
				r.Body.Close()
				answer = fmt.Sprint(r.StatusCode, " ", string(b))
			} else {
				answer = err.Error()
			}
			mu.Lock()
			answers[answer]++
			mu.Unlock()
		})
	}
	wg.Wait()
	return answers
}

// TestGreenlets: requests that wait do so at once, in one worker, and find what they would
// in a thread of their own, on each CPython.
func TestGreenlets(t *testing.T) {
	everyGreen(t, func(t *testing.T, args ...string) {
		s := start(t, append(args, "--workers", "1", "greens:app")...)
		s.waitLog("the standard library is patched before the application is imported")
		if a := s.crowd(100, "/wait_for_others?100"); a["200 together"] != 100 {
			t.Errorf("100 at once: %v", a)
		}
		for _, c := range []struct{ path, want string }{
			{"hello", "hello"},
			{"itself?" + s.addr, "hello"},
			{"variables", "none, then mine"},
			{"variables", "none, then mine"},
			{"thread", "by a thread"},
			{"child", "7 said"},
			{"write", "abc"},
			{"hints", "hello"},
			{"stream?3", "2 1 0 "},
			{"deadline", "5, hostler.deadline outside of a request's thread"},
		} {
			if status, body := s.get("/" + c.path); status != 200 || body != c.want {
				t.Errorf("%s: %d %q, not %q", c.path, status, body, c.want)
			}
		}
		if _, body := s.get("/named"); !strings.Contains(body, "GET /named") {
			t.Errorf("a request's greenlet is %s", body)
		}
		if _, body := s.get("/file"); !strings.Contains(body, "def app(environ") {
			t.Errorf("a file: %q", body)
		}
		for path, log := range map[string]string{"raises": "ValueError: meant", "leaves": "SystemExit: 3", "killed": "GreenletExit"} {
			if status, _ := s.get("/" + path); status != 500 {
				t.Errorf("%s: %d, not 500", path, status)
			}
			s.waitLog("the application raised on GET /" + path)
			s.waitLog(log)
		}
		if a := s.crowd(30, "/variables"); a["200 none, then mine"] != 30 {
			t.Errorf("variables of many at once: %v", a)
		}
		if n := s.metric("hostler_app_violations_total", ""); n != 0 {
			t.Errorf("%v violations of PEP 3333 are counted", n)
		}
		if text := s.log.String(); strings.Contains(text, "Unraisable") || strings.Contains(text, "Exception ignored") {
			t.Error("an exception is ignored")
		}
	})
}

// TestGreenThousand: a thousand requests sleep in one worker at the same time; of more than
// --worker-concurrency the rest wait.
func TestGreenThousand(t *testing.T) {
	s := startGreen(t, "--workers", "1", "greens:app")
	if a := s.crowd(1000, "/wait_for_others?1000"); a["200 together"] != 1000 {
		t.Errorf("1000 at once: %v", a)
	}
	s = startGreen(t, "--workers", "1", "--worker-concurrency", "5", "greens:app")
	if a := s.crowd(20, "/wait_for_others?5"); a["200 together"] != 20 {
		t.Errorf("20, of which 5 at once: %v", a)
	}
}

// TestGreenTimeout: --timeout ends a request that waits, and one that computes, with what
// PEP 3333 has to be done; one that blocks the process in C costs its worker. The others
// of the same worker get on in each case.
func TestGreenTimeout(t *testing.T) {
	s := startGreen(t, "--workers", "1", "--timeout", "2", "greens:app")
	_, first := s.get("/itself_by_number")
	for _, path := range []string{"/sleep?60", "/busy?60"} {
		if status, _ := s.get(path); status != 504 {
			t.Errorf("%s: %d, not 504", path, status)
		}
		s.waitLog("the application raised on GET " + path)
	}
	s.waitLog("hostler.RequestTimeout", 2)
	s.waitLog("the event loop is blocked: none of this worker's requests gets on")
	if _, pid := s.get("/itself_by_number"); pid != first {
		t.Errorf("the worker is %s now, and was %s", pid, first)
	}
	if a := s.crowd(10, "/sleep?0.1"); a["200 slept"] != 10 {
		t.Errorf("afterwards: %v", a)
	}
	go func() { _, _ = http.Get("http://" + s.addr + "/hang") }()
	s.waitLog("a request cannot be interrupted; its worker will be replaced")
	s.waitLog("target=/hang")
	if _, pid := s.get("/itself_by_number"); pid == first {
		t.Error("the worker that hangs answers")
	}
}

// TestGreenLeave: no request is lost in a reload, nor at a stop as long as there is time;
// then it is ended, and that is said.
func TestGreenLeave(t *testing.T) {
	s := startGreen(t, "--workers", "2", "--graceful-timeout", "8", "greens:app")
	answers := make(chan map[string]int)
	begin := func(n int, path string) {
		before := s.metric("hostler_tasks", "")
		go func() { answers <- s.crowd(n, path) }()
		s.eventually("they run", func() bool { return s.metric("hostler_tasks", "") >= before+float64(n) })
	}
	begin(40, "/sleep?1.5")
	s.signal(syscall.SIGHUP)
	s.waitLog("msg=reloaded")
	if a := s.crowd(10, "/sleep?0.1"); a["200 slept"] != 10 {
		t.Errorf("during a reload: %v", a)
	}
	if a := <-answers; a["200 slept"] != 40 {
		t.Errorf("those that a reload finds: %v", a)
	}
	s.waitLog(`msg="worker left"`, 2)
	begin(3, "/sleep?100")
	begin(40, "/sleep?1.5")
	s.signal(syscall.SIGTERM)
	if a := <-answers; a["200 slept"] != 40 {
		t.Errorf("those that a stop finds: %v", a)
	}
	if a := <-answers; len(a) == 0 || a["200 slept"] != 0 {
		t.Errorf("those for which there is no time: %v", a)
	}
	<-s.exited
	s.waitLog("ended by GreenletExit, for the worker's time is over")
}

// TestGreenPressure: who does not read holds its own greenlet, and little memory; who has
// gone is found out.
func TestGreenPressure(t *testing.T) {
	s := startGreen(t, "--workers", "1", "greens:app")
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.(*net.TCPConn).SetReadBuffer(64 << 10)
	fmt.Fprint(c, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
	counts := func() (sent, closed int) {
		_, body := s.get("/counts")
		_, _ = fmt.Sscan(body, &sent, &closed)
		return sent, closed
	}
	last, _ := counts()
	s.eventually("the stream waits for its client", func() bool {
		time.Sleep(200 * time.Millisecond)
		now, _ := counts()
		same := now == last && now > 0
		last = now
		return same
	})
	if last > 24<<20 {
		t.Errorf("%d bytes have been made for a client that reads nothing", last)
	}
	if _, err := io.CopyN(io.Discard, c, int64(last)); err != nil {
		t.Fatal(err)
	}
	s.eventually("the stream goes on", func() bool { now, _ := counts(); return now > last })
	c.Close()
	s.eventually("close()", func() bool { _, closed := counts(); return closed == 1 })
}

// TestGreenUploads: bodies that come slowly hold no more than their greenlets.
func TestGreenUploads(t *testing.T) {
	s := startGreen(t, "--workers", "1", "--stream-uploads", "/body*", "--stream-uploads", "/impatient", "--stream-uploads", "/beside", "greens:app")
	post := func(path string) (net.Conn, *bufio.Reader) {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", path)
		return c, bufio.NewReader(c)
	}
	answer := func(r *bufio.Reader, want string) {
		t.Helper()
		a, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(a.Body); err != nil || string(b) != want {
			t.Errorf("%q, %v, not %q", b, err, want)
		}
	}
	const n = 20
	conns, readers := make([]net.Conn, n), make([]*bufio.Reader, n)
	for i := range conns {
		conns[i], readers[i] = post("/body")
	}
	s.eventually("all of them run", func() bool { return s.metric("hostler_tasks", "") == n })
	if _, body := s.get("/hello"); body != "hello" {
		t.Error(body)
	}
	piece := strings.Repeat("x", 10000)
	for range 5 {
		for _, c := range conns {
			fmt.Fprintf(c, "%x\r\n%s\r\n", len(piece), piece)
		}
	}
	for i, c := range conns {
		fmt.Fprint(c, "0\r\n\r\n")
		answer(readers[i], "50000")
	}

	c, r := post("/impatient")
	s.eventually("it runs", func() bool { return s.metric("hostler_tasks", "") == 1 })
	time.Sleep(300 * time.Millisecond) // it gives up after 200; should it not have yet, the answer says so
	fmt.Fprint(c, "4\r\nlate\r\n0\r\n\r\n")
	answer(r, "gave up, then late")

	c, r = post("/beside")
	s.eventually("it runs", func() bool { return s.metric("hostler_tasks", "") == 1 })
	fmt.Fprint(c, "5\r\nother\r\n0\r\n\r\n")
	answer(r, "other")

	c, _ = post("/body")
	s.eventually("it runs", func() bool { return s.metric("hostler_tasks", "") == 1 })
	c.Close()
	s.waitLog("the client did not send the whole request body")
	s.eventually("it has ended", func() bool { return s.metric("hostler_tasks", "") == 0 })
}

// TestGreenLevel: what requests leave behind does not grow with their number, whether they
// end well or not.
func TestGreenLevel(t *testing.T) {
	s := startGreen(t, "--workers", "1", "--timeout", "1", "greens:app")
	round := func() {
		for path, n := range map[string]int{"/hello": 300, "/raises": 20, "/variables": 100, "/stream?2": 50, "/write": 50, "/deadline": 20} {
			s.crowd(n, path)
		}
		s.crowd(20, "/sleep?30")
	}
	count := func() string { _, n := s.get("/objects"); return n }
	round()
	first := count()
	round()
	round()
	if now := count(); now != first {
		t.Errorf("%s requests and bodies are kept, and %s after more of them", first, now)
	}
}

// TestGreenReferences is TestASGIReferences for greenlets. What gevent does no debug build of
// Python counts, so it is the objects that the collector knows, and, over long runs, memory.
func TestGreenReferences(t *testing.T) {
	startGreen(t, "--workers", "1", "greens:app").holdLevel("hello variables body beside stream?2 write raises deadline endless")
}

// TestGreenPreload: the mold patches, and each worker has a hub of its own.
func TestGreenPreload(t *testing.T) {
	everyGreen(t, func(t *testing.T, args ...string) {
		s := start(t, append(args, "--workers", "2", "--preload", "greens:app")...)
		if a := s.crowd(60, "/sleep?0.3"); a["200 slept"] != 60 {
			t.Errorf("%v", a)
		}
		if _, body := s.get("/child"); body != "7 said" {
			t.Error(body)
		}
		s.signal(syscall.SIGHUP)
		s.waitLog("msg=reloaded")
		if _, body := s.get("/thread"); body != "by a thread" {
			t.Error(body)
		}
	})
}

// TestGreenProtocols: the same over TLS, HTTP/2 and a unix socket.
func TestGreenProtocols(t *testing.T) {
	p := newPair(t, t.TempDir(), "localhost", 1)
	s := startGreen(t, append(p.args(), "--workers", "1", "greens:app")...)
	for _, h2 := range []bool{false, true} {
		tr := &http.Transport{Protocols: protocols(h2), TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
		c := &http.Client{Transport: tr, Timeout: time.Minute}
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				for path, want := range map[string]string{"/sleep?0.1": "slept", "/stream?3": "2 1 0 "} {
					r, err := c.Get("https://" + s.addr + path)
					if err != nil {
						t.Error(err)
						return
					}
					b, err := io.ReadAll(r.Body)
					r.Body.Close()
					if string(b) != want || err != nil || (r.ProtoMajor == 2) != h2 {
						t.Errorf("%s: %s %q, %v", path, r.Proto, b, err)
					}
				}
			})
		}
		wg.Wait()
		r, err := c.Post("https://"+s.addr+"/body", "text/plain", strings.NewReader(strings.Repeat("x", 300000)))
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := io.ReadAll(r.Body); string(b) != "300000" {
			t.Errorf("of a body %q arrived", b)
		}
		r.Body.Close()
		tr.CloseIdleConnections()
	}
}

// TestGreenStarts: what cannot run so is refused in a line that says what to do.
func TestGreenStarts(t *testing.T) {
	s := launch(t, "--loop", "gevent", "flaskapp:app") // the Python of the tests has no gevent
	s.waitLog("--loop gevent: that package is not installed for " + venv)
	<-s.exited
	s = launch(t, greenArgs(t, "asgibridge:app")...)
	s.waitLog("--loop gevent is for WSGI, and asgibridge:app is an ASGI application")
	<-s.exited
}

// TestGreenGunicorn: what was meant for Gunicorn's gevent worker is what it was there, and
// post_fork finds Python as it is before the patch.
func TestGreenGunicorn(t *testing.T) {
	conf := "worker_class = 'gevent'\nworker_connections = 4\nworkers = 1\nimport sys\n" +
		"def post_fork(server, worker):\n    print('post_fork, patched:', 'gevent.monkey' in sys.modules, flush=True)\n"
	dir := write(t, t.TempDir(), map[string]string{"gunicorn.conf.py": conf})
	s := start(t, "-e", "PYTHONPATH="+greenPackages(t, versionOf(t, venv)), "-c", dir+"/gunicorn.conf.py", "greens:app")
	s.waitLog("worker_class: gevent is --loop gevent")
	s.waitLog("worker_connections: is --worker-concurrency, with gevent")
	s.waitLog("post_fork, patched: False")
	if a := s.crowd(12, "/wait_for_others?4"); a["200 together"] != 12 {
		t.Errorf("12, of which 4 at once: %v", a)
	}
}

// TestGreenFrameworks: Flask and Django, whose requests wait at once.
func TestGreenFrameworks(t *testing.T) {
	for _, app := range []string{"flaskgreen:app", "djangogreen:app"} {
		s := startReal(t, "--loop", "gevent", "--workers", "1", app)
		if a := s.crowd(50, "/together?50"); a["200 together"] != 50 {
			t.Errorf("%s: 50 at once: %v", app, a)
		}
		if a := s.crowd(20, "/stream"); a["200 a b c "] != 20 {
			t.Errorf("%s: streams: %v", app, a)
		}
		r, err := client.Post("http://"+s.addr+"/form", "application/x-www-form-urlencoded", strings.NewReader("name=value"))
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := io.ReadAll(r.Body); string(b) != "value" {
			t.Errorf("%s: a form: %q", app, b)
		}
		r.Body.Close()
		if status, _ := s.get("/boom"); status != 500 {
			t.Errorf("%s: an exception: %d", app, status)
		}
	}
}

// TestGreenChildren: children that a request forks may wait, and end as they like.
func TestGreenChildren(t *testing.T) {
	everyGreen(t, func(t *testing.T, args ...string) {
		for _, preload := range [][]string{nil, {"--preload"}} {
			s := start(t, append(append(args, "--workers", "1", "greens:app"), preload...)...)
			for path, want := range map[string]string{"/fork": "1792", "/process": "9", "/fork_in_handler": "1792", "/exits": "768", "/answers": "17920"} {
				if code, body := s.get(path); code != 200 || body != want {
					t.Errorf("%v %s: %d %s, want %s", preload, path, code, body, want)
				}
			}
			if _, body := s.get("/hello"); body != "hello" {
				t.Error(body)
			}
			s.stop()
		}
	})
}

// TestGreenInterrupt: a request that is busy ends by --timeout alone, in its greenlet, and
// not with its worker. Some have just gone on waiting when that would be raised.
func TestGreenInterrupt(t *testing.T) {
	everyGreen(t, func(t *testing.T, args ...string) {
		s := start(t, append(args, "--workers", "1", "--timeout", "1", "greens:app")...)
		_, worker := s.get("/itself_by_number")
		for _, path := range []string{"/busy?60", "/destructors"} {
			if code, body := s.get(path); code != 504 {
				t.Errorf("%s: %d %s", path, code, body)
			}
		}
		for _, seconds := range []string{"1.15", "1.25", "1.35", "1.45"} {
			path := "/busy?" + seconds
			if code, body := s.get(path); code != 504 && body != "ran to the end" {
				t.Errorf("%s: %d %s", path, code, body)
			}
		}
		if _, same := s.get("/itself_by_number"); same != worker {
			t.Errorf("worker %s has become %s", worker, same)
		}
	})
}

// TestGreenEarly: the hub has run while the application was imported, and goes on from
// where it was then.
func TestGreenEarly(t *testing.T) {
	for _, args := range [][]string{{"-w", "2"}, {"-w", "2", "--preload"}} {
		s := startGreen(t, append(args, "greens_early:app")...)
		for range 10 {
			if status, text := s.get("/"); status != 200 || text != "ok" {
				t.Fatalf("%v: %d %s", args, status, text)
			}
		}
		s.stop()
	}
}
