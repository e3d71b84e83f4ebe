package worker

import (
	"bytes"
	"strconv"
	"time"

	"hostler/internal/logwriter"
	"hostler/protocol"
	"hostler/worker/http1"
	"hostler/worker/tracecontext"
)

// spans tells the master of requests that have ended, one by one: those that are sampled are
// spans of OpenTelemetry (--otel). What exports them, with all its code, is there alone. A
// worker makes identifiers, decides, and writes a line; another goroutine sends it.
type spans struct {
	to         *logwriter.Writer // nil: off
	sampler    tracecontext.Sampler
	propagates bool
	secure     []bool // by listener: it speaks TLS
}

// openSpans has spans go to a writer; nil: there are none.
func openSpans(s *protocol.WorkerConfig, to *logwriter.Writer) spans {
	if s.Tracing == nil || to == nil {
		return spans{}
	}
	o := spans{to: to, sampler: tracecontext.NewSampler(s.Tracing), propagates: s.Tracing.Propagates}
	for _, l := range s.Listeners {
		o.secure = append(o.secure, l.TLS)
	}
	return o
}

func (s *spans) on() bool { return s.to != nil }

const (
	traceparentVariable = "HTTP_TRACEPARENT"
	traceparentField    = "traceparent"
)

// begin finds t's request a place in a trace. The application gets it in the place of what came,
// by the way that a request's identifier goes: what it makes spans of hangs below. Where
// nothing is recorded, and somebody has said so, his word goes on as it is.
func (s *spans) begin(t *Thread, buf []byte) {
	var parent tracecontext.Context
	came := 0
	for i := range t.Req.NFields {
		if f := &t.Req.Fields[i]; f.Known == http1.KnownTraceparent && s.propagates {
			if came++; came == 1 {
				parent, _ = tracecontext.Parse(f.Value.In(buf))
			}
		}
	}
	if came > 1 { // which of them would be a guess
		parent = tracecontext.Context{}
	}
	t.span = span{s.sampler.Begin(parent), parent}
	alone := parent == tracecontext.Context{}
	if !s.propagates || !alone && !t.span.sampled() && parent.Flags&tracecontext.Sampled == 0 {
		return
	}
	if came > 0 {
		t.dropField(http1.KnownTraceparent)
	}
	if alone {
		t.dropField(http1.KnownTracestate) // it is part of what was not taken
	}
	var text [tracecontext.Size]byte
	t.environVariable(traceparentVariable, t.span.Append(text[:0]))
}

// place is what the master has to know of t's request to tell of it.
func (s *spans) place(t *Thread) protocol.Place {
	p := protocol.Place{Trace: t.span.Trace, ID: t.span.Span, Parent: t.span.parent.Span, Flags: t.span.Flags, Arrived: t.reply.arrived}
	if string(s.scheme(t)) == string(secureScheme) {
		p.Security = 1
	}
	return p
}

// request tells of the request that t has ended.
func (s *spans) request(t *Thread, now int64) {
	p := s.of(t, now)
	s.to.Append(p.Append(t.out[:0])) // t.out has been sent, or copied, by now
}

// of is what is told of the request that t has ended. Its texts lie where the request does.
func (s *spans) of(t *Thread, now int64) protocol.Span {
	r, c, buf := &t.reply, t.conn, t.head()
	p := protocol.Span{
		Trace: t.span.Trace, ID: t.span.Span, Parent: t.span.parent.Span, Flags: t.span.Flags,
		End: time.Now().UnixNano(), Duration: max(now-r.arrived, 0), Queue: -1, Minor: int64(t.Req.Minor),
		Method: t.Req.Method.In(buf), Path: t.Req.Path.In(buf), Scheme: s.scheme(t), Host: t.asksFor(buf),
		Client: t.Remote[:t.RemoteLen], Peer: c.remote[:c.remoteLen], Port: portOf(c),
	}
	if r.arrived == 0 {
		p.Duration = 0
	}
	if t.Started != 0 && !r.static {
		p.Queue = min(max(t.Started-r.arrived, 0), p.Duration)
	}
	for i := range t.Req.NFields {
		switch f := &t.Req.Fields[i]; f.Known {
		case http1.KnownUserAgent:
			p.Agent = f.Value.In(buf)
		case http1.KnownTracestate:
			if p.State == nil {
				p.State = f.Value.In(buf)
			} else { // they are one list
				p.State = bytes.Join([][]byte{p.State, f.Value.In(buf)}, []byte(","))
			}
		}
	}
	if r.counted {
		p.Status = int64(r.status)
	}
	p.Error, p.Route = t.wentWrong(), t.ruleName()
	return p
}

// The words for what went wrong, besides a status.
var (
	wrongTimeout   = []byte("timeout")
	wrongException = []byte("exception")
	wrongGone      = []byte("client_gone")
	wrongCut       = []byte("response_cut")
)

// wentWrong says what did, in a word.
func (t *Thread) wentWrong() []byte {
	r := &t.reply
	switch {
	case t.Result&ResultTimedOut != 0 && !r.static:
		return wrongTimeout
	case t.Result&ResultFailed != 0:
		return wrongException
	case !r.counted:
		return wrongGone
	case r.short || r.gone && r.remaining > 0:
		return wrongCut
	}
	return statusError(r.status)
}

// statusError is the status as an error, if it is one of ours.
func statusError(status int) []byte {
	if status < 500 {
		return nil
	}
	return strconv.AppendInt(nil, int64(status), 10)
}

var (
	plainScheme  = []byte("http")
	secureScheme = []byte("https")
)

// scheme is what t's client speaks.
func (s *spans) scheme(t *Thread) []byte {
	switch {
	case t.Forwarded&ForwardedHTTPS != 0:
		return secureScheme
	case t.Forwarded&ForwardedHTTP != 0:
		return plainScheme
	}
	return s.at(int(t.Listener))
}

// at is what clients of a listener speak.
func (s *spans) at(listener int) []byte {
	if s.secure[listener] {
		return secureScheme
	}
	return plainScheme
}

// asksFor is the host that t's client asked for.
func (t *Thread) asksFor(buf []byte) []byte {
	if t.Forwarded&ForwardedHost != 0 {
		return t.Host.In(buf)
	}
	for i := range t.Req.NFields {
		if f := &t.Req.Fields[i]; f.Known == http1.KnownHost {
			return f.Value.In(buf)
		}
	}
	return nil
}

// portOf is the port of a connection's peer.
func portOf(c *conn) int64 {
	n := int64(0)
	for _, digit := range c.port[:c.portLen] {
		n = 10*n + int64(digit-'0')
	}
	return n
}

// refused tells of a request that never reached the application.
func (s *spans) refused(c *conn, q asked, status int) {
	var parent tracecontext.Context
	if s.propagates {
		parent = q.parent()
	}
	at := s.sampler.Begin(parent)
	if at.Flags&tracecontext.Sampled == 0 {
		return
	}
	p := protocol.Span{Trace: at.Trace, ID: at.Span, Parent: parent.Span, Flags: at.Flags, End: time.Now().UnixNano(), Queue: -1, Status: int64(status),
		Minor: int64(q.minor), Port: portOf(c), Method: q.method, Path: protocol.PathOf(q.target), Scheme: s.at(c.listener), Client: c.remote[:c.remoteLen], Peer: c.remote[:c.remoteLen],
		Error: statusError(status)}
	s.to.Append(p.Append(make([]byte, 0, 512)))
}

// parent is what the request says of its place in a trace, as far as its head has come.
func (q *asked) parent() (c tracecontext.Context) {
	came := 0
	_, rest, _ := bytes.Cut(q.head, crlf)
	for len(rest) > 0 {
		var line []byte
		line, rest, _ = bytes.Cut(rest, crlf)
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(name, []byte(traceparentField)) {
			c, _ = tracecontext.Parse(bytes.Trim(value, " \t"))
			came++
		}
	}
	if came != 1 {
		return tracecontext.Context{}
	}
	return c
}

// lasting is a copy of p whose texts last.
func lasting(p protocol.Span) *protocol.Span {
	for _, at := range [...]*[]byte{&p.Method, &p.Path, &p.Scheme, &p.Host, &p.Client, &p.Peer, &p.Agent, &p.State, &p.Error} {
		*at = bytes.Clone(*at)
	}
	return &p
}

// end tells of a request that has become a WebSocket, when that is over.
func (s *spans) end(p *protocol.Span, status int, duration int64) {
	p.End, p.Duration, p.Status = time.Now().UnixNano(), max(duration, 0), int64(status)
	p.Queue = min(p.Queue, p.Duration)
	s.to.Append(p.Append(make([]byte, 0, 512)))
}
