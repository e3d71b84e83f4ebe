package ctl

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"syscall"
)

// Client talks to the server behind a control socket.
type Client struct {
	path string
	http *http.Client
}

// NewClient returns a client for the socket at path. It connects for each
// request: in an upgrade another server takes over the path.
func NewClient(path string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "unix", path)
	}
	return &Client{path: path, http: &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// Do sends request (nil: none) and returns the answer's JSON. A *Failure is the
// server's; it comes with its JSON.
func (c *Client) Do(ctx context.Context, method, name string, request any) ([]byte, error) {
	var body io.Reader = http.NoBody
	if request != nil {
		b, err := json.Marshal(request)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://hostler/v1/"+name, body)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, c.explain(ctx, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, c.explain(ctx, err)
	}
	if resp.StatusCode == http.StatusOK {
		return b, nil
	}
	f := &Failure{status: resp.StatusCode}
	if json.Unmarshal(b, f) != nil || f.Message == "" {
		return nil, fmt.Errorf("the server at %s answers %s: it is no hostler, or an older one", c.path, resp.Status)
	}
	return b, f
}

// explain says what it means that no answer came.
func (c *Client) explain(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("no server: there is no socket %s", c.path)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no server behind the socket %s: it was left there by one that is dead", c.path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("no access to the socket %s: only the user that the server runs as, and root, may use it", c.path)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return errors.New("the server went away before it answered")
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return fmt.Errorf("cannot reach the server at %s: %w", c.path, err)
}
