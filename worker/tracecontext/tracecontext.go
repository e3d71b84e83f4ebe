package tracecontext

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"

	"hostler/settings"
)

// Bits of Context.Flags.
const (
	Sampled = 1 << iota // it is recorded
	Random              // its identifier is random (level 2)
)

// Context says where in which trace something is.
type Context struct {
	Trace [16]byte
	Span  [8]byte
	Flags byte
}

// Size is the length of a traceparent.
const Size = len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")

// Parse reads a traceparent. What is not exactly as it should be is none: who guesses
// connects what does not belong together.
func Parse(v []byte) (c Context, ok bool) {
	if len(v) < Size || len(v) > Size && v[Size] != '-' || v[2] != '-' || v[35] != '-' || v[52] != '-' {
		return Context{}, false
	}
	var version, flags [1]byte
	if !lower(version[:], v[:2]) || version[0] == 0xff || version[0] == 0 && len(v) != Size ||
		!lower(c.Trace[:], v[3:35]) || !lower(c.Span[:], v[36:52]) || !lower(flags[:], v[53:55]) || c.Trace == [16]byte{} || c.Span == [8]byte{} {
		return Context{}, false
	}
	c.Flags = flags[0]
	return c, true
}

// lower decodes hexadecimal digits, which have to be in lower case.
func lower(dst, src []byte) bool {
	for _, c := range src {
		if 'A' <= c && c <= 'F' {
			return false
		}
	}
	_, err := hex.Decode(dst, src)
	return err == nil
}

// Append appends the traceparent. It is of version 0, whatever came: of later ones no more is
// known than what that has.
func (c *Context) Append(b []byte) []byte {
	b = hex.AppendEncode(append(b, "00-"...), c.Trace[:])
	b = hex.AppendEncode(append(b, '-'), c.Span[:])
	return hex.AppendEncode(append(b, '-'), []byte{c.Flags})
}

// Sampler decides which traces are recorded.
type Sampler struct {
	parent bool   // as the parent does, where there is one
	bound  uint64 // of 63 bits of the trace's identifier: those below are
}

// NewSampler returns the sampler that s asks for.
func NewSampler(s *settings.Tracing) Sampler {
	all := uint64(1) << 63
	switch s.Sampler {
	case settings.SamplerOn:
		return Sampler{false, all}
	case settings.SamplerOff:
		return Sampler{false, 0}
	case settings.SamplerRatio:
		return Sampler{false, share(s.Ratio)}
	case settings.SamplerParentOff:
		return Sampler{true, 0}
	case settings.SamplerParentRatio:
		return Sampler{true, share(s.Ratio)}
	}
	return Sampler{true, all}
}

func share(ratio float64) uint64 {
	if !(ratio > 0) { // nor a number
		return 0
	}
	return uint64(min(ratio, 1) * (1 << 63))
}

// Begin returns where a request is that came with a parent, or, where that has no span, with
// none. The last eight bytes of the trace decide: by them others decide alike.
func (s Sampler) Begin(parent Context) Context {
	c := Context{Trace: parent.Trace}
	fresh := parent.Span == [8]byte{}
	if fresh {
		c.Trace = newTrace()
	}
	for c.Span == [8]byte{} {
		binary.NativeEndian.PutUint64(c.Span[:], rand.Uint64())
	}
	c.Flags = parent.Flags & Random
	sampled := binary.BigEndian.Uint64(c.Trace[8:])>>1 < s.bound
	if s.parent && !fresh {
		sampled = parent.Flags&Sampled != 0
	}
	if sampled {
		c.Flags |= Sampled
	}
	return c
}

func newTrace() (t [16]byte) {
	for t == [16]byte{} {
		binary.NativeEndian.PutUint64(t[:], rand.Uint64())
		binary.NativeEndian.PutUint64(t[8:], rand.Uint64())
	}
	return t
}
