package main

import (
	"bufio"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"hostler/internal/testtunnel"
)

// talker has a WebSocket, over HTTP/1.1 or HTTP/2, and says something again and again. What it
// says has to come back, or its WebSocket to be closed with a code that says that the worker
// leaves; then it opens another one.
type talker struct {
	l      *load
	number int
	rand   *mathrand.Rand
	h2     bool
	alive  time.Time
}

// socket is a WebSocket that is open.
type socket struct {
	net.Conn
	r  *bufio.Reader
	mu sync.Mutex // of the frames that are written
}

const (
	opText, opClose, opPing, opPong = 1, 8, 9, 10

	goingAway, serviceRestart = 1001, 1012
)

// closed is the server's close frame.
type closed struct{ code int }

func (c closed) Error() string { return fmt.Sprintf("closed with %d", c.code) }

func (t *talker) kind() string {
	if t.h2 {
		return "/talk (HTTP/2)"
	}
	return "/talk"
}

func (t *talker) run() {
	for {
		select {
		case <-t.l.stop:
			return
		case <-time.After(time.Duration(1+t.rand.IntN(100)) * time.Millisecond):
		}
		t.alive = time.Now()
		id := t.l.ids.Add(1)
		s, phase, err := t.open()
		if err != nil {
			t.l.fail(failure{t.number, t.kind(), id, phase, t.alive, time.Now(), err})
			continue
		}
		if id, phase, err := t.converse(s); err != nil {
			t.l.fail(failure{t.number, t.kind(), id, phase, t.alive, time.Now(), err})
		}
		s.Close()
	}
}

// converse talks until it has had enough, or the server has. One that ends well ends with a
// close frame of both.
func (t *talker) converse(s *socket) (id uint64, phase string, err error) {
	for range 1 + t.rand.IntN(200) {
		_ = s.SetDeadline(time.Now().Add(patience))
		var said []string
		first := t.l.ids.Add(1)
		for i := range 1 + t.rand.IntN(3) {
			said = append(said, fmt.Sprintf("%d.%d %s", first, i, strings.Repeat("x", t.rand.IntN(1<<t.rand.IntN(18)))))
		}
		all := make(chan struct{})
		go func() {
			defer close(all)
			for _, text := range said {
				if s.say(opText, text) != nil {
					return // which who listens hears, too
				}
			}
		}()
		for _, want := range said {
			got, err := s.hear()
			var end closed
			switch {
			case errors.As(err, &end) && (end.code == goingAway || end.code == serviceRestart):
				select {
				case <-all:
					_ = s.say(opClose, closing(end.code))
				default: // in the middle of a frame
				}
				return first, "", nil
			case errors.As(err, &end):
				return first, "answer", err
			case err != nil:
				return first, "body", err
			case got != want:
				return first, "answer", fmt.Errorf("%.40q (%d bytes) came back for %.40q (%d)", got, len(got), want, len(want))
			}
			t.alive = time.Now()
			t.l.ok.Add(1)
		}
		select {
		case <-t.l.stop:
			return first, "body", t.part(s)
		case <-time.After(time.Duration(t.rand.IntN(60)) * time.Millisecond):
		}
	}
	if t.rand.IntN(4) == 0 {
		return 0, "", nil // without a word
	}
	return 0, "body", t.part(s)
}

// part closes a WebSocket, and hears the server's close frame, of the same code or, if that
// was first, of its own.
func (t *talker) part(s *socket) error {
	if err := s.say(opClose, closing(4000)); err != nil {
		return nil // it is being closed
	}
	_, err := s.hear()
	var end closed
	switch {
	case err == nil:
		return closed{0} // a message
	case !errors.As(err, &end):
		return fmt.Errorf("no close frame, but %w", err)
	case end.code != 4000 && end.code != goingAway && end.code != serviceRestart:
		return fmt.Errorf("its close frame for 4000: %w", err)
	}
	return nil
}

// open makes a WebSocket. If that fails, phase says where.
func (t *talker) open() (s *socket, phase string, err error) {
	if t.h2 {
		return t.openHTTP2()
	}
	conn, err := t.l.dial("http/1.1")
	if err != nil {
		return nil, "dial", err
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	var key [16]byte
	_, _ = rand.Read(key[:])
	_, err = fmt.Fprintf(conn, "GET /talk HTTP/1.1\r\nHost: chaos\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n",
		base64.StdEncoding.EncodeToString(key[:]))
	if err != nil {
		conn.Close()
		return nil, "send", err
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		conn.Close()
		return nil, "head", err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		conn.Close()
		return nil, "answer", fmt.Errorf("a handshake's answer is %s", resp.Status)
	}
	return &socket{Conn: conn, r: r}, "", nil
}

// openHTTP2 makes one that is the only stream of a connection (RFC 8441). One that a GOAWAY
// leaves out goes to the next connection.
func (t *talker) openHTTP2() (s *socket, phase string, err error) {
	scheme := "http"
	if t.l.shape.tls {
		scheme = "https"
	}
	for {
		conn, err := t.l.dial("h2")
		if err != nil {
			return nil, "dial", err
		}
		_ = conn.SetDeadline(time.Now().Add(patience))
		stream, answer, err := testtunnel.Open(conn, scheme, "/talk", "")
		switch {
		case errors.Is(err, testtunnel.ErrLeftOut):
			conn.Close()
			continue
		case err != nil:
			conn.Close()
			return nil, "head", err
		case answer.StatusCode != http.StatusOK:
			conn.Close()
			return nil, "answer", fmt.Errorf("a handshake's answer is %s", answer.Status)
		}
		return &socket{Conn: stream, r: bufio.NewReader(stream)}, "", nil
	}
}

// say sends a frame.
func (s *socket) say(op byte, payload string) error {
	b := []byte{0x80 | op}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	var mask [4]byte
	_, _ = rand.Read(mask[:])
	b = append(b, mask[:]...)
	for i := range len(payload) {
		b = append(b, payload[i]^mask[i&3])
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.Write(b)
	return err
}

// hear returns the next message. A close frame is an error.
func (s *socket) hear() (string, error) {
	for {
		var h [10]byte
		if _, err := io.ReadFull(s.r, h[:2]); err != nil {
			return "", err
		}
		op, n := h[0]&15, uint64(h[1])
		long := map[uint64]int{126: 2, 127: 8}[n]
		if _, err := io.ReadFull(s.r, h[10-long:]); err != nil {
			return "", err
		}
		if long > 0 {
			clear(h[2 : 10-long])
			n = binary.BigEndian.Uint64(h[2:])
		}
		if h[0]&0xf0 != 0x80 || n > 1<<20 {
			return "", closed{-int(h[0])}
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(s.r, b); err != nil {
			return "", err
		}
		switch op {
		case opText:
			return string(b), nil
		case opClose:
			code := 1005
			if len(b) >= 2 {
				code = int(binary.BigEndian.Uint16(b))
			}
			return "", closed{code}
		case opPing:
			go s.say(opPong, string(b)) // while what is being said waits for what is heard
		}
	}
}

func closing(code int) string { return string(binary.BigEndian.AppendUint16(nil, uint16(code))) }
