package master

import (
	"strings"
	"testing"
	"time"

	"hostler/protocol"
)

// TestStandIn starts with code that does not load: workers that say why stand in
// until it does.
func TestStandIn(t *testing.T) {
	set := testSettings()
	set.Development = true
	broken := func(int) manner { return manner{fails: "Traceback\nOops"} }
	stand := func(n int) manner {
		if n < set.Workers {
			return broken(n)
		}
		return manner{}
	}
	withRig(t, set, stand, func(r *rig) {
		r.pass(10 * time.Second)
		if r.ended || !r.view().Ready {
			t.Fatalf("it does not serve:\n%s", r.log.String())
		}
		last := r.all()[len(r.all())-1]
		if page := last.spec.Config.Page; !strings.Contains(page, "Oops") || !r.host.broken {
			t.Errorf("the page says %q", page)
		}
		r.s.post(codeEvent{[]string{"/app.py"}})
		r.pass(10 * time.Second)
		last = r.all()[len(r.all())-1]
		if last.spec.Config.Page != "" || r.host.broken || r.view().Reloads["success"] != 1 {
			t.Errorf("after the code was mended: %q, %v", last.spec.Config.Page, r.view().Reloads)
		}
		r.mu.Lock()
		r.procs.manner = broken
		r.mu.Unlock()
		r.s.post(codeEvent{[]string{"/app.py"}})
		r.pass(10 * time.Second)
		if _, m := last.got(protocol.KindPage); !strings.Contains(m.Text, "Oops") {
			t.Errorf("the old workers show %q", m.Text)
		}
	})
}
