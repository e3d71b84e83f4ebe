package websocket

import (
	"math/bits"
	"unicode/utf8"
)

// Kind is what a Reader has found.
type Kind uint8

// The kinds. Those of messages are their opcodes.
const (
	Nothing  Kind = 0 // all is taken, and more has to come
	IsText        = Kind(Text)
	IsBinary      = Kind(Binary)
	IsClose       = Kind(Close)
	IsPing        = Kind(Ping)
	IsPong        = Kind(Pong)
)

// Message is a message, or a control frame, whole.
type Message struct {
	Kind Kind
	Own  bool // Data is the caller's to keep
	Code int  // of a close: NoStatus where there is none. Data is the reason
	Data []byte
}

// Reader is what is received on a WebSocket, of the client's frames. It belongs to one
// goroutine at a time.
type Reader struct {
	Max     int // bytes of a message, inflated
	Deflate bool

	head    [maxHeader]byte // of a frame, as far as it has come
	nHead   uint8
	inFrame bool   // the payload of f is coming: n bytes are left, and begin with key
	packed  bool   // the message is compressed
	op      Opcode // of the message whose fragments are coming; 0: of none
	closed  bool   // a close frame has been seen, or an error
	f       header
	text    text
	message []byte // what has been gathered of it
	control []byte // and of a control frame
}

// Held is how much memory r has gathered.
func (r *Reader) Held() int { return cap(r.message) + cap(r.control) }

// Next takes the begin of b, n bytes, which may be changed in place. It takes all of b, or
// up to the end of what m says. After a close or an error nothing is taken any more.
func (r *Reader) Next(b []byte, s *Scratch) (n int, m Message, err *Error) {
	if r.closed {
		return len(b), m, nil
	}
	for n < len(b) {
		if !r.inFrame {
			k, e := r.header(b[n:])
			if n += k; e != nil {
				return n, m, r.fail(e)
			}
			if !r.inFrame {
				return n, m, nil
			}
		}
		p := b[n:]
		if r.f.n < uint64(len(p)) {
			p = p[:r.f.n]
		}
		n += len(p)
		whole := uint64(len(p)) == r.f.n
		r.f.key = unmask(p, r.f.key)
		r.f.n -= uint64(len(p))
		r.inFrame = !whole
		var e *Error
		if r.f.op.control() {
			m, e = r.controlFrame(p, whole)
		} else {
			m, e = r.dataFrame(p, whole, s)
		}
		if e != nil {
			return n, Message{}, r.fail(e)
		}
		if m.Kind != Nothing {
			return n, m, nil
		}
	}
	return n, m, nil
}

// fail ends the reading.
func (r *Reader) fail(e *Error) *Error {
	*r = Reader{Max: r.Max, closed: true}
	return e
}

// header takes what b has of a frame's header.
func (r *Reader) header(b []byte) (n int, err *Error) {
	h := b
	if r.nHead > 0 || len(b) < 2 || len(b) < size(b) {
		for n < len(b) && (r.nHead < 2 || int(r.nHead) < size(r.head[:])) {
			r.head[r.nHead] = b[n]
			r.nHead++
			n++
		}
		h = r.head[:r.nHead]
		if len(h) < 2 || len(h) < size(h) {
			return n, nil
		}
		r.nHead = 0
	} else {
		n = size(b)
	}
	f, e := parse(h)
	if e == nil {
		e = r.begin(&f)
	}
	if e != nil {
		return n, e
	}
	r.f, r.inFrame = f, true
	return n, nil
}

// begin takes note of a frame, whose payload comes next.
func (r *Reader) begin(f *header) *Error {
	if f.op.control() {
		if f.rsv1 {
			return errReserved
		}
		return nil
	}
	first := f.op != Continuation
	switch {
	case first == (r.op != 0):
		return errFragment
	case f.rsv1 && !(first && r.Deflate):
		return errReserved
	}
	if first {
		r.op, r.packed, r.text = f.op, f.rsv1, text{}
	}
	if f.n > uint64(r.limit()-len(r.message)) {
		return errTooBig
	}
	return nil
}

// limit is how much may be gathered. What is compressed is never much longer than what it
// says, but by intent.
func (r *Reader) limit() int {
	if r.packed {
		return r.Max + r.Max>>8 + 64
	}
	return r.Max
}

// controlFrame takes a piece of a control frame, whole: its last.
func (r *Reader) controlFrame(p []byte, whole bool) (m Message, err *Error) {
	if !whole || len(r.control) > 0 {
		r.control = append(r.control, p...)
		p = r.control
	}
	if !whole {
		return m, nil
	}
	m = Message{Kind: Kind(r.f.op), Data: p, Own: r.control != nil}
	r.control = nil
	if r.f.op == Close {
		m.Code, m.Data, err = parseClose(p)
		r.closed = true
		r.message = nil
	}
	return m, err
}

// dataFrame takes a piece of a message, whole: the last of its frame.
func (r *Reader) dataFrame(p []byte, whole bool, s *Scratch) (m Message, err *Error) {
	end := whole && r.f.fin
	alone := end && len(r.message) == 0
	if r.op == Text && !r.packed {
		if alone && r.text.whole() {
			if !utf8.Valid(p) {
				return m, errBadText
			}
		} else if !r.text.add(p) || end && !r.text.whole() {
			return m, errBadText
		}
	}
	if !alone {
		r.gather(p)
	}
	if !end {
		return m, nil
	}
	m = Message{Kind: Kind(r.op), Data: p}
	if !alone {
		m.Data, m.Own = r.message, true
	}
	r.op, r.message = 0, nil
	if r.packed {
		if m.Data, m.Own, err = s.inflate(m.Data, r.Max); err != nil {
			return Message{}, err
		}
		if m.Kind == IsText && !utf8.Valid(m.Data) {
			return Message{}, errBadText
		}
	}
	return m, nil
}

// gather adds to the message. What a frame announces is not believed: memory follows what
// has come, though in few steps, and to no more than the limit.
func (r *Reader) gather(p []byte) {
	if need := len(r.message) + len(p); need > cap(r.message) {
		room := need
		if len(r.message) > 0 || r.f.n > 0 { // there is more to come
			room = min(max(2*cap(r.message), 1<<bits.Len(uint(need))), r.limit())
		}
		r.message = append(make([]byte, 0, max(room, need)), r.message...)
	}
	r.message = append(r.message, p...)
}
