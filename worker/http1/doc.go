// Package http1 is the HTTP/1.1 engine: it parses request heads, takes the
// chunked framing off request bodies, and checks and writes response heads.
//
// It does no input or output and never allocates: the caller owns all buffers,
// and results are offsets into them (Span), in structs that C code can read as
// they lie.
//
//	lim := http1.DefaultLimits()
//	r := http1.Request{Fields: make([]http1.Field, lim.Fields+1)}
//	whole, reason := http1.Parse(buf, 0, &lim, &r)
//	switch {
//	case reason != http1.ReasonNone:
//		// answer reason.Status(), count reason.String(), close
//	case !whole:
//		// read more, then Parse(buf, n, ...) with n bytes looked at already
//	default:
//		path := buf[r.Path.Off:][:r.Path.Len]
//	}
//
// # Strictness
//
// Whatever two parties on the way could read differently is refused. Lines end
// with CRLF only, and neither CR nor LF stands anywhere else. There is no
// obs-fold, no blank before a colon, no second length, no length beside chunked,
// no transfer coding but chunked, no chunked in HTTP/1.0, exactly one valid
// Host in HTTP/1.1. Field names that hold an underscore are well-formed but left
// out of the result, unless Limits.Underscores says otherwise: in CGI's variables
// they could not be told from those with a hyphen. Nothing of them is interpreted
// either.
//
// One empty line ahead of the request line is tolerated, as RFC 9112 asks. What
// RFC 9112 and 9110 allow and is refused all the same: lower-case letters in
// methods, a comma in a host, HTTP/1.2.
//
// # Incremental input
//
// Errors are found from left to right: which reason a head is refused for
// depends on the bytes up to the first offence only, never on how the input was
// cut into pieces. When a head comes in pieces, though, an offence may be
// reported no sooner than with the end of its line.
package http1
