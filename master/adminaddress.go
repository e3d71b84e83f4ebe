package master

import (
	"errors"
	"fmt"
	"net"
	"sync"

	"hostler/settings"
)

// adminAddress is where metrics and health checks are asked for, bound but not
// answered yet. The zero value is nowhere.
type adminAddress struct {
	bind settings.Bind
	l    *listener // nil: the service manager's, or nowhere
	ln   net.Listener
}

// DropAdmin implements host.
func (h *systemHost) DropAdmin(a *adminAddress) {
	if a.ln != nil {
		a.ln.Close()
	}
	if a.l != nil {
		a.l.retire(h.log)
	}
}

// ListenAdmin implements host.
func (h *systemHost) ListenAdmin(set *Settings) (*adminAddress, error) {
	if h.opts.Admin == nil || h.admin != nil && set.Admin == h.admin.bind {
		return nil, nil
	}
	if set.Admin == (settings.Bind{}) {
		return &adminAddress{}, nil
	}
	a, err := h.openAdmin(set.Admin)
	if err == nil {
		return a, nil
	}
	err = fmt.Errorf("cannot bind the admin address %s: %w", set.Admin, bindCause(err))
	if set.AdminGiven {
		return nil, err
	}
	h.log.Warn("going on without metrics and health checks", "error", err)
	return &adminAddress{}, nil
}

func (h *systemHost) openAdmin(b settings.Bind) (*adminAddress, error) {
	if u := h.findUnitAdmin(b); u != nil {
		ln, err := net.FileListener(u.file)
		return &adminAddress{bind: b, ln: ln}, err
	}
	l, err := takeListener(h.flip, b)
	if err == nil && l == nil {
		l, err = openListener(b)
	}
	if err != nil {
		return nil, err
	}
	ln, err := l.netListener()
	if err != nil {
		l.close()
		return nil, err
	}
	return &adminAddress{b, l, ln}, nil
}

// adminServer answers on an address, or will when this master has succeeded the one before.
type adminServer struct {
	*adminAddress
	stop func() // waits for the last answers, and for a concurrent call
}

// ServeAdmin implements host.
func (h *systemHost) ServeAdmin(a *adminAddress) {
	before := h.admin
	next := &adminServer{adminAddress: a, stop: func() {}}
	if a.ln != nil {
		next.stop = sync.OnceFunc(h.succession.serve(a.ln, h.opts.Admin))
	}
	h.admin = next
	if before == nil {
		return
	}
	if before.bind != (settings.Bind{}) || a.bind != (settings.Bind{}) {
		h.log.Info("the admin address has changed", "from", orOff(before.bind), "to", orOff(a.bind))
	}
	go func() { // its last answers may take a moment
		before.stop()
		if before.l != nil {
			before.l.retire(h.log)
		}
	}()
}

func orOff(b settings.Bind) string {
	if b == (settings.Bind{}) {
		return "off"
	}
	return b.String()
}

// startAdmin runs the admin server, before any worker is there: it says that we
// live, and are not ready. In an upgrade the old master answers until it leaves.
func (h *systemHost) startAdmin() error {
	var err error
	if h.succession, err = succeed(h.flip); err != nil {
		return err
	}
	a, err := h.ListenAdmin(h.opts.Settings)
	if err != nil {
		return errors.Join(err, h.succession.leave())
	}
	if a != nil {
		h.ServeAdmin(a)
	}
	return nil
}

// endAdmin ends the admin server and lets that of the next binary begin.
func (h *systemHost) endAdmin() {
	if h.admin != nil {
		h.admin.stop()
	}
	if h.succession != nil {
		_ = h.succession.leave() // of a pipe; the second time it is closed already
	}
}
