package worker

// News for a request that waits on an event loop, and what it may wait for; part of the
// ABI with worker/python.
const (
	NoticeBody    = 1 << iota // there is body to read, or its end, or an error: Read says
	NoticeGone                // the client has gone; that it sends no more counts for that
	NoticeRoom                // what Write has taken has left, or nearly
	NoticeTimeout             // --timeout is over
	NoticeGrace               // the client has gone, the request does not listen, and --disconnect-grace is over
	NoticeLeave               // the worker is to leave
	NoticeSlow                // it is over --slow-request: its stack is wanted
)

// Await has the request in t wait for what a set of Notice bits says, and for nothing
// else any longer. It returns those that are so already; for the others a notice comes,
// each once.
func (t *Thread) Await(what uint32) uint32 {
	w := &t.watch
	if t.conn == nil {
		return 0 // it has no request any more
	}
	w.wants = what
	have := t.happened()
	t.pauses()
	return have
}

// happened takes what is so out of what the request waits for, and returns it.
func (t *Thread) happened() uint32 {
	w, have := &t.watch, uint32(0)
	if w.wants == 0 {
		return 0
	}
	input, ended := t.conn.stirred()
	if w.wants&NoticeRoom != 0 {
		have |= t.roomNow()
	}
	if w.wants&NoticeGone != 0 && (t.reply.gone || ended) {
		have |= NoticeGone
	}
	if w.wants&NoticeBody != 0 && (input || ended || !t.body.waitsForInput()) {
		t.conn.heed()
		have |= NoticeBody
	}
	w.wants &^= have
	return have
}

// waitsForInput says that there was nothing to be read the last time.
func (b *bodyReader) waitsForInput() bool { return b.open && b.failed == 0 && b.waited != 0 }

// roomNow reports whether the client has taken enough for the response to go on, or that
// there is nobody any more to take it.
func (t *Thread) roomNow() uint32 {
	c := t.conn
	switch c.out.flush(t.l, c) {
	case flushGone:
		t.reply.gone = true
	case flushMore:
		if !t.deserted() && c.out.crowded() {
			return 0
		}
	}
	if t.deserted() {
		return NoticeRoom | NoticeGone
	}
	return NoticeRoom
}

// deserted says that nobody waits for the rest of t's response. For a stream, of which
// nobody knows when it ends, it is enough that the client has ended its own direction. What
// has a length is sent all the same: there are clients that say all they have to say, end
// their direction, and read the answer then.
func (t *Thread) deserted() bool {
	r := &t.reply
	if !r.gone && r.streams() && r.remaining < 0 {
		_, r.gone = t.conn.stirred()
	}
	return r.gone
}

// pauses stops the request's clock while it waits for its client, or lets it go on. A
// stream that listens waits for its client, too: it may have nothing to say for hours.
func (t *Thread) pauses() {
	w := &t.watch
	waits := w.wants&(NoticeBody|NoticeRoom) != 0 || w.wants != 0 && t.reply.streams()
	if waits == w.waits {
		return
	}
	if w.waits = waits; waits {
		w.since = t.Wait(t.Taken)
	} else {
		t.Waited(t.Taken, w.since)
	}
}

// notices returns what the request in t is to be told now.
func (t *Thread) notices() uint32 {
	w := &t.watch
	have := t.happened()
	if t.unheard(t.l.now()) {
		t.alarm(NoticeGrace)
	}
	have |= w.alarms
	w.alarms = 0
	t.pauses()
	return have
}

// alarm has a request told something that it has not asked for, once.
func (t *Thread) alarm(what uint32) {
	w := &t.watch
	w.alarms |= what &^ w.told
	w.told |= what
}

// inspect looks at the time limits of t's request, and reports whether there is something
// to tell it. It is called a few times a second.
func (t *Thread) inspect(now int64) bool {
	l, w := t.l, &t.watch
	if late := w.wants&t.overdueBody(now) | t.overdueRoom(now); late != 0 {
		w.wants &^= late
		w.alarms |= late
	}
	if t.rec.Deadline(t.Taken, l.cfg.Timeout, l.cfg.TotalTimeout) <= now-int64(l.keeper.pauses.Since(t.Taken)) {
		t.alarm(NoticeTimeout)
	}
	if since := t.rec.ClockSince(t.Taken); l.cfg.SlowRequest > 0 && since != 0 && now-since > int64(l.cfg.SlowRequest) {
		t.alarm(NoticeSlow)
	}
	if t.unheard(now) {
		t.alarm(NoticeGrace)
	}
	return w.alarms != 0
}

// overdueBody is NoticeBody where the client has taken too long to send more, as Read
// will say.
func (t *Thread) overdueBody(now int64) uint32 {
	if !t.body.waitsForInput() {
		return 0
	}
	if _, late := t.late(now); !late {
		return 0
	}
	return NoticeBody
}

// overdueRoom is NoticeRoom and NoticeGone where the client has taken too long to take
// more: then it has gone.
func (t *Thread) overdueRoom(now int64) uint32 {
	if t.watch.wants&NoticeRoom == 0 {
		return 0
	}
	o := &t.conn.out
	o.mu.Lock()
	limit := o.patience(t.l, t.conn)
	o.mu.Unlock()
	if limit == 0 || limit > now {
		return 0
	}
	t.reply.gone = true
	return NoticeRoom | NoticeGone
}

// streams says that the response has begun, and not ended.
func (r *reply) streams() bool { return r.stage == stageSent && !r.ended && !r.noBody }

// listens says that the request would hear if its client left.
func (w *watch) listens() bool { return w.wants&(NoticeGone|NoticeBody) != 0 }

// unheard says that t's request streams to a client that has gone for too long, and neither
// listens nor waits for it: what waits for the next event to be sent may wait for ever.
func (t *Thread) unheard(now int64) bool {
	w, r := &t.watch, &t.reply
	grace := int64(t.l.cfg.DisconnectGrace)
	if grace < 0 || t.stays || !r.streams() || w.listens() || w.wants&NoticeRoom != 0 {
		return false
	}
	if w.gone == 0 {
		if _, ended := t.conn.stirred(); !ended && !r.gone {
			return false
		}
		w.gone = now
	}
	return now-w.gone >= grace
}
