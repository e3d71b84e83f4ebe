package master

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"syscall"
	"time"

	"hostler/internal/logwriter"
	"hostler/internal/pauses"
	"hostler/internal/procstat"
	"hostler/master/spawn"
	"hostler/protocol"
	"hostler/settings"
)

// phase is where the master is in its life.
type phase int

const (
	phaseStarting phase = iota // the first generation boots
	phaseServing
	phaseStopping
	phaseDone // no worker is left
)

// host is the rest of the master's world, as the state goroutine needs it. What may
// wait for anything is never called from that goroutine.
type host interface {
	// For preparations, from a goroutine of each; one that has been given up may
	// run on beside the next.

	// ReadSettings reads the settings again.
	ReadSettings() (*Settings, error)
	// FindPython returns the interpreter for set.
	FindPython(set *Settings) (string, error)
	// Environ returns what workers inherit.
	Environ() []string
	// Listen opens an address, or takes it over from the previous binary. ours are
	// the listeners that may be in its way.
	Listen(b settings.Bind, backlog int, ours []*listener) (*listener, error)
	// OpenSpans returns what takes the spans of a generation's workers; nil: nobody does.
	OpenSpans(set *Settings) (SpanTaker, error)
	// ListenAdmin opens the admin address of set; nil: it is the one that is answered.
	ListenAdmin(set *Settings) (*adminAddress, error)

	// For the clerk of files, one after the other.

	// DropAdmin gives an admin address up that has not been answered.
	DropAdmin(*adminAddress)
	// Serving is called when set serves: at the start and after each reload.
	Serving(set *Settings, first bool)
	// Stopping is called once, when the master begins to stop, before the listening
	// sockets are closed. It returns true if another binary has taken over: because
	// upgraded says so, or since an upgrade has ended that we have not heard of.
	Stopping(upgraded bool) bool
	// WatchCode begins to watch files that workers have imported. What was changed
	// after since counts as a change now. Changes become codeEvents.
	WatchCode(set *Settings, files []string, since time.Time)
	// CodeBroken reports whether the application cannot be loaded: then files that
	// nobody could import count, too.
	CodeBroken(set *Settings, yes bool)

	// For the state goroutine: these wait for nothing. What they read in /proc and
	// /sys the kernel makes up as it is read.

	// Upgrade prepares to start the new binary, which is handed these listeners. The
	// function returned does so, in a goroutine of its own, and returns when the new
	// binary serves, or has failed, and which of them it has not taken.
	Upgrade(carry carried, listeners []*listener) (func() ([]*listener, error), error)
	// Tickets returns what the binary before us has carried of them.
	Tickets() ([]byte, error)
	// ServeAdmin answers on that address and on no other.
	ServeAdmin(*adminAddress)
	// Notify tells the service manager something, see sd_notify(3).
	Notify(state string)
	// Examine returns what finds out how a listening socket is. That is to be run apart,
	// as what Mend returns.
	Examine(l *listener, backlog int) func() examined
	// Mend returns what opens a socket again that is shut down, or spoiled. It returns
	// nil if that is the same one, for all who have it, else another for Become.
	Mend(l *listener, spoiled bool, backlog int) func() (*listener, error)
	// Become puts another socket in the place of one, with the same number here. Those
	// that have the old one are to be given it.
	Become(l, other *listener) error
	// ExchangeEnded says why connections do not move through the exchange any more, or not
	// all of them; "": they do.
	ExchangeEnded() (why string)
	// Exchange returns both ends of the exchange.
	Exchange() [2]int
	// NewExchange puts another one in its place and returns both ends of it.
	NewExchange() ([2]int, error)
	// CPU returns how many seconds of CPU time a process has used.
	CPU(pid int) (float64, error)
	// Stopped reports whether a process is stopped, by a signal or a debugger.
	Stopped(pid int) bool
	// Threads returns what the threads of a process have had of the processors.
	Threads(pid int) map[int]procstat.Thread
	// Machine returns what CPU and memory there is.
	Machine() machine
	// Pending reports whether connections wait to be accepted.
	Pending([]*listener) bool
	// Memory returns how much anonymous memory a process has resident, in bytes.
	Memory(pid int) (int64, error)
}

// Events, besides what comes from the timer.
type (
	workerEvent struct {
		id int
		spawn.Report
	}
	signalEvent  struct{ sig syscall.Signal }
	reloadEvent  struct{ done chan<- error } // buffered; may be nil
	upgradeEvent struct {
		left []*listener // nobody accepts from them any more
		err  error
	}
	askEvent struct { // do runs in the state goroutine
		do   func(*supervisor)
		done chan<- struct{} // closed after it
	}
)

var (
	errStopping = errors.New("the server is stopping")
	// errStoppedEarly ends a start that a signal has cut short: no failure.
	errStoppedEarly = errors.New("stopped before it was ready")
)

// supervisor is the master's state machine. All of it belongs to the goroutine
// that runs loop; the rest of the world sends events and reads snapshots.
type supervisor struct {
	log     *slog.Logger
	host    host
	starter spawn.Starter
	board   *protocol.Scoreboard
	clock   clock
	oom     *oomWatch
	files   *clerk    // sees to files
	stdout  io.Writer // for access-log lines; it never waits
	stderr  io.Writer // for tracebacks, which are lines of their own; likewise

	screen     Screen            // nil: nobody looks
	errorLog   *logwriter.Writer // standard error; nil in tests
	ownErrors  bool              // that is a file by now
	opened     *logFiles         // for the first generation; nil: they are still to be opened
	logs       []*logFiles       // all that are open
	lostAccess atomic.Uint64     // lines of ours
	spans      spanTakers

	events chan any
	gone   chan struct{} // closed when loop has returned: nobody takes events

	due       time.Time     // when the timer is to ring, or should have rung
	pauses    pauses.Log    // when it rang too late
	pauseSaid time.Time     // when that was last logged
	watchdog  time.Duration // how often the service manager wants to hear from us; 0: it does not
	fed       time.Time     // when it last did
	said      string        // its status line

	phase     phase
	set       *Settings // those of current; at the start of next
	level     string    // for workers, until the settings are read again; "": theirs
	adjust    int       // by SIGTTIN and SIGTTOU, kept across reloads
	scaling   scaler
	current   *generation
	next      *generation  // boots; nil unless starting or reloading
	preparing *preparation // of the next; nil: none is
	trial     *trial       // the next is tried; nil: it is not
	numbers   int          // generations so far
	ids       int          // workers so far
	workers   []*worker    // all that are not gone, oldest first
	taken     [protocol.MaxSlots]bool
	backoff   backoff
	crashes   crashLoop
	helpers   []*helper       // all that are not gone
	molds     map[int]int     // generations of the molds that are there, by pid
	certs     []*certificates // all that are open
	pages     []*errorPages   // likewise
	retiring  []*listener     // not of the settings any more, closed when their last worker is gone

	waiting     []chan<- error // for the reload under way
	again       bool           // reload once more when this one has ended
	waitAgain   []chan<- error // for that one
	touched     string         // the file whose change the next reload is for; "": none
	upgrading   bool
	waitUpgrade []chan<- error
	restart     *restart // under way; nil: none
	first       bool     // this is process 1
	answers     []func() // to those who wait, for when what they wait for can be seen
	upgraded    bool     // another binary has taken over
	stopping    stopping // what a stop has to keep to
	fatal       error

	lost       []string // why the workers that are to be started next are wanted
	journal    *journal
	looked     time.Time // when look last did
	exchange   *[2]int   // made in the place of the first one; nil: that one is in use
	slow       slowTable
	profile    *profiling  // being taken; nil: none
	collection *collection // the last time that metrics were looked up; nil: there was none
	scrapes    scrapes
	profiles   uint64 // so far
	dumps      map[*worker]*dumping
	tickets    tickets
	issuing    *issuing // nil: nobody gets certificates
	sharing    []*sharing

	mendExchange mending

	stats stats
	view  atomic.Pointer[protocol.Snapshot]
}

// post hands an event to the state goroutine, from any other. It returns false if
// that has ended.
func (s *supervisor) post(ev any) bool {
	select {
	case s.events <- ev:
		return true
	case <-s.gone:
		return false
	}
}

// loop runs the state machine until no worker is left. first are the settings
// of the first generation.
func (s *supervisor) loop(ctx context.Context, first *Settings) error {
	defer close(s.gone)
	s.set = first
	s.prepareNext(first)
	stop := ctx.Done()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		s.reconcile()
		s.publish()
		s.giveAnswers()
		s.answerSharing()
		s.notifyStatus()
		if s.phase == phaseDone {
			return s.fatal
		}
		wait := s.untilNext()
		timer.Reset(wait)
		if next := s.clock.now().Add(wait); s.due.IsZero() || next.Before(s.due) {
			s.due = next
		}
		select {
		case ev := <-s.events:
			s.handle(ev)
			// Whoever talks all the time does not keep what is due from being done.
			if s.clock.now().Sub(s.due) >= watchOften {
				s.tick()
			}
		case <-timer.C:
			s.tick()
		case <-stop:
			stop = nil
			s.handle(signalEvent{syscall.SIGTERM})
		}
	}
}

// answer tells err to somebody who waits, once the state that it speaks of has
// been published: who is answered may look at it. done is buffered.
func (s *supervisor) answer(done chan<- error, err error) {
	s.answers = append(s.answers, func() { done <- err })
}

// answerAll answers all who wait and forgets them.
func (s *supervisor) answerAll(waiting *[]chan<- error, err error) {
	for _, done := range *waiting {
		s.answer(done, err)
	}
	*waiting = nil
}

func (s *supervisor) giveAnswers() {
	for _, give := range s.answers {
		give()
	}
	s.answers = nil
}

func (s *supervisor) handle(ev any) {
	switch ev := ev.(type) {
	case workerEvent:
		w := s.worker(ev.id)
		switch {
		case w == nil: // reported after its end
		case ev.Err != nil:
			s.startRefused(w, ev.Err)
		case ev.Exited:
			s.stats.spent(w.slot, ev.CPU)
			s.workerExited(w, ev.Status)
		case ev.Begun:
			s.began(w)
		case ev.Deaf:
			w.deafSince = s.clock.now() // as a rule it is about to end
		default:
			s.workerSaid(w, ev.Message)
		}
	case hookEvent:
		if h := s.helper(ev.id); h != nil {
			s.helperSaid(h, ev.Report)
		}
	case spawn.MoldEvent:
		s.moldChanged(ev)
	case signalEvent:
		s.signal(ev.sig)
	case reloadEvent:
		s.reload(ev.done)
	case upgradeEvent:
		s.upgradeEnded(ev.left, ev.err)
	case codeEvent:
		s.codeChanged(ev.files)
	case preparedEvent:
		s.prepared(ev)
	case thenEvent:
		ev.do()
	case askEvent:
		ev.do(s)
		s.answers = append(s.answers, func() { close(ev.done) })
	}
}

func (s *supervisor) signal(sig syscall.Signal) {
	switch sig {
	case syscall.SIGTERM, syscall.SIGINT:
		s.stop(sig)
	case syscall.SIGQUIT:
		s.stopNow()
	case syscall.SIGHUP:
		s.reload(nil)
	case syscall.SIGTTIN:
		s.scale(+1)
	case syscall.SIGTTOU:
		s.scale(-1)
	case syscall.SIGUSR1:
		s.reopenLogs()
	case syscall.SIGUSR2:
		_ = s.upgrade() // has been logged
	}
}

func (s *supervisor) worker(id int) *worker {
	for _, w := range s.workers {
		if w.id == id {
			return w
		}
	}
	return nil
}

// target is how many workers a generation of set has.
func (s *supervisor) target(set *Settings) int {
	n := set.Workers + s.adjust
	if set.MaxWorkers > 0 && !s.scaling.pinned {
		n = min(max(s.scaling.workers, set.Workers), set.MaxWorkers)
	}
	// A reload may double the workers for a while, and leave some that drain.
	return min(max(1, n), protocol.MaxSlots/2)
}

func (s *supervisor) scale(by int) {
	if s.phase == phaseStopping {
		return
	}
	before := s.target(s.set)
	s.pin()
	s.adjust += by
	now := s.target(s.set)
	if now == before {
		s.adjust -= by // do not count what had no effect
		s.log.Warn("the number of workers stays as it is", "workers", now)
		return
	}
	s.scaled(before, now, "by a signal")
}

func (s *supervisor) scaled(from, to int, why string) {
	s.log.Info("changing the number of workers", "from", from, "to", to, "reason", why)
	s.note(protocol.Event{Kind: "scale", Text: fmt.Sprintf("from %d to %d workers: %s", from, to, why)})
	s.workersChanged(from, to)
}

// become moves w to another state.
func (s *supervisor) become(w *worker, next workerState) {
	if !w.state.canBecome(next) {
		s.log.Error("a worker's state cannot change so", "worker", w.number(), "from", w.state, "to", next)
		return
	}
	w.state = next
	w.deadline = time.Time{}
	if next == stateGone {
		s.board.KeepRoutes(w.slot)
		w.board.Free()
		s.taken[w.slot] = false
		return
	}
	w.board.State.Store(uint32(w.slotState()))
}

// send tells w something. A worker that cannot be reached is about to be
// reported as gone, or its deadline will catch it.
func (s *supervisor) send(w *worker, m protocol.Message) {
	if err := w.proc.Send(m); err != nil {
		s.log.Debug("a worker did not take a message", "worker", w.number(), "kind", string(rune(m.Kind)), "error", err)
	}
}

// tell sends w a signal.
func (s *supervisor) tell(w *worker, sig syscall.Signal) {
	if err := w.proc.Signal(sig); err != nil {
		s.log.Debug("a worker did not get a signal", "worker", w.number(), "signal", sig.String(), "error", err)
	}
}

// kill ends w now. Why it was to leave stays as it is.
func (s *supervisor) kill(w *worker) {
	s.tell(w, syscall.SIGKILL)
	s.become(w, stateKilled)
	w.deadline = s.clock.now().Add(killTime)
}
