package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
)

// useHTTP2 makes the client send its requests over HTTP/2. A stream that a GOAWAY
// leaves out goes to the next connection, as RFC 9113 has it; no other request is
// sent twice.
func (c *client) useHTTP2() {
	p := new(http.Protocols)
	p.SetHTTP2(true)
	c.h2 = &http.Transport{TLSClientConfig: c.l.shape.encryption("h2"), Protocols: p}
	if c.slow { // else the client's own buffers take everything at once
		c.h2.HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10, MaxReceiveBufferPerConnection: 64 << 10}
	}
}

// exchangeHTTP2 sends a request and returns the answer. If there is none, phase
// says what failed.
func (c *client) exchangeHTTP2(r *request, id uint64) (status int, body []byte, phase string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var send io.Reader = http.NoBody
	if r.body != nil {
		send = bytes.NewReader(r.body) // of which http can make another
	}
	req, err := http.NewRequestWithContext(ctx, r.method, fmt.Sprintf("https://%s%s?id=%d&n=%g", c.l.addr, r.path, id, r.n), send)
	if err != nil {
		return 0, nil, "answer", err
	}
	resp, err := c.h2.RoundTrip(req)
	var op *net.OpError
	switch {
	case errors.As(err, &op) && op.Op == "dial":
		return 0, nil, "dial", err
	case err != nil:
		return 0, nil, "head", err
	}
	defer resp.Body.Close()
	if body, err = c.readAll(resp.Body, r); err != nil {
		return 0, nil, "body", err
	}
	return resp.StatusCode, body, "", nil
}
