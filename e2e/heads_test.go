package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestLargeHeads: a response head may be as large as loggers make it that send what
// they have to say in a field, over HTTP/2, too.
func TestLargeHeads(t *testing.T) {
	p := newPair(t, t.TempDir(), "localhost", 1)
	s := start(t, append(p.args(), "wire:app")...)
	for _, protocol := range []string{"http/1.1", "h2"} {
		transport := &http.Transport{
			TLSClientConfig:        &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}},
			ForceAttemptHTTP2:      protocol == "h2",
			MaxResponseHeaderBytes: 4 << 20,
		}
		c := &http.Client{Transport: transport, Timeout: 20 * time.Second}
		for _, size := range []int{1000, 70000, 250000, 900000, 1000} {
			r, err := c.Get("https://" + s.addr + "/head?" + strconv.Itoa(size))
			if err != nil {
				t.Fatalf("%s, %d bytes: %v", protocol, size, err)
			}
			b, err := io.ReadAll(r.Body)
			r.Body.Close()
			if err != nil || r.StatusCode != 200 || string(b) != "body" || r.Header.Get("X-Large") != strings.Repeat("x", size) {
				t.Errorf("%s, %d bytes: %s, %q, %v, %d bytes came", protocol, size, r.Status, b, err, len(r.Header.Get("X-Large")))
			}
			if (r.ProtoMajor == 2) != (protocol == "h2") {
				t.Errorf("%s was spoken", r.Proto)
			}
		}
		transport.CloseIdleConnections()
	}
	// A client that reads it slowly.
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}, NetDialer: &net.Dialer{}}
	c, err := d.DialContext(context.Background(), "tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	for range 2 {
		_, _ = io.WriteString(c, "GET /head?900000 HTTP/1.1\r\nHost: a\r\n\r\n")
	}
	time.Sleep(300 * time.Millisecond)
	in := bufio.NewReader(c)
	for range 2 {
		n := 0
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if n += len(line); line == "\r\n" {
				break
			}
		}
		if body := make([]byte, 4); n < 900000 {
			t.Errorf("a head of %d bytes", n)
		} else if _, err := io.ReadFull(in, body); err != nil || string(body) != "body" {
			t.Errorf("%q, %v", body, err)
		}
	}
}
