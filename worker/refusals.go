package worker

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"hostler/worker/http1"
)

// refusalPause is how long nothing more is logged of a reason after a line.
const refusalPause = int64(time.Second)

// refusals decides which refused requests get a line in the log: whoever floods a
// server with rubbish shall not fill its disk as well, and yet not hide among his
// own rubbish something else. So each reason has a line a second, which says how
// many there were since the last one. Any thread may refuse; the lock is held for a
// few instructions, and only by those who do.
type refusals struct {
	pages pages // what answers of the server's own say

	hops atomic.Uint32 // bits of http1.Head.Dropped that have been logged

	mu sync.Mutex
	of [http1.NumReasons]struct {
		next   int64 // when there may be another line
		unsaid uint64
	}
}

// note takes a refusal at the time now. It returns true if there is to be a line,
// and how many there were without one before.
func (r *refusals) note(reason http1.Reason, now int64) (say bool, unsaid uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := &r.of[reason]
	if now < o.next {
		o.unsaid++
		return false, 0
	}
	unsaid, o.unsaid = o.unsaid, 0
	o.next = now + refusalPause
	return true, unsaid
}

// due returns the refusals for a reason that are still unsaid although their time
// has come; it leaves none.
func (r *refusals) due(reason http1.Reason, now int64) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := &r.of[reason]
	if o.unsaid == 0 || now < o.next {
		return 0
	}
	n := o.unsaid
	o.unsaid = 0
	o.next = now + refusalPause
	return n
}

// sayRest logs how many were refused since the last line of each reason, where none has
// come since to say so.
func (r *refusals) sayRest(log *slog.Logger, now int64) {
	for i := range r.of {
		if n := r.due(http1.Reason(i), now); n > 0 {
			log.Warn("more requests refused", "reason", http1.Reason(i).String(), "more", n)
		}
	}
}
