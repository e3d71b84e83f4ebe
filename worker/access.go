package worker

import (
	"strconv"
	"sync/atomic"
	"time"

	"hostler/internal/logwriter"
	"hostler/worker/http1"
)

// accessLog makes a line for each request, in the common "combined" format with
// the duration in microseconds behind it. Its bytes are those of the body, without
// framing, as far as they were sent or queued. Whatever a client can choose is escaped,
// so that no line can be forged. Another goroutine writes it.
type accessLog struct {
	to    *logwriter.Writer      // nil: off
	stamp atomic.Pointer[[]byte] // the time as lines have it
	at    int64                  // the second that it is of; the housekeeping's
}

func (a *accessLog) on() bool { return a.to != nil }

// tick prepares the time. To format it for each line would be a third of what a line
// costs.
func (a *accessLog) tick(now time.Time) {
	if second := now.Unix(); second != a.at {
		a.at = second
		b := now.AppendFormat(make([]byte, 0, len(accessTime)), accessTime)
		a.stamp.Store(&b)
	}
}

const accessTime = " - - [02/Jan/2006:15:04:05 -0700] "

func (a *accessLog) request(t *Thread, now int64) {
	buf := bytesAt(t.Buf, int(t.Req.HeadLen))
	// t.out has been sent, or copied, by now.
	b := a.begin(t.out[:0], t.Remote[:t.RemoteLen])
	b = append(b, '"')
	b = appendEscaped(b, t.Req.Method.In(buf))
	b = append(b, ' ')
	b = appendEscaped(b, t.Req.Target.In(buf))
	if t.Req.Minor == minorHTTP2 {
		b = append(b, ` HTTP/2.0" `...)
	} else {
		b = append(b, " HTTP/1."...)
		b = append(b, byte('0'+t.Req.Minor), '"', ' ')
	}
	b = strconv.AppendInt(b, int64(t.reply.status), 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, t.reply.sent, 10)
	var referer, agent []byte
	for i := range t.Req.NFields {
		switch f := &t.Req.Fields[i]; f.Known {
		case http1.KnownReferer:
			referer = f.Value.In(buf)
		case http1.KnownUserAgent:
			agent = f.Value.In(buf)
		}
	}
	for _, v := range [...][]byte{referer, agent} {
		b = append(b, ' ', '"')
		if v == nil {
			b = append(b, '-')
		}
		b = append(appendEscaped(b, v), '"')
	}
	b = append(b, ' ')
	b = strconv.AppendInt(b, (now-t.reply.arrived)/1000, 10)
	a.to.Append(append(b, '\n'))
}

// refused logs a request that never reached the application.
func (a *accessLog) refused(c *conn, status int, sent int64) {
	if !a.on() {
		return
	}
	b := a.begin(make([]byte, 0, 128), c.remote[:c.remoteLen])
	b = append(b, `"-" `...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, sent, 10)
	a.to.Append(append(b, ` "-" "-" 0`+"\n"...))
}

func (a *accessLog) begin(b, client []byte) []byte {
	if len(client) == 0 {
		client = []byte("-")
	}
	return append(append(b, client...), *a.stamp.Load()...)
}

// appendEscaped appends v with everything escaped that could end the quoted
// string, the line, or disturb a terminal.
func appendEscaped(b, v []byte) []byte {
	const hex = "0123456789abcdef"
	clean := 0 // what follows has been looked at, and is fine
	for i, c := range v {
		if c >= 0x20 && c < 0x7f && c != '"' && c != '\\' {
			continue
		}
		b = append(b, v[clean:i]...)
		clean = i + 1
		if c == '"' || c == '\\' {
			b = append(b, '\\', c)
		} else {
			b = append(b, '\\', 'x', hex[c>>4], hex[c&15])
		}
	}
	return append(b, v[clean:]...)
}
