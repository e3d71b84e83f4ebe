package master

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"hostler/settings"
)

// TestNoDefaultCtlSocket: where a control socket can only not be by default, the server
// goes on; one that was asked for it must have.
func TestNoDefaultCtlSocket(t *testing.T) {
	var log bytes.Buffer
	c := ctlSocket{
		log:  slog.New(slog.NewTextHandler(&log, nil)),
		open: func(string, bool) (CtlServer, error) { return nil, errors.New("others may write there") },
	}
	if err := c.start(settings.CtlAuto, false); err != nil || c.server != nil {
		t.Errorf("by default: %v", err)
	}
	if n := strings.Count(log.String(), "others may write there"); n != 1 {
		t.Errorf("said %d times: %s", n, &log)
	}
	c.move(settings.CtlAuto) // at a reload it is not said again
	c.end()
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("%s", &log)
	}
	if err := c.start("/run/x", false); err == nil {
		t.Error("one that was asked for is not missed")
	}
}
