package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// wire is a client's connection, for tests that look at each byte.
type wire struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

// dial connects to the server's first address.
func (s *server) dial() *wire {
	s.t.Helper()
	return dialTo(s.t, "tcp", s.addr)
}

func dialTo(t *testing.T, network, addr string) *wire {
	t.Helper()
	c, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return &wire{t: t, Conn: c, r: bufio.NewReader(c)}
}

// dialQuiet is dial for goroutines that must not end the test; nil if it fails.
func dialQuiet(addr string) *wire {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil
	}
	return &wire{Conn: c, r: bufio.NewReader(c)}
}

// send writes a request, or a part of one.
func (w *wire) send(parts ...string) {
	w.t.Helper()
	if _, err := io.WriteString(w, strings.Join(parts, "")); err != nil {
		w.t.Fatal(err)
	}
}

// answer reads one response to a request of the given method, and its body.
func (w *wire) answer(method string) (*http.Response, string) {
	w.t.Helper()
	r, err := http.ReadResponse(w.r, &http.Request{Method: method})
	if err != nil {
		w.t.Fatalf("cannot read a response: %v", err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		w.t.Fatalf("%s: cannot read the body behind %d bytes: %v", r.Status, len(b), err)
	}
	return r, string(b)
}

// want reads one response and holds it against a status and a body.
func (w *wire) want(status int, body string) *http.Response {
	w.t.Helper()
	r, b := w.answer("GET")
	if r.StatusCode != status || b != body {
		w.t.Errorf("%d %.200q instead of %d %.200q", r.StatusCode, b, status, body)
	}
	return r
}

// end wants the server to close the connection, with nothing more sent.
func (w *wire) end() {
	w.t.Helper()
	if b, err := io.ReadAll(w.r); err != nil || len(b) > 0 {
		w.t.Errorf("instead of the connection's end: %q, %v", b, err)
	}
}

// reset closes the connection with a RST.
func (w *wire) reset() {
	_ = w.Conn.(*net.TCPConn).SetLinger(0)
	w.Close()
}

// silent wants nothing to come for a while.
func (w *wire) silent(d time.Duration) {
	w.t.Helper()
	_ = w.SetReadDeadline(time.Now().Add(d))
	if b, err := w.r.ReadByte(); err == nil {
		w.t.Errorf("%q came, though nothing was due", b)
	}
	_ = w.SetReadDeadline(time.Now().Add(20 * time.Second))
}

func getLine(target string) string {
	return fmt.Sprintf("GET %s HTTP/1.1\r\nHost: a\r\n\r\n", target)
}

func post(target string, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", target, len(body), body)
}

// postChunked frames body in chunks of the given size.
func postChunked(target string, body string, size int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "POST %s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", target)
	for len(body) > 0 {
		n := min(size, len(body))
		fmt.Fprintf(&b, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	b.WriteString("0\r\n\r\n")
	return b.String()
}

// alive reports whether a process is there and no zombie.
func alive(pid int) bool {
	return pid > 0 && syscall.Kill(pid, 0) == nil && !strings.HasPrefix(procField(pid, "State"), "Z")
}

// procField is a field of /proc/PID/status.
func procField(pid int, name string) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for _, line := range strings.Split(string(b), "\n") {
		if k, v, _ := strings.Cut(line, ":"); k == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// readPid reads a pid file; 0 if there is none.
func readPid(file string) int {
	var pid int
	b, _ := os.ReadFile(file)
	_, _ = fmt.Sscan(string(b), &pid)
	return pid
}
