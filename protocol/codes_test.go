package protocol

import "testing"

func TestCodes(t *testing.T) {
	for status, want := range map[int][2]string{0: {"none", "none"}, 101: {"101", "1xx"}, 150: {"other", "1xx"}, 200: {"200", "2xx"}, 299: {"other", "2xx"},
		304: {"304", "3xx"}, 399: {"other", "3xx"}, 404: {"404", "4xx"}, 418: {"418", "4xx"}, 499: {"other", "4xx"}, 500: {"500", "5xx"}, 599: {"other", "5xx"},
		600: {"other", "5xx"}, 999: {"other", "5xx"}, -1: {"other", "5xx"}} {
		i := CodeIndex(status)
		if got := [2]string{CodeName(i), Classes[CodeClass(i)]}; got != want {
			t.Errorf("%d is %q, want %q", status, got, want)
		}
	}
	// Each index is some status's, and no name is there twice but "other".
	seen, names := make(map[int]bool), make(map[string]bool)
	for status := range 1000 {
		seen[CodeIndex(status)] = true
	}
	for i := range NumCodes {
		if name := CodeName(i); !seen[i] || names[name] && name != "other" {
			t.Errorf("%d, %q: reached %v, twice %v", i, name, seen[i], names[name])
		} else {
			names[name] = true
		}
	}
	if len(seen) != NumCodes {
		t.Errorf("%d indices, %d codes", len(seen), NumCodes)
	}
	var c Counters
	for _, status := range []int{200, 204, 299, 404, 0, 777} {
		c.Requests[1][CodeIndex(status)].Add(1)
	}
	for class, want := range []uint64{1, 0, 3, 0, 1, 1} {
		if n := c.OfClass(1, class); n != want {
			t.Errorf("%d requests of class %s, want %d", n, Classes[class], want)
		}
	}
}
