package master

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"hostler/internal/appmetrics"
	"hostler/internal/logwriter"
	"hostler/internal/relay"
	"hostler/master/spawn"
	"hostler/protocol"
)

// endTime is how long files may take at the end.
const endTime = 2 * time.Second

// Payload is what the master carries for its workers.
type Payload struct {
	// Library returns the worker library for a C library, an ELF shared object: megabytes,
	// which nobody needs any more once workers can load it.
	Library   func(spawn.Libc) (*io.SectionReader, error)
	Bootstrap string // Python source that loads it, for python -c
	Modules   []byte // of Python's, which Bootstrap loads
}

// Options are what a Master is made from.
type Options struct {
	Version  string
	Settings *Settings
	// Reload reads the settings again, for SIGHUP.
	Reload  func() (*Settings, error)
	Payload Payload
	Binary  Binary // what runs: "" where it is not known
	Log     *slog.Logger
	// ErrorLog is standard error, where Log writes to. Nil: it is made.
	ErrorLog *logwriter.Writer
	// Screen is somebody at a terminal. Nil: nobody is there.
	Screen Screen
	// Texts is where tracebacks go, in the format of Log. Nil: to ErrorLog as they are.
	Texts io.Writer
	// Admin starts the admin server on l and returns a function that ends it
	// and closes l. Nil: there is none.
	Admin func(l net.Listener) (stop func())
	// Ctl opens the control socket at path and answers there. Nil: there is none.
	// Takeover is set where the server that is there now is the one that this
	// one will replace.
	Ctl func(path string, takeover bool) (CtlServer, error)
	// Spans takes spans of requests. Nil: nobody does.
	Spans Spans
	// CacheDir is for the library where memfds cannot be executed; "" is the
	// user's.
	CacheDir string
}

// Master supervises workers. Make one with New; one process has one.
type Master struct {
	opts  Options
	sup   *supervisor
	board *protocol.Scoreboard
	file  *os.File // the scoreboard's memfd
	apps  *appmetrics.Registry
	down  chan struct{} // closed when only the process itself is left
}

// CtlServer answers on the control socket.
type CtlServer interface {
	// Publish gives the socket its name in the file system. Before that nobody
	// finds it.
	Publish() error
	// Lost says that it had a name, and that this is another file's by now, or nobody's.
	Lost() bool
	// Close removes the file, unless it is another server's by now, lets running
	// answers end and closes the rest.
	Close()
}

// New returns a master that has started nothing yet.
func New(opts Options) (*Master, error) {
	board, file, err := protocol.CreateScoreboard()
	if err != nil {
		return nil, err
	}
	if opts.ErrorLog == nil {
		opts.ErrorLog = logwriter.New(logwriter.Options{FD: 2, Records: true})
	}
	if opts.Texts == nil {
		opts.Texts = opts.ErrorLog
	}
	c := systemClock()
	now := c.now()
	apps := appmetrics.New(opts.Log)
	sup := &supervisor{
		log: opts.Log, board: board, clock: c, set: opts.Settings,
		oom: newOOMWatch(os.DirFS("/"), now), files: &clerk{log: opts.Log},
		stderr: opts.Texts, screen: opts.Screen, errorLog: opts.ErrorLog,
		events: make(chan any, 64), gone: make(chan struct{}),
		stats: newStats(opts.Version, now), journal: new(journal), scrapes: scrapes{apps: apps},
	}
	sup.stdout = newAccessLines(sup, 1)
	sup.publish()
	return &Master{opts: opts, sup: sup, board: board, file: file, apps: apps, down: make(chan struct{})}, nil
}

// Scoreboard returns what the workers write to. It stays mapped for as long as
// the process lives.
func (m *Master) Scoreboard() *protocol.Scoreboard { return m.board }

// AppMetrics returns what the application counts in all its processes.
func (m *Master) AppMetrics() *appmetrics.Registry { return m.apps }

// Snapshot returns what the master knows of itself and its workers. It may be
// called at any time from any goroutine; nobody changes what it returns.
func (m *Master) Snapshot() protocol.Snapshot {
	v := *m.sup.view.Load()
	v.LogLost = m.sup.logLost()
	if m.opts.Spans != nil {
		v.Spans = m.opts.Spans.Counts()
	}
	return v
}

// Reload does what SIGHUP does and waits for the result.
func (m *Master) Reload(ctx context.Context) error {
	done := make(chan error, 1)
	if err := m.post(ctx, reloadEvent{done}); err != nil {
		return fmt.Errorf("cannot reload: %w", err)
	}
	return m.await(ctx, "the reload", done)
}

// Alive returns nil as soon as the state goroutine has answered, and an error if
// it has ended or ctx does.
func (m *Master) Alive(ctx context.Context) error {
	return m.ask(ctx, func(*supervisor) {})
}

// Run serves until a signal, the end of ctx or a successful upgrade ends it.
// An error means that it never served.
func (m *Master) Run(ctx context.Context) error {
	defer m.flushLogs()
	if err := leaveRemoved(m.opts.Settings); err != nil {
		return err
	}
	if err := m.openLogs(); err != nil {
		return err
	}
	sigs := make(chan os.Signal, 16)
	signal.Notify(sigs, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP,
		syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(sigs)
	// A reader of our log that goes away must not end us. (Ignoring the signal
	// would be inherited by workers; a handler is not.)
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)
	defer signal.Stop(pipe)

	modules, err := m.opts.openModules()
	if err != nil {
		return err
	}
	defer modules.Close()
	libraries := spawn.NewLibraries(m.opts.Log, m.opts.Payload.Library, m.opts.CacheDir)
	if python, err := findPython(m.opts.Settings, m.opts.Binary); err == nil { // else it will be said
		libraries.Foresee(python)
	}
	sp, err := spawn.New(m.opts.Log, m.opts.Payload.Bootstrap, spawn.RawFD(modules), libraries, spawn.RawFD(m.file))
	if err != nil {
		return err
	}
	defer sp.Close()
	setTitle(m.opts.Log, m.opts.Settings)
	h, err := newSystemHost(m.opts, m.down)
	if err != nil {
		return err
	}
	sp.Exchange, h.apart, h.last = h.exchange, sp.Apart, sp.Last
	h.codeChanged = func(files []string) { m.sup.post(codeEvent{files}) }
	sp.AppMetrics = m.takesMetrics
	sp.Molded = func(ev spawn.MoldEvent) { m.sup.post(ev) }
	m.sup.takeScale()
	m.sup.first = os.Getpid() == spawn.FirstProcess
	m.sup.host, m.sup.starter, m.sup.watchdog = h, sp, watchdogInterval(m.opts.Log)
	m.sup.takeTickets()

	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		for {
			select {
			case sig := <-sigs:
				m.sup.post(signalEvent{sig.(syscall.Signal)})
			case <-m.sup.gone:
				return
			}
		}
	})
	err = m.sup.loop(ctx, m.opts.Settings)
	sp.EndOrphans()
	if !m.sup.spans.finish(endTime) {
		m.opts.Log.Warn("leaving without having sent all spans")
	}
	m.sup.files.do("removing the pid file and the like", h.close)
	if !m.sup.files.finish(endTime) {
		m.opts.Log.Warn("leaving without having seen to all files")
	}
	if errors.Is(err, errStoppedEarly) {
		err = nil
	}
	if err == nil {
		m.opts.Log.Info("stopped")
	}
	return err
}

// takesMetrics returns what takes the application's metrics from a process, if it is one
// that has any to share.
func (m *Master) takesMetrics(c *protocol.WorkerConfig) spawn.AppMetrics {
	if !c.AppMetrics || c.HooksOnly || c.Check {
		return nil
	}
	return m.apps.Process(c.Number, c.Generation, c.Mold)
}

// openLogs opens the log files for the first generation, and has our own log go
// there.
func (m *Master) openLogs() error {
	set := m.opts.Settings
	who, err := findIdentity(set.User, set.Group)
	if err != nil {
		return err
	}
	f := newLogFiles(set)
	if err := f.open(who); err != nil {
		return err
	}
	m.sup.opened = f
	m.sup.followErrorLog(f)
	return nil
}

// flushLogs gives the last lines a moment.
func (m *Master) flushLogs() {
	relay.Finish(lastLines)
	m.sup.flushLogs()
	m.opts.ErrorLog.Flush(lastLines)
}
