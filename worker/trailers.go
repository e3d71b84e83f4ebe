package worker

import (
	"bytes"

	"hostler/worker/http1"
)

// Trailers says, before the head is checked, that the application has fields to send
// behind the body. They are sent where the client says that it takes them (RFC 9110,
// 6.5.1), and the response has a place for them: in chunks, or on a stream of HTTP/2.
func (t *Thread) Trailers() { t.reply.trailers = t.Req.Minor != 0 && t.takesTrailers() }

func (t *Thread) takesTrailers() bool {
	buf := bytesAt(t.Buf, int(t.Req.HeadLen))
	for i := range t.Req.NFields {
		f := &t.Req.Fields[i]
		if bytes.EqualFold(f.Name.In(buf), []byte("te")) && bytes.Contains(bytes.ToLower(f.Value.In(buf)), []byte("trailers")) {
			return true
		}
	}
	return false
}

// EndTrailers ends the body with the fields that follow it, which are records. Where there
// are more to come it only looks at them.
func (t *Thread) EndTrailers(fields []byte, more bool) http1.HeadError {
	r := &t.reply
	if e, _ := http1.CheckHints(fields); e != 0 || more {
		return e
	}
	if r.stage == stageHead {
		t.progress()
		t.transmit(t.conn, t.openReply(-1), 0)
	}
	if !r.trailers || len(fields) == 0 || r.gone || r.ended {
		t.EndBody()
		return 0
	}
	r.ended = true
	t.transmit(t.conn, t.conn.trailers(t.out[:0], fields), 0)
	return 0
}
