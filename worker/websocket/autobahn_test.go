//go:build autobahn

package websocket

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"hostler/worker/http1"
)

// TestAutobahn runs Autobahn's fuzzing client (scripts/autobahn) against a server that is no more than this
// package and a socket. AUTOBAHN names some of its cases.
func TestAutobahn(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if err := echo(c); err != nil {
					t.Log(err)
				}
			}()
		}
	}()
	cmd := exec.Command("../../scripts/autobahn", append([]string{"ws://" + l.Addr().String()}, strings.Fields(os.Getenv("AUTOBAHN"))...)...)
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}

// echo sends back each message, until there is a close frame, or a reason for one.
func echo(c net.Conn) error {
	b := make([]byte, 64<<10)
	lim := http1.DefaultLimits()
	r := http1.Request{Fields: make([]http1.Field, lim.Fields+1)}
	n := 0
	for {
		k, err := c.Read(b[n:])
		if err != nil {
			return err
		}
		n += k
		whole, reason := http1.Parse(b[:n], 0, &lim, &r)
		if reason != http1.ReasonNone {
			return errors.New(reason.String())
		}
		if whole {
			break
		}
	}
	if !Asked(b, &r) {
		return errors.New("no WebSocket")
	}
	h, refusal := Check(b, &r)
	if refusal != nil {
		return errors.New(refusal.Why)
	}
	if _, err := c.Write(append(h.AppendAnswer([]byte("HTTP/1.1 101 Switching Protocols\r\n"), ""), "\r\n"...)); err != nil {
		return err
	}
	ws := Reader{Max: 16 << 20, Deflate: h.Deflate.On}
	var s Scratch
	rest := b[r.HeadLen:n]
	for {
		for len(rest) > 0 {
			k, m, failure := ws.Next(rest, &s)
			rest = rest[k:]
			if failure != nil {
				c.Write(AppendClose(nil, failure.Code, failure.Reason))
				return nil
			}
			var out []byte
			switch m.Kind {
			case Nothing, IsPong:
				continue
			case IsClose:
				c.Write(AppendClose(nil, m.Code, ""))
				return nil
			case IsPing:
				out = AppendControl(nil, Pong, m.Data)
			default:
				if z, ok := h.Deflate.Compress(m.Data, &s); ok {
					out = append(AppendHeader(nil, Opcode(m.Kind), len(z), true), z...)
				} else {
					out = append(AppendHeader(nil, Opcode(m.Kind), len(m.Data), false), m.Data...)
				}
			}
			if _, err := c.Write(out); err != nil {
				return err
			}
		}
		n, err := c.Read(b)
		if err != nil {
			return err
		}
		rest = b[:n]
	}
}
