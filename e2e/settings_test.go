package e2e

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What these settings do is told in docs/settings.md; each is shown here to do it.

// gatedApp notes the order in which requests run. Those below /hold run until there is a
// file "open", those below /slow for a moment.
const gatedApp = `
import os, time
ran = []
def app(environ, start_response):
    path = environ["PATH_INFO"]
    body = " ".join(ran).encode()
    if path != "/ran":
        ran.append(path)
        body = str(os.getpid()).encode()
    while path.startswith("/hold") and not os.path.exists("open"):
        time.sleep(0.01)
    if path.startswith("/slow"):
        time.sleep(0.3)
    if path == "/big":
        body = b"x" * (8 << 20)
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
`

// gated starts gatedApp and returns what lets the requests below /hold go.
func gated(t *testing.T, args ...string) (s *server, open func()) {
	t.Helper()
	dir := write(t, t.TempDir(), map[string]string{"gated.py": gatedApp})
	s = start(t, append(args, "--chdir", dir, "gated:app")...)
	open = func() { write(t, dir, map[string]string{"open": ""}) }
	t.Cleanup(open)
	return s, open
}

// askApart requests path in the background.
func (s *server) askApart(wg *sync.WaitGroup, path string) {
	wg.Go(func() {
		r, err := client.Get("http://" + s.addr + path)
		if err != nil {
			s.t.Error(err)
			return
		}
		r.Body.Close()
		if r.StatusCode != 200 {
			s.t.Errorf("%s: %s", path, r.Status)
		}
	})
}

func (s *server) busy() float64    { return s.metric("hostler_threads", `state="busy"`) }
func (s *server) waiting() float64 { return s.metric("hostler_queue_depth", "") }

func TestHealthPath(t *testing.T) {
	s, open := gated(t, "--health-path", "/up")
	var wg sync.WaitGroup
	s.askApart(&wg, "/hold")
	s.eventually("the thread to be busy", func() bool { return s.busy() == 1 })
	for i, path := range []string{"/a", "/b", "/c", "/up"} {
		s.askApart(&wg, path)
		s.eventually(path+" to wait", func() bool { return s.waiting() == float64(i+1) })
	}
	open()
	wg.Wait()
	if _, ran := s.get("/ran"); !strings.HasPrefix(ran, "/hold /up ") {
		t.Errorf("they ran as %s", ran)
	}
}

func TestQueueWait(t *testing.T) {
	s := start(t, "--queue-wait", "0.05", "faults:app")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	for range 40 { // two seconds of work for the one thread
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if r, err := client.Get("http://" + s.addr + "/sleep?0.05"); err == nil {
					r.Body.Close()
				}
			}
		})
	}
	s.eventually("requests to be declined", func() bool { return s.metric("hostler_unavailable_total", "") > 0 })
	close(stop)
}

func TestSpareThread(t *testing.T) {
	for _, spare := range []string{"true", "false"} {
		s, _ := gated(t, "--threads", "2", "--spare-thread="+spare)
		held := func() float64 { return s.metric("hostler_requests_held_total", "") }
		both := func() { // the second would leave no thread free
			for range 50 {
				s.get("/quick")
			}
			var wg sync.WaitGroup
			s.askApart(&wg, "/slow")
			s.askApart(&wg, "/slow")
			wg.Wait()
		}
		if spare == "true" {
			s.eventually("a slow request to be held", func() bool { both(); return held() > 0 })
		} else {
			for range 4 {
				both()
			}
			if n := held(); n > 0 {
				t.Errorf("%v requests were held", n)
			}
		}
		s.stop()
	}
}

func TestWorkerConnections(t *testing.T) {
	s := start(t, "--worker-connections", "2", "--keep-alive", "1h", "faults:app")
	for i := range 4 {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if r, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || r.StatusCode != 200 {
			t.Fatalf("connection %d: %v", i, err)
		}
		if n := s.metric("hostler_connections", ""); n > 3 { // one may have come that another leaves for
			t.Errorf("%v connections", n)
		}
	}
	s.eventually("two connections to have made room for others", func() bool { return s.metric("hostler_connections_evicted_total", "") >= 2 })
}

func TestBacklog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s := start(t, "--backlog", "4", "-b", "unix:"+path, "faults:app")
	for _, pid := range s.workers() { // nobody takes connections any more
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		defer syscall.Kill(pid, syscall.SIGCONT)
	}
	connected := 0
	for ; connected < 100; connected++ {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); errors.Is(err, unix.EAGAIN) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	// A queue of n takes n + 1, and one may be in the hands of a thread.
	if connected < 4 || connected > 6 {
		t.Errorf("%d connections waited", connected)
	}
}

func TestClientCerts(t *testing.T) {
	dir := t.TempDir()
	server, client := newPair(t, dir, "localhost", 1), newPair(t, dir, "alice", 2)
	for _, when := range []string{"optional", "required"} {
		s := start(t, append(server.args(), "--ca-certs", client.cert, "--client-certs", when, "faults:app")...)
		with := &tls.Config{Certificates: []tls.Certificate{client.load(t)}}
		if r, err := s.secure(false, with).Get("https://" + s.addr); err != nil {
			t.Errorf("%s: with a certificate: %v", when, err)
		} else {
			r.Body.Close()
		}
		r, err := s.secure(false, nil).Get("https://" + s.addr)
		if (err == nil) != (when == "optional") {
			t.Errorf("%s: without a certificate: %v", when, err)
		}
		if err == nil {
			r.Body.Close()
		}
		s.stop()
	}
}

func TestTLSMinVersion(t *testing.T) {
	p := newPair(t, t.TempDir(), "localhost", 1)
	for _, least := range []string{"1.2", "1.3"} {
		s := start(t, append(p.args(), "--tls-min-version", least, "faults:app")...)
		c, err := tls.Dial("tcp", s.addr, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
		if (err == nil) != (least == "1.2") {
			t.Errorf("TLS 1.2 where %s is the least: %v", least, err)
		}
		if err == nil {
			c.Close()
		}
		s.stop()
	}
}

func TestReloadExtra(t *testing.T) {
	p := project{t, t.TempDir()}
	p.write("extra.py", `
text = open("prices.csv").read()
def app(environ, start_response):
    start_response("200 OK", [])
    return [text.encode()]
`)
	p.write("prices.csv", "one")
	s := start(t, "--reload", "--reload-extra", filepath.Join(p.dir, "prices.csv"), "--chdir", p.dir, "extra:app")
	s.says(200, "one")
	p.write("prices.csv", "two")
	s.says(200, "two")
}

func TestMaxAge(t *testing.T) {
	s := start(t, "--max-age", "1", "faults:app")
	_, first := s.get("/")
	s.eventually("another worker to answer", func() bool { _, now := s.get("/"); return now != first })
	if n := s.metric("hostler_worker_exits_total", `reason="max_age"`) + float64(strings.Count(s.log.String(), "cause=max_age")); n == 0 {
		t.Error("nothing says that it was for its age")
	}
}

// TestRecycleJitter: limits that many workers have in common are not reached by all of
// them at once.
func TestRecycleJitter(t *testing.T) {
	for _, percent := range []string{"0", "90"} {
		s := start(t, "-w", "8", "--max-unavailable", "8", "--max-age", "20s", "--recycle-jitter", percent, "faults:app")
		first := make(map[int]bool)
		for _, pid := range s.workers() {
			first[pid] = true
		}
		replacing := func() int { return strings.Count(s.log.String(), `msg="replacing a worker"`) }
		if percent == "0" {
			time.Sleep(4 * time.Second)
			if n := replacing(); n > 0 {
				t.Errorf("%d workers were replaced before their time", n)
			}
		} else { // one in 10^6 or so that all eight take the last tenth of the time
			s.eventually("the first of them to leave", func() bool { return replacing() > 0 })
		}
		s.stop()
	}
}

func TestMaxUnavailable(t *testing.T) {
	for most, want := range map[string]int{"1": 5, "3": 7} {
		dir := write(t, t.TempDir(), map[string]string{"booting.py": `
import os, time
while os.path.exists("closed"):
    time.sleep(0.02)
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"ok"]
`})
		s := start(t, "-w", "4", "--max-unavailable", most, "--max-age", "3s", "--recycle-jitter", "0", "--chdir", dir, "booting:app")
		write(t, dir, map[string]string{"closed": ""})
		s.eventually(most+" replacements", func() bool { return len(s.workers()) >= want })
		for range 20 {
			if n := len(s.workers()); n > want {
				t.Fatalf("--max-unavailable %s: %d processes", most, n)
			}
			time.Sleep(100 * time.Millisecond)
		}
		s.stop()
	}
}

func TestLimitBuffers(t *testing.T) {
	s, _ := gated(t, "--limit-buffers", "1m", "--write-timeout", "1h", "--min-rate", "0")
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n") // and takes nothing
	s.eventually("the client to be closed", func() bool { return s.metric("hostler_connections_evicted_total", "") == 1 })
}
