package master

import (
	"crypto/sha256"
	"fmt"
	"syscall"
	"time"

	"hostler/master/spawn"
	"hostler/protocol"
)

// workerState is where a worker process is in its life; doc.go has the drawing.
type workerState int

const (
	stateBooting  workerState = iota // started, not ready yet
	stateServing                     // has said ready
	stateDraining                    // told to leave
	stateKilled                      // SIGKILL sent
	stateGone                        // exit seen
)

func (s workerState) String() string {
	switch s {
	case stateBooting:
		return "booting"
	case stateServing:
		return "serving"
	case stateDraining:
		return "draining"
	case stateKilled:
		return "killed"
	case stateGone:
		return "gone"
	}
	return fmt.Sprintf("workerState(%d)", int(s))
}

// canBecome is the table of transitions.
func (s workerState) canBecome(next workerState) bool {
	switch s {
	case stateBooting:
		return next == stateServing || next == stateDraining || next == stateKilled || next == stateGone
	case stateServing:
		return next == stateDraining || next == stateKilled || next == stateGone
	case stateDraining:
		return next == stateKilled || next == stateGone
	case stateKilled:
		return next == stateGone
	}
	return false
}

// slotState is what the scoreboard shows for it.
func (w *worker) slotState() protocol.SlotState {
	switch w.state {
	case stateBooting:
		return protocol.SlotBooting
	case stateServing:
		if w.canary {
			return protocol.SlotCanary
		}
		return protocol.SlotServing
	case stateDraining, stateKilled:
		return protocol.SlotDraining
	}
	return protocol.SlotFree
}

// cause says why a worker left; it is a label value of the exits metric.
type cause string

const (
	causeExit        cause = "exit"         // it ended by itself, os._exit for one
	causeSignal      cause = "signal"       // a signal that was not ours
	causeOOM         cause = "oom"          // the kernel's out-of-memory killer
	causeTimeout     cause = "timeout"      // a request ran into --timeout and could not be interrupted
	causeGIL         cause = "gil_deadlock" // … since a thread never gave the GIL back
	causeDeaf        cause = "deaf"         // it had given up its control socket
	causeBootFailed  cause = "boot_failed"  // it never became ready
	causeBootTimeout cause = "boot_timeout" // it was not ready within --boot-timeout
	causeRecycled    cause = "recycled"     // --max-requests
	causeAge         cause = "max_age"      // --max-age
	causeFrozen      cause = "frozen"       // it gave no sign of life for as long as --timeout
	causeUnfit       cause = "unfit"        // it lost what it needs to serve
	causeMemory      cause = "max_memory"   // --max-memory, or the hard limit
	causeReload      cause = "reload"       // its generation was replaced, or never taken over
	causeScaleDown   cause = "scale_down"
	causeRestart     cause = "restart" // somebody asked for it with hostler ctl
	causeStopped     cause = "stopped" // the server stops, or another binary took over
)

// causes are all of them, so that metrics show zeros from the start.
var causes = [...]cause{causeExit, causeSignal, causeOOM, causeTimeout, causeGIL, causeDeaf, causeFrozen, causeUnfit, causeBootFailed, causeBootTimeout,
	causeRecycled, causeAge, causeMemory, causeReload, causeScaleDown, causeRestart, causeStopped}

// worker is a worker process. The state goroutine owns it.
type worker struct {
	id    int // never reused, unlike the slot
	slot  int
	gen   *generation
	proc  spawn.Process
	board *protocol.Slot

	canary   bool // it is tried, or is to be: see canary.go
	promoted bool // it was, and does what all do

	state   workerState
	started time.Time
	ready   time.Time // zero until then

	// condemned says why the worker is to leave as soon as its replacement is
	// ready; "" while it is not.
	condemned cause
	// leaving says why it was told to leave; "" until then.
	leaving cause
	// deadline is when patience ends in the states booting, draining: the next
	// step of escalation is due.
	deadline time.Time
	drained  time.Time // when it was told to leave
	finished bool      // it has said that nothing is left to do
	termed   bool      // SIGTERM was sent, because it was booting
	traced   bool      // its tracebacks were asked for, because it did not go for that
	abortBy  time.Time // SIGABRT was sent, and the hook that is run then has until this; zero: it was not

	// deafSince is since when its control socket has been closed, and deaf that this is
	// not its end: it can be told nothing but by signals.
	deafSince time.Time
	deaf      bool

	why   string // it was started
	quiet bool   // one in a row of failures: the journal and the log hear of it when it is ready

	certs       int         // which version of its generation's certificates it has been given
	certsOwed   int         // how often it has still to say that it has taken them
	logs        int         // likewise of the log files
	spansEnd    func()      // says to who takes its spans that it has ended; nil: nobody does
	bootError   string      // what the worker said of its failed boot
	counts      bool        // it shares metrics of the application's
	collects    *collection // it has been asked to look some up, and has not answered; nil: it has not
	scrapes     uint8       // the MetricsForms that it waits for, a bit each
	owedMetrics uint8       // … and those that are being made for it
	maxRequests int         // with jitter; 0: no limit
	oldAt       time.Time   // when it has reached --max-age; zero: never

	cpu          float64   // seconds used, when it was last looked at; see scaleByNeed
	memoryAt     time.Time // when its memory was last looked at
	memory       int64     // what it was then
	maxMemory    int64     // less something at random; 0: no limit
	bigFromBirth bool      // it was over --max-memory when it was fresh

	beat   int64         // its last sign of life
	silent time.Duration // for how long there has been no other one
	frozen bool          // it has been too long, and that has been said
	owed   bool          // descriptors that it could not be sent

	// late holds, by thread, requests that ran into --timeout and may yet end by
	// it; stuck the start times of those that do not.
	late  map[int]late
	stuck map[int]int64
	// gil is the last wait for the GIL that has been seen.
	gil gilLook
	// slow holds the requests that are over --slow-request, so that each is
	// reported once.
	slow map[int]slowSeen
	// onlyStuck is set when a look at the draining worker found nothing but
	// stuck requests; the second such look kills it.
	onlyStuck bool
}

// number is what people call the worker.
func (w *worker) number() int { return w.slot + 1 }

// live reports whether the worker counts towards the workers wanted.
func (w *worker) live() bool {
	return (w.state == stateBooting || w.state == stateServing) && w.condemned == ""
}

// generation is a set of workers started from one state of settings and code.
type generation struct {
	number    int
	set       *Settings
	python    string
	env       []string
	identity  *syscall.Credential
	internal  []string
	helper    *helper                    // runs its hooks; nil: none does
	listeners []*listener                // for the settings' binds, their redirects, and those covered
	covered   []int                      // by which of them each of the latter is: see keepCovered
	opened    []*listener                // those that no earlier generation had
	admin     *adminAddress              // to be answered when the generation serves; nil: that of the one before
	tried     bool                       // it may boot as a whole
	page      string                     // what is wrong with the code; "": nothing
	certs     *certificates              // nil: no TLS
	spans     SpanTaker                  // nil: no request is a span
	pages     *errorPages                // nil: there are none
	logs      *logFiles                  // nil: not opened yet
	saidBig   bool                       // that --max-memory is too low
	saidGrown bool                       // that it may be
	said      map[[sha256.Size]byte]bool // boot failures that the log has already, less their digits
}

func (g *generation) fds() []int {
	fds := make([]int, len(g.listeners))
	for i, l := range g.listeners {
		fds[i] = l.fd
	}
	return fds
}

// listenerInfos describes the listeners to workers. Which of them speak TLS is the
// generation's choice, not the socket's.
func (g *generation) listenerInfos() []protocol.Listener {
	infos := make([]protocol.Listener, len(g.listeners))
	for i, l := range g.listeners {
		infos[i] = l.info
		infos[i].TLS = g.certs != nil && l.info.Network == "tcp"
		as := i
		if first := len(g.listeners) - len(g.covered); i >= first {
			as = g.covered[i-first]
		}
		if as >= len(g.set.Binds) {
			infos[i].TLS = false
			infos[i].Redirect = redirectPort(g.listeners)
		}
	}
	return infos
}

func (s *supervisor) workerSaid(w *worker, m protocol.Message) {
	switch m.Kind {
	case protocol.KindReady:
		if w.state != stateBooting {
			s.readyTooLate(w)
			return
		}
		s.become(w, stateServing)
		w.ready = s.clock.now()
		w.board.PID.Store(int64(w.proc.PID()))
		s.log.Info("worker ready", "worker", w.number(), "pid", w.proc.PID(), "generation", w.gen.number,
			"after", w.ready.Sub(w.started).Round(time.Millisecond))
		if w.quiet {
			s.noteWorker(w, protocol.Event{Kind: "worker_started", Text: w.why})
		}
		s.noteWorker(w, protocol.Event{Kind: "worker_ready"})
		s.giveExchange(w)
		s.giveListeners(w)
		s.watch(w, w.ready)
		s.giveTrial(w)
		s.showPage(w)
	case protocol.KindTaken:
		w.certsOwed = max(w.certsOwed-1, 0)
	case protocol.KindModules:
		s.reported(w, m.Text)
	case protocol.KindMetrics: // package spawn has given them to who adds them up
		w.counts = true
	case protocol.KindBootFailed:
		w.bootError = w.gen.set.asWhom(m.Text)
		if w.state == stateBooting {
			w.leaving = causeBootFailed
			s.become(w, stateDraining)
			w.deadline = s.clock.now().Add(bootLeave)
			s.bootFailed(w, bootReason(w.bootError))
		}
	case protocol.KindLeaving:
		if w.state == stateDraining && w.termed && w.ready.IsZero() {
			s.giveTime(w)
		}
	case protocol.KindSlow:
		s.slowReported(w, m.Text)
	case protocol.KindUnfit:
		s.unfit(w, m.Text)
	case protocol.KindProfiled:
		s.profileCame(w, m.Text)
	case protocol.KindDumped:
		s.dumpCame(w, m.Text)
	case protocol.KindCollected:
		s.collected(w)
	case protocol.KindScrape:
		s.scrapeWanted(w, m.Text)
	case protocol.KindDrained:
		w.finished = true
		s.log.Debug("worker has nothing left to do", "worker", w.number(), "pid", w.proc.PID())
	}
}

// readyTooLate is called when w, told to leave while it booted, got ready in the
// same moment. It may have taken connections, so it has the time of a worker
// that serves.
func (s *supervisor) readyTooLate(w *worker) {
	if w.state != stateDraining || !w.termed {
		return
	}
	w.ready = s.clock.now()
	s.giveTime(w)
	grace := min(w.gen.set.GracefulTimeout, w.deadline.Sub(w.ready))
	s.send(w, protocol.Message{Kind: protocol.KindDrain, Mode: protocol.DrainReplaced, Grace: grace})
}

// giveTime gives w, which was told to leave while it booted, the time of a worker that serves:
// it has something to end.
func (s *supervisor) giveTime(w *worker) {
	w.deadline = w.drained.Add(w.gen.set.GracefulTimeout + graceMargin)
	if kill := s.stopping.kill; !kill.IsZero() {
		w.deadline = minTime(w.deadline, kill)
	}
}
