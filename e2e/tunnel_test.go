package e2e

import (
	"bufio"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"hostler/internal/testtunnel"
)

// wsTunnel makes a handshake over HTTP/2 on a connection.
func wsTunnel(t *testing.T, c net.Conn, target, fields string) *wsClient {
	t.Helper()
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(60 * time.Second))
	scheme := "http"
	if _, ok := c.(*tls.Conn); ok {
		scheme = "https"
	}
	w := &wsClient{t: t}
	tunnel, head, err := testtunnel.Open(c, scheme, target, fields)
	if err != nil {
		t.Fatalf("%s: %v", target, err)
	}
	w.Conn, w.head, w.r = tunnel, head, bufio.NewReader(tunnel)
	return w
}
