package worker

import (
	"io"
	"strings"
	"testing"
)

// A large body that the application leaves unread ends its own connection, and
// does nothing to those that the thread serves afterwards.
func TestUnreadBodyEndsItsConnectionOnly(t *testing.T) {
	r := serve(t, testConfig(), func(c *call) { c.ok("unread") })
	for _, framing := range []string{"Content-Length: 5000000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n4c4b40\r\n"} {
		c := r.dialTCP()
		go func() {
			_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\n"+framing+strings.Repeat("x", 5_000_000))
		}()
		in := responses(t, c)
		if p := in.want(200, "unread"); p.fields["connection"] != "close" {
			t.Errorf("%q: the connection goes on", framing)
		}
		in.wantEnd()
		next := r.dial()
		in = responses(t, next)
		for range 3 {
			send(t, next, get)
			if p := in.want(200, "unread"); p.fields["connection"] != "" {
				t.Fatalf("%q: a later connection is told: %s", framing, p.fields["connection"])
			}
		}
	}
}
