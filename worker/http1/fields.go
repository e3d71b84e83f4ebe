package http1

import "bytes"

// The indices of the fields in KnownFields.
const (
	KnownNone = iota
	KnownHost
	KnownUserAgent
	KnownAccept
	KnownAcceptEncoding
	KnownAcceptLanguage
	KnownConnection
	KnownContentLength
	KnownContentType
	KnownCookie
	KnownTransferEncoding
	KnownExpect
	KnownUpgrade
	KnownXForwardedFor
	KnownXForwardedProto
	KnownXForwardedHost
	KnownXForwardedPrefix
	KnownXForwardedPort
	KnownXForwardedSSL
	KnownXRealIP
	KnownXRequestID
	KnownXRequestedWith
	KnownXCSRFToken
	KnownForwarded
	KnownReferer
	KnownOrigin
	KnownAuthorization
	KnownIfNoneMatch
	KnownIfModifiedSince
	KnownCacheControl
	KnownRange
	KnownUpgradeInsecureRequests
	KnownSecFetchSite
	KnownSecFetchMode
	KnownSecFetchUser
	KnownSecFetchDest
	KnownSecChUA
	KnownSecChUAMobile
	KnownSecChUAPlatform
	KnownTraceparent
	KnownTracestate
	KnownDNT
	KnownTE
	KnownTrailer
	KnownDate
	KnownPragma
	KnownPriority
	KnownKeepAlive
	KnownVia
	KnownContentEncoding
	KnownCFConnectingIP
	NumKnown
)

// KnownScriptName is SCRIPT_NAME, by which proxies in front of Gunicorn say where the
// application is: the one field with an underscore that is not dropped. It is not in
// KnownFields, and never for environ.
const KnownScriptName = NumKnown

// KnownFields has the well-known names by Field.Known, in lower case. It is
// never written to. C code derives the keys of environ from it: its order is
// part of the interface.
var KnownFields = [NumKnown]string{
	KnownNone:                    "",
	KnownHost:                    "host",
	KnownUserAgent:               "user-agent",
	KnownAccept:                  "accept",
	KnownAcceptEncoding:          "accept-encoding",
	KnownAcceptLanguage:          "accept-language",
	KnownConnection:              "connection",
	KnownContentLength:           "content-length",
	KnownContentType:             "content-type",
	KnownCookie:                  "cookie",
	KnownTransferEncoding:        "transfer-encoding",
	KnownExpect:                  "expect",
	KnownUpgrade:                 "upgrade",
	KnownXForwardedFor:           "x-forwarded-for",
	KnownXForwardedProto:         "x-forwarded-proto",
	KnownXForwardedHost:          "x-forwarded-host",
	KnownXForwardedPrefix:        "x-forwarded-prefix",
	KnownXForwardedPort:          "x-forwarded-port",
	KnownXForwardedSSL:           "x-forwarded-ssl",
	KnownXRealIP:                 "x-real-ip",
	KnownXRequestID:              "x-request-id",
	KnownXRequestedWith:          "x-requested-with",
	KnownXCSRFToken:              "x-csrftoken",
	KnownForwarded:               "forwarded",
	KnownReferer:                 "referer",
	KnownOrigin:                  "origin",
	KnownAuthorization:           "authorization",
	KnownIfNoneMatch:             "if-none-match",
	KnownIfModifiedSince:         "if-modified-since",
	KnownCacheControl:            "cache-control",
	KnownRange:                   "range",
	KnownUpgradeInsecureRequests: "upgrade-insecure-requests",
	KnownSecFetchSite:            "sec-fetch-site",
	KnownSecFetchMode:            "sec-fetch-mode",
	KnownSecFetchUser:            "sec-fetch-user",
	KnownSecFetchDest:            "sec-fetch-dest",
	KnownSecChUA:                 "sec-ch-ua",
	KnownSecChUAMobile:           "sec-ch-ua-mobile",
	KnownSecChUAPlatform:         "sec-ch-ua-platform",
	KnownTraceparent:             "traceparent",
	KnownTracestate:              "tracestate",
	KnownDNT:                     "dnt",
	KnownTE:                      "te",
	KnownTrailer:                 "trailer",
	KnownDate:                    "date",
	KnownPragma:                  "pragma",
	KnownPriority:                "priority",
	KnownKeepAlive:               "keep-alive",
	KnownVia:                     "via",
	KnownContentEncoding:         "content-encoding",
	KnownCFConnectingIP:          "cf-connecting-ip",
}

// knownBuckets finds a name by a hash of its length and three of its letters,
// which is perfect for the names above (a test says so when one is added that
// makes it not).
var knownBuckets = func() (t [256]uint8) {
	for i, s := range KnownFields {
		if i != KnownNone {
			t[knownHash([]byte(s))] = uint8(i)
		}
	}
	return t
}()

// knownHash takes a name of at least two bytes. The bit that tells upper case from
// lower is not looked at. The factors were found by trying.
func knownHash(name []byte) uint8 {
	n := len(name)
	return uint8(n) + (name[0]|0x20)*2 + (name[n-2]|0x20)*3 + (name[n-1]|0x20)*22
}

// lookup returns the index of name, a token, in KnownFields, or KnownNone.
func lookup(name []byte) uint32 {
	if len(name) < 2 {
		return KnownNone
	}
	k := knownBuckets[knownHash(name)]
	if s := KnownFields[k]; len(s) != len(name) || !equalFold(name, s) {
		return KnownNone
	}
	return uint32(k)
}

// isScriptName reports whether a name with an underscore is KnownScriptName's.
func isScriptName(name []byte) bool { return bytes.EqualFold(name, []byte("script_name")) }
