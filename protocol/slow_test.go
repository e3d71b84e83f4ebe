package protocol

import (
	"strings"
	"testing"
)

func TestRoute(t *testing.T) {
	for target, want := range map[string]string{
		"/":                     "GET /",
		"/a/b?c=/1/":            "GET /a/b",
		"/orders/17/items/3":    "GET /orders/*/items/*",
		"/orders/17a":           "GET /orders/17a",
		"/decade/face/abcdefab": "GET /decade/face/abcdefab",
		"/x/0f3c9a2b77":         "GET /x/*",
		"/x/123e4567-e89b-12d3-a456-426614174000/y": "GET /x/*/y",
		"/x/2024-05-01":                "GET /x/*",
		"/--/-1":                       "GET /--/*",
		"*":                            "GET *",
		"/" + strings.Repeat("z", 500): "GET /" + strings.Repeat("z", maxRoute-1),
	} {
		if got := Route("GET", target); got != want {
			t.Errorf("%s: %q, not %q", target, got, want)
		}
	}
}

// TestRouteHash: it tells apart what Route does, and nothing else.
func TestRouteHash(t *testing.T) {
	routes := make(map[uint64]string)
	hashes := make(map[string]uint64)
	for _, method := range []string{"GET", "POST"} {
		for _, path := range []string{"/", "", "*", "/a", "/a/", "/a/b", "/ab", "/orders/17", "/orders/18", "/orders/17/items/3", "/orders/x/items/3",
			"/" + strings.Repeat("z", 500), "/" + strings.Repeat("z", 499), "/" + strings.Repeat("z", 50)} {
			route, hash := Route(method, path), RouteHash([]byte(method), []byte(path))
			if other, ok := routes[hash]; ok && other != route {
				t.Errorf("%q and %q have the same hash", route, other)
			}
			if other, ok := hashes[route]; ok && other != hash {
				t.Errorf("%q has two hashes", route)
			}
			routes[hash], hashes[route] = route, hash
		}
	}
	path := []byte("/orders/17/items/123e4567-e89b-12d3-a456-426614174000")
	if n := testing.AllocsPerRun(10, func() { RouteHash([]byte("GET"), path) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
