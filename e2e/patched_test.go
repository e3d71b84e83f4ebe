package e2e

import (
	"strings"
	"testing"
)

// TestPatchedThreads: an application that patches threading.Thread, as gevent and
// eventlet do, has threads that run beside each other all the same.
func TestPatchedThreads(t *testing.T) {
	for _, more := range [][]string{nil, {"--preload"}, {"--reload"}} {
		s := start(t, append(more, "--threads", "3", "patched:app")...)
		c := s.dial()
		c.send(getLine("/waits"))
		s.eventually("the first request to run", func() bool { return s.metric("hostler_threads", `state="busy"`) == 1 })
		if code, b := s.get("/opens"); code != 200 || !strings.HasPrefix(b, "True hostler-") {
			t.Errorf("%v: %d %q", more, code, b)
		}
		if r, b := c.answer("GET"); r.StatusCode != 200 || !strings.HasPrefix(b, "True hostler-") {
			t.Errorf("%v: %d %q", more, r.StatusCode, b)
		}
	}
}
