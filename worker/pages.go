package worker

import (
	"bytes"
	"fmt"
	"html"
	"strconv"

	"hostler/protocol"
	"hostler/worker/http1"
)

// pages are what the operator wants answers of the server's own to say, by their status or
// its first digit.
type pages map[int]page

type page struct {
	protocol.ErrorPage
	marked bool // it has a place for the request's identifier
}

// requestIDMark stands in a page where the request's identifier is to be.
var requestIDMark = []byte("{{request_id}}")

func newPages(given []protocol.ErrorPage) pages {
	all := make(pages, len(given))
	for _, p := range given {
		all[p.Status] = page{p, bytes.Contains(p.Body, requestIDMark)}
	}
	return all
}

// answer is the answer of the server's own with that status. fields are whole lines. It is for
// a client that wants HTML, or one that wants anything, whose request has that identifier, or
// none.
func (p pages) answer(status int, fields string, forHTML bool, id []byte) http1.Own {
	o := http1.Own{Status: status, Fields: fields}
	own, ok := p[status]
	if !ok {
		own, ok = p[status/100]
	}
	switch {
	case ok && own.marked:
		o.Type, o.Body = own.Type, bytes.ReplaceAll(own.Body, requestIDMark, id)
	case ok:
		o.Type, o.Body = own.Type, own.Body
	case forHTML && status >= 400:
		o.Type, o.Body = "text/html; charset=utf-8", plainPage(status, id)
	default:
		o.Type, o.Body = "text/plain; charset=utf-8", plainText(status, id)
	}
	return o
}

// plainText is what is said without a page.
func plainText(status int, id []byte) []byte {
	b := make([]byte, 0, 80)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	b = append(b, http1.StatusText(status)...)
	b = append(b, '\n')
	if len(id) > 0 {
		b = append(append(append(b, "Request: "...), id...), '\n')
	}
	return b
}

// plainPage is plainText for people.
func plainPage(status int, id []byte) []byte { return document(status, id, "") }

// show makes an answer show what the application has raised, in the place of all else.
func show(o *http1.Own, traceback []byte, forHTML bool, id []byte) {
	o.Fields += "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
	if !forHTML {
		o.Type, o.Body = "text/plain; charset=utf-8", append(append(plainText(o.Status, id), '\n'), traceback...)
		return
	}
	o.Fields += "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\n"
	o.Type = "text/html; charset=utf-8"
	o.Body = document(o.Status, id, "<pre>"+html.EscapeString(string(traceback))+"</pre>\n<p>You see this since <code>--debug</code> is on.</p>\n")
}

// document is a page with that status as its heading, and more, which is HTML, below. An
// identifier has nothing in it that means something there: see isRequestID.
func document(status int, id []byte, more string) []byte {
	name := fmt.Sprintf("%d %s", status, http1.StatusText(status))
	request := ""
	if len(id) > 0 {
		request = fmt.Sprintf("<p>Request: <code>%s</code></p>\n", id)
	}
	return fmt.Appendf(nil, frame, name, name, request, more)
}

const frame = `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>%s</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; margin: 3em auto; max-width: 60em; padding: 0 1em }
pre { font: 14px/1.45 ui-monospace, monospace; overflow-x: auto; padding: 1em; border-left: 4px solid #b33 }
</style>
</head>
<body>
<h1>%s</h1>
%s%s</body>
</html>
`
