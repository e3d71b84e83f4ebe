package http1

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// testdata/llhttp holds what Node's parser is tested with; see convert.py there.
type llhttpCase struct {
	Name, Kind string
	Data       []byte
	Requests   []corpusRequest
	End        string // "whole", "incomplete", "closed", "upgrade", or "error: …"
}

// llhttpDiffers lists the cases that are not decided as llhttp does, and why.
var llhttpDiffers = map[string]string{
	"connection:159 CRLF between requests, implicit `keep-alive`":                            "one empty line before a request is passed over (RFC 9112, 2.2), two are not",
	"connection:113 Resetting flags when keep-alive is off (1.0, lenient)":                   "behind a last request nothing is looked at",
	"connection:397 CRLF between requests, explicit `close` (lenient)":                       "as connection:113",
	"invalid:69 HTTP protocol and ANNOUNCE method":                                           "a method is any token (RFC 9110, 9.1); whether it knows it is the application's to say",
	"invalid:359 Invalid method":                                                             "as invalid:69",
	"method:99 CONNECT with body":                                                            "a CONNECT is answered 405, and the connection closed, whatever follows",
	"method:138 M-SEARCH request":                                                            "the target * is for OPTIONS (RFC 9112, 3.2.4)",
	"method:375 SOURCE request with ICE":                                                     "ICE is not HTTP",
	"method:405 OPTIONS request with RTSP":                                                   "RTSP is not HTTP",
	"method:433 ANNOUNCE request with RTSP":                                                  "as method:405",
	"sample:317 No HTTP version":                                                             "HTTP/0.9 is not spoken any more (RFC 9112, A)",
	"transfer-encoding:754 POST with `chunked` as last transfer-encoding":                    "a fragment is no part of a request target (RFC 9112, 3.2); and of the codings we know chunked only (501)",
	"transfer-encoding:796 POST with `chunked` as last transfer-encoding (multiple headers)": "as transfer-encoding:754",
	"uri:168 Fragment in URI":                                                                "a fragment is no part of a request target (RFC 9112, 3.2)",
	"uri:225 `host:port` and basic auth":                                                     "user information in a target is an error (RFC 9110, 4.2.4)",
}

// llhttpLenient lists the kinds of cases that ask for one of llhttp's lenient
// modes, and what is refused in them. hostler has no such modes.
var llhttpLenient = map[string]string{
	"request-lenient-headers":                   "obs-fold, a blank before the colon, control bytes in values (RFC 9112, 5.1, 5.2; RFC 9110, 5.5)",
	"request-lenient-header-value-relaxed":      "control bytes in values (RFC 9110, 5.5)",
	"request-lenient-optional-lf-after-cr":      "a lone CR (RFC 9112, 2.2)",
	"request-lenient-optional-crlf-after-chunk": "a chunk without CRLF behind it (RFC 9112, 7.1)",
	"request-lenient-spaces-after-chunk-size":   "blanks behind a chunk's size (RFC 9112, 7.1)",
	"request-lenient-chunked-length":            "a length beside a transfer coding (RFC 9112, 6.1)",
	"request-lenient-transfer-encoding":         "chunked that is not the last coding (RFC 9112, 6.1)",
	"request-lenient-version":                   "a version that does not exist (RFC 9112, 2.3)",
	"request-lenient-all":                       "lines that end with LF (RFC 9112, 2.2)",
}

func llhttpCases(t testing.TB) (cases []llhttpCase) {
	t.Helper()
	text, err := os.ReadFile("testdata/llhttp/requests.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	return cases
}

// agrees reports whether an outcome of serve is the one that llhttp has.
func (c *llhttpCase) agrees(got []corpusRequest, reason Reason) bool {
	switch c.End {
	case "upgrade":
		// llhttp leaves what follows a CONNECT, or an offer to switch protocols,
		// to its caller. Ours answers 405, or ignores the offer.
		n := len(c.Requests)
		return len(got) >= n && sameRequests(got[:n], c.Requests)
	case "whole", "closed": // after a last request the engine looks at nothing
		return reason == ReasonNone && sameRequests(got, c.Requests)
	case "incomplete":
		return (reason == ReasonTruncatedHead || reason == ReasonTruncatedBody) && sameRequests(got, c.Requests)
	}
	return reason.Status() >= 400 && reason != ReasonTruncatedHead && reason != ReasonTruncatedBody && sameRequests(got, c.Requests)
}

func TestLlhttpVectors(t *testing.T) {
	lim := DefaultLimits()
	cases := llhttpCases(t)
	if len(cases) != 165 {
		t.Errorf("%d cases", len(cases))
	}
	differ, lenient := 0, 0
	for _, c := range cases {
		differs, about := llhttpDiffers[c.Name] != "", llhttpLenient[c.Kind]
		if differs {
			differ++
		}
		if about != "" {
			lenient++
		}
		if strings.HasPrefix(c.End, "error") && !bytes.HasSuffix(c.Data, []byte("\n")) {
			c.Data = append(c.Data, '\n') // in pieces, an offence may be reported no sooner than with the end of its line
		}
		for way, next := range ways() {
			got, reason := serve(&pieces{data: c.Data, next: next}, lim)
			if about != "" {
				// Some of these llhttp refuses in spite of the mode.
				if reason.Status() < 400 {
					t.Errorf("%s (%s), %s: %v, for all that is wrong with it: %s", c.Name, c.Kind, way, got, about)
				}
				continue
			}
			if c.agrees(got, reason) == differs {
				t.Errorf("%s (%s), %s: %v, %v; llhttp: %s, %v", c.Name, c.Kind, way, reason, got, c.End, c.Requests)
			}
		}
	}
	if differ != len(llhttpDiffers) {
		t.Errorf("%d cases differ, %d are listed", differ, len(llhttpDiffers))
	}
	t.Logf("%d cases, %d differ, %d are about lenient modes", len(cases), differ, lenient)
}
