package worker

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"hostler/worker/websocket"
)

const upgrade = "GET %s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

// taken gives a request's connection to its application, as gunicorn.socket does.
func taken(c *call) net.Conn {
	fd, err := c.t.TakeSocket()
	if err != nil {
		panic(err)
	}
	f := os.NewFile(uintptr(fd), "taken")
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		panic(err)
	}
	return conn
}

// relayApp echoes what it reads from the connection that it has taken.
func relayApp(c *call) {
	if c.t.Req.Flags == 0 || c.target == "/plain" {
		c.ok("plain")
		return
	}
	conn := taken(c)
	if c.target != "/denied" {
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
		if c.target == "/leaves" {
			c.r.wg.Go(func() { _, _ = io.Copy(conn, conn); conn.Close() })
		} else {
			_, _ = io.Copy(conn, conn)
			conn.Close()
		}
	}
	if !c.t.OwnAnswer() {
		conn.Close()
		c.head("403 Forbidden")
		c.final(nil)
	}
}

// TestRelay: many at once come, echo more than the sockets hold, and go in either order; who
// has taken a connection and said nothing answers as ever. The point is the race detector's.
func TestRelay(t *testing.T) {
	cfg := testConfig()
	cfg.Threads = 6
	r := serve(t, cfg, relayApp)
	frame := append(websocket.AppendHeader(nil, websocket.Binary, 1<<20, false), make([]byte, 1<<20)...)
	frame[1] |= 0x80 // masked, with the next four bytes
	frame = append(frame, 0, 0, 0, 0)
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			for k := range 8 {
				c := r.dial()
				path := [...]string{"/", "/denied", "/leaves"}[(i+k)%3]
				fmt.Fprintf(c, upgrade, path)
				head := make([]byte, len("HTTP/1.1 101 Switching Protocols\r\n\r\n"))
				if _, err := io.ReadFull(c, head); err != nil {
					t.Error(path, err)
				}
				if want := map[bool]string{true: "403", false: "101"}[path == "/denied"]; !strings.Contains(string(head), want) {
					t.Errorf("%s: %q", path, head)
				} else if path == "/" {
					go func() { _, _ = c.Write(frame) }()
					if k%2 == 0 {
						got := make([]byte, len(frame))
						if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, frame) {
							t.Error(path, err)
						}
					}
				}
				c.Close()
			}
		})
	}
	all.Wait()
	eventually(t, "no thread stays", func() bool { return r.keeper.sockets.staying.Load() == 0 })
	eventually(t, "no connection is left", func() bool { return r.conns.n.Load() == 0 })
	if n := len(r.keeper.sockets.open()); n != 0 {
		t.Errorf("%d are still known", n)
	}
}

// TestRelayDeparts: at a stop the application hears of it as if its client closed.
func TestRelayDeparts(t *testing.T) {
	heard := make(chan []byte, 1)
	cfg := testConfig()
	r := serve(t, cfg, func(c *call) {
		conn := taken(c)
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
		b := make([]byte, 8)
		_, _ = io.ReadFull(conn, b)
		heard <- b
		_, _ = conn.Write([]byte{0x88, 2, 3, 0xe9})
		conn.Close()
		c.t.OwnAnswer()
	})
	c := r.dial()
	fmt.Fprintf(c, upgrade, "/")
	head := make([]byte, len("HTTP/1.1 101 Switching Protocols\r\n\r\n"))
	if _, err := io.ReadFull(c, head); err != nil {
		t.Fatal(err)
	}
	for _, w := range r.keeper.sockets.open() {
		w.depart(websocket.GoingAway)
	}
	if b := <-heard; !bytes.Equal(b, websocket.AppendMaskedClose(nil, websocket.GoingAway)) {
		t.Errorf("%x", b)
	}
	if rest, err := io.ReadAll(c); err != nil || !bytes.Equal(rest, []byte{0x88, 2, 3, 0xe9}) {
		t.Errorf("%x, %v", rest, err)
	}
}
