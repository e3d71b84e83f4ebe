package worker

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"hostler/internal/accesslog"
	"hostler/internal/logwriter"
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
	for _, p := range a.exclude {
		if p.match(bytesAt(t.Path, int(t.PathLen))) {
			return
		}
	}
	buf := t.head()
	line := &t.line
	line.Thread, line.log = t, a
	line.Entry = accesslog.Entry{
		Client: t.Remote[:t.RemoteLen], Method: t.Req.Method.In(buf), Target: t.Req.Target.In(buf), Protocol: protocols[t.Req.Minor],
		Status: t.reply.status, Bytes: t.reply.sent, Duration: time.Duration(now - t.reply.arrived), Fields: line,
		Worker: a.worker, PID: a.pid,
	}
	if t.Started != 0 && !t.reply.static {
		line.Entry.Queue = time.Duration(t.Started - t.reply.arrived)
	}
	// t.out has been sent, or copied, by now.
	a.append(t.out[:0], &line.Entry)
}

// protocols are the names of HTTP's versions, by Request.Minor.
var protocols = [...]string{"HTTP/1.0", "HTTP/1.1", minorHTTP2: "HTTP/2.0"}

// refused logs a request that never reached the application.
func (a *accessLog) refused(c *conn, status int, sent int64) {
	if a.on() {
		e := accesslog.Entry{Client: c.remote[:c.remoteLen], Status: status, Bytes: sent, Worker: a.worker, PID: a.pid}
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
	b := t.resp[t.StatusLen : t.StatusLen+t.FieldsLen]
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
