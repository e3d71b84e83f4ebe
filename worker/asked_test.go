package worker

import "testing"

// TestHeard: of a request that is refused as much is known as stands there in the form of a
// request line, and its words are words: none can be taken for two.
func TestHeard(t *testing.T) {
	for in, want := range map[string]string{
		"GET /a?b HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n": "GET|/a?b|HTTP/1.1",
		"\r\nPOST * HTTP/1.0\r\n":                         "POST|*|HTTP/1.0",
		"HEAD /\"\x01 HTTP/1.1\r\n":                       "HEAD|/\"\x01|HTTP/1.1|head",
		"HEAD /a b HTTP/1.1\r\n\r\n":                      "||HTTP/1.0|head",
		"GET /a HTTP/1.1":                                 "||HTTP/1.0",
		"GET /a HTTP/2.0\r\n":                             "||HTTP/1.0",
		"GET /a HTTP/1.1 \r\n":                            "||HTTP/1.0",
		"GET  HTTP/1.1\r\n":                               "||HTTP/1.0",
		" /a HTTP/1.1\r\n":                                "||HTTP/1.0",
		"GET /a\nHTTP/1.1\r\n":                            "||HTTP/1.0",
		"junk\r\n\r\n":                                    "||HTTP/1.0",
		"":                                                "||HTTP/1.0",
	} {
		q := heard([]byte(in))
		got := string(q.method) + "|" + string(q.target) + "|" + protocols[q.minor]
		if q.isHead {
			got += "|head"
		}
		if got != want || q.method == nil != (q.target == nil) {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
