package worker

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"hostler/internal/accesslog"
	"hostler/internal/logwriter"
	"hostler/protocol"
	"hostler/worker/http1"
)

// accessLog makes a line for each request, whoever answered it. The bytes in it are those
// of the body, without framing, as far as they were sent or queued. Another goroutine
// writes the lines.
type accessLog struct {
	to      *logwriter.Writer // nil: off
	format  *accesslog.Format
	fields  []accessField // that the format asks for
	exclude []pathPattern // of requests that have no line
	worker  int
	pid     int
	lasting lastingLines
	clock   atomic.Pointer[accesslog.Clock]
}

// accessField is the name of a field of requests.
type accessField struct {
	name  []byte // in lower case
	known uint32 // of Field.Known; 0: it is not one of these
}

// setFormat reads the format of the lines, and the patterns of paths that have none.
func (a *accessLog) setFormat(format string, exclude []string) error {
	f, err := accesslog.Parse(cmp.Or(format, accesslog.Combined))
	if err != nil {
		return err
	}
	a.format, a.pid = f, os.Getpid()
	for _, name := range f.RequestFields() {
		k := max(slices.Index(http1.KnownFields[:], name), http1.KnownNone)
		a.fields = append(a.fields, accessField{[]byte(name), uint32(k)})
	}
	for _, p := range exclude {
		a.exclude = append(a.exclude, newPathPattern(p))
	}
	return nil
}

func (a *accessLog) on() bool { return a.to != nil }

// tick prepares the time.
func (a *accessLog) tick(now time.Time) {
	if c := a.clock.Load(); c == nil || !c.Shows(now) {
		a.clock.Store(accesslog.NewClock(now))
	}
}

func (a *accessLog) request(t *Thread, now int64) {
	if a.begin(t) {
		e := &t.line.Entry
		e.Status, e.Bytes, e.Duration = t.reply.status, t.reply.sent, time.Duration(now-t.reply.arrived)
		// t.out has been sent, or copied, by now.
		a.append(t.out[:0], e)
	}
}

// begin puts what is known of t's request from the start into t.line. It returns false if
// there is to be no line.
func (a *accessLog) begin(t *Thread) bool {
	for _, p := range a.exclude {
		if p.match(bytesAt(t.Path, int(t.PathLen))) {
			return false
		}
	}
	buf := t.head()
	line := &t.line
	line.Thread, line.log = t, a
	line.Entry = accesslog.Entry{
		Client: t.Remote[:t.RemoteLen], Method: t.Req.Method.In(buf), Target: t.Req.Target.In(buf), Protocol: protocols[t.Req.Minor],
		Fields: line, Worker: a.worker, PID: a.pid, Route: t.ruleName(),
	}
	if t.Started != 0 && !t.reply.static {
		line.Entry.Queue = time.Duration(t.Started - t.reply.arrived)
	}
	return true
}

// lastingLine is the line of a request that has become a WebSocket: it is written at the end
// of that, when the request is long forgotten.
type lastingLine struct {
	accesslog.Entry
	log     *accessLog
	lines   bool           // it has a line; else a span alone
	span    *protocol.Span // nil: none
	spans   *spans
	arrived int64
	fields  [][]byte         // of the request, as the format asks for them
	records []byte           // fields of the response
	rec     *protocol.Thread // nil: it has none
	start   int64            // … of the request

	status atomic.Int32 // 0: nothing has become of it yet
	sent   atomic.Int64 // bytes behind the head of the answer
}

// lastingLines are those that have not been written.
type lastingLines struct {
	mu  sync.Mutex
	all map[*lastingLine]struct{}
}

// take reports whether k is one of them, and forgets it.
func (s *lastingLines) take(k *lastingLine) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.all[k]
	delete(s.all, k)
	return ok
}

// keep makes t's line, and its span, one that lasts; nil: there is to be none. records are the
// fields that the application has accepted with.
func (a *accessLog) keep(t *Thread, records []byte, to *spans) *lastingLine {
	line := a.on() && a.begin(t)
	if !line && !t.span.sampled() {
		return nil
	}
	k := &lastingLine{log: a, lines: line, spans: to, arrived: t.reply.arrived, rec: t.record(), start: t.Taken}
	if t.span.sampled() {
		k.span = lasting(to.of(t, t.reply.arrived))
		k.span.Error = nil // nothing has gone wrong yet
	}
	if line {
		k.Entry, k.records = t.line.Entry, bytes.Clone(records)
		k.Client, k.Method, k.Target = bytes.Clone(k.Client), bytes.Clone(k.Method), bytes.Clone(k.Target)
		for n := range a.fields {
			k.fields = append(k.fields, bytes.Clone(t.line.RequestField(n)))
		}
		k.Fields = k
	}
	a.lasting.mu.Lock()
	defer a.lasting.mu.Unlock()
	if a.lasting.all == nil {
		a.lasting.all = make(map[*lastingLine]struct{})
	}
	a.lasting.all[k] = struct{}{}
	return k
}

// opens says what the answer was.
func (k *lastingLine) opens(status int) {
	if k != nil {
		k.status.Store(int32(status))
	}
}

// add says that more has been sent.
func (k *lastingLine) add(n int) {
	if k != nil {
		k.sent.Add(int64(n))
	}
}

// end writes the line, if that has not been done, and something has become of it.
func (k *lastingLine) end(now int64) {
	if k == nil || !k.log.lasting.take(k) || k.status.Load() == 0 {
		return
	}
	k.Status, k.Bytes, k.Duration = int(k.status.Load()), k.sent.Load(), time.Duration(now-k.arrived)
	if k.span != nil {
		if k.rec != nil {
			k.rec.Told(k.start)
		}
		k.spans.end(k.span, k.Status, now-k.arrived)
	}
	if k.lines {
		k.log.append(make([]byte, 0, 256), &k.Entry)
		if k.rec != nil {
			k.rec.Logged(k.start)
		}
	}
}

// conclude writes the lines of WebSockets whose end the worker will not see.
func (a *accessLog) conclude(now int64) {
	a.lasting.mu.Lock()
	all := slices.Collect(maps.Keys(a.lasting.all))
	a.lasting.mu.Unlock()
	for _, k := range all {
		if k.status.Load() != 0 {
			k.end(now)
		}
	}
}

// RequestField implements accesslog.Fields.
func (k *lastingLine) RequestField(n int) []byte { return k.fields[n] }

// ResponseField implements accesslog.Fields.
func (k *lastingLine) ResponseField(name string) []byte { return fieldOf(k.records, name) }

// asked is what is known of t's request.
func (t *Thread) asked() asked { return parsed(&t.Req, t.head()) }

// heard is that for what has been gathered of a connection's request.
func (c *conn) heard() asked {
	if c.in == nil {
		return asked{}
	}
	return heard(c.in.mem[:c.in.n])
}

// refused logs a request that never reached the application.
func (a *accessLog) refused(c *conn, q asked, protocol string, status int, sent int64) {
	if a.on() {
		e := accesslog.Entry{Client: c.remote[:c.remoteLen], Method: q.method, Target: q.target, Protocol: protocol,
			Status: status, Bytes: sent, Worker: a.worker, PID: a.pid}
		a.append(make([]byte, 0, 256), &e)
	}
}

func (a *accessLog) append(b []byte, e *accesslog.Entry) {
	if a.format.Precise {
		e.At = time.Now()
	}
	a.to.Append(a.format.Append(b, e, a.clock.Load()))
}

// accessLine is what the line of a Thread's request is made of. It is part of the Thread,
// so that none has to be allocated.
type accessLine struct {
	accesslog.Entry
	*Thread
	log *accessLog
}

// RequestField implements accesslog.Fields.
func (a *accessLine) RequestField(n int) []byte {
	want, t := &a.log.fields[n], a.Thread
	if want.known == http1.KnownXRequestID && len(t.id) > 0 {
		return t.id
	}
	buf := t.head()
	for i := range t.Req.NFields {
		f := &t.Req.Fields[i]
		if f.Known == want.known && (f.Known != http1.KnownNone || bytes.EqualFold(f.Name.In(buf), want.name)) {
			return f.Value.In(buf)
		}
	}
	return nil
}

// ResponseField implements accesslog.Fields. It knows those that the application has
// set.
func (a *accessLine) ResponseField(name string) []byte {
	t := a.Thread
	if t.reply.stage != stageSent {
		return nil
	}
	return fieldOf(t.resp[t.StatusLen:t.StatusLen+t.FieldsLen], name)
}

// fieldOf returns the value of a field out of records; nil: it is not there.
func fieldOf(b []byte, name string) []byte {
	for len(b) >= 8 {
		n, v := int(binary.NativeEndian.Uint32(b)), int(binary.NativeEndian.Uint32(b[4:]))
		if b = b[8:]; n+v > len(b) {
			break // a part of a large head has been forgotten
		}
		if n == len(name) && strings.EqualFold(string(b[:n]), name) {
			return b[n : n+v]
		}
		b = b[n+v:]
	}
	return nil
}
