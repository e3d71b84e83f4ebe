package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// abuseApp does to its own descriptors what the query string says, as Python.
const abuseApp = `
import array, os, socket, urllib.parse

def at(number):
    return socket.socket(fileno=os.dup(number))

def app(environ, start_response):
    body = "app %d" % os.getpid()
    if environ["PATH_INFO"] == "/do":
        exec(urllib.parse.unquote(environ["QUERY_STRING"]), globals())
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body.encode()]
`

func (s *server) do(code string) {
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	r, err := c.Get("http://" + s.addr + "/do?" + strings.ReplaceAll(strings.ReplaceAll(code, " ", "%20"), ";", "%3B"))
	if err == nil { // its own connection may be closed by it
		r.Body.Close()
	}
}

func startAbused(t *testing.T, args ...string) *server {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, map[string]string{"abuse.py": abuseApp})
	return start(t, append([]string{"--chdir", dir}, append(args, "abuse:app")...)...)
}

func (s *server) adminSays(path string) (int, string) { return fetch(s.t, "http://"+s.admin+path) }

// TestFrozenWorker stops the only worker: that is noticed, said once, and mended.
func TestFrozenWorker(t *testing.T) {
	s := start(t, "--timeout", "5", "faults:app")
	c := s.dial()
	pid := c.pidOf()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(pid, syscall.SIGKILL) }()
	s.eventually("readiness to end", func() bool {
		code, text := s.adminSays("/readyz")
		return code == 503 && strings.Contains(text, "without a sign of life")
	})
	if up := s.metric("hostler_worker_up", ""); up != 0 {
		t.Errorf("hostler_worker_up is %v", up)
	}
	s.eventually("a new worker", func() bool { return s.metric("hostler_worker_exits_total", `cause="frozen"`) == 1 })
	s.eventually("readiness", func() bool { code, _ := s.adminSays("/readyz"); return code == 200 })
	if code, _ := s.get("/"); code != 200 {
		t.Errorf("the new worker answers %d", code)
	}
	if n := strings.Count(s.log.String(), "gives no sign of life"); n != 1 {
		t.Errorf("said %d times", n)
	}
}

// TestFrozenWorkerKept: without --timeout it is said, and nobody is killed.
func TestFrozenWorkerKept(t *testing.T) {
	s := start(t, "-w", "2", "--timeout", "0", "faults:app")
	c := s.dial()
	pid := c.pidOf()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }()
	s.waitLog("gives no sign of life")
	s.eventually("the metrics to say so", func() bool {
		return s.metric("hostler_worker_up", "") == 1 && s.metric("hostler_workers", `state="frozen"`) == 1
	})
	if code, _ := s.adminSays("/readyz"); code != 200 {
		t.Errorf("/readyz says %d with another worker there", code)
	}
	_ = syscall.Kill(pid, syscall.SIGCONT)
	s.waitLog("goes on")
	if got := c.pidOf(); got != pid {
		t.Errorf("process %d answers, not %d", got, pid)
	}
	s.eventually("it to serve", func() bool { return s.metric("hostler_worker_up", "") == 2 })
}

// TestShutListener has a worker shut down the listening sockets, for all who have them.
func TestShutListener(t *testing.T) {
	for _, mode := range [][]string{{"-w", "2"}, {"-w", "2", "--preload"}} {
		t.Run(strings.Join(mode, " "), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s")
			s := startAbused(t, append(mode, "-b", "unix:"+path)...)
			over := func(network, addr string) error {
				c, err := net.DialTimeout(network, addr, time.Second)
				if err != nil {
					return err
				}
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(time.Second))
				if _, err := io.WriteString(c, "GET / HTTP/1.0\r\n\r\n"); err != nil {
					return err
				}
				b, err := io.ReadAll(c)
				if err == nil && !strings.HasPrefix(string(b), "HTTP/1.1 200") {
					err = fmt.Errorf("%q", b)
				}
				return err
			}
			for round := range 2 {
				s.do("[at(n).shutdown(2) for n in (10, 11)]")
				s.waitLog("it is open again\" address="+s.addr, round+1)
				s.waitLog("it is open again\" address=unix:"+path, round+1)
				for range 20 {
					s.eventually("an answer over TCP", func() bool { return over("tcp", s.addr) == nil })
					s.eventually("an answer over the unix socket", func() bool { return over("unix", path) == nil })
				}
				if code, text := s.adminSays("/readyz"); code != 200 {
					t.Errorf("/readyz: %d %s", code, text)
				}
				// A worker to come has them, too, and so has the next generation.
				if round == 0 {
					before := s.metric("hostler_worker_exits_total", "")
					_ = syscall.Kill(s.dial().pidOf(), syscall.SIGKILL)
					s.eventually("two workers", func() bool {
						return s.metric("hostler_worker_exits_total", "") == before+1 && s.metric("hostler_workers", `state="serving"`) == 2
					})
				}
			}
			s.signal(syscall.SIGHUP)
			s.waitLog("msg=reloaded")
			if err := over("unix", path); err != nil {
				t.Error(err)
			}
			s.stop()
			if strings.Contains(s.log.String(), "cannot remove") {
				t.Error("the new socket's file is not known")
			}
		})
	}
}

// TestExchangeAbused: a worker ends the exchange, fills it with rubbish, and passes on
// what is no connection. Connections move again, without anybody's help.
func TestExchangeAbused(t *testing.T) {
	for _, mode := range [][]string{nil, {"--preload"}} {
		s := startAbused(t, append(mode, "-w", "2", "--keep-alive", "60")...)
		for i, code := range []string{
			"at(6).shutdown(2)",
			"s=at(6);s.setblocking(False);[s.send(b'x'*n) for n in (0,1,2,70000,100000)]",
			"s=at(6);[s.sendmsg([b'D'+b'\\0'*40],[(1,1,array.array('i',[n]))]) for n in (6,7,9)]",
			"at(7).shutdown(0)",
		} {
			s.do(code)
			if strings.Contains(code, "shutdown") {
				s.waitLog("another is in its place", i/3+1)
			}
			c := s.dial()
			pid := c.pidOf()
			before := s.metric("hostler_connections_handed_over_total", `direction="in"`)
			if err := syscall.Kill(pid, syscall.SIGTERM); err != nil { // it leaves, and its connection moves
				t.Fatal(err)
			}
			s.eventually("the worker to leave", func() bool { return !alive(pid) })
			if now := c.pidOf(); now == pid {
				t.Errorf("%s: process %d answers after its end", code, now)
			}
			if after := s.metric("hostler_connections_handed_over_total", `direction="in"`); after <= before {
				t.Errorf("after %s no connection moves", code)
			}
			s.eventually("two workers", func() bool { return s.metric("hostler_workers", `state="serving"`) == 2 })
		}
		if n := strings.Count(s.log.String(), "\n"); n > 80 {
			t.Errorf("%d lines of log", n)
		}
	}
}

// TestDescriptorsClosed: the application closes what is the server's. The worker is
// replaced, whatever it lost, and it is said why.
func TestDescriptorsClosed(t *testing.T) {
	for _, c := range []struct{ code, log string }{
		// Go's runtime may be the first to notice that its own is gone, too.
		{"os.closerange(3, 1024)", "worker died"},
		{"os.close(10)", "has closed descriptor 10"},
		{"os.close(3)", "has closed its control socket"},
		{"os.close(7)", "has closed descriptor 7"},
		{"os.dup2(os.open('/dev/null', 0), 6)", "has closed its exchange"},
	} {
		s := startAbused(t, "-w", "1", "--graceful-timeout", "3")
		pid := s.dial().pidOf()
		s.do(c.code)
		s.waitLog(c.log)
		s.eventually("the worker's end", func() bool { return !alive(pid) })
		s.eventually("another worker's answer", func() bool {
			c, err := net.DialTimeout("tcp", s.addr, time.Second)
			if err != nil {
				return false
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(time.Second))
			_, _ = io.WriteString(c, "GET / HTTP/1.0\r\n\r\n")
			b, _ := io.ReadAll(c)
			return strings.HasPrefix(string(b), "HTTP/1.1 200")
		})
		if n := strings.Count(s.log.String(), "\n"); n > 40 && !strings.Contains(c.code, "closerange") {
			t.Errorf("%s: %d lines of log", c.code, n)
		}
	}
}

// TestStopWithConnectionsAtRest: connections that rest between requests do not hold up
// a stop, nor do those that have never asked for anything.
func TestStopWithConnectionsAtRest(t *testing.T) {
	s := start(t, "--keep-alive", "600", "faults:app")
	rest := s.dial()
	rest.pidOf()
	s.dial()
	s.signal(syscall.SIGTERM)
	if _, err := rest.r.ReadByte(); err != io.EOF {
		t.Errorf("a connection at rest: %v", err)
	}
	s.waitLog("msg=stopped")
}
