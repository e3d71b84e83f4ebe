package e2e

import "testing"

// TestPrinted: what an application prints is there at once, to a pipe, too.
func TestPrinted(t *testing.T) {
	for _, args := range [][]string{{"prints:app"}, {"--preload", "prints:app"}} {
		s := start(t, args...)
		s.get("/here")
		s.waitLog("printed /here\n")
	}
}
