package http1

import (
	"strings"
	"testing"
)

// chunkedBody puts a body behind the head of a chunked request.
func chunkedBody(body string) string { return get("Transfer-Encoding: chunked\r\n") + body }

// withLength is a request that brings two bytes of body, whatever its length says.
func withLength(value string) string { return get("Content-Length:"+value+"\r\n") + "ab" }

// peersHoles are the holes that other servers had, above all Gunicorn, by the
// name or number under which they became known. Each of them let one party on the
// way see a request where another saw none. Those that show on a connection only are
// e2e's TestPeers.
var peersHoles = []struct {
	name  string
	cases map[string]Reason // what is sent, and why it is refused
}{
	{"desync of 2019: CL.TE", map[string]Reason{ // Gunicorn 2176
		get("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n": ReasonLengthAndChunked,
		get("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n") + "0\r\n\r\n": ReasonLengthAndChunked,
		get("Transfer-Encoding: \vchunked\r\n"):                                  ReasonBadFieldValue,
		get("Transfer-Encoding: \fchunked\r\n"):                                  ReasonBadFieldValue,
		get("Transfer-Encoding:\r\n chunked\r\n"):                                ReasonBadTransferEncoding,
		get("Transfer-Encoding:\n chunked\r\n"):                                  ReasonBareLF,
		get("X: 1\r\n\tTransfer-Encoding: chunked\r\n"):                          ReasonObsFold,
	}},
	{"newline in a chunk extension", map[string]Reason{ // Gunicorn 3327, 3556
		chunkedBody("5;a\nX\r\nhello\r\n0\r\n\r\n"):          ReasonBareLF,
		chunkedBody("5;ext=val\rue\r\nhello\r\n0\r\n\r\n"):   ReasonBareCR,
		chunkedBody("5;a=\"\n\"\r\nhello\r\n0\r\n\r\n"):      ReasonBareLF,
		chunkedBody("5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n"):    ReasonBadChunkExt,
		chunkedBody("5;a=\"\\\r\"\r\nhello\r\n0\r\n\r\n"):    ReasonBadChunkExt,
		chunkedBody("5\r\nhello\r\n0;a\nX: 1\r\n\r\n"):       ReasonBareLF,
		chunkedBody("5;a=\"b\"\nX\r\nhello\r\n0\r\n\r\n"):    ReasonBareLF,
		chunkedBody("5;a\r\r\nhello\r\n0\r\n\r\n"):           ReasonBareCR,
		chunkedBody("5;\x00\r\nhello\r\n0\r\n\r\n"):          ReasonBadChunkExt,
		chunkedBody("5;a=\"\x7f\"\r\nhello\r\n0\r\n\r\n"):    ReasonBadChunkExt,
		chunkedBody("5;a=b c\r\nhello\r\n0\r\n\r\n"):         ReasonBadChunkExt,
		chunkedBody("5 ;a=b\r\nhello\r\n0\r\n\r\n"):          ReasonNone,
		chunkedBody("5\t\r\nhello\r\n0\r\n\r\n"):             ReasonBadChunkExt,
		chunkedBody("5\r\nhello\r\n0 \r\n\r\n"):              ReasonBadChunkExt,
		chunkedBody("5\r\nhello\r\n0\r\n\n"):                 ReasonBareLF,
		chunkedBody("5\r\nhello\r\n0\r\nX: a\rY: b\r\n\r\n"): ReasonBareCR,
	}},
	{"CVE-2024-1135", map[string]Reason{ // Gunicorn 3087, 3091, 3113
		get("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"): ReasonDuplicateTransferEncoding,
		get("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n"): ReasonBadTransferEncoding,
		get("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"):  ReasonDuplicateTransferEncoding,
		get("Transfer-Encoding: chunked, identity\r\n"):                      ReasonBadTransferEncoding,
		get("Transfer-Encoding\xa0: chunked\r\n"):                            ReasonBadFieldName,
		get("Transfer-Encoding\xc2\xa0: chunked\r\n"):                        ReasonBadFieldName,
		get("Transfer-Encoding\xe2\x80\x80: chunked\r\n"):                    ReasonBadFieldName,
		get("Content-Length\x85: 5\r\n"):                                     ReasonBadFieldName,
		get("Content-Length : 5\r\n"):                                        ReasonSpaceBeforeColon,
	}},
	{"CVE-2024-6827", map[string]Reason{ // Gunicorn 3278
		get("Transfer-Encoding: xchunked\r\n"):                                ReasonBadTransferEncoding,
		get("Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n"):           ReasonBadTransferEncoding,
		get("Content-Length: 5\r\nTransfer-Encoding: xchunked\r\n"):           ReasonLengthAndChunked,
		get("Transfer-Encoding: chunked, foo\r\nContent-Length: 5\r\n"):       ReasonBadTransferEncoding,
		get("Transfer-Encoding: foo, chunked\r\n"):                            ReasonBadTransferEncoding,
		get("Transfer-Encoding: gzip, chunked\r\nContent-Length: 5\r\n"):      ReasonUnsupportedTransferEncoding,
		get("Transfer-Encoding: \"chunked\"\r\n"):                             ReasonBadTransferEncoding,
		get("Transfer-Encoding: chunked;a=b\r\n"):                             ReasonBadTransferEncoding,
		get("Transfer-Encoding: chun\xe2\x84\xaaed\r\nContent-Length: 5\r\n"): ReasonBadTransferEncoding,
	}},
	{"Content-Length by int()", map[string]Reason{ // Gunicorn 2977
		withLength(" +2"):                                  ReasonBadContentLength,
		withLength(" -0"):                                  ReasonBadContentLength,
		withLength(" -2"):                                  ReasonBadContentLength,
		withLength(" 0_2"):                                 ReasonBadContentLength,
		withLength(" 1 2"):                                 ReasonBadContentLength,
		withLength(" 2, 2"):                                ReasonBadContentLength,
		withLength(" 2,"):                                  ReasonBadContentLength,
		withLength(" 0x2"):                                 ReasonBadContentLength,
		withLength(" 2.0"):                                 ReasonBadContentLength,
		withLength(" 2\xa0"):                               ReasonBadContentLength,
		withLength(" \xa02"):                               ReasonBadContentLength,
		withLength(" \xd9\xa2"):                            ReasonBadContentLength, // an Arabic two
		withLength(" \xb2"):                                ReasonBadContentLength,
		withLength(" \v2"):                                 ReasonBadFieldValue,
		withLength(" \"2\""):                               ReasonBadContentLength,
		withLength(""):                                     ReasonBadContentLength,
		withLength(" 18446744073709551618"):                ReasonBadContentLength, // 2 modulo 2^64
		withLength(" 2\r\nContent-Length: 2"):              ReasonDuplicateContentLength,
		withLength(" 2\r\ncontent-length: 3"):              ReasonDuplicateContentLength,
		"GET / HTTP/1.0\r\nContent-Length: 2, 2\r\n\r\nab": ReasonBadContentLength,
	}},
	{"chunk size by int()", map[string]Reason{ // Gunicorn 2811, 3047
		chunkedBody("1_0\r\n0123456789abcdef\r\n0\r\n\r\n"):       ReasonBadChunkSize,
		chunkedBody("+10\r\n0123456789abcdef\r\n0\r\n\r\n"):       ReasonBadChunkSize,
		chunkedBody("-0\r\n\r\n"):                                 ReasonBadChunkSize,
		chunkedBody("-1\r\na\r\n0\r\n\r\n"):                       ReasonBadChunkSize,
		chunkedBody("0x2\r\nab\r\n0\r\n\r\n"):                     ReasonBadChunkSize,
		chunkedBody(" 2\r\nab\r\n0\r\n\r\n"):                      ReasonBadChunkSize,
		chunkedBody("2 \r\nab\r\n0\r\n\r\n"):                      ReasonBadChunkExt,
		chunkedBody("\t2\r\nab\r\n0\r\n\r\n"):                     ReasonBadChunkSize,
		chunkedBody("\r\n2\r\nab\r\n0\r\n\r\n"):                   ReasonBadChunkSize,
		chunkedBody(";a\r\nab\r\n0\r\n\r\n"):                      ReasonBadChunkSize,
		chunkedBody("2\xa0\r\nab\r\n0\r\n\r\n"):                   ReasonBadChunkSize,
		chunkedBody("\xd9\xa2\r\nab\r\n0\r\n\r\n"):                ReasonBadChunkSize,
		chunkedBody("10000000000000002\r\nab\r\n0\r\n\r\n"):       ReasonBadChunkSize, // 2 modulo 2^64
		chunkedBody("00000000000000000000002\r\nab\r\n0\r\n\r\n"): ReasonBadChunkSize,
		chunkedBody("2\nab\r\n0\r\n\r\n"):                         ReasonBareLF,
		chunkedBody("2\r\nab\r\n2\nab\r\n0\r\n\r\n"):              ReasonBareLF, // CVE-2025-22871 of Go's
		chunkedBody("2\r\nabc\r\n0\r\n\r\n"):                      ReasonBadChunkEnd,
		chunkedBody("2\r\nab\n0\r\n\r\n"):                         ReasonBadChunkEnd,
		chunkedBody("2\r\nab0\r\n\r\n"):                           ReasonBadChunkEnd,
	}},
	{"control bytes in values", map[string]Reason{ // Gunicorn 3144, 3389
		get("X: a\nContent-Length: 26\r\n"):       ReasonBareLF,
		get("X: a\rContent-Length: 26\r\n"):       ReasonBareCR,
		get("X: a\x00b\r\n"):                      ReasonBadFieldValue,
		get("X: a\x07\r\n"):                       ReasonBadFieldValue,
		get("X: \x7f\r\n"):                        ReasonBadFieldValue,
		get("X: \x1c\r\n"):                        ReasonBadFieldValue,
		"GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n": ReasonBareLF,
		"GET / HTTP/1.1\r\nHost: a\x00\r\n\r\n":   ReasonBadFieldValue,
		"GET / HTTP/1.1\nHost: a\n\n":             ReasonBareLF,
		"GET / HTTP/1.1\r\nHost: a\r\n\n":         ReasonBareLF,
		"GET / HTTP/1.1\r\nHost: a\n\r\n":         ReasonBareLF,
	}},
	{"chunked where it cannot be", map[string]Reason{
		"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n":                           ReasonChunkedInHTTP10,
		"GET / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n": ReasonChunkedInHTTP10,
		"GET / HTTP/1.0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n":      ReasonChunkedInHTTP10,
		get("Transfer-Encoding: chunked, gzip\r\n"):                                               ReasonBadTransferEncoding,
		get("Transfer-Encoding: gzip\r\n"):                                                        ReasonBadTransferEncoding,
		get("Transfer-Encoding: chunked, chunked\r\n"):                                            ReasonBadTransferEncoding,
		get("Transfer-Encoding: identity\r\n"):                                                    ReasonBadTransferEncoding,
		get("Transfer-Encoding:\r\n"):                                                             ReasonBadTransferEncoding,
		get("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"):                          ReasonBadTransferEncoding,
	}},
	{"truncated chunked body", map[string]Reason{ // Gunicorn 3382, 3685
		chunkedBody("0\r\n"):                  ReasonTruncatedBody,
		chunkedBody("0"):                      ReasonTruncatedBody,
		chunkedBody(""):                       ReasonTruncatedBody,
		chunkedBody("5\r\nhello"):             ReasonTruncatedBody,
		chunkedBody("5\r\nhello\r\n"):         ReasonTruncatedBody,
		chunkedBody("5\r\nhello\r\n0\r\n"):    ReasonTruncatedBody,
		chunkedBody("5\r\nhello\r\n0\r\n\r"):  ReasonTruncatedBody,
		chunkedBody("5\r\nhello\r\n0\r\nX: "): ReasonTruncatedBody,
	}},
	{"truncated Content-Length body", map[string]Reason{ // Gunicorn 3234
		get("Content-Length: 10\r\n") + "a": ReasonTruncatedBody,
		get("Content-Length: 1\r\n"):        ReasonTruncatedBody,
	}},
	{"duplicate Host and Content-Type", map[string]Reason{ // Gunicorn 3361, 3366, 3548
		get("Host: a\r\n"):                                ReasonDuplicateHost,
		get("host: b\r\n"):                                ReasonDuplicateHost,
		"GET / HTTP/1.1\r\n\r\n":                          ReasonMissingHost,
		"GET http://a/ HTTP/1.1\r\n\r\n":                  ReasonMissingHost,
		"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n":       ReasonNone,
		"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n":    ReasonDuplicateHost,
		get("Content-Type: a/b\r\nContent-Type: c/d\r\n"): ReasonDuplicateContentType,
		get("Content-Type: a/b\r\ncontent-type: a/b\r\n"): ReasonDuplicateContentType,
		"GET / HTTP/1.1\r\nHost:\r\n\r\n":                 ReasonNone,
		"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n":            ReasonBadHost,
	}},
	{"blanks stripped by str.strip()", map[string]Reason{ // Gunicorn 3364, 3740
		get("Transfer-Encoding: \x0b\x0c\x1c\x85\xa0chunked\r\n"): ReasonBadFieldValue,
		get("Transfer-Encoding: \x85chunked\r\n"):                 ReasonBadTransferEncoding,
		get("Transfer-Encoding: chunked\xa0\r\n"):                 ReasonBadTransferEncoding,
		get("Content-Length: \x855\r\n"):                          ReasonBadContentLength,
		get("Transfer-Encoding: gzip,\xa0chunked\r\n"):            ReasonBadTransferEncoding,
	}},
	{"request targets", map[string]Reason{ // Gunicorn 1023, 3371
		line("GET /\x00 HTTP/1.1"):               ReasonBadTarget,
		line("GET /a\x07 HTTP/1.1"):              ReasonBadTarget,
		line("GET /a\x7f HTTP/1.1"):              ReasonBadTarget,
		line("GET /a\tb HTTP/1.1"):               ReasonBadTarget,
		line("GET /\xc3\xa9 HTTP/1.1"):           ReasonBadTarget,
		line("GET /\xff HTTP/1.1"):               ReasonBadTarget,
		line("GET a HTTP/1.1"):                   ReasonBadTarget,
		line("GET ?a HTTP/1.1"):                  ReasonBadTarget,
		line("GET * HTTP/1.1"):                   ReasonBadTarget,
		line("GET a:80 HTTP/1.1"):                ReasonBadTarget,
		line("CONNECT / HTTP/1.1"):               ReasonBadTarget,
		line("CONNECT a HTTP/1.1"):               ReasonBadTarget,
		line("GET http://[::1/ HTTP/1.1"):        ReasonBadTarget,
		line("GET http://[::1]x/ HTTP/1.1"):      ReasonBadTarget,
		line("GET http://[zz]/ HTTP/1.1"):        ReasonBadTarget,
		line("GET //[ HTTP/1.1\r\nX: [::1"):      ReasonNone, // a path, and no authority
		line("GET s://]ufd/ HTTP/1.1"):           ReasonBadTarget,
		line("GET http:///a HTTP/1.1"):           ReasonBadTarget,
		line("GET /a#b HTTP/1.1"):                ReasonBadTarget,
		line("GET  / HTTP/1.1"):                  ReasonBadTarget,
		line("GET /  HTTP/1.1"):                  ReasonBadVersion,
		line("GET / HTTP/1.1 "):                  ReasonBadVersion,
		line("GET / HTTP/1.1\t"):                 ReasonBadVersion,
		line("-bl / HTTP/1.1"):                   ReasonBadMethod,
		"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n":   ReasonBadHost,
		"GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n": ReasonBadHost,
	}},
	{"unbounded lines", map[string]Reason{ // Gunicorn 26.2.1, 27.0
		"GET /" + strings.Repeat("a", 1<<20):                                   ReasonLineTooLong,
		strings.Repeat("A", 1<<20):                                             ReasonBadMethod,
		"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("a", 1<<20):        ReasonFieldTooLong,
		"GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("a", 1<<20):           ReasonFieldTooLong,
		"GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: a\r\n", 10_000):   ReasonTooManyFields,
		"GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X_Y: a\r\n", 10_000): ReasonTooManyFields,
		chunkedBody(strings.Repeat("0", 1<<20)):                                ReasonBadChunkSize,
		chunkedBody("1;" + strings.Repeat("a", 1<<20)):                         ReasonChunkExtTooLarge,
		chunkedBody("0\r\nX: " + strings.Repeat("a", 1<<20)):                   ReasonTrailerTooLarge,
		chunkedBody("0\r\n" + strings.Repeat("X: a\r\n", 10_000)):              ReasonTrailerTooLarge,
		strings.Repeat("\r\n", 1000) + get(""):                                 ReasonBadRequestLine,
	}},
	{"trailers", map[string]Reason{
		chunkedBody("0\r\nHost: b\r\n\r\n"):                     ReasonBadTrailer,
		chunkedBody("0\r\nContent-Length: 5\r\n\r\n"):           ReasonBadTrailer,
		chunkedBody("0\r\nTransfer-Encoding: chunked\r\n\r\n"):  ReasonBadTrailer,
		chunkedBody("0\r\nTransfer-Encoding : chunked\r\n\r\n"): ReasonBadTrailer,
		chunkedBody("0\r\nX: 1\r\n y\r\n\r\n"):                  ReasonBadTrailer,
		chunkedBody("0\r\nX: \x00\r\n\r\n"):                     ReasonBadTrailer,
		chunkedBody("0\r\nX\r\n\r\n"):                           ReasonBadTrailer,
		chunkedBody("0\r\nX: a\nY: b\r\n\r\n"):                  ReasonBareLF,
	}},
}

func TestPeers(t *testing.T) {
	for _, h := range peersHoles {
		t.Run(h.name, func(t *testing.T) {
			for data, want := range h.cases {
				for way, next := range ways() {
					_, reason := serve(&pieces{data: []byte(data), next: next}, DefaultLimits())
					if reason != want {
						t.Errorf("%.80q, %s: %v, want %v", data, way, reason, want)
					}
				}
			}
		})
	}
}

// Names that an application could not tell from others never reach it, and mean
// nothing to the framing (Gunicorn 2799, 3200).
func TestPeersUnderscores(t *testing.T) {
	head := get("X_Forwarded_For: 1.2.3.4\r\nTransfer_Encoding: chunked\r\nContent_Length: 5\r\nX-A_B: 1\r\nX-A: 2\r\n")
	all, reason := serve(&pieces{data: []byte(head + get("")), next: func(b []byte) int { return len(b) }}, DefaultLimits())
	if reason != ReasonNone || len(all) != 2 || len(all[0].Body) > 0 {
		t.Fatal(reason, all)
	}
	if f := all[0].Fields; len(f) != 2 || f[0][0] != "HOST" || f[1] != [2]string{"X-A", "2"} {
		t.Errorf("fields %q", f)
	}
}
