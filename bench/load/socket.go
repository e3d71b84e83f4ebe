package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// message is what is sent over a WebSocket, and comes back (RFC 6455, 5): a text frame with a
// mask of zeros, and the one without that answers it.
var (
	message = append([]byte{0x81, 0x80 | 16, 0, 0, 0, 0}, "sixteen of bytes"...)
	echoed  = append([]byte{0x81, 16}, "sixteen of bytes"...)
)

// shake makes the connection a WebSocket.
func (c *client) shake() error {
	_, err := fmt.Fprintf(c.conn, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", c.load.Path)
	if err != nil {
		return err
	}
	answer, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("the handshake was answered %s", answer.Status)
	}
	return nil
}

// echo sends a message, and waits until it comes back.
func (c *client) echo() error {
	if c.used == 1 {
		if err := c.shake(); err != nil {
			return err
		}
	}
	if _, err := c.conn.Write(message); err != nil {
		return err
	}
	var got [32]byte
	b := got[:len(echoed)]
	if _, err := io.ReadFull(c.in, b); err != nil {
		return errMidway{err}
	}
	if !bytes.Equal(b, echoed) {
		return errMidway{errors.New("something else came back")}
	}
	return nil
}
