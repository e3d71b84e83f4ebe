package e2e

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"golang.org/x/sys/unix"
)

// Clients that leave, in every way and at every moment: who has the request is told, whatever
// of the kernel's words somebody else has taken, and nothing waits for a time limit. Of those
// limits the servers here have none.

// departures are the ways to go, of a socket.
var departures = []string{"closes", "resets", "half, closes", "half, resets"}

// depart ends a client's socket so.
func depart(t *testing.T, c net.Conn, how string) {
	t.Helper()
	if over, ok := c.(*tls.Conn); ok {
		c = over.NetConn()
	}
	if how, halved := strings.CutPrefix(how, "half, "); halved {
		if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Error(err)
		}
		time.Sleep(100 * time.Millisecond) // so that it is seen by itself
		depart(t, c, how)
		return
	}
	if tcp, ok := c.(*net.TCPConn); ok && how == "resets" {
		_ = tcp.SetLinger(0)
	}
	c.Close()
}

// fills waits until no more comes of what is sent to a client that does not read.
func fills(t *testing.T, c net.Conn) {
	t.Helper()
	if over, ok := c.(*tls.Conn); ok {
		c = over.NetConn()
	}
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	end := time.Now().Add(30 * time.Second)
	for last, same := 0, 0; same < 20; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("%d bytes have come, and no more", last)
			return
		}
		n := 0
		_ = raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.SIOCINQ) })
		if err != nil {
			t.Fatal(err)
		}
		if same++; n != last || n < 2048 { // a head is less
			last, same = n, 0
		}
	}
}

// narrow connects with little room for what is sent to the client.
func narrow(t *testing.T, network, addr string) net.Conn {
	t.Helper()
	d := net.Dialer{KeepAlive: -1, Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 8192) })
	}}
	c, err := d.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(60 * time.Second))
	return c
}

// departing is what a client asks for before it goes.
type departing struct {
	kind string
	body bool // a part of one is sent
	fill bool // it gets more than there is room for
}

func (d departing) socket() bool {
	return strings.Contains(d.kind, "ws_") || strings.HasPrefix(d.kind, "raw_")
}

// unread are messages that fill what waits for a WebSocket's application.
func (d departing) unread() string {
	if !strings.HasSuffix(d.kind, "_deaf") {
		return ""
	}
	return strings.Repeat("\x81\x81\x00\x00\x00\x00x", 100)
}

// ask asks by HTTP/1.1.
func (d departing) ask(t *testing.T, c net.Conn, name string) {
	t.Helper()
	text := fmt.Sprintf("GET /%s?%s HTTP/1.1\r\nHost: a\r\n\r\n", d.kind, name)
	switch {
	case d.body:
		text = fmt.Sprintf("POST /%s?%s HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n%s", d.kind, name, strings.Repeat("b", 1000))
	case d.socket():
		text = fmt.Sprintf("GET /%s?%s HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n%s", d.kind, name, d.unread())
	}
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// askFrames asks by HTTP/2; wide: there are no windows that could close.
func (d departing) askFrames(t *testing.T, c net.Conn, name string, wide bool) *http2.Framer {
	t.Helper()
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	f := http2.NewFramer(c, c)
	if wide {
		_ = f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
		_ = f.WriteWindowUpdate(0, 1<<31-1-65535)
	} else {
		_ = f.WriteSettings()
	}
	_ = f.WriteSettingsAck()
	var block strings.Builder
	enc := hpack.NewEncoder(&block)
	fields := []string{":method", "GET", ":scheme", "https", ":path", "/" + d.kind + "?" + name, ":authority", "a"}
	switch {
	case d.body:
		fields[1] = "POST"
	case d.socket():
		fields[1] = "CONNECT"
		fields = append(fields, ":protocol", "websocket", "sec-websocket-version", "13")
	}
	for i := 0; i < len(fields); i += 2 {
		_ = enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte(block.String()), EndStream: !d.body && !d.socket(), EndHeaders: true}); err != nil {
		t.Fatal(err)
	}
	if d.body {
		_ = f.WriteData(1, false, make([]byte, 1000))
	}
	if text := d.unread(); text != "" {
		_ = f.WriteData(1, false, []byte(text))
	}
	return f
}

// departuresOf has clients of s leave, all ways at once for each kind, and wants nothing of
// them to be left.
func departuresOf(t *testing.T, of *server, network, addr, protocol string, kinds []departing) {
	s := *of
	s.t = t
	ways := departures
	if strings.HasPrefix(protocol, "HTTP/2") {
		ways = append([]string{"resets the stream"}, ways...)
	}
	var wg sync.WaitGroup
	for i, d := range kinds {
		for k, how := range ways {
			name := fmt.Sprintf("%s.%d.%d.", strings.ReplaceAll(protocol+network, " ", "."), i, k)
			wg.Go(func() {
				c := narrow(t, network, addr)
				if protocol != "plain" {
					over := tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{map[bool]string{true: "http/1.1", false: "h2"}[protocol == "TLS"]}})
					if err := over.Handshake(); err != nil {
						t.Error(err)
						return
					}
					c = over
				}
				var f *http2.Framer
				if strings.HasPrefix(protocol, "HTTP/2") {
					f = d.askFrames(t, c, name, protocol == "HTTP/2")
				} else {
					d.ask(t, c, name)
				}
				s.waitLog("begun " + name)
				if d.fill {
					fills(t, c)
				}
				if how == "resets the stream" {
					_ = f.WriteRSTStream(1, http2.ErrCodeCancel)
					s.waitLog("over " + name)
					c.Close()
				} else {
					depart(t, c, how)
				}
			})
		}
	}
	wg.Wait()
	end := time.Now().Add(40 * time.Second) // for all of them
	for i, d := range kinds {
		for k, how := range ways {
			name := fmt.Sprintf("%s.%d.%d.", strings.ReplaceAll(protocol+network, " ", "."), i, k)
			s.departed(name, fmt.Sprintf("%s, %s, a client %s", protocol, d.kind, how), end)
		}
	}
	s.eventually("all to be free", func() bool {
		return s.metric("hostler_threads", `state="busy"`)+s.metric("hostler_tasks", "")+s.metric("hostler_websockets", "")+s.metric("hostler_connections", "") == 0
	})
	if text := s.log.String(); strings.Contains(text, "Traceback") || strings.Contains(text, "raised") {
		t.Error("that a client left is in the log as an exception")
	}
}

// departed wants the end of a request to be told, and logged.
func (s *server) departed(name, of string, by time.Time) {
	s.t.Helper()
	for what, text := range map[string]string{"the application to be told": "over " + name + "\n", "a line of the access log": "?" + name + " HTTP"} {
		for !strings.Contains(s.log.String(), text) && time.Now().Before(by) {
			time.Sleep(20 * time.Millisecond)
		}
		if !strings.Contains(s.log.String(), text) {
			s.t.Errorf("%s: waited in vain for %s", of, what)
		}
	}
}

// TestVanished: nothing comes any more from a client's machine, nor that it has gone.
func TestVanished(t *testing.T) {
	t.Parallel()
	p := newPair(t, t.TempDir(), "localhost", 1)
	args := []string{"-w", "1", "--access-log", "-", "--write-timeout", "5"}
	threads := start(t, append(args, "--threads", "4", "leaves:app")...)
	plain := startASGI(t, append(args, "leaves:app")...)
	secured := startASGI(t, append(args, append(p.args(), "leaves:app")...)...)
	ends := make(map[string]*server)
	for _, c := range []struct {
		s        *server
		protocol string
		kinds    []departing
	}{
		{threads, "plain", []departing{{"nothing", false, false}, {"yields", false, true}}},
		{plain, "plain", []departing{{"waits", false, false}, {"listens", false, false}, {"silent", false, false}, {"sends", false, true}}},
		{secured, "TLS", []departing{{"waits", false, false}, {"both", false, true}}},
		{secured, "HTTP/2", []departing{{"listens", false, false}, {"both", false, true}}},
	} {
		for _, d := range c.kinds {
			client := narrow(t, "tcp", c.s.addr)
			conn := client
			if c.protocol != "plain" {
				over := tls.Client(client, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{map[bool]string{true: "http/1.1", false: "h2"}[c.protocol == "TLS"]}})
				if err := over.Handshake(); err != nil {
					t.Fatal(err)
				}
				conn = over
			}
			name := c.protocol + "." + d.kind + "."
			if c.protocol == "HTTP/2" {
				d.askFrames(t, conn, name, true)
			} else {
				d.ask(t, conn, name)
			}
			c.s.waitLog("begun " + name)
			if d.fill {
				fills(t, conn)
			}
			raw, err := client.(*net.TCPConn).SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			_ = raw.Control(func(fd uintptr) { // what comes for it is dropped
				err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &unix.SockFilter{Code: unix.BPF_RET}})
			})
			if err != nil {
				t.Fatal(err)
			}
			ends[name] = c.s
		}
	}
	end := time.Now().Add(3 * time.Minute) // it takes one
	for name, s := range ends {
		s.departed(name, name, end)
	}
	for _, s := range []*server{threads, plain, secured} {
		s.eventually("all to be free", func() bool {
			return s.metric("hostler_threads", `state="busy"`)+s.metric("hostler_tasks", "")+s.metric("hostler_connections", "") == 0
		})
	}
}

// TestDepartures is for applications of WSGI's, with threads and greenlets, and of ASGI's.
func TestDepartures(t *testing.T) {
	http := []departing{{"reads", true, false}, {"reads_behind", true, true}, {"ticks", false, false}, {"whole", false, true}, {"file", false, true}, {"ws_receives", false, false}, {"ws_sends", false, true}, {"ws_deaf", false, true}}
	wsgi := append([]departing{{"writes", false, true}, {"yields", false, true}, {"nothing", false, false}, {"raw_receives", false, false}, {"raw_sends", false, true}, {"raw_deaf", false, true}}, http...)
	asgi := append([]departing{{"waits", false, false}, {"listens", false, false}, {"listens_behind", false, true}, {"sends", false, true}, {"both", false, true}, {"silent", false, false}, {"silent_behind", false, true}, {"ws_both", false, true}}, http...)
	tunnels := map[string]bool{"asyncio": true, "uvloop": true}
	for _, c := range []struct {
		name  string
		start func(t *testing.T, args ...string) *server
		kinds []departing
	}{
		{"threads", func(t *testing.T, args ...string) *server {
			return start(t, append(args, "--threads", "80", "leaves:app")...)
		}, wsgi},
		{"gevent", func(t *testing.T, args ...string) *server { return startGreen(t, append(args, "leaves:app")...) }, wsgi},
		{"asyncio", func(t *testing.T, args ...string) *server {
			return startASGI(t, append(args, "--loop", "asyncio", "leaves:app")...)
		}, asgi},
		{"uvloop", func(t *testing.T, args ...string) *server {
			return startASGI(t, append(args, "--loop", "uvloop", "leaves:app")...)
		}, asgi},
	} {
		args := []string{"-w", "1", "--access-log", "-", "--stream-uploads", "/*", "--write-timeout", "0", "--body-timeout", "0", "--min-rate", "0", "--ws-ping-interval", "0", "--keep-alive", "600", "--disconnect-grace", "1"}
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			socket := filepath.Join(dir, "sock")
			plain := c.start(t, append([]string{"-b", "unix:" + socket}, args...)...)
			t.Run("TCP", func(t *testing.T) { departuresOf(t, plain, "tcp", plain.addr, "plain", c.kinds) })
			t.Run("unix", func(t *testing.T) { departuresOf(t, plain, "unix", socket, "plain", c.kinds) })
			secured := c.start(t, append(newPair(t, dir, "localhost", 1).args(), args...)...)
			for _, protocol := range []string{"TLS", "HTTP/2", "HTTP/2 windows"} {
				kinds := slices.Clone(c.kinds)
				if protocol != "TLS" && !tunnels[c.name] {
					kinds = slices.DeleteFunc(kinds, departing.socket)
				}
				t.Run(protocol, func(t *testing.T) { departuresOf(t, secured, "tcp", secured.addr, protocol, kinds) })
			}
		})
	}
}
