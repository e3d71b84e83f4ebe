package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// TestASGILargeHeads has requests with the largest heads that there may be run beside others,
// each on a seat of its own, and wants all of each head in its scope.
func TestASGILargeHeads(t *testing.T) {
	for _, loop := range loops {
		p := startProbe(t, "--loop", loop, "--limit-request-line", "0", "--limit-request-field-size", "0", "--limit-request-fields", "0")
		for range 3 {
			p.ask(getHead("/wait"))
		}
		p.await("waiting", 3)
		var fields, want strings.Builder
		for i := range 45 {
			value := strings.Repeat(string(rune('a'+i%26)), 5000)
			fmt.Fprintf(&fields, "X-%d: %s\r\n", i, value)
			fmt.Fprintf(&want, `["bytes:x-%d", "bytes:%s"], `, i, value)
		}
		target := "/scope/" + strings.Repeat("%C3%A9", 2000)
		query := strings.Repeat("q", 4000)
		for range 3 { // each holds its seat from here on
			out := p.raw("GET " + target + "?" + query + " HTTP/1.1\r\nHost: a\r\n" + fields.String() + "Connection: close\r\n\r\n")
			for name, part := range map[string]string{"fields": want.String(), "raw_path": `"bytes:` + target + `"`, "query": `"bytes:` + query + `"`,
				"path": `/` + strings.Repeat(`\u00e9`, 2000) + `"`} {
				if !strings.Contains(out, part) {
					t.Errorf("%s: no whole %s in %d bytes: %.300q", loop, name, len(out), out)
				}
			}
			p.ask(getHead("/wait"))
		}
		p.await("waiting", 6)
	}
}
