package master

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"syscall"
	"time"

	"hostler/master/spawn"
	"hostler/protocol"
)

// Workers that do not boot, or die as soon as they serve, come again after a
// pause that doubles; why is said once.

const (
	backoffFirst = 100 * time.Millisecond
	backoffMost  = 10 * time.Second
	// backoffServed is the longest pause after workers that did serve for a while.
	// As long as they last, they are better than none.
	backoffServed = time.Second
	// proven is how long a worker serves until its boot counts as a success: one
	// that dies of its first request must not be restarted in a tight loop.
	proven = time.Second
	// fewDeaths within fewDeathsIn of workers younger than youth are bad luck; more
	// are a crash loop, too.
	fewDeaths = 2
	// mostSaid bounds the tracebacks that are known to have been said. Those of some
	// failures are never the same.
	mostSaid    = 100
	fewDeathsIn = 30 * time.Second
)

// backoff puts off boots after failures.
type backoff struct {
	failures int
	next     time.Time // when the next try is due
}

// fail puts the next boot off, but no longer than most.
func (b *backoff) fail(now time.Time, most time.Duration) {
	if b.wait(now) {
		return // started with the one whose failure counts already
	}
	d := backoffMost
	if b.failures < 7 { // 0.1 s · 2⁷ is beyond the most
		d = backoffFirst << b.failures
	}
	b.failures++
	b.next = now.Add(min(d, most))
}

func (b *backoff) reset() { *b = backoff{} }

func (b *backoff) wait(now time.Time) bool { return now.Before(b.next) }

// crashLoop is what is remembered of failures in a row.
type crashLoop struct {
	since time.Time   // of the first; zero: there was none
	tries int         // boots that failed
	said  string      // the reason that the log has, without its digits
	young []time.Time // deaths of young workers
	noted bool        // that they die young
}

// bootFailed is called when it is clear that w will not become ready.
func (s *supervisor) bootFailed(w *worker, why string) {
	s.sayOnce(w.gen, w.bootError)
	switch w.gen {
	case s.next:
		s.abandon(&BootError{App: w.gen.set.App, Reason: why, Traceback: w.bootError})
	case s.current:
		s.lost = append(s.lost, w.why) // what it was for is still to be done
		s.startFailed(fmt.Sprintf("worker %d, pid %d: %s", w.number(), w.proc.PID(), why), why)
		s.endRestart(&BootError{App: w.gen.set.App, Reason: why, Traceback: w.bootError})
	}
}

// sayOnce writes a traceback to the error log: it is many lines, and nobody could
// read it as a log attribute. A single line is the reason itself, which is about
// to be said.
func (s *supervisor) sayOnce(g *generation, text string) {
	if text = strings.TrimRight(text, "\n"); strings.Contains(text, "\n") {
		if key := sha256.Sum256([]byte(withoutDigits(text))); !g.said[key] {
			if len(g.said) == mostSaid {
				clear(g.said)
			}
			g.said[key] = true
			fmt.Fprintln(s.stderr, text)
		}
	}
}

// startFailed puts the next boot off. It says why, which is about somebody,
// unless the log has that reason.
func (s *supervisor) startFailed(text, why string) {
	now := s.clock.now()
	s.backoff.fail(now, backoffMost)
	if s.crashes.since.IsZero() {
		s.crashes.since = now
	}
	s.crashes.tries++
	attrs := []any{"reason", text, "failures", s.backoff.failures, "next_try_in", s.backoff.next.Sub(now).Round(time.Millisecond)}
	if key := withoutDigits(why); key != s.crashes.said {
		s.crashes.said = key
		s.log.Error("a worker did not boot; it is tried again, with growing pauses, and this is not said again", attrs...)
		s.note(protocol.Event{Kind: "boot_failed", Text: text})
		return
	}
	s.log.Debug("a worker did not boot again", attrs...)
}

// diedYoung is called when a worker that served has died, and not of our doing.
func (s *supervisor) diedYoung(w *worker, ws syscall.WaitStatus) {
	now := s.clock.now()
	age := now.Sub(w.ready)
	switch {
	case age < proven:
		s.backoff.fail(now, backoffMost)
		return
	case age >= youth || ws.Signaled() && (ws.Signal() == syscall.SIGKILL || ws.Signal() == syscall.SIGTERM):
		return // somebody else's doing
	}
	recent := s.crashes.young[:0]
	for _, t := range s.crashes.young {
		if now.Sub(t) < fewDeathsIn {
			recent = append(recent, t)
		}
	}
	if len(recent) == 0 {
		s.crashes.noted = false
	}
	s.crashes.young = append(recent, now)
	if n := len(s.crashes.young); n > fewDeaths {
		s.backoff.fail(now, backoffServed)
		if !s.crashes.noted {
			s.crashes.noted = true
			text := fmt.Sprintf("%d workers died within %v of being ready, in %v; the last: %s", n, youth, fewDeathsIn, spawn.StatusText(ws))
			s.log.Error("workers die young; others start with pauses", "reason", text)
			s.note(protocol.Event{Kind: "crash_loop", Text: text})
		}
	}
}

// booted ends a row of failures.
func (s *supervisor) booted() {
	if s.crashes.tries > 0 {
		after := s.clock.now().Sub(s.crashes.since).Round(time.Millisecond)
		s.log.Info("workers boot again", "failures", s.crashes.tries, "after", after)
		s.note(protocol.Event{Kind: "boots_again", Text: fmt.Sprintf("after %d failures in %v", s.crashes.tries, after)})
	}
	s.backoff.reset()
	s.crashes = crashLoop{young: s.crashes.young, noted: s.crashes.noted}
}

// withoutDigits makes reasons alike that differ in an address, a port or a time.
func withoutDigits(s string) string {
	return strings.Map(func(r rune) rune {
		if '0' <= r && r <= '9' {
			return -1
		}
		return r
	}, s)
}

// BootError reports an application that could not be loaded.
type BootError struct {
	App       string
	Reason    string // one line
	Traceback string // what the worker said of it; "" if it had no time to
}

func (e *BootError) Error() string { return fmt.Sprintf("cannot start %s: %s", e.App, e.Reason) }

// Detail returns the application's traceback.
func (e *BootError) Detail() string { return e.Traceback }

// bootReason is the line of a traceback that says most: the last one.
func bootReason(text string) string {
	text = strings.TrimSpace(text)
	if i := strings.LastIndexByte(text, '\n'); i >= 0 {
		return strings.TrimSpace(text[i+1:])
	}
	if text == "" {
		return "no reason given"
	}
	return text
}
