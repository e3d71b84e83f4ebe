package e2e

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// closes waits until the application has been told that answer name is over.
func (s *server) closes(name string) {
	s.t.Helper()
	s.eventually(name+" to be closed", func() bool {
		_, b := s.get("/events")
		return strings.Contains(b, "closed "+name+"\n") || strings.HasSuffix(b, "closed "+name)
	})
}

// TestEndless: an answer that has no body, or nobody who waits for it, ends, and the
// only Python thread is free for others.
func TestEndless(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "http.sock")
	p := newPair(t, dir, "localhost", 1)
	plain := start(t, "-b", "unix:"+socket, "endless:app")
	secured := start(t, append(p.args(), "endless:app")...)
	get := func(name string) bool {
		c := tls.Client(dialTo(t, "tcp", secured.addr), &tls.Config{InsecureSkipVerify: true})
		defer c.Close()
		_, err := io.WriteString(c, "GET /events HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		if err != nil {
			return false
		}
		b, _ := io.ReadAll(c)
		return strings.Contains(string(b), "closed "+name)
	}
	for i, path := range []string{"HEAD /", "GET /204", "GET /304", "HEAD /204"} {
		name := fmt.Sprint("bodyless", i)
		c := plain.dial()
		for k := range 2 { // the client stays, and goes on
			c.send(fmt.Sprintf("%s?%s.%d HTTP/1.1\r\nHost: a\r\n\r\n", path, name, k))
			if r, b := c.answer("HEAD"); b != "" || r.Close {
				t.Errorf("%s: %v %q", path, r, b)
			}
			plain.closes(fmt.Sprint(name, ".", k))
		}
	}
	for i, request := range []string{"GET /nothing", "HEAD /nothing", "GET /write_nothing", "HEAD /write", "GET /write", "GET /"} {
		for network, dial := range map[string]func() net.Conn{
			"tcp":  func() net.Conn { return dialTo(t, "tcp", plain.addr) },
			"unix": func() net.Conn { return dialTo(t, "unix", socket) },
			"tls": func() net.Conn {
				return tls.Client(dialTo(t, "tcp", secured.addr), &tls.Config{InsecureSkipVerify: true})
			},
		} {
			name := fmt.Sprint(network, i)
			c := dial()
			if _, err := fmt.Fprintf(c, "%s?%s HTTP/1.1\r\nHost: a\r\n\r\n", request, name); err != nil {
				t.Fatal(err)
			}
			s := plain
			if network == "tls" {
				s = secured
			}
			s.eventually(request+" to run", func() bool { return s.metric("hostler_threads", `state="busy"`) == 1 })
			c.Close()
			if network == "tls" {
				s.eventually(request+" to end", func() bool { return get(name) })
			} else {
				s.closes(name)
			}
		}
	}
	// Over HTTP/2 the client resets the stream, or leaves altogether.
	for i, request := range []string{"GET /nothing", "HEAD /nothing", "HEAD /write", "HEAD /"} {
		for k := range 2 {
			name := fmt.Sprint("h2.", i, ".", k)
			c := tls.Client(dialTo(t, "tcp", secured.addr), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
			if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
				t.Fatal(err)
			}
			var block strings.Builder
			enc := hpack.NewEncoder(&block)
			method, path, _ := strings.Cut(request, " ")
			for _, f := range [][2]string{{":method", method}, {":scheme", "https"}, {":path", path + "?" + name}, {":authority", "a"}} {
				_ = enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
			}
			fr := http2.NewFramer(c, c)
			_ = fr.WriteSettings()
			_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte(block.String()), EndStream: true, EndHeaders: true})
			if request != "HEAD /" {
				secured.eventually(request+" to run", func() bool { return secured.metric("hostler_threads", `state="busy"`) == 1 })
				if k == 0 {
					_ = fr.WriteRSTStream(1, http2.ErrCodeCancel)
				} else {
					c.Close()
				}
			}
			secured.eventually(name+" to end", func() bool { return get(name) })
			c.Close()
		}
	}
	for _, s := range []*server{plain, secured} {
		if n := s.metric("hostler_app_exceptions_total", ""); n != 0 {
			t.Errorf("%v exceptions", n)
		}
	}
}

// TestHalfClosed: a client that has ended its own side may wait for an answer.
func TestHalfClosed(t *testing.T) {
	s := start(t, "endless:app")
	c := s.dial()
	c.send("GET /late HTTP/1.1\r\nHost: a\r\n\r\n")
	if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if r, b := c.answer("GET"); r.StatusCode != 200 || b != "late" {
		t.Errorf("%v %q", r, b)
	}
}
