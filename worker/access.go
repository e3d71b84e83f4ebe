package worker

import (
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"hostler/worker/http1"
)

// accessLog writes a line for each request, in one write(2), in the common
// "combined" format with the duration in microseconds behind it. Whatever a
// client can choose is escaped, so that no line can be forged.
type accessLog struct {
	fd atomic.Int64 // -1: off
}

func (a *accessLog) on() bool { return a.fd.Load() >= 0 }

// SetAccessLog changes the descriptor that lines go to, and returns the old one.
func (l *Loop) SetAccessLog(fd int) int { return int(l.access.fd.Swap(int64(fd))) }

func (a *accessLog) request(l *Loop, t *Thread, now int64) {
	buf := bytesAt(t.Buf, int(t.Req.HeadLen))
	// t.out has been sent, or copied, by now.
	b := a.begin(t.out[:0], t.Remote[:t.RemoteLen])
	b = append(b, '"')
	b = appendEscaped(b, span(buf, t.Req.Method))
	b = append(b, ' ')
	b = appendEscaped(b, span(buf, t.Req.Target))
	if t.Req.Minor == minorHTTP2 {
		b = append(b, ` HTTP/2" `...)
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
			referer = span(buf, f.Value)
		case http1.KnownUserAgent:
			agent = span(buf, f.Value)
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
	a.write(l, append(b, '\n'))
}

// refused logs a request that never reached the application.
func (a *accessLog) refused(l *Loop, c *conn, status, sent int) {
	if !a.on() {
		return
	}
	b := a.begin(make([]byte, 0, 128), c.remote[:c.remoteLen])
	b = append(b, `"-" `...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(max(sent, 0)), 10)
	a.write(l, append(b, ` "-" "-" 0`+"\n"...))
}

func (a *accessLog) begin(b, client []byte) []byte {
	if len(client) == 0 {
		client = []byte("-")
	}
	b = append(b, client...)
	b = append(b, " - - ["...)
	b = time.Now().AppendFormat(b, "02/Jan/2006:15:04:05 -0700")
	return append(b, "] "...)
}

func (a *accessLog) write(l *Loop, b []byte) {
	if _, err := unix.Write(int(a.fd.Load()), b); err != nil {
		l.slot.Counters.AccessLogErrs.Add(1)
	}
}

// appendEscaped appends v with everything escaped that could end the quoted
// string, the line, or disturb a terminal.
func appendEscaped(b, v []byte) []byte {
	const hex = "0123456789abcdef"
	for _, c := range v {
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20 || c >= 0x7f:
			b = append(b, '\\', 'x', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}
	return b
}
