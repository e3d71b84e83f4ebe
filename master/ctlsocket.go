package master

import (
	"fmt"
	"log/slog"
	"sync"

	"hostler/settings"
)

// ctlSocket is where hostler ctl is answered. The zero path is nowhere.
type ctlSocket struct {
	log  *slog.Logger
	open func(path string, takeover bool) (CtlServer, error)

	mu     sync.Mutex
	path   string
	server CtlServer // nil: there is none
	ended  bool
}

// start opens the socket. In an upgrade the old master answers until this one serves,
// so that is when the socket gets its name.
func (c *ctlSocket) start(path string, takeover bool) error {
	if path == "" || c.open == nil {
		return nil
	}
	server, err := c.open(path, takeover)
	if err == nil && !takeover {
		if err = server.Publish(); err != nil {
			server.Close()
		}
	}
	switch {
	case err != nil && path == settings.CtlAuto:
		c.log.Warn("there is no control socket, hostler ctl has to be told of one (--ctl-socket)", "error", err)
		server = nil
	case err != nil:
		return fmt.Errorf("cannot open the control socket %s: %w", path, bindCause(err))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.path, c.server = path, server
	return nil
}

// publish gives the socket its name, if it has none yet.
func (c *ctlSocket) publish() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server == nil {
		return nil
	}
	return c.server.Publish()
}

// move has hostler ctl answered at path, and nowhere else. What has that path already
// stays, unless nobody finds it any more.
func (c *ctlSocket) move(path string) {
	c.mu.Lock()
	old, same := c.server, path == c.path && (c.server == nil || !c.server.Lost())
	c.mu.Unlock()
	if same {
		return
	}
	next := ctlSocket{log: c.log, open: c.open}
	if err := next.start(path, false); err != nil {
		c.log.Error("hostler ctl is answered where it was, if it is found there", "error", err)
		return
	}
	c.mu.Lock()
	c.path, c.server = path, next.server
	ended := c.ended
	c.mu.Unlock()
	if ended && next.server != nil {
		next.server.Close()
	}
	if old != nil {
		go old.Close() // it may owe somebody an answer, who asked for this reload, for one
	}
}

// end is called last.
func (c *ctlSocket) end() {
	c.mu.Lock()
	server := c.server
	c.ended = true
	c.mu.Unlock()
	if server != nil {
		server.Close()
	}
}
