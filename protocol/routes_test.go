package protocol

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestRouteName(t *testing.T) {
	for text, want := range map[string]string{
		"": "-", "/users/<int:id>": "/users/<int:id>", "/é": "/é", "/a\nb\x00": "/a\uFFFDb\uFFFD", "\xff": "\uFFFD", "\u202e/x": "\uFFFD/x",
		strings.Repeat("a", 200): strings.Repeat("a", MaxRouteName), strings.Repeat("é", 100): strings.Repeat("é", MaxRouteName/2),
		strings.Repeat("\x01", 200): strings.Repeat("\uFFFD", MaxRouteName/3),
	} {
		if got := RouteName([]byte(text)); got != want || RouteName([]byte(got)) != want {
			t.Errorf("%q: %q, not %q", text, got, want)
		}
	}
}

// count has slot i's worker count a request.
func (b *Scoreboard) count(i int, method int, name string) {
	s := b.Slot(i)
	n := int(s.Routed.Load())
	for j := range n {
		if s.Routes[j].key() == (routeKey{method, name}) {
			s.Routes[j].Requests[2].Add(1)
			s.Routes[j].Duration.Observe(1e6)
			return
		}
	}
	s.Routes[n].Name(method, name)
	s.Routed.Store(int64(n + 1))
	b.count(i, method, name)
}

func routes(b *Scoreboard) map[string]uint64 {
	all := make(map[string]uint64)
	for _, r := range b.Routes() {
		n := uint64(0)
		for _, c := range r.Duration.Counts {
			n += c
		}
		if key := r.Method + " " + r.Name; r.Requests[2] != n || all[key] != 0 {
			panic(fmt.Sprint(r))
		}
		all[r.Method+" "+r.Name] = n
	}
	return all
}

// TestRoutes: what workers have counted is added up, and stays when they end.
func TestRoutes(t *testing.T) {
	b, _ := newBoard(t)
	for i := range 2 {
		b.Slot(i).Assign(1, 1)
	}
	if got := b.Routes(); len(got) != 0 {
		t.Errorf("%v", got)
	}
	b.count(0, 1, "/b")
	b.count(0, 1, "/a")
	b.count(1, 1, "/a")
	b.count(1, 3, "/a")
	want := func(want map[string]uint64) {
		t.Helper()
		if got := routes(b); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%v, not %v", got, want)
		}
	}
	want(map[string]uint64{"GET /a": 2, "GET /b": 1, "POST /a": 1})
	b.KeepRoutes(1)
	b.Slot(1).Free()
	want(map[string]uint64{"GET /a": 2, "GET /b": 1, "POST /a": 1})
	b.Slot(1).Assign(2, 1)
	b.count(1, 2, "/c") // in the place where POST /a was
	b.count(1, 1, "/a")
	b.KeepRoutes(0) // before it has been looked at
	b.KeepRoutes(0)
	want(map[string]uint64{"GET /a": 3, "GET /b": 1, "POST /a": 1, "HEAD /c": 1})
	if got := b.Routes(); got[0].Name != "/a" || got[0].Method != "GET" || got[3].Name != "/c" {
		t.Errorf("%v", got)
	}
}

// TestRoutesBound: there are never more sums than there may be, and nothing is lost.
func TestRoutesBound(t *testing.T) {
	b, _ := newBoard(t)
	total := uint64(0)
	last := make(map[string]uint64)
	for life := range 30 {
		for i := range 4 {
			if life > 0 {
				b.KeepRoutes(i)
				b.Slot(i).Free()
			}
			b.Slot(i).Assign(1, 1)
			b.count(i, 1, "/always")
			for j := range 100 {
				b.count(i, 1, fmt.Sprintf("/%d/%d/%d", life, i, j))
			}
			total += 101
		}
		got, sum := routes(b), uint64(0)
		for name, n := range got {
			sum += n
			if n < last[name] {
				t.Fatalf("%s went from %d to %d", name, last[name], n)
			}
		}
		if sum != total || len(got) > maxRoutesKept+2*len(Methods) {
			t.Fatalf("life %d: %d of %d, by %d routes", life, sum, total, len(got))
		}
		last = got
	}
	if last["GET /always"] != 120 || last["GET other"] == 0 || last["GET /29/3/99"] != 1 {
		t.Errorf("%d, %d, %d", last["GET /always"], last["GET other"], last["GET /29/3/99"])
	}
}

// TestRoutesLies: what a worker writes is believed as little as anything of its.
func TestRoutesLies(t *testing.T) {
	b, _ := newBoard(t)
	b.Slot(0).Assign(1, 1)
	b.Slot(1).Assign(1, 1)
	b.count(1, 1, "/honest")
	s := b.Slot(0)
	r := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		for j := range s.Routes {
			o := &s.Routes[j]
			o.size.Store(r.Uint32())
			o.method.Store(r.Uint32())
			for k := range o.name {
				o.name[k].Store(r.Uint64())
			}
		}
		s.Routed.Store([...]int64{-1, 1 << 60, int64(maxRoutes), 3, 0}[r.IntN(5)])
		all := b.Routes()
		if len(all) > maxRoutesKept+2*len(Methods) {
			t.Fatal(len(all))
		}
		for i := range all {
			if len(all[i].Name) > MaxRouteName || !utf8.ValidString(all[i].Name) || all[i].Name == "" || RouteName([]byte(all[i].Name)) != all[i].Name {
				t.Errorf("%q", all[i].Name)
			}
		}
		if r.IntN(3) == 0 {
			s.Routed.Store(0) // and forgets what has been seen
			b.KeepRoutes(0)
			b.count(0, 1, "/honest")
			if got := routes(b)["GET /honest"]; got < 2 {
				t.Errorf("the next worker's is counted for another: %d", got)
			}
			b.KeepRoutes(0)
		}
	}
}
