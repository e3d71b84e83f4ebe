package worker

import (
	"encoding/binary"
	"time"

	"hostler/worker/websocket"
)

// due says when somebody has to look at a WebSocket that rests; 0: never.
func (w *webSocket) due() int64 {
	cfg := w.l.cfg
	w.mu.Lock()
	defer w.mu.Unlock()
	at := int64(0)
	soonest := func(t int64) {
		if at == 0 || t < at {
			at = t
		}
	}
	switch {
	case w.stage == socketClosing:
		return w.closeBy
	case cfg.WSPingInterval <= 0:
	case w.unanswered():
		soonest(w.pinged + int64(cfg.WSPingTimeout))
	default:
		soonest(max(w.opened, w.pinged) + int64(cfg.WSPingInterval))
	}
	if w.c.out.pending.Load() && cfg.WriteTimeout > 0 {
		soonest(w.stalledAt())
	}
	return at
}

// unanswered reports whether there is a ping of ours that the peer has to answer in time. w.mu
// is held.
func (w *webSocket) unanswered() bool {
	return w.pinged > w.heard && w.l.cfg.WSPingTimeout > 0
}

// stalledAt is when the peer has not taken anything for too long.
func (w *webSocket) stalledAt() int64 {
	o := &w.c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.patience(w.l, w.c)
}

// ping asks the peer whether it is there, if it is time to.
func (w *webSocket) ping(now int64) {
	interval := int64(w.l.cfg.WSPingInterval)
	w.mu.Lock()
	defer w.mu.Unlock()
	if interval <= 0 || w.stage != socketOpen || max(w.opened, w.pinged)+interval > now {
		return
	}
	w.pinged = now
	var b [maxControl]byte
	var data [8]byte
	w.control(websocket.AppendControl(b[:0], websocket.Ping, binary.BigEndian.AppendUint64(data[:0], uint64(now))))
}

// leave closes all WebSockets, and those that come yet: one after the other in the time
// that is given, so that not all clients come back in the same moment. It returns when the
// loop is about to stop.
func (s *sockets) leave(l *Loop, code int, within time.Duration) {
	end := time.Now().Add(within)
	for {
		open := s.open()
		for i, w := range open {
			w.depart(code)
			if wait := time.Until(end) / time.Duration(len(open)-i); wait > 0 && !pause(l, wait) {
				return
			}
		}
		if !pause(l, 100*time.Millisecond) {
			return
		}
	}
}

// open returns all WebSockets, those that the application speaks itself, too.
func (s *sockets) open() (all []departing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.all {
		if w != nil {
			all = append(all, w)
		}
	}
	for r := range s.relays {
		all = append(all, r)
	}
	return all
}

// depart implements departing.
func (w *webSocket) depart(code int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch w.stage {
	case socketOpen:
		w.shut(code, "")
		w.say(code, "")
	case socketClosing: // with more time, it may be, than there is now
		if now := w.l.now(); w.closeBy > now+w.l.leave.closeLimit(now) {
			w.waitClose(w.l.leave.closeLimit(now))
		}
	}
}

// pause waits. It returns false when the loop is about to stop.
func pause(l *Loop, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-l.leave.stop:
		return false
	}
}
