package worker

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"strings"

	"hostler/worker/http1"
)

// maxRequestID is more than others take: who sends more means no name.
const maxRequestID = 128

// The names of a request's identifier, in environ and in a response.
const (
	requestIDVariable = "HTTP_X_REQUEST_ID"
	requestIDField    = "X-Request-ID"
)

// nameRequest gives t's request its identifier: that which came with it, or one of our
// own. It goes to environ by the way of TLS's variables, for the request's own bytes have
// no room for it.
func (t *Thread) nameRequest(buf []byte) {
	t.id = t.id[:0]
	n := 0
	for i := range t.Req.NFields {
		if f := &t.Req.Fields[i]; f.Known == http1.KnownXRequestID {
			if n++; n == 1 && isRequestID(f.Value.In(buf)) {
				t.id = append(t.id, f.Value.In(buf)...)
			}
		}
	}
	if n > 0 {
		t.dropField(http1.KnownXRequestID)
	}
	if n > 1 || len(t.id) == 0 { // which of two others would go by is not known
		var random [16]byte
		binary.NativeEndian.PutUint64(random[:], rand.Uint64())
		binary.NativeEndian.PutUint64(random[8:], rand.Uint64())
		t.id = hex.AppendEncode(t.id[:0], random[:])
	}
	t.environVariable(requestIDVariable, t.id)
}

// isRequestID reports whether v is a name, and nothing that means something to those who read
// it in logs and headers.
func isRequestID(v []byte) bool {
	return len(v) > 0 && len(v) <= maxRequestID && !bytes.ContainsFunc(v, func(c rune) bool {
		return (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') && !strings.ContainsRune("-_.~+/=@:", c)
	})
}

// answerID puts the identifier into the head that the application has given, unless that
// has one.
func (t *Thread) answerID() {
	status, fields := t.respHead()
	for rest := fields; ; {
		name, _, next, ok := http1.CutRecord(rest)
		if !ok {
			break
		}
		if rest = next; bytes.EqualFold(name, []byte(requestIDField)) {
			return
		}
	}
	used := len(status) + len(fields)
	if len(t.resp)-used < 2*len(requestIDField)+maxRequestID {
		return
	}
	t.FieldsLen += uint32(len(http1.AppendRecord(t.resp[used:used], requestIDField, t.id)))
}

// idLine is the identifier as a line of a head of our own.
func (t *Thread) idLine() string {
	if len(t.id) == 0 {
		return ""
	}
	return requestIDField + ": " + string(t.id) + "\r\n"
}
