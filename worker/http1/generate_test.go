package http1

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// A generator makes requests that are valid, or nearly so: what a mutation of
// single bytes hardly ever finds its way to. Its words are drawn from lists in
// which the plain ones are frequent and the odd ones are what parsers disagree on.
type generator struct {
	*rand.Rand
	words []string // of the request so far; mutate works on them
}

// generate returns the input that belongs to seed.
func generate(seed uint64) []byte {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 0x686f73746c6572))}
	for range 1 + g.IntN(3) {
		g.request()
	}
	for range []int{0, 0, 0, 1, 1, 2, 3}[g.IntN(7)] {
		g.mutate()
	}
	return []byte(strings.Join(g.words, ""))
}

func (g *generator) say(words ...string) { g.words = append(g.words, words...) }

func (g *generator) one(list ...string) string { return list[g.IntN(len(list))] }

// odd reports whether something rare happens: once in n.
func (g *generator) odd(n int) bool { return g.IntN(n) == 0 }

const blanks = " \t"

func (g *generator) request() {
	if g.odd(8) {
		g.say("\r\n")
	}
	method := g.one("GET", "GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH", "TRACE", "PURGE", "M-SEARCH", "QUERY")
	target, host := g.target(method), "a"
	if strings.Contains(target, "://") {
		host, _, _ = strings.Cut(strings.SplitAfterN(target, "://", 2)[1], "/")
		host, _, _ = strings.Cut(host, "?")
	}
	if g.odd(30) {
		method = "CONNECT"
		target, host = "a:80", "a:80"
	}
	version := "HTTP/1.1"
	if g.odd(6) {
		version = "HTTP/1.0"
	}
	g.say(method, " ", target, " ", version, "\r\n")
	lines := [][]string{{"Host", ":", " ", host, "\r\n"}}
	for range g.IntN(5) {
		lines = append(lines, g.field())
	}
	var body []string
	switch g.IntN(5) {
	case 0, 1:
		lines = append(lines, []string{g.name("Transfer-Encoding"), ":", g.blank(), g.one("chunked", "chunked", "Chunked"), g.blank(), "\r\n"})
		body = g.chunked()
	case 2:
		payload := g.payload(g.IntN(40))
		lines = append(lines, []string{g.name("Content-Length"), ":", g.blank(), g.one("", "", "0", "00") + fmt.Sprint(len(payload)), g.blank(), "\r\n"})
		body = []string{payload}
	}
	g.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
	for _, l := range lines {
		g.say(l...)
	}
	g.say("\r\n")
	g.say(body...)
}

func (g *generator) target(method string) string {
	if method == "OPTIONS" && g.odd(3) {
		return "*"
	}
	if g.odd(8) {
		return g.one("http", "https", "HTTP") + "://" + g.one("a", "a.b:80", "[::1]", "[::1]:80", "1.2.3.4", "a%41b", "a_b", "A") + g.one("", "/", "/b", "?q", "/b?q://")
	}
	return g.one("/", "/a", "//a", "/a//b", "/../a", "/%41", "/%2f%00", "/%zz", "/%", "/a%", "/a;b=c", "/:@&=+$,", "/\"<>\\^`{|}", "/a?b", "/a?b?c", "/?", "/a?%zz", "/*", "/[::1]",
		"/a?http://b/c", "/a?b:c@d", "/|", "/~a!b'(c)*", "/a:80/b")
}

func (g *generator) name(s string) string {
	if !g.odd(4) {
		return s
	}
	return g.one(strings.ToUpper(s), strings.ToLower(s), s[:len(s)/2]+strings.ToUpper(s[len(s)/2:]))
}

func (g *generator) blank() string {
	return g.one(" ", " ", " ", "", "", "", "  ", "   ", g.one("\t", " ", "", " \t "))
}

func (g *generator) field() []string {
	value := g.one("1", "", "a b", "a\tb", "\"a, b\"", "\x80\xff", "\xe4\xb8\xad", "a,b", ",", "a:b", ": a", "\\", "(c)", "a;b=\"c\\\"\"", strings.Repeat("x", g.IntN(200)))
	name := g.one("X", "X-A", "Accept", "Cookie", "x_y", "Content_Length", "Transfer_Encoding", "!#$%&'*+-.^`|~0", "Content-Lengt", "Content-Lengthy", "Hosts", "Transfer-Encodin", "Connectio",
		"Pragma", "Cache-Control", "User-Agent", "Referer", "Content-Type", "Proxy-Connection", "Keep-Alive", "Sec-WebSocket-Key1", "Forwarded", "X-Forwarded-For")
	switch g.IntN(12) {
	case 0:
		name, value = "Connection", g.one("close", "keep-alive", "Close", "Keep-Alive", "close, keep-alive", "keep-alive, close", "upgrade", "Upgrade, close", "closed", "close,", ", close", "keep-alive,close", "x, close", "clos", "",
			"close x", "close;x", "x close", "\tclose\t", "close,x", "TE, close", "keep-alive , upgrade")
	case 1:
		name, value = "Upgrade", g.one("websocket", "h2c", "", "x, y", "TLS/1.0")
	case 2:
		name, value = "Expect", "100-continue"
	case 3:
		name, value = "Trailer", g.one("X", "X, Y", "Vary")
	case 4:
		name, value = "TE", g.one("trailers", "gzip", "")
	case 5:
		name, value = "Pragma", "no-cache"
	}
	return []string{g.name(name), ":", g.blank(), value, g.blank(), "\r\n"}
}

// payload has what could be taken for framing.
func (g *generator) payload(n int) string {
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(g.one("a", "0", "\r", "\n", "\r\n", "\r\n\r\n", "0\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "\x00", "\xff", ";", "5\r\n"))
	}
	return b.String()[:n]
}

func (g *generator) chunked() (b []string) {
	for range g.IntN(4) {
		payload := g.payload(1 + g.IntN(30))
		b = append(b, g.size(len(payload)))
		b = append(b, g.extensions()...)
		b = append(b, "\r\n", payload, "\r\n")
	}
	b = append(b, g.one("0", "0", "0", "00", "000"))
	b = append(b, g.extensions()...)
	b = append(b, "\r\n")
	if g.odd(3) {
		for range 1 + g.IntN(3) {
			b = append(b, g.one("X", "X-A", "Vary", "x_y", "Expires", "ETag", "Content-MD5", "Signature"), ":", g.blank(), g.one("1", "", "a b", "\x80", "a:b", "chunked"), g.blank(), "\r\n")
		}
	}
	return append(b, "\r\n")
}

func (g *generator) size(n int) string {
	s := fmt.Sprintf("%x", n)
	if g.odd(3) {
		s = strings.ToUpper(s)
	}
	return g.one("", "", "", "0", "00000") + s
}

func (g *generator) extensions() (b []string) {
	if !g.odd(3) {
		return nil
	}
	for range 1 + g.IntN(3) {
		b = append(b, g.badBlank()+";"+g.badBlank(), g.one("a", "ab", "!#$%", "0", "A-b"))
		if g.odd(2) {
			b = append(b, g.badBlank()+"="+g.badBlank(),
				g.one("c", "0", "\"c\"", "\"\"", "\"c d\"", "\"\\\"\"", "\"\\\\\"", "\"a;b=c\"", "\"\x80\"", "\"\t\"", "\"\\a\""))
		}
	}
	return b
}

// badBlank is what RFC 9112 calls BWS: not to be sent, but to be taken.
func (g *generator) badBlank() string {
	if g.odd(20) {
		return g.one(" ", "\t", "  ")
	}
	return ""
}

// mutate damages a word, or the order of words.
func (g *generator) mutate() {
	i := g.IntN(len(g.words))
	w := g.words[i]
	switch g.IntN(10) {
	case 0: // another end of the line, or an obs-fold
		for j := range g.words {
			if k := (i + j) % len(g.words); g.words[k] == "\r\n" {
				g.words[k] = g.one("\n", "\r", "\r\r\n", "\n\r", " \r\n", "\r\n ", "\r\n\t", "", "\r\n\r\n", "\x00\r\n", "\v\r\n", "\r\n\n", "\r\n\r")
				break
			}
		}
	case 1:
		g.words[i] = w + w
	case 2:
		g.words[i] = ""
	case 3:
		j := g.IntN(len(g.words))
		g.words[i], g.words[j] = g.words[j], w
	case 4, 5:
		at := g.IntN(len(w) + 1)
		g.words[i] = w[:at] + g.one("\x00", "\t", " ", "\v", "\f", "\x7f", "\x80", "\x85", "\xa0", "\xff", "\r", "\n", ":", ";", ",", "\"", "\\", "_", "%", "=", "#", "@", "/", "0", "-", "+", "x", "?") + w[at:]
	case 6:
		if len(w) > 0 {
			at := g.IntN(len(w))
			g.words[i] = w[:at] + string(rune(g.IntN(128))) + w[at+1:]
		}
	case 7: // a length that is another's
		for j := range g.words {
			k := (i + j) % len(g.words)
			if n := g.words[k]; n != "" && strings.Trim(n, "0123456789abcdefABCDEF") == "" {
				g.words[k] = g.one(n+"0", "0"+n, "+"+n, "-"+n, n+" ", " "+n, "0x"+n, n+"_", n+", "+n, n[:len(n)-1], n+".0", n+"\x00", "1"+n, strings.Repeat("0", 20)+n, "ffffffffffffffff", "8000000000000000", "9223372036854775808")
				break
			}
		}
	case 8: // a line twice
		j := i
		for j < len(g.words)-1 && g.words[j] != "\r\n" {
			j++
		}
		start := i
		for start > 0 && g.words[start-1] != "\r\n" {
			start--
		}
		line := strings.Join(g.words[start:j+1], "")
		g.words[i] = line + w
	case 9:
		line := g.one("Content-Length: 5", "Transfer-Encoding: chunked", "Transfer-Encoding: identity", "Host: b", "Content-Length: 0", "Connection: close", "Transfer-Encoding: gzip, chunked", "X : 1", " X: 1",
			": 1", "X", "Expect: 100-continue", "Content-Length:", "Transfer-Encoding:", "Content-Length: 5, 5", "Transfer-Encoding: chunked, chunked", "Transfer-Encoding: xchunked", "Content-Type: a")
		g.words[i] = w + line + "\r\n"
	}
}
