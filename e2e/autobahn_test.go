//go:build autobahn

package e2e

import (
	"bufio"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"hostler/internal/testtunnel"
)

// TestAutobahn runs Autobahn's fuzzing client (scripts/autobahn) against an ASGI application
// that sends back what it gets: on cleartext, over TLS, and, through a bridge, as streams of
// HTTP/2. AUTOBAHN names some of its cases.
func TestAutobahn(t *testing.T) {
	cert := newPair(t, t.TempDir(), "localhost", 1).args()
	for _, o := range []struct {
		name, scheme string
		args         []string
	}{
		{"cleartext", "ws", []string{"--loop", "asyncio"}},
		{"TLS", "wss", append([]string{"--loop", "uvloop"}, cert...)},
		{"HTTP2", "ws", append([]string{"--loop", "asyncio"}, cert...)},
	} {
		t.Run(o.name, func(t *testing.T) {
			s := start(t, append(o.args, "--python", asgiPython(t), "-w", "1", "sockets:app")...)
			addr := s.addr
			if o.name == "HTTP2" {
				addr = bridge(t, s.addr)
			}
			out, err := exec.Command("../scripts/autobahn", append([]string{o.scheme + "://" + addr}, strings.Fields(os.Getenv("AUTOBAHN"))...)...).CombinedOutput()
			t.Logf("%s", out)
			if err != nil {
				t.Error(err)
			}
			// On a machine that is full, an interpreter that waits for the processor counts as stuck.
			if log := s.log.String(); strings.Contains(log, "Traceback") || strings.Count(log, "level=ERROR") != strings.Count(log, `level=ERROR msg="a worker is in a GIL deadlock`) {
				t.Error("the log has an error")
			}
		})
	}
}

// bridge takes WebSockets of HTTP/1.1, and makes each a stream of HTTP/2 to the server at to,
// since Autobahn has none. Frames pass as they are.
func bridge(t *testing.T, to string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if err := cross(c, to); err != nil {
					t.Log(err)
				}
			}()
		}
	}()
	return l.Addr().String()
}

// cross is one WebSocket on the bridge.
func cross(c net.Conn, to string) error {
	r := bufio.NewReader(c)
	asked, err := http.ReadRequest(r)
	if err != nil {
		return err
	}
	fields := ""
	if offer := asked.Header.Get("Sec-WebSocket-Extensions"); offer != "" {
		fields = "Sec-WebSocket-Extensions: " + offer + "\r\n"
	}
	far, err := tls.Dial("tcp", to, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		return err
	}
	defer far.Close()
	stream, answer, err := testtunnel.Open(far, "https", asked.URL.RequestURI(), fields)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %s", answer.Status)
	}
	sum := sha1.Sum([]byte(asked.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	head := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + base64.StdEncoding.EncodeToString(sum[:]) + "\r\n"
	if agreed := answer.Header.Get("Sec-WebSocket-Extensions"); agreed != "" {
		head += "Sec-WebSocket-Extensions: " + agreed + "\r\n"
	}
	if _, err := io.WriteString(c, head+"\r\n"); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(stream, r)
	}()
	_, _ = io.Copy(c, stream) // until the server ends it
	return nil
}
