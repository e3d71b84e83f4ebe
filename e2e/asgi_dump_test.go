package e2e

import (
	"path/filepath"
	"regexp"
	"testing"
)

// TestASGIDump: requests and WebSockets that wait on the loop are in no thread's stack; hostler
// ctl dump shows where each of them is, and for how long.
func TestASGIDump(t *testing.T) {
	for _, loop := range loops {
		socket := filepath.Join(t.TempDir(), "ctl")
		p := startProbe(t, "--loop", loop, "--ctl-socket", socket, "--graceful-timeout", "1", "--pythonpath", apps)
		s := ctlServer{p.server, socket}
		for _, line := range []string{getLine("/slow/a%22?600"), getLine("/slow/b?600")} {
			s.dial().send(line)
		}
		s.openSocket(t, "/echo?x", false)
		for _, want := range []string{
			`(?m)^-- worker 1, pid \d+: the event loop, with requests: 2\n(Current thread|Thread) 0x`,
			`(?m)^-- worker 1, pid \d+: GET /slow/a%22\?600, for \d+\.\d{3}s\nTask \(most recent call first\):\n  File ".*tasks\.py", line \d+ in sleep\n  File ".*/probe\.py", line \d+ in slow\n  File ".*/probe\.py", line \d+ in app\n`,
			`(?m)^-- worker 1, pid \d+: GET /slow/b\?600, for `,
			`(?m)^-- worker 1, pid \d+: GET /echo\?x, for .*\nTask .*\n  File ".*/sockets\.py", line \d+ in echo\n`,
		} {
			// A loop that is late says so in the error log alone.
			s.eventually(want, func() bool { return regexp.MustCompile(want).MatchString(s.must("dump")) })
		}
		s.waitLog("GET /slow/a%22?600, for ")
	}
}
