package worker

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"hostler/worker/http1"
)

// input is what has arrived of a request that did not come whole in one read.
// It has the connection's bytes until the request is answered.
type input struct {
	mem     []byte // outside the heap: C builds environ from it
	slab    *slab  // that mem is of
	n       int    // bytes filled
	scanned int    // bytes in which http1.Parse has seen no end of the head
	head    int    // length of the head once it is whole
	need    int    // how far mem must be filled before the application is called
	raw     int    // chunked: from here to n the body is not decoded yet
	body    int    // chunked: end of the decoded body
	chunked bool
	length  int64 // of the body; chunked: -1
	plan    bodyPlan
	expects bool   // the client waits for a 100 that it has not got
	spool   *spool // where the body's begin is, or all of it; nil: in mem
	done    bool   // chunked: the last chunk has been seen
	queued  bool   // whole, waiting for a Python thread
	pass    *lane  // that it has a permit of; nil: none
	passed  bool   // it has waited for metrics: the application is to answer it
	exposed bool   // … or they are there
	held    bool   // it has waited for a second free thread
	until   int64  // … for no longer than this
	dec     http1.Chunked
	arrived int64
	began   int64 // when the body was first waited for; 0: it was not
}

// Size classes of input buffers. The last holds a head and bodyBuffer.
var inputClasses = [...]int{4 << 10, 16 << 10, inBufferSize + 16<<10, 256 << 10, bodyBuffer + inBufferSize + 16<<10, maxHead + bodyBuffer + inBufferSize}

const (
	// maxHead is the longest head that the limits can allow.
	maxHead = 1 << 20
	// bodyBuffer is how much of a body is gathered before the application is
	// called; what is beyond comes to it as it arrives.
	bodyBuffer = 1 << 20
	// spoolBuffer is how much of a body is gathered for a write to a file.
	spoolBuffer = 192 << 10
	// slabSize is that of a slab; a larger buffer has one of its own.
	slabSize = 256 << 10
	// keepSlabs is how many slabs of a class are kept that are not in use.
	keepSlabs = 4
)

// inputPool hands out input buffers from slabs outside the heap, which go back to the
// kernel when none of their buffers is in use.
type inputPool struct {
	mu      sync.Mutex
	classes [len(inputClasses)]slabClass
	objs    []*input
	lent    atomic.Int64 // bytes handed out
	limit   int64        // more is too much; 0: nothing is
	full    poke
}

// slabClass are the slabs with buffers of one size.
type slabClass struct {
	partial []*slab // with a free buffer
	idle    int     // of these, how many have nothing else
}

// slab is a mapping that is cut into buffers.
type slab struct {
	mem  []byte
	n    int      // buffers
	free [][]byte // those not in use
	at   int      // its place in partial, where it is if it has a free buffer
}

// get returns an input with room for at least size bytes, or nil if the kernel
// has no memory, or size is beyond the largest class.
func (p *inputPool) get(size int) *input {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, mem := p.take(class(size))
	if mem == nil {
		return nil
	}
	var in *input
	if n := len(p.objs); n > 0 {
		in = p.objs[n-1]
		p.objs = p.objs[:n-1]
		*in = input{}
	} else {
		in = new(input)
	}
	in.slab, in.mem = s, mem
	return in
}

func class(size int) int {
	for i, c := range inputClasses {
		if size <= c {
			return i
		}
	}
	return -1
}

// take returns a buffer of a class, and its slab. p.mu is held.
func (p *inputPool) take(k int) (*slab, []byte) {
	if k < 0 {
		return nil, nil
	}
	c := &p.classes[k]
	if len(c.partial) == 0 && !c.add(inputClasses[k]) {
		return nil, nil
	}
	s := c.partial[len(c.partial)-1]
	if len(s.free) == s.n {
		c.idle--
	}
	last := len(s.free) - 1
	mem := s.free[last]
	s.free = s.free[:last]
	if last == 0 {
		c.remove(s)
	}
	if n := p.lent.Add(int64(len(mem))); n > p.limit && p.limit > 0 {
		p.full.give()
	}
	return s, mem
}

// add makes a slab. It returns false if the kernel has no memory.
func (c *slabClass) add(size int) bool {
	n := max(1, slabSize/size)
	mem, err := offHeap(n * size)
	if err != nil {
		return false
	}
	s := &slab{mem: mem, n: n, free: make([][]byte, 0, n), at: len(c.partial)}
	for i := range n {
		s.free = append(s.free, mem[i*size:(i+1)*size:(i+1)*size])
	}
	c.partial = append(c.partial, s)
	c.idle++
	return true
}

// remove takes a slab off the partial ones.
func (c *slabClass) remove(s *slab) {
	last := len(c.partial) - 1
	moved := c.partial[last]
	c.partial[s.at], moved.at = moved, s.at
	c.partial[last] = nil
	c.partial = c.partial[:last]
}

// give takes a buffer back. p.mu is held.
func (p *inputPool) give(s *slab, mem []byte) {
	p.lent.Add(-int64(len(mem)))
	c := &p.classes[class(len(mem))]
	s.free = append(s.free, mem)
	if len(s.free) == 1 {
		s.at = len(c.partial)
		c.partial = append(c.partial, s)
	}
	if len(s.free) < s.n {
		return
	}
	if c.idle++; c.idle > keepSlabs {
		c.idle--
		c.remove(s)
		_ = unix.Munmap(s.mem)
	}
}

// grow gives in room for at least size bytes, keeping what it holds.
func (p *inputPool) grow(in *input, size int) bool {
	if size <= len(in.mem) {
		return true
	}
	return p.replace(in, class(size))
}

// replace gives in a buffer of another class, keeping what it holds.
func (p *inputPool) replace(in *input, k int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, mem := p.take(k)
	if mem == nil {
		return false
	}
	copy(mem, in.mem[:in.n])
	p.give(in.slab, in.mem)
	in.slab, in.mem = s, mem
	return true
}

// shrink gives in the smallest buffer that has room for size bytes, and for what it
// holds.
func (p *inputPool) shrink(in *input, size int) {
	if k := class(max(size, in.n)); k >= 0 && inputClasses[k] < len(in.mem) {
		p.replace(in, k)
	}
}

// put takes an input back; nobody may hold a pointer into it any more.
func (p *inputPool) put(in *input) {
	if in.spool != nil {
		in.spool.free()
		in.spool = nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.give(in.slab, in.mem)
	in.slab, in.mem = nil, nil
	p.objs = append(p.objs, in)
}

// drop forgets the first n bytes of the body, which are elsewhere by now.
func (in *input) drop(n int) {
	in.n = in.head + copy(in.mem[in.head:], in.mem[in.head+n:in.n])
	in.body -= n
	in.raw -= n
}

// received is how much of the body has come.
func (in *input) received() int64 {
	n := int64(in.n - in.head)
	if in.spool != nil {
		n += in.spool.size
	}
	return n
}

// decode takes the chunk framing off what has arrived, in place.
func (in *input) decode() http1.Reason {
	n, m, done, reason := in.dec.Decode(in.mem[in.body:in.n], in.mem[in.raw:in.n])
	if reason != http1.ReasonNone {
		return reason
	}
	in.body += n
	in.raw += m
	in.done = done
	if !done {
		// Close the gap that the framing left.
		rest := copy(in.mem[in.body:], in.mem[in.raw:in.n])
		in.raw, in.n = in.body, in.body+rest
	}
	return http1.ReasonNone
}

// bodyPlan is what becomes of a body that is not whole yet.
type bodyPlan uint8

const (
	planHold   bodyPlan = iota // bodyBuffer of it is held in memory, the application reads the rest
	planSpool                  // it goes to a file
	planStream                 // the application reads it as it comes: --stream-uploads
)

// first is how much of a body of the given length is to be there before something is
// done about it, where have bytes are.
func (p bodyPlan) first(length int64, have int) int {
	switch p {
	case planStream:
		return int(min(length, int64(have)))
	case planSpool:
		return int(min(length, spoolBuffer))
	}
	return int(min(length, bodyBuffer))
}
