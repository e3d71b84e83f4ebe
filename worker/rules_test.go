package worker

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"hostler/protocol"
)

// TestRules: requests are counted by what is said of their route, which span and log tell, too.
func TestRules(t *testing.T) {
	board, f, err := protocol.CreateScoreboard()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { board.Close(); f.Close() })
	board.Slot(0).Assign(1, 2)
	cfg := testConfig()
	cfg.AccessLogFormat = "json"
	r, told := tracedRig(t, cfg, func(c *call) {
		if name, ok := strings.CutPrefix(c.target, "/is"); ok {
			c.t.SetRule([]byte(name))
		}
		c.ok("x")
	})
	r.rules.open(true, board.Slot(0))
	log, err := os.Create(filepath.Join(t.TempDir(), "access"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	r.accessTo(log)
	r.start()
	c := r.dial()
	rd := responses(t, c)
	for _, q := range []string{"GET /is/a", "POST /is/a", "GET /none", "GET /is/a", "GET /is/b"} {
		send(t, c, q+" HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
		if p, err := rd.read(false); err != nil || p.status != 200 {
			t.Fatalf("%s: %v, %v", q, p, err)
		}
	}
	got := func() (all string) {
		for _, s := range board.Routes() {
			all += fmt.Sprintf("%s %s %d|", s.Method, s.Name, s.Requests[2])
		}
		return all
	}
	eventually(t, "the counts", func() bool { return got() == "GET - 1|GET /a 2|POST /a 1|GET /b 1|" })
	eventually(t, "the spans", func() bool { return len(told()) == 5 })
	names := ""
	for _, s := range told() {
		names += string(s.Route) + "|"
	}
	if names != "/a|/a||/a|/b|" {
		t.Errorf("the spans have %s", names)
	}
	if !r.access.to.Flush(time.Minute) {
		t.Fatal("the log is not written")
	}
	if lines, err := os.ReadFile(log.Name()); err != nil || strings.Count(string(lines), `"http.route":"/a"`) != 3 || strings.Count(string(lines), "http.route") != 4 {
		t.Errorf("%v\n%s", err, lines)
	}
}

// TestRulesBound: beyond the bound they are others, by method, and there is room for none.
func TestRulesBound(t *testing.T) {
	slot := new(protocol.Slot)
	r := new(rules)
	r.open(true, slot)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 2 * protocol.MaxRoutes {
				name := fmt.Sprintf("/%d", i)
				for m := range uint32(len(protocol.Methods)) {
					if f := r.find(m, []byte(name)); string(f.name) != name {
						t.Errorf("%s is called %s", name, f.name)
					}
				}
			}
			for m := range uint32(len(protocol.Methods)) {
				if f := r.find(m, nil); f.name != nil {
					t.Errorf("there is none, and it is %s", f.name)
				}
			}
		})
	}
	wg.Wait()
	if n := slot.Routed.Load(); n < protocol.MaxRoutes || n > int64(len(slot.Routes)) {
		t.Errorf("%d routes have been named", n)
	}
	a, b := r.find(1, []byte("/beyond")), r.find(1, []byte("/far\nbeyond"))
	if a.counts != b.counts || string(b.name) != "/far\uFFFDbeyond" || a.counts == r.find(2, []byte("/beyond")).counts {
		t.Errorf("%s and %s", a.name, b.name)
	}
}
