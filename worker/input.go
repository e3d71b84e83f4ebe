package worker

import (
	"sync"

	"golang.org/x/sys/unix"

	"hostler/worker/http1"
)

// input is what has arrived of a request that did not come whole in one read.
// It has the connection's bytes until the request is answered.
type input struct {
	mem     []byte // outside the heap: C builds environ from it
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
	pass    *pool  // that it has a permit of; nil: none
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
	slabSize   = 256 << 10
	// keepLarge bounds the free buffers of a class above slabSize.
	keepLarge = 4
)

// inputPool hands out input buffers from slabs outside the heap.
type inputPool struct {
	mu   sync.Mutex
	free [len(inputClasses)][][]byte
	objs []*input
	held int64 // bytes handed out
}

// get returns an input with room for at least size bytes, or nil if the kernel
// has no memory, or size is beyond the largest class.
func (p *inputPool) get(size int) *input {
	p.mu.Lock()
	defer p.mu.Unlock()
	mem := p.mem(size)
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
	in.mem = mem
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

func (p *inputPool) mem(size int) []byte {
	k := class(size)
	if k < 0 {
		return nil
	}
	size = inputClasses[k]
	p.held += int64(size)
	if n := len(p.free[k]); n > 0 {
		m := p.free[k][n-1]
		p.free[k] = p.free[k][:n-1]
		return m
	}
	if size > slabSize/2 {
		m, err := offHeap(size)
		if err != nil {
			return nil
		}
		return m
	}
	slab, err := offHeap(slabSize)
	if err != nil {
		return nil
	}
	for len(slab) >= 2*size {
		p.free[k] = append(p.free[k], slab[:size:size])
		slab = slab[size:]
	}
	return slab[:size:size]
}

// grow gives in room for at least size bytes, keeping what it holds.
func (p *inputPool) grow(in *input, size int) bool {
	if size <= len(in.mem) {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.mem(size)
	if m == nil {
		return false
	}
	copy(m, in.mem[:in.n])
	p.release(in.mem)
	in.mem = m
	return true
}

func (p *inputPool) release(m []byte) {
	k := class(len(m))
	p.held -= int64(len(m))
	if len(m) > slabSize/2 && len(p.free[k]) >= keepLarge {
		_ = unix.Munmap(m)
		return
	}
	p.free[k] = append(p.free[k], m)
}

// size is how many bytes have been handed out.
func (p *inputPool) size() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held
}

// shrink gives in the smallest buffer that has room for size bytes, and for what it
// holds.
func (p *inputPool) shrink(in *input, size int) {
	size = max(size, in.n)
	p.mu.Lock()
	defer p.mu.Unlock()
	if k := class(size); k < 0 || inputClasses[k] >= len(in.mem) {
		return
	}
	if m := p.mem(size); m != nil {
		copy(m, in.mem[:in.n])
		p.release(in.mem)
		in.mem = m
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
	p.release(in.mem)
	in.mem = nil
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
