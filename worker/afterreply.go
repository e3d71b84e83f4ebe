package worker

// writeOn sends what waits of the reply on an owned connection. It returns true if
// all of it is out and the connection lives, and is the caller's; else it has been
// given up.
func (c *conn) writeOn(l *Loop) bool {
	for {
		switch c.out.flush(l, c) {
		case flushMore:
			if c.release() {
				return false
			}
		case flushGone:
			c.close(l)
			return false
		default:
			return c.afterReply(l)
		}
	}
}

// afterReply goes on after the last queued byte of a reply is out. It returns
// true if the connection lives and the caller still owns it.
func (c *conn) afterReply(l *Loop) bool {
	if c.closing {
		c.finish(l, c.framed, c.unread)
		return false
	}
	c.hops = 0
	c.setPhase(phaseIdle, l.idleDeadline(l.now()))
	return !(c.moves(l) && l.handOver(c, c.unparsed()))
}

// afterCoalescing goes on with a connection when its reply has been sent, or its client is found
// to have gone.
func (c *conn) afterCoalescing(l *Loop, gone bool) {
	c.detach()
	if gone {
		c.close(l)
		return
	}
	c.closing = false
	if c.out.pending.Load() {
		c.setPhase(phaseWriting, l.deadline(l.cfg.WriteTimeout))
		if c.release() || !c.writeOn(l) {
			return
		}
	} else if !c.afterReply(l) || c.release() {
		return
	}
	c.unreadSince(l.now()) // there may be more to read
	l.sched.push(c, anyway)
}
