package master

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"hostler/internal/procstat"
	"hostler/internal/testlog"
	"hostler/master/spawn"
	"hostler/protocol"
	"hostler/settings"
)

// A rig runs a supervisor with fake processes inside a synctest bubble: time is
// fake, everything else is as in production.
type rig struct {
	t    *testing.T
	s    *supervisor
	host *fakeHost
	procs
	log    testlog.Buffer
	stderr testlog.Buffer
	stdout testlog.Buffer
	cgroup fstest.MapFS
	result chan error
	ended  bool
	stuck  bool // processes are left behind
}

// How a fake process boots and leaves.
const (
	bootTakes  = time.Second
	leaveTakes = 500 * time.Millisecond
	hookTakes  = 100 * time.Millisecond
)

// manner is what a fake process does.
type manner struct {
	fails  string // says so, and exits
	dies   bool   // exits without a word while booting
	hangs  bool   // never becomes ready
	wedged bool   // ignores the control socket
	deaf   bool   // ignores SIGABRT and SIGTERM
	stuck  bool   // in the kernel: not even SIGKILL ends it
	full   bool   // has no room for a message with a file
	slow   time.Duration
	// refused is why it cannot be started.
	refused error

	hooks     string // of the module, where the process runs hooks
	hookFails string // what running one says
	hookHangs bool
}

type fakeProcess struct {
	spec   spawn.Spec
	pid    int
	manner manner
	report func(spawn.Report)
	cpu    float64 // what it will have used

	mu      sync.Mutex
	ready   bool
	dead    bool
	leaving bool
	closed  int
	sent    []protocol.Message
	signals []syscall.Signal

	hookDone chan struct{} // closed when the last hook has been run
}

var _ spawn.Process = (*fakeProcess)(nil)

func (p *fakeProcess) PID() int { return p.pid }

func (p *fakeProcess) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed++
}

func (p *fakeProcess) Send(m protocol.Message) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return syscall.EPIPE
	}
	p.sent = append(p.sent, m)
	if p.spec.Config.HooksOnly {
		p.runHook(m)
		return nil
	}
	if m.Kind == protocol.KindDrain && p.ready && !p.manner.wedged && !p.leaving {
		p.leaving = true
		go func() {
			if m.Mode != protocol.DrainQuick {
				time.Sleep(leaveTakes)
			}
			p.report(spawn.Report{Message: protocol.Message{Kind: protocol.KindDrained}})
			p.exit(exited(0))
		}()
	}
	return nil
}

func (p *fakeProcess) SendFile(m protocol.Message, _ int) error {
	p.mu.Lock()
	full := p.manner.full
	p.mu.Unlock()
	if full {
		return syscall.EAGAIN
	}
	return p.Send(m)
}

// runHook is Send for a process that runs hooks, one after the other.
func (p *fakeProcess) runHook(m protocol.Message) {
	before := p.hookDone
	done := make(chan struct{})
	p.hookDone = done
	go func() {
		if before != nil {
			<-before
		}
		defer close(done)
		switch {
		case m.Kind == protocol.KindDrain && !p.manner.hookHangs:
			p.exit(exited(0))
		case m.Kind == protocol.KindHook && !p.manner.hookHangs:
			time.Sleep(hookTakes)
			p.report(spawn.Report{Message: protocol.Message{Kind: protocol.KindHookDone, Text: p.manner.hookFails}})
		}
	}()
}

func (p *fakeProcess) Signal(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return syscall.ESRCH
	}
	p.signals = append(p.signals, sig)
	if p.manner.stuck {
		return nil
	}
	if sig == syscall.SIGKILL || !p.manner.deaf && !p.ready {
		go p.exit(killed(sig))
	}
	return nil
}

// exit ends the process, once.
func (p *fakeProcess) exit(ws syscall.WaitStatus) {
	p.mu.Lock()
	was := p.dead
	p.dead = true
	p.mu.Unlock()
	if !was {
		p.report(spawn.Report{Exited: true, Status: ws, CPU: p.cpu})
	}
}

func (p *fakeProcess) boot() {
	if p.manner.refused != nil {
		p.mu.Lock()
		p.dead = true
		p.mu.Unlock()
		p.report(spawn.Report{Exited: true, Err: p.manner.refused})
		return
	}
	time.Sleep(bootTakes + p.manner.slow)
	p.mu.Lock()
	dead := p.dead
	p.ready = !dead && !p.manner.hangs && !p.manner.dies && p.manner.fails == ""
	p.mu.Unlock()
	switch {
	case dead || p.manner.hangs:
	case p.spec.Config.HooksOnly && p.ready:
		p.report(spawn.Report{Message: protocol.Message{Kind: protocol.KindHooks, Text: p.manner.hooks}})
	case p.manner.dies:
		p.exit(exited(3))
	case p.manner.fails != "":
		p.report(spawn.Report{Message: protocol.Message{Kind: protocol.KindBootFailed, Text: p.manner.fails}})
		p.exit(exited(1))
	default:
		p.report(spawn.Report{Message: protocol.Message{Kind: protocol.KindReady}})
	}
}

// got returns what the process was told.
func (p *fakeProcess) got(kind protocol.Kind) (n int, last protocol.Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.sent {
		if m.Kind == kind {
			n, last = n+1, m
		}
	}
	return n, last
}

func (p *fakeProcess) signalled(sig syscall.Signal) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Contains(p.signals, sig)
}

func exited(code int) syscall.WaitStatus           { return syscall.WaitStatus(code << 8) }
func killed(sig syscall.Signal) syscall.WaitStatus { return syscall.WaitStatus(sig) }

// hookDone is what a process says that has run a hook.
var hookDone = spawn.Report{Message: protocol.Message{Kind: protocol.KindHookDone}}

// procs is the fake spawn.Starter.
type procs struct {
	mu      sync.Mutex
	started []*fakeProcess
	manner  func(n int) manner // of the nth process, from 0
	refuse  error
}

var _ spawn.Starter = (*procs)(nil)

// Retire implements spawn.Starter.
func (ps *procs) Retire(int) {}

// ReopenLog implements spawn.Starter.
func (ps *procs) ReopenLog(int, int) {}

func (ps *procs) Start(spec spawn.Spec, to func(spawn.Report)) (spawn.Process, error) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.refuse != nil {
		return nil, ps.refuse
	}
	p := &fakeProcess{spec: spec, pid: 1000 + len(ps.started), report: to}
	if ps.manner != nil {
		p.manner = ps.manner(len(ps.started))
	}
	ps.started = append(ps.started, p)
	go p.boot()
	return p, nil
}

func (ps *procs) all() []*fakeProcess {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return slices.Clone(ps.started)
}

func (ps *procs) behave(m manner) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.manner = func(int) manner { return m }
}

func (ps *procs) alive() int {
	n := 0
	for _, p := range ps.all() {
		p.mu.Lock()
		if !p.dead {
			n++
		}
		p.mu.Unlock()
	}
	return n
}

// fakeHost keeps no descriptors: listeners have an invalid one.
type fakeHost struct {
	mu       sync.Mutex
	next     *Settings
	readErr  error
	upgrade  chan error
	dropped  string // an address that the next binary does not take
	carried  []string
	tickets  []byte
	serving  int
	stopping []bool
	listened []string
	memory   map[int]int64                  // by pid
	stopped  map[int]bool                   // by pid
	threads  func() map[int]procstat.Thread // of any process; nil: nothing is known
	watched  []string

	shut              map[string]bool        // by address
	spoiled           map[string]string      // likewise
	queues            map[string]listenQueue // likewise
	reviveErr         error
	revived           int
	exchangeEnded     bool
	exchangeEndsAgain bool
	exchanges         int

	broken   bool
	notified []string
	cpu      map[int]float64 // by pid
	machine  machine
	pending  bool
	takers   []*fakeTaker
	noSpans  error         // there can be no taker
	hang     chan struct{} // until it is closed nothing that may block returns; nil: all does
}

// wait blocks as a file system that is away.
func (h *fakeHost) wait() {
	h.mu.Lock()
	hang := h.hang
	h.mu.Unlock()
	if hang != nil {
		<-hang
	}
}

// setHang makes it one, until the function returned is called.
func (h *fakeHost) setHang() (end func()) {
	hang := make(chan struct{})
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hang = hang
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.hang = nil
		close(hang)
	}
}

var _ host = (*fakeHost)(nil)

func (h *fakeHost) ReadSettings() (*Settings, error) {
	h.wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	set := *h.next
	return &set, h.readErr
}
func (h *fakeHost) OpenSpans(*Settings) (SpanTaker, error) {
	h.wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.noSpans != nil {
		return nil, h.noSpans
	}
	h.takers = append(h.takers, new(fakeTaker))
	return h.takers[len(h.takers)-1], nil
}
func (h *fakeHost) FindPython(set *Settings) (string, error) {
	h.wait()
	if set.Python == "missing" {
		return "", ErrNoPython
	}
	return "python", nil
}
func (h *fakeHost) Environ() []string { return nil }
func (h *fakeHost) Listen(b settings.Bind, _ int, _ []*listener) (*listener, error) {
	h.wait()
	if b.Address == "taken" {
		return nil, errors.New("cannot bind taken: address already in use")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.listened = append(h.listened, b.Address)
	return &listener{Bind: b, fd: -1, info: protocol.Listener{Network: b.Network}}, nil
}
func (h *fakeHost) Threads(int) map[int]procstat.Thread {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.threads == nil {
		return nil
	}
	return h.threads()
}
func (h *fakeHost) Stopped(pid int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stopped[pid]
}
func (h *fakeHost) Examine(l *listener, backlog int) func() examined {
	return func() examined {
		h.wait()
		h.mu.Lock()
		defer h.mu.Unlock()
		return examined{shut: h.shut[l.Address], spoiled: h.spoiled[l.Address], queue: h.queues[l.Address], backlog: backlog}
	}
}
func (h *fakeHost) Mend(l *listener, spoiled bool, _ int) func() (*listener, error) {
	return func() (*listener, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.revived++
		if h.reviveErr != nil {
			return nil, h.reviveErr
		}
		h.shut, h.spoiled = nil, nil
		if spoiled || l.Network == "unix" {
			return &listener{Bind: l.Bind, fd: -1}, nil
		}
		return nil, nil
	}
}
func (h *fakeHost) Become(l, _ *listener) error {
	l.fresh = true
	return nil
}
func (h *fakeHost) ExchangeEnded() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.exchangeEnded {
		return "it was shut down"
	}
	return ""
}
func (h *fakeHost) Exchange() [2]int { return [2]int{100, 101} }
func (h *fakeHost) NewExchange() ([2]int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.exchanges++
	h.exchangeEnded = h.exchangeEndsAgain
	return [2]int{100, 101}, nil
}
func (h *fakeHost) Tickets() ([]byte, error) { return h.tickets, nil }
func (h *fakeHost) Upgrade(carry carried, listeners []*listener) (func() ([]*listener, error), error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.carried, h.tickets = carry.env, carry.tickets
	dropped := h.dropped
	return func() ([]*listener, error) {
		return slices.DeleteFunc(slices.Clone(listeners), func(l *listener) bool { return l.Address != dropped }), <-h.upgrade
	}, nil
}
func (h *fakeHost) ListenAdmin(*Settings) (*adminAddress, error) { return nil, nil }
func (h *fakeHost) ServeAdmin(*adminAddress)                     {}
func (h *fakeHost) DropAdmin(*adminAddress)                      {}
func (h *fakeHost) Serving(*Settings, bool) {
	h.wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.serving++
}
func (h *fakeHost) Stopping(upgraded bool) bool {
	h.wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopping = append(h.stopping, upgraded)
	return upgraded
}
func (h *fakeHost) Notify(state string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.notified = append(h.notified, state)
}

// told returns what the service manager was told since the last call, less
// status lines.
func (h *fakeHost) told() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := slices.DeleteFunc(h.notified, func(s string) bool { return strings.HasPrefix(s, "STATUS=") })
	h.notified = nil
	return all
}
func (h *fakeHost) CPU(pid int) (float64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cpu[pid], nil
}
func (h *fakeHost) Machine() machine {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.machine
}
func (h *fakeHost) Pending([]*listener) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.pending
}
func (h *fakeHost) Memory(pid int) (int64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.memory[pid], nil
}
func (h *fakeHost) setMemory(pid int, n int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.memory == nil {
		h.memory = make(map[int]int64)
	}
	h.memory[pid] = n
}
func (h *fakeHost) WatchCode(_ *Settings, files []string, _ time.Time) {
	h.wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watched = append(h.watched, files...)
}

func (h *fakeHost) CodeBroken(_ *Settings, yes bool) {
	h.wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.broken = yes
}

func testSettings() *Settings {
	return &Settings{Master: settings.Master{Workers: 2, BootTimeout: 30 * time.Second,
		Worker: settings.Worker{App: "app:app", Threads: 2, GracefulTimeout: 10 * time.Second, AccessLog: "-"}}}
}

// withRig runs f with a supervisor that has just been started.
func withRig(t *testing.T, set *Settings, how func(n int) manner, f func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		board, file, err := protocol.CreateScoreboard()
		if err != nil {
			t.Fatal(err)
		}
		defer board.Close()
		defer file.Close()
		first := *set
		r := &rig{t: t, host: &fakeHost{next: &first, upgrade: make(chan error)}, result: make(chan error, 1),
			cgroup: fstest.MapFS{
				"proc/self/cgroup":            {Data: []byte("0::/\n")},
				"sys/fs/cgroup/memory.events": {Data: []byte("oom 0\noom_kill 4\n")},
			}}
		r.procs.manner = how
		r.s = &supervisor{
			log:  slog.New(slog.NewTextHandler(&r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
			host: r.host, starter: &r.procs, board: board,
			clock:  clock{now: time.Now, mono: func() int64 { return time.Now().UnixNano() }},
			oom:    newOOMWatch(r.cgroup, time.Now()),
			stdout: &r.stdout, stderr: &r.stderr, files: &clerk{log: slog.Default()},
			events: make(chan any, 64), gone: make(chan struct{}),
			stats: newStats("test", time.Now()), journal: new(journal),
		}
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go func() { r.result <- r.s.loop(ctx, set) }()
		synctest.Wait()
		defer func() { // also when f has failed: the board must not go before the loop
			if !r.ended {
				r.s.post(signalEvent{syscall.SIGQUIT})
				<-r.result
			}
			time.Sleep(time.Hour) // let what still sleeps end
			if t.Failed() {
				t.Log(r.log.String())
			}
		}()
		f(r)
		if !r.ended {
			r.s.post(signalEvent{syscall.SIGQUIT})
			r.awaitEnd()
		}
		if r.stuck {
			return
		}
		if n := r.alive(); n != 0 {
			t.Errorf("%d processes outlive the master", n)
		}
		for _, p := range r.all() {
			if p.closed != 1 {
				t.Errorf("process %d was closed %d times", p.pid, p.closed)
			}
		}
		for i := range protocol.MaxSlots {
			if st := board.Slot(i).State.Load(); st != uint32(protocol.SlotFree) {
				t.Errorf("slot %d is left in state %d", i, st)
			}
		}
		if strings.Contains(r.log.String(), "cannot change so") {
			t.Error("a transition that is not in the table")
		}
	})
}

func (r *rig) signal(sig syscall.Signal) {
	r.s.post(signalEvent{sig})
	synctest.Wait()
}

func (r *rig) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (r *rig) awaitEnd() error {
	r.t.Helper()
	select {
	case err := <-r.result:
		r.ended = true
		synctest.Wait()
		return err
	case <-time.After(10 * time.Minute):
		r.t.Fatal("the master does not end")
		return nil
	}
}

// serving starts the rig's first generation.
func (r *rig) awaitServing() {
	r.t.Helper()
	r.pass(bootTakes)
	if v := r.view(); !v.Ready || v.Generation != 1 {
		r.t.Fatalf("not serving: %+v", v)
	}
}

func (r *rig) view() protocol.Snapshot { return *r.s.view.Load() }

// workers describes the snapshot's workers: "1:serving/1" is worker 1 of
// generation 1.
func (r *rig) workers() string {
	var out []string
	for _, w := range r.view().Workers {
		out = append(out, fmt.Sprintf("%d:%s/%d", w.Number, w.State, w.Generation))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func (r *rig) expect(want string) {
	r.t.Helper()
	if got := r.workers(); got != want {
		r.t.Fatalf("workers are %q, want %q", got, want)
	}
}

func (r *rig) exits(c cause) uint64 { return r.view().Exits[string(c)] }

// slotOf returns the part of the scoreboard of the nth process.
func (r *rig) slotOf(p *fakeProcess) *protocol.Slot { return r.s.board.Slot(p.spec.Config.Slot) }

// begin makes a thread of p busy with a request that began age ago.
func (r *rig) begin(p *fakeProcess, thread int, target string, age time.Duration) {
	r.slotOf(p).ThreadRecs[thread].Begin(r.s.clock.mono()-int64(age), []byte("GET"), []byte(target), []byte("192.0.2.1"))
}
