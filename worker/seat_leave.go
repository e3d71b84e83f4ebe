package worker

import (
	"time"

	"hostler/worker/http1"
)

// lastWord is how long before the end those are cancelled that would go on; where there is
// little time, for the last quarter of it.
const lastWord = 2 * time.Second

// inspect looks at the time limits of all requests.
func (a *Async) inspect(now int64) {
	quota := a.pace.quota(a, now)
	late := a.l.leave.draining.Load() && a.l.GraceLeft() < min(lastWord, time.Duration(a.l.leave.leaveBy.Load()-a.pace.began)/4)
	for _, t := range a.live {
		if late {
			t.alarm(NoticeLeave)
		} else if quota > 0 && t.watch.listens() && a.pace.due(t) {
			quota--
			t.alarm(NoticeLeave)
		}
		if t.inspect(now) {
			a.news = append(a.news, t)
		}
	}
}

// quota is how many streams are to be told now.
func (p *spread) quota(a *Async, now int64) int {
	l := a.l
	if !l.leave.draining.Load() {
		return 0
	}
	if p.began == 0 {
		p.began = now
	}
	half := p.began + (l.leave.leaveBy.Load()-p.began)/2 - now // what remains of it
	p.late = half < sweepPeriod
	left := 0
	for _, t := range a.live {
		if p.due(t) {
			left++
		}
	}
	if l.leave.stopping.Load() || p.late {
		return left
	}
	return (left*int(sweepPeriod) + int(half) - 1) / int(half)
}

// due reports whether t has a stream that is to be told, and has not been. What another method
// than GET has begun is no subscription, which may go on for ever, but a result that somebody
// waits for, as a language model's answer: it has half of the time.
func (p *spread) due(t *Thread) bool {
	return t.reply.streams() && !t.stays && t.watch.told&NoticeLeave == 0 && (p.late || t.Req.MethodID == http1.MethodGet)
}

// leaveAll has all requests that are left hear that the worker leaves now, once. It returns
// false if they have.
func (a *Async) leaveAll() bool {
	if a.turn.left || len(a.live) == 0 {
		return false
	}
	a.turn.left = true
	for _, t := range a.live {
		if t.alarm(NoticeLeave); t.watch.alarms != 0 {
			a.news = append(a.news, t)
		}
	}
	return true
}
