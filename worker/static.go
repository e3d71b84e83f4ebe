package worker

import (
	"encoding/binary"
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"hostler/settings"
	"hostler/worker/http1"
	"hostler/worker/static"
)

// Files are served by whoever has parsed the request: a Python thread on its way
// through Next, or the deputy. No thread of Python's is held: the head and the
// file's descriptor go into the connection's output, as an application's response
// does, and the client takes it at its pace.

func openStatic(dirs []settings.Static) (static.Roots, error) {
	var all []static.Dir
	for _, d := range dirs {
		all = append(all, static.Dir(d))
	}
	return static.Open(all)
}

// keepsConn reports whether accept has answered a request itself, and the connection is
// still the caller's, to receive the next. It says so once.
func (t *Thread) keepsConn() bool {
	if !t.onward {
		return false
	}
	t.onward = false
	return true
}

// isStatic reports whether the request in t is for a file, or something else that is
// answered without Python.
func (t *Thread) isStatic() bool {
	l := t.l
	return l.static != nil && l.static.Find(t.decodePath()) != nil || t.challenged() != "" || t.asksForMetrics()
}

// asksForMetrics reports whether the request in t is for --metrics-path.
func (t *Thread) asksForMetrics() bool {
	e := t.l.keeper.exposition
	return e != nil && (t.Req.MethodID == http1.MethodGet || t.Req.MethodID == http1.MethodHead) && string(t.decodePath()) == e.path
}

// challenged returns the answer to the request in t, if an authority asks whether a name
// leads here; else "". It may well be answered at any address.
func (t *Thread) challenged() string {
	s := t.l.tls.Load()
	if s == nil || s.answers == nil {
		return ""
	}
	return s.answers[string(t.Req.Path.In(t.head()))]
}

// wantsStatic is isStatic for a request in an input. It does nothing to t that its
// next request would not.
func (t *Thread) wantsStatic(in *input) bool {
	l := t.l
	if s := l.tls.Load(); l.static == nil && l.keeper.exposition == nil && (s == nil || s.answers == nil) {
		return false
	}
	if ok, _ := http1.Parse(in.mem[:in.n], 0, &l.limits, &t.Req); !ok {
		return false
	}
	t.Buf = address(in.mem)
	return t.isStatic()
}

// decodePath returns the path of t's request without its escapes.
func (t *Thread) decodePath() []byte {
	p := t.Req.Path.In(t.head())
	if t.Req.Flags&http1.FlagPathEscaped != 0 {
		return t.path[:http1.Unescape(t.path, p)]
	}
	return p
}

// serveStatic answers the request in t if it is for a file; else it returns false.
// Whether the connection is still the caller's then, keepsConn says.
func (l *Loop) serveStatic(t *Thread, c *conn) bool {
	path := bytesAt(t.Path, int(t.PathLen))
	root := l.static.Find(path)
	if root == nil {
		return false
	}
	r := &t.Req
	buf := bytesAt(t.Buf, int(r.HeadLen))
	method := string(r.Method.In(buf))
	if t.tunnels() {
		method = "CONNECT" // a file would accept it
	}
	t.answerOwn(c, func() static.Answer {
		return root.Answer(&static.Request{Method: method, Target: r.Path.In(buf), Path: path,
			Query: r.Query.In(buf), Header: staticFields(r, buf)})
	})
	return true
}

// serveChallenge answers the request in t if an authority's it is; else it returns false.
func (t *Thread) serveChallenge(c *conn) bool {
	answer := t.challenged()
	if answer == "" {
		return false
	}
	t.answerOwn(c, func() static.Answer {
		a := static.Answer{Status: http.StatusOK, Body: []byte(answer), File: -1,
			Header: http.Header{"Content-Type": {"application/octet-stream"}, "X-Content-Type-Options": {"nosniff"}}}
		if t.Req.MethodID != http1.MethodGet && t.Req.MethodID != http1.MethodHead {
			a.Status, a.Body = http.StatusMethodNotAllowed, nil
			a.Header["Allow"] = []string{"GET, HEAD"}
		}
		return a
	})
	return true
}

// answerOwn gives an answer of the server's own to the request in t.
func (t *Thread) answerOwn(c *conn, answer func() static.Answer) {
	l := t.l
	if t == l.keeper.sweeper {
		t.arrived = l.now() // it takes no note of when events came
	}
	t.conn = c
	t.reply = reply{arrived: t.arrived, remaining: -1, static: true}
	t.Result, t.Out, t.OutLen, t.OutKept = 0, 0, 0, 0
	c.served++
	c.setPhase(phaseRunning, 0)
	t.sendStatic(answer())
	t.onward = t.conclude()
}

// staticFields returns the fields that matter for a file, or nil.
func staticFields(r *http1.Request, buf []byte) http.Header {
	var h http.Header
	for i := range r.NFields {
		f := &r.Fields[i]
		switch f.Known {
		case http1.KnownNone, http1.KnownAcceptEncoding, http1.KnownIfNoneMatch, http1.KnownIfModifiedSince, http1.KnownRange:
		default:
			continue
		}
		name := textproto.CanonicalMIMEHeaderKey(string(f.Name.In(buf)))
		if !slices.Contains(static.Fields[:], name) {
			continue
		}
		if h == nil {
			h = make(http.Header, 4)
		}
		value := string(f.Value.In(buf))
		if old := h[name]; old != nil && name != "Range" {
			h[name][0] = old[0] + ", " + value // RFC 9110, 5.2
		} else {
			h[name] = append(old, value)
		}
	}
	return h
}

// sendStatic puts the answer where an application would have put its own, and a file
// into the output.
func (t *Thread) sendStatic(a static.Answer) {
	if a.Status >= 400 { // conclude says it, as it does all errors
		t.reply.own, t.reply.fields = a.Status, headLines(a.Header)
		return
	}
	b := append(appendStatus(t.resp[:0], a.Status), ' ')
	b = append(b, http1.StatusText(a.Status)...)
	t.StatusLen = uint32(len(b))
	var st unix.Stat_t
	names := make([]string, 0, len(a.Header))
	for name := range a.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, value := range a.Header[name] {
			// A head that the request fits into leaves room for all that is made of it.
			b = binary.NativeEndian.AppendUint32(b, uint32(len(name)))
			b = binary.NativeEndian.AppendUint32(b, uint32(len(value)))
			b = append(append(b, name...), value...)
		}
	}
	t.FieldsLen = uint32(len(b)) - t.StatusLen
	if len(b)+len(a.Body) > len(t.resp) {
		t.Result = ResultFailed
	} else if e, _ := t.SetHead(); e != 0 {
		t.Result = ResultFailed
	} else if a.File < 0 {
		t.Out, t.OutLen = address(t.resp[len(b):]), int64(copy(t.resp[len(b):], a.Body))
		t.Result = ResultFinal
		return
	} else if unix.Fstat(a.File, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && t.sendStored(a.File, a.Off, max(st.Size-a.Off, 0), false) == WriteOK {
		// A file that got shorter in this moment cannot be what was announced.
		t.reply.gone = t.reply.gone || t.reply.remaining > 0
		return
	} else {
		t.Result = ResultFailed
	}
	if a.File >= 0 {
		unix.Close(a.File)
	}
}

// headLines are the fields of an answer that is an error, but for those of its body.
func headLines(h http.Header) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, value := range h[name] {
			if name != "Content-Type" {
				b.WriteString(name + ": " + value + "\r\n")
			}
		}
	}
	return b.String()
}

func appendStatus(b []byte, status int) []byte {
	return append(b, byte('0'+status/100), byte('0'+status/10%10), byte('0'+status%10))
}

// accountStatic is account for a request that no Python thread ran.
func (t *Thread) accountStatic(now int64) {
	t.countDuration(now)
	if t.l.access.on() {
		t.l.access.request(t, now)
	}
	if t.span.sampled() {
		t.l.spans.request(t, now)
	}
}
