// Package origin finds out who a client is when a proxy stands between: whose word
// is taken (Trust), what X-Forwarded-…, Forwarded (RFC 7239) and CF-Connecting-IP
// say (Policy.Resolve), and what a header of the PROXY protocol says before all of
// them (ProxyVersions).
//
// It is pure: it reads a request that has been parsed, and answers with values and
// spans of the request's own bytes. It knows no connection, does no input or output,
// and Resolve allocates nothing.
//
//	peer is trusted?  no ──▶ Distrust: which field is to be named, and perhaps dropped
//	      │ yes
//	      ▼
//	Resolve: every source that is asked for, from the right; they have to agree
//	      │
//	      ▼
//	Origin: address, port, scheme, host, prefix; what nobody speaks of stays zero
//
// What a trusted proxy says has to make sense, and what several fields say of the same
// thing has to be the same: otherwise somebody along the way does not say what the
// others believe he does, and the request is refused with a reason of its own.
package origin
