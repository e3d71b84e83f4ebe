package worker

import (
	"bytes"
	"cmp"

	"golang.org/x/sys/unix"

	"hostler/worker/http1"
)

type gathered int

const (
	gotRequest gathered = iota // c.in holds what the application needs to start
	gotNothing                 // the connection has been given up
	gotMore                    // look again
)

// gather reads more into c.in.
func (l *Loop) gather(t *Thread, c *conn) gathered {
	in := c.in
	if in.spool != nil {
		go c.spoolOn(l)
		return gotNothing
	}
	for {
		if c.proxyDue {
			n, ok := l.proxied(c, in.mem[:in.n])
			if !ok {
				return gotNothing
			}
			in.n = copy(in.mem, in.mem[n:in.n])
			if in.n == 0 {
				// The connection is as good as new.
				l.mem.inputs.put(in)
				c.in = nil
				c.phase.Store(uint32(phaseIdle))
				return gotMore
			}
		}
		preface := l.cfg.HTTP2Cleartext && in.head == 0 && !c.proxyDue && c.fresh() && isPreface(in.mem[:in.n])
		if preface && in.n >= prefaceSize {
			b := bytes.Clone(in.mem[:in.n])
			l.mem.inputs.put(in)
			c.in = nil
			if c.greetHTTP2(l, b) {
				c.requeue(l)
			}
			return gotNothing
		}
		if in.head == 0 && in.n > in.scanned && !c.proxyDue && !preface {
			ok, reason := http1.Parse(in.mem[:in.n], in.scanned, &l.limits, &t.Req)
			if reason != http1.ReasonNone {
				c.reject(l, reason, c.heard())
				return gotNothing
			}
			if ok {
				r := &t.Req
				if c.bodyTooLarge(l, r, in.mem) {
					return gotNothing
				}
				if !c.expectBody(l, in, r, l.planBody(t, c, in.mem[:in.n])) {
					c.close(l)
					return gotNothing
				}
			} else {
				in.scanned = in.n
			}
		}
		limit := len(in.mem)
		switch {
		case in.head == 0:
			// As with a body in chunks: a thread's buffer has to hold what is read
			// beyond the end.
			limit = min(limit, in.n+inBufferSize/2)
		case in.chunked:
			reason := in.decode()
			if reason != http1.ReasonNone {
				c.reject(l, reason, c.heard())
				return gotNothing
			}
			if l.cfg.LimitRequestBody > 0 && int64(in.body-in.head) > l.cfg.LimitRequestBody {
				c.reject(l, http1.ReasonBodyTooLarge, c.heard())
				return gotNothing
			}
			if in.done || in.plan == planStream || in.body-in.head >= bodyBuffer {
				return c.gathered(l)
			}
			// What is read beyond the body's end has to fit into a thread's
			// buffer, and behind a full body there has to be room for Read.
			limit = min(limit, in.n+inBufferSize, in.head+bodyBuffer)
		default:
			if in.n >= in.need {
				return c.gathered(l)
			}
			limit = in.need // what is beyond stays in the socket
		}
		if in.n == limit {
			if !l.mem.inputs.grow(in, min(2*limit, inputClasses[len(inputClasses)-1])) || len(in.mem) == limit {
				// Heads have a lower limit than the largest buffer, bodies end
				// at bodyBuffer: the kernel has no memory for us.
				c.close(l)
				return gotNothing
			}
			continue
		}
		n, err := c.read(in.mem[in.n:limit])
		if err == unix.EAGAIN {
			p := phaseHead
			if in.head > 0 {
				p = phaseBody
			}
			if c.settle(l, p) {
				return gotNothing
			}
			continue
		}
		if n == 0 || err != nil {
			return c.endOfInput(l)
		}
		in.n += n
		l.slot.Counters.ReceivedBytes.Add(uint64(n))
	}
}

// expectBody prepares in, whose head is whole, for its body. It returns false if there
// is no memory.
func (c *conn) expectBody(l *Loop, in *input, r *http1.Request, plan bodyPlan) bool {
	in.head, in.plan = int(r.HeadLen), plan
	in.chunked = r.Flags&http1.FlagChunked != 0
	in.raw, in.body = in.head, in.head
	if r.Flags&http1.FlagExpect != 0 && in.n == in.head {
		if in.expects = plan == planStream; !in.expects {
			c.sayContinue(l)
		}
	}
	if in.chunked {
		in.length = -1
		return plan != planStream || l.mem.inputs.grow(in, in.n+inBufferSize) // for Read
	}
	in.length = max(r.ContentLength, 0)
	in.need = in.head + plan.first(in.length, in.n-in.head)
	return l.mem.inputs.grow(in, in.need)
}

// settle gives up a connection that waits for the rest of a request. It returns
// false if there is more to read already.
func (c *conn) settle(l *Loop, p phase) bool {
	if old := phase(c.phase.Load()); old != p || p == phaseBody {
		limit := l.deadline(l.cfg.HeaderTimeout)
		if in := c.in; p == phaseBody {
			if in.began == 0 {
				in.began = l.now()
			}
			limit = c.slowest(l, in.began, in.received(), l.cfg.BodyTimeout)
		}
		c.setPhase(p, limit)
	}
	acknowledge(c.fd)
	return c.release()
}

// gathered is called when there is of a body what shall be in memory.
func (c *conn) gathered(l *Loop) gathered {
	in := c.in
	if in.chunked && !in.done && !l.mem.inputs.grow(in, in.n+spoolRoom) {
		// What follows is decoded behind it: without room, nothing could be read.
		c.close(l)
		return gotNothing
	}
	if !in.done && (in.chunked || in.received() < in.length) && c.beginSpool(l) {
		return gotNothing
	}
	in.arrived = cmp.Or(in.arrived, l.now()) // or it came from another worker
	return gotRequest
}

// endOfInput handles the peer's end of file in the middle of a request.
func (c *conn) endOfInput(l *Loop) gathered {
	c.hup = true
	if in := c.in; in.head == 0 {
		c.endOfHead(l, in.mem[:in.n])
	} else {
		c.reject(l, http1.ReasonTruncatedBody, c.heard())
	}
	return gotNothing
}

func (c *conn) bodyTooLarge(l *Loop, r *http1.Request, head []byte) bool {
	if l.cfg.LimitRequestBody > 0 && r.ContentLength > l.cfg.LimitRequestBody {
		c.reject(l, http1.ReasonBodyTooLarge, parsed(r, head))
		return true
	}
	return false
}

// fresh says that nothing has been asked on a connection with no TLS.
func (c *conn) fresh() bool { return c.served == 0 && c.portable() }
