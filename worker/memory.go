package worker

import "sync/atomic"

// memory is what a worker holds of its clients' bytes.
type memory struct {
	limit int64 // more is too much (--limit-buffers); 0: nothing is
	full  poke  // told when it is

	inputs      inputPool
	outBytes    atomic.Int64 // what responses hold for slow clients
	streamBytes atomic.Int64 // what has come of requests of HTTP/2 and of WebSockets' messages, and nobody has read yet
}

func newMemory(limit int64, full poke) *memory {
	return &memory{limit: limit, full: full, inputs: inputPool{limit: limit, full: full}}
}

// buffered counts n bytes more of responses, and has it looked at if these are too many.
func (m *memory) buffered(n int) {
	if all := m.outBytes.Add(int64(n)); all > m.limit && m.limit > 0 {
		m.full.give()
	}
}

// gathered counts n bytes more that have come and that nobody can read yet.
func (m *memory) gathered(n int) {
	if m.streamBytes.Add(int64(n)); n > 0 && m.over() {
		m.full.give()
	}
}

// used is what is not in inputs.
func (m *memory) used() int64 { return m.outBytes.Load() + m.streamBytes.Load() }

// over says that more may be held than should be: an input's buffer counts in full here,
// though its pages may not be there yet.
func (m *memory) over() bool { return m.limit > 0 && m.used()+m.inputs.lent.Load() > m.limit }

// fullOfStreams says that no more bodies of HTTP/2 should be begun.
func (m *memory) fullOfStreams() bool { return m.limit > 0 && m.used() > m.limit }

// roomForAll is up to where responses may be buffered beyond their limits.
func (m *memory) roomForAll() int64 {
	if m.limit > 0 {
		return m.limit / 2
	}
	return outTotal / 2
}

// outTotal bounds what all responses of a worker may hold in this way.
const outTotal = 1 << 30
