package master

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"hostler/internal/apart"
	"hostler/protocol"
	"hostler/settings"
)

// A canary: the generation that boots is tried with a share of the requests before the rest of
// its workers is started (--canary). To all else it is a part of a reload that takes longer:
// the generation is s.next all the while.

const (
	// judgeEvery is how often a canary is looked at.
	judgeEvery = 250 * time.Millisecond
	// coldRequests are the first of each worker, of which it does not count how long they took,
	// unless more do not come for coldTime.
	coldRequests = 10
	coldTime     = 5 * time.Second
)

// Results of a canary, for the metric.
const (
	canaryPassed = "success"
	canaryFailed = "failure"
	canaryEnded  = "ended" // by something that has nothing to do with it
)

var errNewer = errors.New("the canary was ended: another reload was asked for")

// trial is a canary that has its share of the requests.
type trial struct {
	settings.Canary
	ends         [2]int // of the exchange by which it gets them: into one, out of the other
	until, judge time.Time
	from         map[*worker]*watched
	gone         [2]tally // what those had who are gone: those that serve, the canary's
}

// watched is what a worker had counted when it came to be watched.
type watched struct {
	tally
	since time.Time
	warm  bool // it has had its first requests
}

// canaries is how many workers of g are tried first; 0: none.
func (s *supervisor) canaries(g *generation) int {
	c := g.set.Canary
	if g.tried || s.current == nil || c.Share <= 0 || g.set.Development {
		return 0
	}
	want := s.target(g.set)
	return min(max(int(math.Ceil(c.Share*float64(want)-1e-9)), 1), want)
}

// try begins the trial of g, whose first workers are ready.
func (s *supervisor) try(g *generation) {
	c := g.set.Canary
	if _, serving := s.count(s.current); serving == 0 {
		s.log.Warn("no canary: no worker serves that it could be compared with", "generation", g.number)
		s.carryOn(g)
		return
	}
	out, in, err := protocol.NewExchange()
	if err != nil {
		s.abandon(err)
		return
	}
	now := s.clock.now()
	s.trial = &trial{Canary: c, ends: [2]int{out, in}, until: now.Add(c.Time), judge: now.Add(judgeEvery), from: make(map[*worker]*watched)}
	for _, w := range s.workers {
		s.watch(w, now)
		s.giveTrial(w)
	}
	of := "of the requests"
	if g.certs != nil {
		of += " (with TLS: of new connections)"
	}
	text := fmt.Sprintf("%d of %d workers, %s %s, for %v", s.canaries(g), s.target(g.set), percent(c.Share), of, c.Time)
	s.log.Info("trying the new generation", "generation", g.number, "canary", text)
	s.note(protocol.Event{Kind: "canary_started", Generation: g.number, Text: text})
}

func percent(share float64) string { return strconv.FormatFloat(100*share, 'g', 6, 64) + " %" }

// giveTrial tells w what it has to know of the canary. It may be told twice.
func (s *supervisor) giveTrial(w *worker) {
	t := s.trial
	switch {
	case w.state != stateServing:
	case t == nil && w.promoted:
		s.sendFile(w, protocol.FDHandIn, s.exchangeIn(w))
		s.tellTrial(w, "")
	case t == nil:
	case w.canary:
		s.sendFile(w, protocol.FDHandIn, t.ends[1])
		s.tellTrial(w, t.share())
	case w.gen == s.current:
		m := protocol.Message{Kind: protocol.KindCanary, Text: t.share()}
		if err := w.proc.SendFile(m, t.ends[0]); err != nil {
			w.owed = true
		}
	}
}

func (t *trial) share() string { return strconv.FormatFloat(t.Share, 'g', -1, 64) }

func (s *supervisor) tellTrial(w *worker, text string) {
	if err := w.proc.Send(protocol.Message{Kind: protocol.KindCanary, Text: text}); err != nil {
		w.owed = true
	}
}

// exchangeIn is what w is to take connections out of.
func (s *supervisor) exchangeIn(w *worker) int {
	switch {
	case w.canary && s.trial != nil:
		return s.trial.ends[1]
	case s.exchange != nil:
		return s.exchange[1]
	}
	return s.host.Exchange()[1]
}

// watch begins to count what w does, from now on.
func (s *supervisor) watch(w *worker, now time.Time) {
	if t := s.trial; t != nil && w.state == stateServing && t.from[w] == nil && (w.canary || w.gen == s.current) {
		t.from[w] = &watched{tally: counted(&w.board.Counters), since: now}
	}
}

// unwatch keeps what w has done, which is gone.
func (s *supervisor) unwatch(w *worker) {
	if t := s.trial; t != nil && t.from[w] != nil {
		o := counted(&w.board.Counters)
		t.side(w).add(&o, &t.from[w].tally)
		delete(t.from, w)
	}
}

func (t *trial) side(w *worker) *tally {
	if w.canary {
		return &t.gone[1]
	}
	return &t.gone[0]
}

// counted is what a worker has counted.
func counted(c *protocol.Counters) (t tally) {
	for m := range c.Requests {
		for i := range c.Requests[m] {
			n := c.Requests[m][i].Load()
			switch protocol.CodeClass(i) {
			case 0: // it has got no answer
				continue
			case class5xx:
				t.failed += n
			}
			t.answered += n
		}
		for class := 1; class < class5xx; class++ {
			for i := range t.took {
				t.took[i] += c.Duration[m][class].Counts[i].Load()
			}
		}
	}
	return t
}

const class5xx = len(protocol.Classes) - 1

// running is for how long each request has run that w runs now, by the clock of --timeout.
func (w *worker) running(mono int64) (all []time.Duration) {
	for i := range w.threads() {
		rec := &w.board.ThreadRecs[i]
		start := rec.Started()
		if since := rec.ClockSince(start); start != 0 && since != 0 {
			all = append(all, time.Duration(max(mono-since, 0)))
		}
	}
	return all
}

// sum adds up what those have done that serve, and what the canary has.
func (s *supervisor) sum(now time.Time, mono int64) (serving, canary tally) {
	t := s.trial
	both := [2]tally{t.gone[0], t.gone[1]}
	for w, from := range t.from {
		o := counted(&w.board.Counters)
		if had := o.answered - min(o.answered, from.answered); !from.warm {
			if had == 0 {
				from.since = now
			}
			from.took = o.took
			from.warm = had >= coldRequests || had > 0 && now.Sub(from.since) >= coldTime
		}
		o.running = w.running(mono)
		side := &both[0]
		if w.canary {
			side = &both[1]
		}
		side.add(&o, &from.tally)
	}
	return both[0], both[1]
}

func (s *supervisor) judgeDue(time.Time) time.Time {
	if s.trial == nil {
		return time.Time{}
	}
	return s.trial.judge
}

// judge ends a canary that does worse than the others, or has done as well for long enough.
func (s *supervisor) judge(now time.Time, mono int64) {
	t, g := s.trial, s.next
	if t == nil || g == nil || now.Before(t.judge) {
		return
	}
	t.judge = now.Add(judgeEvery)
	serving, canary := s.sum(now, mono)
	over := !now.Before(t.until)
	if why := worse(&canary, &serving, over); why != "" {
		s.goBack("it does worse than the workers that serve: " + why)
		return
	}
	if _, ready := s.count(s.current); ready == 0 {
		s.log.Warn("the canary ends early: no worker is left that serves beside it", "generation", g.number)
		s.carryOn(g)
		return
	}
	if !over {
		return
	}
	text := fmt.Sprintf("the canary: %v; the others: %v", &canary, &serving)
	if canary.answered == 0 {
		text = "nothing was seen: no request came to the canary"
		s.log.Warn("the canary has seen no request; going on with the reload", "generation", g.number, "requests", serving.answered)
	} else {
		s.log.Info("the canary does as well as the others; going on with the reload", "generation", g.number,
			"requests", canary.answered, "failed", canary.failed, "others_requests", serving.answered, "others_failed", serving.failed)
	}
	s.note(protocol.Event{Kind: "canary_passed", Generation: g.number, Text: text})
	s.carryOn(g)
}

// goBack ends a reload whose canary has failed.
func (s *supervisor) goBack(why string) {
	s.canaryOver(canaryFailed)
	s.abandon(fmt.Errorf("the canary goes back: %s", why))
}

// unwell says what is wrong with a worker of the canary's, on which nobody need wait for
// figures; "": nothing.
func (s *supervisor) unwell() string {
	if s.trial == nil {
		return ""
	}
	for _, w := range s.workers {
		if !w.canary {
			continue
		}
		if w.condemned != "" {
			return fmt.Sprintf("worker %d cannot go on: %s", w.number(), w.condemned)
		}
		if why := w.leaving; why != "" && why != causeScaleDown && why != causeReload && why != causeStopped {
			return fmt.Sprintf("worker %d had to be ended: %s", w.number(), why)
		}
	}
	return ""
}

// carryOn makes of the canary workers like all others; the rest of the generation boots.
func (s *supervisor) carryOn(g *generation) {
	g.tried = true
	s.canaryOver(canaryPassed)
	for _, w := range s.workers {
		if w.canary && w.gen == g {
			w.canary, w.promoted = false, true
			if w.state == stateServing {
				w.board.State.Store(uint32(w.slotState()))
			}
			s.giveTrial(w)
		}
	}
}

// canaryOver ends the trial that is under way, if one is: nothing more is given to the canary,
// and what nobody has taken yet those take who serve.
func (s *supervisor) canaryOver(result string) {
	t := s.trial
	if t == nil {
		return
	}
	s.trial = nil
	s.stats.canaries[result]++
	_ = unix.Shutdown(t.ends[0], unix.SHUT_WR) // of ours: cannot fail
	for _, w := range s.workers {
		if w.gen == s.current && w.state == stateServing {
			if err := w.proc.SendFile(protocol.Message{Kind: protocol.KindCanary}, t.ends[1]); err != nil {
				s.log.Debug("a worker did not hear of the canary's end", "worker", w.number(), "error", err) // it finds nobody to give to
			}
		}
	}
	for _, fd := range t.ends { // there may be anything in it
		apart.Close(fd)
	}
}
