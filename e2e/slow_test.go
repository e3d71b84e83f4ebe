package e2e

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestCtlSlow: the worst requests by route, with stacks where --slow-request took
// them, also of those that never end and of workers that are gone.
func TestCtlSlow(t *testing.T) {
	s := startCtl(t, "-w", "2", "--threads", "2", "--slow-request", "0.4", "--timeout", "3", "--graceful-timeout", "3", "deadlines:app")
	if text := s.must("slow"); !strings.HasPrefix(text, "no request has taken") {
		t.Errorf("at the start: %q", text)
	}
	for _, page := range []string{"/", "/spin/0.1", "/spin/0.2", "/spin/1", "/spin/0.05", "/spin/0.3"} {
		s.get(page)
	}
	c := s.dial()
	c.send(getLine("/pool?x=1"))
	type request struct {
		Worker, Status int
		Target, Stack  string
		Duration       int64
	}
	routes := func() map[string][]request {
		var got struct {
			Routes []struct {
				Route string
				Worst []request
			}
		}
		if err := json.Unmarshal([]byte(s.must("slow", "--json")), &got); err != nil {
			t.Fatal(err)
		}
		m := map[string][]request{}
		for _, r := range got.Routes {
			m[r.Route] = r.Worst
		}
		return m
	}
	// "0.1" is no key of a record, so each is a route of its own.
	s.eventually("all to be known", func() bool {
		r := routes()
		return len(r["GET /spin/0.3"]) == 1 && len(r["GET /pool"]) == 1 && len(r["GET /spin/*"]) == 1 && r["GET /spin/*"][0].Status == 200
	})
	r := routes()
	if q := r["GET /spin/*"][0]; q.Target != "/spin/1" || q.Duration < 1e9 || !strings.Contains(q.Stack, "deadlines.py") || !strings.Contains(q.Stack, "in spin\n") ||
		strings.Contains(q.Stack, "threading.py") {
		t.Errorf("%+v", q)
	}
	if q := r["GET /spin/0.2"][0]; q.Stack != "" || q.Duration < 2e8 {
		t.Errorf("%+v", q)
	}
	// Its thread waits in C, so the worker goes, and what is known stays.
	s.eventually("the end of the stuck worker", func() bool { return s.metric("hostler_worker_exits_total", `cause="timeout"`) == 1 })
	if q := routes()["GET /pool"][0]; q.Status != 0 || !strings.Contains(q.Stack, "result()") {
		t.Errorf("%+v", q)
	}
	text := s.must("slow", "-n", "2")
	for _, want := range []string{"GET /spin/*\n", "has not ended", "in spin", "/pool?x=1"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}
