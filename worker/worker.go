package worker

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"hostler/internal/proctitle"
	"hostler/protocol"
	"hostler/settings"
)

// Worker is the Go side of a worker process: the loop, and its ties to the
// master.
type Worker struct {
	Loop *Loop
	cfg  *protocol.WorkerConfig
	log  *logs
	wake int

	serves atomic.Bool // the master can tell it something

	slot *protocol.Slot         // its own
	page atomic.Pointer[string] // of KindPage; nil: none has come

	ask func(what int, text string) bool

	sending sync.Mutex // serialises writes to the control socket
}

// Open prepares a worker from its settings and the descriptors that the master
// left to it (see package protocol). wake is a signal for Loop.Listen.
func Open(settings string, wake int) (*Worker, error) {
	cfg, err := protocol.DecodeWorkerConfig(settings)
	if err != nil {
		return nil, err
	}
	board, err := protocol.OpenScoreboard(protocol.FDScoreboard)
	if err != nil {
		return nil, err
	}
	unix.Close(protocol.FDScoreboard)
	slot := board.Slot(cfg.Slot)
	log := openLogs(cfg, &slot.Counters)
	// One P for each Python thread, which keeps it from call to call, one for
	// the deputy, and one to spare: with fewer, a call from C has to wait for
	// sysmon to take a P from a thread that is not even in Go.
	runtime.GOMAXPROCS(cfg.Threads + 2)
	w := &Worker{cfg: cfg, log: log, wake: wake, slot: slot}
	w.Loop, err = New(Config{Settings: cfg, Slot: slot, Log: log.Logger, AccessLog: log.access, Spans: log.spans,
		Exchange: &Exchange{Out: protocol.FDHandOut, In: protocol.FDHandIn, Board: board, Slot: cfg.Slot}})
	if err != nil {
		return nil, err
	}
	if log.dumps.r != nil {
		go w.gatherDumps()
	}
	pages, err := protocol.ReadPages(protocol.FDPages)
	unix.Close(protocol.FDPages)
	if err != nil {
		return nil, err
	}
	w.Loop.refusals.pages = newPages(pages)
	if !slices.ContainsFunc(cfg.Listeners, func(ln protocol.Listener) bool { return ln.TLS }) {
		unix.Close(protocol.FDSecrets)
		return w, nil
	}
	if err := w.Loop.ReadTLS(protocol.FDSecrets); err != nil {
		return nil, err
	}
	return w, nil
}

// SetContended says by what it is found out whether a request waits for the GIL right now. It
// is called before Serve.
func (w *Worker) SetContended(contended func() bool) {
	if t := w.Loop.deputy.tuner; t != nil {
		t.contended = contended
	}
}

// Threads is the number of Python threads that shall call Loop.Next.
func (w *Worker) Threads() int { return w.cfg.Threads }

// Serve starts to accept connections and tells the master so.
func (w *Worker) Serve() error {
	w.Loop.SetReporter(w.trySend)
	w.Loop.SetLost(w.lost)
	if e := w.Loop.keeper.exposition; e != nil {
		e.ask = w.trySend
	}
	w.Loop.own.take(protocol.FDControl)
	w.Loop.Start()
	fds := make([]int, len(w.cfg.Listeners))
	for i := range fds {
		fds[i] = protocol.FDListeners + i
	}
	if err := w.Loop.Listen(fds, w.wake); err != nil {
		return err
	}
	title := fmt.Sprintf("hostler: worker %d gen %d", w.cfg.Number, w.cfg.Generation)
	if w.cfg.Name != "" {
		title += " [" + w.cfg.Name + "]"
	}
	if err := proctitle.Set(title); err != nil {
		w.log.Debug("cannot set the process title", "error", err)
	}
	go w.control()
	w.serves.Store(true)
	return w.send(protocol.Message{Kind: protocol.KindReady})
}

func (w *Worker) send(m protocol.Message) error {
	w.sending.Lock()
	defer w.sending.Unlock()
	if _, err := unix.Write(protocol.FDControl, m.Append(nil)); err != nil {
		return fmt.Errorf("cannot tell the master: %w", err)
	}
	return nil
}

// Say writes text to the error log, without waiting for anything.
func (w *Worker) Say(text []byte) { _, _ = w.log.texts.Write(text) }

// Printed makes a record of a line that the application has written to a stream of its
// own, whatever the level of the log is.
func (w *Worker) Printed(stream string, line []byte) {
	w.log.texts.Line(string(line), slog.String("stream", stream))
}

// DumpFD is where faulthandler is to write the tracebacks of all threads: it runs in
// a signal handler, on a thread that may have a request, and must not wait for a pipe
// that nobody reads.
func (w *Worker) DumpFD() int { return w.log.dumps.fd }

// Page is what every request shall be answered with, "": the application is to be
// asked. It is for development; nobody else calls it.
func (w *Worker) Page() string {
	if text := w.page.Load(); text != nil {
		return *text
	}
	return w.cfg.Page
}

// What Python is asked for. The numbers are C's, too.
const (
	AskProfile = iota // a profile; the text is a ProfileRequest
	AskCollect        // to look up metrics; the text is that of a KindCollect
)

// SetAsk tells the worker how Python is asked for something, with a text. ask never waits.
// It is called before Serve.
func (w *Worker) SetAsk(ask func(what int, text string) bool) { w.ask = ask }

// Collected tells the master that metrics have been looked up. It waits until that has
// read what was said before.
func (w *Worker) Collected() { w.tell(protocol.Message{Kind: protocol.KindCollected}) }

// Profiled sends what a profile has found to the master.
func (w *Worker) Profiled(text string) { w.tellAll(protocol.KindProfiled, text) }

// tellAll sends a text of any length to the master, in parts; an empty one ends it. It
// waits until that has read it.
func (w *Worker) tellAll(kind protocol.Kind, text string) {
	for more := true; more; {
		n := min(len(text), protocol.MaxMessage-1)
		w.tell(protocol.Message{Kind: kind, Text: text[:n]})
		text, more = text[n:], n > 0
	}
}

// tell sends a message to the master, and waits until there is room for it.
func (w *Worker) tell(m protocol.Message) {
	room := []unix.PollFd{{Fd: protocol.FDControl, Events: unix.POLLOUT}}
	for !w.trySend(m) {
		// Others want to tell it something, too, and do not wait.
		_, _ = unix.Poll(room, 1000) // if it fails, what follows does
	}
}

// trySend tells the master what is not worth waiting for.
func (w *Worker) trySend(m protocol.Message) bool {
	w.sending.Lock()
	defer w.sending.Unlock()
	return unix.Send(protocol.FDControl, m.Append(nil), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL) != unix.EAGAIN
}

// control obeys the master.
func (w *Worker) control() {
	buf := make([]byte, 4096)
	if w.cfg.Development {
		buf = make([]byte, protocol.MaxPage+1)
	}
	for {
		m, fd, err := receive(buf)
		if err != nil {
			if !errors.Is(err, io.EOF) {
				w.log.Error("lost the master", "error", err)
			}
			w.orphaned()
			return
		}
		switch m.Kind {
		case protocol.KindDrain:
			w.Loop.Drain(m.Mode, m.Grace)
		case protocol.KindDump:
			w.dump(m.Text == protocol.DumpTell)
		case protocol.KindInterrupt:
			w.Loop.Intervene(InterveneRaise, m.Thread, m.Start)
		case protocol.KindStack:
			w.Loop.Intervene(InterveneStack, m.Thread, m.Start)
		case protocol.KindProfile:
			if w.ask == nil || !w.ask(AskProfile, m.Text) {
				w.log.Error("cannot begin a profile")
			}
		case protocol.KindCollect:
			if w.ask == nil || !w.ask(AskCollect, m.Text) {
				go w.Collected() // there is nothing that could be looked up
			}
		case protocol.KindCanary:
			w.Loop.exchange.canary.goOn(w.Loop, m.Text, fd)
		case protocol.KindScraped:
			w.Loop.keeper.exposition.came(w.Loop, m.Text, fd)
		case protocol.KindReopen:
			w.log.reopen(m.Text, fd)
		case protocol.KindPage:
			w.page.Store(&m.Text)
		case protocol.KindTLS:
			if err := w.Loop.ReadTLS(fd); err != nil {
				w.log.Error("certificates stay as they were", "error", err)
			}
			w.trySend(protocol.Message{Kind: protocol.KindTaken})
		case protocol.KindDescriptor:
			w.Loop.Replace(m.Number, fd)
		case protocol.KindLevel:
			w.log.level.Set(settings.Level(m.Text))
		}
	}
}

// receive returns the next message and the descriptor beside it, or -1.
func receive(buf []byte) (protocol.Message, int, error) {
	oob := make([]byte, unix.CmsgSpace(4))
	for {
		n, more, _, _, err := unix.Recvmsg(protocol.FDControl, buf, oob, unix.MSG_CMSG_CLOEXEC)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return protocol.Message{}, -1, err
		case n == 0:
			return protocol.Message{}, -1, io.EOF
		}
		fd := protocol.Beside(oob[:more])
		m, err := protocol.ParseMessage(buf[:n])
		return m, fd, err
	}
}

// lost ends a worker from which the application has taken what it needs to serve.
func (w *Worker) lost(what string, fatal bool) {
	why := "the application has closed " + what + ", which is the server's (os.closerange, or a descriptor closed twice?)"
	w.log.Error("this worker cannot serve any more", "reason", why)
	switch {
	case fatal:
		w.log.flush()
		unix.Exit(1)
	case w.Loop.own.has(protocol.FDControl):
		w.trySend(protocol.Message{Kind: protocol.KindUnfit, Text: why})
	default:
		w.Leave()
	}
}

// orphaned leaves in good order when there is no master any more, and at the
// latest when the graceful timeout is over.
func (w *Worker) orphaned() {
	grace := w.cfg.GracefulTimeout
	time.AfterFunc(grace+time.Second, func() { unix.Exit(1) })
	go abandonUnread()
	w.Loop.Drain(protocol.DrainStop, grace)
}

// Leave drains the worker at its own wish (a SIGTERM sent to it directly), or at the master's
// that does not know yet how to tell it.
func (w *Worker) Leave() {
	grace := w.cfg.GracefulTimeout
	if !w.serves.Load() {
		grace -= min(2*time.Second, grace/4) // of a stop; what a worker is told that serves is less, too
	}
	w.Loop.graceUntil(w.Loop.now() + int64(grace)) // Python asks for what is left
	go w.Loop.Drain(protocol.DrainReplaced, grace)
}

// ToldToLeave reports whether the master has said that this worker shall leave, to one that
// does not read its control socket yet, whatever has become of the signal beside it.
func (w *Worker) ToldToLeave() bool {
	return protocol.SlotState(w.slot.State.Load()) == protocol.SlotDraining
}

// Finished is called when the Python threads have left, before Python finalises. It
// returns how long that should take at most.
func (w *Worker) Finished() time.Duration {
	w.Loop.Stop()
	w.Loop.access.conclude(w.Loop.now())
	w.log.flush()
	// A master that is gone hears nothing, and need not.
	_ = w.send(protocol.Message{Kind: protocol.KindDrained})
	return w.Loop.GraceLeft()
}

// dumpEnds is how long a traceback may pause.
const dumpEnds = 50 * time.Millisecond

// gatherDumps makes a record of the error log of what comes by the pipe, when no more
// does, and tells the master if that has asked for it.
func (w *Worker) gatherDumps() {
	d := &w.log.dumps
	var text []byte
	buf := make([]byte, 4096)
	for {
		n, err := d.r.Read(buf)
		text = append(text, buf[:n]...)
		if err == nil && len(text) < protocol.MaxDump {
			_ = d.r.SetReadDeadline(time.Now().Add(dumpEnds))
			continue
		}
		if len(text) == 0 {
			return // the pipe cannot be read
		}
		text = headed(w.Loop, text)
		_, _ = w.log.texts.Write(text) // never fails
		if d.asked.Swap(false) {
			w.tellAll(protocol.KindDumped, string(text))
		}
		text = nil
		_ = d.r.SetReadDeadline(time.Time{})
	}
}

// dump has all Python threads' tracebacks written. It needs no GIL.
func (w *Worker) dump(tell bool) {
	d := &w.log.dumps
	if tell && d.r == nil {
		w.tellAll(protocol.KindDumped, "the tracebacks are in the error log: there was no pipe for them\n")
		tell = false
	}
	if tell {
		d.asked.Store(true)
	}
	dumpTracebacks()
}

func dumpTracebacks() { _ = unix.Tgkill(unix.Getpid(), unix.Getpid(), protocol.DumpSignal) }
