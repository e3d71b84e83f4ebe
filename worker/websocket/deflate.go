package websocket

import (
	"bytes"
	"io"
	"slices"

	"github.com/klauspost/compress/flate"
)

// Scratch is what it takes to compress and inflate. It serves any number of WebSockets,
// one call at a time; the zero value is ready, and takes memory when it is needed.
type Scratch struct {
	src      bytes.Reader
	in       []byte // the compressed message, with the tail that it lacks
	inflater io.ReadCloser
	out      []byte // of inflate
	packed   packer // of Deflate
}

const (
	// keepScratch is how large a buffer may be that stays in a Scratch.
	keepScratch = 64 << 10
	// worthDeflating is from which size on a message is compressed: what is shorter
	// leaves in one packet in either case.
	worthDeflating = 256
)

// tail is the end of a sync flush, which is left out of a message, and after it an empty
// last block, for the inflater to know the end.
const tail = "\x00\x00\xff\xff" + "\x01\x00\x00\xff\xff"

// inflate inflates a message to limit bytes at most. own: the result is the caller's.
func (s *Scratch) inflate(p []byte, limit int) (out []byte, own bool, err *Error) {
	s.in = append(append(s.in[:0], p...), tail...)
	s.src.Reset(s.in)
	if s.inflater == nil {
		s.inflater = flate.NewReader(&s.src)
	} else if s.inflater.(flate.Resetter).Reset(&s.src, nil) != nil {
		return nil, false, errBadDeflate
	}
	defer s.rest()
	out = s.out[:0]
	for {
		if len(out) == cap(out) {
			out = slices.Grow(out, max(min(len(out), limit), 4<<10))
		}
		n, e := s.inflater.Read(out[len(out):min(cap(out), limit+1)])
		if out = out[:len(out)+n]; len(out) > limit {
			return nil, false, errTooBig
		}
		if e == io.EOF {
			break
		}
		if e != nil {
			return nil, false, errBadDeflate
		}
	}
	// A sender may end its message with a last block, and an empty byte (RFC 7692,
	// 7.2.3.4). Behind that there is nothing.
	if s.src.Len() > len(tail)+1 {
		return nil, false, errBadDeflate
	}
	if cap(out) > keepScratch {
		return out, true, nil
	}
	s.out = out
	return out, false, nil
}

// rest lets go of what is too large to be kept.
func (s *Scratch) rest() {
	s.src.Reset(nil)
	if cap(s.in) > keepScratch {
		s.in = nil
	}
}

// Deflate is how what we send is compressed.
type Deflate struct {
	On     bool
	Window uint8 // bits
}

// Compress compresses a message. The result is good until the next call; ok is false where
// it would not be shorter.
func (d Deflate) Compress(p []byte, s *Scratch) (out []byte, ok bool) {
	if !d.On || len(p) < worthDeflating {
		return nil, false
	}
	s.packed.b = s.packed.b[:0]
	s.packed.max = len(p) - 1 + 4
	piece := len(p)
	if d.Window < maxWindow {
		piece = 1 << d.Window
	}
	for rest := p; len(rest) > 0; {
		n := min(piece, len(rest))
		if flate.StatelessDeflate(&s.packed, rest[:n], false, nil) != nil {
			break
		}
		rest = rest[n:]
	}
	out = s.packed.b
	ok = len(out) <= s.packed.max
	if cap(out) > keepScratch {
		s.packed.b = nil
	}
	return bytes.TrimSuffix(out, []byte(tail[:4])), ok
}

// packer gathers what is compressed, as long as it is worth it.
type packer struct {
	b   []byte
	max int
}

func (w *packer) Write(p []byte) (int, error) {
	w.b = append(w.b, p...)
	if len(w.b) > w.max {
		return 0, io.ErrShortBuffer
	}
	return len(p), nil
}
