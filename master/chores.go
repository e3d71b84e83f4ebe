package master

import "time"

const (
	// watchOften is how often workers are looked at where something is about to
	// be done about one.
	watchOften = 100 * time.Millisecond
	// watchSeldom bounds how late a request that ran into --timeout is noticed.
	watchSeldom = 500 * time.Millisecond
	// asleep is how long the state goroutine waits where nothing is due.
	asleep = time.Hour
)

// chore is something that the state goroutine does by the clock.
type chore struct {
	name string
	// due is when there is something to do next; zero: not until something happens.
	due func(s *supervisor, now time.Time) time.Time
	// do does what is due, and nothing if nothing is.
	do func(s *supervisor, now time.Time, mono int64)
}

// chores are all of them, in the order in which they are done.
var chores = [...]chore{
	{"look for the kernel's out-of-memory killer", (*supervisor).oomDue, func(s *supervisor, now time.Time, _ int64) { s.oom.tick(now) }},
	{"look at what nobody else notices", (*supervisor).lookDue, func(s *supervisor, now time.Time, _ int64) { s.look(now) }},
	{"look at each worker", (*supervisor).workersDue, (*supervisor).checkWorkers},
	{"end hooks that hang", (*supervisor).helpersDue, func(s *supervisor, now time.Time, _ int64) { s.checkHelpers(now) }},
	{"end a preparation that hangs", (*supervisor).preparationDue, func(s *supervisor, now time.Time, _ int64) { s.checkPreparation(now) }},
	{"end a stop that hangs", (*supervisor).stopDue, func(s *supervisor, now time.Time, _ int64) { s.checkStop(now) }},
	{"say what a stop waits for", (*supervisor).waitDue, (*supervisor).tellWaiting},
	{"replace worn workers", (*supervisor).recycleDue, func(s *supervisor, now time.Time, _ int64) { s.recycle(now) }},
	{"try to boot again, or forget that it failed", (*supervisor).forgiveDue, func(s *supervisor, now time.Time, _ int64) { s.forgive(now) }},
	{"read new certificates", (*supervisor).certificatesDue, func(s *supervisor, now time.Time, _ int64) { s.checkCertificates(now) }},
	{"wait no longer until certificates are shared", (*supervisor).sharingDue, func(s *supervisor, _ time.Time, _ int64) { s.answerSharing() }},
	{"feed the service manager's watchdog", (*supervisor).feedDue, (*supervisor).feed},
	{"judge a canary", (*supervisor).judgeDue, (*supervisor).judge},
	{"scale by need", (*supervisor).scaleDue, (*supervisor).scaleByNeed},
}

// workerChore is what is done about a worker.
type workerChore struct {
	name string
	due  func(w *worker, now time.Time) time.Time
	do   func(s *supervisor, w *worker, now time.Time, mono int64)
}

var workerChores = [...]workerChore{
	{"end the patience with one that boots or leaves", (*worker).patienceDue, func(s *supervisor, w *worker, now time.Time, _ int64) { s.checkDeadline(w, now) }},
	{"end requests that ran into --timeout", (*worker).stuckDue, (*supervisor).checkStuck},
	{"find out who holds the GIL", (*worker).gilDue, func(s *supervisor, w *worker, _ time.Time, mono int64) { s.checkGIL(w, mono) }},
	{"report slow requests", (*worker).slowDue, (*supervisor).checkSlow},
	{"weigh it", (*worker).memoryDue, func(s *supervisor, w *worker, now time.Time, _ int64) { s.checkMemory(w, now) }},
	{"see that it can be told nothing any more", (*worker).deafDue, func(s *supervisor, w *worker, now time.Time, _ int64) { s.checkDeaf(w, now) }},
}

// untilNext is how long nothing is due.
func (s *supervisor) untilNext() time.Duration {
	now := s.clock.now()
	next := now.Add(asleep)
	for i := range chores {
		next = sooner(next, chores[i].due(s, now))
	}
	return max(next.Sub(now), time.Millisecond)
}

// sooner returns the earlier of two times, of which a zero one is never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// orNow returns when something is due of which a zero time says that it never was done.
func orNow(t, now time.Time) time.Time {
	if t.IsZero() {
		return now
	}
	return t
}

// tick does what is due.
func (s *supervisor) tick() {
	now, mono := s.clock.now(), s.clock.mono()
	if !s.due.IsZero() {
		s.overslept(s.due, now, mono)
	}
	s.due = time.Time{}
	for i := range chores {
		chores[i].do(s, now, mono)
	}
}

func (s *supervisor) workersDue(now time.Time) (next time.Time) {
	for _, w := range s.workers {
		for i := range workerChores {
			next = sooner(next, workerChores[i].due(w, now))
		}
	}
	return next
}

func (s *supervisor) checkWorkers(now time.Time, mono int64) {
	for _, w := range s.workers {
		for i := range workerChores {
			workerChores[i].do(s, w, now, mono)
		}
	}
}

func (s *supervisor) oomDue(time.Time) time.Time {
	if s.oom.file == "" {
		return time.Time{}
	}
	return s.oom.readAt.Add(oomWindow)
}

func (s *supervisor) lookDue(time.Time) time.Time {
	if s.phase != phaseServing {
		return time.Time{}
	}
	return s.looked.Add(lookEvery)
}

func (s *supervisor) helpersDue(time.Time) (next time.Time) {
	for _, h := range s.helpers {
		next = sooner(next, h.deadline)
	}
	return next
}

func (s *supervisor) preparationDue(now time.Time) time.Time {
	if s.preparing == nil {
		return time.Time{}
	}
	return sooner(s.preparing.deadline, now.Add(watchSeldom))
}

func (s *supervisor) stopDue(time.Time) time.Time { return s.stopping.last }

func (s *supervisor) certificatesDue(now time.Time) (next time.Time) {
	for _, c := range s.watched() {
		if !c.looking {
			next = sooner(next, orNow(c.next, now))
		}
	}
	return next
}

func (s *supervisor) feedDue(time.Time) time.Time {
	if s.watchdog <= 0 || s.phase != phaseServing {
		return time.Time{}
	}
	return s.feedAt()
}

func (s *supervisor) scaleDue(now time.Time) time.Time {
	if !s.scales() {
		return time.Time{}
	}
	return orNow(s.scaling.lookAt, now)
}

// forgiveDue is also when reconcile is to try again.
func (s *supervisor) forgiveDue(now time.Time) time.Time {
	switch {
	case s.phase != phaseServing || s.backoff.failures == 0:
		return time.Time{}
	case s.backoff.wait(now):
		return s.backoff.next
	}
	return now.Add(watchSeldom) // until the boot has proven itself
}

func (s *supervisor) recycleDue(now time.Time) (next time.Time) {
	for _, w := range s.workers {
		if w.state != stateServing {
			continue
		}
		if w.maxRequests > 0 {
			next = sooner(next, now.Add(watchOften))
		}
		switch {
		case w.oldAt.IsZero():
		case w.condemned == "" && now.Before(w.oldAt):
			next = sooner(next, w.oldAt)
		default:
			next = sooner(next, now.Add(watchSeldom)) // another one is being replaced
		}
	}
	return next
}

func (w *worker) patienceDue(now time.Time) time.Time {
	if w.state == stateBooting && !w.deadline.IsZero() {
		return sooner(w.deadline, now.Add(watchSeldom)) // else a pause would hardly be seen
	}
	return w.deadline
}

// serves reports whether requests may run in w.
func (w *worker) serves() bool { return w.state == stateServing || w.state == stateDraining }

func (w *worker) stuckDue(now time.Time) time.Time {
	switch {
	case !w.serves():
	case len(w.stuck)+len(w.late) > 0:
		return now.Add(watchOften)
	case w.gen.set.Timeout > 0 || w.gen.set.TotalTimeout > 0:
		return now.Add(min(max(w.gen.set.shortestTimeout()/20, watchOften), watchSeldom))
	}
	return time.Time{}
}

func (w *worker) gilDue(now time.Time) time.Time {
	if !w.serves() || w.board.Gauges.GILWanted.Load() == 0 {
		return time.Time{}
	}
	return now.Add(watchOften)
}

func (w *worker) slowDue(now time.Time) (next time.Time) {
	if !w.serves() {
		return time.Time{}
	}
	if slow := w.gen.set.SlowRequest; slow > 0 {
		next = now.Add(min(max(slow/10, watchOften), watchSeldom))
	}
	for _, seen := range w.slow {
		if !seen.stacked {
			next = sooner(next, seen.dumped.Add(dumpPause))
		}
	}
	return next
}

func (w *worker) memoryDue(time.Time) time.Time {
	if w.state != stateServing || w.gen.set.MaxMemory <= 0 && w.gen.set.MaxMemoryHard <= 0 {
		return time.Time{}
	}
	return w.memoryAt.Add(watchMemory)
}

func (w *worker) deafDue(time.Time) time.Time {
	if w.deaf || w.deafSince.IsZero() {
		return time.Time{}
	}
	return w.deafSince.Add(deafAfter)
}
