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
