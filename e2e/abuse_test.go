package e2e

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/sys/unix"
)

// others are clients that go about their business while something else goes on.
type others struct {
	mu    sync.Mutex
	took  []time.Duration
	wrong []string
}

func (o *others) note(took time.Duration, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.took = append(o.took, took); err != nil {
		o.wrong = append(o.wrong, fmt.Sprintf("after %v: %v", took, err))
	}
}

// ask makes one request on a connection, or says what was wrong.
func ask(c net.Conn, r *bufio.Reader) error {
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, getLine("/")); err != nil {
		return err
	}
	head, err := r.ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(head, "HTTP/1.1 200 ") {
		return fmt.Errorf("%q", head)
	}
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return err
		}
		if line == "\r\n" {
			_, err = io.CopyN(io.Discard, r, int64(len("hello")))
			return err
		}
	}
}

// goOn makes requests until stop is closed, on new connections and on one that is
// kept.
func (s *server) goOn(stop <-chan struct{}) (o *others, wait func()) {
	o = new(others)
	var wg sync.WaitGroup
	for _, keep := range []bool{false, true} {
		wg.Go(func() {
			var c net.Conn
			var r *bufio.Reader
			for {
				select {
				case <-stop:
					if c != nil {
						c.Close()
					}
					return
				case <-time.After(20 * time.Millisecond):
				}
				begin := time.Now()
				var err error
				if c == nil {
					if c, err = net.DialTimeout("tcp", s.addr, 20*time.Second); err != nil {
						c = nil
						o.note(time.Since(begin), err)
						continue
					}
					r = bufio.NewReader(c)
				}
				if err = ask(c, r); err != nil || !keep {
					c.Close()
					c = nil
				}
				o.note(time.Since(begin), err)
			}
		})
	}
	return o, wg.Wait
}

// TestSlowHTTPTest: a real attacker's 4,000 connections leave the others unharmed.
func TestSlowHTTPTest(t *testing.T) {
	for _, c := range []struct {
		name   string
		attack []string
		path   string
	}{
		{"slow headers", []string{"-H", "-i", "10", "-x", "24"}, "/"},
		{"slow body", []string{"-B", "-i", "10", "-s", "8192", "-x", "10"}, "/read"},
		{"slow read", []string{"-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32", "-k", "1"}, "/1mb"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t, "-w", "2", "abused:app")
			const connections, seconds = 4000, 14
			args := append(c.attack, "-c", fmt.Sprint(connections), "-r", "800", "-l", fmt.Sprint(seconds), "-p", "20", "-u", "http://"+s.addr+c.path)
			attack := exec.Command("slowhttptest", args...)
			var out bytes.Buffer
			attack.Stdout, attack.Stderr = &out, &out
			if err := attack.Start(); err != nil {
				t.Fatalf("%v (make tools installs it)", err)
			}
			stop := make(chan struct{})
			others, wait := s.goOn(stop)
			most := 0.0
			for end := time.Now().Add(seconds * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
				most = max(most, s.metric("hostler_connections", ""))
			}
			close(stop)
			wait()
			_ = attack.Process.Kill()
			_ = attack.Wait()
			slices.Sort(others.took)
			n := len(others.took)
			if n == 0 {
				t.Fatal("nothing was asked")
			}
			t.Logf("%v connections at most; %d other requests, median %v, worst %v", most, n, others.took[n/2], others.took[n-1])
			if len(others.wrong) > 0 {
				t.Errorf("%d of %d other requests failed: %.500q", len(others.wrong), n, others.wrong)
			}
			if most < connections*3/4 && s.metric("hostler_connections_accepted_total", "") < connections*3/4 {
				t.Errorf("only %v connections were open: %s", most, out.String())
			}
			// Without the attack it is a millisecond; a thread that waits for the
			// attackers, or places that they keep, would make it seconds.
			if others.took[n/2] > 500*time.Millisecond {
				t.Errorf("the median of the others' requests is %v", others.took[n/2])
			}
		})
	}
}

// level is what must be as before when all clients have gone.
type level struct{ running, fds, threads, objects int }

func (s *server) level(client *http.Client, scheme string) (l level) {
	s.t.Helper()
	r, err := client.Get(scheme + "://" + s.addr + "/level")
	text := body(s.t, r, err)
	if _, err := fmt.Sscan(text, &l.running, &l.objects); err != nil {
		s.t.Fatalf("%q: %v", text, err)
	}
	for _, pid := range s.workers() {
		fds, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		l.fds, l.threads = l.fds+len(fds), l.threads+len(tasks)
	}
	return l
}

// vanish is a way for a client to go.
type vanish struct {
	name string
	do   func(c net.Conn)
}

func ways() []vanish {
	tcp := func(c net.Conn) *net.TCPConn {
		if t, ok := c.(*tls.Conn); ok {
			c = t.NetConn()
		}
		return c.(*net.TCPConn)
	}
	return []vanish{
		{"closes", func(c net.Conn) { c.Close() }},
		{"resets", func(c net.Conn) { _ = tcp(c).SetLinger(0); tcp(c).Close() }},
		{"half-closes", func(c net.Conn) {
			_ = tcp(c).CloseWrite()
			_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			_, _ = io.Copy(io.Discard, io.LimitReader(c, 100))
			c.Close()
		}},
	}
}

// TestVanishingClients: whatever a client is at when it goes, nothing of it stays.
func TestVanishingClients(t *testing.T) {
	certificate := newPair(t, t.TempDir(), "localhost", 1)
	phases := []struct {
		name string
		sent string
		read int // bytes of the response
	}{
		{"nothing", "", 0},
		{"line", "GET /sl", 0},
		{"field", "GET /sleep HTTP/1.1\r\nHost: x\r\nX-A: b", 0},
		{"body", "POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc", 0},
		{"large body", "POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n" + strings.Repeat("x", 100000), 0},
		{"chunk", "POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", 0},
		{"request", getLine("/sleep"), 0},
		{"pipeline", getLine("/sleep") + getLine("/8mb") + getLine("/stream"), 10},
		{"small response", getLine("/"), 3},
		{"large response", getLine("/8mb"), 1000},
		{"generator", getLine("/stream"), 70000},
		{"rest", getLine("/"), 60},
	}
	for _, how := range []string{"plain", "tls"} {
		t.Run(how, func(t *testing.T) {
			args := []string{"-w", "1", "--threads", "3", "--graceful-timeout", "5"}
			if how == "tls" {
				args = append(args, certificate.args()...)
			}
			s := start(t, append(args, "abused:app")...)
			round := func(times int) {
				var wg sync.WaitGroup
				for _, p := range phases {
					for _, w := range ways() {
						wg.Go(func() {
							for range times {
								c, err := net.Dial("tcp", s.addr)
								if err != nil {
									t.Error(err)
									return
								}
								if how == "tls" {
									if p.name == "line" { // within the handshake
										_, _ = c.Write([]byte{22, 3, 1, 2, 0, 1})
										w.do(c)
										continue
									}
									c = tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
								}
								_ = c.SetDeadline(time.Now().Add(5 * time.Second))
								_, _ = io.WriteString(c, p.sent)
								_, _ = io.CopyN(io.Discard, c, int64(p.read))
								w.do(c)
							}
						})
					}
				}
				if how == "tls" {
					wg.Go(func() { vanishingStreams(t, s.addr, 20*times) })
				}
				wg.Wait()
			}
			scheme, client := "http", client
			if how == "tls" {
				scheme, client = "https", s.secure(false, nil)
			}
			look := func() level { return s.level(client, scheme) }
			round(3) // what there is once and for all
			s.settles(look, level{})
			before := look()
			round(8)
			s.settles(look, before)
			if n := s.metric("hostler_worker_exits_total", ""); n != 0 {
				t.Errorf("%v workers ended", n)
			}
		})
	}
}

// settles waits until all connections but our own have gone, and compares with what
// was before, unless that is nothing.
func (s *server) settles(look func() level, before level) {
	s.t.Helper()
	var now level
	ok := func() bool {
		now = look()
		// Our own connection is the one that runs. Threads of Go's come and stay as
		// they are needed; objects are the interpreter's own, too.
		return now.running == 0 && s.metric("hostler_connections", "") <= 1 && s.metric("hostler_threads", `state="busy"`) == 0 &&
			(before == level{} || now.fds <= before.fds+1 && now.threads <= before.threads+6 && now.objects <= before.objects+300)
	}
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			_, status := fetch(s.t, "http://"+s.admin+"/status")
			_, metrics := fetch(s.t, "http://"+s.admin+"/metrics")
			s.t.Fatalf("before: %+v, now %+v: %q %s", before, now, regexp.MustCompile(`hostler_connections{.*`).FindAllString(metrics, -1), status)
		}
	}
}

// vanishingStreams opens streams of HTTP/2 and resets them, or goes away.
func vanishingStreams(t *testing.T, addr string, times int) {
	for range times {
		c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		if err != nil {
			t.Error(err)
			return
		}
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		_, _ = io.WriteString(c, http2.ClientPreface)
		f := newFramed(&wire{t: t, Conn: c, r: bufio.NewReader(c)})
		_ = f.WriteSettings()
		for _, path := range []string{"/sleep", "/8mb", "/stream", "/read"} {
			id := f.open(path != "/read", ":method", "POST", ":scheme", "https", ":path", path, ":authority", "x")
			if rand.N(2) == 0 {
				_ = f.WriteRSTStream(id, http2.ErrCodeCancel)
			}
		}
		if rand.N(2) == 0 {
			_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond)) // there may be nothing
			_, _ = io.CopyN(io.Discard, c, 20000)
		}
		w := ways()
		w[rand.N(len(w))].do(c)
	}
}

// TestOutOfDescriptors: accepting backs off, the connections that there are go on,
// and so does accepting as soon as it can.
func TestOutOfDescriptors(t *testing.T) {
	s := start(t, "-w", "1", "abused:app")
	pid := s.workers()[0]
	kept := s.dial()
	r := bufio.NewReader(kept)
	if err := ask(kept, r); err != nil {
		t.Fatal(err)
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	var old unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &old); err != nil {
		t.Fatal(err)
	}
	// Numbers are given out from below: there may be gaps.
	highest := 0
	for _, f := range fds {
		var n int
		_, _ = fmt.Sscan(f.Name(), &n)
		highest = max(highest, n)
	}
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(highest + 1), Max: old.Max}, nil); err != nil {
		t.Fatal(err)
	}
	var waiting []net.Conn
	for range highest + 10 { // more than there are gaps
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, getLine("/")); err != nil {
			t.Fatal(err)
		}
		waiting = append(waiting, c)
	}
	s.waitLog("cannot accept connections; trying again")
	s.eventually("failures to be counted", func() bool { return s.metric("hostler_accept_errors_total", "") > 2 })
	before := ticks(t, pid)
	lines := strings.Count(s.log.String(), "cannot accept")
	begin := time.Now()
	for time.Since(begin) < 2*time.Second {
		if err := ask(kept, r); err != nil {
			t.Fatalf("a connection that was there: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if used := ticks(t, pid) - before; used > 100 { // of 200 in these two seconds
		t.Errorf("%d ticks of CPU: it does not back off", used)
	}
	if n := strings.Count(s.log.String(), "cannot accept") - lines; n > 1 {
		t.Errorf("%d more lines in the log in two seconds", n)
	}
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &old, nil); err != nil {
		t.Fatal(err)
	}
	for _, c := range waiting {
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		head, err := bufio.NewReader(c).ReadString('\n')
		if err != nil || !strings.HasPrefix(head, "HTTP/1.1 200 ") {
			t.Fatalf("one that had to wait: %q, %v", head, err)
		}
	}
	if err := syscall.Kill(pid, 0); err != nil {
		t.Error("the worker has ended")
	}
}

// ticks is the CPU time of a process.
func ticks(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(pid), "stat"))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	var user, system int
	_, _ = fmt.Sscan(f[11], &user)
	_, _ = fmt.Sscan(f[12], &system)
	return user + system
}
