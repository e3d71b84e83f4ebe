package master

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"hostler/internal/apart"
	"hostler/internal/filewatch"
	"hostler/internal/procstat"
	"hostler/internal/upgrade"
	"hostler/master/spawn"
	"hostler/protocol"
	"hostler/settings"
)

// systemHost is the real host.
type systemHost struct {
	log        *slog.Logger
	opts       Options
	flip       *upgrade.Upgrader
	ctl        ctlSocket
	ready      chan struct{}       // closed when this binary may be replaced
	down       chan<- struct{}     // closed at the end of it all
	succession *succession         // to answer on the admin address
	admin      *adminServer        // nil: there was none yet
	pid        *pidFile            // nil: none was written
	apart      func() (end func()) // Spawner.Apart
	last       func()              // Spawner.Last
	exchange   [2]int              // both ends, for the workers of this binary and the next
	// exchangeOptions are what the ends had at first.
	exchangeOptions [2]options
	unit            []*unitSocket // opened by the service manager
	owner           bool          // the sockets are ours to end: there is no parent that serves on
	dir             string        // see startDirectory

	files       *filewatch.Watcher // nil: no code is watched
	watched     string             // the directory of that code
	noFiles     bool               // it cannot be
	codeChanged func(files []string)
}

var _ host = (*systemHost)(nil)

const (
	// upgradeMargin is what a new binary gets beyond its workers' boot timeout, and
	// noBootTimeout all that it gets where that is 0.
	upgradeMargin = 30 * time.Second
	noBootTimeout = 10 * time.Minute
)

// OpenSpans implements host.
func (h *systemHost) OpenSpans(set *Settings) (SpanTaker, error) {
	if h.opts.Spans == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), prepareTime)
	defer cancel()
	return h.opts.Spans.Open(ctx, set)
}

func newSystemHost(opts Options, down chan<- struct{}) (*systemHost, error) {
	dir := startDirectory()
	if dir == "" { // tableflip wants one, and does not say which
		return nil, noDirectory(os.Getenv("PWD"))
	}
	timeout := noBootTimeout
	if t := opts.Settings.BootTimeout; t > 0 {
		timeout = t + upgradeMargin
	}
	flip, err := upgrade.New(timeout)
	if err != nil {
		return nil, fmt.Errorf("cannot prepare upgrades: %w", err)
	}
	h := &systemHost{log: opts.Log, opts: opts, flip: flip, owner: !flip.HasParent(), ready: make(chan struct{}), down: down, dir: dir}
	h.ctl.log, h.ctl.open = opts.Log, opts.Ctl
	pin(opts.Settings, h.dir)
	if path := opts.Settings.PIDFile; path != "" {
		if err := checkPIDFile(path, append(h.parent(), os.Getpid())...); err != nil {
			h.close()
			return nil, err
		}
		if err := checkWritable(filepath.Dir(path)); err != nil && h.owner {
			h.close()
			return nil, fmt.Errorf("cannot write the pid file: %w", err)
		}
	}
	if h.unit, err = unitSockets(flip, flip.HasParent(), opts.Settings.Binds); err != nil {
		h.close()
		return nil, err
	}
	if err := h.withUnit(opts.Settings); err != nil {
		h.close()
		return nil, err
	}
	h.warnUnused(opts.Log, opts.Settings)
	if h.exchange, err = takeOrMakeExchange(flip); err != nil {
		h.close()
		return nil, err
	}
	h.noteExchange()
	if err := h.startAdmin(); err != nil {
		h.close()
		return nil, err
	}
	if err := h.ctl.start(opts.Settings.CtlSocket, flip.HasParent()); err != nil {
		h.close()
		return nil, err
	}
	return h, nil
}

// takeOrMakeExchange returns the exchange of the binary before us, so that its
// workers' connections can move to ours, or a new one.
func takeOrMakeExchange(fds fileKeeper) (ends [2]int, err error) {
	names := exchangeNames
	var files [2]*os.File
	for i, name := range names {
		if files[i], err = fds.File(name); err != nil {
			return ends, fmt.Errorf("cannot take over the exchange: %w", err)
		}
	}
	if files[0] == nil || files[1] == nil {
		out, in, err := protocol.NewExchange()
		if err != nil {
			return ends, err
		}
		for i, fd := range [2]int{out, in} {
			files[i] = os.NewFile(uintptr(fd), names[i])
			if err := fds.AddFile(names[i], files[i]); err != nil {
				return ends, fmt.Errorf("cannot keep the exchange for upgrades: %w", err)
			}
		}
	}
	for i, f := range files {
		if ends[i], err = unix.FcntlInt(uintptr(spawn.RawFD(f)), unix.F_DUPFD_CLOEXEC, 10); err != nil {
			return ends, fmt.Errorf("cannot copy the exchange: %w", err)
		}
		f.Close()
	}
	return ends, nil
}

// close is called last, whatever happened before.
func (h *systemHost) close() {
	if h.files != nil {
		h.files.Close()
	}
	h.endAdmin()
	if h.admin != nil && h.admin.l != nil {
		if h.owner {
			h.admin.l.remove(h.log)
		}
		h.admin.l.close()
	}
	if !h.flip.Close() && h.owner && h.last != nil {
		h.last()
	}
	if h.pid != nil {
		if err := h.pid.remove(); err != nil {
			h.log.Warn("leaving the pid file", "error", err)
		}
	}
	// Whoever waits for the end hears of it now, on a connection that is open.
	close(h.down)
	h.ctl.end()
}

func (h *systemHost) ReadSettings() (*Settings, error) {
	missing := enter(h.dir)
	end := h.apart() // a settings file may be a program: see Evaluate
	set, err := h.opts.Reload()
	end()
	if err != nil {
		return nil, err
	}
	if missing != nil && !filepath.IsAbs(set.Chdir) {
		return nil, missing
	}
	pin(set, h.dir)
	if err := h.withUnit(set); err != nil {
		return nil, err
	}
	h.warnUnused(h.log, set)
	return set, nil
}

func (h *systemHost) FindPython(set *Settings) (string, error) { return findPython(set, h.opts.Binary) }

func (h *systemHost) Environ() []string { return os.Environ() }

func (h *systemHost) Listen(b settings.Bind, backlog int, ours []*listener) (*listener, error) {
	if u := h.findUnit(b); u != nil {
		return u.listener(b)
	}
	return listen(h.flip, b, backlog, ours)
}

// ticketsFile is the name of the memory with the keys of session tickets. Others that may see
// the master's environment, which lasts as long as it does, need not see them.
const ticketsFile = "session tickets"

func (h *systemHost) Tickets() ([]byte, error) {
	f, err := h.flip.File(ticketsFile)
	if f == nil || err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

func (h *systemHost) Upgrade(carry carried, listeners []*listener) (func() ([]*listener, error), error) {
	files := make(map[upgrade.Key]int)
	if h.admin != nil && h.admin.l != nil {
		listeners = append(slices.Clip(listeners), h.admin.l)
	}
	err := handOver(listeners, files)
	if err == nil && len(carry.tickets) > 0 {
		err = handOverMemory(ticketsFile, carry.tickets, files)
	}
	closeAll := func() {
		for _, fd := range files {
			unix.Close(fd)
		}
	}
	if err != nil {
		closeAll()
		return nil, err
	}
	return func() ([]*listener, error) {
		defer closeAll()
		left, err := h.replace(carry.env, files)
		return slices.DeleteFunc(slices.Clone(listeners), func(l *listener) bool { return !slices.Contains(left, l.key()) }), err
	}, nil
}

// handOverMemory adds sealed memory with that content to files.
func handOverMemory(name string, content []byte, files map[upgrade.Key]int) error {
	f, err := protocol.NewMemory("hostler-"+name, content)
	if err != nil {
		return err
	}
	defer f.Close()
	fd, err := unix.FcntlInt(uintptr(spawn.RawFD(f)), unix.F_DUPFD_CLOEXEC, 10)
	if err != nil {
		return fmt.Errorf("cannot copy a file: %w", err)
	}
	files[upgrade.FileKey(name)] = fd
	return nil
}

func (h *systemHost) replace(carry []string, files map[upgrade.Key]int) ([]upgrade.Key, error) {
	for _, kv := range carry {
		name, value, _ := strings.Cut(kv, "=")
		os.Setenv(name, value)
		defer os.Unsetenv(name)
	}
	select {
	case <-h.ready:
	case <-time.After(upgradeMargin):
		return nil, errors.New("the start is not complete yet")
	}
	defer h.apart()() // the upgrade waits for the new master itself
	// An upgrade is refused while the binary before us is still leaving. It may
	// have gone a moment ago, and we have not noticed yet.
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = h.flip.WaitForParent(ctx) // Upgrade says why, if it still lives
	return h.flip.Upgrade(files)
}

func (h *systemHost) Serving(set *Settings, first bool) {
	h.namePID(set.PIDFile) // before the old master, if there is one, looks whether its own is there
	if first {
		if err := h.ctl.publish(); err != nil {
			h.log.Error("hostler ctl does not reach this server", "error", err)
		}
		// From here on the old master, if there is one, leaves.
		unused, told, err := h.flip.Ready()
		if err != nil {
			h.log.Error("cannot tell the old master that this one serves", "error", err)
		}
		dropUnused(h.log, unused, told)
		close(h.ready)
		h.owner = true
		if h.admin != nil && h.admin.l != nil {
			h.admin.l.inherited = false
		}
		time.AfterFunc(slimAfter, slim)
	}
	if !first && h.opts.Ctl != nil {
		h.ctl.move(set.CtlSocket)
	}
	setTitle(h.log, set)
}

// namePID has the pid file be path, and no other.
func (h *systemHost) namePID(path string) {
	old := h.pid
	if old != nil && old.path == path && old.file.Has(path) {
		return
	}
	if path != "" {
		p, err := writePIDFile(path, os.Getpid(), h.parent()...)
		if err != nil {
			h.log.Error("there is no new pid file", "error", err)
			return
		}
		h.pid = p
	} else {
		h.pid = nil
	}
	if old != nil {
		if err := old.remove(); err != nil {
			h.log.Warn("leaving the old pid file", "error", err)
		}
	}
}

// parent is the process that this binary replaces, if there is one.
func (h *systemHost) parent() []int {
	if !h.flip.HasParent() {
		return nil
	}
	return []int{os.Getppid()}
}

func (h *systemHost) Stopping(upgraded bool) bool {
	if !upgraded && !h.flip.Close() {
		return false
	}
	h.owner = false
	go h.endAdmin() // the new master answers on that address now
	return true
}

// Examine implements host.
func (h *systemHost) Examine(l *listener, backlog int) func() examined {
	fd, err := dup(l.fd)
	if err != nil {
		return func() examined { return examined{} } // no descriptors; another time
	}
	return func() examined {
		defer unix.Close(fd)
		return l.examine(fd, backlog)
	}
}

// Mend implements host.
func (h *systemHost) Mend(l *listener, spoiled bool, backlog int) func() (*listener, error) {
	fd, err := dup(l.fd)
	if err != nil {
		return func() (*listener, error) { return nil, err }
	}
	file := l.copyFile()
	return func() (*listener, error) {
		defer unix.Close(fd)
		if file != nil {
			defer file.Close()
		}
		return l.mend(fd, file, spoiled, backlog)
	}
}

// Become implements host.
func (h *systemHost) Become(l, other *listener) error { return l.become(other) }

// ExchangeEnded implements host. What it asks of the sockets waits for no lock of theirs.
func (h *systemHost) ExchangeEnded() string {
	if hungUp(h.exchange[1]) {
		return "a worker shut it down"
	}
	var spoiled []string
	for i, fd := range h.exchange {
		if names := h.exchangeOptions[i].changed(fd); names != "" {
			spoiled = append(spoiled, names)
		}
	}
	if spoiled == nil {
		return ""
	}
	return "a worker set options on it: " + strings.Join(spoiled, ", ")
}

// Exchange implements host.
func (h *systemHost) Exchange() [2]int { return h.exchange }

// NewExchange implements host. The numbers stay, so that workers to come find it.
func (h *systemHost) NewExchange() ([2]int, error) {
	out, in, err := protocol.NewExchange()
	if err != nil {
		return h.exchange, err
	}
	for i, fd := range [2]int{out, in} {
		file := os.NewFile(uintptr(fd), exchangeNames[i])
		old, putErr := apart.Replace(fd, h.exchange[i])
		err = errors.Join(err, h.flip.AddFile(exchangeNames[i], file), putErr)
		file.Close()
		if putErr == nil {
			go endExchange(old)
		}
	}
	h.noteExchange()
	return h.exchange, err
}

// noteExchange remembers how the exchange was at first. One that was inherited its workers
// may have changed before.
func (h *systemHost) noteExchange() {
	for i, fd := range h.exchange {
		h.exchangeOptions[i], _ = blankOptions(fd, guardedOfExchange)
	}
}

// endExchange gives an end of an exchange up for which there is another: whoever waits
// there is woken, and can still take what is in it.
func endExchange(fd int) {
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEEK_OFF, -1)
	_ = unix.Shutdown(fd, unix.SHUT_RDWR)
	unix.Close(fd) // see package apart
}

// exchangeNames are what a new binary finds the ends by.
var exchangeNames = [2]string{"exchange out", "exchange in"}

// CPU implements host.
func (h *systemHost) CPU(pid int) (float64, error) {
	p, err := procstat.Read(os.DirFS("/proc"), pid)
	return p.CPU, err
}

// Stopped implements host.
func (h *systemHost) Stopped(pid int) bool {
	p, err := procstat.Read(os.DirFS("/proc"), pid)
	return err == nil && p.Stopped
}

// Threads implements host.
func (h *systemHost) Threads(pid int) map[int]procstat.Thread {
	return procstat.Threads(os.DirFS("/proc"), pid)
}

// Machine implements host.
func (h *systemHost) Machine() machine { return readMachine(os.DirFS("/")) }

// Pending implements host.
func (h *systemHost) Pending(ls []*listener) bool { return anyPending(ls) }

// Notify implements host.
func (h *systemHost) Notify(state string) { notify(h.log, state) }

// Memory implements host. The kernel's own sum is cheap to read; proportional
// figures are not.
func (h *systemHost) Memory(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), "\nRssAnon:")
	var kb int64
	if _, err := fmt.Sscanf(rest, "%d kB", &kb); err != nil {
		return 0, fmt.Errorf("cannot read the memory of process %d: %w", pid, err)
	}
	return kb << 10, nil
}
